"""Throwing dumps away: a dump's objects are deleted, its document stays as a tombstone that says ``purged``.

``purged`` is when, in whole seconds since 1970. The objects go first, then the document is marked: a run that dies
between the two leaves a dump without its objects and without the mark, which the next run finds and completes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from thoth.edit import require_storable, revise
from thoth.errors import BadDocument, IndexFailure, NoSuchObject, StoreError, StoreUnavailable, ThothError
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity
from thoth.objects import KeptObject, dump_object, kept_objects
from thoth.query import Constraint, Newer, Older, Query, Timeless, Undefined, dump_time, holds

PURGED: Final = "purged"

# 2000-01-01. A clock that nobody has set counts from 1970 or, on illumos, from 1987: what it says is no time.
_FIRST_TIME: Final = 946_684_800
_DAY: Final = 86400


class Reason(Enum):
    """Why a dump stays that was asked for; the value completes 'kept 3 ...'."""

    TICKET = "with a ticket"
    TIME = "of unknown time"
    RULE = "that a keep-rule names"


@dataclass(frozen=True, slots=True)
class Rules:
    """Which dumps are to go. With nothing set: all but those with a ticket or of unknown time, which always stay."""

    wanted: tuple[Constraint, ...] = ()  # all of them hold
    before: float | None = None  # the time of the dump, in seconds since 1970, is before this
    over: int | None = None  # its objects have more bytes than this
    keep: tuple[Constraint, ...] = ()  # a dump for which one of these holds stays

    def ask_for(self, info: DumpInfo) -> bool:
        """Whether the dump is one of those that are wanted and old enough. A time that is unknown may be."""
        if info.document.get(PURGED) or not all(holds(each, info.document) for each in self.wanted):
            return False
        time = known_time(info)
        return self.before is None or time is None or time < self.before

    def reason_to_keep(self, info: DumpInfo) -> Reason | None:
        """Why the dump stays in any case, or None."""
        if info.document.get("ticket") not in (None, ""):
            return Reason.TICKET
        if known_time(info) is None:
            return Reason.TIME
        return Reason.RULE if any(holds(each, info.document) for each in self.keep) else None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A dump that the rules ask for."""

    info: DumpInfo
    size: int  # bytes of its objects
    kept: Reason | None  # None: it goes


def known_time(info: DumpInfo) -> float | None:
    """The dump's time in seconds since 1970; None when it tells none, or one that only a clock never set shows."""
    time = dump_time(info.document)
    return None if time is None or time < _FIRST_TIME else time


def purged_at(info: DumpInfo) -> float | None:
    """When the dump was purged, in seconds since 1970; None: it was not, or nobody knows when."""
    return dump_time({"time": info.document.get(PURGED)})


# ---- which dumps ----------------------------------------------------------------------------------


def candidates(thoth: Thoth, rules: Rules, failed: Callable[[Identity, ThothError], None]) -> Iterator[Candidate]:
    """The dumps that the rules ask for as the index has them: those of unknown time, then the others, oldest first.

    One that cannot be examined is told to ``failed``, and the others go on. Raises StoreUnavailable and IndexFailure.
    """
    for query in _queries(rules):
        for info in thoth.index.find(query):
            try:
                found = _examined(thoth, rules, info)
            except StoreUnavailable:
                raise
            except (StoreError, BadDocument) as error:
                failed(info.id, error)
            else:
                if found is not None:
                    yield found


def _queries(rules: Rules) -> tuple[Query, ...]:
    asked = (*rules.wanted, Undefined((PURGED,)))
    if rules.before is None:
        return (Query(asked),)
    return Query((*asked, Timeless())), Query((*asked, Older(rules.before)))


def _examined(thoth: Thoth, rules: Rules, info: DumpInfo) -> Candidate | None:
    """What the rules say of a dump; None when they do not ask for it. Raises StoreError and BadDocument."""
    if not rules.ask_for(info):
        return None
    size = sum(_size(thoth, each) for each in kept_objects(thoth.user, info))
    if rules.over is not None and size <= rules.over:
        return None
    return Candidate(info, size, rules.reason_to_keep(info))


def _size(thoth: Thoth, kept: KeptObject) -> int:
    """Bytes of an object; those of the original's documents do not say."""
    if kept.size is not None:
        return kept.size
    try:
        return thoth.store.stat(kept.name).size
    except NoSuchObject:
        return 0


# ---- throwing one away ----------------------------------------------------------------------------


