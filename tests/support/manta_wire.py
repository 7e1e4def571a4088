"""HTTP/1.1 on one connection, as a server reads and writes it: heads, bodies, large transfers.

Strict: what Node's own parser refuses ends in a bare 400 and a closed connection.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import BinaryIO

_HEAD = 80 << 10  # bytes of the longest head
_LINE = 4096  # bytes of the longest line that states a chunk's size
_READ = 1 << 16
_REQUEST_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([^ ]+) HTTP/1\.([01])")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;.*)?\r\n")
_LINGER_NOT = struct.pack("ii", 1, 0)
_STEP = 0.05  # seconds between the pieces of a slow transfer
_LITTLE = 4096  # bytes that the kernel may keep for a slow reader, so that the sender notices


class Gone(Exception):
    """The other side has closed or reset the connection, or the server ends."""


class Garbled(Exception):
    """What came is not HTTP/1.1."""


class Stalled(Exception):
    """Nothing came, or nothing could be sent, for as long as the server waits."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request; header names are in lower case, values of a repeated one joined by a comma."""

    method: str
    target: str
    minor: int  # of HTTP/1.x
    headers: Mapping[str, str]

    @property
    def keeps(self) -> bool:
        """Whether the client wants another answer on this connection."""
        wish = self.headers.get("connection", "").lower()
        return wish == "keep-alive" if self.minor == 0 else "close" not in wish


