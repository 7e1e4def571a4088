"""What a file system refuses, and what to do then: OSError becomes StoreError here."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from thoth.errors import NoSuchObject, StoreError, StoreUnavailable

_REFUSALS: Final = {
    errno.ENOSPC: "no space or no inode is left; free some",
    errno.EDQUOT: "the quota is used up; free some space or have it raised",
    errno.EROFS: "it is mounted read-only; remount it",
    errno.EACCES: "access denied; check who owns what is in it",
    errno.EPERM: "operation not permitted; check who owns what is in it, and its flags",
    errno.EIO: "I/O error; check the disk",
    errno.ESTALE: "the file server has forgotten it; mount it again",
    errno.ENOLCK: "its file system has no locks; choose another",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n)",
    errno.ENFILE: "too many open files on this machine",
}


def missing(root: Path) -> StoreUnavailable:
    """What is said of a store whose directory is not there."""
    return StoreUnavailable(f"store {root}: no such directory; mount it, or make an empty one with 'thoth init'")


@contextmanager
def reading(root: Path, name: str) -> Iterator[None]:
    """What reads this object. Raises NoSuchObject, StoreUnavailable, and StoreError for a fault of it alone."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NoSuchObject(f"{name}: no such object") from error
    except OSError as error:
        # A bad block spoils one object; that the disk is gone, the next write tells.
        raise _translated(error, root, name, full=StoreUnavailable, broken=StoreError) from error


@contextmanager
def writing(root: Path, name: str, *, full: type[StoreUnavailable] = StoreUnavailable) -> Iterator[None]:
    """What writes this object. Raises StoreUnavailable, ``full`` when there is no room, and StoreError."""
    try:
        yield
    except NotADirectoryError as error:
        raise StoreError(f"{name}: one of the directories in its name is a file") from error
    except OSError as error:
        raise _translated(error, root, name, full=full, broken=StoreUnavailable) from error


def _existing(path: Path) -> Path:
    """The innermost of the directories above a path that is there, as far as this user may see."""
    return next((each for each in path.parents if os.access(each, os.F_OK)), Path("/"))


def _translated(
    error: OSError, root: Path, name: str, *, full: type[StoreError], broken: type[StoreError]
) -> StoreError:
    text = _REFUSALS.get(error.errno or 0)
    if text is None:
        return StoreError(f"{name}: {error.strerror or error}")
    if error.errno in (errno.EACCES, errno.EPERM) and not os.access(root, os.F_OK):
        text = f"cannot be made: access denied in {_existing(root)}; let this user write there, or name another store"
    kinds = {errno.ENOSPC: full, errno.EDQUOT: full, errno.EIO: broken}
    return kinds.get(error.errno or 0, StoreUnavailable)(f"store {root}: {text} ({name})")
