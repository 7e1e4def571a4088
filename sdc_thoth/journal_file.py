"""The journal's file: its tables, how older ones become today's, and who may have put it there."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from sdc_thoth.state import shown
from thoth import UsageError

VERSION: Final = 4
_SEEN: Final = """
    CREATE {} TABLE seen (
        node TEXT NOT NULL, path BLOB NOT NULL, signature TEXT NOT NULL,
        identity TEXT, done INTEGER NOT NULL, reason TEXT, day INTEGER NOT NULL,
        PRIMARY KEY (node, path)
    ) WITHOUT ROWID
"""
# Times are seconds since 1970.
_FAILING: Final = """
    CREATE {} TABLE failing (
        node TEXT NOT NULL, path BLOB NOT NULL, signature TEXT NOT NULL,
        tries INTEGER NOT NULL, since REAL NOT NULL, due REAL NOT NULL, reason TEXT NOT NULL, day INTEGER NOT NULL,
        PRIMARY KEY (node, path)
    ) WITHOUT ROWID
"""
_NODES: Final = """
    CREATE {} TABLE nodes (
        node TEXT NOT NULL PRIMARY KEY, result TEXT NOT NULL, reason TEXT,
        reached REAL, failing_since REAL, failures INTEGER NOT NULL
    ) WITHOUT ROWID
"""
# In the order in which they ended: the clock by which they began may have been set between.
_PASSES: Final = """
    CREATE {} TABLE passes (
        number INTEGER PRIMARY KEY, started REAL NOT NULL, seconds REAL NOT NULL, busy REAL NOT NULL,
        sent INTEGER NOT NULL, note TEXT NOT NULL
    )
"""
_TOTALS: Final = """
    CREATE {} TABLE totals (
        result TEXT NOT NULL PRIMARY KEY, dumps INTEGER NOT NULL, bytes INTEGER NOT NULL
    ) WITHOUT ROWID
"""
# Nodes that the webhook has been told are not reached.
_TOLD: Final = "CREATE {} TABLE told (node TEXT NOT NULL PRIMARY KEY) WITHOUT ROWID"
# Large dumps on their way: the first ``length`` bytes had this digest.
_UPLOADS: Final = """
    CREATE {} TABLE uploads (
        node TEXT NOT NULL, path BLOB NOT NULL, signature TEXT NOT NULL, identity TEXT NOT NULL,
        length INTEGER NOT NULL, sha256 TEXT NOT NULL,
        PRIMARY KEY (node, path)
    ) WITHOUT ROWID
"""
_ADDED: Final = {  # by the version that has them first, as they are today
    2: (_FAILING, _NODES, _PASSES, _TOTALS),
    3: (_TOLD, _UPLOADS),
}
_COLUMNS: Final = {"seen": 7, "failing": 8, "nodes": 6, "passes": 6, "totals": 3, "told": 1, "uploads": 6}
_TEMPORARY: Final = {False: "", True: "TEMP"}  # by whether the file can only be read


@dataclass(frozen=True, slots=True)
class _Change:
    """A table that versions 2 and 3 had with other columns."""

    columns: int  # that it had
    today: str  # how it is made
    taken: str  # what it takes from the one that it was

    def written(self, name: str) -> list[str]:
        """The statements that put it in the place of that one."""
        before = f"{name}_before"
        moved = f"INSERT INTO {name} SELECT {self.taken.format(before)}"
        return [f"ALTER TABLE {name} RENAME TO {before}", self.today.format(""), moved, f"DROP TABLE {before}"]

    def read(self, name: str) -> list[str]:
        """Those that put it before that one, in the eyes of a reader."""
        taken = self.taken.format(f"main.{name}")
        return [self.today.format("TEMP"), f"INSERT INTO temp.{name} SELECT {taken}"]


_CHANGED: Final = {
    "nodes": _Change(7, _NODES, "node, result, reason, reached, failing_since, failures FROM {}"),
    "passes": _Change(5, _PASSES, "NULL, started, seconds, busy, sent, note FROM {} ORDER BY started"),
}


def connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """The journal in the file, with today's tables. One of an older version is brought up to date; to a reader it
    seems to be.

    Raises sqlite3.OperationalError when it cannot be used now, other sqlite3.DatabaseErrors for what is no journal.
    """
    mode = "ro" if read_only else "rw"
    db = sqlite3.connect(f"file:{quote(os.fsencode(path))}?mode={mode}", uri=True, check_same_thread=False)
    try:
        if not read_only and _is_empty(db):
            _make(db)
        elif 1 <= _version(db) < VERSION:
            _bring_up_to_date(db, _version(db), read_only=read_only)
        _check(db)
    except BaseException:
        db.close()
        raise
    return db


def in_memory() -> sqlite3.Connection:
    """An empty journal that nobody will see."""
    db = sqlite3.connect(":memory:", check_same_thread=False)
    _make(db)
    return db


def prepare(path: Path) -> None:
    """Make the file with mode 0600, or see that it is one of ours: SQLite itself follows links."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o600)
    except OSError as error:
        why = "a link, which is not followed; remove it" if path.is_symlink() else error.strerror or error
        raise UsageError(f"journal {shown(path)}: {why}") from error
    mode = os.fstat(fd).st_mode
    os.close(fd)
    if not stat.S_ISREG(mode):
        raise UsageError(f"journal {shown(path)}: not a regular file; remove it")


def is_file(path: Path) -> bool:
    """Whether there is a regular file, and no link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _make(db: sqlite3.Connection) -> None:
    db.executescript(
        f"BEGIN; {_SEEN.format('')}; CREATE INDEX seen_day ON seen (day); PRAGMA user_version = 1; COMMIT"
    )
    _bring_up_to_date(db, 1, read_only=False)


def _bring_up_to_date(db: sqlite3.Connection, version: int, *, read_only: bool) -> None:
    """Give it what today's version has and that one had not; all of it or, when a run is killed here, nothing."""
    changed = _CHANGED if version > 1 else {}
    _check_columns(db, {"seen": _COLUMNS["seen"], **{table: each.columns for table, each in changed.items()}})
    steps = [
        table.format(_TEMPORARY[read_only]) for number, added in _ADDED.items() if number > version for table in added
    ]
    for name, change in changed.items():
        steps += change.read(name) if read_only else change.written(name)
    if not read_only:
        steps.append(f"PRAGMA user_version = {VERSION}")
    db.executescript(f"BEGIN; {'; '.join(steps)}; COMMIT")


def _is_empty(db: sqlite3.Connection) -> bool:
    return bool(db.execute("SELECT count(*) = 0 FROM sqlite_master").fetchone()[0])


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _check(db: sqlite3.Connection) -> None:
    version = _version(db)
    # A reader of an older version has the new tables on the side.
    if not 1 <= version <= VERSION:
        raise sqlite3.DatabaseError(f"version {version}, not {VERSION}")
    _check_columns(db, _COLUMNS)


def _check_columns(db: sqlite3.Connection, expected: Mapping[str, int]) -> None:
    for table, count in expected.items():
        columns = db.execute("SELECT count(*) FROM pragma_table_info(?)", (table,)).fetchone()[0]
        if columns != count:
            raise sqlite3.DatabaseError(f"its table {table} is not ours")
