"""How much of the dumps that are on their way may be in memory, for all nodes of a pass together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition


class Budget:
    """A number of bytes that threads share."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._left = total
        self._changed = Condition()

    @contextmanager
    def taken(self, count: int) -> Iterator[None]:
        """Hold so many bytes, once they are left; more than there are in all count as all."""
        count = min(count, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._left >= count)
            self._left -= count
        try:
            yield
        finally:
            with self._changed:
                self._left += count
                self._changed.notify_all()
