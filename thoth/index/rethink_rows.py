"""A document as a row of RethinkDB, and back.

A row is the document itself, as the original's programs write and read it. What RethinkDB would not give back as it
was stands beside it, in one field of ours that the original passes over:

    {"_thoth": {"order": [[PATH, KEYS], ...]}}   objects whose keys stand in another order than RethinkDB's
    {"_thoth": {"unnamed": true}}                the document has no ``id``, which each row needs
    {"_thoth": {"exact": TEXT}}                  the whole document as JSON, for one that RethinkDB cannot hold; then
                                                 the row's ``time`` is text, which tells it from those that it holds

RethinkDB (2.4) has doubles for numbers, does not tell 1.0 and -0.0 from 1 and 0, sorts the keys of objects by their
bytes, and refuses lone surrogates, objects with a key ``$reql_type$`` and lists of more than 100,000 items; its
drivers give up on what is nested deeper than 20. Of a fraction with more digits than 2**53 it may read the last bit
wrong, so such a one is sent as a division, which is exact (``Row.fractions``); in a list it cannot be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from thoth.errors import IndexFailure
from thoth.index.base import clamped_revision
from thoth.index.documents import stored_text
from thoth.model import DumpInfo, Identity, Json, strict_json
from thoth.naming import is_identity
from thoth.query import KeyPath, shown

FIELD: Final = "_thoth"
EXACT: Final = "exact"
ORDER: Final = "order"
_UNNAMED: Final = "unnamed"

MAX_WHOLE: Final = 1 << 53  # up to here a double is every whole number
_MAX_ITEMS: Final = 100_000
_MAX_LEVELS: Final = 20
_PSEUDOTYPE: Final = "$reql_type$"
_UNHELD: Final = re.compile("[\0\ud800-\udfff]")

# The keys of a document as thoth.ingest.arrival and those who add to it write them; all others, sorted, follow.
KEYS: Final = (
    *("name", "dump", "pid", "cmd", "psargs", "platform", "node", "version", "time", "type", "properties"),
    *("id", "revision", "size", "md5", "sha256", "complete", "uploaded", "sources", "os", "arch", "release", "zone"),
    *("zoneid", "exec", "ppid", "uid", "signal", "lwp", "lwps", "panicstring", "uuid", "truncated", "expanded"),
    *("stack", "stack_by", "ticket", "autoanalyzed", "purged", "rules_pending", "rules_begun"),
)
_PLACES: Final = {key: place for place, key in enumerate(KEYS)}

Path = tuple[str | int, ...]  # keys of objects and places in lists


@dataclass(frozen=True, slots=True)
class Row:
    """A row on its way into the database.

    ``revision`` is the one by which the database decides. JSON would not bring ``fractions`` there unharmed; they
    stand in ``fields`` too. ``size`` is about how many bytes the row has as JSON.
    """

    identity: Identity
    revision: int
    fields: Mapping[str, Json]
    fractions: Mapping[KeyPath, float]
    size: int


def row_of(info: DumpInfo) -> Row:
    """A document as a row. Raises BadDocument for one that no index can keep."""
    text = stored_text(info)
    fractions: dict[KeyPath, float] = {}
    revision = min(clamped_revision(info), MAX_WHOLE)
    named = info.document.get("id", info.id) == info.id
    if named and FIELD not in info.document and _is_held(info.document, 0, (), fractions):
        own = {FIELD: _beside(info.document)}
        fields = {**info.document, **(own if own[FIELD] else {}), "id": info.id}
        return Row(info.id, revision, fields, fractions, len(text))
    fields = {**_likeness_of(json.loads(text)), FIELD: {EXACT: text}}
    return Row(info.id, revision, fields, {}, 2 * len(text))


def info_of(row: dict[str, Json], where: str) -> DumpInfo:
    """The document of a row, which is changed. Raises IndexFailure, naming ``where``, for a row of no dump."""
    own = row.pop(FIELD, None)
    own = own if isinstance(own, dict) else {}
    if not is_identity(str(row.get("id"))):
        raise IndexFailure(f"{where}: row {shown(str(row.get('id')))} of table 'dumps' is no dump; remove it")
    exact = _exact_document(own.get(EXACT), row)
    return DumpInfo(_restored(row, own) if exact is None else exact)


def arranged(value: Json, path: KeyPath, own: Json) -> Json:
    """The value at a path of a row, which is changed: its objects' keys as it says in our own field of the row."""
    for place, keys in _pairs(own.get(ORDER) if isinstance(own, dict) else None):
        if place[: len(path)] == path:
            _arrange(value, place[len(path) :], keys)
    return value


# ---- what RethinkDB holds --------------------------------------------------------------------------


def is_short(value: float) -> bool:
    """Whether a fraction has so few digits that RethinkDB reads it from JSON as it is."""
    digits = repr(value).lstrip("-").replace(".", "")
    return digits.isdecimal() and int(digits) <= MAX_WHOLE


def ratio(value: float) -> tuple[int, int] | None:
    """Two numbers whose quotient is this fraction, and which RethinkDB reads as they are; None without such."""
    above, below = value.as_integer_ratio()
    return (above, below) if 1 < below <= MAX_WHOLE else None


