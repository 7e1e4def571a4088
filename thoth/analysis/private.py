"""A directory that is ours alone, and in which nobody can put another one in its place."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from thoth.analysis.accounts import is_root
from thoth.analysis.sandbox import give_open
from thoth.errors import CacheError

_ELSEWHERE: Final = "name a directory of your own with THOTH_CACHE"
PASSAGE: Final = 0o710  # of a directory that root lets the programs of the sandbox pass through


def private_directory(path: Path) -> Path:
    """The directory's path without links, made with its parents when it is missing.

    Raises CacheError, which says what to do, when it is a link, belongs to another user or lets others in, and when
    others may put a directory of theirs in its place.
    """
    try:
        _check_links(path)
        place = path.absolute().parent.resolve() / path.name
        _make(place)
        _check_way(place)
        _check(place)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise CacheError(f"cache {path}: {getattr(error, 'strerror', None) or error}; {_ELSEWHERE}") from error
    return place


@contextmanager
def told(root: Path, what: str = "") -> Iterator[None]:
    """Translate what goes wrong with our own files in the cache at ``root`` to CacheError.

    ``what`` tells what there is no room for, as in " for 5 bytes".
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise CacheError(
                f"cache {root}: no room{what}; make some, or name another place with THOTH_CACHE"
            ) from error
        where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        raise CacheError(f"cache {root}: {where}{error.strerror or error}") from error


def _make(place: Path) -> None:
    for parent in reversed([parent for parent in place.parents if not parent.exists()]):
        with suppress(FileExistsError):  # somebody was faster; whose it is will be looked at
            parent.mkdir()
            with _opened(parent) as fd:
                os.fchmod(fd, 0o755)  # whatever the umask: other users may have their caches beside ours
    place.mkdir(mode=0o700, exist_ok=True)


def _check_links(path: Path) -> None:
    """Refuse links that another user has laid, as in /var/tmp: they would choose the place."""
    for parent in path.absolute().parents:
        if parent.is_symlink() and (owner := parent.lstat().st_uid) not in (0, os.geteuid()):
            raise CacheError(f"cache {path}: {parent} is a link of another user's (uid {owner}); {_ELSEWHERE}")


def _check_way(place: Path) -> None:
    for parent in place.parents:
        found = parent.lstat()
        if found.st_uid not in (0, os.geteuid()):
            raise CacheError(f"cache {place}: {parent} belongs to another user (uid {found.st_uid}); {_ELSEWHERE}")
        if found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
            raise CacheError(f"cache {place}: others may write to {parent}; chmod go-w it, or {_ELSEWHERE}")


def _check(place: Path) -> None:
    found = place.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise CacheError(f"cache {place}: is a link; remove it, or {_ELSEWHERE}")
    if not stat.S_ISDIR(found.st_mode):
        raise CacheError(f"cache {place}: is not a directory; {_ELSEWHERE}")
    if found.st_uid != os.geteuid():
        raise CacheError(f"cache {place}: belongs to another user (uid {found.st_uid}); {_ELSEWHERE}")
    mode = stat.S_IMODE(found.st_mode)
    if mode not in ((0o700, PASSAGE) if is_root() else (0o700,)):
        raise CacheError(f"cache {place}: has mode {mode:04o} and must have 0700; chmod 700 it, or {_ELSEWHERE}")
    let_through(place)


def closed_to_programs(place: Path) -> Path | None:
    """The directory on the way to the cache that root's sandbox cannot pass through; None when it can."""
    if not is_root():
        return None
    return next((each for each in reversed(place.parents) if each.exists() and not each.stat().st_mode & 0o001), None)


def let_through(directory: Path) -> None:
    """Let the programs of the sandbox pass through a directory of ours, and not list it."""
    with _opened(directory) as fd:
        give_open(fd, directory_mode=PASSAGE)


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
