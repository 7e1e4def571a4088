"""What is sent: target, headers and body."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from tests.support.scripted_http import Peer, Scripted
from tests.thoth.http.scene import OK, ask, saying
from thoth.exchange import BLOCK, Body
from thoth.http import Service


def test_a_target_is_sent_as_it_is() -> None:
    with Scripted(saying(OK)) as server:
        assert ask(server, target="/a%2Eb/%252E~!*'()?x=%7E") == b"ok"
    assert server.heads[0].split(b"\r\n")[0] == b"GET /a%2Eb/%252E~!*'()?x=%7E HTTP/1.1"


def test_headers_are_ours_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login eve password eve\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with (
        Scripted(saying(OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b\r\n\r\n"))) as server,
        closing(Service("Box", server.url)) as service,
    ):
        for _ in range(2):
            service.ask("GET", "/x", {"Authorization": "Signature x"})
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
