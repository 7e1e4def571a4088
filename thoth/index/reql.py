"""A query as ReQL, and the tables that it is asked of. Whatever a user wrote goes in as a value, never as a term.

A row whose ``time`` is a number is *timed*: RethinkDB finds it by its index ``time``, oldest first, and judges it.
The others stand *apart*, documents that RethinkDB cannot hold among them (``thoth/index/rethink_rows.py``). They are
judged by ``thoth.query.matches`` in the end; an index of our own leads to them where there is one. What ReQL can only
narrow down, and not decide, stays in ``residual`` for the same judge.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from rethinkdb import r

from thoth.glob import glob_matches
from thoth.index.rethink_rows import EXACT, FIELD, MAX_WHOLE, Row, is_short, is_text, ratio
from thoth.model import Identity, Json
from thoth.query import (
    MAX_PATTERN,
    Constraint,
    Equals,
    Glob,
    KeyPath,
    Named,
    Newer,
    Older,
    Timeless,
    Undefined,
    number,
)

Term = Any  # of the driver, which has no types
Condition = Callable[[Term], Term]  # of a row, or of an item of a list

TABLES: Final = ("dumps", "analyzers")
TIME: Final = "time"
APART: Final = "thoth_apart"
SIGNATURE: Final = "thoth_signature"

_KNOWN: Final = ("id", "revision", "size", "complete", "sha256", "purged")
_NUMERIC: Final = frozenset("0123456789+-.e")
_SPECIAL: Final = re.compile(r"[\\^$.|?*+()\[\]{}]")
_MOST_PREFIXES: Final = 100  # in one condition
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
    left = (-MAX_WHOLE, "closed") if low is None or low < -MAX_WHOLE else (_bound(low), "open")
    right = (MAX_WHOLE, "closed") if high is None or high > MAX_WHOLE else (_bound(high), "open")
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
    of_signature = found.filter(lambda row: _is_between(row, low, high))
    return r.branch(few, of_signature.order_by(TIME, "id") if in_order else of_signature, rows)


def make_signature(database: str) -> Term:
    """Makes the index that leads to the rows of a signature."""

    def values(row: Term) -> Term:
        value = row["signature"]  # a row without one is not in it
        return r.branch(_is(value, "ARRAY"), value, [value])

    return dumps(database).index_create(SIGNATURE, values, multi=True)


def _is_between(row: Term, low: float | None, high: float | None) -> Term:
    bounds = [_is_timed(row)]
    bounds += [] if low is None or low < -MAX_WHOLE else [row[TIME].gt(_bound(low))]
    bounds += [] if high is None or high > MAX_WHOLE else [row[TIME].lt(_bound(high))]
    return r.and_(*bounds)


def _bound(time: float) -> Term:
    exact = _number(min(max(time, -MAX_WHOLE), MAX_WHOLE))
    return time if exact is None else exact  # less than 2**-11 off the epoch


def apart(database: str) -> Term:
    """The rows that are not timed."""
    table = dumps(database)
    ready = table.index_status().filter({"index": APART, "ready": True})
    scan = table.filter(lambda row: _is_timed(row).not_())
    return r.branch(ready.is_empty(), scan, table.get_all(True, index=APART))


def make_apart(database: str) -> Term:
    """Makes the index that leads to the rows that are not timed; the others are not in it."""
    return dumps(database).index_create(APART, lambda row: r.branch(_is_timed(row), None, True))


def begin_with(database: str, prefix: str) -> Term:
    """The rows whose identity begins with a prefix of hex digits."""
    return dumps(database).between(prefix, prefix + "g")  # all digits sort before g


def is_timed(row: Mapping[str, Json]) -> bool:
    """Whether a row that was read is timed."""
    time = row.get(TIME)
    return isinstance(time, int | float) and not isinstance(time, bool) and -MAX_WHOLE <= time <= MAX_WHOLE


def _is_timed(row: Term) -> Term:
    def in_range(time: Term) -> Term:
        return r.branch(_is(time, "NUMBER"), time.ge(-MAX_WHOLE) & time.le(MAX_WHOLE), False)

    return _value(row, (TIME,)).do(in_range)


# ---- rows ------------------------------------------------------------------------------------------


def values(paths: Sequence[KeyPath]) -> Callable[[Term], Term]:
    """Of a timed row: its time, identity, the values at paths, and what stands beside them."""

    def told(row: Term) -> Term:
        found = [_value(row, path) if _is_askable(path) else None for path in paths]
        return [row[TIME], row["id"], found, _value(row, (FIELD,))]

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
    return rows.map(lambda row: r.branch(_value(row, (FIELD, EXACT)).eq(None), row.pluck(*_KNOWN), row))


def _documents(rows: Sequence[Row]) -> Term:
    """An object of rows by identity, as they are to be."""
    text = json.dumps({row.identity: row.fields for row in rows}, separators=(",", ":"))
    fractions = {row.identity: _nested(row.fractions) for row in rows if row.fractions}
    return r.json(text).merge(fractions) if fractions else r.json(text)


def _revision(row: Term) -> Term:
    """The revision by which the database decides: 0 where there is none."""
    return _value(row, ("revision",)).do(lambda told: r.branch(_is(told, "NUMBER"), r.branch(told.gt(0), told, 0), 0))


def _nested(fractions: Mapping[KeyPath, float]) -> Term:
    nested: dict[str, Any] = {}
    for (*outer, last), value in fractions.items():
        inner = nested
        for key in outer:
            inner = inner.setdefault(key, {})
        inner[last] = _number(value)
    return nested


def _value(row: Term, path: KeyPath) -> Term:
    """The value at a path as ``thoth.query.lookup`` has it; null where there is none."""
    key, *inner = path
    value = row[key].default(None)
    for key in inner:
        value = value.do(_member(key))
    return value


def _member(key: str) -> Callable[[Term], Term]:
    # In a list ReQL would look for the key in each of its items.
    return lambda outer: r.branch(_is(outer, "OBJECT"), outer[key].default(None), None)


def _is(value: Term, kind: str) -> Term:
    return value.type_of().eq(kind)


# ---- conditions ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """What a query asks of rows.

    ``conditions`` hold for each row that it means, but for its time: that lies after ``low`` and before ``high``, and
    there is none when ``timeless``. They are enough, ``residual`` aside, for a timed row in these bounds.
    """

    conditions: tuple[Condition, ...]
    residual: tuple[Constraint, ...]
    low: float | None
    high: float | None
    timeless: bool
    signature: str | None  # which each row has that is meant, as text; None: any

    def of_timed(self, rows: Term) -> Term:
        """Those of timed rows for which the conditions hold."""
        return rows.filter(_all(self.conditions)) if self.conditions else rows

    def of_apart(self, rows: Term) -> Term:
        """Those of other rows for which they hold, or which cannot tell."""
        holds = _all(self.conditions)
        return rows.filter(lambda row: _value(row, (FIELD, EXACT)).ne(None) | holds(row)) if self.conditions else rows


def _all(conditions: Iterable[Condition]) -> Condition:
    return lambda row: r.and_(*(condition(row) for condition in conditions))


def asked(constraints: Iterable[Constraint]) -> Asked:
    """What constraints ask."""
    every = tuple(constraints)
    compiled = [_compiled(each) for each in every if not isinstance(each, Newer | Older | Timeless)]
    return Asked(
        tuple(condition for condition, _ in compiled if condition is not None),
        tuple(constraint for _, constraint in compiled if constraint is not None),
        max((each.than for each in every if isinstance(each, Newer)), default=None),
        min((each.than for each in every if isinstance(each, Older)), default=None),
        any(isinstance(each, Timeless) for each in every),
        next((each.text for each in every if _is_signature(each)), None),
    )


def _is_signature(constraint: Constraint) -> TypeGuard[Equals]:
    """Whether a constraint asks for one signature, which is text that writes nothing else."""
    if not isinstance(constraint, Equals) or constraint.path != ("signature",):
        return False
    text = constraint.text
    return is_text(text) and number(text) is None and text not in ("true", "false")


def _compiled(  # noqa: PLR0911 - one for each case
    constraint: Equals | Glob | Undefined | Named,
) -> tuple[Condition | None, Constraint | None]:
    """The condition, and the constraint again when the condition is not enough."""
    match constraint:
        case Named(prefixes):
            return (None, constraint) if len(prefixes) > _MOST_PREFIXES else (_begins(prefixes), None)
        case Equals(path) | Glob(path) | Undefined(path) if not _is_askable(path):
            return None if isinstance(constraint, Undefined) else _never, None
        case Equals(_, text) | Glob(_, text) if not is_text(text):
            return _never, None
        case Undefined(path):
            return lambda row: _value(row, path).eq(None), None
        case Equals():
            return _equals(constraint)
        case Glob(_, pattern) if len(pattern) > MAX_PATTERN:
            return None, constraint
        case Glob():
            return _matches(constraint)


def _is_askable(path: KeyPath) -> bool:
    """Whether a timed row could have a value at a path: what is ours is not the document's."""
    return path[0] != FIELD and all(map(is_text, path))


