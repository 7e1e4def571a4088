"""What the Manta test server knows by name: directories and objects, in an SQLite file beside their contents.

A path is decoded, without a slash at its end: ``/alice/stor/thoth/core a``. One lock lets one request at a time look
or change; a change that expects an older state than it finds raises Changed.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Final, Literal

from tests.support.manta_content import Content, Piece

Kind = Literal["object", "directory"]

_SCHEMA = """
    CREATE TABLE IF NOT EXISTS entries (
        path TEXT PRIMARY KEY, parent TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, mtime INTEGER NOT NULL,
        serial INTEGER NOT NULL, content TEXT, facts TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE UNIQUE INDEX IF NOT EXISTS names ON entries (parent, name, path);
    CREATE INDEX IF NOT EXISTS times ON entries (parent, mtime);
    CREATE INDEX IF NOT EXISTS contents_named ON entries (content);
    CREATE TABLE IF NOT EXISTS contents (id TEXT PRIMARY KEY, size INTEGER NOT NULL, md5 TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS pieces (
        content TEXT NOT NULL, number INTEGER NOT NULL, file TEXT NOT NULL, size INTEGER NOT NULL,
        PRIMARY KEY (content, number)
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS files ON pieces (file);
"""
_ENTRY = "SELECT path, kind, mtime, serial, facts, content FROM entries"

ANY: Final = -1  # as an expected serial: whatever is there
NOTHING: Final = 0  # as an expected serial: no entry


class Changed(Exception):
    """The entry is not what it was when the request looked."""


@dataclass(frozen=True, slots=True)
class Entry:
    """``serial`` goes up with every change. ``upload``: the record of a multipart upload, on its directory."""

    path: str
    kind: Kind
    mtime: int  # milliseconds since 1970
    etag: str | None = None
    content: Content | None = None
    content_type: str | None = None
    copies: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    roles: tuple[str, ...] = ()
    upload: Mapping[str, object] | None = None
    serial: int = NOTHING

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def size(self) -> int:
        return self.content.size if self.content else 0


@dataclass(frozen=True, slots=True)
class Page:
    """Which entries of a directory are wanted. ``marker`` is a name, or with ``by_time`` a time; it is inclusive."""

    limit: int = 256
    marker: str | int | None = None
    by_time: bool = False
    reverse: bool = False
    kind: Kind | None = None


def parent_of(path: str) -> str:
    return path.rpartition("/")[0]


class Entries:
    """All entries. ``folder`` holds the contents, and the database where ``keep`` says so."""

    def __init__(self, folder: Path, database: str | Path) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        self._depth = 0
        self._doomed: list[str] = []  # files to remove when the change at hand is done
        self._connection = sqlite3.connect(database, check_same_thread=False, isolation_level=None)
        # Nothing here has to outlast the machine, only the server.
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def sweep(self) -> None:
        """Removes files that no content holds: of uploads that were cut when an earlier server died."""
        with self._lock:
            known = {row[0] for row in self._connection.execute("SELECT file FROM pieces")}
            for path in self.folder.iterdir():
                if path.name not in known:
                    path.unlink()

    # ---- looking ----------------------------------------------------------------------------------

    def get(self, path: str) -> Entry | None:
        with self._lock:
            row = self._connection.execute(f"{_ENTRY} WHERE path = ?", (path,)).fetchone()
            return self._entry(row) if row else None

    def children(self, directory: str, page: Page) -> list[Entry]:
        """The entries of one directory, in the order that is wanted."""
        column = "mtime" if page.by_time else "name"
        falling = page.by_time != page.reverse  # the newest come first, names rise
        where, values = "parent = ?", [directory]
        if page.marker is not None:
            where += f" AND {column} {'<=' if falling else '>='} ?"
            values.append(page.marker)  # type: ignore[arg-type]  # a number beside the strings
        if page.kind:
            where += " AND kind = ?"
            values.append(page.kind)
        order = f"ORDER BY {column} {'DESC' if falling else 'ASC'} LIMIT {page.limit:d}"
        with self._lock:
            rows = self._connection.execute(f"{_ENTRY} WHERE {where} {order}", values).fetchall()
            return [self._entry(row) for row in rows]

    def count(self, directory: str) -> int:
        with self._lock:
            found = self._connection.execute("SELECT count(*) FROM entries WHERE parent = ?", (directory,))
            return int(found.fetchone()[0])

    def used(self) -> int:
        """Bytes of all contents."""
        with self._lock:
            return int(self._connection.execute("SELECT coalesce(sum(size), 0) FROM contents").fetchone()[0])

    def open(self, path: str) -> tuple[Entry, list[tuple[BinaryIO, int]]] | None:
        """An object as it is now, with its files opened and their sizes: no later change takes them away."""
        with self._lock, ExitStack() as undo:
            entry = self.get(path)
            if entry is None or entry.content is None:
                return None
            pieces = entry.content.pieces
            files = [undo.enter_context((self.folder / piece.file).open("rb")) for piece in pieces]
            undo.pop_all()
            return entry, [(file, piece.size) for file, piece in zip(files, pieces, strict=True)]

    def snapshot(self) -> Entries:
        """A copy of all entries as they are now, in memory, over the same contents."""
        copy = Entries(self.folder, ":memory:")
        with self._lock:
            self._connection.backup(copy._connection)
        return copy

    # ---- changing ---------------------------------------------------------------------------------

    @contextmanager
    def change(self) -> Iterator[None]:
        """All changes within it happen, or none when it is left by an exception. May be nested."""
        with self._lock:
            self._depth += 1
            try:
                if self._depth == 1:
                    self._connection.execute("BEGIN IMMEDIATE")
                yield
                if self._depth == 1:
                    self._connection.execute("COMMIT")
                    self._remove_doomed()
            except BaseException:
                if self._depth == 1:
                    self._connection.execute("ROLLBACK")
                    self._doomed.clear()
                raise
            finally:
                self._depth -= 1

    def put(self, entry: Entry, expected: int = ANY) -> Entry:
        """Writes an entry in place of what is there; returns it with its new serial. Raises Changed."""
        with self.change():
            old = self._expect(entry.path, expected)
            new = replace(entry, serial=(old.serial if old else 0) + 1)
            if entry.content:
                self._keep(entry.content)
            facts = {
                "etag": entry.etag,
                "content_type": entry.content_type,
                "copies": entry.copies,
                "headers": dict(entry.headers),
                "roles": entry.roles,
                "upload": entry.upload,
            }
            content = entry.content.id if entry.content else None
            row = (entry.path, parent_of(entry.path), entry.name, entry.kind, entry.mtime, new.serial, content)
            self._connection.execute(
                "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*row, json.dumps(facts))
            )
            if old and old.content and old.content.id != content:
                self._forget(old.content)
            return new

    def delete(self, path: str, expected: int = ANY) -> None:
        """Removes an entry; one that is not there is Changed where it was expected."""
        with self.change():
            old = self._expect(path, expected)
            self._connection.execute("DELETE FROM entries WHERE path = ?", (path,))
            if old and old.content:
                self._forget(old.content)

    def discard(self, content: Content) -> None:
        """Removes the files of a content that no entry has come to name."""
        with self.change():
            self._forget(content)

    # ---- within -----------------------------------------------------------------------------------

    def _entry(self, row: Iterable[object]) -> Entry:
        path, kind, mtime, serial, facts, content = row
        known = json.loads(str(facts))
        return Entry(
            str(path),
            kind,  # type: ignore[arg-type]  # only the two kinds are ever written
            mtime,  # type: ignore[arg-type]  # an integer column
            known["etag"],
            self._content(str(content)) if content else None,
            known["content_type"],
            known["copies"],
            known["headers"],
            tuple(known["roles"]),
            known["upload"],
            serial,  # type: ignore[arg-type]  # an integer column
        )

    def _content(self, identifier: str) -> Content:
        size, md5 = self._connection.execute("SELECT size, md5 FROM contents WHERE id = ?", (identifier,)).fetchone()
        rows = self._connection.execute(
            "SELECT file, size FROM pieces WHERE content = ? ORDER BY number", (identifier,)
        ).fetchall()
        return Content(identifier, size, md5, tuple(Piece(*row) for row in rows))

    def _expect(self, path: str, expected: int) -> Entry | None:
        old = self.get(path)
        if expected not in (ANY, old.serial if old else NOTHING):
            raise Changed
        return old

    def _keep(self, content: Content) -> None:
        row = (content.id, content.size, content.md5)
        if self._connection.execute("INSERT OR IGNORE INTO contents VALUES (?, ?, ?)", row).rowcount:
            rows = [(content.id, number, piece.file, piece.size) for number, piece in enumerate(content.pieces)]
            self._connection.executemany("INSERT INTO pieces VALUES (?, ?, ?, ?)", rows)

    def _forget(self, content: Content) -> None:
        """The content goes with the last entry that names it, a file with the last content that holds it."""
        if self._connection.execute("SELECT 1 FROM entries WHERE content = ?", (content.id,)).fetchone():
            return
        self._connection.execute("DELETE FROM contents WHERE id = ?", (content.id,))
        self._connection.execute("DELETE FROM pieces WHERE content = ?", (content.id,))
        for piece in content.pieces:
            if not self._connection.execute("SELECT 1 FROM pieces WHERE file = ?", (piece.file,)).fetchone():
                self._doomed.append(piece.file)

    def _remove_doomed(self) -> None:
        for file in self._doomed:
            with suppress(FileNotFoundError):  # a snapshot may have seen it go
                (self.folder / file).unlink()
        self._doomed.clear()
