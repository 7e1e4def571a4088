"""Row F31, and F19's skew: Manta refuses."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest

from tests.faults.manta.scene import (
    CALLS,
    HOME,
    IN_PARTS,
    LARGE,
    NAME,
    SMALL,
    content,
    digests,
    nothing_there,
    upload,
)
from tests.support.chaos import Blackhole
from tests.support.manta_moods import (
    Answer,
    Full,
    Mood,
    Page,
    Reset,
)
from tests.support.manta_server import MantaServer
from tests.support.manta_store import Pauses, manta, signer
from tests.support.processes import wait_until
from thoth.errors import (
    NoRoom,
    PreconditionFailed,
    StoreError,
    StoreTransient,
    StoreUnavailable,
)
from thoth.http import Limits
from thoth.store.base import ABSENT, ObjectStore
from thoth.store.manta import MantaAccess, MantaStore, PartSizes, Times
from thoth.store.wrappers import Retrying

PASSING: list[Mood] = [
    Answer(500, "InternalError"),
    Answer(503, "ServiceUnavailable", retry_after=7),
    Answer(503, "InternalError", retry_after=20),
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
    with pytest.raises(StoreTransient, match=rf"^{NAME}: Manta: .*\(request [0-9a-f-]{{36}}\); try again later$"):
        retrying.get(NAME)
    assert pauses.made == [0.5, 1.0, 2.0, 4.0]


@dataclass(frozen=True)
class Refused:
    """An answer that does not pass, and what is to be said of it."""

    mood: Mood
    error: type[StoreError]
    line: str


REFUSALS = {
    "401": Refused(Answer(401, "InvalidAlgorithm"), StoreUnavailable, "name another in MANTA_KEY_ID"),
    "key": Refused(
        Answer(403, "KeyDoesNotExist", "no key"), StoreUnavailable, r"/alice/keys/.*KeyDoesNotExist: no key"
    ),
    "role": Refused(Answer(403, "AuthorizationFailed"), StoreUnavailable, "THOTH_USER"),
    "account": Refused(Answer(403, "AccountDoesNotExist"), StoreUnavailable, "MANTA_USER, and THOTH_USER"),
    "subuser": Refused(Answer(403, "UserDoesNotExist"), StoreUnavailable, "MANTA_USER and MANTA_SUBUSER"),
    "plain": Refused(Answer(403, "SecureTransportRequired"), StoreUnavailable, "https:// in MANTA_URL"),
    "full": Refused(Answer(507, "NotEnoughSpace", "none"), NoRoom, "NotEnoughSpace: none .*free some"),
    "moved": Refused(Answer(301, "Moved"), StoreError, "Moved"),
    "portal": Refused(Page(200), StoreUnavailable, "else answered, 200 with text/html: is there a proxy"),
    "proxy": Refused(Page(403), StoreUnavailable, "else answered, 403 with text/html: is there a proxy"),
    "login": Refused(Page(302), StoreUnavailable, "else answered, 302"),
}


@pytest.mark.parametrize("case", REFUSALS)
@pytest.mark.parametrize("call", CALLS)
def test_F31_what_does_not_pass_is_said_at_once(
    server: MantaServer, retrying: ObjectStore, pauses: Pauses, call: str, case: str
) -> None:
    refused = REFUSALS[case]
    has_code = call not in ("stat", "open") or isinstance(refused.mood, Page)  # the answer to HEAD has none
    retrying.put(NAME, b"old")
    server.moods.add(refused.mood, path=f"{HOME}*", count=None)
    with pytest.raises(refused.error, match=refused.line if has_code else r"status \d\d\d \(request") as raised:
        CALLS[call](retrying)
    assert pauses.made == []
    assert "\n" not in str(raised.value)
    assert "Signature keyId" not in str(raised.value)


def test_F31_a_role_that_nobody_has(server: MantaServer, retrying: ObjectStore, pauses: Pauses) -> None:
    """409, which is no race here, and holds for every other object too."""
    server.moods.add(Answer(409, "InvalidRole", "ops is no role of yours"), count=None)
    with pytest.raises(StoreUnavailable, match=r"InvalidRole: ops is no role of yours .*; check MANTA_ROLE$"):
        retrying.get(NAME)
    assert pauses.made == []


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


def test_F31_a_refusal_is_known_before_all_was_sent(server: MantaServer) -> None:
    store = manta(server, sizes=PartSizes(threshold=1 << 60))
    server.moods.add(Answer(507, "NotEnoughSpace"), method="PUT", count=None)
    block = bytes(1 << 20)
    incoming = store.begin(NAME, 1 << 40)
    taken = 0
    with pytest.raises(NoRoom):
        while taken < 1000:
            incoming.part(block)
            taken += 1
    incoming.abort()
    store.close()
    assert taken < 100
    assert [(each.method, each.received) for each in server.requests] == [("PUT", 0)]


def test_F31_the_parent_of_a_stream_is_made(server: MantaServer, store: MantaStore, pauses: Pauses) -> None:
    upload(store, LARGE, name=f"{HOME}/new/deep/core")
    stream = [each for each in server.requests if each.path.endswith("/core") and each.method == "PUT"]
    assert [(each.status, each.received) for each in stream] == [(404, 0), (204, len(LARGE))]
    assert pauses.made == []


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


def test_F31_a_role_that_nobody_has_ends_the_run(server: MantaServer) -> None:
    store = manta(server, roles=("nobody",))
    with pytest.raises(StoreUnavailable, match=r"^Manta http://.*: InvalidRole: .*; check MANTA_ROLE$"):
        store.get(NAME)
    store.close()


def test_F31_a_store_that_nobody_answers_for_ends_the_run(pauses: Pauses) -> None:
    with Blackhole() as hole:
        access = MantaAccess("http://{}:{}".format(*hole.address), "alice", limits=Limits(connect=0.05))
        store = MantaStore(access, signer(), times=pauses.times())
        with pytest.raises(StoreTransient):
            store.stat(NAME)
        wrapped = Retrying(store, sleep=pauses.sleep, clock=pauses.clock, random=lambda: 0.5)
        for call in ("stat", "put", "list", "small upload"):
            with pytest.raises(
                StoreUnavailable, match="no connection: timed out; check MANTA_URL, THOTH_PROXY and the network"
            ):
                CALLS[call](wrapped)
        store.close()


@pytest.mark.parametrize("mood", [Answer(503, "ServiceUnavailable"), Page(502), Answer(408, "UploadTimeout")])
def test_F31_a_stream_that_has_not_begun_waits(server: MantaServer, store: MantaStore, mood: Mood) -> None:
    placed = server.moods.add(mood, method="PUT", path=NAME, count=3)
    upload(store, LARGE)
    assert placed.hits == 3
    assert content(server) == LARGE


def test_F31_a_stream_that_waits_can_be_called_off(server: MantaServer) -> None:
    store = manta(server, times=Times())
    server.moods.add(Answer(503, "ServiceUnavailable", retry_after=50), method="PUT", path=NAME, count=None)
    incoming = store.begin(NAME, len(LARGE))
    incoming.part(LARGE[:5_000_000])
    incoming.part(LARGE[5_000_000:])
    assert wait_until(lambda: bool(server.requests), 5)
    start = time.monotonic()
    incoming.abort()
    assert time.monotonic() - start < 2
    store.close()


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
