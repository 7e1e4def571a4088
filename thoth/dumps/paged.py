"""A dump that is read in pages, each once, and up to a limit: what a stack needs lies scattered, but in clusters."""

from __future__ import annotations

from thoth.dumps.allowance import Allowance
from thoth.dumps.source import ReadAt
from thoth.errors import SourceError

PAGE = 4096  # bytes


class TooMuchRead(SourceError):
    """Reading on would pass the limit. Who catches it goes on with what is known."""


class Paged:
    """A ReadAt over another one. Raises TooMuchRead where more bytes are wanted than the allowance has left."""

    __slots__ = ("_allowance", "_page", "_pages", "_source")

    def __init__(self, source: ReadAt, allowance: Allowance, page: int = PAGE) -> None:
        self._source = source
        self._allowance = allowance
        self._page = page
        self._pages: dict[int, bytes] = {}  # by number

    @property
    def size(self) -> int:
        return self._source.size

    def read_at(self, offset: int, length: int) -> bytes:
        length = max(0, min(length, self.size - offset))
        if not length:
            return b""
        first, last = offset // self._page, (offset + length - 1) // self._page
        self._fetch(first, last)
        if first == last:
            start = offset - first * self._page
            return self._pages[first][start : start + length]
        whole = b"".join([self._pages[number] for number in range(first, last + 1)])
        return whole[offset - first * self._page :][:length]

    def _fetch(self, first: int, last: int) -> None:
        """Have these pages; those that are missing side by side are read at once."""
        number = first
        while number <= last:
            if number in self._pages:
                number += 1
                continue
            end = number + 1
            while end <= last and end not in self._pages:
                end += 1
            self._read(number, end)
            number = end

    def _read(self, first: int, end: int) -> None:
        wanted = (end - first) * self._page
        if not self._allowance.take(wanted):
            raise TooMuchRead("reading its stacks takes too much of it")
        data = self._source.read_at(first * self._page, wanted)
        for number in range(first, end):
            at = (number - first) * self._page
            self._pages[number] = data[at : at + self._page]
