"""What the tests of uploads in parts have in common: an object of four parts, and looks at the server."""

from __future__ import annotations

import hashlib

from tests.support.manta_server import MantaServer
from tests.support.manta_store import manta
from tests.thoth.store.manta_parts.one_upload import NAME, PART, blocks, digests
from thoth.store.base import ObjectStat, Unfinished, Upload
from thoth.store.manta import MantaStore, PartSizes

HOME = "/alice/stor/thoth"
SIZES = PartSizes(threshold=PART, part=PART)
SERIAL = PartSizes(threshold=PART, part=PART, budget=PART)
SIZE = 3 * PART + 12345  # four parts


def feed(incoming: Upload, size: int) -> None:
    for block in blocks(size):
        incoming.part(block)


def upload(store: MantaStore, size: int = SIZE, name: str = NAME) -> ObjectStat:
    incoming = store.begin(name, size)
    feed(incoming, size)
    return incoming.commit(digests(size))


def is_right(server: MantaServer, size: int = SIZE) -> bool:
    server.moods.clear()
    store = manta(server)
    try:
        with store.open(NAME) as found:
            whole = hashlib.md5(usedforsecurity=False)
            at = 0
            while block := found.read_at(at, 1 << 20):
                whole.update(block)
                at += len(block)
            return (found.size, whole.hexdigest()) == (size, digests(size).md5)
    finally:
        store.close()


def parts_sent(server: MantaServer, since: int = 0) -> list[int]:
    """The numbers of the parts that arrived."""
    return sorted(
        int(each.path.rpartition("/")[2])
        for each in server.requests[since:]
        if each.method == "PUT" and "/uploads/" in each.path and each.status == 204
    )


def count(server: MantaServer, method: str, ending: str, since: int = 0) -> int:
    return sum(each.method == method and each.path.endswith(ending) for each in server.requests[since:])


def pending(server: MantaServer) -> list[Unfinished]:
    """The uploads that have no end yet, as another machine sees them."""
    store = manta(server)
    try:
        return list(store.unfinished(HOME))
    finally:
        store.close()


def end_pending(server: MantaServer) -> None:
    """End them, as another machine's scrub does."""
    store = manta(server)
    for each in store.unfinished(HOME):
        store.forget(each)
    store.close()


def begun(store: MantaStore, sent: int = 2 * PART + 100, size: int = SIZE) -> None:
    """An upload that breaks off after so many bytes."""
    incoming = store.begin(NAME, size)
    feed(incoming, sent)
    incoming.abort()
