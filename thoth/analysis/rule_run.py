"""The run of a rule's analyzer on a dump, as the dump's document has it: that it was begun, and what came of it.

Where a dump's rules are pending (thoth.pending), others are told before the analyzer is begun:

    "rules_begun": {"time": 1700000000.5, "host": "headnode", "pid": 4711}

They leave the dump alone until that is gone; or the process is, or an hour has passed, since it may have been killed.
What the analyzer has changed and what became of the rule are one revision: of a run that was killed the document says
all or nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from thoth.analysis.claims import claims, permitted, replaced_by_others
from thoth.analysis.verdicts import REPLACED, claimed, next_revision, recorded
from thoth.edit import revise
from thoth.errors import ThothError
from thoth.pending import RULES_BEGUN, RULES_PENDING, pending_since, record_time, rule_records

if TYPE_CHECKING:
    from thoth.analysis.changes import Changes
    from thoth.analysis.rules import Rule
    from thoth.analysis.run import Change
    from thoth.library import Thoth
    from thoth.model import DumpInfo, Json

ELSEWHERE: Final = "another run is at this dump; what it leaves pending can be run in an hour"
LEFT_FOR: Final = 3600.0  # seconds: an analyzer runs for ten minutes at most, and a large dump is fetched before that
_MOST_PID: Final = 1 << 31


class _Elsewhere(ThothError):
    """The dump is ours no more: a better one came, or others have taken the run for killed."""


class RuleRun:
    """One run, at ``now`` (seconds since 1970). ``then`` makes the next document of one and what has become of it."""

    def __init__(
        self, thoth: Thoth, rule: Rule, now: float, then: Callable[[DumpInfo, DumpInfo], DumpInfo | None]
    ) -> None:
        self._thoth = thoth
        self._rule = rule
        self._now = now
        self._then = then
        self._made = False  # what the analyzer has changed, with the record
        self.stays: tuple[str, ...] = ()  # what it would have changed, and others had set
        self.lost = False  # nothing of it is in the document, which was left to others

    @contextmanager
    def begun(self, info: DumpInfo) -> Iterator[DumpInfo | None]:
        """The document with which the analyzer begins; None: others have begun it, or run it.

        When the context is left by an exception, or without ``end``, whoever comes next need not wait. Raises as
        ``revise`` does.
        """
        self._info = info
        self._over = pending_since(info) is None  # then nobody else comes to run it
        if self._over:
            yield info
            return
        ours = False

        def begin(current: DumpInfo) -> DumpInfo | None:
            nonlocal ours
            as_found = pending_since(current) == pending_since(info) and self._record(current) == self._record(info)
            ours = as_found and not under_way(current, self._now)
            return current.changed(**{RULES_BEGUN: _by_us(self._now)}) if ours else None

        self._info = revise(self._thoth, info.id, begin)
        self._over = not ours
        try:
            yield self._info if ours else None
        finally:
            if not self._over:
                revise(self._thoth, info.id, self._given_up)

    def change(self, status: int) -> Change:
        """How the changes of the analyzer are made, which has ended with this status: with the record of its rule."""

        def made(stored: DumpInfo, changes: Changes, by: str, expanded: Mapping[str, Json] | None) -> DumpInfo | None:
            from thoth.analysis.changes import changed  # noqa: PLC0415 - most rules run no analyzer

            self._made = _same_turn(stored, self._info)
            if not self._made:
                raise _Elsewhere(ELSEWHERE)
            ours, theirs = claimed(stored, self._rule), claimed(stored, self._rule, REPLACED)
            edits, self.stays = permitted(stored, changes.edits, ours, theirs)
            after = changed(stored, replace(changes, edits=edits), by, expanded) or stored
            theirs = replaced_by_others(after, edits, ours, theirs)
            return self._recorded(stored, after, claims(after, edits, ours), theirs, failure_of(by, status))

        return made

    def end(self, failure: str | None) -> DumpInfo:
        """Record what became of the rule, if that is not done; the document then. Raises as ``revise`` does."""

        def record(current: DumpInfo) -> DumpInfo | None:
            ours = _same_turn(current, self._info)
            self.lost = not (ours or self._made)
            if not ours:
                return None
            told, theirs = claimed(current, self._rule), claimed(current, self._rule, REPLACED)
            return self._recorded(current, current, told, theirs, failure)

        after = revise(self._thoth, self._info.id, record)
        self._over = True
        return after

    def _given_up(self, current: DumpInfo) -> DumpInfo | None:
        return next_revision(current, _ended(current)) if _same_turn(current, self._info) else None

    def _recorded(
        self, before: DumpInfo, after: DumpInfo, ours: Json, theirs: Json, failure: str | None
    ) -> DumpInfo | None:
        document = recorded(after, self._rule, ours or None, self._now, failure, replaced=theirs or None)
        return self._then(before, _ended(document))

    def _record(self, info: DumpInfo) -> Json:
        return dict(rule_records(info).get(self._rule.name, {}))


def failure_of(analyzer: str, status: int | None) -> str | None:
    """Why an analyzer that has ended with this exit status has failed; None: it has not."""
    return f"{analyzer}: exit status {status}" if status else None


# ---- whose turn it is ------------------------------------------------------------------------------


def under_way(info: DumpInfo, now: float) -> bool:
    """Whether somebody has begun to run an analyzer on the dump, and may be at it still.

    ``now``: seconds since 1970. A time that is an hour ahead is that of a clock that was wrong.
    """
    said = info.document.get(RULES_BEGUN)
    if not isinstance(said, dict):
        return False
    time = record_time(said)
    return time is not None and abs(now - time) < LEFT_FOR and not _is_dead(said.get("host"), said.get("pid"))


def _by_us(now: float) -> dict[str, Json]:
    return {"time": now, "host": os.uname().nodename, "pid": os.getpid()}


def _is_dead(host: Json, pid: Json) -> bool:
    """Whether this was a process of this machine, and is none any more."""
    if host != os.uname().nodename or not isinstance(pid, int) or not 0 < pid < _MOST_PID:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # it is another user's
    return False


def _ended(info: DumpInfo) -> DumpInfo:
    return info.without(RULES_BEGUN) if RULES_BEGUN in info.document else info


def _same_turn(one: DumpInfo, other: DumpInfo) -> bool:
    """Whether nobody has begun with the rules of a dump, or ended them, between two of its documents."""
    return all(one.document.get(key) == other.document.get(key) for key in (RULES_PENDING, RULES_BEGUN))
