"""How many plain dumps there are of each value of a column: counted as they are written, and not when asked.

What is counted is a label, as ``thoth.query.label`` writes it, so an unset value and the text ``undefined`` are one.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from thoth.query import label

# Those that many dumps share. Of zones, signatures and pids there are so many that nearly each dump of a batch would
# change a count of its own: three times as many changes for each dump that is put.
TALLIED: Final = ("type", "node", "cmd", "platform", "ticket")

_Labels = tuple[bytes, ...]  # of a dump: one for each of TALLIED
_Change = tuple[str, bytes, int]  # property, label, and by how much there are more dumps of it

_TOLD: Final = ", ".join(f"coalesce({name}, '{label(None)}')" for name in TALLIED)
_LABELS: Final = f"SELECT {_TOLD} FROM dumps WHERE odd = 0 AND id IN (SELECT value FROM json_each(?))"  # noqa: S608 - names of ours, values bound
_ADD: Final = (
    "INSERT INTO tallies (property, label, dumps) VALUES (?, CAST(? AS TEXT), ?)"
    " ON CONFLICT (property, label) DO UPDATE SET dumps = dumps + excluded.dumps"
)
_FORGET: Final = "DELETE FROM tallies WHERE property = ? AND label = CAST(? AS TEXT) AND dumps = 0"

MAKE_TALLIES: Final = """CREATE TABLE tallies (
    property TEXT NOT NULL,
    label TEXT NOT NULL,
    dumps INTEGER NOT NULL,
    PRIMARY KEY (property, label)
) WITHOUT ROWID"""
# Of the dumps that are there already. Grouped by the column, so that its index gives the groups.
FILL_TALLIES: Final = tuple(
    f"INSERT INTO tallies SELECT '{name}', coalesce({name}, '{label(None)}'), count(*) FROM dumps WHERE odd = 0"  # noqa: S608 - as above
    f" GROUP BY {name} ON CONFLICT (property, label) DO UPDATE SET dumps = dumps + excluded.dumps"
    for name in TALLIED
)


@contextmanager
def tallied(connection: sqlite3.Connection, ids: Sequence[str]) -> Iterator[None]:
    """Counts what becomes of these dumps in the block, in the transaction in which it is done."""
    before = _labels(connection, ids)
    yield
    after = _labels(connection, ids)
    if before != after:
        _add(connection, list(_differences(before, after)))


def tally(connection: sqlite3.Connection, name: str) -> Counter[str]:
    """How many plain dumps there are of each label of a column in ``TALLIED``."""
    return Counter(dict(connection.execute("SELECT label, dumps FROM tallies WHERE property = ?", (name,))))


def _labels(connection: sqlite3.Connection, ids: Sequence[str]) -> list[_Labels]:
    """The labels of those of the dumps that are there and plain."""
    factory = connection.text_factory
    connection.text_factory = bytes  # to be counted they need not be read, and not be UTF-8
    try:
        return connection.execute(_LABELS, (json.dumps(ids),)).fetchall()
    finally:
        connection.text_factory = factory


def _differences(before: Sequence[_Labels], after: Sequence[_Labels]) -> Iterator[_Change]:
    """By how much the count of each property and label differs, where it does."""
    for at, name in enumerate(TALLIED):
        changes = Counter(row[at] for row in after)
        changes.subtract(row[at] for row in before)
        yield from ((name, told, by) for told, by in changes.items() if by)


def _add(connection: sqlite3.Connection, changes: Sequence[_Change]) -> None:
    connection.executemany(_ADD, changes)
    connection.executemany(_FORGET, [(name, each) for name, each, by in changes if by < 0])
