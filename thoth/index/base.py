"""What an index of dumps promises."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, Self

from thoth.model import DumpInfo, Identity, Json
from thoth.query import KeyPath, Query, lookup

MAX_INTEGER: Final = (1 << 63) - 1  # the largest that every index can keep
TIME: Final = ("time",)


@dataclass(frozen=True, slots=True)
class Known:
    """What a look-up by many names tells of each: enough to decide whether a dump has to be sent."""

    revision: int
    size: int | None
    complete: bool | None
    sha256: str | None
    purged: bool = False  # thrown away on purpose: not to be fetched again

    @classmethod
    def of(cls, info: DumpInfo) -> Self:
        """What a document tells. A size that no file has counts as none."""
        size = info.size
        size = size if size is not None and 0 <= size <= MAX_INTEGER else None
        return cls(clamped_revision(info), size, info.complete, info.sha256, bool(info.document.get("purged")))


def clamped_revision(info: DumpInfo) -> int:
    """The revision by which an index decides, between 0 and ``MAX_INTEGER``."""
    return min(max(info.revision, 0), MAX_INTEGER)


@dataclass(frozen=True, slots=True)
class Together:
    """The dumps of one signature: how many, when, and of which nodes, platforms and tickets, each with how many."""

    signature: str
    dumps: int
    first: float | None  # seconds since 1970; None: no time is known
    last: float | None
    nodes: Mapping[str, int]
    platforms: Mapping[str, int]
    tickets: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Ranking:
    """What crashes together: the signatures of most dumps first, of as many by their text.

    ``signatures`` and ``dumps`` are how many there are in all, ``unsigned`` how many dumps have no signature.
    """

    groups: tuple[Together, ...]
    signatures: int
    dumps: int
    unsigned: int


class Index(Protocol):
    """Documents by query. Safe to use from several threads; other processes may use the same index.

    Every method raises IndexFailure when the index cannot be used. An index that was never written to is
    empty, and asking it makes nothing.

    - ``create`` makes what the index needs and returns a line for each thing that it made; safe to repeat.
    - ``put`` stores a document unless the index has one of a higher revision; True when it was stored. It
      makes the index when there is none. It raises BadDocument for a document that no index can keep.
    - ``put_many`` does so with many documents; the number of those stored. It stores all or none when it raises,
      but for one case: an IndexFailure may leave some of them in a shared index. To put them again is safe.
    - ``known`` asks for any number of dumps in few questions; those not there are left out.
    - ``get`` gives one document, or None.
    - ``named`` gives up to ``limit`` identities that begin with ``prefix``, sorted.
    - ``find`` streams the documents that match, oldest first, unknown time before all, equal times by
      identity. It shows the index as it was at the first one asked for, whatever is written meanwhile; of what
      others write to a shared index until that first one is given, it may show a part.
    - ``select`` gives, for the documents that ``find`` would give and in that order, a tuple of the values at
      ``paths``, as ``thoth.query.lookup`` finds them, but a number or boolean may come as its text. The time of
      a dump comes as the number that ``thoth.query.dump_time`` makes of it.
    - ``count`` is how many documents ``find`` would give.
    - ``report`` counts them by a property's value, as ``thoth.query.label`` writes it; rarest first, then
      by label.
    - ``rank`` counts those that crashed together, and tells of the ``most`` signatures that most of them have.
    - ``delete`` removes a document; one that is not there is no error.
    """

    def create(self) -> list[str]: ...

    def put(self, info: DumpInfo) -> bool: ...

    def put_many(self, infos: Iterable[DumpInfo]) -> int: ...

    def known(self, ids: Iterable[Identity]) -> Mapping[Identity, Known]: ...

    def get(self, identity: Identity) -> DumpInfo | None: ...

    def named(self, prefix: str, limit: int = 10) -> list[Identity]: ...

    def find(self, query: Query) -> Iterator[DumpInfo]: ...

    def select(self, query: Query, paths: Sequence[KeyPath]) -> Iterator[tuple[Json, ...]]: ...

    def count(self, query: Query) -> int: ...

    def report(self, query: Query, path: KeyPath) -> Mapping[str, int]: ...

    def rank(self, query: Query, most: int) -> Ranking: ...

    def delete(self, identity: Identity) -> None: ...

    def close(self) -> None: ...


def selected(info: DumpInfo, paths: Iterable[KeyPath]) -> tuple[Json, ...]:
    """What ``select`` gives for a document."""
    return tuple(info.time if path == TIME else lookup(info.document, path) for path in paths)


def rarest_first(counts: Mapping[str, int]) -> dict[str, int]:
    """The same counts in the order of a report."""
    return dict(sorted(counts.items(), key=lambda item: (item[1], item[0])))
