"""The bytes of a dump on their way into the store: digested, looked at, and passed on. Those that an earlier run has
brought are read there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Final

from thoth.digest import Digester
from thoth.dumps.source import Range, Recorder
from thoth.store.base import Digests, Upload

_TELL: Final = 64 << 20  # bytes after which it is told what has come
_OFTEN: Final = 5.0  # seconds after which it is, too: over a slow link that much takes minutes


@dataclass(frozen=True, slots=True)
class Prefix:
    """The first bytes of a dump: how many, and the SHA-256 that they had when they came."""

    length: int
    sha256: str


class Seekable:
    """A stream that can be begun anywhere: ``start`` is given the offset. ``came`` is told now and then what has come
    so far, so that another run can go on from there."""

    def __init__(self, start: Callable[[int], Iterator[bytes]], came: Callable[[Prefix], None]) -> None:
        self.start = start
        self.came = came

    def __iter__(self) -> Iterator[bytes]:
        return self.start(0)


class Transit:
    """One dump's way. Close it, or the threads of its digests stay. ``recorder`` keeps the wanted ranges."""

    def __init__(self, ranges: Iterable[Range]) -> None:
        self.recorder = Recorder(ranges)
        self.size = 0  # bytes so far
        self._digester = Digester()

    def resume(self, upload: Upload, earlier: Prefix) -> bool:
        """Take the first bytes from what the store has of them, if they are as many and have that digest. False: they
        are not, and this transit cannot be used any more. Raises StoreError."""
        kept = upload.kept(earlier.length)
        if kept is None:
            return False
        for block in kept:
            self._take(block)
        if Prefix(self.size, self._digester.sha256_so_far()) != earlier:
            return False
        upload.go_on(earlier.length)
        return True

    def pump(self, stream: Iterable[bytes], upload: Upload, tell: Callable[[Prefix], None] | None = None) -> None:
        """Pass the rest on. ``tell`` is told now and then what has come in all."""
        told, due = self.size, monotonic() + _OFTEN
        for block in stream:
            self._take(block)
            upload.part(block)
            if tell and (self.size - told >= _TELL or monotonic() >= due):
                told, due = self.size, monotonic() + _OFTEN
                tell(Prefix(told, self._digester.sha256_so_far()))

    def _take(self, block: bytes) -> None:
        self._digester.feed(block)
        self.recorder.feed(block)
        self.size += len(block)

    def digests(self) -> Digests:
        return self._digester.result()

    def close(self) -> None:
        self._digester.close()
