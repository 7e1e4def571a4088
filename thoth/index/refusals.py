"""What SQLite and the file system refuse an index, and what to do then."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path
from typing import Final

COPIED: Final = "was copied while in use, without its -shm"
DAMAGE: Final = "the index is damaged ({}); move it away and run 'thoth index' to rebuild it from the store"
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})
_NEXT: Final = {
    sqlite3.SQLITE_BUSY: "another process is writing to it; try again",
    sqlite3.SQLITE_LOCKED: "another process is writing to it; try again",
    sqlite3.SQLITE_IOERR: "cannot be read or written; see whether the disk is full",
    sqlite3.SQLITE_FULL: "the disk is full; make room and run 'thoth index'",
}
_REFUSED: Final = {
    sqlite3.SQLITE_READONLY: "may not be written to",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened",
    sqlite3.SQLITE_PERM: "cannot be opened",
}


# What opening a database raises where SQLite cannot make its files beside it.
UNWRITABLE: Final = frozenset(
    {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
)


def code_of(error: sqlite3.Error) -> int:
    # The upper bits tell kinds of one error apart.
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def advice(error: sqlite3.Error, path: Path) -> str:
    """What is wrong with the index, and what to do, in one line."""
    code = code_of(error)
    if code in _DAMAGED or "malformed JSON" in str(error):
        return DAMAGE.format(error)
    if code in _REFUSED:
        copied = f"{COPIED}, and " if is_copy(path) else ""
        return f"{copied}{_REFUSED[code]}; {_obstacle(path)} ({error})"
    return f"{_NEXT.get(code, 'the index failed')} ({error})"


def _obstacle(path: Path) -> str:
    """What keeps this user from writing to an index, and what to do, in words."""
    return hindrance(path) or "this user may write there: see whether another process has replaced the file"


def hindrance(path: Path) -> str:
    """The same; empty when nothing is to be seen."""
    # SQLite makes files beside its own: without a directory that takes them it writes nothing.
    for each in filter(os.path.exists, (path.parent, path, *beside(path))):
        if os.statvfs(each).f_flag & os.ST_RDONLY:
            return f"the file system of {each} is mounted read-only: remount it, or name another index"
        if not os.access(each, os.R_OK | os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            found, ours = each.stat(), os.geteuid()
            told = f"{each} is of user {found.st_uid} and has mode {stat.S_IMODE(found.st_mode):04o}"
            return f"{told}, by which user {ours} cannot write there: change that, or name another index"
    return ""


# ---- the files beside an index --------------------------------------------------------------------


def beside(path: Path) -> tuple[Path, Path]:
    return path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")


def written_to(path: Path) -> bool:
    """Whether a process has, or a killed one had, written what is not yet in the file itself."""
    wal, _ = beside(path)
    return wal.exists() and wal.stat().st_size > 0


def is_copy(path: Path) -> bool:
    """Whether an index was copied while in use, or has just been opened."""
    return written_to(path) and not beside(path)[1].exists()
