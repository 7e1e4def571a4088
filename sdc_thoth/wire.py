"""The socket below an SSH session, with the limits that paramiko leaves out.

Until a node has proved who it is, each step has a deadline and all of them together a number of bytes; after
that a packet has a largest size and sending may stall only so long. Memory and time are so bounded against
any peer.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from typing import Final

from sdc_thoth.errors import NodeError, NodeTimeout, NodeUnreachable, ProtocolError

HANDSHAKE_BYTES: Final = 1 << 20  # key exchange and authentication of a real server take about 5 KiB
PACKET_BYTES: Final = 1 << 18  # OpenSSH's own limit for a packet


class Wire(socket.socket):
    """A connected socket that ends itself when its peer breaks a limit; ``failure`` then says which.

    paramiko sees a limit as the end of the stream (EOFError), which it takes quietly. ``close`` ends both
    directions only: another thread may still be inside ``recv``, and must not find the descriptor in other
    hands. ``release`` gives it back.
    """

    def __init__(self, connected: socket.socket, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(connected.family, connected.type, connected.proto, fileno=connected.detach())
        self._clock = clock
        self._step = ""  # of the handshake; empty once it is done
        self._deadline = 0.0
        self._patience = 0.0  # seconds: for a step, then for a send that makes no progress
        self._left = HANDSHAKE_BYTES
        self._stalled: float | None = None  # since when nothing could be sent
        self.failure: NodeError | None = None

    def begin(self, step: str, seconds: float) -> None:
        """Start a step of the handshake, which has to be over within that time."""
        self._step = step
        self._patience = seconds
        self._deadline = self._clock() + seconds

    @property
    def step(self) -> str:
        """The step of the handshake that is under way."""
        return self._step

    def established(self, idle: float) -> None:
        """The peer is known. Only a send that makes no progress for ``idle`` seconds is now an end."""
        self._step = ""
        self._patience = idle

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        if self._step:
            return self._recv_in_handshake(size, flags)
        if size > PACKET_BYTES:
            self._fail(ProtocolError(f"sent a packet that claims {size} bytes"))
        return super().recv(size, flags)

    def _recv_in_handshake(self, size: int, flags: int) -> bytes:
        if self._clock() > self._deadline:
            self._fail(NodeUnreachable(f"no {self._step} within {self._patience:g} s"))
        # Asked for as it is, a huge size would be allocated before a byte of it has come.
        data = super().recv(min(size, PACKET_BYTES), flags)
        self._left -= len(data)
        if self._left < 0 or size > HANDSHAKE_BYTES:
            self._fail(NodeUnreachable(f"sent over {HANDSHAKE_BYTES} bytes during the {self._step}"))
        return data

    def send(self, data: object, flags: int = 0, /) -> int:
        try:
            sent = super().send(data, flags)  # type: ignore[arg-type]  # as socket.send: any buffer
        except TimeoutError:
            now = self._clock()
            self._stalled = now if self._stalled is None else self._stalled
            if now - self._stalled > self._patience:
                self._fail(NodeTimeout(f"took nothing for {self._patience:g} s"))
            raise
        self._stalled = None
        return sent

    def _fail(self, failure: NodeError) -> None:
        self.failure = self.failure or failure
        raise EOFError(str(failure))

    def close(self) -> None:
        with contextlib.suppress(OSError):  # the peer was faster
            self.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Close the descriptor. No other thread may use it any more."""
        super().close()


def connect(address: str, port: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> Wire:
    """A connection to the first of the host's addresses that takes one, within ``seconds`` for all of them
    together.

    Raises OSError (TimeoutError, ConnectionRefusedError, socket.gaierror, ...).
    """
    deadline = clock() + seconds
    failure: OSError | None = None
    for family, kind, protocol, _name, where in socket.getaddrinfo(address, port, type=socket.SOCK_STREAM):
        left = deadline - clock()
        if left <= 0:
            break
        raw = socket.socket(family, kind, protocol)
        try:
            raw.settimeout(left)
            raw.connect(where)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            raw.close()
            failure = error
            continue
        return Wire(raw, clock)
    raise failure or TimeoutError("timed out")
