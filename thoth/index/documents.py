"""A document on its way into an index: its text, and what an index may assume of it."""

from __future__ import annotations

import json
import re
from typing import Final

from thoth.errors import BadDocument
from thoth.index.base import MAX_INTEGER
from thoth.model import DumpInfo, Json

MAX_DEPTH: Final = 200  # of lists and objects in each other; readers of JSON give up between 500 and 2,000

# In compact JSON: a NUL, as many digits as an integer of 64 bits may have, a fraction in a list. Other text may
# look the same.
_SUSPECT: Final = re.compile(r"[\[,]-?[0-9]+[.e]|[\[,:]-?[0-9]{19}")


def stored_text(info: DumpInfo) -> str:
    """The document as compact ASCII JSON. Raises BadDocument for one that could not be read back."""
    try:
        written = json.dumps(info.document, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        _refuse_deep(info)
        raise BadDocument(f"{info.id}: cannot be written as JSON: {error}") from error
    if written.count("[") + written.count("{") > MAX_DEPTH:  # else it cannot be that deep
        _refuse_deep(info)
    return written


def _refuse_deep(info: DumpInfo) -> None:
    if depth_exceeds(info.document, MAX_DEPTH):
        raise BadDocument(f"{info.id}: nested deeper than {MAX_DEPTH}")


def is_plain(info: DumpInfo, written: str) -> bool:
    """Whether a database's own JSON functions read this document, ``written`` as above, as Python does.

    They don't when text holds a NUL (SQLite before 3.45 cuts it there), when an integer has more than 64
    bits, and for a fraction in a list, which they may round.
    """
    suspect = "\\u0000" in written or _SUSPECT.search(written)
    return not suspect or _is_plain(info.document)


def _is_plain(value: Json) -> bool:
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str(text) if "\0" in text:
                return False
            case int(whole) if not -MAX_INTEGER <= whole <= MAX_INTEGER:
                return False
            case list(items):
                if any(isinstance(item, float) for item in items):
                    return False
                waiting += items
            case dict(members):
                waiting += members
                waiting += members.values()
    return True


def depth_exceeds(value: Json, limit: int) -> bool:
    """Whether lists and objects lie in each other more than ``limit`` deep; one that contains itself does."""
    level = {id(value): value}  # by identity: one that contains itself twice would double at each step
    for _ in range(limit + 1):
        level = {id(item): item for outer in level.values() for item in _inside(outer)}
        if not level:
            return False
    return True


def _inside(value: Json) -> list[Json]:
    """The lists and objects that lie directly in a value."""
    if isinstance(value, dict):
        return [item for item in value.values() if isinstance(item, list | dict)]
    if isinstance(value, list):
        return [item for item in value if isinstance(item, list | dict)]
    return []
