"""What this collector has already seen, so that a dump that lies on a node for days is looked at once.

A cache and nothing more: whatever is in it can be found out again from nodes and index. So a damaged journal is
begun anew. It is SQLite without a write-ahead log: a reader then leaves nothing behind, and one run writes at a time.
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


class Journal:
    """Made by ``open_journal``. Any thread may call."""

    def __init__(
        self, path: Path | None, read_only: bool, clock: Callable[[], float], say: Callable[[str], None]
    ) -> None:
        self._path = path
        self._read_only = read_only
        self._clock = clock
        self._say = say
        self._lock = Lock()
        self._db = self._opened()

    # ---- asking and noting ---------------------------------------------------------------------------

    def seen(self, node: str, files: Sequence[tuple[bytes, str]]) -> Mapping[bytes, Entry]:
        """What is known of these (path, signature) of a node; a file whose signature is another now is not in it."""
        wanted = dict(files)
        with self._lock, self._healed():
            rows = list(self._rows(node, list(wanted)))
            self._touch(node, [path for path, _signature, *_rest, day in rows if day != self._today()])
            return {
                path: Entry(path, signature, Identity(identity) if identity else None, bool(done), reason)
                for path, signature, identity, done, reason, _day in rows
                if wanted[path] == signature
            }
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

    def _rows(
        self, node: str, paths: list[bytes]
    ) -> Iterator[tuple[bytes, str, str | None, int, str | None, int]]:
        for start in range(0, len(paths), _CHUNK):
            part = paths[start : start + _CHUNK]
            marks = ",".join("?" * len(part))
            query = f"SELECT path, signature, identity, done, reason, day FROM seen WHERE node = ? AND path IN ({marks})"  # noqa: S608 - only question marks are put in
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
        if self._path is None:
            return _made(":memory:")
        try:
            return _connected(self._path, self._read_only)
        except sqlite3.OperationalError as error:
            raise ThothError(f"journal {shown(self._path)}: {error}") from error
        except sqlite3.DatabaseError as error:
            return self._begun_anew(error)

    def _begun_anew(self, error: sqlite3.Error) -> sqlite3.Connection:
        if self._read_only:
            self._say(f"journal {shown(self._path)}: cannot be used ({error}); every dump is looked at again")
            return _made(":memory:")
        self._say(
            f"journal {shown(self._path)}: damaged ({error}); begun anew, every dump is looked at again"
        )
        for suffix in ("", "-journal"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        _prepare_file(self._path)
        return _connected(self._path, read_only=False)

    @contextlib.contextmanager
    def _healed(self) -> Iterator[None]:
        """What a damaged journal would have said is not known then, and what it would have kept is not kept."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise ThothError(f"journal {shown(self._path or Path())}: {error}") from error
        except sqlite3.DatabaseError as error:
            self._db.close()
            self._db = self._begun_anew(error)


def open_journal(
    directory: Path,
    *,
    read_only: bool = False,
    clock: Callable[[], float] = time.time,
    say: Callable[[str], None],
) -> Journal:
    """The journal of the collector's directory. ``say`` takes a line of talk when it has to be begun anew.

    ``read_only`` is for a dry run: nothing is written or created, and where there is no journal, it is an empty one.
    Raises UsageError when directory or file are not ours, ThothError when the file cannot be opened.
    """
    path = directory / NAME
    if read_only:
        return Journal(path if path.is_file() and not path.is_symlink() else None, True, clock, say)
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
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise UsageError(f"journal {shown(path)}: not a regular file; remove it")
    finally:
        os.close(fd)


def _connected(path: Path, read_only: bool) -> sqlite3.Connection:
    """Raises sqlite3.DatabaseError for what is no journal of this version."""
    mode = "ro" if read_only else "rw"
    db = sqlite3.connect(f"file:{quote(os.fsencode(path))}?mode={mode}", uri=True, check_same_thread=False)
    try:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if (
            version == 0
            and not read_only
            and db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        ):
            db.executescript(_SCHEMA)
        elif version != _VERSION:
            raise sqlite3.DatabaseError(f"version {version}, not {_VERSION}")
        db.execute("SELECT path FROM seen LIMIT 1").fetchone()
    except BaseException:
        db.close()
        raise
    return db


def _made(path: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False)
    db.executescript(_SCHEMA)
    return db