def purge_dump(thoth: Thoth, identity: Identity, rules: Rules, *, now: float) -> Candidate | None:
    """Purge a dump if the rules still ask for it, by its document as the store has it now.

    Returns what became of it: ``kept`` says why it stays; None: the rules do not ask for it any more, or it was
    purged before. Safe to repeat: an object that is gone is no error. A ticket that is set when the objects are
    gone already stays on the tombstone. ``now``: seconds since 1970. Raises NoSuchDump, BadDocument, StoreError,
    and IndexFailure when the dump is purged and the index could not be told.
    """
    purge = _Purge(thoth, rules, int(now))
    try:
        revise(thoth, identity, purge.change)
    except IndexFailure as error:
        reason = f"{identity}: the store has it right, the index does not: {error}; 'thoth index' heals that"
        raise IndexFailure(reason) from error
    return purge.found


class _Purge:
    """One dump's purge: ``change`` is called anew whenever somebody else has changed the document meanwhile."""

    def __init__(self, thoth: Thoth, rules: Rules, now: int) -> None:
        self.found: Candidate | None = None
        self._thoth = thoth
        self._rules = rules
        self._now = now
        self._thrown_away: Candidate | None = None
        self._deleted: set[str] = set()

    def change(self, info: DumpInfo) -> DumpInfo | None:
        self.found = _examined(self._thoth, self._rules, info)
        if not info.document.get(PURGED) and self._is_empty(info):
            self.found = self._thrown_away
        if self.found is None or self.found.kept:
            return None
        tombstone = info.changed(purged=self._now)
        require_storable(
            tombstone
        )  # one that could not be kept would leave a dump without objects and without a mark
        self._delete(info)
        self._thrown_away = self.found
        self.found = replace(self.found, info=tombstone)
        return tombstone

    def _is_empty(self, info: DumpInfo) -> bool:
        """Whether we have deleted the dump of this document already, and nobody has uploaded it again since."""
        name = dump_object(self._thoth.user, info).name
        if name not in self._deleted:
            return False
        try:
            self._thoth.store.stat(name)
        except NoSuchObject:
            return True
        return False

    def _delete(self, info: DumpInfo) -> None:
        # The dump itself last: what was expanded from it can be made again, should the rest fail.
        for each in reversed(kept_objects(self._thoth.user, info)):
            with suppress(NoSuchObject):  # a run that died before this one has deleted it
                self._thoth.store.delete(each.name)
            self._deleted.add(each.name)


# ---- whether to believe the clock -----------------------------------------------------------------


def clock_doubt(thoth: Thoth, rules: Rules, now: float) -> str | None:
    """Why this machine's clock must not decide which dumps are old; None when nothing speaks against it.

    The witnesses are the times at which dumps were uploaded, purged ones too; of a document without one the dump's
    own time. An upload more than a day in the future: the clock is behind. None since the moment before which dumps
    are old: the clock may have jumped ahead, and then every dump looks old. Raises IndexFailure.
    """
    moments = _moments(rules)
    if not moments and not any(isinstance(each, Newer) for each in rules.wanted):
        return None
    latest: float | None = None
    for identity, uploaded, time in thoth.index.select(Query(), [("id",), ("uploaded",), ("time",)]):
        seen = dump_time({"time": uploaded})  # the index may give a number as its text
        if seen is not None and seen > now + _DAY:
            return f"{identity} was uploaded {_days(seen - now)} in the future by this machine's clock"
        witness = time if seen is None else seen
        if witness is not None and witness <= now + _DAY:
            latest = witness if latest is None else max(latest, witness)
    if latest is None or latest >= min(moments, default=latest):
        return None
    return f"by this machine's clock nothing was uploaded for {_days(now - latest)}; it may have jumped ahead"


def _moments(rules: Rules) -> list[float]:
    """Moments before which the rules let dumps go, in seconds since 1970."""
    ends = [each.than for each in rules.wanted if isinstance(each, Older)]
    ends += [each.than for each in rules.keep if isinstance(each, Newer)]
    return ends if rules.before is None else [*ends, rules.before]


def _days(seconds: float) -> str:
    """A span in the largest unit of which it has two."""
    units = (("day", _DAY), ("hour", 3600), ("minute", 60))
    unit, length = next((each for each in units if seconds >= 2 * each[1]), ("second", 1))
    count = int(seconds / length)
    return f"{count} {unit}{'' if count == 1 else 's'}"
