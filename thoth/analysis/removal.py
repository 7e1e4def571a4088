"""Removing a directory that somebody else has filled, whatever is in it."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path
from typing import Final

_AT_ONCE: Final = 1000  # names in memory
_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: Path, token: Callable[[], str] = lambda: secrets.token_hex(16)) -> None:
    """Remove what is at this path, with all below it; links are removed, not followed. Raises OSError.

    Directories are moved up to the top and emptied there. So neither memory, nor the number of open files, nor the
    stack depends on how many there are or how deep they lie. ``token`` makes names that are not in there.
    """
    if not stat.S_ISDIR(path.lstat().st_mode):
        path.unlink()
        return
    names = (f"{token()}-{number}" for number in count())
    with _opened(path, None) as top:
        _empty(top, lambda name: _dissolve(name, top, names))
    path.rmdir()


def _dissolve(name: str, top: int, names: Iterator[str]) -> None:
    """Remove a directory in ``top``; the directories in it go to ``top``."""
    with _opened(name, top) as directory:
        _empty(directory, lambda inner: _lift(inner, directory, top, next(names)))
    os.rmdir(name, dir_fd=top)


def _lift(name: str, directory: int, top: int, new_name: str) -> None:
    with _opened(name, directory):  # one without permissions cannot be moved
        os.rename(name, new_name, src_dir_fd=directory, dst_dir_fd=top)


def _empty(directory: int, take_away: Callable[[str], None]) -> None:
    """Unlink what is in a directory; a directory in it is taken away by ``take_away``."""
    while entries := _some_of(directory):
        for name, is_directory in entries:
            if is_directory:
                take_away(name)
            else:
                os.unlink(name, dir_fd=directory)


def _some_of(directory: int) -> list[tuple[str, bool]]:
    with os.scandir(directory) as entries:
        return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in islice(entries, _AT_ONCE)]


@contextmanager
def _opened(name: str | Path, parent: int | None) -> Iterator[int]:
    """A directory as one that we may change. Its mode is of no account to root."""
    if os.geteuid():
        os.chmod(name, 0o700, dir_fd=parent)
    fd = os.open(name, _OPEN, dir_fd=parent)
    try:
        yield fd
    finally:
        os.close(fd)
