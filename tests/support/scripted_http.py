"""A service on loopback that says over HTTP just what a test wants, byte by byte.

    with Scripted(lambda peer: peer.send(b"HTTP/1.1 204 No Content\\r\\n\\r\\n")) as server:
        ... server.url, server.heads ...

Each request's head is read and noted; then the script has the connection, for the next request on it too.
"""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_END = 5.0  # seconds that a thread may take to end


class Peer:
    """One connection, after the head of a request was read. ``head`` is that head, ``number`` counts heads from 1."""

    def __init__(self, connection: socket.socket, ended: threading.Event) -> None:
        self.connection = connection
        self.head = b""
        self.number = 0
        self._ended = ended

    def send(self, data: bytes, *, size: int | None = None, pause: float = 0.0) -> None:
        """Send it, ``size`` bytes at a time with a pause behind each."""
        step = size or max(1, len(data))
        for start in range(0, len(data), step):
            self.connection.sendall(data[start : start + step])
            if pause and self._ended.wait(pause):
                return

    def read(self, size: int) -> bytes:
        """So many bytes of a body; fewer when it ends before."""
        pieces = b""
        while len(pieces) < size and (piece := self.connection.recv(min(1 << 16, size - len(pieces)))):
            pieces += piece
        return pieces

    def wait(self) -> None:
        """Say nothing until the test is over."""
        self._ended.wait()

    def next_head(self) -> bytes:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = self.connection.recv(1)
            if not byte:
                return b""
            head += byte
        return head


class Scripted:
    """Runs ``script`` for each request, until it returns False, or the connection ends."""

    def __init__(self, script: Callable[[Peer], object], context: ssl.SSLContext | None = None) -> None:
        self.heads: list[bytes] = []
        self.connections = 0
        self._script = script
        self._context = context
        self._ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name="scripted")]

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(_END)
        self._listener.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), name="scripted connection")
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError):
            if self._context:
                connection = self._context.wrap_socket(connection, server_side=True)
            with connection:
                self._talk(Peer(connection, self._ended))
        connection.close()

    def _talk(self, peer: Peer) -> None:
        while head := peer.next_head():
            self.heads.append(head)
            peer.head, peer.number = head, len(self.heads)
            if self._script(peer) is False:
                return


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody has signed but itself, and its key: PEM files."""
    made, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(made)],
        check=True, capture_output=True,
    )  # fmt: skip
    return made, key
