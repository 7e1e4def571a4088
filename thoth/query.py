"""Dump specifications: words of a command line as a Query, and what a Query means.

``matches`` is the meaning. An index compiles the same constraints to its own language and has to give the
same answer; tests/contract/test_index_queries.py holds them to it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from thoth.errors import UsageError
from thoth.glob import glob_matches
from thoth.model import DumpInfo, Json

KeyPath = tuple[str, ...]  # keys from the document inwards: ("properties", "triage")

MAX_PARTS: Final = 32  # of a dotted name; documents are not nested deeper than we can show
MAX_NAME: Final = 1024  # characters of a dotted name
MAX_PATTERN: Final = 1024  # characters of a glob: what a text costs grows with it
MAX_CONSTRAINTS: Final = 100  # SQLite takes an expression 1,000 deep
MAX_NAMES: Final = 1_000_000  # dumps named on standard input

_HEX: Final = frozenset("0123456789abcdef")
_COMPARED: Final = frozenset("!<>")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)

_DAY: Final = 86400
_UNITS: Final = {
    **dict.fromkeys(["", "s", "second"], 1),
    **dict.fromkeys(["min", "minute"], 60),
    **dict.fromkeys(["h", "hour"], 3600),
    **dict.fromkeys(["d", "day"], _DAY),
    **dict.fromkeys(["w", "week"], 7 * _DAY),
    "fortnight": 14 * _DAY,
    **dict.fromkeys(["m", "month"], 31 * _DAY),  # as long as the original's
    **dict.fromkeys(["y", "year"], 365 * _DAY),
}


# ---- what a specification asks --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Equals:
    """The value is this text, or a number or boolean that this text writes. A list: any item of it."""

    path: KeyPath
    text: str


@dataclass(frozen=True, slots=True)
class Glob:
    """All of the value's text matches: ``*`` any characters, ``?`` one, others itself. A list: any item."""

    path: KeyPath
    pattern: str


@dataclass(frozen=True, slots=True)
class Undefined:
    """There is no such value, or it is null."""

    path: KeyPath


@dataclass(frozen=True, slots=True)
class Newer:
    """The dump's time is known and after this one (seconds since 1970)."""

    than: float


@dataclass(frozen=True, slots=True)
class Older:
    """The dump's time is known and before this one (seconds since 1970)."""

    than: float


@dataclass(frozen=True, slots=True)
class Timeless:
    """The dump's time is not known."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """The dump came into the store after this time (seconds since 1970), however old it was by then."""

    than: float

    @property
    def path(self) -> KeyPath:
        """Where a document tells it, as a number."""
        return ("uploaded",)


@dataclass(frozen=True, slots=True)
class Named:
    """The identity begins with one of these; a whole identity is a prefix of itself."""

    prefixes: frozenset[str]


Constraint = Equals | Glob | Undefined | Newer | Older | Timeless | Arrived | Named


@dataclass(frozen=True, slots=True)
class Query:
    """All constraints hold; at most ``limit`` dumps, None for all of them."""

    constraints: tuple[Constraint, ...] = ()
    limit: int | None = None


# ---- what it means --------------------------------------------------------------------------------


def matches(query: Query, document: Mapping[str, Json]) -> bool:
    """Whether all constraints hold for a document. The limit is the caller's."""
    return all(holds(constraint, document) for constraint in query.constraints)


def holds(constraint: Constraint, document: Mapping[str, Json]) -> bool:
    """Whether one constraint holds for a document."""
    match constraint:
        case Equals(path, text):
            return any(_equals(item, text) for item in _items(lookup(document, path)))
        case Glob(path, pattern):
            return any(glob_matches(pattern, _item_text(item)) for item in _items(lookup(document, path)))
        case Undefined(path):
            return lookup(document, path) is None
        case Named(prefixes):
            identity = _identity(document) or ""
            return any(identity[:length] in prefixes for length in range(1, len(identity) + 1))
        case Newer() | Older() | Timeless():
            return _time_holds(constraint, dump_time(document))
        case Arrived(than):
            at = lookup(document, constraint.path)
            return isinstance(at, int | float) and not isinstance(at, bool) and at > than


