"""Where a command's words go: results to stdout, everything else to stderr, nothing raw to either."""

from __future__ import annotations

import sys
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
        out = self._stdout()
        out.write(one_line(line, out.encoding) + "\n")

    def block(self, text: str) -> None:
        """Results of several lines that are safe already, such as JSON."""
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
        if self._out is not None:
            self._out.flush()

    def _stdout(self) -> TextIO:
        if self._out is None:
            raise ThothError("stdout is closed; there is nowhere to write the result")
        return self._out
