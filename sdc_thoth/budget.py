"""What all nodes of a pass share: bytes in memory, dumps on their way."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition


class Budget:
    """A number of things that threads share. Who came first is served first: one that wants much is not kept waiting
    by many who want little."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._left = total
        self._changed = Condition()
        self._waiting: deque[object] = deque()

    @contextmanager
    def taken(self, count: int) -> Iterator[None]:
        """Hold so many, once they are left; more than there are in all count as all."""
        count, place = min(count, self._total), object()
        with self._changed:
            self._waiting.append(place)
            self._changed.wait_for(lambda: self._waiting[0] is place and self._left >= count)
            self._waiting.popleft()
            self._left -= count
            self._changed.notify_all()  # there may be enough for the next one, too
        try:
            yield
        finally:
            with self._changed:
                self._left += count
                self._changed.notify_all()
