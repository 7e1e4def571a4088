"""Local dumps that a command line names, one after the other: files, and standard input, which is called ``-``."""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING

from thoth.cli.console import OutputFailed
from thoth.errors import NoRoom, SourceError, StoreUnavailable, ThothError, UsageError
from thoth.render import escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from thoth.cli.console import Console
    from thoth.dumps.source import OpenFile

FILE = "a core or crash dump; - is standard input"  # help of their argument
FILE_LINES = "JSON lines instead: one object for each file"  # help of their --json

STDIN = "-"
_STDIN_NAME = "standard input"


def shown(path: str) -> str:
    """A path as it is told of."""
    return _STDIN_NAME if path == STDIN else escaped(path) or "''"


def check_stdin(paths: Sequence[str], command: str) -> None:
    """Raises UsageError when standard input is named and cannot be read as a dump: again, or from a terminal."""
    if STDIN not in paths:
        return
    if paths.count(STDIN) > 1:
        raise UsageError(f"{command}: - is standard input, which can be read once; name it once")
    if sys.stdin is None:
        raise UsageError(f"{command}: stdin is closed; there is nothing to read")
    if sys.stdin.isatty():
        raise UsageError(
            f"{command}: standard input is a terminal; pipe a dump into it, as in"
            f" 'coredumpctl dump 4711 | thoth {command} -'"
        )


def opened_dump(path: str, console: Console, cache: Callable[[], Path]) -> OpenFile:
    """A dump that can be read anywhere; standard input is spooled in the ``cache`` for that, unless it is a file.

    Raises SourceError; of standard input also NotADump and CacheError.
    """
    from thoth.dumps.source import LocalFile, OpenFile

    if path != STDIN:
        return LocalFile(path)
    stdin = sys.stdin.fileno()
    # A file that somebody has read from before is what is left of it, which only a stream is.
    if stat.S_ISREG(os.fstat(stdin).st_mode) and os.lseek(stdin, 0, os.SEEK_CUR) == 0:
        return OpenFile(os.dup(stdin), _STDIN_NAME)
    from contextlib import closing

    from thoth.analysis.spool import spool

    with closing(console.receiving(_STDIN_NAME, _blocks(console))) as blocks:
        return spool(cache(), blocks, _STDIN_NAME)


def _blocks(console: Console) -> Iterator[bytes]:
    try:
        yield from console.blocks_in()
    except OSError as error:
        raise SourceError(error.strerror or str(error)) from error


def for_each_file(
    paths: Iterable[str],
    console: Console,
    handle: Callable[[str], bool],
    failed: Callable[[str, Exception], bool] = lambda path, error: False,
) -> int:
    """The exit code of doing something with each file: one that fails is told, and the others go on.

    Raises StoreUnavailable and OutputFailed, since no other file would fare better. ``failed`` hears of the former,
    too, and says whether it has told of a failure; a store that only has no room for a file fails that one.
    """
    good = True
    for path in paths:
        try:
            good = handle(path) and good
        except OutputFailed:
            raise
        except ThothError as error:
            is_told = failed(path, error)
            if isinstance(error, StoreUnavailable) and not isinstance(error, NoRoom):
                raise
            if not is_told:
                console.failure(error, about=shown(path))
            good = False
    return 0 if good else 1