def _never(row: Term) -> Term:
    return r.expr(False)


def _begins(prefixes: frozenset[str]) -> Condition:
    told = sorted(prefix for prefix in prefixes if is_text(prefix))
    return lambda row: r.or_(False, *(row["id"].ge(each) & row["id"].lt(each + "g") for each in told))


def _equals(constraint: Equals) -> tuple[Condition, Constraint | None]:
    text, wanted = constraint.text, number(constraint.text)
    same: list[Term] = [text]
    if text in ("true", "false"):
        same.append(text == "true")
    exact = None if wanted is None else _number(wanted)
    if exact is not None:
        same.append(exact)
    unsure = wanted is not None and exact is None

    def holds(item: Term) -> Term:
        tests = [item.eq(each) for each in same]
        return r.or_(*tests, _is_odd(item)) if unsure else r.or_(*tests)

    return _any_item(constraint.path, holds), constraint if unsure else None


def _matches(constraint: Glob) -> tuple[Condition, Constraint | None]:
    pattern = constraint.pattern
    everything, numeric = set(pattern) == {"*"}, _NUMERIC.issuperset(pattern.replace("*", "").replace("?", ""))
    words = [word == "true" for word in ("true", "false") if glob_matches(pattern, word)]
    regex = _regex(pattern)

    def of_number(item: Term) -> Term:
        if everything or not numeric:
            return r.expr(everything)
        return r.branch(_is_odd(item), True, item.coerce_to("string").match(regex).ne(None))

    def holds(item: Term) -> Term:
        of_others = r.branch(_is(item, "NUMBER"), of_number(item), r.or_(False, *(item.eq(word) for word in words)))
        return r.branch(_is(item, "STRING"), item.match(regex).ne(None), of_others)

    return _any_item(constraint.path, holds), constraint if numeric and not everything else None


