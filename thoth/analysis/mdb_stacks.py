"""The stacks of an illumos core as mdb prints them, as keys of its document.

Sources: usr/src/cmd/mdb/common/mdb/mdb_proc.c (pt_frame) for ``$c``, and the module of libc there for
``::walk thread`` and ``::findstack``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from thoth.analysis.debugger import BadReply
from thoth.model import Json
from thoth.stacks import LONGEST_NAME, MOST_FRAMES, MOST_OTHER_FRAMES, MOST_THREADS

_MOST_STACK: Final = 1024  # frames of the thread that dumped
_FRAME: Final = re.compile(r"(?:(\S+)`)?([^\s`(]+?)(?:\+0x[0-9a-f]+)?\([^()]*\)")
_ADDRESS: Final = re.compile(r"0x[0-9a-f]+")
_HEADER: Final = re.compile(r"stack pointer for thread ([0-9a-f]{1,16})(?: \(.*\))?: [0-9a-f]{1,16}")
_FOUND: Final = re.compile(r"[\[ ] [0-9a-f]{1,16} (.+?)(?: \])?")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


class _Frame(NamedTuple):
    text: str
    object: str | None
    symbol: str  # or an address

    @classmethod
    def of(cls, line: str) -> _Frame | None:
        found = _FRAME.fullmatch(line)
        return cls(line, found[1], found[2]) if found else None


class _Stack(NamedTuple):
    thread: int
    frames: list[_Frame]


def invocation(program: str, dump: str) -> tuple[str, ...]:
    """mdb without anybody's settings, on a core: the stack of the thread that dumped, then those of all."""
    return (program, "-S", "-e", "$c 0\n::walk thread | ::findstack", dump)


def answers(output: str, dumped: int) -> dict[str, Json]:
    """The keys ``stack`` and ``threads``; ``dumped`` is the thread that did, which comes first. Raises BadReply."""
    said = [_CONTROL.sub("?", line) for line in output.split("\n") if line.strip()]
    lines = [line for line in said if not line.startswith("mdb: ")]  # a module that is not there, ...
    at = next((place for place, line in enumerate(lines) if _HEADER.fullmatch(line)), len(lines))
    frames = list(_joined(lines[:at]))
    if not frames:
        raise BadReply(next((line for line in said if line not in lines), "mdb: told no frames"))
    others = [each for each in _stacks(lines[at:]) if each.thread != dumped]
    threads = [_Stack(dumped, frames), *others][:MOST_THREADS]
    told = [_thread(each, MOST_OTHER_FRAMES if place else MOST_FRAMES) for place, each in enumerate(threads)]
    return {"stack": [_short(frame.text) for frame in frames[:_MOST_STACK]], "threads": told}


def _joined(lines: Sequence[str]) -> Iterator[_Frame]:
    """The frames of ``$c``. The end of a long one is on the next line."""
    begun = ""
    for line in lines:
        frame = _Frame.of(begun + line)
        if frame is None and begun:
            break
        begun = "" if frame else line
        if frame:
            yield frame
    if begun:
        raise _no_stack()


def _stacks(lines: Sequence[str]) -> Iterator[_Stack]:
    """What ``::findstack`` prints of each thread."""
    current: _Stack | None = None
    for line in lines:
        header, found = _HEADER.fullmatch(line), _FOUND.fullmatch(line)
        frame = _Frame.of(found[1]) if found else None
        if header:
            if current:
                yield current
            current = _Stack(int(header[1], 16), [])
        elif frame and current:
            current.frames.append(frame)
        else:
            raise _no_stack()
    if current:
        yield current


def _no_stack() -> BadReply:
    return BadReply("mdb: printed something that is no stack")


def _thread(stack: _Stack, most: int) -> dict[str, Json]:
    told: dict[str, Json] = {"id": stack.thread, "frames": [_keys(frame) for frame in stack.frames[:most]]}
    return told if len(stack.frames) <= most else {**told, "cut": True}


def _keys(frame: _Frame) -> dict[str, Json]:
    """A frame without what mdb does not print: where it is, of one with a name."""
    if _ADDRESS.fullmatch(frame.symbol):
        return {"pc": frame.symbol, "trust": "mdb"}
    told: dict[str, Json] = {"trust": "mdb"}
    if frame.object:
        told["object"] = _short(frame.object)
    return {**told, "symbol": _short(frame.symbol)}


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[:LONGEST_NAME] + "..."
