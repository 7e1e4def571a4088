"""Where a command's words go: results to stdout, everything else to stderr, nothing raw to either."""

from __future__ import annotations

import os
import sys
from collections.abc import Sized
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from thoth.errors import ThothError, UsageError
from thoth.render import escaped, one_line

_LINE = 4096  # bytes of a line of stdin: a name of a dump and what may stand around it
_TOGETHER = 500  # lines in one write
_BLOCK = 1 << 20  # bytes of stdin in one read

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from typing import BinaryIO, TextIO


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

    @property
    def on_terminal(self) -> bool:
        """Whether people see the results as they come."""
        return self._stdout().isatty()

    def result(self, line: str) -> None:
        """One line of results."""
        self.block(one_line(line, self._stdout().encoding) + "\n")

    def results(self, lines: Iterable[str]) -> None:
        """Lines of results: each at once on a terminal, else many in one write."""
        out = self._stdout()
        waiting, together = iter(lines), 1 if out.isatty() else _TOGETHER
        while some := list(islice(waiting, together)):
            text = "\n".join(some)
            if not text.isascii():
                text = "\n".join(one_line(line, out.encoding) for line in some)
            self.block(text + "\n")

    def block(self, text: str) -> None:
        """Results that may be several lines, and are safe already, such as JSON."""
        with _translated():
            self._stdout().write(text)

    def raw(self, data: bytes) -> None:
        """Results byte for byte, which is not for a terminal."""
        stdout = self._stdout()
        with _translated():
            stdout.flush()
            stdout.buffer.write(data)

    def say(self, message: str) -> None:
        """Talk, which ``-q`` silences. Foreign text in it has gone through ``escaped``."""
        if not self.quiet:
            self.complain(message)

    def copy(self, blocks: Iterable[bytes]) -> None:
        """Results byte for byte; on a terminal as text that it shows and does not act on."""
        out = self._stdout()
        if out.isatty():
            for piece in _harmless(blocks, out.encoding):
                self.block(piece)
            return
        for block in blocks:
            self.raw(block)

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
        self.complain(f"{about}: {reason.removeprefix(f'{about}: ')}" if about else reason)

    def asks(self) -> Callable[[str], str] | None:
        """What asks a person for a secret, on the terminal and unseen; None when there is nobody to ask.

        It raises EOFError when none is given.
        """
        from thoth.cli.passphrase import ask, can_ask

        return ask if can_ask() else None

    def lines_in(self) -> Iterator[str]:
        """The lines of stdin; bytes that are not UTF-8 are carried as ``thoth.model.text`` does."""
        if sys.stdin is None:
            raise ThothError("stdin is closed; there is nothing to read")
        while raw := sys.stdin.buffer.readline(_LINE):
            if len(raw) == _LINE:
                raise ThothError(f"standard input has a line of over {_LINE} bytes, which names no dump")
            yield raw.decode("utf-8", "surrogateescape")

    def blocks_in(self) -> Iterator[bytes]:
        """The bytes of stdin, block by block."""
        if sys.stdin is None:
            raise UsageError("stdin is closed; there is nothing to read")
        while (block := _read(sys.stdin.buffer)) != b"":
            if block is None:
                from select import select

                select([sys.stdin], [], [])
            else:
                yield block

    def all_of_stdin(self, limit: int, what: str) -> bytes:
        """All of stdin. Raises UsageError when there is nothing, and when it is over ``limit`` bytes.

        ``what`` names it in the error, as in "a value". Blanks alone are nothing: they come from a pipeline that
        broke.
        """
        if sys.stdin is None:
            raise UsageError(f"stdin is closed; {what} is read from it")
        data = sys.stdin.buffer.read(limit + 1)
        if len(data) > limit:
            raise UsageError(f"standard input has over {limit} bytes, which is too much for {what}")
        if not data.strip():
            raise UsageError(f"standard input is empty; {what} is read from it")
        return data

    def progress(self, name: bytes, size: int, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """The same blocks; on a terminal a bar shows how many of ``size`` bytes have gone by."""
        if self._err is None or not self.shows_bars:
            yield from blocks
            return
        from thoth.cli.progress import watched

        yield from watched(escaped(name), size, blocks, self._err)

    def receiving(self, name: str, blocks: Iterable[bytes]) -> Generator[bytes]:
        """The same blocks; on a terminal a line shows how many bytes have come, since nobody knows how many will."""
        if self._err is None or not self.shows_bars:
            yield from blocks
            return
        from thoth.cli.progress import received

        yield from received(name, blocks, self._err)

    @contextmanager
    def filling(self, name: bytes, size: int) -> Iterator[Callable[[int], None]]:
        """What is to be told how many of ``size`` bytes are there. On a terminal it shows a bar from when it is told.

        There is none for what is all there at once.
        """
        with ExitStack() as bars:
            shown: list[Callable[[int], None]] = []

            def show(done: int) -> None:
                if self._err is not None and self.shows_bars and not shown and done < size:
                    from thoth.cli.progress import filled

                    shown.append(bars.enter_context(filled(escaped(name), size, self._err)))
                for bar in shown:
                    bar(done)

            yield show

    def counting(self, name: str, items: Iterable[_Item], total: int | None = None) -> Iterator[_Item]:
        """The same items; on a terminal a bar shows how many of ``total``, else of a sequence, have gone by."""
        if self._err is None or not self.shows_bars:
            yield from items
            return
        from thoth.cli.progress import counted

        size = len(items) if total is None and isinstance(items, Sized) else total or 0
        yield from counted(escaped(name), items, size, self._err)

    @property
    def shows_bars(self) -> bool:
        """Whether there is a terminal for bars. A result that is written beside one spoils it."""
        return not self.quiet and self._err is not None and self._err.isatty()

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


def _read(stdin: BinaryIO) -> bytes | None:
    """The next bytes, none at the end; None when there are none yet: whoever shares stdin may not wait for any."""
    return stdin.read(_BLOCK)


def _harmless(blocks: Iterable[bytes], encoding: str) -> Iterator[str]:
    """The blocks as text of which only line ends and tabs act on a terminal."""
    from codecs import getincrementaldecoder
    from itertools import chain
    from re import split

    decoder = getincrementaldecoder("utf-8")("surrogateescape")  # a block may end inside of a character
    for block in chain(blocks, [b""]):
        pieces = split("([\n\t])", decoder.decode(block, final=not block))
        yield "".join(piece if piece in ("\n", "\t") else one_line(piece, encoding) for piece in pieces)


def _drop_buffered(stream: TextIO) -> None:
    """Let the interpreter's last flush of a stream succeed: else it ends with a message and exit code 120."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, stream.fileno())
    os.close(devnull)
