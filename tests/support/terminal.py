"""A terminal with a program in it: what a user sees is read, what a user types is written, and it can go away."""

from __future__ import annotations

import errno
import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

# The terminal becomes the controlling one of the program, whose session it leads.
_START = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
_PATIENCE = 20.0  # seconds that anything may take


class Terminal:
    """A program as the leader of a session in a terminal of its own."""

    def __init__(self, argv: Sequence[str | Path], env: Mapping[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        self.seen = b""
        self.fresh = self.modes()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _START, *argv],
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                env={**env, "TERM": "dumb"},
                start_new_session=True,
            )
        finally:
            os.close(theirs)

    def expect(self, text: str) -> str:
        """Read until the text comes; returns what came before it. What was returned is not looked at again."""
        wanted = text.encode()
        deadline = time.monotonic() + _PATIENCE
        while wanted not in self.seen:
            if not self._read(deadline - time.monotonic()):
                raise AssertionError(f"{text!r} did not come, but {self.seen.decode(errors='replace')!r}")
        before, _, self.seen = self.seen.partition(wanted)
        return before.decode(errors="replace")

    def write(self, text: str) -> None:
        """Type this; ``\\n`` is the return key, ``\\x03`` Ctrl-C."""
        os.write(self._ours, os.fsencode(text))

    def modes(self) -> list[object]:
        """What the terminal does with what is typed: its flags, and not what each key does."""
        return list(termios.tcgetattr(self._ours)[:4])

    def hang_up(self) -> None:
        """Take the terminal away."""
        if self._ours >= 0:
            os.close(self._ours)
            self._ours = -1

    def ended(self) -> int:
        """The program's exit code; the terminal is read to its end before, as far as there is one."""
        deadline = time.monotonic() + _PATIENCE
        while self._ours >= 0 and self._read(deadline - time.monotonic()):
            pass
        return self.process.wait(_PATIENCE)

    def _read(self, seconds: float) -> bool:
        if seconds <= 0 or not select.select([self._ours], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._ours, 65536)
        except OSError as error:
            if error.errno == errno.EIO:  # nobody has the other end open any more
                return False
            raise
        self.seen += data
        return bool(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hang_up()
        self.process.kill()
        self.process.wait()
