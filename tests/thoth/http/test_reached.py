"""Services that cannot be reached, or trusted."""

from __future__ import annotations

import socket
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.chaos import Babble, Blackhole, Proxy
from tests.support.scripted_http import Scripted
from tests.thoth.http.scene import OK, QUICK, SECRET, ask, get, refused_port, saying, tls
from thoth.errors import NoAnswer, ServiceError, Unreachable, Untrusted, UsageError
from thoth.http import Service


def test_nobody_there() -> None:
    with pytest.raises(Unreachable, match=r"^Box http://127\.0\.0\.1:\d+: no connection: connection refused$"):
        get(f"http://127.0.0.1:{refused_port()}", limits=QUICK)


def test_a_host_that_does_not_answer() -> None:
    with Blackhole() as hole, pytest.raises(Unreachable, match="no connection: timed out"):
        get("http://{}:{}".format(*hole.address), limits=QUICK)


def test_a_name_that_nobody_knows() -> None:
    with pytest.raises(Unreachable, match="the host's name is not known here"):
        get("http://nowhere.invalid", limits=QUICK)


def test_a_proxy_is_taken_on_purpose_only() -> None:
    with Scripted(saying(OK)) as proxy:
        assert get("http://nowhere.invalid", proxy=proxy.url) == b"ok"
    assert proxy.heads[0].startswith(b"GET http://nowhere.invalid/x HTTP/1.1\r\n")
    with pytest.raises(Unreachable, match="the proxy cannot be reached, or refuses: connection refused"):
        get("http://nowhere.invalid", proxy=f"http://user:{SECRET}@127.0.0.1:{refused_port()}")


def test_certificates_are_verified_unless_told_otherwise(tmp_path: Path) -> None:
    context, made = tls(tmp_path)
    with Scripted(saying(OK), context) as server:
        with pytest.raises(Untrusted, match=rf"^Box {server.url}: its certificate is not trusted: self-signed"):
            get(server.url)
        assert get(server.url, authorities=made) == b"ok"
        assert get(server.url, insecure=True) == b"ok"
        with pytest.raises(Untrusted, match="certificate is not trusted: Hostname mismatch"):
            get(server.url.replace("127.0.0.1", "localhost"), authorities=made)


def test_TLS_with_who_speaks_none() -> None:
    with (
        Proxy(("127.0.0.1", refused_port()), Babble(b"220 welcome\r\n")) as server,
        pytest.raises(Untrusted, match=r"^Box \S+: what answers is not TLS \(is it http:// there\?\)$"),
    ):
        get("https://{}:{}".format(*server.address), limits=QUICK)


def hang_up(listener: socket.socket) -> None:
    listener.accept()[0].close()


def test_F32_TLS_with_who_is_silent_or_hangs_up() -> None:
    """As a server does that waits for the end of a line of HTTP: nothing was asked of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        silent = r"^Box \S+: no answer to TLS: timed out \(is it http:// there\?\)$"
        with pytest.raises(Unreachable, match=silent):
            get("https://{}:{}".format(*listener.getsockname()), limits=QUICK)
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as other:
        gone = other.submit(hang_up, listener)
        with pytest.raises(NoAnswer, match=r"^Box \S+: .*TLS.* \(is it http:// there\?\)$"):
            get("https://{}:{}".format(*listener.getsockname()), limits=QUICK)
        gone.result()


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
