"""Rows F32 and F33: somebody who answers as Manta does, and means no good."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import pytest

from tests.support.manta_moods import Answer
from tests.support.manta_server import MantaServer
from tests.support.manta_store import QUICK, Pauses, signer
from tests.support.scripted_http import Peer, Scripted
from thoth.errors import StoreError, StoreTransient
from thoth.store.manta import MantaAccess, MantaStore
from thoth.store.manta_listing import entries
from thoth.store.manta_service import Manta

NAME = "/alice/stor/thoth/core.x"
_HEAD = b"HTTP/1.1 %d X\r\nx-request-id: 1\r\nEtag: abc\r\nContent-Length: %d\r\n%b\r\n"
_LISTED = b"Content-Type: application/x-json-stream; type=directory\r\nResult-Set-Size: %d\r\n"


def refused(script: Callable[[Peer], object], ask: Callable[[MantaStore], object]) -> StoreError:
    """The error that the store raises for what the script says."""
    with Scripted(script) as server:
        store = MantaStore(MantaAccess(server.url, "alice", limits=QUICK), signer(), times=Pauses().times())
        try:
            with pytest.raises(StoreError) as caught:
                ask(store)
        finally:
            store.close()
    assert "\n" not in str(caught.value)
    return caught.value


def answer(status: int, body: bytes, headers: bytes = b"") -> bytes:
    return _HEAD % (status, len(body), headers) + body


def page(names: Iterable[object], total: int) -> bytes:
    line = b'{"name":"%b","type":"object","size":1,"mtime":"2026-01-01T00:00:00Z"}\n'
    return answer(200, b"".join(line % str(name).encode() for name in names), _LISTED % total)


def listed(store: MantaStore) -> object:
    return list(store.list("/alice/stor/thoth"))


def test_an_error_nested_too_deep_to_be_read() -> None:
    error = refused(lambda peer: peer.send(answer(400, b"[" * 60_000)), lambda store: store.get(NAME))
    assert str(error) == f"{NAME}: Manta: status 400 (request 1)"


def test_a_length_that_is_none() -> None:
    head = b"HTTP/1.1 200 X\r\nx-request-id: 1\r\nEtag: abc\r\nContent-Length: %b\r\n\r\n" % (b"9" * 5000)
    assert "no length" in str(refused(lambda peer: peer.send(head), lambda store: store.stat(NAME)))


@pytest.mark.parametrize(
    "entry",
    [
        b'{"name":"a","type":"object","size":1e999,"mtime":"2026-01-01T00:00:00Z"}',
        b'{"name":"a","type":"object","size":-1,"mtime":"2026-01-01T00:00:00Z"}',
        b'{"name":"\\ud800","type":"object","size":1,"mtime":"2026-01-01T00:00:00Z"}',
        b'{"name":"a","type":"object","size":1,"mtime":"0001-01-01T00:00:00"}',
        b"[" * 60_000,
        b"1",
    ],
    ids=["size", "negative", "surrogate", "mtime", "deep", "number"],
)
def test_an_entry_that_is_none(entry: bytes) -> None:
    error = refused(lambda peer: peer.send(answer(200, entry + b"\n", _LISTED % 1)), listed)
    assert isinstance(error, StoreTransient)
    assert "in the middle of an entry" in str(error)


def test_a_listing_that_goes_in_circles() -> None:
    pages = itertools.cycle([page(range(1000, 2024), 2048), page(range(2024, 3048), 2048)])
    error = refused(lambda peer: peer.send(next(pages)), listed)
    assert "does not go on" in str(error)


def test_a_listing_without_an_end() -> None:
    def script(peer: Peer) -> bool:
        start = peer.number * 1024
        peer.send(page(range(start, start + 1024), 1 << 40))
        return peer.number < 99

    with Scripted(script) as server:
        manta = Manta(MantaAccess(server.url, "alice", limits=QUICK), signer(), Pauses().times())
        with pytest.raises(StoreError, match="does not end"):
            list(entries(manta, "/alice/stor/thoth", most=5000))
        manta.close()
    assert len(server.heads) == 5


def test_who_asks_for_a_pause_while_an_object_is_read_gets_it(server: MantaServer, store: MantaStore) -> None:
    store.put(NAME, b"x" * 100)
    with store.open(NAME) as found:
        placed = server.moods.add(Answer(503, "ServiceUnavailable", retry_after=20), method="GET", count=None)
        with pytest.raises(StoreTransient, match="ServiceUnavailable") as caught:
            found.read_at(0, 100)
    assert (caught.value.retry_after, placed.hits) == (20, 1)
