"""Rows F31, F32, F33 and F19 on Manta: a server that refuses, stalls, lies, or has another time."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.chaos import Blackhole, Cut, HalfOpen, Proxy
from tests.support.manta_moods import (
    Answer,
    CloseAfter,
    Full,
    Mood,
    NeverReply,
    Page,
    Reset,
    Slow,
    StoreTruncated,
    Truncate,
    WrongDigest,
)
from tests.support.manta_server import MantaServer
from tests.support.manta_store import Pauses, account, manta, signer
from thoth.errors import (
    CorruptTransfer,
    NoRoom,
    NoSuchObject,
    PreconditionFailed,
    StoreError,
    StoreTransient,
    StoreUnavailable,
)
from thoth.http import Limits
from thoth.store.base import ABSENT, Digests, ObjectStore
from thoth.store.manta import MantaAccess, MantaStore, PartSizes, Times
from thoth.store.wrappers import Retrying

HOME = "/alice/stor/thoth"
NAME = f"{HOME}/{'ab' * 16}/core.x"
SMALL = b"small " * 1000
LARGE = os.urandom(9_000_000)
IN_PARTS = PartSizes(threshold=5 << 20, part=5 << 20)


@pytest.fixture
def server() -> Iterator[MantaServer]:
    with MantaServer(account()) as running:
        store = manta(running)
        store.put(f"{HOME}/{'ab' * 16}/info.json", b"{}")
        store.close()
        running.requests.clear()
        yield running


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def store(server: MantaServer, pauses: Pauses) -> Iterator[MantaStore]:
    made = manta(server, times=pauses.times())
    yield made
    made.close()


@pytest.fixture
def in_parts(server: MantaServer, tmp_path: Path) -> Iterator[MantaStore]:
    made = manta(server, sizes=IN_PARTS, unfinished=tmp_path / "unfinished")
    yield made
    made.close()


@pytest.fixture
def retrying(store: MantaStore, pauses: Pauses) -> ObjectStore:
    return Retrying(store, sleep=pauses.sleep, clock=pauses.clock, random=lambda: 0.5)


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

# ---- F31: it refuses ----------------------------------------------------------------------------------

PASSING: list[Mood] = [
    Answer(500, "InternalError"),
    Answer(503, "ServiceUnavailable", retry_after=7),
    Answer(503, "InternalError", retry_after=30),
    Answer(429, "ThrottledError"),
    Answer(408, "UploadTimeout"),
    Answer(409, "ConcurrentRequest"),
    Page(502),
    Page(504),
    Reset(0),
]


@pytest.mark.parametrize("mood", PASSING, ids=lambda mood: str(getattr(mood, "status", "reset")))
@pytest.mark.parametrize("call", CALLS)
def test_F31_what_passes_is_waited_for(
    server: MantaServer, retrying: ObjectStore, pauses: Pauses, call: str, mood: Mood
) -> None:
    retrying.put(NAME, b"old")
    placed = server.moods.add(mood, path=f"{HOME}*", count=2)
    CALLS[call](retrying)
    asked_for = getattr(mood, "retry_after", None)
    assert placed.hits == 2
    assert pauses.made[:2] == ([float(asked_for)] * 2 if asked_for else [0.5, 1.0])


def test_F31_patience_ends(server: MantaServer, retrying: ObjectStore, pauses: Pauses) -> None:
    server.moods.add(Answer(503, "ServiceUnavailable"), count=None)
    with pytest.raises(StoreTransient, match=rf"^{NAME}: Manta: .*\(request [0-9a-f-]{{36}}\)$"):
        retrying.get(NAME)
    assert pauses.made == [0.5, 1.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("mood", "error", "line"),
    [
        (Answer(401, "InvalidAlgorithm"), StoreUnavailable, "name another in MANTA_KEY_ID"),
        (
            Answer(403, "KeyDoesNotExist", "no such key"),
            StoreUnavailable,
            r"/alice/keys/.*KeyDoesNotExist: no such key",
        ),
        (Answer(403, "AuthorizationFailed"), StoreUnavailable, "THOTH_USER"),
        (Answer(403, "SecureTransportRequired"), StoreUnavailable, "https:// in MANTA_URL"),
        (Answer(507, "NotEnoughSpace", "no space"), NoRoom, "NotEnoughSpace: no space .*free some"),
        (Answer(301, "Moved"), StoreError, "301|Moved"),
        (Page(200), StoreUnavailable, "somebody else answered, 200 with text/html: is there a proxy"),
        (Page(403), StoreUnavailable, "somebody else answered, 403 with text/html: is there a proxy"),
        (Page(302), StoreUnavailable, "somebody else answered, 302"),
    ],
    ids=lambda value: str(getattr(value, "status", "")),
)
@pytest.mark.parametrize("call", CALLS)
def test_F31_what_does_not_pass_is_said_at_once(
    server: MantaServer,
    retrying: ObjectStore,
    pauses: Pauses,
    call: str,
    mood: Mood,
    error: type[StoreError],
    line: str,
) -> None:
    if call in ("stat", "open", "small upload") and isinstance(mood, Answer) and mood.status in (301, 401, 403):
        line = "status|" + line  # the answer to HEAD has no body
    retrying.put(NAME, b"old")
    server.moods.add(mood, path=f"{HOME}*", count=None)
    with pytest.raises(error, match=line) as raised:
        CALLS[call](retrying)
    assert pauses.made == []
    assert "\n" not in str(raised.value)
    assert "Signature keyId" not in str(raised.value)


@pytest.mark.parametrize("sizes", [None, IN_PARTS], ids=["stream", "parts"])
@pytest.mark.parametrize(
    ("mood", "error"),
    [
        (Answer(403, "AuthorizationFailed"), StoreUnavailable),
        (Answer(507, "NotEnoughSpace"), NoRoom),
        (Answer(403, "AuthorizationFailed", when="body"), StoreUnavailable),
        (Full(1000), NoRoom),
    ],
    ids=["403", "507", "403 behind the body", "full"],
)
def test_F31_a_large_upload_is_refused(
    server: MantaServer, sizes: PartSizes | None, mood: Mood, error: type[StoreError]
) -> None:
    store = manta(server, sizes=sizes)
    server.moods.add(mood, method="PUT", count=None)
    with pytest.raises(error):
        upload(store, LARGE)
    store.close()
    assert nothing_there(server)


def test_F31_a_refusal_is_known_before_all_was_sent(server: MantaServer, store: MantaStore) -> None:
    server.moods.add(Answer(507, "NotEnoughSpace"), method="PUT", count=None)
    block = bytes(1 << 20)
    incoming = store.begin(NAME, 1 << 40)
    taken = 0
    with pytest.raises(NoRoom):
        while taken < 1000:
            incoming.part(block)
            taken += 1
    incoming.abort()
    assert taken < 100
    assert sum(each.received for each in server.requests) == 0


def test_F31_the_parent_of_a_stream_is_made(server: MantaServer, store: MantaStore) -> None:
    upload(store, LARGE, name=f"{HOME}/new/deep/core")
    stream = [each for each in server.requests if each.path.endswith("/core") and each.method == "PUT"]
    assert [(each.status, each.received) for each in stream] == [(404, 0), (204, len(LARGE))]


@pytest.mark.parametrize("sizes", [None, IN_PARTS], ids=["stream", "parts"])
def test_F31_a_412_is_no_failure_to_be_tried_again(server: MantaServer, sizes: PartSizes | None) -> None:
    pauses = Pauses()
    store = manta(server, sizes=sizes, times=pauses.times())
    upload(store, SMALL)
    before = len(server.requests)
    with pytest.raises(PreconditionFailed):
        upload(store, LARGE, if_match=ABSENT)
    assert pauses.made == []
    assert sum(each.received for each in server.requests[before:]) == 0
    store.close()


def test_F31_of_two_streams_into_an_empty_place_one_gets_it(server: MantaServer, store: MantaStore) -> None:
    first, second = (store.begin(NAME, len(LARGE), if_match=ABSENT) for _ in range(2))
    for incoming in (first, second):
        for start in range(0, len(LARGE), 1 << 20):
            incoming.part(LARGE[start : start + (1 << 20)])
    first.commit(digests(LARGE))
    with pytest.raises(PreconditionFailed):
        second.commit(digests(LARGE))
    assert content(server) == LARGE


def test_F31_a_store_that_nobody_answers_for_ends_the_run(pauses: Pauses) -> None:
    with Blackhole() as hole:
        access = MantaAccess("http://{}:{}".format(*hole.address), "alice", limits=Limits(connect=0.05))
        store = MantaStore(access, signer(), times=pauses.times())
        with pytest.raises(StoreTransient):
            store.stat(NAME)
        wrapped = Retrying(store, sleep=pauses.sleep, clock=pauses.clock, random=lambda: 0.5)
        for call in ("stat", "put", "list", "small upload"):
            with pytest.raises(StoreUnavailable, match="no connection"):
                CALLS[call](wrapped)
        store.close()


# ---- F32: it is slow, or silent -------------------------------------------------------------------------


@pytest.mark.parametrize("size", [len(SMALL), len(LARGE)], ids=["small", "stream"])
@pytest.mark.parametrize("stored", [True, False])
def test_F32_an_upload_whose_answer_never_comes(server: MantaServer, size: int, stored: bool) -> None:
    data = LARGE[:size]
    store = manta(server, limits=Limits(idle=0.3))
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
    store = manta(server, sizes=IN_PARTS, unfinished=tmp_path / "u", limits=Limits(idle=0.3))
    server.moods.add(NeverReply(stored=True), method="PUT", path="*/uploads/*", count=1)
    server.moods.add(NeverReply(stored=True), method="POST", path="*/commit", count=1)
    upload(store, LARGE)
    store.close()
    assert content(server) == LARGE
    assert not list((tmp_path / "u").iterdir())


@pytest.mark.parametrize("mood", [Reset(5_000_000), Reset(8_900_000), Reset(0)], ids=["middle", "end", "start"])
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


# ---- F33: it lies -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [len(SMALL), len(LARGE)], ids=["small", "stream"])
@pytest.mark.parametrize("keep", [0, 5000])
def test_F33_what_is_stored_is_not_all(server: MantaServer, store: MantaStore, size: int, keep: int) -> None:
    server.moods.add(StoreTruncated(keep), method="PUT", path="*core.x", count=1)
    with pytest.raises(CorruptTransfer, match=r"core\.x: the .* it was deleted, upload it again"):
        upload(store, LARGE[:size])
    assert nothing_there(server)
    upload(store, LARGE[:size])
    assert content(server) == LARGE[:size]


def test_F33_a_part_of_which_not_all_is_stored(server: MantaServer, in_parts: MantaStore, tmp_path: Path) -> None:
    server.moods.add(StoreTruncated(5000), method="PUT", path="*/uploads/*/1", count=1)
    with pytest.raises(CorruptTransfer, match=r"core\.x"):
        upload(in_parts, LARGE)
    assert nothing_there(server)
    assert not list((tmp_path / "unfinished").iterdir())
    upload(in_parts, LARGE)
    assert content(server) == LARGE


@pytest.mark.parametrize("size", [len(SMALL), len(LARGE)], ids=["small", "stream"])
def test_F33_a_digest_that_is_another(server: MantaServer, store: MantaStore, size: int) -> None:
    server.moods.add(WrongDigest(), method="PUT", path="*core.x", count=1)
    with pytest.raises(
        CorruptTransfer, match="the MD5 of what Manta got is not that of what was sent; it was deleted"
    ):
        upload(store, LARGE[:size])
    assert nothing_there(server)


def test_F33_a_part_whose_digest_is_another_is_sent_again(server: MantaServer, in_parts: MantaStore) -> None:
    placed = server.moods.add(WrongDigest(), method="PUT", path="*/uploads/*", count=2)
    upload(in_parts, LARGE)
    assert placed.hits == 2
    assert content(server) == LARGE


def test_F33_parts_whose_whole_has_another_digest(server: MantaServer, in_parts: MantaStore) -> None:
    server.moods.add(WrongDigest(), method="POST", path="*/commit", count=1)
    with pytest.raises(CorruptTransfer, match=r"core\.x"):
        upload(in_parts, LARGE)


def test_F33_what_another_has_stored_since_is_not_deleted(server: MantaServer, store: MantaStore) -> None:
    server.moods.add(StoreTruncated(10), method="PUT", path=NAME, count=1)
    server.moods.add(Answer(500, when="first"), method="HEAD", path=NAME, count=1)
    other = manta(server)
    overtaken = manta(server, times=Times(sleep=lambda seconds: other.put(NAME, b"another's"), chance=lambda: 0.0))
    upload(overtaken, SMALL)
    assert content(server) == b"another's"
    other.close()
    overtaken.close()


def test_F33_a_download_is_held_against_its_digest(server: MantaServer, store: MantaStore) -> None:
    upload(store, LARGE)
    server.moods.add(WrongDigest(), method="HEAD", path=NAME, count=1)
    with (
        store.open(NAME) as found,
        pytest.raises(CorruptTransfer, match="what came is not what its MD5 in Manta says"),
    ):
        for start in range(0, len(LARGE), 1_000_000):
            found.read_at(start, 1_000_000)
    server.moods.add(WrongDigest(), method="GET", path=NAME, count=1)
    store.put(NAME, SMALL)
    with pytest.raises(CorruptTransfer, match="what came is not what its MD5 in Manta says"):
        store.get(NAME)


def test_F33_a_listing_that_is_cut(server: MantaServer, retrying: ObjectStore, store: MantaStore) -> None:
    for number in range(20):
        store.put(f"{HOME}/{number:02}", b"")
    whole = [entry.name for entry in store.list(HOME)]
    first = len(list(store.list(HOME))) and 150
    server.moods.add(Truncate(first * 10), method="GET", path=HOME, count=1)
    with pytest.raises(StoreTransient):
        list(store.list(HOME))
    server.moods.add(Truncate(first * 10), method="GET", path=HOME, count=2)
    assert [entry.name for entry in retrying.list(HOME)] == whole


# ---- F19: it has another time -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "skew", [-400.0, 400.0, -86_400.0, 86_400.0], ids=["behind", "ahead", "a day behind", "a day ahead"]
)
@pytest.mark.parametrize("call", CALLS)
def test_F19_clocks_that_differ_are_named(server: MantaServer, pauses: Pauses, call: str, skew: float) -> None:
    store = manta(server, times=Times(now=lambda: time.time() + skew, clock=pauses.clock, sleep=pauses.sleep))
    with pytest.raises(
        StoreUnavailable,
        match=r"^Manta http.*: check the clock: this machine says \w+, .* GMT, the server \w+, .* GMT \(",
    ):
        CALLS[call](store)
    store.close()
    assert pauses.made == []


def test_F19_clocks_may_differ_a_little(server: MantaServer) -> None:
    store = manta(server, times=Times(now=lambda: time.time() - 200))
    upload(store, SMALL)
    store.close()
