"""One connection through the proxy: a thread, a poll loop, and a flow for each direction."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from tests.support.damage import Babble, Cut, Delay, Direction, Fault, Flip, HalfOpen, Silence, Throttle

CHUNK = 1 << 16
_CONNECT = 10.0  # seconds


class Watcher(Protocol):
    """Who hears of the bytes that pass: the proxy."""

    def passed_by(self, link: Link, direction: Direction, size: int) -> None:
        """So many bytes more have gone that way, none at the start. The link waits for the return."""

    def next_stop(self, direction: Direction, passed: int) -> int | None:
        """The next offset at which it must hear of the bytes."""


class Flow(Protocol):
    """One direction. ``wants``: the socket to poll, for what, and not before when; None when it has ended."""

    def wants(self) -> tuple[socket.socket, int, float] | None: ...

    def step(self) -> None:
        """Reads or writes once, as it wanted."""


class Link:
    """One connection; ``passed`` counts its bytes. ``close`` may be called from whatever thread."""

    def __init__(
        self, client: socket.socket, target: tuple[str, int], faults: tuple[Fault, ...], watcher: Watcher
    ) -> None:
        self.passed: dict[Direction, int] = {"up": 0, "down": 0}
        self._client = client
        self._target = target
        self._faults = faults
        self._watcher = watcher
        self._sockets = [client]
        self._reset = False
        self._closing = threading.Event()
        self._frozen = threading.Event()
        self._wake, self._woken = socket.socketpair()

    def close(self, *, reset: bool = False) -> None:
        """Ends the connection: in order, or with a reset."""
        self._reset = reset
        self._closing.set()
        self._nudge()

    def freeze(self) -> None:
        """Neither reads nor writes from now on, and closes nothing until ``close``."""
        self._frozen.set()
        self._nudge()

    def run(self) -> None:
        """Serves the connection until it has ended."""
        # An error on one side is passed on in the one way a proxy has: the other side is closed too.
        with suppress(OSError):
            flows = self._flows()
            while not self._closing.is_set() and any(flow.wants() for flow in flows):
                self._turn(flows)
        for end in self._sockets:
            _close(end, reset=self._reset)
        self._wake.close()
        self._woken.close()

    def count(self, direction: Direction, size: int) -> None:
        """Bytes have passed: does what is due at this offset."""
        self.passed[direction] += size
        self._watcher.passed_by(self, direction, size)
        for fault in self._faults:
            if isinstance(fault, Cut | HalfOpen) and fault.direction == direction:
                if self.passed[direction] < fault.after:
                    continue
                if isinstance(fault, Cut):
                    self.close(reset=fault.reset)
                else:
                    self.freeze()

    def room(self, direction: Direction) -> int:
        """How many bytes may go on at once: nothing is due before their end."""
        passed = self.passed[direction]
        here = [fault for fault in self._faults if getattr(fault, "direction", None) == direction]
        stops = [fault.after - passed for fault in here if isinstance(fault, Cut | HalfOpen) and fault.after > passed]
        slices = [max(1, fault.bytes_per_second // 50) for fault in here if isinstance(fault, Throttle)]
        if stop := self._watcher.next_stop(direction, passed):
            stops.append(stop - passed)
        return min([CHUNK, *stops, *slices])

    def _nudge(self) -> None:
        with suppress(OSError):  # it has ended already
            self._wake.send(b"!")

    def _flows(self) -> list[Flow]:
        if any(isinstance(fault, Silence) for fault in self._faults):
            return [Drain(self._client, self.close)]
        if babble := next((fault for fault in self._faults if isinstance(fault, Babble)), None):
            return [Drain(self._client, self.close), Chatter(self._client, babble, self)]
        server = socket.create_connection(self._target, timeout=_CONNECT)
        self._sockets.append(server)
        for end in self._sockets:
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        flows: list[Flow] = [
            Copy("up", self._client, server, self._faults, self),
            Copy("down", server, self._client, self._faults, self),
        ]
        self.count("up", 0)
        self.count("down", 0)
        return flows

    def _turn(self, flows: list[Flow]) -> None:
        """Waits until a flow can go on, or a moment comes, or somebody nudges; then goes on once."""
        now = time.monotonic()
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        wanted = [] if self._frozen.is_set() else [(flow, want) for flow in flows if (want := flow.wants())]
        interests: dict[int, int] = {}
        for _, (end, mask, when) in wanted:
            if when <= now:
                interests[end.fileno()] = interests.get(end.fileno(), 0) | mask
        for number, mask in interests.items():
            poll.register(number, mask)
        later = [when - now for _, (_, _, when) in wanted if when > now]
        ready = dict(poll.poll(min(later) * 1000 if later else None))
        if self._woken.fileno() in ready:
            self._woken.recv(CHUNK)
        broken = select.POLLHUP | select.POLLERR
        for flow, (end, mask, when) in wanted:
            if when <= now and ready.get(end.fileno(), 0) & (mask | broken) and not self._closing.is_set():
                flow.step()


class Copy:
    """Carries bytes from one socket to the other, with what is to happen to them on the way."""

    def __init__(
        self,
        direction: Direction,
        source: socket.socket,
        target: socket.socket,
        faults: tuple[Fault, ...],
        link: Link,
    ) -> None:
        self._direction = direction
        self._source = source
        self._target = target
        self._faults = [fault for fault in faults if getattr(fault, "direction", None) == direction]
        self._link = link
        self._held = b""
        self._not_before = 0.0
        self._chunks = 0
        self._ended = False

    def wants(self) -> tuple[socket.socket, int, float] | None:
        if self._held:
            return self._target, select.POLLOUT, self._not_before
        return None if self._ended else (self._source, select.POLLIN, 0.0)

    def step(self) -> None:
        with suppress(BlockingIOError):
            if self._held:
                self._write()
            else:
                self._read()

    def _read(self) -> None:
        chunk = self._source.recv(self._link.room(self._direction))
        if not chunk:
            self._ended = True
            self._target.shutdown(socket.SHUT_WR)
            return
        self._chunks += 1
        self._not_before = time.monotonic() + sum(self._hold(fault, len(chunk)) for fault in self._faults)
        self._held = self._damaged(chunk)

    def _write(self) -> None:
        sent = self._target.send(self._held)
        self._held = self._held[sent:]
        self._link.count(self._direction, sent)

    def _hold(self, fault: Fault, size: int) -> float:
        if isinstance(fault, Delay) and self._chunks % fault.every == 0:
            return fault.seconds
        return size / fault.bytes_per_second if isinstance(fault, Throttle) else 0.0

    def _damaged(self, chunk: bytes) -> bytes:
        start = self._link.passed[self._direction]
        for fault in self._faults:
            if isinstance(fault, Flip) and 0 <= (at := fault.offset - start) < len(chunk):
                chunk = chunk[:at] + bytes([chunk[at] ^ 1]) + chunk[at + 1 :]
        return chunk


class Drain:
    """Reads what the client sends and drops it; calls ``gone`` when the client has closed."""

    def __init__(self, client: socket.socket, gone: Callable[[], None]) -> None:
        self._client = client
        self._gone = gone

    def wants(self) -> tuple[socket.socket, int, float] | None:
        return self._client, select.POLLIN, 0.0

    def step(self) -> None:
        if not self._client.recv(CHUNK):
            self._gone()


class Chatter:
    """Sends the same text for ever."""

    def __init__(self, client: socket.socket, babble: Babble, link: Link) -> None:
        self._client = client
        self._babble = babble
        self._link = link
        self._stream = babble.text * (babble.size // len(babble.text) + 2)
        self._position = 0
        self._not_before = 0.0
        client.setblocking(False)

    def wants(self) -> tuple[socket.socket, int, float] | None:
        return self._client, select.POLLOUT, self._not_before

    def step(self) -> None:
        with suppress(BlockingIOError):
            sent = self._client.send(self._stream[self._position :][: self._babble.size])
            self._position = (self._position + sent) % len(self._babble.text)
            self._not_before = time.monotonic() + self._babble.interval
            self._link.count("down", sent)


def _close(end: socket.socket, *, reset: bool) -> None:
    if reset:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    else:
        with suppress(OSError):
            end.shutdown(socket.SHUT_WR)
            end.setblocking(False)
            while end.recv(CHUNK):  # a socket that is closed with unread data sends a reset
                pass
    end.close()
