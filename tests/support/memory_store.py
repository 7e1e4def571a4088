"""A store that lives as long as its process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from thoth.errors import CorruptTransfer, NoSuchObject, PreconditionFailed, StoreError
from thoth.store.base import ABSENT, MAX_SMALL, Digests, Entry, ObjectStat, Unfinished
from thoth.store.names import parts
from thoth.store.repeat import ReadRepeat

_Place = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Object:
    data: bytes
    etag: str
    mtime: float

    @property
    def stat(self) -> ObjectStat:
        return ObjectStat(len(self.data), self.etag)


class MemoryStore:
    """Objects in a dictionary. ``now`` is the clock of new objects, in seconds since 1970."""

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._objects: dict[_Place, _Object] = {}
        self._directories: set[_Place] = set()
        self._versions = 0

    def stat(self, name: str) -> ObjectStat:
        return self._object(name).stat

    def get(self, name: str) -> tuple[bytes, str]:
        found = self._object(name)
        if len(found.data) > MAX_SMALL:
            raise StoreError(f"{name}: too large to be read whole ({len(found.data)} bytes)")
        return found.data, found.etag

    def put(self, name: str, data: bytes, *, if_match: str | None = None) -> str:
        if len(data) > MAX_SMALL:
            raise StoreError(f"{name}: too large to be written at once ({len(data)} bytes)")
        return self._store(name, bytes(data), if_match).etag

    def open(self, name: str) -> OpenBytes:
        return OpenBytes(name, self._object(name).data)

    def list(self, name: str, *, most: int | None = None) -> Iterator[Entry]:
        place = parts(name)
        with self._lock:
            found = [
                Entry(each[-1], False, len(held.data), held.mtime)
                for each, held in self._objects.items()
                if each[:-1] == place
            ]
            found += [Entry(each[-1], True, 0, 0.0) for each in self._directories if each[:-1] == place]
        yield from sorted(found, key=lambda entry: entry.name)[:most]

    def delete(self, name: str, *, if_match: str | None = None) -> None:
        place = parts(name)
        with self._lock:
            if place in self._directories:
                if any(each[:-1] == place for each in (*self._objects, *self._directories)):
                    raise StoreError(f"{name}: is not empty")
                self._directories.remove(place)
            elif (found := self._objects.get(place)) is None:
                raise NoSuchObject(f"{name}: no such object")
            else:
                self._require(name, found, if_match)
                del self._objects[place]

    def begin(self, name: str, size: int | None, *, if_match: str | None = None) -> MemoryUpload:
        parts(name)
        return MemoryUpload(name, lambda data: self._store(name, data, if_match))

    def repeat(self, name: str, found: ObjectStat) -> ReadRepeat:
        if self.stat(name) != found:
            raise PreconditionFailed(f"{name}: has changed; read it again")
        return ReadRepeat(name, found, self.open(name))

    def unfinished(self, home: str) -> Iterator[Unfinished]:
        return iter(())  # an upload that ends early leaves nothing

    def forget(self, unfinished: Unfinished) -> None:
        raise NoSuchObject(f"{unfinished.name}: is gone")

    def discard(self, name: str, size: int) -> None:
        """There is nothing left of it."""

    def free(self) -> int | None:
        return None

    def gathering(self) -> Self:
        return self

    def flush(self) -> None:
        """What is written here is durable at once."""

    def settle(self, name: str) -> None:
        """As ``flush``."""

    def close(self) -> None:
        """There is nothing to close."""

    def _object(self, name: str) -> _Object:
        with self._lock:
            found = self._objects.get(parts(name))
        if found is None:
            raise NoSuchObject(f"{name}: no such object")
        return found

    def _store(self, name: str, data: bytes, if_match: str | None = None) -> ObjectStat:
        place = parts(name)
        above = [place[:depth] for depth in range(1, len(place))]
        with self._lock:
            if place in self._directories:
                raise StoreError(f"{name}: is a directory")
            self._require(name, self._objects.get(place), if_match)
            if any(each in self._objects for each in above):
                raise StoreError(f"{name}: one of the directories in its name is an object")
            self._directories.update(above)
            self._versions += 1
            stored = _Object(data, str(self._versions), self._now())
            self._objects[place] = stored
        return stored.stat

    @staticmethod
    def _require(name: str, found: _Object | None, if_match: str | None) -> None:
        etag = ABSENT if found is None else found.etag
        if if_match is not None and etag != if_match:
            raise PreconditionFailed(f"{name}: is not what was expected; read it again")


class MemoryUpload:
    """An upload into a MemoryStore."""

    def __init__(self, name: str, store: Callable[[bytes], ObjectStat]) -> None:
        self._name = name
        self._store = store
        self._data: bytearray | None = bytearray()

    def kept(self, length: int) -> None:
        """Nothing is left of earlier ones."""

    def go_on(self, length: int) -> None:
        raise StoreError(f"{self._name}: there is nothing to go on with")

    def part(self, data: bytes) -> None:
        self._collected().extend(data)

    def commit(self, digests: Digests) -> ObjectStat:
        data = bytes(self._collected())
        self.abort()
        if len(data) != digests.size:
            raise CorruptTransfer(
                f"{self._name}: {len(data)} bytes came where {digests.size} were read; upload it again"
            )
        return self._store(data)

    def abort(self) -> None:
        self._data = None

    def _collected(self) -> bytearray:
        if self._data is None:
            raise StoreError(f"{self._name}: this upload is over; begin another")
        return self._data


class OpenBytes:
    """An object of a MemoryStore, open for reading."""

    def __init__(self, name: str, data: bytes) -> None:
        self._name = name
        self._data: bytes | None = data
        self._size = len(data)

    @property
    def size(self) -> int:
        return self._size

    def read_at(self, offset: int, length: int) -> bytes:
        if self._data is None:
            raise StoreError(f"{self._name}: read after it was closed")
        return self._data[offset : offset + length]

    def close(self) -> None:
        self._data = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
