"""SIGTERM and SIGHUP end a command as an interrupt does: what it has begun is cleared away, or kept to go on with."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, Never

_ENDING: Final = (signal.SIGTERM, signal.SIGHUP)


class Terminated(KeyboardInterrupt):
    """One of them came. No Exception, so that nobody takes it for a failure of a dump."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number  # what a shell shows for a process that it ended


@contextmanager
def terminating() -> Iterator[None]:
    """While this lasts, in the main thread, the first of them raises Terminated; the next one ends the process.

    One that somebody has set otherwise, as nohup does, stays so.
    """

    def terminate(number: int, frame: FrameType | None) -> Never:
        release()
        raise Terminated(number)

    def release() -> None:
        for number in ours:
            if signal.getsignal(number) is terminate:
                signal.signal(number, signal.SIG_DFL)

    ours = [number for number in _ENDING if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, terminate)
    try:
        yield
    finally:
        release()
