"""An object of a directory store, open for reading."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from thoth.errors import StoreError
from thoth.store.base import ObjectStat
from thoth.store.refusals import reading


class OpenObject:
    """An object open for reading: it stays what it was, whatever takes its name."""

    def __init__(self, root: Path, name: str, fd: int) -> None:
        self._root = root
        self._name = name
        self._fd = fd
        self._stat = object_stat(os.fstat(fd))

    @property
    def size(self) -> int:
        return self._stat.size

    @property
    def etag(self) -> str:
        return self._stat.etag

    def read_at(self, offset: int, length: int) -> bytes:
        if self._fd < 0:
            raise StoreError(f"{self._name}: read after it was closed")
        wanted = max(0, min(length, self.size - offset))  # what is asked for may be more than memory holds
        with reading(self._root, self._name):
            data = os.pread(self._fd, wanted, min(offset, self.size))
            while data and len(data) < wanted:  # one call gives at most 2 GiB
                more = os.pread(self._fd, wanted - len(data), offset + len(data))
                if not more:
                    break
                data += more
        return data

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def object_stat(found: os.stat_result) -> ObjectStat:
    """What a file is as an object."""
    return ObjectStat(found.st_size, f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}")
