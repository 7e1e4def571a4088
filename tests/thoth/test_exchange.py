"""Through a proxy to a service that speaks TLS: over a proxy with TLS of its own there is one TLS in another."""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.manta_store import signer
from tests.support.scripted_http import Peer, Scripted, certificate
from thoth.errors import NoAnswer, StoreError, Unreachable
from thoth.exchange import BLOCK, Body
from thoth.http import Limits, Service
from thoth.store.handover import Sender
from thoth.store.manta_service import Manta, MantaAccess, Times

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LEAVE = b"HTTP/1.1 200 Connection established\r\nVia: proxy\r\n\r\n"
QUICK = Limits(connect=1.0, idle=1.0, total=2.0)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def context(files: tuple[Path, Path]) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(*files)
    return made


def through(peer: Peer) -> bool:
    """A proxy: carries bytes both ways between who asks and whom it asks for, until one of them ends."""
    host, port = peer.head.split()[1].decode().rsplit(":", 1)
    here = peer.connection
    with socket.create_connection((host, int(port))) as there:
        peer.send(LEAVE)
        while True:
            waiting = isinstance(here, ssl.SSLSocket) and here.pending()
            for each in [here] if waiting else select.select([here, there], [], [])[0]:
                data = each.recv(1 << 16)
                if not data:
                    return False
                (there if each is here else here).sendall(data)


@contextmanager
def services(
    script: Callable[[Peer], object], context: ssl.SSLContext, files: tuple[Path, Path], *, secure: bool
) -> Iterator[MantaAccess]:
    """Where a service with this script is, behind a proxy, with TLS or without."""
    with Scripted(script, context) as server, Scripted(through, context if secure else None) as proxy:
        yield MantaAccess(server.url, "alice", proxy=proxy.url, authorities=files[0], limits=QUICK)


def service(access: MantaAccess) -> Service:
    return Service("Box", access.url, proxy=access.proxy, authorities=access.authorities, limits=access.limits)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_through_a_proxy(context: ssl.SSLContext, files: tuple[Path, Path], secure: bool) -> None:
    def script(peer: Peer) -> None:
        assert peer.read(3 if b"PUT" in peer.head else 0) == (b"abc" if b"PUT" in peer.head else b"")
        peer.send(OK)

    with services(script, context, files, secure=secure) as access:
        box = service(access)
        assert box.ask("GET", "/x", {}).body == b"ok"
        assert box.ask("PUT", "/x", {}, Body([b"abc"], 3)).body == b"ok"
        box.close()


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_F32_a_sender_behind_a_proxy_is_called_off(
    context: ssl.SSLContext, files: tuple[Path, Path], secure: bool
) -> None:
    begun = threading.Event()

    def script(peer: Peer) -> None:
        peer.read(1)
        begun.set()
        peer.wait()  # and reads no more: who sends gets stuck

    with services(script, context, files, secure=secure) as access:
        manta = Manta(replace(access, limits=Limits()), signer(), Times())
        sender = Sender(manta, lambda body: manta.ask("PUT", "/x", "x", body=body), 1000 * BLOCK)
        sender.feed(b"x" * BLOCK)
        assert begun.wait(10)
        start = time.monotonic()
        sender.cancel()
        assert time.monotonic() - start < 5
        assert not [each for each in threading.enumerate() if each.name == "manta sender"]
        with pytest.raises(StoreError):
            sender.finish()
        manta.close()


@pytest.mark.parametrize("expects", [{}, {"Expect": "100-continue"}], ids=["at once", "on leave"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_a_service_behind_a_proxy_that_ends_without_an_answer(
    context: ssl.SSLContext, files: tuple[Path, Path], secure: bool, expects: dict[str, str]
) -> None:
    """Without a word of TLS, too, that this is the end."""

    def blocks() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x"
            time.sleep(0.01)

    with services(lambda peer: False, context, files, secure=secure) as access:
        box = service(access)
        with pytest.raises(NoAnswer, match="the connection broke"):
            box.ask("PUT", "/x", expects, Body(blocks(), 100))
        box.close()


def test_F32_what_breaks_behind_a_proxy_may_have_been_done() -> None:
    """The proxy was reached, and the request with it: not so where there is no connection."""
    with Scripted(lambda peer: False) as proxy:
        box = Service("Box", "http://nowhere.invalid", proxy=proxy.url, limits=QUICK)
        with pytest.raises(NoAnswer, match="the connection broke") as raised:
            box.ask("GET", "/x", {})
        assert not isinstance(raised.value, Unreachable)
        box.close()


# ---- proxies that are none --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [b"H" * 1000, b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1000, b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000, b""],
    ids=["status", "header", "headers", "nothing"],
)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_F32_a_proxy_that_answers_in_drops(said: bytes, method: str) -> None:
    def script(peer: Peer) -> None:
        peer.send(said, size=4, pause=0.1)
        peer.wait()

    start = time.monotonic()
    body = Body([b"abc"], 3) if method == "PUT" else None
    with Scripted(script) as proxy:
        box = Service("Box", "https://127.0.0.1:9", proxy=proxy.url, limits=QUICK)
        with pytest.raises(Unreachable, match="the proxy cannot be reached, or refuses"):
            box.ask(method, "/x", {}, body)
        box.close()
    assert time.monotonic() - start < 3
    assert body is None or body.sent == 0


def test_a_proxy_that_refuses() -> None:
    with Scripted(lambda peer: peer.send(b"HTTP/1.1 403 Forbidden\r\n\r\n")) as proxy:
        box = Service("Box", "https://127.0.0.1:9", proxy=proxy.url, limits=QUICK)
        with pytest.raises(Unreachable, match="the proxy cannot be reached, or refuses"):
            box.ask("GET", "/x", {})
        box.close()


def test_TLS_has_the_time_of_a_connection_behind_the_tunnel(files: tuple[Path, Path]) -> None:
    """However much of it the proxy's answer took."""

    def script(peer: Peer) -> None:
        peer.send(LEAVE, size=len(LEAVE) // 4, pause=0.15)
        peer.wait()

    start = time.monotonic()
    with Scripted(script) as proxy:
        box = Service("Box", "https://127.0.0.1:9", proxy=proxy.url, authorities=files[0], limits=QUICK)
        with pytest.raises(NoAnswer):
            box.ask("GET", "/x", {})
        box.close()
    assert 1.4 < time.monotonic() - start < 3