def lookup(document: Mapping[str, Json], path: KeyPath) -> Json:
    """The value at a path of keys; None where there is none. It reaches into objects, not into lists.

    ``id`` is the dump's identity also in a document that has it in its ``name`` only.
    """
    if path == ("id",):
        return _identity(document)
    value: Json = document
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def label(value: Json) -> str:
    """A value as a report counts it: text as it is, ``undefined`` for none, anything else as compact JSON."""
    if value is None:
        return "undefined"
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def dump_time(document: Mapping[str, Json]) -> float | None:
    """The dump's time in seconds since 1970; None when it is not known."""
    return DumpInfo(document).time


def sort_key(info: DumpInfo) -> tuple[bool, float, str]:
    """Sorts dumps oldest first, those of unknown time before all, equal times by identity."""
    time = dump_time(info.document)
    return time is not None, time or 0.0, info.id


def number(text: str) -> int | float | None:
    """The number that a text writes, as JSON would; None when it writes none."""
    if len(text) > 100 or not (written := _NUMBER.fullmatch(text)):
        return None
    if written[1] is None and written[2] is None:
        return int(text)
    value = float(text)
    return value if math.isfinite(value) else None


def _identity(document: Mapping[str, Json]) -> str | None:
    try:
        return DumpInfo(document).id
    except UsageError:
        return None


def _time_holds(constraint: Newer | Older | Timeless, time: float | None) -> bool:
    if time is None or isinstance(constraint, Timeless):
        return time is None and isinstance(constraint, Timeless)
    return time > constraint.than if isinstance(constraint, Newer) else time < constraint.than


def _items(value: Json) -> Iterable[Json]:
    """The scalars that a constraint looks at: the value itself or, one level deep, the items of a list."""
    values = value if isinstance(value, list) else (value,)
    return (each for each in values if isinstance(each, str | int | float))


def _item_text(item: str | int | float) -> str:
    return item if isinstance(item, str) else json.dumps(item)


def _equals(item: str | int | float, text: str) -> bool:
    if isinstance(item, str | bool):
        return _item_text(item) == text
    return number(text) == item or _item_text(item) == text


# ---- words ----------------------------------------------------------------------------------------


def parse(
    words: Sequence[str], *, now: float, stdin: Callable[[], Iterable[str]] | None = None
) -> tuple[Query, tuple[str, ...]]:
    """The Query that words ask for, and in their order those words that ask for nothing.

    A word with ``=`` is a constraint. A word of up to 32 lower-case hex digits, or a store path that ends in
    32, names a dump; several of them are several dumps. What the other words are, properties to show or a
    mistake, is the command's to say. ``now`` is seconds since 1970; ``stdin`` gives lines and is called for
    ``dump=stdin`` only. Raises UsageError, naming the word.
    """
    constraints: list[Constraint] = []
    limits: list[int] = []
    names: set[str] = set()
    rest: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        if equals and key == "limit":
            limits.append(_limit(word, value))
        elif equals:
            constraints.append(_constraint(word, key, value, now, stdin))
        elif (name := dump_name(word)) is not None:
            names.add(name)
        else:
            refuse_comparison(word, word)
            rest.append(word)
    if names:
        constraints.append(Named(frozenset(names)))
    if len(constraints) > MAX_CONSTRAINTS:
        raise UsageError(f"{len(constraints)} constraints are too many: {MAX_CONSTRAINTS} at most")
    return Query(tuple(constraints), min(limits, default=None)), tuple(rest)


