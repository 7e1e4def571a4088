"""SIGTERM and SIGHUP end a command as an interrupt does: what it has begun is cleared away, or kept to go on with."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_ENDING: Final = (signal.SIGTERM, signal.SIGHUP)
_AT_ONCE: Final = 1.0  # seconds in which another one is the same wish: timeout and shells send it twice


class Terminated(KeyboardInterrupt):
    """One of them came. No Exception, so that nobody takes it for a failure of a dump."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number  # what a shell shows for a process that it ended


@contextmanager
def terminating() -> Iterator[None]:
    """While this lasts, in the main thread, the first of them raises Terminated; a later one ends the process.

    One that somebody has set otherwise, as nohup does, stays so.
    """
    came: float | None = None

    def terminate(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if came is None:
            came = time.monotonic()
            raise Terminated(number)
        if time.monotonic() - came > _AT_ONCE:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    ours = [number for number in _ENDING if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, terminate)
    try:
        yield
    finally:
        for number in ours:
            if signal.getsignal(number) is terminate:
                signal.signal(number, signal.SIG_DFL)
