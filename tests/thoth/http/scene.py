"""What the tests of HTTP have in common: one request to a server that keeps to a script."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.support.scripted_http import Peer, Scripted, certificate
from thoth.exchange import Body
from thoth.http import Limits, Service

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
QUICK = Limits(connect=1.0, idle=0.5, total=1.0)
SECRET = "canary-8431"


def ask(server: Scripted, method: str = "GET", target: str = "/x", body: Body | None = None, **headers: str) -> bytes:
    with closing(Service("Box", server.url, limits=QUICK)) as service:
        return service.ask(method, target, headers, body).body


def get(url: str, **settings: Any) -> bytes:
    """What is there, for a service of these settings."""
    with closing(Service("Box", url, **settings)) as service:
        return service.ask("GET", "/x", {}).body


def saying(data: bytes, **how: float) -> Callable[[Peer], None]:
    return lambda peer: peer.send(data, **how)  # type: ignore[arg-type]


def tls(place: Path) -> tuple[ssl.SSLContext, Path]:
    """What a server needs that has a certificate, and the file by which clients know it."""
    authority, key = certificate(place)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, key)
    return context, authority


def refused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
