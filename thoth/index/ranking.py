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
_PLACES: Final = ("node", "platform", "ticket")
PATHS: Final[tuple[KeyPath, ...]] = (SIGNATURE, TIME, *((name,) for name in _PLACES))  # what is counted of each dump


@dataclass(slots=True)
class Gathered:
    """The dumps of one signature, as they are counted; ``places``: of each node, platform and ticket how many."""

    dumps: int = 0
    first: float | None = None
    last: float | None = None
    places: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in _PLACES})

    def seen(self, dumps: int, first: float | None, last: float | None) -> None:
        """Count some dumps, the first and the last of which were at these times."""
        self.dumps += dumps
        times = [each for each in (self.first, self.last, first, last) if each is not None]
        self.first, self.last = min(times, default=None), max(times, default=None)

    def together(self, signature: str) -> Together:
        """The value of it."""
        return Together(signature, self.dumps, self.first, self.last, *(dict(self.places[name]) for name in _PLACES))


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
        for value, counts in zip(places, group.places.values(), strict=True):
            if value is not None:
                counts[label(value)] += 1
    return unsigned


def ranking(gathered: dict[str, Gathered], unsigned: int, most: int) -> Ranking:
    """The ranking of what was gathered by signature."""
    groups = tuple(gathered[signature].together(signature) for signature in largest(gathered, most))
    return Ranking(groups, len(gathered), sum(each.dumps for each in gathered.values()), unsigned)


def largest(gathered: dict[str, Gathered], most: int) -> list[str]:
    """The signatures of most dumps, in the order of a ranking."""
    return nsmallest(most, gathered, key=lambda signature: (-gathered[signature].dumps, signature))