def split_words(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words that say which dumps, and those behind: for ``set DUMP|SPEC PROPERTY VALUE`` and the like.

    A dump is one word; a specification is the words with ``=`` in front. So a value may look like either.
    """
    count = next((i for i, word in enumerate(words) if "=" not in word), len(words))
    count = max(count, min(1, len(words)))
    return tuple(words[:count]), tuple(words[count:])


def dump_name(word: str) -> str | None:
    """The identity, or its beginning, that a word is or a store path ends in; None for another word."""
    if word.startswith("/"):
        last = word.rstrip("/").rpartition("/")[2]
        return last if len(last) == 32 and _HEX.issuperset(last) else None
    return word if 1 <= len(word) <= 32 and _HEX.issuperset(word) else None


def refuse_comparison(name: str, word: str) -> None:
    """Raises UsageError for a name that was to be a comparison, such as the ``size>1000`` of that word."""
    if not _COMPARED.isdisjoint(name):
        raise UsageError(
            f"{shown(word)}: no such comparison: there are PROPERTY=VALUE, * and ? in it, PROPERTY=undefined,"
            " mtime=AGE (newer), otime=AGE (older) and uploaded=AGE (came since then)"
        )


def property_path(name: str) -> KeyPath:
    """The path that a dotted name writes. Raises UsageError for one that cannot name a property."""
    return _path(name, name)


def age_seconds(text: str) -> int:
    """Seconds that an age such as ``6h`` or ``60`` writes. Raises UsageError, saying what is wrong."""
    digits = text[: len(text) - len(text.lstrip("0123456789"))]
    unit = _UNITS.get(text[len(digits) :])
    if not digits:
        raise UsageError(f"{shown(text)} is not an age: a whole number comes first, as in 6h")
    if unit is None:
        raise UsageError(f"{shown(text)} is not an age: the unit is one of s, min, h, d, w, fortnight, m or month, y")
    if len(digits) > 12:
        raise UsageError(f"{shown(text)} is not an age: it is longer than any dump is old")
    return int(digits) * unit


def shown(word: str) -> str:
    """A word for an error message: quoted, printable, of bounded length."""
    return repr(word if len(word) <= 80 else word[:77] + "...")


def _path(name: str, word: str) -> KeyPath:
    parts = tuple(name.split(".", MAX_PARTS))
    if len(name) > MAX_NAME or len(parts) > MAX_PARTS:
        raise UsageError(f"{shown(word)}: a property has at most {MAX_PARTS} parts and {MAX_NAME} characters")
    if "\0" in name or not all(parts):
        raise UsageError(f"{shown(word)}: not a property: a part of the name is empty")
    return parts


def _constraint(word: str, key: str, value: str, now: float, stdin: Callable[[], Iterable[str]] | None) -> Constraint:
    refuse_comparison(key[-1:], word)
    path = _path(key, word) if key else ()
    if not path or "\0" in value:
        raise UsageError(f"{shown(word)}: not a constraint: PROPERTY=VALUE is one")
    if key in ("time", "mtime", "otime"):
        return _age_constraint(word, key, value, now)
    if key == "uploaded" and value != "undefined":
        return Arrived(now - _age(word, value))
    if key in ("dump", "dumps", "name"):
        return _name_constraint(word, key, value, stdin)
    return _value_constraint(word, path, value)


def _value_constraint(word: str, path: KeyPath, value: str) -> Constraint:
    if value == "undefined":
        return Undefined(path)
    if "*" not in value and "?" not in value:
        return Equals(path, value)
    if len(value) > MAX_PATTERN:
        raise UsageError(f"{shown(word)}: a pattern has at most {MAX_PATTERN} characters")
    return Glob(path, value)


def _age_constraint(word: str, key: str, value: str, now: float) -> Constraint:
    if value == "undefined":
        return Timeless()
    than = now - _age(word, value)
    return Older(than) if key == "otime" else Newer(than)


def _age(word: str, value: str) -> int:
    try:
        return age_seconds(value)
    except UsageError as error:
        raise UsageError(f"{shown(word)}: {error}") from None


def _name_constraint(word: str, key: str, value: str, stdin: Callable[[], Iterable[str]] | None) -> Constraint:
    if value == "stdin":
        return _names_from(word, stdin)
    name = dump_name(value)
    if name is not None:
        return Named(frozenset([name]))
    if value == "undefined" or value.startswith("/") or "*" in value or "?" in value:
        return _value_constraint(word, ("name" if key == "name" else "dump",), value)
    raise UsageError(f"{shown(word)}: not a dump: give hex digits, a store path, a pattern or stdin")


def _names_from(word: str, stdin: Callable[[], Iterable[str]] | None) -> Named:
    if stdin is None:
        raise UsageError(f"{shown(word)}: there is no standard input to read dumps from")
    names: set[str] = set()
    for given in (each for line in stdin() for each in line.split()):
        name = dump_name(given)
        if name is None:
            raise UsageError(f"{shown(word)}: standard input has {shown(given)}, which names no dump")
        names.add(name)
        if len(names) > MAX_NAMES:
            raise UsageError(f"{shown(word)}: standard input names more than {MAX_NAMES} dumps")
    if not names:
        raise UsageError(f"{shown(word)}: standard input names no dump")
    return Named(frozenset(names))


def _limit(word: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 18 and int(value) > 0):
        raise UsageError(f"{shown(word)}: the limit is a whole number of dumps, 1 or more")
    return int(value)
