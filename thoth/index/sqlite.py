"""The embedded index: documents in one SQLite file, shared by the processes of one machine."""

from __future__ import annotations

import heapq
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Final

from thoth.errors import BadDocument, IndexFailure
from thoth.index.base import MAX_INTEGER, Known, clamped_revision, rarest_first, selected
from thoth.index.database import Database
from thoth.index.documents import is_plain, stored_text
from thoth.index.sql import COLUMNS, Parameter, text_parameter, value_label, where
from thoth.model import DumpInfo, Identity, Json
from thoth.query import KeyPath, Query, dump_time, holds, label, lookup, matches, sort_key

BATCH: Final = 500  # dumps that one question names

# Dumps are sorted by what an index has of them, and their documents, which are long, are fetched after that.
KEYS: Final = "SELECT rowid FROM dumps WHERE {condition} ORDER BY time, id LIMIT ?"

_COLUMNS: Final = ("id", "revision", "size", "odd", "time", *COLUMNS, "document")
_PUT: Final = (
    f"INSERT INTO dumps ({', '.join(_COLUMNS)}) VALUES ("  # noqa: S608 - names of ours, values bound
    + ", ".join("CAST(? AS TEXT)" if name in COLUMNS else "?" for name in _COLUMNS)
    + ") ON CONFLICT (id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name != "id")
    + " WHERE excluded.revision >= dumps.revision"
)
_KNOWN: Final = "SELECT id, revision, size, complete, sha256 FROM dumps WHERE id IN (SELECT value FROM json_each(?))"
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
        rows = [_row(info) for info in infos]  # before others have to wait
        with self._database.writing() as connection:
            return sum(connection.execute(_PUT, row).rowcount for row in rows)

    def delete(self, identity: Identity) -> None:
        with self._database.writing() as connection:
            connection.execute("DELETE FROM dumps WHERE id = ?", (identity,))

    def known(self, ids: Iterable[Identity]) -> Mapping[Identity, Known]:
        found: dict[Identity, Known] = {}
        waiting = iter(list(ids))  # what the caller's own iterator raises is none of the index's failures
        with self._database.reading() as connection:
            while connection is not None and (batch := list(islice(waiting, BATCH))):
                for identity, revision, size, complete, sha256 in connection.execute(_KNOWN, _listed(batch)):
                    found[Identity(identity)] = Known(revision, size, _TRUTH.get(complete), sha256)
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
                closing(self._plain(connection, query)) as plain,
                closing(self._odd(connection, query)) as odd,
            ):
                yield from islice(heapq.merge(plain, odd, key=sort_key), query.limit)

    def select(self, query: Query, paths: Sequence[KeyPath]) -> Iterator[tuple[Json, ...]]:
        return (selected(info, paths) for info in self.find(query))

    def count(self, query: Query) -> int:
        asked = where(query.constraints)
        if asked.residual or query.limit is not None:
            return sum(1 for _ in self.find(query))
        with self._database.reading() as connection:
            if connection is None:
                return 0
            counting = f"SELECT count(*) FROM dumps WHERE {asked.sql}"  # noqa: S608 - names of ours, values bound
            counted: int = connection.execute(counting, asked.parameters).fetchone()[0]
            return counted + sum(1 for _ in self._odd(connection, query))

    def report(self, query: Query, path: KeyPath) -> Mapping[str, int]:
        asked, shown = where(query.constraints), value_label(path)
        if shown is None or asked.residual or query.limit is not None:
            return rarest_first(Counter(label(lookup(info.document, path)) for info in self.find(query)))
        grouping = f"SELECT {shown.sql} AS value, count(*) FROM dumps WHERE {asked.sql} GROUP BY value"  # noqa: S608 - as in count
        counts: Counter[str] = Counter()
        with self._database.reading() as connection:
            if connection is None:
                return {}
            for value, count in connection.execute(grouping, (*shown.parameters, *asked.parameters)):
                counts[label(value)] += count
            counts.update(label(lookup(info.document, path)) for info in self._odd(connection, query))
        return rarest_first(counts)

    def close(self) -> None:
        self._database.close()

    def _plain(self, connection: sqlite3.Connection, query: Query) -> Generator[DumpInfo, None, None]:
        """The documents that SQL can judge, as far as it can, in order."""
        asked = where(query.constraints)
        limit = -1 if query.limit is None or asked.residual else min(query.limit, MAX_INTEGER)
        statement = KEYS.format(condition=asked.sql)
        with closing(connection.execute(statement, (*asked.parameters, limit))) as keys:
            for key in keys:
                (text,) = connection.execute("SELECT document FROM dumps WHERE rowid = ?", key).fetchone()
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


def _listed(ids: list[Identity]) -> tuple[str]:
    return (json.dumps(ids),)


def _row(info: DumpInfo) -> tuple[Parameter, ...]:
    """The values of ``_COLUMNS`` for a document. Raises BadDocument."""
    document = stored_text(info)
    known = Known.of(info)
    values = {name: info.document.get(name) for name in COLUMNS}
    plain = is_plain(info.document) and all(map(_fits, values, values.values()))
    texts = {name: _text(value) if plain else None for name, value in values.items()}
    texts |= {"sha256": _text(known.sha256), "complete": _text(known.complete)}
    return (
        info.id,
        clamped_revision(info),
        known.size,
        int(not plain),
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