@dataclass(slots=True)
class Wire:
    """A connected socket. ``closing`` is set when the server ends; then the socket is shut down under us."""

    socket: socket.socket
    closing: threading.Event
    _up: int | None = None  # bytes a second; None: as many as can
    _down: int | None = None
    _pending: bytes = field(default=b"", repr=False)

    def slow_down(self, up: int | None, down: int | None) -> None:
        """From now on at most so many bytes a second are read and sent; None: as many as can."""
        self._up, self._down = up, down
        if up is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _LITTLE)

    # ---- reading ----------------------------------------------------------------------------------

    def head(self, patience: float) -> Head | None:
        """The next request; None when the client sends no other one. Raises Garbled, Gone, Stalled."""
        self.socket.settimeout(patience)
        while (end := self._pending.find(b"\r\n\r\n")) < 0:
            if len(self._pending) > _HEAD:
                raise Garbled("the head is too long")
            if not self._more():
                if self._pending.strip():
                    raise Gone("in the middle of a head")
                return None
        text, self._pending = self._pending[:end], self._pending[end + 4 :]
        return _parse(text.lstrip(b"\r\n").decode("latin-1"))

    def read_into(self, view: memoryview) -> int:
        """The next bytes, as many as are there and fit, at least one. Raises Gone at the end, Stalled."""
        view = view[: self._allowed(len(view), self._up)]
        if self._pending:
            count = min(len(view), len(self._pending))
            view[:count] = self._pending[:count]
            self._pending = self._pending[count:]
            return count
        with _translated():
            count = self.socket.recv_into(view)
        if not count:
            raise Gone("in the middle of a body")
        return count

    def line(self) -> bytes:
        """The next line with its end. Raises Garbled, Gone, Stalled."""
        while (end := self._pending.find(b"\n")) < 0:
            if len(self._pending) > _LINE:
                raise Garbled("a line is too long")
            if not self._more():
                raise Gone("in the middle of a body")
        line, self._pending = self._pending[: end + 1], self._pending[end + 1 :]
        return line

    def wait_for_end(self) -> None:
        """Returns when the client closes the connection, or the server ends."""
        with suppress(Gone):
            self.socket.settimeout(None)
            while self._more():
                self._pending = b""

    # ---- writing ----------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Raises Gone, Stalled."""
        view = memoryview(data)
        while view:
            count = self._allowed(len(view), self._down)
            with _translated():
                self.socket.sendall(view[:count])
            view = view[count:]

    def send_file(self, file: BinaryIO, offset: int, count: int) -> None:
        """Raises Gone, Stalled."""
        end = offset + count
        while offset < end:
            part = self._allowed(end - offset, self._down)
            with _translated():
                sent = self.socket.sendfile(file, offset, part)
            if sent < part:
                raise Gone("a file of the store is shorter than it was")
            offset += part

    # ---- ending -----------------------------------------------------------------------------------

    def reset(self) -> None:
        """Ends the connection so that the client's kernel says 'connection reset'."""
        with suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        self.socket.close()

    def shut(self) -> None:
        """Wakes whoever waits on this connection. From any thread."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    # ---- within -----------------------------------------------------------------------------------

    def _more(self) -> bool:
        with _translated():
            data = self.socket.recv(_READ)
        self._pending += data
        return bool(data)

    def _allowed(self, size: int, rate: int | None) -> int:
        """How many of these bytes may go now. Waits before it says so, where the transfer is slow."""
        if rate is None:
            return size
        count = min(size, max(1, int(rate * _STEP)))
        if self.closing.wait(count / rate):
            raise Gone("the server ends")
        return count


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise Stalled from None
    except OSError as error:
        raise Gone(str(error)) from None


def _parse(text: str) -> Head:
    first, *lines = text.split("\r\n")
    found = _REQUEST_LINE.fullmatch(first)
    if not found:
        raise Garbled("not a request line")
    headers: dict[str, str] = {}
    for line in lines:
        pair = _HEADER.fullmatch(line)
        if not pair:
            raise Garbled("not a header line")
        name = pair[1].lower()
        headers[name] = f"{headers[name]}, {pair[2]}" if name in headers else pair[2]
    if found[3] == "1" and "host" not in headers:
        raise Garbled("no Host header")
    return Head(found[1], found[2], int(found[3]), headers)


class Body:
    """The body of a request, read once, from front to back. ``length``: None when it comes in chunks.

    ``read`` counts its bytes so far.
    """

    def __init__(self, wire: Wire, head: Head) -> None:
        """Raises Garbled where the head does not say how long the body is."""
        self._wire = wire
        self.length = _length(head)
        self.read = 0
        self.patience = 45.0  # seconds for the next bytes
        self.stop_at: int | None = None  # a connection that breaks there
        # Node's server and muskie send 100 only where they are asked to, and never for a body that is empty.
        self.waits = head.headers.get("expect", "").lower() == "100-continue" and self.length != 0
        self.continued = False
        self._chunk = 0  # bytes left of the chunk at hand
        self._done = self.length == 0

    @property
    def done(self) -> bool:
        return self._done

    @property
    def unasked(self) -> bool:
        """Whether the client waits to be told to send it, and was not told."""
        return self.waits and not self.continued

    def accept(self) -> None:
        """Tells a client that waits for it to go on. Raises Gone, Stalled."""
        self._wire.socket.settimeout(self.patience)
        if self.waits and not self.continued:
            self._wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.continued = True

    def read_into(self, view: memoryview) -> int:
        """As many bytes as fit, less only at the end of the body; 0 when there is none left.

        Raises Gone, Garbled, Stalled.
        """
        filled = 0
        while filled < len(view) and not self._done:
            filled += self._read_some(view[filled:])
        return filled

    def all(self, most: int) -> bytes | None:
        """The rest of the body; None when it is longer than ``most`` bytes. Raises Gone, Garbled, Stalled."""
        self._wire.socket.settimeout(self.patience)
        buffer = bytearray(min(most, self.length if self.length is not None else most) + 1)
        count = self.read_into(memoryview(buffer))
        return bytes(buffer[:count]) if count <= most else None

    def drain(self) -> None:
        """Reads the rest and forgets it, as muskie does after an error. Raises Gone, Garbled, Stalled."""
        if self._done:
            return
        scrap = memoryview(bytearray(_READ))
        self._wire.socket.settimeout(self.patience)
        while self.read_into(scrap):
            pass

    def _read_some(self, view: memoryview) -> int:
        if self.length is not None:
            left = self.length - self.read
        else:
            left = self._chunk = self._chunk or self._next_chunk()
            if not left:
                self._done = True
                return 0
        if self.stop_at is not None:
            left = min(left, self.stop_at - self.read)
        count = self._wire.read_into(view[:left]) if left else 0
        self._advance(count)
        if self.read == self.stop_at:
            raise Gone("as a mood wants it")
        return count

    def _advance(self, count: int) -> None:
        self.read += count
        if self.length is not None:
            self._done = self.read == self.length
            return
        self._chunk -= count
        if count and not self._chunk and self._wire.line() != b"\r\n":
            raise Garbled("no line end behind a chunk")

    def _next_chunk(self) -> int:
        found = _CHUNK_SIZE.fullmatch(self._wire.line())
        if not found:
            raise Garbled("not the size of a chunk")
        size = int(found[1], 16)
        if size == 0:
            while self._wire.line() != b"\r\n":  # trailers, which nobody here wants
                pass
        return size


def _length(head: Head) -> int | None:
    coding = head.headers.get("transfer-encoding")
    stated = head.headers.get("content-length")
    if coding is not None:
        if coding.lower() != "chunked" or stated is not None:
            raise Garbled("a transfer coding that is not chunked, or a length beside it")
        return None
    if stated is None or stated.startswith("-"):  # a negative one is for the handlers to refuse
        return 0
    if not re.fullmatch("[0-9]{1,18}", stated):
        raise Garbled("not a length")
    return int(stated)
