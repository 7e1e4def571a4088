from __future__ import annotations

import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.chaos import Babble, Blackhole, Proxy
from tests.support.scripted_http import Peer, Scripted, certificate
from thoth.errors import NoAnswer, ServiceError, Unreachable, Untrusted, UsageError
from thoth.exchange import BLOCK, Body
from thoth.http import Limits, Service

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
QUICK = Limits(connect=1.0, idle=0.5, total=1.0)
SECRET = "canary-8431"


def ask(server: Scripted, method: str = "GET", target: str = "/x", body: Body | None = None, **headers: str) -> bytes:
    service = Service("Box", server.url, limits=QUICK)
    try:
        return service.ask(method, target, headers, body).body
    finally:
        service.close()


def saying(data: bytes, **how: float) -> Callable[[Peer], None]:
    return lambda peer: peer.send(data, **how)  # type: ignore[arg-type]


# ---- what is sent -----------------------------------------------------------------------------------


def test_a_target_is_sent_as_it_is() -> None:
    with Scripted(saying(OK)) as server:
        assert ask(server, target="/a%2Eb/%252E~!*'()?x=%7E") == b"ok"
    assert server.heads[0].split(b"\r\n")[0] == b"GET /a%2Eb/%252E~!*'()?x=%7E HTTP/1.1"


