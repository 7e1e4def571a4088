"""The stores that the contract holds for; a new kind of store joins with one line in STORES."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

from tests.support.manta_store import manta_store
from tests.support.memory_store import MemoryStore
from thoth.store.base import Digests, ObjectStat, ObjectStore
from thoth.store.directory import DirectoryStore
from thoth.store.manta import PartSizes
from thoth.store.wrappers import Retrying


def _retrying(store: ObjectStore) -> ObjectStore:
    return Retrying(store, sleep=_never, clock=time.monotonic, random=lambda: 0.5)


def _never(seconds: float) -> None:
    raise AssertionError(f"slept {seconds} s although nothing failed")


@contextmanager
def _manta(*, in_parts: bool = False, root: Path | None = None) -> Iterator[ObjectStore]:
    with manta_store(PartSizes(threshold=0) if in_parts else None, root) as store:
        yield store


STORES: dict[str, Callable[[Path], AbstractContextManager[ObjectStore]]] = {
    "directory": lambda root: closing(DirectoryStore(root)),
    "memory": lambda root: closing(MemoryStore()),
    "manta": lambda root: _manta(),
    "manta in parts": lambda root: _manta(in_parts=True, root=root),
    "retrying directory": lambda root: closing(_retrying(DirectoryStore(root))),
    "retrying memory": lambda root: closing(_retrying(MemoryStore())),
}


HOME = "/alice/stor/thoth"
CORE = f"{HOME}/{'ab' * 16}/core.x"
INFO = f"{HOME}/{'ab' * 16}/info.json"


def digests(data: bytes) -> Digests:
    return Digests(len(data), hashlib.md5(data).hexdigest(), hashlib.sha256(data).hexdigest())


def upload(store: ObjectStore, name: str, *blocks: bytes) -> ObjectStat:
    data = b"".join(blocks)
    incoming = store.begin(name, len(data))
    for block in blocks:
        incoming.part(block)
    return incoming.commit(digests(data))


def content(store: ObjectStore, name: str) -> bytes:
    with store.open(name) as found:
        return found.read_at(0, found.size)


def names(store: ObjectStore, directory: str) -> list[str]:
    return [entry.name for entry in store.list(directory)]
