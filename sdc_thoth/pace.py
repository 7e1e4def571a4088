"""How fast bytes may come: from all nodes together, and from each.

Who has taken bytes waits until they would have come at that rate. Meanwhile nothing is read, so the node's window
fills and the node waits too: nothing is thrown away, and nobody spins.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Lock
from typing import Final

from sdc_thoth.limits import Limits

_BURST: Final = 0.25  # seconds for which a bucket saves up what nobody took
_LEAST, _MOST = 16 << 10, 1 << 20  # bytes of a piece


class Bucket:
    """A rate in bytes a second that threads share, in the order in which they come; None: as fast as they like."""

    def __init__(self, rate: int | None, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._lock = Lock()
        self._paid_until = clock()

    @property
    def rate(self) -> int | None:
        return self._rate

    def adopt(self, rate: int | None) -> None:
        """Another rate from now on; what was taken at the old one is paid for at the new one."""
        with self._lock:
            now = self._clock()
            owed = max(0.0, self._paid_until - now) * (self._rate or 0)
            self._rate = rate
            self._paid_until = now + (owed / rate if rate else 0.0)

    def take(self, count: int) -> float:
        """Take so many bytes that have come; the seconds to wait for them."""
        with self._lock:
            if not self._rate:
                return 0.0
            now = self._clock()
            self._paid_until = max(self._paid_until, now - _BURST) + count / self._rate
            return max(0.0, self._paid_until - now)


class Pace:
    """The limits of rate of a pass. Any thread may call."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._whole = Bucket(limits.rate, clock)
        self._node_rate = limits.node_rate
        self._released = Event()

    def adopt(self, limits: Limits) -> None:
        """Other limits, which hold for what is under way too."""
        self._node_rate = limits.node_rate
        self._whole.adopt(limits.rate)

    def release(self) -> None:
        """Let all who wait go on at once: the pass is over."""
        self._released.set()

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
        seconds = max(self._whole.take(count), node.take(count))
        if seconds > 0:
            self._released.wait(seconds)

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
        if self._own.rate != self._pace.node_rate:
            self._own.adopt(self._pace.node_rate)
        self._pace.wait(count, self._own)
