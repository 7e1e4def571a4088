"""Asking for a secret on the terminal of the session, wherever our streams lead: as ssh and gpg do."""

from __future__ import annotations

import os
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_TERMINAL: Final = "/dev/tty"
_HOW: Final = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
_FLAGS: Final = 3  # of the attributes of a terminal: the local ones, of which ECHO is one


def can_ask() -> bool:
    """Whether there is such a terminal, and we are the job that it listens to: another is stopped when it asks."""
    try:
        terminal = os.open(_TERMINAL, _HOW)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:  # it has gone away
        return False
    finally:
        os.close(terminal)


def ask(prompt: str) -> str:
    """What is typed behind the prompt, which the terminal does not show; bytes that are no UTF-8 as surrogates.

    Raises EOFError when nothing is typed but Ctrl-D, and OSError.
    """
    # Not getpass: it turns to stdin when the terminal fails, and takes nothing but text.
    with os.fdopen(os.open(_TERMINAL, _HOW), "r+b", buffering=0) as terminal:
        with _unseen(terminal.fileno()):
            terminal.write(prompt.encode("utf-8", "backslashreplace"))
            line = terminal.readline()
        terminal.write(b"\n")
    if not line:
        raise EOFError
    return line.removesuffix(b"\n").decode("utf-8", "surrogateescape")


@contextmanager
def _unseen(terminal: int) -> Iterator[None]:
    """What is typed is not shown; what was typed before or is typed too much is dropped."""
    try:
        before = termios.tcgetattr(terminal)
        quiet = [*before]
        quiet[_FLAGS] &= ~termios.ECHO
        termios.tcsetattr(terminal, termios.TCSAFLUSH, quiet)
        try:
            yield
        finally:
            termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
    except termios.error as error:
        raise OSError(*error.args) from error
