"""Ways through a directory tree that no link can turn aside.

Each step is an open relative to the directory before it, with O_NOFOLLOW: who swaps a directory for a link
while we walk gains nothing. Everything here raises OSError, and StoreError for what is no file or directory.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from thoth.errors import StoreError, StoreUnavailable

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def open_root(root: Path) -> int:
    """Open a store's root. Raises StoreUnavailable unless it is a directory that only we may write to."""
    try:
        fd = os.open(root, DIRECTORY)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        fault = "is a symbolic link; name what it points to" if root.is_symlink() else "is not a directory"
        raise StoreUnavailable(f"store {root}: {fault}") from error
    fault = _fault(root, os.fstat(fd))
    if fault:
        os.close(fd)
        raise StoreUnavailable(f"store {root}: {fault}")
    return fd


def _fault(root: Path, found: os.stat_result) -> str:
    if found.st_uid != os.geteuid():
        return (
            f"belongs to uid {found.st_uid} and we are uid {os.geteuid()}; "
            "run as its owner or choose another directory"
        )
    if found.st_mode & 0o022:
        return f"others may write to it (mode {stat.S_IMODE(found.st_mode):04o}); chmod go-w {root}"
    return ""


def make_root(root: Path) -> None:
    """Make the directory and its missing parents, mode 0700, durably."""
    missing: tuple[str, ...] = ()
    existing = root.absolute()
    while not existing.is_dir() and existing != existing.parent:
        existing, missing = existing.parent, (existing.name, *missing)
    with ExitStack() as opened:
        start = os.open(existing, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        opened.callback(os.close, start)
        _, changed = make_directories(start, missing, opened)
        for directory in changed:
            os.fsync(directory)


@contextmanager
def directory(root: int, parts: Sequence[str]) -> Iterator[int]:
    """The directory below ``root``, or ``root`` itself, open for the length of a ``with``."""
    here = root
    try:
        for part in parts:
            above, here = here, _enter(here, part)
            if above != root:
                os.close(above)
        yield here
    finally:
        if here != root:
            os.close(here)


def make_directories(root: int, parts: Sequence[str], opened: ExitStack) -> tuple[int, list[int]]:
    """The directory below ``root``, made with its parents, mode 0700, where there is none.

    Returns its descriptor and those of the directories that got a new entry, which the caller has to sync.
    ``opened`` closes them all.
    """
    here, changed = root, []
    for part in parts:
        try:
            below = _enter(here, part)
        except FileNotFoundError:
            with suppress(FileExistsError):  # somebody else was faster
                os.mkdir(part, 0o700, dir_fd=here)
            below = _enter(here, part)
            os.fchmod(below, 0o700)  # the umask may have taken bits away
            changed.append(here)
        opened.callback(os.close, below)
        here = below
    return here, changed


def look(directory: int, name: str) -> os.stat_result | None:
    """What has this name: a regular file, a directory, or nothing. Raises StoreError for anything else."""
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise _intruder(name)
    return found


def open_file(directory: int, name: str) -> int:
    """Open a regular file for reading. Raises FileNotFoundError where there is a directory or nothing."""
    found = look(directory, name)  # first, because opening a device can act
    if found is None or stat.S_ISDIR(found.st_mode):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    fd = os.open(name, _FILE, dir_fd=directory)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _intruder(name)
    return fd


def _enter(directory: int, part: str) -> int:
    try:
        return os.open(part, DIRECTORY, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            look(directory, part)  # tells a link, which is an attack or an accident, from an object
        raise


def _intruder(name: str) -> StoreError:
    return StoreError(
        f"{name!r} in the store is neither a file nor a directory; find out who put it there, remove it"
    )