def is_text(text: str) -> bool:
    """Whether RethinkDB holds a text: it has no NUL and no lone surrogates."""
    return not _UNHELD.search(text)


def _is_held(  # noqa: PLR0911 - one for each kind of value
    value: Json, level: int, path: KeyPath | None, fractions: dict[KeyPath, float]
) -> bool:
    """Whether RethinkDB would give a value back as it is. ``path``: where it stands, None inside of a list."""
    match value:
        case None | bool():
            return True
        case str():
            return is_text(value)
        case int():
            return -MAX_WHOLE <= value <= MAX_WHOLE
        case float():
            return not value.is_integer() and (is_short(value) or _is_noted(value, path, fractions))
        case list():
            few = len(value) <= _MAX_ITEMS and level < _MAX_LEVELS
            return few and all(_is_held(item, level + 1, None, fractions) for item in value)
        case dict() if level < _MAX_LEVELS:
            return all(
                isinstance(key, str)
                and is_text(key)
                and key != _PSEUDOTYPE
                and _is_held(item, level + 1, None if path is None else (*path, key), fractions)
                for key, item in value.items()
            )
    return False


def _is_noted(value: float, path: KeyPath | None, fractions: dict[KeyPath, float]) -> bool:
    if path is None or ratio(value) is None:
        return False
    fractions[path] = value
    return True


# ---- what stands beside ----------------------------------------------------------------------------


def _beside(document: Mapping[str, Json]) -> dict[str, Json]:
    own: dict[str, Json] = {} if "id" in document else {_UNNAMED: True}
    orders = [[list(path), keys] for path, keys in _orders(document, ())]
    return {**own, ORDER: orders} if orders else own


def _orders(value: Json, path: Path) -> Iterator[tuple[Path, list[str]]]:
    """The objects whose keys do not stand in their usual order."""
    if isinstance(value, Mapping):
        keys = list(value)
        if keys != (sorted(keys) if path else _usual(keys)):
            yield path, keys
        for key, item in value.items():
            if isinstance(item, dict | list):
                yield from _orders(item, (*path, key))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            if isinstance(item, dict | list):
                yield from _orders(item, (*path, place))


def _usual(keys: Iterable[str]) -> list[str]:
    return sorted(keys, key=lambda key: (_PLACES.get(key, len(KEYS)), key))


def _restored(row: dict[str, Json], own: Mapping[str, Json]) -> dict[str, Json]:
    if own.get(_UNNAMED):
        row.pop("id", None)
    _arrange(row, (), _usual(row))
    return arranged(row, (), own)  # type: ignore[no-any-return]  # a dict stays one


def _pairs(orders: Json) -> Iterator[tuple[Path, list[str]]]:
    """The entries of an ``order``; others may have written whatever they like there."""
    for entry in orders if isinstance(orders, list) else ():
        match entry:
            case [list() as path, list() as keys] if all(isinstance(key, str) for key in keys):
                yield tuple(path), keys


def _arrange(value: Json, path: Path, keys: Iterable[str]) -> None:
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        else:
            within = isinstance(value, list) and isinstance(step, int) and 0 <= step < len(value)
            value = value[step] if within else None
    if isinstance(value, dict):
        items = dict(value)
        value.clear()
        value.update((key, items.pop(key)) for key in keys if key in items)
        value.update(items)


# ---- documents that RethinkDB cannot hold ----------------------------------------------------------


def _exact_document(text: Json, row: Mapping[str, Json]) -> dict[str, Json] | None:
    """The document that stands in a row as text; None without one, and when the row is not its likeness.

    The original changes a row's fields and leaves our text as it was: then the row is what holds.
    """
    if not isinstance(text, str):
        return None
    try:
        document = strict_json(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) and _likeness_of(document) == row else None


def _likeness_of(document: dict[str, Json]) -> dict[str, Json]:
    """A document as far as RethinkDB can hold it, for those who read no text of ours."""
    info = DumpInfo(document)
    likeness: dict[str, Json] = _likeness({key: item for key, item in document.items() if key != FIELD}, 0)
    if isinstance(at := likeness.get("time"), int | float) and not isinstance(at, bool):
        likeness["time"] = repr(at)
    return {**likeness, "id": info.id, "revision": min(clamped_revision(info), MAX_WHOLE)}


def _likeness(value: Json, level: int) -> Json:
    match value:
        case str():
            return _UNHELD.sub("\ufffd", value)
        case int() | float():  # true and false too
            return _number_like(value)
        case list() if level < _MAX_LEVELS:
            return [_likeness(item, level + 1) for item in value[:_MAX_ITEMS]]
        case dict() if level < _MAX_LEVELS:
            return {_key_like(key): _likeness(item, level + 1) for key, item in value.items()}
    return None


def _number_like(value: int | float) -> int | float | str:
    if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_WHOLE:
        return int(value)
    held = is_short(value) if isinstance(value, float) else abs(value) <= MAX_WHOLE
    return value if held else repr(value)


def _key_like(key: str) -> str:
    return _UNHELD.sub("\ufffd", key).replace(_PSEUDOTYPE, "reql_type")
