"""The SQLite file of an index: made for its user alone, shared by processes, untouched by a dry run."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from operator import methodcaller
from pathlib import Path
from threading import Lock
from typing import Final
from urllib.parse import quote

from thoth.errors import CannotWrite, IndexFailure
from thoth.index.refusals import COPIED, DAMAGE, UNWRITABLE, advice, beside, code_of, hindrance, is_copy, written_to
from thoth.index.schema import SCHEMA, bring_up_to_date, make_tables

_APPLICATION: Final = 0x54686F74  # application_id: "Thot"
# Text may hold lone surrogates: bytes of a dump that are not UTF-8.
ANY_TEXT: Final = methodcaller("decode", "utf-8", "surrogatepass")
# KiB of a database that a connection keeps: the upper pages of a million dumps' indexes, and not the dumps.
_CACHE: Final = 16 << 10
# Pages of the log, 32 MiB, that are moved into the file at once: each batch of many dumps changes most pages of the
# indexes, and is written twice otherwise.
_LOG: Final = 8192
_CHANGING: Final = 1.0  # seconds for which a dry run waits for who opens or closes the index
_PAUSE: Final = 0.01


@dataclass(frozen=True, slots=True)
class _Open:
    """A connection to an index that has its tables.

    ``state`` is the file's when it was opened; ``still`` says that it was read as one that nobody writes to.
    One that cannot write may be ``still``, and is not kept for the next question.
    """

    connection: sqlite3.Connection
    state: tuple[int, int, int, int]
    still: bool
    can_write: bool


class _Copied(IndexFailure):
    """There is a log of the index, and not the file beside it that tells what is in the log."""


class Database:
    """Connections to one file, each used by one thread at a time and kept for the next.

    ``reading`` gives None when there is no index yet, and makes nothing. ``writing`` makes it. With
    ``read_only`` no byte, name or time of the file and of those beside it changes, and writing raises
    CannotWrite. What SQLite and the file system raise becomes IndexFailure. ``timeout`` is how many seconds a
    writer waits for another, and a reader for who opens or closes it.
    """

    def __init__(self, path: Path, *, read_only: bool, timeout: float) -> None:
        self.path = path
        self._read_only = read_only
        self._timeout = timeout
        self._idle: list[_Open] = []
        self._closed = False
        self._lock = Lock()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """A connection that sees the index as it is at its first question until the end, or None.

        An index on a disk that is full, or that we may only read, can be read all the same.
        """
        with self._translated():
            taken = self._take(to_read=True)
            if taken is None:
                yield None
                return
            with self._transaction(taken, "BEGIN"):
                yield taken.connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection inside a transaction that is kept when the block ends, and undone when it raises."""
        self._refuse_read_only()
        with self._translated():
            taken = self._take()
            if taken is None:
                self.create()
                taken = self._take()
            if taken is None:
                raise IndexFailure(f"{self.path}: was removed while it was being made; try again")
            with self._transaction(taken, "BEGIN IMMEDIATE"):
                yield taken.connection

    def create(self) -> list[str]:
        """Make the file and its tables where they are missing; a line for each that was made."""
        self._refuse_read_only()
        with self._translated():
            tables = ["created table 'dumps'", "created table 'analyzers'", "created index 'time'"]
            if not self._exists() and _make_file(self.path):
                return [f"created database '{self.path}'", *tables]
            with closing(_open(self.path, self._timeout)) as connection:
                missing = _schema(connection, self.path) == 0
                return tables if missing and _make_tables(connection, self.path) else []

    def close(self) -> None:
        """Close what is idle now, and what is in use when it has been used. Safe to repeat."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for each in idle:
            each.connection.close()

    @contextmanager
    def _transaction(self, taken: _Open, begin: str) -> Iterator[None]:
        try:
            taken.connection.execute(begin)
            yield
            taken.connection.execute("COMMIT")
            self._refuse_changed(taken)
        except sqlite3.DatabaseError:
            taken.connection.close()
            self._refuse_changed(taken)
            raise
        except BaseException:
            taken.connection.close()  # which rolls back
            raise
        self._give(taken)

    def _refuse_changed(self, taken: _Open) -> None:
        if taken.still and _state(self.path) != taken.state:
            raise IndexFailure(f"{self.path}: another process wrote to it while it was read; try again")

    def _take(self, *, to_read: bool = False) -> _Open | None:
        """A connection to an index that has its tables; None when there is none."""
        deadline = time.monotonic() + (_CHANGING if self._read_only else 0.0)
        while True:
            try:
                return self._taken(to_read=to_read)
            except (_Copied, sqlite3.OperationalError) as error:
                # Whoever opens the index, or closes it as the last, makes or removes the files beside it meanwhile.
                passes = isinstance(error, _Copied) or code_of(error) in UNWRITABLE
                if not passes or time.monotonic() >= deadline:
                    raise
            time.sleep(_PAUSE)

    def _taken(self, *, to_read: bool) -> _Open | None:
        if not self._exists():
            return None
        state = _state(self.path)
        while (idle := self._take_idle()) is not None:
            if idle.state[:2] == state[:2]:
                return idle
            idle.connection.close()  # another file has taken the place of the one it is open on
        try:
            return self._opened(state, can_write=not self._read_only)
        except sqlite3.OperationalError as error:
            # What lies in the log of a copy can be read only where the files beside it can be made.
            if self._read_only or not to_read or code_of(error) not in UNWRITABLE or is_copy(self.path):
                raise
            return self._opened(state, can_write=False)

    def _opened(self, state: tuple[int, int, int, int], *, can_write: bool) -> _Open | None:
        still = not can_write and not written_to(self.path)
        connection = _open(self.path, self._timeout) if can_write else self._read_only_connection(still)
        try:
            if version := _schema(connection, self.path):
                if version < SCHEMA:
                    self._update(connection, can_write)
                return _Open(connection, state, still, can_write)
        except BaseException:
            connection.close()
            raise
        connection.close()
        return None

    def _update(self, connection: sqlite3.Connection, can_write: bool) -> None:
        if not can_write:
            raise IndexFailure(f"{self.path}: made by an older thoth; any command but a dry run brings it up to date")
        _update_tables(connection, self.path)

    def _read_only_connection(self, still: bool) -> sqlite3.Connection:
        # By default even reading makes a -wal and a -shm, or writes to the -shm that is there.
        if still:
            return _connect(self.path, "mode=ro&immutable=1", 0.0)
        if is_copy(self.path):
            next_step = hindrance(self.path) or "any command but a dry run mends that"
            raise _Copied(f"{self.path}: {COPIED}; {next_step}")
        return _connect(self.path, "mode=ro&readonly_shm=1", self._timeout)

    def _take_idle(self) -> _Open | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _give(self, taken: _Open) -> None:
        with self._lock:
            # What was opened as a file that never changes may have changed by the next question.
            keep = taken.can_write and not self._closed
            if keep:
                self._idle.append(taken)
        if not keep:
            taken.connection.close()

    def _exists(self) -> bool:
        """Whether there is a file. Raises IndexFailure when a link or anything else lies in its place."""
        for path in (self.path, *beside(self.path)):
            with contextlib.suppress(FileNotFoundError):
                if not stat.S_ISREG(path.lstat().st_mode):
                    raise IndexFailure(f"{path}: not a regular file; name the file itself for the index")
        if not self.path.exists():
            return False
        if 0 < self.path.stat().st_size < 512:
            # SQLite takes what is shorter than any database for an empty one, and would write over it.
            raise IndexFailure(f"{self.path}: {DAMAGE.format('too short for a database')}")
        return True

    def _refuse_read_only(self) -> None:
        if self._read_only:
            raise CannotWrite(f"{self.path}: the index is open for a dry run")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise IndexFailure(f"{self.path}: {advice(error, self.path)}") from error
        except OSError as error:
            raise IndexFailure(f"{self.path}: {error.strerror or error}") from error


# ---- opening --------------------------------------------------------------------------------------


def _open(path: Path, timeout: float) -> sqlite3.Connection:
    connection = _connect(path, "mode=rw", timeout)
    # The store is the truth: what a power cut takes from the index, 'thoth index' brings back. A process that
    # is killed takes nothing.
    return _told(connection, "synchronous=NORMAL", f"wal_autocheckpoint={_LOG}")


def _connect(path: Path, options: str, timeout: float) -> sqlite3.Connection:
    # One thread at a time uses a connection, but not always the same one.
    connection = sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?{options}",
        uri=True,
        timeout=timeout,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.text_factory = ANY_TEXT
    # Sorting must not write files: they would lie where others can fill the disk, and a dry run writes none.
    return _told(connection, "temp_store=MEMORY", f"cache_size=-{_CACHE}")


def _told(connection: sqlite3.Connection, *settings: str) -> sqlite3.Connection:
    """The same with these settings; some of them read the file, and then the connection is closed on failure."""
    try:
        for each in settings:
            connection.execute(f"PRAGMA {each}")
    except BaseException:
        connection.close()
        raise
    return connection


def _state(path: Path) -> tuple[int, int, int, int]:
    """Device, inode, bytes and time of the last change of a file."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


