"""How the Manta test server misbehaves, and that it does so only where it is told to."""

from __future__ import annotations

import base64
import hashlib
import http.client
import socket
import threading
import time
from collections.abc import Callable

import pytest

from tests.support.manta_client import Client
from tests.support.manta_moods import (
    Answer,
    Barrier,
    CloseAfter,
    Full,
    NeverReply,
    Page,
    Reset,
    Slow,
    StaleListing,
    StoreTruncated,
    Truncate,
    WrongDigest,
)
from tests.support.manta_server import MantaServer, Options
from tests.support.processes import wait_until

X = "/alice/stor/x"
Y = "/alice/stor/y"

Serve = Callable[..., MantaServer]
Connect = Callable[..., Client]


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def test_which_requests_are_befallen(client: Client, server: MantaServer) -> None:
    mood = server.moods.add(Answer(503, "ServiceUnavailable"), method="PUT", path="*/x", nth=2, count=2)
    assert [client.put(X, b"1").status for _ in range(5)] == [204, 503, 503, 204, 204]
    assert (mood.seen, mood.hits) == (5, 2)
    server.moods.add(Answer(500), path="/alice/stor/*", count=None)
    assert [client.put(Y, b"1").status, client.get(X).status, client.get("/alice").status] == [500, 500, 200]
    server.moods.clear()
    assert client.put(Y, b"1").status == 204


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (500, "InternalError"),
        (503, "ThrottledError"),
        (429, "TooManyRequests"),
        (408, "UploadTimeout"),
        (404, "DirectoryDoesNotExist"),
        (401, "InvalidAlgorithm"),
        (403, "AuthorizationFailed"),
        (507, "NotEnoughSpace"),
        (412, "PreconditionFailed"),
    ],
)
def test_errors(client: Client, server: MantaServer, status: int, code: str) -> None:
    server.moods.add(Answer(status, code, "words", retry_after=7))
    reply = client.put(X, b"1")
    assert (reply.status, reply.json(), reply.headers["retry-after"]) == (
        status,
        {"code": code, "message": "words"},
        "7",
    )
    assert client.get(X).status == 404
    assert (server.requests[0].status, server.requests[0].code) == (status, code)


@pytest.mark.parametrize("mood", [Answer(500, when="done"), Page(200, when="done")])
def test_an_error_for_what_was_done(client: Client, server: MantaServer, mood: Answer) -> None:
    server.moods.add(mood)
    assert client.put(X, b"1").status == mood.status
    assert client.get(X).body == b"1"
    assert {seen.connection for seen in server.requests} == {1}


def test_an_error_behind_the_body(client: Client, server: MantaServer) -> None:
    server.moods.add(Answer(500, when="body"))
    client.request("PUT", X, b"12345", headers={"Expect": "100-continue"})
    assert (server.requests[0].received, server.requests[0].continued) == (5, True)
    assert client.get(X).status == 404


def test_a_page(client: Client, server: MantaServer) -> None:
    server.moods.add(Page(200, "<html>log in</html>"))
    reply = client.get(X)
    assert (reply.status, reply.headers["content-type"], reply.body) == (200, "text/html", b"<html>log in</html>")
    server.moods.add(Page())
    assert client.put(X, b"1").status == 502
    assert client.get(X).status == 404


def test_slow(client: Client, server: MantaServer) -> None:
    server.moods.add(Slow(1000, "up"), method="PUT")
    server.moods.add(Slow(1000, "down"), method="GET")
    for method, body in (("PUT", b"x" * 200), ("GET", None)):
        start = time.monotonic()
        assert client.request(method, X, body).status in (200, 204)
        assert 0.15 < time.monotonic() - start < 5
        assert client.head(X).status == 200  # on the same connection, no longer slow
    assert {seen.connection for seen in server.requests} == {1}


def test_a_slow_server_can_end(client: Client, server: MantaServer) -> None:
    client.put(X, b"x" * 1000)
    server.moods.add(Slow(1, "down"))
    cut: list[BaseException] = []

    def read() -> None:
        try:
            client.get(X)
        except (http.client.HTTPException, OSError) as error:
            cut.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    time.sleep(0.1)
    start = time.monotonic()
    server.close()
    assert time.monotonic() - start < 5
    thread.join()
    assert cut


