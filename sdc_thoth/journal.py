"""What this collector has already seen, so that a dump that lies on a node for days is looked at once.

A cache and nothing more: whatever is in it can be found out again from nodes and index. So a damaged journal
is begun anew. It is SQLite without a write-ahead log: a reader then leaves nothing behind, and one run writes
at a time.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

from sdc_thoth.state import own_directory, shown
from thoth import CannotWrite, Identity, ThothError, UsageError

NAME: Final = "journal.sqlite"
KEEP_DAYS: Final = 60  # a path that was not seen for so long is forgotten
_VERSION: Final = 1
_ASK: Final = "SELECT path, signature, identity, done, reason, day FROM seen WHERE node = ?"
_COLUMNS: Final = 7
_CHUNK: Final = 500  # paths in a question; SQLite takes 999 in old versions
_DAY: Final = 86400
_SCHEMA: Final = f"""
    CREATE TABLE seen (
        node TEXT NOT NULL, path BLOB NOT NULL, signature TEXT NOT NULL,
        identity TEXT, done INTEGER NOT NULL, reason TEXT, day INTEGER NOT NULL,
        PRIMARY KEY (node, path)
    ) WITHOUT ROWID;
    CREATE INDEX seen_day ON seen (day);
    PRAGMA user_version = {_VERSION};
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """What became of a file while its stat was ``signature``."""

    path: bytes
    signature: str
    identity: Identity | None  # None: it is no dump, and ``reason`` says why
    done: bool  # it is in Thoth, with everything that belongs to it
    reason: str | None = None


_Row = tuple[bytes, str, str | None, int, str | None, int]


def _entry(row: _Row) -> Entry:
    path, signature, identity, done, reason, _day = row
    try:
        return Entry(path, signature, Identity(identity) if identity else None, bool(done), reason)
    except UsageError as error:
        raise sqlite3.DatabaseError(str(error)) from error