def test_headers_are_ours_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login eve password eve\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with Scripted(saying(OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b\r\n\r\n"))) as server:
        service = Service("Box", server.url)
        for _ in range(2):
            service.ask("GET", "/x", {"Authorization": "Signature x"})
        service.close()
    assert server.connections == 1
    for head in server.heads:
        assert b"Authorization: Signature x\r\n" in head
        assert b"Accept-Encoding: identity\r\n" in head
        assert b"cookie" not in head.lower()


@pytest.mark.parametrize("size", [1, BLOCK - 1, BLOCK, 3 * BLOCK + 1])
def test_a_body_of_known_size(size: int) -> None:
    got = bytearray()

    def script(peer: Peer) -> None:
        got.extend(peer.read(size))
        peer.send(OK)

    body = Body([memoryview(b"x" * size)], size)
    with Scripted(script) as server:
        assert ask(server, "PUT", body=body) == b"ok"
    assert got == b"x" * size
    assert f"Content-Length: {size}\r\n".encode() in server.heads[0]
    assert (body.sent, body.whole) == (size, True)


def test_a_body_of_no_bytes_has_that_length() -> None:
    with Scripted(saying(OK)) as server:
        ask(server, "PUT", body=Body([], 0))
    assert b"Content-Length: 0\r\n" in server.heads[0]


def test_a_body_of_unknown_size_goes_in_chunks() -> None:
    got = bytearray()

    def script(peer: Peer) -> None:
        while not got.endswith(b"0\r\n\r\n"):
            got.extend(peer.read(1))
        peer.send(OK)

    with Scripted(script) as server:
        assert ask(server, "PUT", body=Body([b"abc", b"", b"de"], None)) == b"ok"
    assert got == b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"


# ---- leave to send, and answers that come early --------------------------------------------------------


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
    with Scripted(script) as server:
        service = Service("Box", server.url, limits=QUICK)
        answer = service.ask("PUT", "/x", {"Expect": "100-continue"}, body)
        assert (answer.status, answer.body, body.sent, body.whole) == (404, b"none", 0, False)
        assert service.ask("PUT", "/x", {"Expect": "100-continue"}, body).body == b"ok"
        service.close()
    assert server.connections == 2


def test_who_does_not_know_of_leave_gets_the_body_after_a_while() -> None:
    def script(peer: Peer) -> None:
        assert peer.read(3) == b"abc"
        peer.send(OK)

    with Scripted(script) as server:  # it waits no longer than the service may be silent
        assert ask(server, "PUT", body=Body([b"abc"], 3), Expect="100-continue") == b"ok"


def test_F32_leave_in_drops_is_not_waited_for_without_end() -> None:
    body = Body([b"abc"], 3)
    with Scripted(saying(b"HTTP/1.1 100 Continue\r\nX: " + b"y" * 1000, size=5, pause=0.1)) as server:
        service = Service("Box", server.url, limits=QUICK, clock=lambda: 10 * time.monotonic())
        start = time.monotonic()
        with pytest.raises(NoAnswer):
            service.ask("PUT", "/x", {"Expect": "100-continue"}, body)
        assert time.monotonic() - start < 3
        service.close()
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

    context, authority = None, None
    if secure:
        authority, key = certificate(tmp_path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority, key)
    body = Body(blocks(), 1000 * BLOCK)  # type: ignore[arg-type]
    with Scripted(script, context) as server:
        service = Service("Box", server.url, authorities=authority)
        answer = service.ask("PUT", "/x", {}, body)
        service.close()
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
    with Scripted(script) as server:
        service = Service("Box", server.url)
        thread = threading.Thread(target=call_off)
        thread.start()
        start = time.monotonic()
        with pytest.raises(NoAnswer):
            service.ask("PUT", "/x", {}, body)
        assert time.monotonic() - start < 5
        with pytest.raises(NoAnswer, match="called off"):
            service.ask("PUT", "/x", {}, body)
        thread.join()
        service.close()


def test_calling_off_what_is_over_harms_nobody() -> None:
    body = Body([b"abc"], 3)

    def script(peer: Peer) -> None:
        peer.read(3 if b"PUT" in peer.head else 0)
        peer.send(OK)

    with Scripted(script) as server:
        service = Service("Box", server.url)
        service.ask("PUT", "/x", {}, body)
        body.cancel()
        assert service.ask("GET", "/x", {}).body == b"ok"
        service.close()
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


# ---- answers --------------------------------------------------------------------------------------------


def test_no_redirect_is_followed() -> None:
    with Scripted(saying(b"HTTP/1.1 302 Found\r\nLocation: /y\r\nContent-Length: 0\r\n\r\n")) as server:
        service = Service("Box", server.url)
        answer = service.ask("GET", "/x", {})
        service.close()
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
    with Scripted(saying(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data))) as server:
        service = Service("Box", server.url)
        with service.open("GET", "/x", {}) as found:
            pieces = [found.read(100_000) for _ in range(4)]
        with service.open("GET", "/x", {}) as found:  # cut: the connection cannot be used again
            found.read(10)
        assert service.ask("GET", "/x", {}).body == data
        service.close()
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


# ---- time -------------------------------------------------------------------------------------------------


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
    with Scripted(saying(data, size=5, pause=0.1)) as server:
        service = Service("Box", server.url, limits=QUICK)
        with pytest.raises(NoAnswer, match="silent for too long"):
            service.open("GET", "/x", {})
        service.close()


def test_F32_a_body_may_take_longer_than_a_head() -> None:
    def script(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n")
        peer.send(b"slowly!", size=1, pause=0.2)

    with Scripted(script) as server:
        service = Service("Box", server.url, limits=QUICK)
        with service.open("GET", "/x", {}) as found:
            assert found.read_all(100) == b"slowly!"
        service.close()


def test_F32_a_service_that_takes_nothing() -> None:
    def script(peer: Peer) -> None:
        peer.read(1)
        peer.wait()

    start = time.monotonic()
    body = Body((b"x" * BLOCK for _ in range(1000)), 1000 * BLOCK)
    with Scripted(script) as server, pytest.raises(NoAnswer, match="silent for too long"):
        ask(server, "PUT", body=body)
    assert time.monotonic() - start < 3


# ---- who cannot be reached, or trusted --------------------------------------------------------------------


def refused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_nobody_there() -> None:
    service = Service("Box", f"http://127.0.0.1:{refused_port()}", limits=QUICK)
    with pytest.raises(Unreachable, match=r"^Box http://127\.0\.0\.1:\d+: no connection: connection refused$"):
        service.ask("GET", "/x", {})
    service.close()


def test_a_host_that_does_not_answer() -> None:
    with Blackhole() as hole:
        service = Service("Box", "http://{}:{}".format(*hole.address), limits=QUICK)
        with pytest.raises(Unreachable, match="no connection: timed out"):
            service.ask("GET", "/x", {})
        service.close()


def test_a_name_that_nobody_knows() -> None:
    service = Service("Box", "http://nowhere.invalid", limits=QUICK)
    with pytest.raises(Unreachable, match="the host's name is not known here"):
        service.ask("GET", "/x", {})
    service.close()


def test_a_proxy_is_taken_on_purpose_only() -> None:
    with Scripted(saying(OK)) as proxy:
        service = Service("Box", "http://nowhere.invalid", proxy=proxy.url)
        assert service.ask("GET", "/x", {}).body == b"ok"
        service.close()
    assert proxy.heads[0].startswith(b"GET http://nowhere.invalid/x HTTP/1.1\r\n")
    service = Service("Box", "http://nowhere.invalid", proxy=f"http://user:{SECRET}@127.0.0.1:{refused_port()}")
    with pytest.raises(Unreachable, match="the proxy cannot be reached, or refuses: connection refused"):
        service.ask("GET", "/x", {})
    service.close()


def test_certificates_are_verified_unless_told_otherwise(tmp_path: Path) -> None:
    made, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    with Scripted(saying(OK), context) as server:
        service = Service("Box", server.url)
        with pytest.raises(Untrusted, match=rf"^Box {server.url}: its certificate is not trusted: self-signed"):
            service.ask("GET", "/x", {})
        service.close()
        for trusting in (Service("Box", server.url, authorities=made), Service("Box", server.url, insecure=True)):
            assert trusting.ask("GET", "/x", {}).body == b"ok"
            trusting.close()
        wrong = Service("Box", server.url.replace("127.0.0.1", "localhost"), authorities=made)
        with pytest.raises(Untrusted, match="certificate is not trusted: Hostname mismatch"):
            wrong.ask("GET", "/x", {})
        wrong.close()


def test_TLS_with_who_speaks_none() -> None:
    with Proxy(("127.0.0.1", refused_port()), Babble(b"220 welcome\r\n")) as server:
        service = Service("Box", "https://{}:{}".format(*server.address), limits=QUICK)
        with pytest.raises(Untrusted, match=r"^Box \S+: what answers is not TLS \(is it http:// there\?\)$"):
            service.ask("GET", "/x", {})
        service.close()


def hang_up(listener: socket.socket) -> None:
    listener.accept()[0].close()


def test_F32_TLS_with_who_is_silent_or_hangs_up() -> None:
    """As a server does that waits for the end of a line of HTTP: nothing was asked of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        service = Service("Box", "https://{}:{}".format(*listener.getsockname()), limits=QUICK)
        silent = r"^Box \S+: no answer to TLS: timed out \(is it http:// there\?\)$"
        with pytest.raises(Unreachable, match=silent):
            service.ask("GET", "/x", {})
        service.close()
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as other:
        service = Service("Box", "https://{}:{}".format(*listener.getsockname()), limits=QUICK)
        gone = other.submit(hang_up, listener)
        with pytest.raises(NoAnswer, match=r"^Box \S+: .*TLS.* \(is it http:// there\?\)$"):
            service.ask("GET", "/x", {})
        gone.result()
        service.close()


@pytest.mark.parametrize(
    "base",
    [
        "",
        "box",
        "ftp://box",
        "http://",
        "http://box/path",
        "http://u:p@box",
        "http://box?x",
        "http://box:0",
        "http://[x",
    ],
)
def test_what_is_no_URL_of_a_service(base: str) -> None:
    with pytest.raises(UsageError, match="Box: the URL has to be https://HOST"):
        Service("Box", base)


def test_no_secret_is_told() -> None:
    said = []
    for script in (
        lambda peer: False,
        lambda peer: peer.wait(),
        saying(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
    ):
        with Scripted(script) as server:
            try:
                ask(server, target=f"/x?signature={SECRET}", Authorization=SECRET)
            except ServiceError as error:
                said.append("".join(traceback.format_exception(error)) + repr(error))
    assert len(said) == 3
    assert not [each for each in said if SECRET in each]
