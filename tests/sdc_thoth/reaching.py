"""What tests of sessions share: addresses, time limits, and servers that are none."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from sdc_thoth.errors import NodeError
from sdc_thoth.inventory import Node
from sdc_thoth.session import Credentials, open_session
from tests.support.sshd import Node as Machine

MIB = 1 << 20
LINGER = "while echo . >&2; do sleep 0.05; done"  # says nothing on stdout, and ends when nobody listens


def at(machine: Machine, port: int | None = None) -> Node:
    return Node(machine.name, machine.address, port or machine.port)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    start = time.monotonic()
    yield
    assert time.monotonic() - start < seconds


def refused(node: Node, credentials: Credentials, timeout: float = 0.5) -> NodeError:
    """The error that opening a session ends with, which names the node on one line."""
    with pytest.raises(NodeError) as caught:
        open_session(node, credentials, connect_timeout=timeout, idle_timeout=5)
    message = str(caught.value)
    assert message.startswith(f"{node.shown}: ")
    assert message.isprintable()
    return caught.value


@contextmanager
def server(talk: Callable[[socket.socket], None]) -> Iterator[Node]:
    """A node whose server is this function, called with the connection; it ends when the client goes away."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)

        def serve() -> None:
            with suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    talk(connection)
                    while connection.recv(65536):
                        pass

        thread = threading.Thread(target=serve, name="fake sshd", daemon=True)
        thread.start()
        try:
            yield Node("cn0", *listener.getsockname())
        finally:
            thread.join(15)
