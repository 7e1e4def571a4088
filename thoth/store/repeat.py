"""Uploads of what a store has already, as one that was killed may have left it before its document came: what comes
is held against it, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Final

from thoth.errors import OtherBytes, StoreError
from thoth.store.base import Digests, ObjectStat, StoredObject
from thoth.store.uploads import over, require_size

_READ: Final = 1 << 20  # bytes per read


class ReadRepeat:
    """One whose bytes are read, and compared one by one."""

    def __init__(self, name: str, stat: ObjectStat, found: StoredObject) -> None:
        self._name = name
        self._stat = stat
        self._held = ExitStack()
        self._found: StoredObject | None = self._held.enter_context(found)
        self._size = 0

    def kept(self, length: int) -> Iterator[bytes] | None:
        found = self._open()
        if length > found.size:
            return None
        return (self._read(found, at, min(_READ, length - at)) for at in range(0, length, _READ))

    @staticmethod
    def _read(found: StoredObject, at: int, length: int) -> bytes:
        try:
            return found.read_at(at, length)
        except StoreError:  # a bad block: what cannot be read is nothing that one could leave as it is
            return b""

    def go_on(self, length: int) -> None:
        self._size = length

    def part(self, data: bytes) -> None:
        found = self._open()
        for at in range(0, len(data), _READ):
            length = min(_READ, len(data) - at)
            there = self._read(found, self._size + at, length)
            if len(there) < length or not data.startswith(there, at):
                raise other_bytes(self._name)
        self._size += len(data)

    def commit(self, digests: Digests) -> ObjectStat:
        self._open()
        require_size(self._name, digests, self._size)
        if self._size != self._stat.size:
            raise other_bytes(self._name)
        self.abort()
        return self._stat

    def abort(self) -> None:
        self._found = None
        self._held.close()

    def _open(self) -> StoredObject:
        if self._found is None:
            raise over(self._name)
        return self._found


class DigestRepeat:
    """One whose MD5 the store tells, in hex. ``equal`` is called once it is sure that just these bytes came."""

    def __init__(self, name: str, stat: ObjectStat, md5: str, equal: Callable[[], None]) -> None:
        self._name = name
        self._stat = stat
        self._md5 = md5
        self._equal = equal
        self._size = 0
        self._over = False

    def kept(self, length: int) -> None:
        """Nothing is read of it."""

    def go_on(self, length: int) -> None:
        raise StoreError(f"{self._name}: all of it has to come")

    def part(self, data: bytes) -> None:
        self._going_on()
        self._size += len(data)  # who sends it digests it

    def commit(self, digests: Digests) -> ObjectStat:
        self._going_on()
        self._over = True
        require_size(self._name, digests, self._size)
        if (digests.size, digests.md5) != (self._stat.size, self._md5):
            raise other_bytes(self._name)
        self._equal()
        return self._stat

    def abort(self) -> None:
        self._over = True

    def _going_on(self) -> None:
        if self._over:
            raise over(self._name)


def other_bytes(name: str) -> OtherBytes:
    return OtherBytes(f"{name}: what is there has other bytes; upload it again")
