"""What the tests of Manta's faults have in common: an object, and what is done with it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

from tests.support.manta_server import MantaServer
from tests.support.manta_store import manta
from thoth.errors import (
    NoSuchObject,
)
from thoth.store.base import Digests, ObjectStore
from thoth.store.manta import PartSizes

HOME = "/alice/stor/thoth"
NAME = f"{HOME}/{'ab' * 16}/core.x"
SMALL = b"small " * 1000
LARGE = os.urandom(9_000_000)
IN_PARTS = PartSizes(threshold=5 << 20, part=5 << 20)


def digests(data: bytes) -> Digests:
    return Digests(len(data), hashlib.md5(data).hexdigest(), hashlib.sha256(data).hexdigest())


def upload(store: ObjectStore, data: bytes, *, if_match: str | None = None, name: str = NAME) -> str:
    incoming = store.begin(name, len(data), if_match=if_match)
    try:
        for start in range(0, len(data), 1 << 18):
            incoming.part(data[start : start + (1 << 18)])
        return incoming.commit(digests(data)).etag
    finally:
        incoming.abort()


def content(server: MantaServer) -> bytes:
    """What is there, as a store without faults sees it."""
    server.moods.clear()
    store = manta(server)
    try:
        with store.open(NAME) as found:
            return found.read_at(0, found.size)
    finally:
        store.close()


def nothing_there(server: MantaServer) -> bool:
    server.moods.clear()
    store = manta(server)
    try:
        store.stat(NAME)
    except NoSuchObject:
        return True
    finally:
        store.close()
    return False


CALLS: dict[str, Callable[[ObjectStore], object]] = {
    "stat": lambda store: store.stat(NAME),
    "get": lambda store: store.get(NAME),
    "put": lambda store: store.put(NAME, SMALL),
    "list": lambda store: list(store.list(HOME)),
    "open": lambda store: store.open(NAME),
    "delete": lambda store: store.delete(NAME),
    "small upload": lambda store: upload(store, SMALL),
}
