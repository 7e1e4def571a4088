"""The room that has to stay free on the store's disk."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock


class Space:
    """Gives room to dumps that come in, for all nodes of a pass together.

    ``free`` tells how many bytes the store has left, or None. What is on its way counts whole, though a part of it
    may lie there already: better too careful than too full.
    """

    def __init__(self, free: Callable[[], int | None], least: int | None) -> None:
        self._free = free
        self._least = least
        self._lock = Lock()
        self._held = 0

    def hold(self, size: int) -> bool:
        """Keep so many bytes for a dump, if so much is left above what has to stay free. Raises StoreError."""
        if self._least is None:
            return True
        free = self._free()
        with self._lock:
            if free is not None and free - self._held - size < self._least:
                return False
            self._held += size
            return True

    def give(self, size: int) -> None:
        """The dump is stored, or does not come: now the disk itself tells."""
        if self._least is not None:
            with self._lock:
                self._held -= size
