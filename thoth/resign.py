"""Signatures made again by today's rules, of dumps that are stored: what would change, and the changes.

The stacks are those that the documents have; no dump is read. What a newer thoth has signed is left alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from threading import Event
from typing import Final

from thoth.edit import Edited, revise, revise_stored
from thoth.errors import BadDocument, IndexFailure, StoreUnavailable, ThothError
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity
from thoth.query import Named, Query, Undefined
from thoth.signatures.signature import SIGNATURE, resigned

BATCH: Final = 500  # dumps of which the index is told at once
_WORKERS: Final = 8  # documents that are changed at the same time

Signature = str | None
_Changed = tuple[DumpInfo, bool]  # a document as it is then, and whether that is a change


@dataclass(slots=True)
class Survey:
    """What today's rules make of the signatures of some dumps; None stands for none.

    ``moves`` counts the dumps by the signature that they have and the one that they get, also those of which it is
    the same; ``stale`` are those whose documents have to be changed, if only for the version of the rules.
    """

    moves: Counter[tuple[Signature, Signature]] = field(default_factory=Counter)
    stale: list[Identity] = field(default_factory=list)

    @property
    def dumps(self) -> int:
        """How many were looked at."""
        return sum(self.moves.values())

    @property
    def signed(self) -> int:
        """How many had no signature and get one."""
        return sum(count for (before, after), count in self.moves.items() if before is None and after is not None)

    @property
    def unsigned(self) -> int:
        """How many had a signature and get none."""
        return sum(count for (before, after), count in self.moves.items() if before is not None and after is None)

    @property
    def renamed(self) -> int:
        """How many get another signature in place of the one that they have."""
        same = sum(count for (before, after), count in self.moves.items() if before == after)
        return self.dumps - same - self.signed - self.unsigned

    def moved(self) -> dict[str, Mapping[str, int]]:
        """Signatures that become another one as they are: none of another's dumps get it, and all of theirs do."""
        single = {one: others for one, others in self._from().items() if len(others) == 1}
        alone = {other for other, ones in self._into().items() if len(ones) == 1}
        return {one: others for one, others in single.items() if one not in others and alone.issuperset(others)}

    def merged(self) -> dict[str, Mapping[str, int]]:
        """Signatures that dumps of several get: of how many dumps each of these, the largest first."""
        return {one: others for one, others in self._into().items() if len(others) > 1}

    def split(self) -> dict[str, Mapping[str, int]]:
        """Signatures whose dumps get several: how many dumps each of these gets, the largest first."""
        return {one: others for one, others in self._from().items() if len(others) > 1}

    def _from(self) -> dict[str, Mapping[str, int]]:
        return _grouped((before, after, count) for (before, after), count in self.moves.items())

    def _into(self) -> dict[str, Mapping[str, int]]:
        return _grouped((after, before, count) for (before, after), count in self.moves.items())


def survey(infos: Iterable[DumpInfo]) -> Survey:
    """What would change in these documents; nothing is written."""
    found = Survey()
    for info in infos:
        after = resigned(info)
        found.moves[_signature(info), _signature(after)] += 1
        if after is not info:
            found.stale.append(info.id)
    return found


def resign(thoth: Thoth, identities: Iterable[Identity]) -> Iterator[Edited]:
    """Give each of the dumps the signature that its stack has, by compare-and-set; the index hears of many at once.

    One that fails does not stop the others. When the index fails, the dumps that it could not be told of come with
    that error, and no others. Raises StoreUnavailable, since no other dump would fare better; the index then knows of
    what was changed before.
    """
    waiting = iter(identities)
    unindexed = False
    while not unindexed and (batch := list(islice(waiting, BATCH))):
        for each in _resigned(thoth, batch):
            yield each
            unindexed |= isinstance(each.error, IndexFailure)


def sign_unsigned(thoth: Thoth, identities: Iterable[Identity]) -> Iterator[Edited]:
    """Give those of the dumps a signature that have none in the index, and a stack. Otherwise as ``resign``."""
    waiting = iter(identities)
    while batch := list(islice(waiting, BATCH)):
        query = Query((Named(frozenset(batch)), Undefined((SIGNATURE,))))
        yield from resign(thoth, survey(thoth.index.find(query)).stale)


def _resigned(thoth: Thoth, batch: Sequence[Identity]) -> Iterator[Edited]:
    indexed = {identity: known.revision for identity, known in thoth.index.known(batch).items()}
    answers = _in_store_each(thoth, batch, indexed)
    for identity, answer in zip(batch, answers, strict=True):
        if isinstance(answer, ThothError) and not isinstance(answer, StoreUnavailable):
            yield Edited(identity, changed=False, error=answer)
    yield from _indexed(thoth, [each for each in answers if isinstance(each, tuple)])
    for answer in answers:
        if isinstance(answer, StoreUnavailable):
            raise answer


def _in_store_each(
    thoth: Thoth, batch: Iterable[Identity], indexed: Mapping[Identity, int]
) -> list[_Changed | ThothError | None]:
    """What ``_in_store`` gives or raises for each dump, several at a time: a store answers slower than it works.

    None for those that were not begun because the store was gone.
    """
    stop = Event()

    def attempt(identity: Identity) -> _Changed | ThothError | None:
        if stop.is_set():
            return None
        try:
            return _in_store(thoth, identity, indexed.get(identity, 0))
        except ThothError as error:
            if isinstance(error, StoreUnavailable):
                stop.set()
            return error

    with ThreadPoolExecutor(_WORKERS, "resign") as pool:
        try:
            return list(pool.map(attempt, batch))
        finally:
            stop.set()  # also when it is interrupted


def _in_store(thoth: Thoth, identity: Identity, indexed: int) -> _Changed:
    """A dump's document as the store has it then, and whether that is a change; ``indexed`` is the revision of which
    the index knows."""
    was_changed = False

    def change(info: DumpInfo) -> DumpInfo | None:
        nonlocal was_changed
        after = resigned(info)
        was_changed = after is not info
        return after.changed() if was_changed else None

    stored = revise_stored(thoth, identity, lambda info: change(info) if info.revision >= indexed else None)
    # Where the index is ahead of the store, it alone may know what was noted on the dump.
    return revise(thoth, identity, change) if stored.revision < indexed else stored, was_changed


def _indexed(thoth: Thoth, done: Sequence[_Changed]) -> Iterator[Edited]:
    try:
        thoth.index.put_many(info for info, _ in done)
    except (IndexFailure, BadDocument) as error:
        reason = f"the store has it, the index does not: {error}; 'thoth index' heals that"
        yield from (Edited(info.id, was_changed, IndexFailure(reason)) for info, was_changed in done)
        return
    yield from (Edited(info.id, was_changed) for info, was_changed in done)


def _signature(info: DumpInfo) -> Signature:
    told = info.document.get(SIGNATURE)
    return told if isinstance(told, str) else None


def _grouped(moves: Iterable[tuple[Signature, Signature, int]]) -> dict[str, Mapping[str, int]]:
    """The counts of each first one by the second, the largest first. Dumps without a signature are left out."""
    groups: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for one, other, count in moves:
        if one is not None and other is not None:
            groups[one][other] += count
    told = {one: dict(others.most_common()) for one, others in groups.items()}
    return dict(sorted(told.items(), key=lambda each: (-sum(each[1].values()), each[0])))
