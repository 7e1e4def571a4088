"""What cuts across stores: a store around a store, with the same contract."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final, Never, Self

from thoth.digest import digests_of
from thoth.errors import (
    CannotWrite,
    NoSuchObject,
    PreconditionFailed,
    StoreTransient,
)
from thoth.patience import USUAL, Patience, Say, Tries
from thoth.store.base import Digests, Entry, ObjectStat, ObjectStore, StoredObject, Unfinished, Upload
from thoth.store.passing import Passing

_BLOCK: Final = 1 << 20  # bytes per read of an object that is read back


class DryRun(Passing):
    """A store that can only be read. Every write raises CannotWrite and reaches nothing."""

    def put(self, name: str, data: bytes, *, if_match: str | None = None) -> Never:
        raise _cannot_write(name)

    def delete(self, name: str, *, if_match: str | None = None) -> Never:
        raise _cannot_write(name)

    def begin(self, name: str, size: int | None, *, if_match: str | None = None) -> Never:
        raise _cannot_write(name)

    def forget(self, unfinished: Unfinished) -> Never:
        raise _cannot_write(unfinished.name)

    def discard(self, name: str, size: int) -> Never:
        raise _cannot_write(name)


def _cannot_write(name: str) -> CannotWrite:
    return CannotWrite(f"{name}: would be written in a dry run; this is a defect, please report it")


def read_back(store: ObjectStore, name: str) -> Digests:
    """Size and digests of an object as the store has it now. Raises StoreError, NoSuchObject among them."""
    with store.open(name) as found:
        return digests_of(_blocks(found))


def sha256_of_beginning(store: ObjectStore, name: str, size: int) -> str:
    """The SHA-256 of the first ``size`` bytes of an object, or of all that it has. Raises as ``read_back`` does."""
    digest = hashlib.sha256()
    with store.open(name) as found:
        for at in range(0, min(size, found.size), _BLOCK):
            digest.update(found.read_at(at, min(_BLOCK, size - at)))
    return digest.hexdigest()


def _blocks(found: StoredObject) -> Iterator[bytes]:
    at = 0
    while block := found.read_at(at, _BLOCK):
        at += len(block)
        yield block


class Retrying(Passing):
    """A store that tries again after StoreTransient, with growing pauses, and then raises the last of them, or
    StoreUnavailable for a store that cannot be reached.

    Uploads are passed on: a stream cannot be sent twice. ``sleep`` and ``clock`` are in seconds, ``clock`` is
    monotonic, ``random`` gives numbers from 0 to 1. ``say`` takes a line when a call
    is about to be tried again.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        sleep: Callable[[float], object],
        clock: Callable[[], float],
        random: Callable[[], float],
        patience: Patience = USUAL,
        say: Say | None = None,
    ) -> None:
        super().__init__(store)
        self._sleep = sleep
        self._clock = clock
        self._random = random
        self._patience = patience
        self._say = say

    def stat(self, name: str) -> ObjectStat:
        return self._tries().run(lambda: self._store.stat(name))

    def get(self, name: str) -> tuple[bytes, str]:
        return self._tries().run(lambda: self._store.get(name))

    def open(self, name: str) -> StoredObject:
        found = self._tries().run(lambda: self._store.open(name))
        return _RetryingObject(found, self._tries)

    def put(self, name: str, data: bytes, *, if_match: str | None = None) -> str:
        tries = self._tries()

        def once() -> str:
            try:
                return self._store.put(name, data, if_match=if_match)
            except PreconditionFailed:
                # The first try may have been done and only its answer lost.
                if tries.failed and (etag := self._etag_of(name, data)):
                    return etag
                raise

        return tries.run(once)

    def _etag_of(self, name: str, data: bytes) -> str:
        """The object's etag if it holds just these bytes, else empty."""
        try:
            found, etag = self._store.get(name)
        except NoSuchObject:
            return ""
        return etag if found == data else ""

    def delete(self, name: str, *, if_match: str | None = None) -> None:
        self._removed(lambda: self._store.delete(name, if_match=if_match))

    def repeat(self, name: str, found: ObjectStat) -> Upload:
        return self._tries().run(lambda: self._store.repeat(name, found))

    def unfinished(self, home: str) -> Iterator[Unfinished]:
        return iter(self._tries().run(lambda: [*self._store.unfinished(home)]))

    def forget(self, unfinished: Unfinished) -> None:
        self._removed(lambda: self._store.forget(unfinished))

    def _removed(self, remove: Callable[[], None]) -> None:
        tries = self._tries()

        def once() -> None:
            try:
                remove()
            except NoSuchObject:
                if not tries.failed:  # else the first try was done and only its answer lost
                    raise

        tries.run(once)

    def list(self, name: str, *, most: int | None = None) -> Iterator[Entry]:
        tries = self._tries()
        last = ""
        while True:
            try:
                for entry in self._store.list(name, most=most):
                    if entry.name > last:
                        last = entry.name
                        yield entry
            except StoreTransient as error:
                tries.pause(error)
            else:
                return

    def _tries(self) -> Tries:
        return Tries(self._patience, self._sleep, self._clock, self._random, self._say)


class _RetryingObject:
    def __init__(self, found: StoredObject, tries: Callable[[], Tries]) -> None:
        self._found = found
        self._tries = tries

    @property
    def size(self) -> int:
        return self._found.size

    def read_at(self, offset: int, length: int) -> bytes:
        return self._tries().run(lambda: self._found.read_at(offset, length))

    def __enter__(self) -> Self:
        self._found.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._found.__exit__(kind, error, trace)
