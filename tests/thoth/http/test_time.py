"""Services that are silent or slow: no call waits without end."""

from __future__ import annotations

import time
from contextlib import closing

import pytest

from tests.support.scripted_http import Peer, Scripted
from tests.thoth.http.scene import OK, QUICK, ask, saying
from thoth.errors import NoAnswer
from thoth.exchange import BLOCK, Body
from thoth.http import Service


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\n", OK[:-1]], ids=["nothing", "head", "body"])
def test_F32_a_service_that_falls_silent(data: bytes) -> None:
    def script(peer: Peer) -> None:
        peer.send(data)
        peer.wait()

    start = time.monotonic()
    with Scripted(script) as server, pytest.raises(NoAnswer, match="silent for too long"):
        ask(server)
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("data", [OK.replace(b"OK", b"O" * 500), OK[:-2] + b"x" * 500], ids=["head", "body"])
def test_F32_a_service_that_answers_in_drops(data: bytes) -> None:
    data = data.replace(b"Length: 2", b"Length: 500")
    start = time.monotonic()
    with Scripted(saying(data, size=1, pause=0.05)) as server, pytest.raises(NoAnswer, match="silent for too long"):
        ask(server)
    assert time.monotonic() - start < 3


@pytest.mark.parametrize("data", [b"HTTP/1.1 100 Continue\r\n\r\n" * 100, b"HTTP/1.1 200 OK\r\nX: " + b"y" * 500])
def test_F32_a_head_without_an_end_where_a_body_may_take_any_time(data: bytes) -> None:
    with (
        Scripted(saying(data, size=5, pause=0.1)) as server,
        closing(Service("Box", server.url, limits=QUICK)) as service,
        pytest.raises(NoAnswer, match="silent for too long"),
    ):
        service.open("GET", "/x", {})


def test_F32_a_body_may_take_longer_than_a_head() -> None:
    def script(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n")
        peer.send(b"slowly!", size=1, pause=0.2)

    with (
        Scripted(script) as server,
        closing(Service("Box", server.url, limits=QUICK)) as service,
        service.open("GET", "/x", {}) as found,
    ):
        assert found.read_all(100) == b"slowly!"


def test_F32_a_service_that_takes_nothing() -> None:
    def script(peer: Peer) -> None:
        peer.read(1)
        peer.wait()

    start = time.monotonic()
    body = Body((b"x" * BLOCK for _ in range(1000)), 1000 * BLOCK)
    with Scripted(script) as server, pytest.raises(NoAnswer, match="silent for too long"):
        ask(server, "PUT", body=body)
    assert time.monotonic() - start < 3
