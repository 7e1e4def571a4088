"""Bodies that end early: leave to send, answers that come before the end, and calling off."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.scripted_http import Peer, Scripted
from tests.thoth.http.scene import OK, QUICK, ask, saying, tls
from thoth.errors import NoAnswer
from thoth.exchange import BLOCK, Body
from thoth.http import Service


def test_a_body_waits_for_leave() -> None:
    def script(peer: Peer) -> None:
        peer.connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            peer.read(1)
        peer.connection.settimeout(None)
        peer.send(b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n")
        assert peer.read(3) == b"abc"
        peer.send(OK)

    with Scripted(script) as server:
        assert ask(server, "PUT", body=Body([b"abc"], 3), Expect="100-continue") == b"ok"


def test_a_body_that_is_refused_is_not_sent_and_can_go_elsewhere() -> None:
    def script(peer: Peer) -> None:
        if peer.number == 1:
            peer.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone")
            assert peer.read(1) == b""  # the connection is over: nobody knows what the peer takes for the body
            return
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert peer.read(3) == b"abc"
        peer.send(OK)

    body = Body([b"abc"], 3)
    with Scripted(script) as server, closing(Service("Box", server.url, limits=QUICK)) as service:
        answer = service.ask("PUT", "/x", {"Expect": "100-continue"}, body)
        assert (answer.status, answer.body, body.sent, body.whole) == (404, b"none", 0, False)
        assert service.ask("PUT", "/x", {"Expect": "100-continue"}, body).body == b"ok"
    assert server.connections == 2


def test_who_does_not_know_of_leave_gets_the_body_after_a_while() -> None:
    def script(peer: Peer) -> None:
        assert peer.read(3) == b"abc"
        peer.send(OK)

    with Scripted(script) as server:  # it waits no longer than the service may be silent
        assert ask(server, "PUT", body=Body([b"abc"], 3), Expect="100-continue") == b"ok"


def test_F32_leave_in_drops_is_not_waited_for_without_end() -> None:
    body = Body([b"abc"], 3)
    with (
        Scripted(saying(b"HTTP/1.1 100 Continue\r\nX: " + b"y" * 1000, size=5, pause=0.1)) as server,
        closing(Service("Box", server.url, limits=QUICK, clock=lambda: 10 * time.monotonic())) as service,
    ):
        start = time.monotonic()
        with pytest.raises(NoAnswer):
            service.ask("PUT", "/x", {"Expect": "100-continue"}, body)
        assert time.monotonic() - start < 3
    assert body.sent == 0


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_an_answer_that_comes_early_ends_the_body(secure: bool, tmp_path: Path) -> None:
    def script(peer: Peer) -> bool:
        assert peer.read(10) == b"x" * 10
        peer.send(b"HTTP/1.1 507 Full\r\nContent-Length: 4\r\n\r\nfull")
        time.sleep(0.2)
        return False

    def blocks() -> object:
        for _ in range(1000):
            yield b"x" * BLOCK
            time.sleep(0.005)

    context, authority = tls(tmp_path) if secure else (None, None)
    body = Body(blocks(), 1000 * BLOCK)  # type: ignore[arg-type]
    with Scripted(script, context) as server, closing(Service("Box", server.url, authorities=authority)) as service:
        answer = service.ask("PUT", "/x", {}, body)
    assert (answer.status, answer.body, body.whole) == (507, b"full", False)
    assert body.sent < 500 * BLOCK


def test_a_body_is_called_off_from_another_thread() -> None:
    begun = threading.Event()

    def script(peer: Peer) -> None:
        peer.read(1)
        begun.set()
        peer.wait()  # and reads no more: who sends gets stuck

    def call_off() -> None:
        begun.wait()
        time.sleep(0.1)
        body.cancel()

    body = Body((b"x" * BLOCK for _ in range(1000)), 1000 * BLOCK)
    with Scripted(script) as server, closing(Service("Box", server.url)) as service:
        thread = threading.Thread(target=call_off)
        thread.start()
        start = time.monotonic()
        with pytest.raises(NoAnswer):
            service.ask("PUT", "/x", {}, body)
        assert time.monotonic() - start < 5
        with pytest.raises(NoAnswer, match="called off"):
            service.ask("PUT", "/x", {}, body)
        thread.join()


def test_calling_off_what_is_over_harms_nobody() -> None:
    body = Body([b"abc"], 3)

    def script(peer: Peer) -> None:
        peer.read(3 if b"PUT" in peer.head else 0)
        peer.send(OK)

    with Scripted(script) as server, closing(Service("Box", server.url)) as service:
        service.ask("PUT", "/x", {}, body)
        body.cancel()
        assert service.ask("GET", "/x", {}).body == b"ok"
    assert server.connections == 1


def test_calling_off_while_the_answer_comes_harms_nobody() -> None:
    """Its last byte makes the connection another request's, before this one knows that it is over."""
    body = Body([b"abc"], 3)
    answered = threading.Event()

    def script(peer: Peer) -> None:
        peer.read(3 if b"PUT" in peer.head else 0)
        peer.send(OK[:-1])
        answered.wait(5)
        peer.send(OK[-1:])

    def call_off() -> None:
        time.sleep(0.2)
        body.cancel()
        answered.set()

    with Scripted(script) as server:
        thread = threading.Thread(target=call_off)
        thread.start()
        assert ask(server, "PUT", body=body) == b"ok"
        thread.join()
