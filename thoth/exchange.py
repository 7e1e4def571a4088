"""One request and its answer on the wire: time limits, a body that waits for leave, an answer that comes early.

What urllib3 lacks, put into its connections: ``Expect: 100-continue``, an eye on the answer while the body is
being sent, a limit for all of an answer and not only for each of its pieces, and a body that another thread can
call off. Everything here raises what sockets and urllib3 raise; ``thoth.http`` translates.
"""

from __future__ import annotations

import http.client
import io
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import Any, Final

import urllib3.connection
import urllib3.connectionpool
from urllib3.util.ssltransport import SSLTransport

BLOCK: Final = 256 << 10  # bytes handed to the system in one call, for which a time limit holds as a whole
_LEAVE: Final = 3.0  # seconds to wait for "100 Continue"; who does not know it says nothing
_LONGEST: Final = 8 << 10  # bytes of a "100 Continue" with its headers


class CalledOff(Exception):
    """The body was called off by ``Body.cancel``."""


class Body:
    """What a request carries: ``size`` bytes, or with None as many as come, in chunks.

    ``sent`` counts the bytes handed to the system, and ``whole`` says that they were all. A body of which nothing
    was sent can be sent by another request. ``cancelled`` says that nobody may send it any more.
    """

    def __init__(self, blocks: Iterable[bytes | memoryview], size: int | None) -> None:
        self.size = size
        self.sent = 0
        self.whole = False
        self.cancelled = False
        self._blocks = iter(blocks)
        self._rest = memoryview(b"")  # of the block that was taken last
        self._exchange: Exchange | None = None

    def cancel(self) -> None:
        """Break the connection, from any thread. Who sends the body gets an error."""
        self.cancelled = True
        exchange = self._exchange
        if exchange is not None:
            exchange.shut()

    def let_go(self) -> None:
        """The request is over."""
        self._exchange = None

    def sending(self, exchange: Exchange) -> Iterator[memoryview]:
        """The bytes in pieces of at most BLOCK. Ends before its time when the answer is there already."""
        self._exchange = exchange
        self._check()
        if exchange.expects and not exchange.may_go_on():
            return
        while piece := self._piece():
            self._check()
            if exchange.is_answered():
                return
            exchange.limit()
            yield piece
            self.sent, self._rest = self.sent + len(piece), self._rest[len(piece) :]
        self._check()
        self._rest = memoryview(b"")  # an empty piece of a block keeps all of it
        self.whole = True

    def _piece(self) -> memoryview:
        """The next bytes, which stay the next until they were sent; empty at the end."""
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                break
            self._rest = memoryview(block)
        return self._rest[:BLOCK]

    def _check(self) -> None:
        if self.cancelled:
            raise CalledOff


class Exchange:
    """One request. ``idle`` is how many seconds the peer may be silent, ``total`` how many all may take by ``clock``,
    but for the request's body, and with ``endless`` for the answer's. With ``expects`` the body is not sent before
    the service says that it wants it."""

    def __init__(
        self,
        body: Body | None,
        *,
        idle: float,
        total: float,
        clock: Callable[[], float],
        expects: bool = False,
        endless: bool = False,
    ) -> None:
        self.body = body
        self.expects = expects
        self.connected = False  # else nothing of the request can have been sent
        self._idle = idle
        self._total = total
        self._endless = endless
        self._deadline: float | None = None
        self._clock = clock
        self._lock = threading.Lock()
        self._connection: http.client.HTTPConnection | None = None
        self._early = b""  # first bytes of the answer, read while the body was being sent

    def attach(self, connection: http.client.HTTPConnection) -> None:
        """The connection that is used from now on."""
        with self._lock:
            self._connection = connection

    def detach(self) -> None:
        """The connection may be others' from now on. Who calls the body off does nothing to it any more."""
        with self._lock:
            self._connection = None

    def tunnel(self, seconds: float) -> Exchange:
        """That with the proxy, whose leave to go through to the service comes within this time."""
        tunnel = Exchange(None, idle=seconds, total=seconds, clock=self._clock)
        tunnel.start()
        return tunnel

    def end(self) -> None:
        """The request is over, well or not."""
        self.detach()
        if self.body is not None:
            self.body.let_go()

    def start(self) -> None:
        """The time begins, that is for all but the request's body."""
        self._deadline = self._clock() + self._total

    def has_head(self) -> None:
        """The head of the answer is there. Whoever reads its body to the end gives the connection to others."""
        self.detach()
        if self._endless:
            self._deadline = None

    @property
    def is_cut(self) -> bool:
        """Whether a part of the body was left out: nothing else can go through this connection."""
        return self.body is not None and not self.body.whole

    def limit(self, sock: socket.socket | None = None, seconds: float | None = None) -> None:
        """Set how long the next call on the socket may take. Raises TimeoutError when there is no time left."""
        left = self._idle if seconds is None else min(seconds, self._idle)
        if self._deadline is not None:
            left = min(left, self._deadline - self._clock())
        if left <= 0:
            raise TimeoutError("timed out")
        (sock or self._socket()).settimeout(left)

    def _socket(self) -> socket.socket:
        sock = self._connection.sock if self._connection else None
        if sock is None:
            raise ConnectionAbortedError("the connection is closed")
        return sock

    def shut(self) -> None:
        """Wake up whoever waits for the socket."""
        with self._lock, suppress(OSError):  # it is closed already, or was never connected
            sock = self._socket()
            # SSLSocket's own would take the TLS state away under its user.
            socket.socket.shutdown(sock.socket if isinstance(sock, SSLTransport) else sock, socket.SHUT_RDWR)

    def may_go_on(self) -> bool:
        """Wait for "100 Continue", but not long. False: the answer came instead, or nothing ever will."""
        until = self._clock() + _LEAVE
        try:
            while not self._early.endswith(b"\r\n\r\n"):
                self.limit(seconds=until - self._clock())
                byte = self._socket().recv(1) or b""  # SSLTransport says 0 at the end
                self._early += byte
                if not byte or (len(self._early) == 12 and self._early[8:] != b" 100") or len(self._early) > _LONGEST:
                    return False
        except (TimeoutError, ssl.SSLWantReadError):
            return not self._early
        self._early = b""
        return True

    def is_answered(self) -> bool:
        """Whether the answer, or the end of the connection, is there although the body is not yet sent."""
        if self._early:
            return True
        sock = self._socket()
        if not _is_readable(sock):
            return False
        sock.settimeout(0)
        try:
            self._early = sock.recv(1) or b""
        except (BlockingIOError, ssl.SSLWantReadError):
            return False  # TLS had something to tell itself
        return True

    def take_early(self) -> bytes:
        early, self._early = self._early, b""
        return early


