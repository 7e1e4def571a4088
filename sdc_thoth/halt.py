"""The wish that a pass ends: first that it begins nothing new, then that what is under way is cut off."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock


class Interrupted(BaseException):
    """A signal that ends a pass: not an Exception, so that no job takes it for a failure of its own."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def reason(self) -> str:
        return f"stopped by {signal.Signals(self.number).name}"


class Halt:
    """Shared by all threads of a pass; any of them may ask, and the first reason stays."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._reason: str | None = None
        self._cut = False
        self._cutters: list[Callable[[str], None]] = []

    @property
    def reason(self) -> str | None:
        """Why nothing new is to be begun; None: go on."""
        return self._reason

    def ask(self, reason: str) -> None:
        """Begin nothing new; what is under way may come to its end."""
        with self._lock:
            self._reason = self._reason or reason

    def cut(self, reason: str) -> None:
        """Cut off what is under way as well."""
        self.ask(reason)
        with self._lock:
            self._cut = True
            cutters = list(self._cutters)
        for cutter in cutters:
            cutter(self._reason or reason)

    @contextmanager
    def cutting(self, cutter: Callable[[str], None]) -> Iterator[None]:
        """While this lasts, ``cut`` calls ``cutter`` with the reason, from its own thread; at once if it was already
        called."""
        with self._lock:
            self._cutters.append(cutter)
            already = self._cut
        try:
            if already:
                cutter(self._reason or "")
            yield
        finally:
            with self._lock:
                self._cutters.remove(cutter)
