"""A document as a row of RethinkDB, and back.

A row is the document itself, as the original's programs write and read it. What RethinkDB would not give back as it
was (``thoth/index/rethink_values.py``) stands beside it, in one field of ours that the original passes over:

    {"_thoth": {"order": [[PATH, KEYS], ...]}}   objects whose keys stand in another order than RethinkDB's
    {"_thoth": {"points": [PATH, ...]}}          whole numbers that the document writes with a point
    {"_thoth": {"unnamed": true}}                the document has no ``id``, which each row needs
    {"_thoth": {"exact": {KEY: TEXT, ...}}}      fields that RethinkDB cannot hold, as JSON; the row shows what it can
    {"_thoth": {"exact": TEXT}}                  the whole document as JSON, where RethinkDB cannot hold a key of it
                                                 or its ``id``; then the row's ``time`` is text

So the ``time`` of a dump is a number to the original, too, whatever else its document has.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from thoth.errors import IndexFailure
from thoth.index.base import clamped_revision
from thoth.index.documents import stored_text
from thoth.index.rethink_values import MAX_WHOLE, Notes, Path, is_held, is_name, likeness
from thoth.model import DumpInfo, Identity, Json, same_json, strict_json
from thoth.naming import is_identity
from thoth.query import KeyPath, shown

FIELD: Final = "_thoth"
EXACT: Final = "exact"
ORDER: Final = "order"
POINTS: Final = "points"
_UNNAMED: Final = "unnamed"

# The keys of a document as thoth.ingest.arrival and those who add to it write them; all others, sorted, follow.
KEYS: Final = (
    *("name", "dump", "pid", "cmd", "psargs", "platform", "node", "version", "time", "type", "properties"),
    *("id", "revision", "size", "md5", "sha256", "complete", "uploaded", "sources", "os", "arch", "release", "zone"),
    *("zoneid", "exec", "ppid", "uid", "signal", "lwp", "lwps", "panicstring", "uuid", "truncated", "expanded"),
    *("stack", "stack_by", "ticket", "autoanalyzed", "purged", "rules_pending", "rules_begun"),
)
_PLACES: Final = {key: place for place, key in enumerate(KEYS)}


@dataclass(frozen=True, slots=True)
class Row:
    """A row on its way into the database.

    ``revision`` is the one by which the database decides. JSON would not bring ``fractions`` there unharmed; they
    stand in ``fields`` too. ``size`` is about how many bytes the row has as JSON.
    """

    identity: Identity
    revision: int
    fields: Mapping[str, Json]
    fractions: Mapping[KeyPath, Json]  # or the lists that they stand in
    size: int


def row_of(info: DumpInfo) -> Row:
    """A document as a row. Raises BadDocument for one that no index can keep."""
    text = stored_text(info)
    document = info.document
    revision = min(clamped_revision(info), MAX_WHOLE)
    if document.get("id", info.id) != info.id or FIELD in document or not all(map(_is_key, document)):
        fields = {**_likeness_of(json.loads(text)), FIELD: {EXACT: text}}
        return Row(info.id, revision, fields, {}, 2 * len(text))
    fractions: dict[KeyPath, Json] = {}
    points: list[Path] = []
    exact: dict[str, str] = {}
    for key, value in document.items():
        notes = Notes()
        sent = notes.sent(document) if is_held(value, (key,), notes) else None
        if sent is None or (key == "revision" and isinstance(value, float)):  # not by which an index decides
            exact[key] = _text(value)
        else:
            fractions |= sent
            points += notes.points
    own = _beside(document, exact, points)
    fields = {**document, **{key: _shown(key, exact[key]) for key in exact}, **({FIELD: own} if own else {})}
    size = len(text) + sum(map(len, exact.values())) + sum(len(_text(value)) for value in fractions.values())
    return Row(info.id, revision, {**fields, "id": info.id}, fractions, size)


def info_of(row: dict[str, Json], where: str) -> DumpInfo:
    """The document of a row, which is changed. Raises IndexFailure, naming ``where``, for a row of no dump."""
    own = row.pop(FIELD, None)
    own = own if isinstance(own, dict) else {}
    require_dump(row.get("id"), where)
    exact = own.get(EXACT)
    if (whole := _exact_document(exact, row)) is not None:
        return DumpInfo(whole)
    for key, text in exact.items() if isinstance(exact, dict) else ():
        row |= _exact_field(key, text, row)
    return DumpInfo(_restored(row, own))


def require_dump(key: Json, where: str) -> None:
    """Raises IndexFailure, naming ``where``, for the key of a row that is not a dump's."""
    if not is_identity(str(key)):
        raise IndexFailure(f"{where}: row {shown(str(key))} of table 'dumps' is no dump; remove it")


