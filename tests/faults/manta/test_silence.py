"""Row F32: Manta is slow, or silent, or the connection breaks."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.manta.scene import (
    CALLS,
    HOME,
    IN_PARTS,
    LARGE,
    NAME,
    SMALL,
    content,
    nothing_there,
    upload,
)
from tests.support.chaos import Cut, HalfOpen, Proxy
from tests.support.manta_moods import (
    CloseAfter,
    Mood,
    NeverReply,
    Reset,
    Slow,
    Truncate,
)
from tests.support.manta_server import MantaServer
from tests.support.manta_store import Pauses, hurried, manta, signer
from thoth.errors import (
    PreconditionFailed,
    StoreTransient,
)
from thoth.http import Limits
from thoth.store.base import ObjectStore
from thoth.store.manta import MantaAccess, MantaStore, PartSizes
from thoth.store.wrappers import Retrying


@pytest.fixture
def patient(server: MantaServer) -> Iterator[ObjectStore]:
    """A store as everybody has it, in a hurry."""
    limits, times = hurried()
    store = manta(server, limits=limits, times=times)
    yield Retrying(store, sleep=time.sleep, clock=time.monotonic, random=random.random, patience=times.patience)
    store.close()


@pytest.mark.parametrize("call", CALLS)
def test_F32_a_question_without_an_answer_is_asked_again(
    server: MantaServer, patient: ObjectStore, call: str
) -> None:
    patient.put(NAME, b"old")
    placed = server.moods.add(NeverReply(), path=f"{HOME}*")
    CALLS[call](patient)
    assert placed.hits == 1


@pytest.mark.parametrize("stored", [True, False])
def test_F32_a_compare_and_set_whose_answer_never_comes(
    server: MantaServer, patient: ObjectStore, stored: bool
) -> None:
    etag = patient.put(NAME, b"old")
    server.moods.add(NeverReply(stored=stored), method="PUT", path=NAME)
    etag = patient.put(NAME, b"new", if_match=etag)
    assert patient.get(NAME) == (b"new", etag)


def test_F32_who_is_silent_for_ever_is_not_asked_for_ever(server: MantaServer, patient: ObjectStore) -> None:
    placed = server.moods.add(NeverReply(), path=NAME, count=None)
    with pytest.raises(StoreTransient, match="silent for too long"):
        patient.get(NAME)
    assert placed.hits == 2


@pytest.mark.parametrize("size", [len(SMALL), len(LARGE)], ids=["small", "stream"])
@pytest.mark.parametrize("stored", [True, False])
def test_F32_an_upload_whose_answer_never_comes(server: MantaServer, size: int, stored: bool) -> None:
    data = LARGE[:size]
    limits, times = hurried()
    store = manta(server, limits=limits, times=times)
    placed = server.moods.add(NeverReply(stored=stored), method="PUT", count=1 if stored or size < 10_000 else None)
    if stored or size < 10_000:  # what is small is sent again
        etag = upload(store, data)
        assert (content(server), store.stat(NAME).etag) == (data, etag)
    else:
        with pytest.raises(StoreTransient, match="silent for too long"):
            upload(store, data)
        assert nothing_there(server)
    assert placed.hits == 1
    store.close()


def test_F32_parts_whose_answers_never_come(server: MantaServer, tmp_path: Path) -> None:
    limits, times = hurried()
    store = manta(server, sizes=IN_PARTS, unfinished=tmp_path / "u", limits=limits, times=times)
    server.moods.add(NeverReply(stored=True), method="PUT", path="*/uploads/*", count=1)
    server.moods.add(NeverReply(stored=True), method="POST", path="*/commit", count=1)
    upload(store, LARGE)
    store.close()
    assert content(server) == LARGE
    assert not list((tmp_path / "u").iterdir())


@pytest.mark.parametrize("mood", [Reset(5_000_000), Reset(8_900_000)], ids=["middle", "end"])
def test_F32_a_stream_that_is_reset(server: MantaServer, store: MantaStore, mood: Mood) -> None:
    server.moods.add(mood, method="PUT", count=1)
    with pytest.raises(StoreTransient, match=r"core\.x: Manta http://127\.0\.0\.1:\d+: the connection broke"):
        upload(store, LARGE)
    assert nothing_there(server)
    upload(store, LARGE)
    assert content(server) == LARGE


def test_F32_parts_that_are_reset(server: MantaServer, in_parts: MantaStore) -> None:
    placed = server.moods.add(Reset(1_000_000), method="PUT", path="*/uploads/*", count=3)
    upload(in_parts, LARGE)
    assert placed.hits == 3
    assert content(server) == LARGE


def test_F32_a_server_that_takes_a_byte_a_second(server: MantaServer) -> None:
    store = manta(server, limits=Limits(idle=0.5, total=1.0))
    server.moods.add(Slow(1, "up"), method="PUT", count=None)
    start = time.monotonic()
    with pytest.raises(StoreTransient):
        upload(store, LARGE * 2)
    assert time.monotonic() - start < 10
    store.close()
    assert nothing_there(server)


@pytest.mark.parametrize("call", ["stat", "get", "list"])
def test_F32_a_server_that_answers_a_byte_a_second(server: MantaServer, call: str) -> None:
    store = manta(server, limits=Limits(idle=2.0, total=0.5))
    store.put(NAME, SMALL)
    server.moods.add(Slow(1, "down"), count=None)
    start = time.monotonic()
    with pytest.raises(StoreTransient, match="silent for too long"):
        CALLS[call](store)
    assert time.monotonic() - start < 5
    store.close()
    server.moods.clear()


def test_F32_a_connection_that_was_closed_meanwhile(server: MantaServer, retrying: ObjectStore) -> None:
    server.moods.add(CloseAfter(said=False), count=None)
    for number in range(10):
        retrying.put(NAME, b"%d" % number)
        assert retrying.get(NAME)[0] == b"%d" % number


@pytest.mark.parametrize(
    "mood", [Truncate(2_000_000), Truncate(0), Reset(1_000_000, "down")], ids=["cut", "empty", "reset"]
)
def test_F32_a_download_that_breaks_goes_on(server: MantaServer, store: MantaStore, mood: Mood) -> None:
    etag = upload(store, LARGE)
    server.requests.clear()
    placed = server.moods.add(mood, method="GET", path=NAME, nth=2, count=2)
    with store.open(NAME) as found:
        pieces, at = [], 0
        while piece := found.read_at(at, 300_000):
            pieces.append(piece)
            at += len(piece)
    assert b"".join(pieces) == LARGE
    assert placed.hits == 2
    assert all(each.headers["if-match"] == etag for each in server.requests if each.method == "GET")
    assert sum(each.method == "GET" for each in server.requests) == 4


def test_F32_a_download_that_always_breaks_ends(server: MantaServer, store: MantaStore) -> None:
    upload(store, LARGE)
    server.moods.add(Truncate(0), method="GET", count=None)
    with store.open(NAME) as found:
        with pytest.raises(StoreTransient, match=r"core\.x"):
            found.read_at(0, 100)
        server.moods.clear()
        assert found.read_at(0, 100) == LARGE[:100]


def test_F32_what_was_replaced_is_not_mixed_into_a_download_that_broke(
    server: MantaServer, store: MantaStore
) -> None:
    upload(store, LARGE)
    server.moods.add(Truncate(2_000_000), method="GET", path=NAME, nth=2, count=1)
    with store.open(NAME) as found:
        assert found.read_at(0, 100_000) + found.read_at(100_000, 1_000_000) == LARGE[:1_100_000]
        upload(store, LARGE[::-1])
        with pytest.raises(PreconditionFailed, match="was replaced while it was read"):
            found.read_at(1_100_000, 8_000_000)


@pytest.mark.parametrize(
    "fault",
    [Cut(3_000_000, "up"), Cut(3_000_000, "up", reset=True), HalfOpen(3_000_000, "up")],
    ids=["cut", "reset", "half open"],
)
@pytest.mark.parametrize("sizes", [None, IN_PARTS], ids=["stream", "parts"])
def test_F32_a_network_that_fails_in_the_middle(
    server: MantaServer, tmp_path: Path, fault: Cut | HalfOpen, sizes: PartSizes | None
) -> None:
    with Proxy(("127.0.0.1", server.port), fault) as proxy:
        access = MantaAccess("http://{}:{}".format(*proxy.address), "alice", limits=Limits(idle=0.5))
        store = MantaStore(access, signer(), sizes=sizes, unfinished=tmp_path / "u", times=Pauses().times(attempts=2))
        with pytest.raises(StoreTransient):
            upload(store, LARGE)
        assert nothing_there(server)
        proxy.set()
        upload(store, LARGE)
        store.close()
    assert content(server) == LARGE