# ---- making ---------------------------------------------------------------------------------------


def _make_file(path: Path) -> bool:
    """Make the file with its tables, for us alone, in a directory for us alone; False when it is there.

    It gets its name when it is whole: until then SQLite would not let several processes wait for each other.
    One that is there is never opened here: closing it would drop the locks of SQLite's own connections.
    """
    _make_directory(path.parent)
    draft = path.with_name(path.name + ".new")
    with _one_at_a_time(path.parent):
        if path.exists():
            return False
        # Of a killed process; and of an index that was moved away without them, which a new one would take in.
        for leftover in (draft, *beside(draft), draft.with_name(draft.name + "-journal"), *beside(path)):
            leftover.unlink(missing_ok=True)
        file = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(file, 0o600)  # the umask may have taken bits away
        finally:
            os.close(file)
        with closing(_connect(draft, "mode=rw", 0.0)) as connection:
            _make_tables(connection, draft)
        draft.rename(path)
    return True


@contextmanager
def _one_at_a_time(directory: Path) -> Iterator[None]:
    """Keeps other processes, and other threads, from making an index in the same directory."""
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def _make_directory(path: Path) -> None:
    if path.is_dir():
        return
    _make_directory(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
        path.chmod(0o700)


def _make_tables(connection: sqlite3.Connection, path: Path) -> bool:
    """Make the tables, all or none; False when another process was faster."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("BEGIN IMMEDIATE")
    if _schema(connection, path):
        connection.execute("COMMIT")
        return False
    make_tables(connection)
    connection.execute(f"PRAGMA application_id={_APPLICATION}")
    connection.execute("COMMIT")
    return True


def _update_tables(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the tables of an older version up to date, unless another process was faster."""
    connection.execute("BEGIN IMMEDIATE")
    version = _schema(connection, path)
    if 0 < version < SCHEMA:
        bring_up_to_date(connection, version)
    connection.execute("COMMIT")


def _schema(connection: sqlite3.Connection, path: Path) -> int:
    """The version of the tables, 0 without any. Raises IndexFailure for newer and for another program's."""
    # In this order: what another process makes in between is then seen as ours.
    tables = connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    if tables and connection.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION:
        raise IndexFailure(f"{path}: a database of another program; name another file for the index")
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA:
        raise IndexFailure(
            f"{path}: made by a newer thoth (tables {version}, this one knows {SCHEMA}); update this thoth"
        )
    return version
