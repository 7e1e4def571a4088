"""What SQL tells of the plain documents in a ``dumps`` table: their rows in order, values, counts.

Nothing here is for ``odd`` documents, nor for what a condition leaves to Python.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from itertools import islice
from operator import itemgetter
from typing import Any, Final

from thoth.index.base import MAX_INTEGER, Ranking
from thoth.index.database import ANY_TEXT
from thoth.index.ranking import Gathered, gather, largest, ranking
from thoth.index.sql import INDEXED, Parameter, Values, Where, text_parameter, where
from thoth.index.tallies import TALLIED, tally
from thoth.model import Json
from thoth.query import label

# Where no index tells which dumps are asked for, so many are found in the order of the file, which is fastest, and
# sorted here. When there are more they are looked for in the order of a list, which takes longer and no memory.
SORTED: Final = 20_000

# What is asked of one index alone, however many dumps it is about: that takes less than to look into some of them.
_BY_SIGNATURE: Final = "FROM dumps INDEXED BY dumps_signature WHERE {}"
_OF_ONE: Final = _BY_SIGNATURE.format("signature = CAST(? AS TEXT) AND {}")

Row = tuple[Any, ...]  # of a statement


def listing(asked: Where, columns: str) -> str:
    """The statement that gives columns in the order of a list; its last parameter is a limit."""
    return f"SELECT {columns} FROM dumps WHERE {asked.sql} ORDER BY time, id LIMIT ?"  # noqa: S608 - names of ours, values bound


def keys(connection: sqlite3.Connection, asked: Where, limit: int | None) -> Generator[int, None, None]:
    """The keys of the rows, in the order of a list."""
    found = _scanned(connection, asked) if limit is None and asked.scans else None
    if found is not None:
        yield from found
        return
    with closing(connection.execute(listing(asked, "rowid"), (*asked.parameters, _most(limit)))) as ordered:
        for (key,) in ordered:
            yield key


def rows(
    connection: sqlite3.Connection, asked: Where, shown: Values, limit: int | None
) -> Generator[Row, None, None]:
    """The values of each row, in the order of a list."""
    if shown.nested or asked.scans:
        return _rows_by_key(connection, asked, shown, limit)
    told = _text_rows(connection, listing(asked, shown.sql), (*asked.parameters, _most(limit)))
    return told if shown.in_order else (_unfolded(row, shown) for row in told)


def _rows_by_key(
    connection: sqlite3.Connection, asked: Where, shown: Values, limit: int | None
) -> Generator[Row, None, None]:
    """As ``rows``, but only keys are sorted: the values inside a document may be long."""
    of_key = f"SELECT {shown.sql} FROM dumps WHERE rowid = ?"  # noqa: S608 - as above
    with closing(keys(connection, asked, limit)) as found:
        for key in found:
            yield _unfolded(connection.execute(of_key, (*shown.parameters, key)).fetchone(), shown)


def count(connection: sqlite3.Connection, asked: Where) -> int:
    """How many there are."""
    counting = f"SELECT count(*) FROM dumps {_how(asked)} WHERE {asked.sql}"  # noqa: S608 - as above
    counted: int = connection.execute(counting, asked.parameters).fetchone()[0]
    return counted


def report(connection: sqlite3.Connection, asked: Where, shown: Where) -> Counter[str]:
    """How many there are of each label. Memory is for the labels, not for the documents."""
    if shown.sql in TALLIED and asked == where(()):
        return tally(connection, shown.sql)
    if shown.sql in INDEXED and asked == where(()):
        counts: Counter[str] = Counter()
        grouping = f"SELECT {shown.sql}, count(*) FROM dumps WHERE {asked.sql} GROUP BY {shown.sql}"  # noqa: S608 - as above
        for value, times in connection.execute(grouping):
            counts[label(value)] += times
        return counts
    labels = f"SELECT coalesce({shown.sql}, '{label(None)}') FROM dumps {_how(asked)} WHERE {asked.sql}"  # noqa: S608 - as above
    return Counter(map(itemgetter(0), connection.execute(labels, (*shown.parameters, *asked.parameters))))


def rank(connection: sqlite3.Connection, asked: Where, others: Iterable[Sequence[Json]], most: int) -> Ranking:
    """What crashes together, with ``others`` added: the values at ``thoth.index.ranking.PATHS`` of each of these."""
    source = _BY_SIGNATURE if asked.by_signature else f"FROM dumps {_how(asked)} WHERE {{}}"
    counting = f"SELECT signature, count(*) {source.format(asked.sql)} GROUP BY signature"
    counted: dict[str | None, int] = dict(connection.execute(counting, asked.parameters).fetchall())
    unsigned = counted.pop(None, 0)
    gathered = {str(signature): Gathered(dumps) for signature, dumps in counted.items()}
    unsigned += gather(gathered, others)
    for signature in largest(gathered, most):
        _look_into(connection, asked, signature, gathered[signature])
    return ranking(gathered, unsigned, most)


def _look_into(connection: sqlite3.Connection, asked: Where, signature: str, group: Gathered) -> None:
    """Add when and where the dumps of a signature are from."""
    source, parameters = _OF_ONE.format(asked.sql), (text_parameter(signature), *asked.parameters)
    group.seen(0, *connection.execute(f"SELECT min(time), max(time) {source}", parameters).fetchone())
    for name, counts in group.places.items():
        grouping = f"SELECT {name}, count(*) {source} AND {name} IS NOT NULL GROUP BY {name}"
        for value, dumps in connection.execute(grouping, parameters):
            counts[value] += dumps


def _how(asked: Where) -> str:
    return "NOT INDEXED" if asked.scans else ""


def _most(limit: int | None) -> int:
    return -1 if limit is None else min(limit, MAX_INTEGER)


def _scanned(connection: sqlite3.Connection, asked: Where) -> list[int] | None:
    """The keys of the rows, read in the order of the file and sorted; None when there are too many."""
    scan = f"SELECT time IS NOT NULL, time, id, rowid FROM dumps NOT INDEXED WHERE {asked.sql} LIMIT ?"  # noqa: S608 - as above
    found = connection.execute(scan, (*asked.parameters, SORTED + 1)).fetchall()
    return [row[3] for row in sorted(found)] if len(found) <= SORTED else None


def _unfolded(row: Row, shown: Values) -> Row:
    """The values in a row, in the order of their paths."""
    whole = (*row[:-1], *json.loads(row[-1])) if shown.nested else row
    return tuple(whole[place] for place in shown.places)


def _text_rows(
    connection: sqlite3.Connection, statement: str, parameters: tuple[Parameter, ...]
) -> Generator[Row, None, None]:
    """The rows of a statement. Text that is not UTF-8 is rare, and to be ready for it takes half as long again."""
    given = 0
    connection.text_factory = str
    try:
        with closing(connection.execute(statement, parameters)) as told:
            for row in told:
                yield row
                given += 1
    except sqlite3.OperationalError as error:
        if "decode" not in str(error):
            raise
        connection.text_factory = ANY_TEXT
        with closing(connection.execute(statement, parameters)) as told:
            yield from islice(told, given, None)
    finally:
        connection.text_factory = ANY_TEXT
