"""The frames of a document, whoever wrote it: lines as mdb prints them, and what our own ``threads`` add to them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from thoth.model import Json

MOST_FRAMES: Final = 1024  # of a stack that are looked at
_BUILD_ID: Final = 12  # digits that tell builds apart
_LONGEST_OBJECT: Final = 64  # characters

_ARGUMENTS: Final = re.compile(r"(\+0x[0-9a-f]+)?\([^()]*\)$")
_OFFSET: Final = re.compile(r"\+0x[0-9a-f]+$")
_ADDRESS: Final = re.compile(r"0x[0-9a-f]{1,16}")
_REMOVED: Final = " (deleted)"  # behind the names of replaced files, in documents of older programs
_NULL_PAGE: Final = 0x1000  # nothing is mapped below: a call to there is one of a null pointer


@dataclass(frozen=True, slots=True)
class Spot:
    """One frame. ``name`` is the function's, as the document has it; None: nobody knows it.

    ``own``: it is the executable's. ``place`` is its object and offset, where these are known and its name is not.
    """

    line: str
    name: str | None = None
    own: bool = False
    place: str | None = None


def spots(document: Mapping[str, Json]) -> list[Spot]:
    """The frames of the thread that dumped, the innermost first; none where the document has no stack."""
    stack = document.get("stack")
    if not isinstance(stack, list):
        return []
    places = _places(document)  # whoever found the stack: of one dump an address is one place
    own = program(document) if document.get("type") != "crash" else None
    return [_spot(line, places, own) for line in stack[:MOST_FRAMES] if isinstance(line, str)]


def _spot(line: str, places: Mapping[str, str], program: str | None) -> Spot:
    told = line.strip()
    # ``name+0x12(1, 2)`` as mdb writes it: of a name that ends in arguments of C++ only ``()`` is mdb's.
    bare = told.removesuffix("()") if told.endswith("()") else _ARGUMENTS.sub(r"\1", told, count=1)
    bare = _OFFSET.sub("", bare)
    if told.startswith("<"):
        bare = told
    around, _, name = bare.rpartition("`")
    if _ADDRESS.fullmatch(name):
        if int(name, 16) < _NULL_PAGE:
            return Spot(line, "0x0")
        place = places.get(name)
        return Spot(line, own=bool(program and place and place.startswith(f"{program}+0x")), place=place)
    return Spot(line, name or None, program is not None and not around)


def _places(document: Mapping[str, Json]) -> dict[str, str]:
    """``libfoo.so.1+0x1234 (c0ffee012345)`` by address, for what has no symbol in the thread that dumped."""
    threads = document.get("threads")
    first = threads[0] if isinstance(threads, list) and threads else None
    frames = first.get("frames") if isinstance(first, dict) else None
    told = frames[:MOST_FRAMES] if isinstance(frames, list) else []
    found = ((each.get("pc"), _place(each)) for each in told if isinstance(each, dict) and "symbol" not in each)
    return {pc: place for pc, place in found if isinstance(pc, str) and place}


def _place(frame: Mapping[str, Json]) -> str | None:
    module, offset, build = frame.get("object"), frame.get("offset"), frame.get("build_id")
    if not (isinstance(module, str) and isinstance(offset, str) and _ADDRESS.fullmatch(offset)):
        return None
    version = f" ({build[:_BUILD_ID]})" if isinstance(build, str) and build else ""
    return f"{module.removesuffix(_REMOVED)[:_LONGEST_OBJECT]}+{offset}{version}"


def program(document: Mapping[str, Json]) -> str:
    """What the program is called that dumped; empty where nothing tells.

    On Linux ``cmd`` is the name of the thread, which a program gives as it likes: there the executable tells.
    """
    path, cmd = document.get("exec"), document.get("cmd")
    if document.get("os") == "linux" and isinstance(path, str) and path:
        return path.removesuffix(_REMOVED).rpartition("/")[2]
    return cmd if isinstance(cmd, str) else ""


def panic_string(document: Mapping[str, Json]) -> str:
    """What the kernel said when it panicked; empty for other dumps."""
    told = document.get("panicstring")
    return told if document.get("type") == "crash" and isinstance(told, str) else ""
