"""Local dumps that a command line names, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thoth.cli.console import OutputFailed
from thoth.errors import NoRoom, StoreUnavailable, ThothError
from thoth.render import escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from thoth.cli.console import Console

FILE_LINES = "JSON lines instead: one object for each file"  # help of their --json


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
                console.failure(error, about=escaped(path) or "''")
            good = False
    return 0 if good else 1
