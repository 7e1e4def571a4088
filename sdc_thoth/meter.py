"""How long a pass had dumps on their way, whichever node they came from: what its rate goes by."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock


class Meter:
    """Adds up the seconds in which at least one thread is ``busy``."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = Lock()
        self._busy = 0
        self._since = 0.0
        self._seconds = 0.0

    @property
    def seconds(self) -> float:
        with self._lock:
            return self._seconds + (self._monotonic() - self._since if self._busy else 0.0)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Something is on its way while this lasts."""
        with self._lock:
            if not self._busy:
                self._since = self._monotonic()
            self._busy += 1
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1
                if not self._busy:
                    self._seconds += self._monotonic() - self._since
