"""Rows F32 and F33: somebody who answers as Manta does, and means no good."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import pytest

from tests.support.manta_moods import Answer
from tests.support.manta_server import MantaServer
from tests.support.manta_store import QUICK, Pauses, signer
from tests.support.scripted_http import Peer, Scripted
from thoth.errors import CorruptTransfer, StoreError, StoreTransient
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


def test_uploads_nested_without_an_end() -> None:
    entry = b'{"name":"a","type":"directory","mtime":"2026-01-01T00:00:00Z"}\n'
    with Scripted(lambda peer: peer.send(answer(200, entry, _LISTED % 1)) if peer.number < 99 else False) as server:
        store = MantaStore(MantaAccess(server.url, "alice", limits=QUICK), signer(), times=Pauses().times())
        assert not list(store.unfinished("/alice/stor/thoth"))
        store.close()
    assert len(server.heads) < 20


def test_other_bytes_than_were_asked_for() -> None:
    def script(peer: Peer) -> None:
        if peer.head.startswith(b"HEAD"):
            peer.send(answer(200, b"x" * 200_000)[:-200_000])
        else:
            peer.send(answer(206, b"x" * (64 << 10), b"Content-Range: bytes 0-65535/200000\r\n"))

    def read(store: MantaStore) -> object:
        with store.open(NAME) as found:
            return found.read_at(100_000, 10)

    assert "other bytes than it was asked for" in str(refused(script, read))


def test_an_upload_that_is_taken_for_whole_too_early_is_deleted() -> None:
    heads: list[bytes] = []

    def script(peer: Peer) -> None:
        heads.append(peer.head)
        peer.send(b"HTTP/1.1 204 X\r\nx-request-id: 1\r\nEtag: e-1\r\n\r\n")

    def upload(store: MantaStore) -> None:
        incoming = store.begin(NAME, 64 << 20)
        try:
            for _ in range(64):
                incoming.part(b"x" * (1 << 20))
        finally:
            incoming.abort()

    error = refused(script, upload)
    assert isinstance(error, CorruptTransfer)
    assert "took it for whole before it had got everything; it was deleted" in str(error)
    assert heads[-1].startswith(b"DELETE ")
    assert b"If-Match: e-1\r\n" in heads[-1]


def test_who_asks_for_a_pause_while_an_object_is_read_gets_it(server: MantaServer, store: MantaStore) -> None:
    store.put(NAME, b"x" * 100)
    with store.open(NAME) as found:
        placed = server.moods.add(Answer(503, "ServiceUnavailable", retry_after=20), method="GET", count=None)
        with pytest.raises(StoreTransient, match="ServiceUnavailable") as caught:
            found.read_at(0, 100)
    assert (caught.value.retry_after, placed.hits) == (20, 1)
