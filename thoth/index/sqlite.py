"""The embedded index: documents in one SQLite file, shared by the processes of one machine."""

from __future__ import annotations

import heapq
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Final

from thoth.errors import BadDocument, IndexFailure
from thoth.index import plain
from thoth.index.base import TIME, Known, Ranking, clamped_revision, rarest_first, selected
from thoth.index.database import Database
from thoth.index.documents import is_plain, stored_text
from thoth.index.of_store import OfStore, read_store, write_store
from thoth.index.ranking import PATHS, ranked
from thoth.index.sql import COLUMNS, ID, Parameter, Values, Where, text_parameter, value_label, values, where
from thoth.index.tallies import tallied
from thoth.model import DumpInfo, Identity, Json
from thoth.query import KeyPath, Query, dump_time, holds, label, lookup, matches, sort_key

BATCH: Final = 500  # dumps that one question names

_COLUMNS: Final = ("id", "revision", "size", "odd", "purged", "time", *COLUMNS, "document")
_PUT: Final = (
    f"INSERT INTO dumps ({', '.join(_COLUMNS)}) VALUES ("  # noqa: S608 - names of ours, values bound
    + ", ".join("CAST(? AS TEXT)" if name in COLUMNS else "?" for name in _COLUMNS)
    + ") ON CONFLICT (id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name != "id")
    + " WHERE excluded.revision >= dumps.revision"
)
_KNOWN: Final = (
    "SELECT id, revision, size, complete, sha256, purged FROM dumps WHERE id IN (SELECT value FROM json_each(?))"
)
_TRUTH: Final = {"true": True, "false": False}


class SqliteIndex:
    """Index over one SQLite file. ``path`` need not exist; reading what does not exist finds nothing.

    With ``read_only`` nothing is written, not even beside the file, and a write raises CannotWrite.
    ``timeout`` is how many seconds a writer waits for another.
    """

    __slots__ = ("_database", "path")

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool = False, timeout: float = 30.0) -> None:
        self.path = Path(path)
        self._database = Database(self.path, read_only=read_only, timeout=timeout)

    def create(self) -> list[str]:
        return self._database.create()

    def put(self, info: DumpInfo) -> bool:
        return self.put_many([info]) == 1

    def put_many(self, infos: Iterable[DumpInfo]) -> int:
        rows = [row_of(info) for info in infos]  # before others have to wait
        with self._database.writing() as connection:
            return put_rows(connection, rows)

    def delete(self, identity: Identity) -> None:
        with self._database.writing() as connection, tallied(connection, [identity]):
            connection.execute("DELETE FROM dumps WHERE id = ?", (identity,))

    def known(self, ids: Iterable[Identity]) -> Mapping[Identity, Known]:
        found: dict[Identity, Known] = {}
        waiting = iter(list(ids))  # what the caller's own iterator raises is none of the index's failures
        with self._database.reading() as connection:
            while connection is not None and (batch := list(islice(waiting, BATCH))):
                for identity, revision, size, complete, *others in connection.execute(_KNOWN, _listed(batch)):
                    sha256, purged = others
                    found[Identity(identity)] = Known(revision, size, _TRUTH.get(complete), sha256, bool(purged))
        return found

    def get(self, identity: Identity) -> DumpInfo | None:
        with self._database.reading() as connection:
            if connection is None:
                return None
            row = connection.execute("SELECT document FROM dumps WHERE id = ?", (identity,)).fetchone()
            return None if row is None else self._info(row[0])

    def named(self, prefix: str, limit: int = 10) -> list[Identity]:
        if not prefix.isascii():
            return []
        with self._database.reading() as connection:
            if connection is None:
                return []
            between = "SELECT id FROM dumps WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
            return [Identity(row[0]) for row in connection.execute(between, (prefix, prefix + "g", limit))]

    def find(self, query: Query) -> Iterator[DumpInfo]:
        with self._database.reading() as connection:
            if connection is None:
                return
            # Closed before the connection is used again: a statement half read would keep its old view.
            with (
                closing(self._plain(connection, query)) as judged,
                closing(self._odd(connection, query)) as odd,
            ):
                yield from islice(heapq.merge(judged, odd, key=sort_key), query.limit)

    def select(self, query: Query, paths: Sequence[KeyPath]) -> Iterator[tuple[Json, ...]]:
        asked, shown, keyed = where(query.constraints), values(paths), values((TIME, ID, *paths))
        if shown is None or keyed is None or asked.residual:
            return (selected(info, paths) for info in self.find(query))
        return self._selected(query, asked, shown, keyed, paths)

    def count(self, query: Query) -> int:
        asked = where(query.constraints)
        if asked.residual or query.limit is not None:
            return sum(1 for _ in self.select(query, [ID]))
        with self._database.reading() as connection:
            if connection is None:
                return 0
            return plain.count(connection, asked) + sum(1 for _ in self._odd(connection, query))

    def report(self, query: Query, path: KeyPath) -> Mapping[str, int]:
        asked, shown = where(query.constraints), value_label(path)
        if shown is None or asked.residual or query.limit is not None:
            return rarest_first(Counter(label(lookup(info.document, path)) for info in self.find(query)))
        with self._database.reading() as connection:
            if connection is None:
                return {}
            counts = plain.report(connection, asked, shown)
            counts.update(label(lookup(info.document, path)) for info in self._odd(connection, query))
        return rarest_first(counts)

    def rank(self, query: Query, most: int) -> Ranking:
        asked = where(query.constraints)
        if asked.residual or query.limit is not None or (asked.scans and not asked.by_signature):
            return ranked(self.select(query, PATHS), most)
        with self._database.reading() as connection:
            if connection is None:
                return ranked([], most)
            with closing(self._odd(connection, query)) as odd:
                return plain.rank(connection, asked, [selected(info, PATHS) for info in odd], most)

    def store(self) -> OfStore | None:
        """The store that this index speaks of; None when it does not say. Raises IndexFailure."""
        with self._database.reading() as connection:
            return None if connection is None else read_store(connection)

    def speak_of(self, store: OfStore | None, *, instead_of: OfStore | None) -> bool:
        """Have it speak of this store, and make it when there is none; False when it speaks of another one by now
        than ``instead_of``. Raises IndexFailure."""
        with self._database.writing() as connection:
            same = read_store(connection) == instead_of
            if same:
                write_store(connection, store)
            return same

    def close(self) -> None:
        self._database.close()

    def _selected(
        self, query: Query, asked: Where, shown: Values, keyed: Values, paths: Sequence[KeyPath]
    ) -> Iterator[tuple[Json, ...]]:
        with self._database.reading() as connection:
            if connection is None:
                return
            with closing(self._odd(connection, query)) as odd:
                first = next(odd, None)
                if first is None:  # as nearly always
                    yield from plain.rows(connection, asked, shown, query.limit)
                    return
                others = (selected(info, (TIME, ID, *paths)) for info in chain([first], odd))
                with closing(plain.rows(connection, asked, keyed, query.limit)) as told:
                    merged = heapq.merge(told, others, key=_row_key)
                    yield from (row[2:] for row in islice(merged, query.limit))

    def _plain(self, connection: sqlite3.Connection, query: Query) -> Generator[DumpInfo, None, None]:
        """The documents that SQL can judge, as far as it can, in order."""
        asked = where(query.constraints)
        if asked.residual and query.limit is not None:
            asked = replace(asked, scans=False)  # so that it can end when enough are found
        with closing(plain.keys(connection, asked, None if asked.residual else query.limit)) as keys:
            for key in keys:
                (text,) = connection.execute("SELECT document FROM dumps WHERE rowid = ?", (key,)).fetchone()
                info = self._info(text)
                if all(holds(constraint, info.document) for constraint in asked.residual):
                    yield info

    def _odd(self, connection: sqlite3.Connection, query: Query) -> Generator[DumpInfo, None, None]:
        """The documents that SQL cannot judge, in order."""
        everything = "SELECT document FROM dumps WHERE odd = 1 ORDER BY time, id"
        with closing(connection.execute(everything)) as rows:
            for (text,) in rows:
                info = self._info(text)
                if matches(query, info.document):
                    yield info

    def _info(self, text: str) -> DumpInfo:
        try:
            return DumpInfo.from_json(text)
        except BadDocument as error:
            raise IndexFailure(
                f"{self.path}: the index is damaged ({error}); move it away and run 'thoth index'"
            ) from error


