"""What crashes together, counted dump by dump: for an index that cannot count, and for what it cannot judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import Final

from thoth.index.base import TIME, Ranking, Together
from thoth.model import Json
from thoth.query import KeyPath, label

SIGNATURE: Final = ("signature",)
# What ``Gathered.add`` takes of each dump.
PATHS: Final[tuple[KeyPath, ...]] = (SIGNATURE, TIME, ("node",), ("platform",), ("ticket",))


@dataclass(slots=True)
class Gathered:
    """The dumps of one signature, as they are counted."""

    dumps: int = 0
    first: float | None = None
    last: float | None = None
    nodes: Counter[str] = field(default_factory=Counter)
    platforms: Counter[str] = field(default_factory=Counter)
    tickets: Counter[str] = field(default_factory=Counter)

    def seen(self, dumps: int, first: float | None, last: float | None) -> None:
        """Count some dumps, the first and the last of which were at these times."""
        self.dumps += dumps
        times = [each for each in (self.first, self.last, first, last) if each is not None]
        self.first, self.last = min(times, default=None), max(times, default=None)

    def found(self, node: Json, platform: Json, ticket: Json, dumps: int = 1) -> None:
        """Count where some dumps were found."""
        for value, counts in ((node, self.nodes), (platform, self.platforms), (ticket, self.tickets)):
            if value is not None:
                counts[label(value)] += dumps

    def together(self, signature: str) -> Together:
        """The value of it."""
        return Together(
            signature, self.dumps, self.first, self.last, dict(self.nodes), dict(self.platforms), dict(self.tickets)
        )


def ranked(rows: Iterable[Sequence[Json]], most: int) -> Ranking:
    """The ranking of dumps of which these are the values at ``PATHS``."""
    gathered: dict[str, Gathered] = {}
    return ranking(gathered, gather(gathered, rows), most)


def gather(gathered: dict[str, Gathered], rows: Iterable[Sequence[Json]]) -> int:
    """Count dumps of which these are the values at ``PATHS``; how many have no signature."""
    unsigned = 0
    for signature, time, *places in rows:
        if signature is None:
            unsigned += 1
            continue
        group = gathered.setdefault(label(signature), Gathered())
        group.seen(1, time, time)
        group.found(*places)
    return unsigned


def ranking(gathered: dict[str, Gathered], unsigned: int, most: int) -> Ranking:
    """The ranking of what was gathered by signature."""
    groups = tuple(gathered[signature].together(signature) for signature in largest(gathered, most))
    return Ranking(groups, len(gathered), sum(each.dumps for each in gathered.values()), unsigned)


def largest(gathered: dict[str, Gathered], most: int) -> list[str]:
    """The signatures of most dumps, in the order of a ranking."""
    return nsmallest(most, gathered, key=lambda signature: (-gathered[signature].dumps, signature))
