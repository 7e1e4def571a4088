"""The tables of the shared index as ReQL: rows that it keeps, and what is written. Whatever a user wrote goes in as a
value, never as a term; ``thoth/index/reql_conditions.py`` has what a query asks of rows.

A row whose ``time`` is a number is *timed*: RethinkDB finds it by its index ``time``, oldest first. The others stand
*apart*, and an index of our own leads to them where there is one; so does another to the rows that have fields which
RethinkDB cannot hold (``thoth/index/rethink_rows.py``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from rethinkdb import r

from thoth.index.rethink_rows import EXACT, FIELD, Row
from thoth.index.rethink_values import MAX_WHOLE, is_short, is_text, ratio
from thoth.model import Identity, Json
from thoth.query import KeyPath

Term = Any  # of the driver, which has no types
Condition = Callable[[Term], Term]  # of a row, or of an item of a list

TABLES: Final = ("dumps", "analyzers")
TIME: Final = "time"
APART: Final = "thoth_apart"
SIGNATURE: Final = "thoth_signature"
NOT_HELD: Final = "thoth_exact"

_KNOWN: Final = ("id", "revision", "size", "complete", "sha256", "purged")
_MOST_SORTED: Final = 50_000  # rows that the server sorts; it refuses from 100,000 on


# ---- tables ----------------------------------------------------------------------------------------


def dumps(database: str, **options: str) -> Term:
    """The table of dumps."""
    return r.db(database).table("dumps", **options)


def timed(
    database: str,
    low: float | None,
    high: float | None,
    *,
    in_order: bool,
    by_id: bool,
    signature: str | None = None,
) -> Term:
    """The timed rows after ``low`` and before ``high``; oldest first and, of one time, by identity, where wanted.

    With a signature they may be only those that have it, where an index leads to few of them.
    """
    rows = _in_time(database, low, high, in_order=in_order, by_id=by_id)
    return rows if signature is None else _unless_few(database, signature, low, high, rows, in_order=in_order)


def _in_time(database: str, low: float | None, high: float | None, *, in_order: bool, by_id: bool) -> Term:
    left = (-MAX_WHOLE, "closed") if low is None or low < -MAX_WHOLE else (bound(low), "open")
    right = (MAX_WHOLE, "closed") if high is None or high > MAX_WHOLE else (bound(high), "open")
    bounds = {"left_bound": left[1], "right_bound": right[1]}
    rows = dumps(database).between(left[0], right[0], index=TIME, **bounds)
    if in_order:
        return rows.order_by("id", index=TIME) if by_id else rows.order_by(index=TIME)
    return rows


def _unless_few(
    database: str, signature: str, low: float | None, high: float | None, rows: Term, *, in_order: bool
) -> Term:
    """The rows, or those of a signature in the same bounds where these are few."""
    table = dumps(database)
    ready = table.index_status().filter({"index": SIGNATURE, "ready": True})
    found = table.get_all(signature, index=SIGNATURE)
    few = r.branch(ready.is_empty(), False, found.limit(_MOST_SORTED + 1).count().le(_MOST_SORTED))
    of_signature = found.filter(lambda row: is_between(row, low, high))
    return r.branch(few, of_signature.order_by(TIME, "id") if in_order else of_signature, rows)


def make_signature(database: str) -> Term:
    """Makes the index that leads to the rows of a signature."""

    def values(row: Term) -> Term:
        value = row["signature"]  # a row without one is not in it
        return r.branch(is_of(value, "ARRAY"), value, [value])

    return dumps(database).index_create(SIGNATURE, values, multi=True)


def is_between(row: Term, low: float | None, high: float | None) -> Term:
    """Whether a row is timed, and after ``low`` and before ``high``."""
    bounds = [is_timed(row)]
    bounds += [] if low is None or low < -MAX_WHOLE else [row[TIME].gt(bound(low))]
    bounds += [] if high is None or high > MAX_WHOLE else [row[TIME].lt(bound(high))]
    return r.and_(*bounds)


def bound(time: float) -> Term:
    """A time that others are compared with, in seconds since 1970."""
    exact = number_term(min(max(time, -MAX_WHOLE), MAX_WHOLE))
    return time if exact is None else exact  # less than 2**-11 off the epoch


def apart(database: str) -> Term:
    """The rows that are not timed."""
    table = dumps(database)
    ready = table.index_status().filter({"index": APART, "ready": True})
    scan = table.filter(lambda row: is_timed(row).not_())
    return r.branch(ready.is_empty(), scan, table.get_all(True, index=APART))


def make_apart(database: str) -> Term:
    """Makes the index that leads to the rows that are not timed; the others are not in it."""
    return dumps(database).index_create(APART, lambda row: r.branch(is_timed(row), None, True))


def not_held(database: str) -> Term:
    """The rows that have fields which RethinkDB cannot hold."""
    table = dumps(database)
    ready = table.index_status().filter({"index": NOT_HELD, "ready": True})
    scan = table.filter(_has_exact)
    return r.branch(ready.is_empty(), scan, table.get_all(True, index=NOT_HELD))


def make_not_held(database: str) -> Term:
    """Makes the index that leads to the rows with such fields; the others are not in it."""
    return dumps(database).index_create(NOT_HELD, lambda row: r.branch(_has_exact(row), True, None))


def _has_exact(row: Term) -> Term:
    return value_at(row, (FIELD, EXACT)).ne(None)


def begin_with(database: str, prefix: str) -> Term:
    """The rows whose identity begins with a prefix of hex digits."""
    return dumps(database).between(prefix, prefix + "g")  # all digits sort before g


def is_timed(row: Term) -> Term:
    """Whether the time of a row is a number by which the index finds it."""

    def in_range(time: Term) -> Term:
        return r.branch(is_of(time, "NUMBER"), time.ge(-MAX_WHOLE) & time.le(MAX_WHOLE), False)

    return value_at(row, (TIME,)).do(in_range)


# ---- rows ------------------------------------------------------------------------------------------


def values(paths: Sequence[KeyPath]) -> Callable[[Term], Term]:
    """Of a timed row: its time, identity, the values at paths, and what stands beside them; the whole row where it
    has fields that RethinkDB cannot hold."""

    def told(row: Term) -> Term:
        found = [value_at(row, path) if is_askable(path) else None for path in paths]
        return r.branch(_has_exact(row), row, [row[TIME], row["id"], found, value_at(row, (FIELD,))])

    return told


def written(database: str, rows: Sequence[Row]) -> Term:
    """Inserts rows, and puts them in the place of those that are there unless these have a higher revision.

    Both in this order: the two answers say what each did.
    """
    identities = [row.identity for row in rows]

    def both(new: Term) -> Term:
        there = dumps(database).get_all(*identities)
        return [
            dumps(database).insert(new.values(), conflict="error"),
            there.replace(lambda old: r.branch(_revision(old).le(_revision(new[old["id"]])), new[old["id"]], old)),
        ]

    return _documents(rows).do(both)


def revisions(database: str, identities: Sequence[Identity]) -> Term:
    """The rows that are there, as pairs of identity and revision."""
    return dumps(database).get_all(*identities).map(lambda row: [row["id"], _revision(row)])


def known(database: str, identities: Sequence[Identity]) -> Term:
    """The rows that are there, with what a look-up by many names tells, as it is on most servers."""
    rows = dumps(database, read_mode="majority").get_all(*identities)
    return rows.map(lambda row: r.branch(_has_exact(row), row, row.pluck(*_KNOWN)))


def _documents(rows: Sequence[Row]) -> Term:
    """An object of rows by identity, as they are to be."""
    text = json.dumps({row.identity: row.fields for row in rows}, separators=(",", ":"))
    fractions = {row.identity: _nested(row.fractions) for row in rows if row.fractions}
    return r.json(text).merge(fractions) if fractions else r.json(text)


def _revision(row: Term) -> Term:
    """The revision by which the database decides: 0 where there is none."""
    return value_at(row, ("revision",)).do(
        lambda told: r.branch(is_of(told, "NUMBER"), r.branch(told.gt(0), told, 0), 0)
    )


def _nested(fractions: Mapping[KeyPath, Json]) -> Term:
    nested: dict[str, Any] = {}
    for (*outer, last), value in fractions.items():
        inner = nested
        for key in outer:
            inner = inner.setdefault(key, {})
        inner[last] = _unharmed(value)
    return nested


def _unharmed(value: Json) -> Term:
    match value:
        case float():
            return number_term(value)
        case list():
            return [_unharmed(item) for item in value]
        case dict():
            return {key: _unharmed(item) for key, item in value.items()}
    return value


def is_askable(path: KeyPath) -> bool:
    """Whether RethinkDB could have a value at a path: what is ours is not the document's."""
    return path[0] != FIELD and all(map(is_text, path))


def value_at(row: Term, path: KeyPath) -> Term:
    """The value at a path as ``thoth.query.lookup`` has it; null where there is none."""
    key, *inner = path
    value = row[key].default(None)
    for key in inner:
        value = value.do(_member(key))
    return value


def _member(key: str) -> Callable[[Term], Term]:
    # In a list ReQL would look for the key in each of its items.
    return lambda outer: r.branch(is_of(outer, "OBJECT"), outer[key].default(None), None)


def is_of(value: Term, kind: str) -> Term:
    """Whether a value is of a type, by RethinkDB's name for it."""
    return value.type_of().eq(kind)


def number_term(value: int | float) -> Term | None:
    """A number as RethinkDB reads it unharmed; None without such."""
    if abs(value) <= MAX_WHOLE and int(value) == value:
        return int(value)
    if isinstance(value, int) or abs(value) > MAX_WHOLE:
        return None
    if is_short(value):
        return value
    parts = ratio(value)
    return None if parts is None else r.expr(parts[0]) / parts[1]
