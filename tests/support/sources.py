"""Dumps as ReadAt: bytes in memory, sources that fetch what is missing, sources that keep a log."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from thoth.dumps.source import KnownRanges, MissingRange, Range, ReadAt

T = TypeVar("T")


def whole(data: bytes) -> KnownRanges:
    """A dump in memory, all of it known."""
    return KnownRanges(len(data), [(0, data)] if data else [])


def fetched(source: ReadAt, ranges: Iterable[Range]) -> KnownRanges:
    """Of ``source`` only these ranges."""
    known = KnownRanges(source.size)
    for each in map(known.clipped, ranges):
        known.add(each.offset, source.read_at(*each))
    return known


def ask(question: Callable[[ReadAt], T], source: ReadAt, trips: int = 200) -> T:
    """What ``question`` answers over a remote file; what it says is missing is fetched, trip by trip."""
    known = KnownRanges(source.size)
    for _ in range(trips):
        try:
            return question(known)
        except MissingRange as missing:
            known.add(missing.wanted.offset, source.read_at(*missing.wanted))
    raise AssertionError(f"no answer after {trips} trips")


class Logged:
    """A source that writes down what is read of it."""

    def __init__(self, source: ReadAt) -> None:
        self._source = source
        self.reads: list[Range] = []

    @property
    def size(self) -> int:
        return self._source.size

    def read_at(self, offset: int, length: int) -> bytes:
        self.reads.append(Range(offset, length))
        return self._source.read_at(offset, length)
