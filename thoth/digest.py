"""MD5 and SHA-256 of a stream, side by side."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from queue import SimpleQueue
from threading import BoundedSemaphore, Thread
from typing import Protocol

from thoth.store.base import Digests

_INLINE = 8 << 20  # bytes digested by the caller before threads pay for themselves
_AHEAD = 8  # blocks that may wait for a digest: memory stays flat when a digest is slower than the source


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...


class Digester:
    """Digests blocks as they pass. Close it, or the threads of a long stream stay.

    A long stream is digested by two threads, since hashlib lets go of the interpreter lock on large blocks: the
    reader goes on to the next block meanwhile.
    """

    def __init__(self) -> None:
        self._size = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()
        self._workers: list[_Worker] = []

    def feed(self, block: bytes) -> None:
        """The next bytes; the caller must not change them afterwards."""
        self._size += len(block)
        if not self._workers:
            self._md5.update(block)
            self._sha256.update(block)
            if self._size >= _INLINE:
                self._workers = [_Worker(self._md5), _Worker(self._sha256)]
            return
        for worker in self._workers:
            worker.put(block)

    def sha256_so_far(self) -> str:
        """The SHA-256 of what was fed so far; waits for it."""
        for worker in self._workers:
            worker.drain()
        return self._sha256.copy().hexdigest()

    def result(self) -> Digests:
        """Size and digests of all that was fed. Ends the digester."""
        self.close()
        return Digests(self._size, self._md5.hexdigest(), self._sha256.hexdigest())

    def close(self) -> None:
        for worker in self._workers:
            worker.end()
        self._workers = []


class _Worker:
    def __init__(self, target: _Hash) -> None:
        self._queue: SimpleQueue[bytes | None] = SimpleQueue()
        self._room = BoundedSemaphore(_AHEAD)
        self._target = target
        self._thread = Thread(target=self._run, name="digest", daemon=True)
        self._thread.start()

    def put(self, block: bytes) -> None:
        self._room.acquire()
        self._queue.put(block)

    def _run(self) -> None:
        while (block := self._queue.get()) is not None:
            self._target.update(block)
            self._room.release()

    def drain(self) -> None:
        """Return when all that was put is digested."""
        for _ in range(_AHEAD):
            self._room.acquire()
        for _ in range(_AHEAD):
            self._room.release()

    def end(self) -> None:
        self._queue.put(None)
        self._thread.join()


def digests_of(blocks: Iterable[bytes]) -> Digests:
    """Size and digests of a stream that is read to its end."""
    digester = Digester()
    try:
        for block in blocks:
            digester.feed(block)
        return digester.result()
    finally:
        digester.close()
