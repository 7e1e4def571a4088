"""The names of C++ and Rust as people write them. Documents have them as compilers do. Only importer of demangle.

A name comes out of a dump: whatever it is, reading it takes milliseconds, and what cannot be read stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from thoth.model import Json

_LANGUAGES: Final = ("itanium", "rust")  # C++ but Microsoft's; both manglings of Rust
_LONGEST: Final = 4096  # characters of a name that is read, and of what it is read as
_DEPTH: Final = 128
# As a frame of ``stack`` has it, behind the object and before the offset.
_MANGLED: Final = re.compile(r"(?<![\w.$])_(?:_?Z|R)[\w.$@]+")
_OF_STACKS: Final = ("stack", "threads")  # keys of a document whose values hold such names


def readable(name: str) -> str:
    """A symbol's name as people write it: ``_Z4loadi`` is ``load(int)``; the name itself when it is not mangled."""
    if not _MANGLED.match(name) or len(name) > _LONGEST:
        return name
    import demangle  # noqa: PLC0415 - it takes as long as all else that a command imports

    limits = demangle.Limits(_DEPTH, _LONGEST, _LONGEST, _LONGEST)
    return demangle.demangle(name, language=_LANGUAGES, style="gnu", limits=limits)


def readable_frame(frame: str) -> str:
    """A line of ``stack`` with its function's name as people write it."""
    return _MANGLED.sub(lambda found: readable(found[0]), frame)


def readable_document(document: Mapping[str, Json]) -> dict[str, Json]:
    """A dump's document with such names in its stacks; all else is as it was."""
    return {key: _readable(value) if key in _OF_STACKS else value for key, value in document.items()}


def readable_row(row: Sequence[Json], paths: Sequence[Sequence[str]]) -> list[Json]:
    """The values at these paths of a document, with such names where they are of stacks."""
    return [_readable(value) if path[0] in _OF_STACKS else value for value, path in zip(row, paths, strict=True)]


def _readable(value: Json) -> Json:
    if isinstance(value, str):
        return readable_frame(value)
    if isinstance(value, list):
        return [_readable(each) for each in value]
    if isinstance(value, dict):
        return {key: _readable(each) if key in ("frames", "symbol") else each for key, each in value.items()}
    return value