def _is_readable(sock: socket.socket) -> bool:
    if isinstance(sock, ssl.SSLSocket) and sock.pending():
        return True
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


CURRENT: Final[ContextVar[Exchange]] = ContextVar("exchange")  # of this thread: pools make connections as they like


class _Wire(io.RawIOBase):
    """The bytes of an answer, each read within the limits of its exchange."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, exchange: Exchange) -> None:
        self._raw = raw
        self._sock = sock
        self._exchange = exchange
        self._early = exchange.take_early()
        self.ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        if self._early:
            taken = min(len(buffer), len(self._early))
            buffer[:taken] = self._early[:taken]
            self._early = self._early[taken:]
            return taken
        self._exchange.limit(self._sock)
        length = self._raw.readinto(buffer)
        self.ended = not length
        return length

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, exchange: Exchange, sock: socket.socket, *options: Any, **more: Any) -> None:
        super().__init__(sock, *options, **more)
        self._wire = _Wire(self.fp.detach(), sock, exchange)
        self.fp = io.BufferedReader(self._wire, BLOCK)

    def begin(self) -> None:
        super().begin()
        if self._wire.ended:  # http.client takes that for the end of the head
            raise ConnectionResetError("the answer ends in its head")


class _Watched(http.client.HTTPConnection):
    """What both kinds of connection do beside what urllib3's do: obey the exchange of their thread."""

    def connect(self) -> None:
        super().connect()
        CURRENT.get().connected = True

    def request(self, *options: Any, **more: Any) -> None:
        exchange = CURRENT.get()
        exchange.attach(self)
        exchange.connected = self.sock is not None
        self.response_class = partial(_Response, exchange)  # type: ignore[assignment]  # called, never subclassed
        self._exchange = exchange
        if exchange.body is None:
            exchange.start()
        super().request(*options, **more)

    def getresponse(self) -> Any:
        if self._exchange.body is not None:
            self._exchange.start()
        response = super().getresponse()
        self._exchange.has_head()
        if self._exchange.is_cut and self.sock is not None:
            sock, self.sock = self.sock, None
            sock.close()  # when the answer has been read, which has a share in it
        return response


class _Plain(_Watched, urllib3.connection.HTTPConnection):
    pass


class _Secure(_Watched, urllib3.connection.HTTPSConnection):
    def _tunnel(self) -> None:
        # A part of connecting, and so no longer than that. One that failed is closed: then it is the proxy's fault.
        seconds: float = self.timeout  # type: ignore[assignment]  # whoever asks says how long
        self.response_class = partial(_Response, CURRENT.get().tunnel(seconds))  # type: ignore[assignment]
        try:
            super()._tunnel()
        except BaseException:
            self.close()
            raise
        self.sock.settimeout(seconds)


class PlainPool(urllib3.connectionpool.HTTPConnectionPool):
    ConnectionCls = _Plain


class SecurePool(urllib3.connectionpool.HTTPSConnectionPool):
    ConnectionCls = _Secure

    def _validate_conn(self, conn: Any) -> None:
        if conn.sock is None:  # urllib3's own would warn of each connection that is not verified: that was asked for
            conn.connect()


POOLS: Final = {"http": PlainPool, "https": SecurePool}
