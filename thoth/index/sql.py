"""A query as SQL for SQLite's ``dumps`` table. Whatever a user wrote goes in as a parameter.

Documents that SQLite's JSON functions read as Python does have ``odd = 0``, and only those are asked here;
the few others are judged by ``thoth.query.matches``, row by row. What SQL can only narrow down, and not
decide, stays in ``residual`` for the same judge.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from thoth.glob import glob_matches
from thoth.index.base import MAX_INTEGER, TIME
from thoth.query import (
    MAX_PATTERN,
    Arrived,
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

ID: Final = ("id",)

Parameter = str | int | float | bytes | None

# Top-level properties that have a column of their own, which holds their text.
COLUMNS: Final = (
    "type",
    "node",
    "cmd",
    "platform",
    "ticket",
    "pid",
    "zone",
    "signature",
    "sha256",
    "complete",
)

_LISTED: Final = frozenset({"id", "type", "node", "cmd", "ticket"})  # in each index that gives the order of a list
_WITH_SIGNATURE: Final = frozenset({"signature", "node", "platform", "ticket", "id", "type", "cmd"})
INDEXED: Final = frozenset(COLUMNS) - {"sha256", "complete"}
_TELLING: Final = INDEXED - {"type"} | {"id"}  # dumps are of two types

# SQLite's GLOB reads each of these as U+FFFD, so it takes one for the other; a NUL ends its pattern.
_BLURRED: Final = re.compile("[\ud800-\udfff\ufffd-\uffff]")
# SQLite before 3.45 looks for a key as it stands in the JSON text, where these characters have no escapes.
_PLAIN_KEY: Final = re.compile(r"""[ !#-\[\]-~]+""")
_NUMERIC: Final = frozenset("0123456789+-.e")
_MOST_PATHS: Final = 100  # SQLite gives a function 127 arguments at most


@dataclass(frozen=True, slots=True)
class Where:
    """An expression over a row of ``dumps``, its parameters in order, and what it leaves to Python."""

    sql: str
    parameters: tuple[Parameter, ...] = ()
    residual: tuple[Constraint, ...] = ()
    scans: bool = False  # it has to look at most rows, and into them: no index tells
    by_signature: bool = False  # the index of signatures tells, and no other leads to few rows


@dataclass(frozen=True, slots=True)
class Values:
    """Columns of a row of ``dumps`` that tell the values at paths, and their parameters in order.

    The last column, with ``nested``, is a JSON array of the values that have no column of their own. ``places``
    are those of the values in the row, once that array stands in it item by item.
    """

    sql: str
    parameters: tuple[Parameter, ...]
    nested: bool
    places: tuple[int, ...]

    @property
    def in_order(self) -> bool:
        """Whether the row is the values, as it is."""
        return not self.nested and self.places == tuple(range(len(self.places)))


def where(constraints: Iterable[Constraint]) -> Where:
    """The condition under which a plain document satisfies all constraints, but for the residual ones."""
    asked = tuple(constraints)
    compiled = [_compiled(constraint) for constraint in asked]
    return Where(
        " AND ".join(["odd = 0", *(each.sql for each in compiled)]),
        tuple(parameter for each in compiled for parameter in each.parameters),
        tuple(constraint for each in compiled for constraint in each.residual),
        any(map(_reads_rows, asked)) and not any(map(_narrows, asked)),
        all(map(_is_by_signature, asked)),
    )


def values(paths: Sequence[KeyPath]) -> Values | None:
    """What tells the values at these paths. None: SQL cannot tell."""
    names = [path[0] if _is_column(path) or path == TIME else None for path in paths]
    inside = [_json_path(path) for path, name in zip(paths, names, strict=True) if name is None]
    if not paths or None in inside or len(inside) > _MOST_PATHS:
        return None
    columns = [name for name in names if name is not None]
    at_column, at_nested = iter(range(len(columns))), iter(range(len(columns), len(paths)))
    places = tuple(next(at_nested if name is None else at_column) for name in names)
    if inside:
        # A value alone would come as it is, and text like a list; of several comes an array, so one is asked twice.
        inside = inside * 2 if len(inside) == 1 else inside
        columns.append(f"json_extract(document{', ?' * len(inside)})")
    return Values(", ".join(columns), tuple(inside), bool(inside), places)


def _reads_rows(constraint: Constraint) -> bool:
    """Whether no index that gives the order of a list tells if the constraint holds."""
    match constraint:
        case Equals(path) | Glob(path) | Undefined(path):
            return not (len(path) == 1 and path[0] in _LISTED)
        case Arrived():
            return True
        case _:
            return False


def _is_by_signature(constraint: Constraint) -> bool:
    """Whether the index of signatures tells if the constraint holds, and most dumps may have to be looked at."""
    match constraint:
        case Newer() | Older() | Timeless():
            return True
        case Equals(path) | Glob(path) | Undefined(path):
            return len(path) == 1 and path[0] in _WITH_SIGNATURE
        case _:
            return False


def _narrows(constraint: Constraint) -> bool:
    """Whether an index leads to the dumps for which the constraint holds, and these are few as a rule."""
    match constraint:
        case Newer() | Named():
            return True
        case Equals(path):
            return len(path) == 1 and path[0] in _TELLING
        case Glob(path, pattern):
            return len(path) == 1 and path[0] in _TELLING and pattern[:1] not in ("*", "?")
        case _:
            return False


def value_label(path: KeyPath) -> Where | None:
    """The label of the value at a path, NULL where it is undefined. None: SQL cannot tell."""
    if _is_column(path):
        return Where(path[0])
    keys = _json_path(path)
    if keys is None:
        return None
    # Asked for twice, a value comes as a JSON array of its own text, which keeps each digit of a fraction.
    twice = "json_extract(document, ?, ?)"
    return Where(
        "CASE json_type(document, ?) WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' "
        f"WHEN 'real' THEN substr({twice}, 2, (length({twice}) - 3) / 2) "
        "ELSE CAST(json_extract(document, ?) AS TEXT) END",
        (keys,) * 6,
    )


def text_parameter(text: str) -> str | bytes:
    """Text as a parameter for ``CAST(? AS TEXT)``: lone surrogates as bytes, as JSON's escapes become."""
    return text if text.isascii() else text.encode("utf-8", "surrogatepass")


def _compiled(constraint: Constraint) -> Where:
    match constraint:
        case Newer(than):
            return Where("time > ?", (than,))
        case Older(than):
            return Where("time < ?", (than,))
        case Timeless():
            return Where("time IS NULL")
        case Named(prefixes):
            return _named(prefixes)
        case Arrived(than):
            keys = _json_path(constraint.path)
            is_number = "json_type(document, ?) IN ('integer', 'real')"
            return Where(f"{is_number} AND json_extract(document, ?) > ?", (keys, keys, than))
        case _:
            return _column(constraint) if _is_column(constraint.path) else _json(constraint)


def _is_column(path: KeyPath) -> bool:
    return len(path) == 1 and (path[0] == "id" or path[0] in COLUMNS)


def _named(prefixes: frozenset[str]) -> Where:
    # All digits sort before g, so what begins with a prefix lies between it and it with a g.
    if len(prefixes) == 1:
        (prefix,) = prefixes
        bounds = text_parameter(prefix), text_parameter(prefix + "g")
        return Where("id >= CAST(? AS TEXT) AND id < CAST(? AS TEXT)", bounds)
    return Where(
        "id IN (SELECT d.id FROM json_each(?) AS p CROSS JOIN dumps AS d"
        " WHERE d.id >= p.value AND d.id < p.value || 'g')",
        (json.dumps(sorted(prefixes)),),
    )


# ---- properties that have a column ----------------------------------------------------------------


def _column(constraint: Equals | Glob | Undefined) -> Where:
    name = constraint.path[0]
    match constraint:
        case Undefined():
            return Where(f"{name} IS NULL")
        case Equals(_, text):
            return _column_equals(name, constraint, text)
        case Glob(_, pattern):
            return _column_glob(name, constraint, pattern)


def _column_equals(name: str, constraint: Equals, text: str) -> Where:
    # A column has text: 5 of a document stands there as "5". 5.0 asks for it too, but not for the text "5".
    wanted = number(text)
    whole = str(int(wanted)) if wanted is not None and int(wanted) == wanted else text
    if whole == text:
        return Where(f"{name} = CAST(? AS TEXT)", (text_parameter(text),))
    return Where(f"{name} IN (?, ?)", (text, whole), (constraint,))


def _column_glob(name: str, constraint: Glob, pattern: str) -> Where:
    if not _globbable(pattern):
        return Where(f"{name} IS NOT NULL", (), (constraint,))
    prefix = re.split(r"[*?]", pattern, maxsplit=1)[0]
    asks, parameters = [f"{name} IS NOT NULL"], list[Parameter]()
    if prefix:
        start = prefix.encode("utf-8", "surrogatepass")
        asks = [f"{name} >= CAST(? AS TEXT) AND {name} < CAST(? AS TEXT)"]
        parameters += [start, start[:-1] + bytes([start[-1] + 1])]
    if pattern == prefix + "*":
        return Where(asks[0], tuple(parameters))
    asks.append(f"{name} GLOB CAST(? AS TEXT)")
    parameters.append(_sql_glob(pattern))
    return Where(" AND ".join(asks), tuple(parameters), _unless_exact(constraint))


# ---- properties inside the document ---------------------------------------------------------------


def _json(constraint: Equals | Glob | Undefined) -> Where:
    keys = _json_path(constraint.path)
    if keys is None:
        return Where("1", (), (constraint,))
    match constraint:
        case Undefined():
            return Where("coalesce(json_type(document, ?), 'null') = 'null'", (keys,))
        case Equals(_, text):
            return _any_item(keys, _contains_text(text), _equal_items(keys, text))
        case Glob(_, pattern) if _globbable(pattern):
            found = _any_item(keys, _contains_literal(pattern), _glob_items(keys, pattern))
            return Where(found.sql, found.parameters, _unless_exact(constraint))
        case Glob():
            return Where("1", (), (constraint,))


def _json_path(path: KeyPath) -> str | None:
    """A path as SQLite writes it; None when a key has characters that it would not find."""
    if not all(_PLAIN_KEY.fullmatch(key) for key in path):
        return None
    return "$" + "".join(f'."{key}"' for key in path)


def _any_item(keys: str, precondition: list[Where], alternatives: list[Where]) -> Where:
    """That the value, or an item of it when it is a list, satisfies one of the alternatives."""
    either = " OR ".join(each.sql for each in alternatives)
    asks = [
        *precondition,
        # Members of an object would come as items too.
        Where("coalesce(json_type(document, ?), 'object') <> 'object'", (keys,)),
        Where(
            f"EXISTS (SELECT 1 FROM json_each(document, ?) AS item WHERE {either})",  # noqa: S608 - ours
            (keys, *(parameter for each in alternatives for parameter in each.parameters)),
        ),
    ]
    return Where(
        " AND ".join(each.sql for each in asks),
        tuple(parameter for each in asks for parameter in each.parameters),
    )


def _equal_items(keys: str, text: str) -> list[Where]:
    items = [Where("item.type = 'text' AND item.atom = CAST(? AS TEXT)", (text_parameter(text),))]
    wanted = number(text)
    if wanted is not None and int(wanted) == wanted and abs(wanted) <= MAX_INTEGER:
        items.append(Where("item.type = 'integer' AND item.atom = ?", (int(wanted),)))
    for written in _fractions(wanted):
        asked = "item.type = 'real' AND json_extract(document, ?, ?) = ?"
        items.append(Where(asked, (keys, keys, f"[{written},{written}]")))
    if text in ("true", "false"):
        items.append(Where("item.type = ?", (text,)))
    return items


def _fractions(wanted: int | float | None) -> list[str]:
    """How a document writes the fractions that equal this number; SQLite may read their neighbours."""
    try:
        near = float(wanted) if wanted is not None else None
    except OverflowError:
        return []
    if near is None or near != wanted:
        return []
    return [repr(near)] if near else ["0.0", "-0.0"]


def _glob_items(keys: str, pattern: str) -> list[Where]:
    glob = _sql_glob(pattern)
    items = [Where("item.type = 'text' AND item.atom GLOB CAST(? AS TEXT)", (glob,))]
    if _NUMERIC.issuperset(pattern.replace("*", "").replace("?", "")):
        twice = f"[[]{pattern},{pattern}]"  # no number has a comma, so each half matches its own
        items.append(Where("item.type = 'integer' AND CAST(item.atom AS TEXT) GLOB ?", (pattern,)))
        items.append(Where("item.type = 'real' AND json_extract(document, ?, ?) GLOB ?", (keys, keys, twice)))
    items += [Where("item.type = ?", (word,)) for word in ("true", "false") if glob_matches(pattern, word)]
    return items


# Most documents lack the text that is asked for: they need not be parsed to be passed over.


def _contains_text(text: str) -> list[Where]:
    if number(text) is not None or text in ("true", "false"):
        return []
    return [Where("instr(document, ?)", (json.dumps(text),))]


def _contains_literal(pattern: str) -> list[Where]:
    longest = max(re.split(r"[*?]", pattern), key=len)
    return [Where("instr(document, ?)", (json.dumps(longest)[1:-1],))] if longest else []


# ---- globs ----------------------------------------------------------------------------------------


def _globbable(pattern: str) -> bool:
    return "\0" not in pattern and len(pattern) <= MAX_PATTERN


def _unless_exact(constraint: Glob) -> tuple[Constraint, ...]:
    return (constraint,) if _BLURRED.search(constraint.pattern) else ()


def _sql_glob(pattern: str) -> str | bytes:
    return text_parameter(pattern.replace("[", "[[]"))
