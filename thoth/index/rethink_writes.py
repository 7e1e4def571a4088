"""Rows on their way into RethinkDB, by compare-and-set on the revision; the result of each write is looked at.

RethinkDB writes each row by itself: atomically, and independently of the others in the same question.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from thoth.errors import IndexFailure
from thoth.index import reql
from thoth.index.rethink_connections import Connections
from thoth.index.rethink_place import RethinkPlace
from thoth.index.rethink_rows import Row
from thoth.index.rethink_wire import one_line
from thoth.model import Identity, Json

_ROWS: Final = 500  # of one question
_BYTES: Final = 4 << 20
_LARGEST: Final = 24 << 20  # bytes of a row: RethinkDB takes questions of 64 MiB, in which JSON is quoted once more
_TRIES: Final = 3  # when others remove rows while they are written

Told = dict[str, Json]  # what RethinkDB answers to a write


def batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """The same rows in the same order, so many at a time as one question may have, none of them twice."""
    batch: dict[Identity, Row] = {}
    size = 0
    for row in rows:
        if batch and (row.identity in batch or len(batch) >= _ROWS or size + row.size > _BYTES):
            yield list(batch.values())
            batch, size = {}, 0
        batch[row.identity] = row
        size += row.size
    if batch:
        yield list(batch.values())


def put(connections: Connections, rows: Sequence[Row]) -> int:
    """Store rows unless those that are there have a higher revision; how many were stored. Raises IndexFailure."""
    place = connections.place
    for row in rows:
        if row.size > _LARGEST:
            raise IndexFailure(f"{place}: {row.identity}: over {_LARGEST >> 20} MiB, too large for RethinkDB")
    reason = ""
    for _ in range(_TRIES):
        inserted, replaced = _both(list(connections.all(reql.written(place.database, rows))), place)
        there = replaced["replaced"] + replaced["unchanged"]
        if there == len(rows) and not replaced["errors"]:
            # Those that were inserted were replaced by themselves.
            same = replaced["unchanged"] > inserted["inserted"]
            return len(rows) - (_newer(connections, rows) if same else 0)
        reason = one_line(replaced.get("first_error") or inserted.get("first_error") or "others removed them")
    raise IndexFailure(f"{place}: {there} of {len(rows)} dumps were stored ({reason}); 'thoth index' tries again")


def delete(connections: Connections, identity: Identity) -> None:
    """Remove a row; one that is not there is no error. Raises IndexFailure."""
    place = connections.place
    told = _checked(connections.one(reql.dumps(place.database).get(identity).delete()), place)
    if told["errors"] or told["deleted"] + told["skipped"] != 1:
        reason = one_line(told.get("first_error") or "the database says nothing of it")
        raise IndexFailure(f"{place}: {identity} was not removed ({reason}); try again")


def _newer(connections: Connections, rows: Sequence[Row]) -> int:
    """How many of the rows that are there have a higher revision."""
    wanted = {row.identity: row.revision for row in rows}
    told = connections.all(reql.revisions(connections.place.database, list(wanted)))
    return sum(1 for identity, revision in told if revision > wanted[identity])


def _both(told: list[Json], place: RethinkPlace) -> tuple[Told, Told]:
    inserted, replaced = told if len(told) == 2 else (None, None)
    return _checked(inserted, place), _checked(replaced, place)


def _checked(told: Json, place: RethinkPlace) -> Told:
    """What a write did, when it says so as RethinkDB does."""
    counts = ("inserted", "replaced", "unchanged", "deleted", "skipped", "errors")
    if isinstance(told, dict) and all(isinstance(told.get(name), int) for name in counts):
        return told
    raise IndexFailure(f"{place}: does not say what it has written; is it a RethinkDB, 2.3 or later?")