def _any_item(path: KeyPath, holds: Condition) -> Condition:
    """That the value at a path, or an item of it when it is a list, satisfies a condition."""

    def any_holds(value: Term) -> Term:
        return r.branch(_is(value, "ARRAY"), value.contains(holds), holds(value))

    return lambda row: _value(row, path).do(any_holds)


def _is_odd(item: Term) -> Term:
    """That an item is a number whose digits RethinkDB and Python may write differently."""
    whole = item.ge(-MAX_WHOLE) & item.le(MAX_WHOLE) & item.floor().eq(item)
    return r.branch(_is(item, "NUMBER"), whole.not_(), False)


def _number(value: int | float) -> Term | None:
    """A number as RethinkDB reads it unharmed; None without such."""
    if abs(value) <= MAX_WHOLE and int(value) == value:
        return int(value)
    if isinstance(value, int) or abs(value) > MAX_WHOLE:
        return None
    if is_short(value):
        return value
    parts = ratio(value)
    return None if parts is None else r.expr(parts[0]) / parts[1]


def _regex(pattern: str) -> str:
    """A glob as a regular expression of RE2."""
    pieces = re.sub(r"\*+", "*", pattern)
    translated = _SPECIAL.sub(lambda found: {"*": ".*", "?": "."}.get(found[0], "\\" + found[0]), pieces)
    return f"(?s)^{translated}$"
