"""Functions that call each other until the stack is full: which of them ran out of it is chance.

``a | b | c``, ``b | c | a`` and ``c | a | b`` are one crash then. Of a cycle that is only deep, as a parser's, which
function crashed says more: only one that is as long as a full stack makes it counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_FULL: Final = 200  # frames that a cycle goes on for at least, where a stack is full of it
_LONGEST: Final = 32  # functions of a cycle
_BEFORE: Final = 16  # frames that come before it: what failed inside of it, and how the process ended


def by_chance(names: Sequence[str | None]) -> range:
    """The places of the frames with which a cycle begins by chance, before its first function in the alphabet."""
    for start in range(min(_BEFORE, len(names) - _FULL) + 1):
        length = _cycle(names[start : start + _FULL])
        if length:
            once = [name or "" for name in names[start : start + length]]
            turned = min(range(length), key=lambda first: once[first:] + once[:first])
            return range(start, start + turned)
    return range(0)


def _cycle(names: Sequence[str | None]) -> int:
    """How many frames are repeated over and over; 0 when these are no cycle."""
    for length in range(1, _LONGEST + 1):
        if names[length:] == names[:-length]:
            return length
    return 0
