"""What has come on a channel and waits to be read.

It stands in the place of paramiko's buffers, which move all of their bytes at each read, wake the reader for
each packet, and grow as long as a peer that ignores its window likes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from threading import Condition


class Overrun(Exception):
    """The peer sent more than its window allows."""


class Stream:
    """One of a channel's two streams. paramiko's thread feeds it, one reader empties it."""

    def __init__(self, changed: Condition, limit: int, wake_at: int, clock: Callable[[], float]) -> None:
        self._changed = changed
        self._limit = limit
        self._clock = clock
        self._pieces: deque[bytes] = deque()
        self.size = 0  # bytes that wait
        self.wake_at = wake_at  # the reader sleeps until so many wait
        self.fed_at = 0.0  # when the last byte came, by the clock
        self.closed = False
        self._dropped = False

    def feed(self, data: bytes) -> None:
        """Take what has come. Raises Overrun when more waits than the peer may send."""
        with self._changed:
            if self._dropped:
                return
            self._pieces.append(data)
            self.size += len(data)
            self.fed_at = self._clock()
            if self.size >= self.wake_at:
                self._changed.notify_all()
            if self.size > self._limit:
                raise Overrun(f"{self.size} bytes wait, {self._limit} were allowed")

    def read(self, most: int, _timeout: float | None = None) -> bytes:
        """Up to ``most`` bytes of what waits, at once; none when nothing does."""
        with self._changed:
            taken: list[bytes] = []
            while self._pieces and most > 0:
                piece = self._pieces.popleft()
                if len(piece) > most:
                    self._pieces.appendleft(piece[most:])
                    piece = piece[:most]
                taken.append(piece)
                most -= len(piece)
                self.size -= len(piece)
        return taken[0] if len(taken) == 1 else b"".join(taken)

    def read_ready(self) -> bool:
        """Whether a byte waits."""
        return self.size > 0

    def close(self) -> None:
        """Nothing more will come."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def drop(self) -> None:
        """Nobody reads any more: keep nothing of what still comes."""
        with self._changed:
            self._dropped = True
            self._pieces.clear()
            self.size = 0
        self.close()


class Inbox:
    """Both streams of a channel, for a reader that waits for stdout and empties stderr on the way."""

    def __init__(self, window: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._changed = Condition()
        self._clock = clock
        # stderr takes of stdout's window: the reader gives it back long before it is used up.
        self.out = Stream(self._changed, 2 * window, 1, clock)
        self.err = Stream(self._changed, 2 * window, window // 16, clock)

    def wait(self, least: int, idle: float, since: float) -> None:
        """Return when ``least`` bytes of stdout wait, when stderr wants to be emptied, or at the end of the
        streams.

        Raises TimeoutError when no byte of stdout has come for ``idle`` seconds, counted from ``since`` at
        the earliest.
        """
        with self._changed:
            self.out.wake_at = least
            while not (self.out.closed or self.out.size >= least):
                left = max(since, self.out.fed_at) + idle - self._clock()
                if left <= 0:
                    raise TimeoutError
                if self.err.size >= self.err.wake_at:
                    return
                self._changed.wait(left)

    def close(self) -> None:
        """Nothing more will come on either stream."""
        self.out.close()
        self.err.close()

    def drop(self) -> None:
        """Nobody reads any more."""
        self.out.drop()
        self.err.drop()
