"""Where a command's words go: results to stdout, everything else to stderr, nothing raw to either."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from thoth.errors import ThothError, UsageError
from thoth.render import escaped, one_line

_LINE = 4096  # bytes of a line of stdin: a name of a dump and what may stand around it

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import TextIO


_Item = TypeVar("_Item")


class OutputFailed(ThothError):
    """stdout does not take the results: there is no point in going on."""


class Console:
    """The three streams of a command. stderr may be closed; a result without stdout is OutputFailed."""

    __slots__ = ("_err", "_out", "debug", "quiet")

    def __init__(self) -> None:
        self._err: TextIO | None = sys.stderr
        self._out = sys.stdout
        self.quiet = False
        self.debug = False

    def result(self, line: str) -> None:
        """One line of results."""
        self.block(one_line(line, self._stdout().encoding) + "\n")

    def block(self, text: str) -> None:
        """Results that may be several lines, and are safe already, such as JSON."""
        with _translated():
            self._stdout().write(text)

    def say(self, message: str) -> None:
        """Talk, which ``-q`` silences. Foreign text in it has gone through ``escaped``."""
        if not self.quiet:
            self.complain(message)

    def complain(self, message: str) -> None:
        """An error, which nothing silences."""
        self._write_line(f"thoth: {message}")

    def failure(self, error: Exception, about: str | None = None) -> None:
        """What went wrong, in one line after what it was about; with ``--debug`` the traceback before it."""
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        if self.debug:
            from traceback import format_exception

            for line in "".join(format_exception(error)).split("\n")[:-1]:
                self._write_line(line)
        self.complain(f"{about}: {reason}" if about else reason)

    def lines_in(self) -> Iterator[str]:
        """The lines of stdin; bytes that are not UTF-8 are carried as ``thoth.model.text`` does."""
        if sys.stdin is None:
            raise ThothError("stdin is closed; there is nothing to read")
        while raw := sys.stdin.buffer.readline(_LINE):
            if len(raw) == _LINE:
                raise ThothError(f"standard input has a line of over {_LINE} bytes, which names no dump")
            yield raw.decode("utf-8", "surrogateescape")

    def all_of_stdin(self, limit: int, what: str) -> bytes:
        """All of stdin. Raises UsageError when there is nothing, and when it is over ``limit`` bytes.

        ``what`` names it in the error. Blanks alone are nothing: they come from a pipeline that broke.
        """
        if sys.stdin is None:
            raise UsageError(f"stdin is closed; there is no {what} to read")
        data = sys.stdin.buffer.read(limit + 1)
        if len(data) > limit:
            raise UsageError(f"standard input has over {limit} bytes, which is too much for {what}")
        if not data.strip():
            raise UsageError(f"standard input is empty; there is no {what} to read")
        return data

    def progress(self, name: bytes, size: int, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """The same blocks; on a terminal a bar shows how many of ``size`` bytes have gone by."""
        if self.quiet or self._err is None or not self._err.isatty():
            yield from blocks
            return
        from thoth.cli.progress import watched

        yield from watched(escaped(name), size, blocks, self._err)

    def counting(self, name: str, items: Sequence[_Item]) -> Iterator[_Item]:
        """The same items; on a terminal a bar shows how many of them have gone by."""
        if self.quiet or self._err is None or not self._err.isatty():
            yield from items
            return
        from thoth.cli.progress import counted

        yield from counted(escaped(name), items, self._err)

    def flush(self) -> None:
        """Results are with their reader when this returns."""
        if self._out is not None:
            with _translated():
                self._out.flush()

    def release(self) -> None:
        """To be called last: what is buffered and has nowhere to go any more is dropped."""
        try:
            self.flush()
        except (BrokenPipeError, OutputFailed):
            _drop_buffered(sys.stdout)

    def _write_line(self, line: str) -> None:
        """To stderr. One that is closed or full has nobody who could be told; the work goes on without."""
        if self._err is None:
            return
        try:
            self._err.write(one_line(line, self._err.encoding) + "\n")
        except OSError:
            _drop_buffered(self._err)
            self._err = None

    def _stdout(self) -> TextIO:
        if self._out is None:
            raise OutputFailed("stdout is closed; there is nowhere to write the result")
        return self._out


@contextmanager
def _translated() -> Iterator[None]:
    """What goes wrong with stdout, as OutputFailed. A reader that has gone is told apart: BrokenPipeError."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputFailed(f"stdout: {error.strerror}") from error


def _drop_buffered(stream: TextIO) -> None:
    """Let the interpreter's last flush of a stream succeed: else it ends with a message and exit code 120."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, stream.fileno())
    os.close(devnull)
