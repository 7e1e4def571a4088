"""Answers: redirects, lengths, pieces, and those that break off."""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.support.scripted_http import Peer, Scripted
from tests.thoth.http.scene import ask, saying
from thoth.errors import NoAnswer, ServiceError
from thoth.http import Service


def test_no_redirect_is_followed() -> None:
    with (
        Scripted(saying(b"HTTP/1.1 302 Found\r\nLocation: /y\r\nContent-Length: 0\r\n\r\n")) as server,
        closing(Service("Box", server.url)) as service,
    ):
        answer = service.ask("GET", "/x", {})
    assert (answer.status, answer.headers["location"], len(server.heads)) == (302, "/y", 1)


@pytest.mark.parametrize("where", [b"http://[", b"/\xff", b"//127.0.0.1/y"])
def test_where_an_answer_points_to_is_not_looked_at(where: bytes) -> None:
    with Scripted(saying(b"HTTP/1.1 307 X\r\nLocation: %b\r\nContent-Length: 2\r\n\r\nok" % where)) as server:
        assert ask(server) == b"ok"
    assert len(server.heads) == 1


def test_a_redirect_is_read_no_further_than_another_error() -> None:
    sent = 0

    def script(peer: Peer) -> None:
        nonlocal sent
        peer.send(b"HTTP/1.1 302 Found\r\nLocation: /y\r\n\r\n")
        while sent < 1000:
            peer.send(b"x" * (1 << 20))
            sent += 1

    with Scripted(script) as server:
        assert ask(server) == b"x" * (64 << 10)
    assert sent < 100


def test_an_answer_with_a_chunk_of_less_than_nothing() -> None:
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n"
    with Scripted(saying(data)) as server, pytest.raises(NoAnswer, match="the connection broke"):
        ask(server)


def test_an_answer_that_is_too_long() -> None:
    data = b"HTTP/1.1 %d X\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3_000_000
    with Scripted(saying(data % 200)) as server, pytest.raises(ServiceError, match="longer than 1048576 bytes"):
        ask(server)
    with Scripted(saying(data % 500)) as server:
        assert ask(server) == b"x" * (64 << 10)


def test_an_answer_is_read_piece_by_piece() -> None:
    data = bytes(range(256)) * 1000
    with (
        Scripted(saying(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data))) as server,
        closing(Service("Box", server.url)) as service,
    ):
        with service.open("GET", "/x", {}) as found:
            pieces = [found.read(100_000) for _ in range(4)]
        with service.open("GET", "/x", {}) as found:  # cut: the connection cannot be used again
            found.read(10)
        assert service.ask("GET", "/x", {}).body == data
    assert [len(piece) for piece in pieces] == [100_000, 100_000, 56_000, 0]
    assert b"".join(pieces) == data
    assert server.connections == 2


@pytest.mark.parametrize(
    "data",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", b"HTTP/1.1 200 OK\r\nContent-", b"", b"rubbish\r\n\r\n"],
    ids=["body", "head", "nothing", "rubbish"],
)
def test_an_answer_that_breaks_off(data: bytes) -> None:
    def script(peer: Peer) -> bool:
        peer.send(data)
        return False

    with Scripted(script) as server, pytest.raises(NoAnswer, match=rf"^Box {server.url}: the connection broke"):
        ask(server)
