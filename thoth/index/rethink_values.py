"""What RethinkDB gives back as it was, and what a document shows in the place of the rest.

RethinkDB (2.4) has doubles for numbers, does not tell 1.0 and -0.0 from 1 and 0, sorts the keys of objects by their
bytes, and refuses lone surrogates, objects with a key ``$reql_type$`` and lists of more than 100,000 items; its
drivers give up on what is nested deeper than 20. Of a fraction with more digits than 2**53 it may read the last bit
wrong, so such a one is sent as a division, which is exact, and so is the list that it stands in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final

from thoth.index.documents import depth_exceeds
from thoth.model import Json
from thoth.query import KeyPath

MAX_WHOLE: Final = 1 << 53  # up to here a double is every whole number
_MAX_ITEMS: Final = 100_000
_MAX_LEVELS: Final = 20
_PSEUDOTYPE: Final = "$reql_type$"
_UNHELD: Final = re.compile("[\0\ud800-\udfff]")

# Of a field. A term takes more room than JSON and a level more for each that it stands in.
_MOST_NOTED: Final = 1000
_LONGEST_TERM: Final = 256 << 10  # characters of JSON
_DEEPEST_TERM: Final = 16

Path = tuple[str | int, ...]  # keys of objects and places in lists


@dataclass(slots=True)
class Notes:
    """What has to be known of a value beside what RethinkDB makes of it.

    ``fractions`` are those that JSON would not bring there unharmed, as paths; ``points`` are the whole numbers that
    are written with a point, which RethinkDB forgets.
    """

    fractions: list[Path] = field(default_factory=list)
    points: list[Path] = field(default_factory=list)

    def sent(self, document: Mapping[str, Json]) -> dict[KeyPath, Json] | None:
        """What has to be sent as terms, the fractions or the lists that they stand in, or None: too large."""
        outer = {_outside_lists(path) for path in self.fractions}
        values = {path: _value(document, path) for path in outer}
        return values if all(_is_sendable(path, value) for path, value in values.items()) else None

    def few(self) -> bool:
        return len(self.fractions) + len(self.points) <= _MOST_NOTED


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


def is_name(key: str) -> bool:
    """Whether an object that RethinkDB holds may have this key."""
    return is_text(key) and key != _PSEUDOTYPE


def is_held(  # noqa: PLR0911 - one for each kind of value
    value: Json, path: Path, notes: Notes
) -> bool:
    """Whether RethinkDB would give back the value at a path as it is, with what is noted of it."""
    match value:
        case None | bool():
            return True
        case str():
            return is_text(value)
        case int():
            return -MAX_WHOLE <= value <= MAX_WHOLE
        case float():
            return _is_held_fraction(value, path, notes)
        case list() if len(value) <= _MAX_ITEMS and len(path) < _MAX_LEVELS:
            return all(is_held(item, (*path, place), notes) for place, item in enumerate(value))
        case dict() if len(path) < _MAX_LEVELS:
            return all(
                isinstance(key, str) and is_name(key) and is_held(item, (*path, key), notes)
                for key, item in value.items()
            )
    return False


def _is_held_fraction(value: float, path: Path, notes: Notes) -> bool:
    if value.is_integer():
        notes.points.append(path)
        return abs(value) <= MAX_WHOLE and repr(value) != "-0.0" and notes.few()
    if not is_short(value):
        notes.fractions.append(path)
        return ratio(value) is not None and notes.few()
    return True


def _outside_lists(path: Path) -> KeyPath:
    return tuple(takewhile(lambda step: isinstance(step, str), path))  # type: ignore[arg-type]  # only texts are taken


def _value(document: Mapping[str, Json], path: KeyPath) -> Json:
    value: Json = document
    for key in path:
        value = value[key]
    return value


def _is_sendable(path: KeyPath, value: Json) -> bool:
    if not isinstance(value, list):
        return len(path) <= _DEEPEST_TERM
    shallow = not depth_exceeds(value, max(_DEEPEST_TERM - len(path), 0))
    return shallow and len(json.dumps(value)) <= _LONGEST_TERM


# ---- what stands in the place of the rest ----------------------------------------------------------


def likeness(value: Json, level: int) -> Json:
    """A value as far as RethinkDB can hold it, for those who read no text of ours; ``level``: in how many others."""
    match value:
        case str():
            return _UNHELD.sub("\ufffd", value)
        case int() | float():  # true and false too
            return _number_like(value)
        case list() if level < _MAX_LEVELS:
            return [likeness(item, level + 1) for item in value[:_MAX_ITEMS]]
        case dict() if level < _MAX_LEVELS:
            return {_key_like(key): likeness(item, level + 1) for key, item in value.items()}
    return None


def _number_like(value: int | float) -> int | float | str:
    if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_WHOLE:
        return int(value)
    held = is_short(value) if isinstance(value, float) else abs(value) <= MAX_WHOLE
    return value if held else repr(value)


def _key_like(key: str) -> str:
    return _UNHELD.sub("\ufffd", key).replace(_PSEUDOTYPE, "reql_type")
