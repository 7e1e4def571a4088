"""Whose turn it is: first every node is looked at, then those that have dumps to send take turns.

Whose next dump is about to be deleted goes before all others, by the time of its deletion; else it is the node that
has sent the least so far. So a node with a thousand dumps keeps nobody waiting for more than a turn.

Nodes that failed the last time may take minutes to fail again. They are looked at beside the work, by no more than
half of the workers.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterable
from threading import Condition
from typing import Generic, Protocol, TypeVar


class Claimant(Protocol):
    """Who takes turns."""

    @property
    def claim(self) -> tuple[int, float]:
        """The smallest one goes first."""


_T = TypeVar("_T", bound=Claimant)


class Turns(Generic[_T]):
    """For ``workers`` threads, each of which calls ``next``, and then ``back`` or ``done`` for what it got."""

    def __init__(self, sound: Iterable[_T], failing: Iterable[_T], workers: int) -> None:
        self._sound = deque(sound)
        self._failing = deque(failing)
        self._most_failing = max(1, workers // 2)
        self._ready: list[tuple[tuple[int, float], int, _T]] = []
        self._number = itertools.count()  # of equal claims the older one goes first
        self._busy = 0
        self._on_failing: set[int] = set()
        self._changed = Condition()

    def next(self) -> _T | None:
        """Who is next, once somebody is; None when nobody will be any more."""
        with self._changed:
            while True:
                found = self._choose()
                if found is not None:
                    self._busy += 1
                    return found
                if not self._busy:
                    return None
                self._changed.wait()

    def _choose(self) -> _T | None:
        if self._sound:
            return self._sound.popleft()
        if self._failing and (not self._ready or len(self._on_failing) < self._most_failing):
            found = self._failing.popleft()
            self._on_failing.add(id(found))
            return found
        return heapq.heappop(self._ready)[-1] if self._ready else None

    def back(self, claimant: _T) -> None:
        """It wants another turn."""
        with self._changed:
            heapq.heappush(self._ready, (claimant.claim, next(self._number), claimant))
            self._end(claimant)

    def done(self, claimant: _T) -> None:
        """It does not."""
        with self._changed:
            self._end(claimant)

    def _end(self, claimant: _T) -> None:
        self._busy -= 1
        self._on_failing.discard(id(claimant))
        self._changed.notify_all()
