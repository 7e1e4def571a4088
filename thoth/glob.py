"""Patterns of ``*`` and ``?`` against hostile text, in time proportional to its length."""

from __future__ import annotations


def glob_matches(pattern: str, text: str) -> bool:
    """Whether the whole text matches, in time proportional to its length."""
    first, *others = pattern.split("*")
    if not others:
        return len(text) == len(pattern) and _fits(pattern, text, 0)
    *middle, last = others
    at, end = len(first), len(text) - len(last)
    if at > end or not _fits(first, text, 0) or not _fits(last, text, end):
        return False
    for piece in middle:
        # The leftmost place is as good as any: what follows the star may begin anywhere behind it.
        found = _find(piece, text, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


def _fits(piece: str, text: str, at: int) -> bool:
    if "?" not in piece:
        return text.startswith(piece, at)
    found = text[at : at + len(piece)]
    return all(wanted in ("?", there) for wanted, there in zip(piece, found, strict=True))


def _find(piece: str, text: str, start: int, end: int) -> int:
    """Where a piece of a glob without stars first fits between start and end; -1 where it doesn't."""
    if "?" not in piece:
        return text.find(piece, start, end)
    # Shift-and: bit i of ``state`` says that the first i + 1 characters fit up to here.
    anything = sum(1 << i for i, wanted in enumerate(piece) if wanted == "?")
    masks = {each: anything for each in piece}
    for i, wanted in enumerate(piece):
        masks[wanted] |= 1 << i
    state, whole = 0, 1 << (len(piece) - 1)
    for at in range(start, end):
        state = ((state << 1) | 1) & masks.get(text[at], anything)
        if state & whole:
            return at + 1 - len(piece)
    return -1
