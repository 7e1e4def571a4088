"""How fast bytes may come: from all nodes together, and from each.

Who has taken bytes waits until they would have come at that rate. Meanwhile nothing is read, so the node's window
fills and the node waits too: nothing is thrown away, and nobody spins.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Condition, Lock
from typing import Final

from sdc_thoth.limits import Limits

_BURST: Final = 0.25  # seconds for which a bucket saves up what nobody took
_LEAST, _MOST = 16 << 10, 1 << 20  # bytes of a piece


class Bucket:
    """A rate in bytes a second that threads share, in the order in which they come; None: as fast as they like.

    All bytes are counted from its beginning: those that were taken, and those that the rate has allowed by a time.
    """

    def __init__(self, rate: int | None, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._lock = Lock()
        self._taken = 0.0
        self._allowed, self._by = 0.0, clock()

    @property
    def rate(self) -> int | None:
        return self._rate

    def adopt(self, rate: int | None) -> None:
        """Another rate from now on; what was taken at the old one is waited for at the new one."""
        with self._lock:
            now = self._clock()
            self._allowed, self._by, self._rate = self._allowed_by(now), now, rate

    def take(self, count: int) -> float:
        """Take so many bytes that have come; the count up to which they go, for ``wait``."""
        with self._lock:
            allowed = self._allowed_by(self._clock())
            self._taken = max(self._taken, allowed - _BURST * (self._rate or 0)) + count
            return self._taken

    def wait(self, end: float) -> float:
        """The seconds until so many bytes are allowed, at the rate of now."""
        with self._lock:
            allowed = self._allowed_by(self._clock())
            return max(0.0, end - allowed) / self._rate if self._rate else 0.0

    def _allowed_by(self, now: float) -> float:
        return self._allowed + (now - self._by) * self._rate if self._rate else max(self._allowed, self._taken)


class Pace:
    """The limits of rate of a pass. Any thread may call."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._whole = Bucket(limits.rate, clock)
        self._node_rate = limits.node_rate
        self._changed = Condition()
        self._released = False

    def adopt(self, limits: Limits) -> None:
        """Other limits, which hold for what is under way too, and for who waits."""
        with self._changed:
            self._node_rate = limits.node_rate
            self._whole.adopt(limits.rate)
            self._changed.notify_all()

    def release(self) -> None:
        """Let all who wait go on at once: the pass is over."""
        with self._changed:
            self._released = True
            self._changed.notify_all()

    def of_node(self) -> NodePace:
        """The pace of one node within that of all."""
        return NodePace(self, self._clock)

    @property
    def limited(self) -> bool:
        return bool(self._whole.rate or self._node_rate)

    @property
    def node_rate(self) -> int | None:
        return self._node_rate

    def wait(self, count: int, node: Bucket) -> None:
        """Until these bytes, which have come, are allowed: by ``node`` and by all together."""
        with self._changed:
            node.adopt(self._node_rate)
            of_all, of_node = self._whole.take(count), node.take(count)
            while not self._released and (seconds := max(self._whole.wait(of_all), node.wait(of_node))) > 0:
                self._changed.wait(seconds)
                node.adopt(self._node_rate)

    def piece(self) -> int:
        """Bytes that are read at once: a quarter of a second of them, so that a slow pace is an even one."""
        rates = [rate for rate in (self._whole.rate, self._node_rate) if rate]
        return max(_LEAST, min(_MOST, *(rate // 4 // _LEAST * _LEAST for rate in rates))) if rates else _MOST


class NodePace:
    """What one node may send."""

    def __init__(self, pace: Pace, clock: Callable[[], float]) -> None:
        self._pace = pace
        self._own = Bucket(pace.node_rate, clock)

    @property
    def limited(self) -> bool:
        """Whether there is any limit now."""
        return self._pace.limited

    @property
    def piece(self) -> int:
        """How many bytes to read at once."""
        return self._pace.piece()

    def passed(self, count: int) -> None:
        """So many bytes have come; returns when more may."""
        self._pace.wait(count, self._own)