def _row_key(row: tuple[Json, ...]) -> tuple[bool, float, str]:
    """As ``thoth.query.sort_key``, for a row that begins with time and identity."""
    return row[0] is not None, row[0] or 0.0, row[1]


def _listed(ids: list[Identity]) -> tuple[str]:
    return (json.dumps(ids),)


def put_rows(connection: sqlite3.Connection, rows: Sequence[tuple[Parameter, ...]]) -> int:
    """Put rows of ``row_of``, in the caller's transaction; how many were stored."""
    with tallied(connection, [str(row[0]) for row in rows]):
        return max(0, connection.executemany(_PUT, rows).rowcount)


def row_of(info: DumpInfo) -> tuple[Parameter, ...]:
    """The values of ``_COLUMNS`` for a document. Raises BadDocument."""
    document = stored_text(info)
    known = Known.of(info)
    told = {name: info.document.get(name) for name in COLUMNS}
    odd = not (is_plain(info, document) and all(map(_fits, told, told.values())))
    texts = {name: None if odd else _text(value) for name, value in told.items()}
    texts |= {"sha256": _text(known.sha256), "complete": _text(known.complete)}
    return (
        info.id,
        clamped_revision(info),
        known.size,
        int(odd),
        int(known.purged),
        dump_time(info.document),
        *texts.values(),
        document,
    )


def _fits(name: str, value: Json) -> bool:
    """Whether the text of a value, in the column of this name, says all that a query can ask about it."""
    if name in ("sha256", "complete"):
        return value is None or isinstance(value, str if name == "sha256" else bool)
    return value is None or isinstance(value, str | int)


def _text(value: str | int | None) -> str | bytes | None:
    return None if value is None else text_parameter(label(value))
