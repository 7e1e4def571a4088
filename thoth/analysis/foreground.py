"""A program that has our terminal: a debugger, a shell.

It stays in our process group, or makes its own as a shell does. What is typed to interrupt goes to it and does
not end us; when we are to end (SIGHUP, SIGTERM) it is told, and gone before we are.
"""

from __future__ import annotations

import os
import signal
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final, Self

_STDIN: Final = 0
_TYPED: Final = (signal.SIGINT, signal.SIGQUIT)
_ENDING: Final = (signal.SIGHUP, signal.SIGTERM)
_GRACE: Final = 5.0  # seconds that the program has to end in once it has been told to


class Foreground:
    """Entered, it holds the signals of this process; to be entered in the main thread.

    ``interrupted`` says whether we were told to end, or the terminal is gone: what the program's exit code
    means then nobody knows.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._program: subprocess.Popen[bytes] | None = None
        self._told: int | None = None
        self._terminal = _Terminal()

    def __enter__(self) -> Self:
        handlers = {**dict.fromkeys(_TYPED, self._leave), **dict.fromkeys(_ENDING, self._end)}
        for number, handler in {**handlers, signal.SIGALRM: self._kill}.items():
            self._before[number] = signal.signal(number, handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def interrupted(self) -> bool:
        return self._told is not None or self._terminal.gone()

    def run(self, argv: Sequence[str], directory: Path, environment: Mapping[str, str]) -> int:
        """The exit code of a program that has our terminal; below zero the signal that ended it. Raises OSError.

        The terminal is afterwards as it was, and ours.
        """
        # A handler of ours is the default again in the program; a signal that we ignore it would ignore, too.
        with subprocess.Popen(list(argv), cwd=directory, env=dict(environment)) as program:
            self._program = program
            if self._told is not None:  # before there was a program that could be told
                self._tell(program)
            try:
                return program.wait()
            finally:
                self._program = None
                self._terminal.restore()

    def _leave(self, number: int, frame: FrameType | None) -> None:
        """The terminal has sent it to the program, too."""

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._told = number
        if self._program is not None:
            self._tell(self._program)

    def _tell(self, program: subprocess.Popen[bytes]) -> None:
        program.send_signal(signal.SIGHUP)  # a shell that is talked to does not listen to SIGTERM
        signal.setitimer(signal.ITIMER_REAL, _GRACE)

    def _kill(self, number: int, frame: FrameType | None) -> None:
        if self._program is not None:
            self._program.kill()


class _Terminal:
    """Our standard input, as it was when this was made; nothing when it is no terminal."""

    def __init__(self) -> None:
        self._modes = _modes()
        self._ours = self._modes is not None and os.tcgetpgrp(_STDIN) == os.getpgrp()

    def gone(self) -> bool:
        return self._modes is not None and _modes() is None

    def restore(self) -> None:
        """Set the modes again, and be in the foreground: a program that was killed has done neither."""
        if self._modes is None or not self._ours or self.gone():
            return
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})  # or to take the terminal would stop us
        try:
            os.tcsetpgrp(_STDIN, os.getpgrp())
            termios.tcsetattr(_STDIN, termios.TCSADRAIN, self._modes)
        except (OSError, termios.error):
            return  # it went away in between, and nobody looks at it any more
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _modes() -> list[Any] | None:
    try:
        return termios.tcgetattr(_STDIN)
    except termios.error:
        return None
