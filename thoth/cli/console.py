"""Where a command's words go: results to stdout, everything else to stderr, nothing raw to either."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from thoth.errors import ThothError
from thoth.render import escaped, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TextIO


class Console:
    """The three streams of a command. stderr may be closed; without stdout there is nothing to do: ThothError."""

    __slots__ = ("_err", "_out", "debug", "quiet")

    def __init__(self) -> None:
        self._err = sys.stderr
        self._out = sys.stdout
        self.quiet = False
        self.debug = False

    def result(self, line: str) -> None:
        """One line of results."""
        self.block(one_line(line, self._stdout().encoding) + "\n")

    def block(self, text: str) -> None:
        """Results that may be several lines, and are safe already, such as JSON."""
        with _named("stdout"):
            self._stdout().write(text)

    def say(self, message: str) -> None:
        """Talk, which ``-q`` silences. Foreign text in it has gone through ``escaped``."""
        if not self.quiet:
            self.complain(message)

    def complain(self, message: str) -> None:
        """An error, which nothing silences."""
        if self._err is not None:
            self._err.write(f"thoth: {one_line(message, self._err.encoding)}\n")

    def failure(self, error: Exception, about: str | None = None) -> None:
        """What went wrong, in one line after what it was about; with ``--debug`` the traceback before it."""
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        if self.debug and self._err is not None:
            from traceback import format_exception

            for line in "".join(format_exception(error)).splitlines():
                self._err.write(one_line(line, self._err.encoding) + "\n")
        self.complain(f"{about}: {reason}" if about else reason)

    def lines_in(self) -> Iterator[str]:
        """The lines of stdin; bytes that are not UTF-8 are carried as ``thoth.model.text`` does."""
        if sys.stdin is None:
            raise ThothError("stdin is closed; there is nothing to read")
        for raw in sys.stdin.buffer:
            yield raw.decode("utf-8", "surrogateescape")

    def progress(self, name: bytes, size: int, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """The same blocks; on a terminal a bar shows how many of ``size`` bytes have gone by."""
        if self.quiet or self._err is None or not self._err.isatty():
            yield from blocks
            return
        from thoth.cli.progress import watched

        yield from watched(escaped(name), size, blocks, self._err)

    def flush(self) -> None:
        """Results are with their reader when this returns."""
        if self._out is not None:
            with _named("stdout"):
                self._out.flush()

    def release(self) -> None:
        """Let the interpreter's own last flush succeed when what is buffered has nowhere to go any more."""
        try:
            self.flush()
        except (BrokenPipeError, ThothError):
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, sys.stdout.fileno())
            os.close(devnull)

    def _stdout(self) -> TextIO:
        if self._out is None:
            raise ThothError("stdout is closed; there is nowhere to write the result")
        return self._out


@contextmanager
def _named(stream: str) -> Iterator[None]:
    """Say which stream failed. A reader that has gone is no failure: BrokenPipeError goes through."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ThothError(f"{stream}: {error.strerror}") from error
