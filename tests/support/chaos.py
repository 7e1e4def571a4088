"""A TCP proxy on loopback that damages what goes through it, and an address at which nobody answers.

    with Proxy((node.address, node.port), Cut(after=10_000)) as proxy:
        connect_to(proxy.address)

What can happen to a connection is said in damage.py.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.support.damage import Babble, Cut, Delay, Direction, Fault, Flip, HalfOpen, Silence, Throttle
from tests.support.link import Link

__all__ = [
    "Babble",
    "Blackhole",
    "Cut",
    "Delay",
    "Direction",
    "Fault",
    "Flip",
    "HalfOpen",
    "Link",
    "Proxy",
    "Silence",
    "StillRunning",
    "Throttle",
]

Address = tuple[str, int]

_END = 10.0  # seconds that a thread may take to end


class StillRunning(Exception):
    """A thread of the proxy does not end."""


@dataclass(frozen=True, slots=True, eq=False)
class _Watch:
    """Somebody waits for a number of bytes."""

    after: int
    direction: Direction
    action: Callable[[Link], None] | None
    reached: threading.Event


class Proxy:
    """Listens on a free port of loopback from ``with`` to its end; then no thread and no socket is left.

    ``faults`` hold for connections that are made from now on; ``set`` changes them. ``target`` may be any TCP
    server; with Silence or Babble it is never connected to. ``passed`` counts the bytes of all connections.
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
        self._acceptor: threading.Thread | None = None

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
        self._shut()
        self._open(listen=False)

    def accept(self) -> None:
        """Undoes ``refuse``."""
        self._shut()
        self._open(listen=True)

    def cut(self, *, reset: bool = False) -> None:
        """Ends all connections now."""
        for link in list(self.links):
            link.close(reset=reset)

    def at(
        self, after: int, direction: Direction = "down", action: Callable[[Link], None] | None = None
    ) -> threading.Event:
        """The event is set when a connection has let ``after`` bytes through, once.

        ``action`` is called before that, and no byte more passes on that connection until it returns; what it
        raises comes out of ``close``. To be said before the connection is made.
        """
        watch = _Watch(after, direction, action, threading.Event())
        with self._lock:
            self._watches.append(watch)
        return watch.reached

    def close(self) -> None:
        """Ends everything. Raises StillRunning when a thread hangs, or what an action raised."""
        self._shut()
        self.cut()
        for thread in self._threads:
            thread.join(_END)
        if alive := sum(thread.is_alive() for thread in self._threads):
            raise StillRunning(f"{alive} of the threads of a proxy do not end")
        if self._errors:
            raise self._errors.pop(0)

    # ---- what links call --------------------------------------------------------------------------

    def passed_by(self, link: Link, direction: Direction, size: int) -> None:
        """Counts the bytes, and calls the actions that they make due."""
        with self._lock:
            self.passed[direction] += size
            here = [watch for watch in self._watches if watch.direction == direction]
            due = [watch for watch in here if link.passed[direction] >= watch.after]
            self._watches = [watch for watch in self._watches if watch not in due]
        for watch in due:
            try:
                if watch.action:
                    watch.action(link)
            except BaseException as error:  # noqa: BLE001  # also a test's assertion: close() raises it where it is seen
                self._errors.append(error)
            finally:
                watch.reached.set()

    def next_stop(self, direction: Direction, passed: int) -> int | None:
        """The first offset behind ``passed`` that somebody waits for."""
        with self._lock:
            stops = [watch.after for watch in self._watches if watch.direction == direction and watch.after > passed]
        return min(stops, default=None)

    # ---- the listener -----------------------------------------------------------------------------

    def _open(self, *, listen: bool) -> None:
        listener = self._listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self._host, self._port))
        self._port = listener.getsockname()[1]
        if listen:
            listener.listen(512)
            self._acceptor = threading.Thread(target=self._accept, args=(listener,), name="chaos listener")
            self._acceptor.start()

    def _shut(self) -> None:
        if self._listener is None:
            return
        with suppress(OSError):  # it did not listen
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        if self._acceptor is not None:
            self._acceptor.join(_END)
        self._listener.close()
        self._listener = self._acceptor = None

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:  # shut down
                return
            with self._lock:
                link = Link(client, self.target, self._faults, self)
            self.links.append(link)
            thread = threading.Thread(target=link.run, name="chaos link")
            self._threads.append(thread)
            thread.start()


class Blackhole:
    """An address at which nobody answers: connecting neither works nor fails, as with a machine that is down.

    Its queue of connections is full, so that the kernel drops what comes.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.address: Address = (host, 0)
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        listener = self._undo.enter_context(socket.socket())
        listener.bind(self.address)
        listener.listen(0)
        self.address = listener.getsockname()
        while self._has_room():
            pass
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._undo.close()

    def _has_room(self) -> bool:
        filler = self._undo.enter_context(socket.socket())
        filler.settimeout(0.05)
        try:
            filler.connect(self.address)
        except TimeoutError:
            return False
        return True
