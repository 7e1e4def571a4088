"""Where the command's lines go: whole lines, whichever thread has one, and no failure of a reader into the pass."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from threading import Lock

from thoth import ThothError, one_line


class Console:
    """Results on stdout, talk on stderr. Any thread may write.

    When stdout fails (its reader is gone, its disk is full) nothing more is written there, and ``close`` says so: a
    pass that stores dumps goes on without a reader. A stdout that is closed from the start is one without a reader.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._failure: OSError | None = None
        self._has_reader = sys.stdout is not None
        _open_what_is_closed()

    def write(self, text: str) -> None:
        """Text on stdout, with its line ends."""
        with self._lock:
            if self._failure is None:
                try:
                    if not self._has_reader:
                        raise BrokenPipeError
                    sys.stdout.write(text)
                    sys.stdout.flush()
                except OSError as error:
                    self._failure = error

    def line(self, text: str) -> None:
        """A line on stdout."""
        self.write(text + "\n")

    def talk(self, text: str) -> None:
        """A line on stderr. Who does not listen there misses it."""
        with self._lock, contextlib.suppress(OSError):
            sys.stderr.write(one_line(f"sdc-thoth: {text}") + "\n")
            sys.stderr.flush()

    def close(self) -> bool:
        """Whether all was written. False when the reader has gone, which he may; raises ThothError for the rest.

        Afterwards Python has nothing left to write to a stdout that fails.
        """
        if self._failure is None:
            return True
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        if isinstance(self._failure, BrokenPipeError):
            return False
        raise ThothError(f"stdout: {self._failure.strerror or self._failure}") from self._failure


def _open_what_is_closed() -> None:
    """Streams that are closed lead nowhere from now on: Python has None for them, and a file that is opened would
    become descriptor 0, 1 or 2 and get what is said."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - as long as the process is