class Journal:
    """Made by ``open_journal``. Any thread may call."""

    def __init__(self, path: Path, read_only: bool, clock: Callable[[], float], say: Callable[[str], None]) -> None:
        self._path = path
        self._read_only = read_only
        self._clock = clock
        self._say = say
        self._lock = Lock()
        self._db = self._opened()

    # ---- asking and noting ---------------------------------------------------------------------------

    def seen(self, node: str, files: Sequence[tuple[bytes, str]]) -> Mapping[bytes, Entry]:
        """What is known of these (path, signature) of a node; nothing of one whose signature has changed."""
        wanted = dict(files)
        with self._lock, self._healed():
            rows = list(self._rows(node, list(wanted)))
            self._touch(node, [row[0] for row in rows if row[-1] != self._today()])
            return {path: _entry(row) for row in rows if wanted[path := row[0]] == row[1]}
        return {}

    def record(self, node: str, entries: Iterable[Entry]) -> None:
        """Note what became of files, in one transaction. Raises CannotWrite on a journal for a dry run."""
        if self._read_only:
            raise CannotWrite("the journal is open for a dry run")
        day = self._today()
        rows = [(node, e.path, e.signature, e.identity, e.done, e.reason, day) for e in entries]
        with self._lock, self._healed(), self._db:
            self._db.executemany("REPLACE INTO seen VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def forget(self, days: int = KEEP_DAYS) -> int:
        """Drop the paths that no pass has seen for so many days; returns how many."""
        if self._read_only:
            raise CannotWrite("the journal is open for a dry run")
        with self._lock, self._healed(), self._db:
            return self._db.execute("DELETE FROM seen WHERE day < ?", (self._today() - days,)).rowcount
        return 0

    def close(self) -> None:
        """Safe to repeat."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _today(self) -> int:
        return int(self._clock() // _DAY)

    def _rows(self, node: str, paths: list[bytes]) -> Iterator[_Row]:
        for start in range(0, len(paths), _CHUNK):
            part = paths[start : start + _CHUNK]
            marks = ",".join("?" * len(part))
            query = f"{_ASK} AND path IN ({marks})"
            yield from self._db.execute(query, (node, *part))

    def _touch(self, node: str, paths: list[bytes]) -> None:
        if paths and not self._read_only:
            with self._db:
                day = self._today()
                self._db.executemany(
                    "UPDATE seen SET day = ? WHERE node = ? AND path = ?", ((day, node, p) for p in paths)
                )

    # ---- opening, and beginning anew -------------------------------------------------------------------

    def _opened(self) -> sqlite3.Connection:
        if self._read_only:
            return self._opened_to_read()
        try:
            return _connected(self._path, "rw")
        except sqlite3.OperationalError as error:
            raise ThothError(f"journal {shown(self._path)}: {error}") from error
        except sqlite3.DatabaseError as error:
            return self._begun_anew(error)

    def _opened_to_read(self) -> sqlite3.Connection:
        if not stat.S_ISREG(_mode(self._path)):
            return _in_memory()
        try:
            return _connected(self._path, "ro")
        except sqlite3.Error as error:  # also half-written by a killed run: only a writer can undo that
            return self._done_without(error)

    def _done_without(self, error: sqlite3.Error) -> sqlite3.Connection:
        self._say(f"journal {shown(self._path)}: cannot be read ({error}); dumps are looked at again")
        return _in_memory()

    def _begun_anew(self, error: sqlite3.Error) -> sqlite3.Connection:
        self._say(f"journal {shown(self._path)}: damaged ({error}); begun anew, dumps are looked at again")
        for suffix in ("", "-journal"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        _prepare_file(self._path)
        return _connected(self._path, "rw")

    @contextlib.contextmanager
    def _healed(self) -> Iterator[None]:
        """A journal that fails costs time, not dumps: what it knew or would note is then not known."""
        try:
            yield
        except sqlite3.OperationalError as error:
            self._say(f"journal {shown(self._path)}: {error}; dumps will be looked at again")
        except sqlite3.DatabaseError as error:
            self._db.close()
            self._db = self._done_without(error) if self._read_only else self._begun_anew(error)


def open_journal(
    directory: Path,
    *,
    read_only: bool = False,
    clock: Callable[[], float] = time.time,
    say: Callable[[str], None],
) -> Journal:
    """The journal of the collector's directory. ``say`` takes a line of talk when it has to be begun anew.

    ``read_only`` is for a dry run: nothing is written or created, and where there is no journal, it is an
    empty one. Raises UsageError when directory or file are not ours, ThothError when the file cannot be
    opened.
    """
    path = directory / NAME
    if read_only:
        return Journal(path, True, clock, say)
    own_directory(directory)
    _prepare_file(path)
    return Journal(path, False, clock, say)


def _prepare_file(path: Path) -> None:
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


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    """Raises sqlite3.DatabaseError for what is no journal of this version."""
    db = sqlite3.connect(f"file:{quote(os.fsencode(path))}?mode={mode}", uri=True, check_same_thread=False)
    try:
        if mode == "rw" and _is_empty(db):
            db.executescript(_SCHEMA)
        _check_version(db)
    except BaseException:
        db.close()
        raise
    return db


def _is_empty(db: sqlite3.Connection) -> bool:
    return bool(db.execute("SELECT count(*) = 0 FROM sqlite_master").fetchone()[0])


def _check_version(db: sqlite3.Connection) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version != _VERSION:
        raise sqlite3.DatabaseError(f"version {version}, not {_VERSION}")
    columns = db.execute("SELECT count(*) FROM pragma_table_info('seen')").fetchone()[0]
    if columns != _COLUMNS:
        raise sqlite3.DatabaseError("its table is not ours")


def _in_memory() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", check_same_thread=False)
    db.executescript(_SCHEMA)
    return db


def _mode(path: Path) -> int:
    """The file's type and mode; 0 when there is none."""
    try:
        return path.lstat().st_mode
    except FileNotFoundError:
        return 0
