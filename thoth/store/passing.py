"""What wrappers of stores have in common. In a module of its own, since every command starts by way of here."""

from __future__ import annotations

from collections.abc import Iterator

from thoth.store.base import Entry, ObjectStat, ObjectStore, StoredObject, Unfinished, Upload


class Passing:
    """A store that passes everything on to another: what wrappers have in common."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @property
    def inner(self) -> ObjectStore:
        """The store that is wrapped."""
        return self._store

    def stat(self, name: str) -> ObjectStat:
        return self._store.stat(name)

    def get(self, name: str) -> tuple[bytes, str]:
        return self._store.get(name)

    def put(self, name: str, data: bytes, *, if_match: str | None = None) -> str:
        return self._store.put(name, data, if_match=if_match)

    def open(self, name: str) -> StoredObject:
        return self._store.open(name)

    def list(self, name: str, *, most: int | None = None) -> Iterator[Entry]:
        return self._store.list(name, most=most)

    def delete(self, name: str, *, if_match: str | None = None) -> None:
        self._store.delete(name, if_match=if_match)

    def begin(self, name: str, size: int | None, *, if_match: str | None = None) -> Upload:
        return self._store.begin(name, size, if_match=if_match)

    def repeat(self, name: str, found: ObjectStat) -> Upload:
        return self._store.repeat(name, found)

    def unfinished(self, home: str) -> Iterator[Unfinished]:
        return self._store.unfinished(home)

    def forget(self, unfinished: Unfinished) -> None:
        self._store.forget(unfinished)

    def discard(self, name: str, size: int) -> None:
        self._store.discard(name, size)

    def free(self) -> int | None:
        return self._store.free()

    def gathering(self) -> ObjectStore:
        return self

    def flush(self) -> None:
        """What is written here is durable at once."""

    def settle(self, name: str) -> None:
        self._store.settle(name)

    def close(self) -> None:
        self._store.close()
