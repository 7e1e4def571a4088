"""A program that has our terminal: a debugger, a shell.

It stays in our process group, or makes its own as a shell does. What is typed to interrupt goes to it and does
not end us; when we are to end (SIGHUP, SIGTERM) it is told, and gone before we are. When it stops, so do we.
"""

from __future__ import annotations

import os
import signal
import subprocess
import termios
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
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
                self._await(program)
                return program.wait()
            finally:
                self._program = None
                self._terminal.restore()

    def _await(self, program: subprocess.Popen[bytes]) -> None:
        """Until it has ended. One that stops alone (a shell's ``suspend``) would leave the terminal to nobody."""
        while _has_stopped(program.pid):
            group = os.getpgid(program.pid)
            if group != os.getpgrp():  # else what has stopped it has stopped us, too
                self._pause()
                if not self.interrupted:
                    self._terminal.lend(group)
                os.killpg(group, signal.SIGCONT)

    def _pause(self) -> None:
        """Stop, with all of our process group, until our shell has us go on in the foreground."""
        self._terminal.restore()
        os.kill(0, signal.SIGTSTP)  # returns when we are continued
        while self._told is None and self._terminal.is_another_s():
            os.kill(0, signal.SIGTTIN)  # as who reads in the background

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
        with _taking():
            os.tcsetpgrp(_STDIN, os.getpgrp())
            termios.tcsetattr(_STDIN, termios.TCSADRAIN, self._modes)

    def lend(self, group: int) -> None:
        """Put this process group into the foreground, in our place."""
        if self._ours:
            with _taking():
                os.tcsetpgrp(_STDIN, group)

    def is_another_s(self) -> bool:
        """Whether it was ours, and somebody else is in the foreground now."""
        try:
            return self._ours and os.tcgetpgrp(_STDIN) != os.getpgrp()
        except OSError:
            return False


@contextmanager
def _taking() -> Iterator[None]:
    """To set the terminal does not stop us. When it went away in between nobody looks at it any more."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        with suppress(OSError, termios.error):
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _has_stopped(pid: int) -> bool:
    """Whether a child of ours has stopped; waits until it has, or has ended, which is left to be waited for."""
    change = os.waitid(os.P_PID, pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
    if change is None or change.si_code != os.CLD_STOPPED:
        return False
    with suppress(ChildProcessError):  # it was killed in between
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG)
    return True


def _modes() -> list[Any] | None:
    try:
        return termios.tcgetattr(_STDIN)
    except termios.error:
        return None
