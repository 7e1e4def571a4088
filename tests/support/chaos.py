"""A TCP proxy on loopback that damages what goes through it, and listeners that are no servers at all.

    with Proxy((node.address, node.port), Cut(after=10_000)) as proxy:
        connect to proxy.address

``up`` is what the client sends, ``down`` what the server sends. Offsets count bytes of one direction of one
connection and are exact: a chunk that would go beyond an offset is split there.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

Direction = Literal["up", "down"]
Address = tuple[str, int]

_CHUNK = 1 << 16
_END = 10.0  # seconds that a thread may take to end


@dataclass(frozen=True, slots=True)
class Delay:
    """Holds every ``every``-th chunk back for some seconds."""

    seconds: float
    every: int = 1
    direction: Direction = "down"


@dataclass(frozen=True, slots=True)
class Throttle:
    """Lets this many bytes through in a second."""

    bytes_per_second: int
    direction: Direction = "down"


@dataclass(frozen=True, slots=True)
class Flip:
    """Inverts the lowest bit of the byte at ``offset``."""

    offset: int
    direction: Direction = "down"


@dataclass(frozen=True, slots=True)
class Cut:
    """Ends the connection when ``after`` bytes have passed: closed in order, or with a reset."""

    after: int
    direction: Direction = "down"
    reset: bool = False


@dataclass(frozen=True, slots=True)
class HalfOpen:
    """When ``after`` bytes have passed nothing more is read or written either way, and nothing is closed."""

    after: int
    direction: Direction = "down"


@dataclass(frozen=True, slots=True)
class Silence:
    """Accepts and never says anything. The server behind is not asked."""


@dataclass(frozen=True, slots=True)
class Babble:
    """Sends ``text`` over and over, ``size`` bytes every ``interval`` seconds, until the client has enough.

    ``Babble(b"SSH-2.0-x", size=1, interval=1.0)`` is a banner that never gets done, ``Babble(b"x")`` one without
    end, ``Babble(b"hello\\r\\n")`` a server that keeps talking before its banner.
    """

    text: bytes = b"x"
    size: int = _CHUNK
    interval: float = 0.0


Fault = Delay | Throttle | Flip | Cut | HalfOpen | Silence | Babble


class StillRunning(Exception):
    """A thread of the proxy does not end."""


@dataclass(slots=True)
class _Watch:
    """Somebody waits for a number of bytes."""

    after: int
    direction: Direction
    action: Callable[[Link], None] | None
    reached: threading.Event


class Link:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, client: socket.socket, faults: tuple[Fault, ...]) -> None:
        self.faults = faults
        self.passed: dict[Direction, int] = {"up": 0, "down": 0}
        self.frozen = threading.Event()
        self.closing = threading.Event()
        self._proxy = proxy
        self._client = client
        self._server: socket.socket | None = None
        self._lock = threading.Lock()

    def close(self, *, reset: bool = False) -> None:
        """Ends both connections, from whatever thread."""
        self.closing.set()
        with self._lock:
            for end in (self._client, self._server):
                if end is not None:
                    _end(end, reset=reset)

    def run(self) -> None:
        """Serves the connection until it ends."""
        try:
            self._serve()
        except OSError:
            pass  # one side went away: nothing that a proxy could tell anybody but by closing the other
        finally:
            self.close()
            with self._lock:
                for end in (self._client, self._server):
                    if end is not None:
                        end.close()

    def _serve(self) -> None:
        if any(isinstance(fault, Silence) for fault in self.faults):
            self._drain()
            return
        if babble := next((fault for fault in self.faults if isinstance(fault, Babble)), None):
            self._babble(babble)
            return
        server = socket.create_connection(self._proxy.target, timeout=_END)
        server.settimeout(None)
        with self._lock:
            self._server = server
        if self.closing.is_set():
            return
        up = threading.Thread(target=self._pump, args=("up", self._client, server), name="chaos up")
        up.start()
        self._pump("down", server, self._client)
        up.join()

    def _drain(self) -> None:
        while self._client.recv(_CHUNK):
            pass

    def _babble(self, babble: Babble) -> None:
        stream = babble.text * (babble.size // len(babble.text) + 2)
        position = 0
        while not self.closing.wait(babble.interval):
            self._client.sendall(stream[position : position + babble.size])
            self._count("down", babble.size)
            position = (position + babble.size) % len(babble.text)

    def _pump(self, direction: Direction, source: socket.socket, target: socket.socket) -> None:
        chunks = 0
        try:
            while not self.closing.is_set():
                self._proxy.act(self, direction)
                if self._stopped(direction):
                    return
                chunk = source.recv(self._room(direction))
                if not chunk:
                    target.shutdown(socket.SHUT_WR)
                    return
                chunks += 1
                self._hold(direction, chunks, len(chunk))
                if self.frozen.is_set():
                    self.closing.wait()
                    return
                target.sendall(self._damaged(direction, chunk))
                self._count(direction, len(chunk))
        except OSError:
            self.close()  # the other direction cannot go on either

    def _stopped(self, direction: Direction) -> bool:
        """Does what was asked for at this offset; True when nothing more is to go this way."""
        for fault in self.faults:
            if isinstance(fault, Cut | HalfOpen) and self._is_at(direction, fault):
                if isinstance(fault, Cut):
                    self.close(reset=fault.reset)
                    return True
                self.frozen.set()
        if self.frozen.is_set():
            self.closing.wait()
        return self.frozen.is_set()

    def _is_at(self, direction: Direction, fault: Cut | HalfOpen) -> bool:
        return fault.direction == direction and self.passed[direction] >= fault.after

    def _room(self, direction: Direction) -> int:
        """How many bytes may be read before something happens."""
        stops = [watch.after for watch in self._proxy.watches() if watch.direction == direction]
        size = _CHUNK
        for fault in self.faults:
            if isinstance(fault, Cut | HalfOpen) and fault.direction == direction:
                stops.append(fault.after)
            if isinstance(fault, Throttle) and fault.direction == direction:
                size = max(1, fault.bytes_per_second // 50)
        passed = self.passed[direction]
        return min([size, *(stop - passed for stop in stops if stop > passed)])

    def _hold(self, direction: Direction, chunks: int, size: int) -> None:
        for fault in self.faults:
            if isinstance(fault, Delay) and fault.direction == direction and chunks % fault.every == 0:
                self.closing.wait(fault.seconds)
            if isinstance(fault, Throttle) and fault.direction == direction:
                self.closing.wait(size / fault.bytes_per_second)

    def _damaged(self, direction: Direction, chunk: bytes) -> bytes:
        for fault in self.faults:
            if isinstance(fault, Flip) and fault.direction == direction:
                at = fault.offset - self.passed[direction]
                if 0 <= at < len(chunk):
                    chunk = chunk[:at] + bytes([chunk[at] ^ 1]) + chunk[at + 1 :]
        return chunk

    def _count(self, direction: Direction, size: int) -> None:
        self.passed[direction] += size
        self._proxy.count(direction, size)


class Proxy:
    """Listens on a free port of loopback from ``with`` to its end; then no thread and no socket is left.

    ``faults`` hold for connections that are made from now on; ``set`` changes them. ``target`` may be any TCP server;
    with Silence or Babble it is never connected to.
    """

    def __init__(self, target: Address, *faults: Fault, host: str = "127.0.0.1") -> None:
        self.target = target
        self.passed: dict[Direction, int] = {"up": 0, "down": 0}
        self.links: list[Link] = []
        self._faults = faults
        self._host = host
        self._port = 0
        self._lock = threading.Lock()
        self._watches: list[_Watch] = []
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []
        self._listener: socket.socket | None = None

    @property
    def address(self) -> Address:
        return self._host, self._port

    @property
    def port(self) -> int:
        return self._port

    def __enter__(self) -> Self:
        self._open(listen=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def set(self, *faults: Fault) -> None:
        """What happens to the connections that are made from now on; nothing: they pass untouched."""
        with self._lock:
            self._faults = faults

    def refuse(self) -> None:
        """New connections are refused; those that are open go on. The port stays ours."""
        self._close_listener()
        self._open(listen=False)

    def accept(self) -> None:
        """Undoes ``refuse``."""
        self._close_listener()
        self._open(listen=True)

    def cut(self, *, reset: bool = False) -> None:
        """Ends all connections now."""
        for link in list(self.links):
            link.close(reset=reset)

    def at(
        self, after: int, direction: Direction = "down", action: Callable[[Link], None] | None = None
    ) -> threading.Event:
        """The event is set when the first connection has let ``after`` bytes through.

        ``action`` is called before that, and no byte more goes that way until it returns. What it raises comes out
        of ``close``. Say so before the connection is made.
        """
        watch = _Watch(after, direction, action, threading.Event())
        with self._lock:
            self._watches.append(watch)
        return watch.reached

    def close(self) -> None:
        """Ends everything. Raises StillRunning when a thread hangs, or what an action raised."""
        self._close_listener()
        self.cut()
        for thread in self._threads:
            thread.join(_END)
        if alive := [thread.name for thread in self._threads if thread.is_alive()]:
            raise StillRunning(f"threads of a proxy do not end: {alive}")
        if self._errors:
            raise self._errors.pop(0)

    # ---- what links call --------------------------------------------------------------------------

    def watches(self) -> list[_Watch]:
        """Those that nothing has reached yet."""
        with self._lock:
            return list(self._watches)

    def act(self, link: Link, direction: Direction) -> None:
        """Calls the actions whose number of bytes this link has reached."""
        with self._lock:
            due = [
                watch
                for watch in self._watches
                if watch.direction == direction and link.passed[direction] >= watch.after
            ]
            self._watches = [watch for watch in self._watches if watch not in due]
        for watch in due:
            try:
                if watch.action:
                    watch.action(link)
            except BaseException as error:  # noqa: BLE001  # a test's assertion too: close() raises it where it is seen
                self._errors.append(error)
            finally:
                watch.reached.set()

    def count(self, direction: Direction, size: int) -> None:
        """Adds to the bytes of all connections."""
        with self._lock:
            self.passed[direction] += size

    # ---- the listener -----------------------------------------------------------------------------

    def _open(self, *, listen: bool) -> None:
        with ExitStack() as undo:
            listener = undo.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self._host, self._port))
            self._port = listener.getsockname()[1]
            if listen:
                listener.listen(512)
                self._start(lambda: self._accept(listener), "chaos listener")
            undo.pop_all()
        self._listener = listener

    def _close_listener(self) -> None:
        if self._listener is None:
            return
        listener, self._listener = self._listener, None
        with suppress(OSError):  # it did not listen
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        for thread in self._threads:
            if thread.name == "chaos listener":
                thread.join(_END)
        listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:  # shut down
                return
            with self._lock:
                link = Link(self, client, self._faults)
                self.links.append(link)
            self._start(link.run, "chaos down")

    def _start(self, work: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=work, name=name)
        self._threads.append(thread)
        thread.start()


class Blackhole:
    """An address at which nobody answers: connecting neither works nor fails, as with a machine that is down.

    Its queue of connections is full, so that the kernel drops what comes.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._host = host
        self._undo = ExitStack()
        self.address: Address = (host, 0)

    def __enter__(self) -> Self:
        listener = self._undo.enter_context(socket.socket())
        listener.bind((self._host, 0))
        listener.listen(0)
        self.address = listener.getsockname()
        while self._fills():
            pass
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._undo.close()

    def _fills(self) -> bool:
        """Connects once more; False when that was not answered at once, as it is where there is room."""
        filler = self._undo.enter_context(socket.socket())
        filler.settimeout(0.05)
        try:
            filler.connect(self.address)
        except TimeoutError:
            return False
        return True


def _end(end: socket.socket, *, reset: bool) -> None:
    with suppress(OSError):  # it is closed already
        if reset:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.close()
        else:
            end.shutdown(socket.SHUT_RDWR)