def arranged(value: Json, path: KeyPath, own: Json) -> Json:
    """The value at a path of a row, which is changed, as the document has it by what stands beside the row: numbers
    with their points, keys in their order."""
    beside = own if isinstance(own, dict) else {}
    for place in _places(beside.get(POINTS)):
        if place[: len(path)] == path:
            value = _pointed(value, place[len(path) :])
    for place, keys in _pairs(beside.get(ORDER)):
        if place[: len(path)] == path:
            _arrange(value, place[len(path) :], keys)
    return value


# ---- what stands beside ----------------------------------------------------------------------------


def _beside(document: Mapping[str, Json], exact: Mapping[str, str], points: Iterable[Path]) -> dict[str, Json]:
    """Our own field of a row; ``exact`` are the fields that RethinkDB cannot hold."""
    held = {key: None if key in exact else value for key, value in document.items()}
    own: dict[str, Json] = {
        ORDER: [[list(path), keys] for path, keys in _orders(held, ())],
        POINTS: [list(path) for path in points],
        EXACT: dict(exact),
        _UNNAMED: "id" not in document,
    }
    return {key: value for key, value in own.items() if value}


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


def _places(points: Json) -> Iterator[Path]:
    """The entries of ``points``, likewise."""
    for entry in points if isinstance(points, list) else ():
        if isinstance(entry, list):
            yield tuple(entry)


def _pointed(value: Json, path: Path) -> Json:
    """The value with the point that the whole number at a path in it has."""
    if not path:
        return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
    *outer, last = path
    inside = _inside(value, outer)
    if (number := _inside(inside, [last])) is not None:
        inside[last] = _pointed(number, ())
    return value


def _arrange(value: Json, path: Path, keys: Iterable[str]) -> None:
    value = _inside(value, path)
    if isinstance(value, dict):
        items = dict(value)
        value.clear()
        value.update((key, items.pop(key)) for key in keys if key in items)
        value.update(items)


def _inside(value: Json, path: Iterable[str | int]) -> Json:
    """What is at a path in a value; None where there is nothing."""
    for step in path:
        if isinstance(value, dict):
            value = value.get(step) if isinstance(step, str) else None
        else:
            within = isinstance(value, list) and isinstance(step, int) and 0 <= step < len(value)
            value = value[step] if within else None
    return value


# ---- what RethinkDB cannot hold --------------------------------------------------------------------


def _is_key(key: object) -> bool:
    return isinstance(key, str) and is_name(key)


def _text(value: Json) -> str:
    return json.dumps(value, separators=(",", ":"))


def _shown(key: str, text: str) -> Json:
    """What a row shows of the field that a JSON text writes. Raises ValueError and RecursionError."""
    value = strict_json(text)
    if key == "revision":
        return min(clamped_revision(DumpInfo({key: value})), MAX_WHOLE)
    if key == "time" and isinstance(value, int | float) and not isinstance(value, bool):
        return repr(value)  # not the time of the dump, but near it
    return likeness(value, 1)


def _exact_field(key: str, text: Json, row: Mapping[str, Json]) -> dict[str, Json]:
    """A field of a row that stands beside it as text; none when the row shows another value.

    The original changes a row's fields and leaves our text as it was: then the row is what holds.
    """
    try:
        same = isinstance(text, str) and key in row and same_json(_shown(key, text), row[key])
    except (ValueError, RecursionError):
        same = False
    return {key: strict_json(text)} if same else {}


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
    return document if isinstance(document, dict) and same_json(_likeness_of(document), row) else None


def _likeness_of(document: dict[str, Json]) -> dict[str, Json]:
    """A document as far as RethinkDB can hold it, for those who read no text of ours."""
    info = DumpInfo(document)
    like: dict[str, Json] = likeness({key: item for key, item in document.items() if key != FIELD}, 0)
    if isinstance(at := like.get("time"), int | float) and not isinstance(at, bool):
        like["time"] = repr(at)
    return {**like, "id": info.id, "revision": min(clamped_revision(info), MAX_WHOLE)}
