"""Sessions and running commands as the collector sees them, and commands over a paramiko channel."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, Protocol, Self

from sdc_thoth.errors import Desynchronized, NodeError, NodeTimeout, ProtocolError
from sdc_thoth.inbox import Inbox
from thoth import escaped

BLOCK: Final = 1 << 20  # bytes that are handed on together; half a window, so that the node never waits for us
STDERR_KEPT: Final = 4096  # bytes of its end
_PIECE: Final = 1 << 15  # bytes of stdin in a packet
_ALL: Final = 1 << 30  # more than can wait
_IGNORED_MAX: Final = 1 << 20  # bytes that a command may print behind the end of its reply


class Channel(Protocol):
    """A command that runs on a node. One thread reads; every call may raise NodeTimeout and NodeLost.

    stderr is emptied while stdout is read, and only its end is kept, so that a node cannot fill memory or
    block.
    """

    def recv(self) -> bytes:
        """The next piece of stdout as it comes, of any length; b"" at the end.

        Raises NodeTimeout when no byte has come for the idle time, NodeLost when the connection broke.
        """

    def read_exactly(self, count: int) -> bytes:
        """The next ``count`` bytes. Raises Desynchronized when the output ends before."""

    def read_until(self, separator: bytes, limit: int) -> bytes:
        """What comes before the next separator, which is taken too.

        Raises ProtocolError when that is more than ``limit`` bytes, or when the output ends before.
        """

    def unread(self, data: bytes) -> None:
        """Put back what was read too much: it comes first again."""

    def blocks(self, count: int, size: int = ...) -> Iterator[bytes]:
        """The next ``count`` bytes in blocks of ``size``, the last one shorter. Raises as read_exactly."""

    def feed(self, stdin: bytes, *, last: bool = True) -> None:
        """Give it more stdin, and with ``last`` the end of that. It may read it when it likes. What goes wrong the
        reader learns."""

    def finish(self) -> tuple[int | None, bytes]:
        """Wait for the command's end: its exit status (None: a signal ended it), and the last 4 KiB of
        stderr.

        Up to 1 MiB of stdout that was not read is passed over; more raises ProtocolError. All of it takes the
        idle time at most, then the channel is closed and NodeTimeout raised.
        """

    def close(self) -> None:
        """Give the command up. Safe to repeat."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Session(Protocol):
    """A node that proved to be itself and let us in. Several threads may have a channel each."""

    def run(self, command: str, stdin: bytes = b"", *, last: bool = True) -> Channel:
        """Start a command and feed it stdin, of which it may read as much as it likes, when it likes.

        Raises NodeTimeout, NodeLost, NodeDenied.
        """

    def close(self, reason: str = ...) -> None:
        """End the connection. A thread that waits in one of its channels gets NodeLost with the reason at
        once.

        Safe to repeat, and from any thread.
        """

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


# ---- over paramiko ---------------------------------------------------------------------------------


class Raw(Protocol):
    """What is used of a paramiko channel."""

    closed: bool
    eof_received: int
    status_event: threading.Event

    def recv(self, nbytes: int) -> bytes: ...
    def recv_stderr(self, nbytes: int) -> bytes: ...
    def send_ready(self) -> bool: ...
    def send(self, s: bytes) -> int: ...
    def shutdown_write(self) -> None: ...
    def exit_status_ready(self) -> bool: ...
    def recv_exit_status(self) -> int: ...
    def close(self) -> None: ...


class Link(Protocol):
    """The session below."""

    def translated(self) -> AbstractContextManager[None]:
        """Whatever paramiko or the socket raises inside is raised as a NodeError."""

    def lost(self) -> NodeError:
        """Why a channel ended before its time."""


