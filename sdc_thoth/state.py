"""The collector's own directory: journal and lock lie there, and nobody else may put anything into it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from thoth import UsageError, escaped


def shown(path: Path) -> str:
    """A path as messages name it."""
    return escaped(os.fsencode(path))


def own_directory(path: Path) -> Path:
    """The directory, made with mode 0700 if there is none. Raises UsageError unless it is ours alone."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.lstat()
    except OSError as error:
        raise UsageError(f"{shown(path)}: {error.strerror or error}") from error
    if not stat.S_ISDIR(status.st_mode):
        raise UsageError(f"{shown(path)}: not a directory; a link is not followed")
    if status.st_uid != os.geteuid():
        raise UsageError(f"{shown(path)}: belongs to another user; choose another directory with -d")
    if status.st_mode & 0o077:
        raise UsageError(f"{shown(path)}: others may look into it; run: chmod 700 {shown(path)}")
    return path
