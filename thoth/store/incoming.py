"""An upload into a directory store: a draft that is filled, or one that was taken up and is gone on with."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from thoth.durable import HOLE, Draft
from thoth.errors import NoRoom, StoreError
from thoth.store.base import Digests, ObjectStat
from thoth.store.refusals import writing
from thoth.store.uploads import over, require_size

WINDOW: Final = 8 << 20  # bytes of an upload that may wait in memory before the disk is set to work
_READ: Final = 1 << 20  # bytes per read of what is compared; a multiple of a hole


class DirectoryUpload:
    """An upload into a DirectoryStore. Its own failures leave nothing of it; what others broke off may be kept.

    A draft that has something in it is held against the bytes that come. What is equal is not written again; from
    the first difference on nothing of it is kept. ``is_there`` tells whether the store has such an object already.
    """

    def __init__(
        self,
        root: Path,
        name: str,
        draft: Draft,
        *,
        publish: Callable[[Draft], ObjectStat],
        is_there: Callable[[], bool],
    ) -> None:
        self._root = root
        self._name = name
        self._draft: Draft | None = draft
        self._publish = publish
        self._is_there = is_there
        self._size = 0
        self._nudged = 0  # the disk has been set to work up to here
        self._earlier = _Earlier(draft) if draft.key and os.fstat(draft.fileno()).st_size else None

    def kept(self, length: int) -> Iterator[bytes] | None:
        draft = self._draft
        if draft is None or self._earlier is None or os.fstat(draft.fileno()).st_size < length:
            return None
        return self._read(draft, length)

    def _read(self, draft: Draft, length: int) -> Iterator[bytes]:
        for at in range(0, length, _READ):
            try:
                block = os.pread(draft.fileno(), min(_READ, length - at), at)
            except OSError:  # a bad block: then this is no beginning, and the next one does not try it again
                with writing(self._root, self._name):
                    self._cut(draft, 0)
                return
            yield block

    def go_on(self, length: int) -> None:
        self._size = self._nudged = length

    def part(self, data: bytes) -> None:
        with self._going_on() as draft:
            self._write(draft, data)
            self._size += len(data)
            if self._size - self._nudged >= WINDOW:
                self._nudge(draft)

    def _write(self, draft: Draft, data: bytes) -> None:
        if self._earlier is not None:
            try:
                equal = self._earlier.equal(data, self._size)
            except OSError:  # a bad block: what the disk cannot read is written anew
                equal = 0
            if equal == len(data):
                return
            self._cut(draft, self._size + equal)
            data = data[equal:]
        draft.write_sparse(data)

    def _cut(self, draft: Draft, size: int) -> None:
        """Have nothing of the earlier upload but these first bytes, which are compared."""
        if self._earlier is not None:
            draft.cut(size)
            self._earlier = None

    def _nudge(self, draft: Draft) -> None:
        # DONTNEED makes the kernel begin to write what is new, without waiting for it, and drop what is
        # written already: commit has little left to wait for, and a large dump does not flood the page cache.
        start = max(0, self._nudged - WINDOW)
        os.posix_fadvise(draft.fileno(), start, self._size - start, os.POSIX_FADV_DONTNEED)
        self._nudged = self._size

    def commit(self, digests: Digests) -> ObjectStat:
        with self._going_on() as draft:
            require_size(self._name, digests, self._size)
            self._cut(draft, self._size)
            stored = self._publish(draft)
        self._discard()
        return stored

    def abort(self) -> None:
        """Keep what the next upload can go on with, if it is much and the object is still wanted; else discard it."""
        draft = self._draft
        if draft is None or not self._is_worth_keeping(draft):
            self._discard()
        else:
            self._draft = None
            draft.keep()

    def _is_worth_keeping(self, draft: Draft) -> bool:
        return bool(draft.key) and os.fstat(draft.fileno()).st_size >= WINDOW and not self._is_there()

    def _discard(self) -> None:
        draft, self._draft = self._draft, None
        if draft is not None:
            draft.discard()

    @contextmanager
    def _going_on(self) -> Iterator[Draft]:
        if self._draft is None:
            raise over(self._name)
        try:
            with writing(self._root, self._name, full=NoRoom):
                yield self._draft
        except StoreError:
            self._discard()
            raise
        except BaseException:
            self.abort()
            raise


class _Earlier:
    """What an earlier upload has left in a draft. It is read, and never believed."""

    def __init__(self, draft: Draft) -> None:
        self._fd = draft.fileno()
        self._buffer = memoryview(bytearray(_READ))
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)

    def equal(self, data: bytes, offset: int) -> int:
        """How many of these bytes are there already, at ``offset`` and on: all, or the whole pieces that are equal.

        A piece is what becomes a hole when it is zeros: what follows is cut as if there had been no earlier upload.
        """
        for at in range(0, len(data), _READ):
            length = min(_READ, len(data) - at)
            there = self._buffer[: os.preadv(self._fd, [self._buffer[:length]], offset + at)]
            if len(there) < length or not data.startswith(there, at):
                return at + _equal_pieces(data, at, there)
        return len(data)


def _equal_pieces(data: bytes, at: int, there: memoryview) -> int:
    """How many bytes have the pieces of ``data`` from ``at`` on, up to the first that is not all ``there``."""
    for start in range(0, len(there), HOLE):
        end = min(start + HOLE, len(data) - at)
        # startswith compares without a copy, and so fast as memory is; two memoryviews are compared byte by byte.
        if end > len(there) or not data.startswith(there[start:end], at + start):
            return start
    return len(there)