class SshChannel:
    """``Channel`` over paramiko."""

    def __init__(self, raw: Raw, inbox: Inbox, link: Link, where: str, idle: float) -> None:
        self._raw = raw
        self._inbox = inbox
        self._link = link
        self._where = where
        self._idle = idle
        self._rest = bytearray()  # has come and was not asked for yet
        self._stderr = b""
        self._feeder: threading.Thread | None = None

    # ---- stdout ------------------------------------------------------------------------------------

    def recv(self) -> bytes:
        if self._rest:
            return self._out_of_rest(len(self._rest))
        return self._more(1, BLOCK)

    def read_exactly(self, count: int) -> bytes:
        pieces = [self._out_of_rest(min(count, len(self._rest)))] if self._rest else []
        left = count - sum(map(len, pieces))
        while left:
            piece = self._more(min(left, BLOCK), left)
            if not piece:
                raise Desynchronized(f"{self._where}: the reply ended {left} bytes early{self._last_words()}")
            pieces.append(piece)
            left -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read_until(self, separator: bytes, limit: int) -> bytes:
        searched = 0
        while (end := self._rest.find(separator, searched)) < 0:
            searched = max(0, len(self._rest) - len(separator) + 1)
            if searched > limit:
                break
            more = self._more(1, BLOCK)
            if not more:
                raise ProtocolError(f"{self._where}: the reply ended in the middle{self._last_words()}")
            self._rest += more
        if not 0 <= end <= limit:
            raise ProtocolError(f"{self._where}: a field of the reply is longer than {limit} bytes")
        field = self._out_of_rest(end)
        del self._rest[: len(separator)]
        return field

    def unread(self, data: bytes) -> None:
        self._rest[:0] = data

    def blocks(self, count: int, size: int = BLOCK) -> Iterator[bytes]:
        while count > 0:
            block = self.read_exactly(min(count, size))
            count -= len(block)
            yield block

    def _out_of_rest(self, count: int) -> bytes:
        taken = bytes(self._rest[:count])
        del self._rest[:count]
        return taken

    def _more(self, least: int, most: int, idle: float | None = None) -> bytes:
        """Up to ``most`` bytes, once ``least`` have come or stderr had to be emptied; none at the end."""
        patience = self._idle if idle is None else idle
        since = time.monotonic()
        while True:
            try:
                self._inbox.wait(least, patience, since)
            except TimeoutError:
                raise NodeTimeout(f"{self._where}: nothing came for {self._idle:g} s") from None
            ended = self._inbox.out.closed  # looked at before the reading: what comes before the end is not missed
            data = self._read(most)
            if data:
                return data
            if ended:
                self._check_end()
                return b""

    def _read(self, most: int) -> bytes:
        with self._link.translated():
            if self._inbox.err.size:
                self._stderr = (self._stderr + self._raw.recv_stderr(_ALL))[-STDERR_KEPT:]
            return self._raw.recv(most)

    def _check_end(self) -> None:
        """Raises NodeLost when the streams ended, but not because the command ended them."""
        if not self._raw.eof_received and self._status() is None:
            raise self._link.lost()

    # ---- stdin -------------------------------------------------------------------------------------

    def feed(self, stdin: bytes, *, last: bool = True) -> None:
        """What the node does not take at once is sent from a thread of its own, so that the caller can read
        meanwhile."""
        if self._feeder is not None:  # it has answered what it did not read yet, or is about to have read it
            self._feeder.join(self._idle)
            if self._feeder.is_alive():
                raise ProtocolError(f"{self._where}: answers before it has read what it was asked")
        sent = self._send(stdin, 0, last, wait=False)
        if sent is not None:
            self._feeder = threading.Thread(target=self._send, args=(stdin, sent, last), name="stdin", daemon=True)
            self._feeder.start()

    def _send(self, stdin: bytes, sent: int, last: bool, wait: bool = True) -> int | None:
        """None: all is sent, or no more can be. Without ``wait``: how much was sent when it would have to."""
        with contextlib.suppress(NodeError), self._link.translated():
            while sent < len(stdin):
                if not wait and not self._raw.send_ready():
                    return sent
                sent += self._raw.send(stdin[sent : sent + _PIECE])
                if self._raw.closed:
                    return None
            if last:
                self._raw.shutdown_write()
        return None

    # ---- the end -----------------------------------------------------------------------------------

    def finish(self) -> tuple[int | None, bytes]:
        deadline = time.monotonic() + self._idle
        try:
            self._ignore_rest(deadline)
            while not self._raw.exit_status_ready():
                left = deadline - time.monotonic()
                if not self._raw.status_event.wait(max(0.0, left)) and left <= 0:
                    raise NodeTimeout(f"{self._where}: the command does not end")
        except NodeError:
            self.close()
            raise
        self._check_end()
        return self._status(), self._stderr

    def _ignore_rest(self, deadline: float) -> None:
        ignored = len(self._rest)
        self._rest.clear()
        while more := self._more(1, BLOCK, max(0.0, deadline - time.monotonic())):
            ignored += len(more)
            if ignored > _IGNORED_MAX:
                raise ProtocolError(f"{self._where}: goes on after the end of its reply")

    def _status(self) -> int | None:
        # The event is set, so this does not wait; -1 stands for none.
        status = self._raw.recv_exit_status() if self._raw.status_event.is_set() else -1
        return None if status < 0 else status

    def _last_words(self) -> str:
        """What a command that ended too early leaves: its exit status and the last line of its stderr."""
        self._raw.status_event.wait(min(1.0, self._idle))  # it comes right behind the end of the streams
        with contextlib.suppress(NodeError):
            self._read(0)
        status = self._status()
        lines = self._stderr.strip().splitlines()
        said = f": {escaped(lines[-1][:200])}" if lines else ""
        return (f" (exit status {status})" if status is not None else "") + said

    def close(self) -> None:
        with contextlib.suppress(NodeError), self._link.translated():
            self._raw.close()
        self._inbox.drop()
        if self._feeder is not None:
            self._feeder.join(1.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