def test_truncate(client: Client, server: MantaServer, connect: Connect) -> None:
    client.put(X, b"0123456789")
    server.moods.add(Truncate(4), method="GET")
    with pytest.raises(http.client.IncompleteRead) as cut:
        client.get(X)
    assert cut.value.partial == b"0123"
    assert connect(server).get(X).body == b"0123456789"


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("after", [0, 4, 10])
def test_reset(client: Client, server: MantaServer, connect: Connect, direction: str, after: int) -> None:
    client.put(X, b"before")
    server.moods.add(
        Reset(after, "up" if direction == "up" else "down"), method="PUT" if direction == "up" else "GET"
    )
    if direction == "up":
        with pytest.raises(ConnectionError):
            connect(server).put(X, b"0123456789")
        assert client.get(X).body == b"before"
        assert [seen.status for seen in server.requests] == [204, None, 200]
    elif after == 10:  # the answer is shorter
        assert client.get(X).body == b"before"
    else:
        with pytest.raises((ConnectionError, http.client.IncompleteRead)):
            client.get(X)


def test_digests_that_lie(client: Client, server: MantaServer) -> None:
    server.moods.add(WrongDigest(), count=2)
    assert client.put(X, b"1").headers["computed-md5"] != md5(b"1")
    assert client.get(X).headers["content-md5"] != md5(b"1")
    assert client.head(X).headers["content-md5"] == md5(b"1")


@pytest.mark.parametrize("keep", [0, 3])
def test_a_store_that_loses(client: Client, server: MantaServer, keep: int) -> None:
    server.moods.add(StoreTruncated(keep))
    reply = client.put(X, b"0123456789")
    assert (reply.status, reply.headers["computed-md5"]) == (204, md5(b"0123456789"))
    kept = b"0123456789"[:keep]
    head = client.head(X).headers
    assert (head["content-length"], head["content-md5"]) == (str(keep), md5(kept))
    assert client.get(X).body == kept


@pytest.mark.parametrize("stored", [True, False])
def test_no_reply(client: Client, server: MantaServer, connect: Connect, stored: bool) -> None:
    server.moods.add(NeverReply(stored), method="PUT")
    silent = connect(server)
    silent._connection.timeout = 0.3
    with pytest.raises(TimeoutError):
        silent.put(X, b"1")
    assert wait_until(lambda: bool(server.requests), 10)
    assert client.get(X).status == (200 if stored else 404)
    assert server.requests[0].status is None


def test_a_server_that_never_replies_can_end(server: MantaServer) -> None:
    server.moods.add(NeverReply())
    with socket.create_connection(("127.0.0.1", server.port)) as link:
        link.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
        assert wait_until(lambda: bool(server.requests), 10)
        server.close()
        assert link.recv(100) == b""


def test_a_connection_that_is_closed_behind_the_answer(server: MantaServer, connect: Connect) -> None:
    server.moods.add(CloseAfter())
    client = connect(server)
    assert client.put(X, b"1").headers["connection"] == "keep-alive"
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        client.get(X)
    server.moods.add(CloseAfter(said=True))
    assert connect(server).get(X).headers["connection"] == "close"


def test_a_listing_of_yesterday(client: Client, server: MantaServer) -> None:
    client.put(X, b"old")
    server.moods.add(StaleListing(), method="GET")
    client.put(Y, b"new")
    client.delete(X)
    stale, now = client.get("/alice/stor"), client.get("/alice/stor")
    assert [line["name"] for line in stale.lines()] == ["x"] and [line["name"] for line in now.lines()] == ["y"]


def test_a_barrier(client: Client, server: MantaServer, connect: Connect) -> None:
    mood = server.moods.add(Barrier(2, patience=0.2), method="PUT")
    assert client.put(X, b"1").status == 204  # nobody else comes
    assert mood.hits == 1
    server.moods.clear()
    server.moods.add(Barrier(2), method="PUT")
    other = connect(server)
    done: list[int] = []
    thread = threading.Thread(target=lambda: done.append(other.put(Y, b"1").status))
    thread.start()
    time.sleep(0.1)
    assert not done
    assert client.put(X, b"2").status == 204
    thread.join()
    assert done == [204]


def test_a_full_store(client: Client, server: MantaServer) -> None:
    server.moods.add(Full(10), count=None)
    assert client.put(X, b"12345678").status == 204
    reply = client.put(Y, b"1234")
    assert (reply.status, reply.code, server.requests[-1].received) == (507, "NotEnoughSpace", 0)
    assert client.request("PUT", Y, [b"1"]).status == 507  # chunks promise 5 GiB
    assert client.request("PUT", Y, [b"1"], headers={"max-content-length": "2"}).status == 204
    assert client.post("/alice/uploads", {"objectPath": Y, "headers": {"content-length": 9}}).status == 507
    client.delete(X)
    assert client.put(Y, b"1234").status == 204


def test_moods_of_v1_too(serve: Serve, connect: Connect) -> None:
    server = serve(options=Options(v1=True))
    server.moods.add(Answer(500), path="/alice/jobs")
    assert connect(server).post("/alice/jobs", {}).status == 500
