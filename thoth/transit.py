"""The bytes of a dump on their way into the store: digested, looked at, and passed on. Those that an earlier run has
brought are read there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from thoth.digest import Digester
from thoth.dumps.source import Range, Recorder
from thoth.store.base import Digests, Upload

_TELL: Final = 64 << 20  # bytes after which it is told what has come


class Transit:
    """One dump's way. Close it, or the threads of its digests stay. ``recorder`` keeps the wanted ranges."""

    def __init__(self, ranges: Iterable[Range]) -> None:
        self.recorder = Recorder(ranges)
        self.size = 0  # bytes so far
        self._digester = Digester()

    def resume(self, upload: Upload, length: int, sha256: str) -> bool:
        """Take the first bytes from what the store has of them, if they are as many and have that digest. False: they
        are not, and this transit cannot be used any more. Raises StoreError."""
        kept = upload.kept(length)
        if kept is None:
            return False
        for block in kept:
            self._take(block)
        if self.size != length or self._digester.sha256_so_far() != sha256:
            return False
        upload.go_on(length)
        return True

    def pump(self, stream: Iterable[bytes], upload: Upload, tell: Callable[[int, str], None] | None = None) -> None:
        """Pass the rest on. ``tell`` is told now and then how many bytes have come in all, and their SHA-256."""
        told = self.size
        for block in stream:
            self._take(block)
            upload.part(block)
            if tell and self.size - told >= _TELL:
                told = self.size
                tell(told, self._digester.sha256_so_far())

    def _take(self, block: bytes) -> None:
        self._digester.feed(block)
        self.recorder.feed(block)
        self.size += len(block)

    def digests(self) -> Digests:
        return self._digester.result()

    def close(self) -> None:
        self._digester.close()
