"""A function's name without what differs from build to build, and without lists of types.

``names.normal(normal(x)) == normal(x)``, whatever x is: names come out of dumps, and are hostile.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from thoth.signatures.mangled import plain_name
from thoth.signatures.mangled_rust import plain_rust_name
from thoth.signatures.rules import Rules

LONGEST_READ: Final = 1024  # characters of a name that are looked at
_DIGEST: Final = 8  # hex digits that stand for the end of a name

_ANONYMOUS: Final = "(anonymous namespace)"
# Their brackets are no lists.
_OPERATOR: Final = re.compile(r"\boperator ?(?:\(\)|\[\]|<=>|<<=?|>>=?|->\*?|<=?|>=?)")
_SPACES: Final = re.compile(r"\s+")
_CLOSES: Final = {")": "(", ">": "<", "]": "["}


def normal(name: str, rules: Rules) -> str:
    """The name as signatures have it: on one line, printable, of up to ``rules.longest`` characters."""
    read = name[:LONGEST_READ]
    # Each round but a demangling one shortens it, and what was demangled into several parts is no mangled name.
    while (shorter := _step(read, rules)) != read:
        read = shorter
    return _cut(read, rules.longest)


def harmless(text: str, longest: int) -> str:
    """A text that is no function's name, on one line, printable, of up to so many characters."""
    return _cut(_printable(text[:LONGEST_READ]), longest)


def _step(name: str, rules: Rules) -> str:
    shorter = _printable(name)
    for trim in rules.trims:
        shorter = trim.of(shorter)
    plain = plain_name(shorter) or plain_rust_name(shorter)
    shorter = without_lists(shorter if plain is None else plain)
    return _printable(shorter) or _printable(name)


def _printable(name: str) -> str:
    """The name with single blanks, and with ``?`` for what no terminal shows as it is."""
    shown = name if name.isprintable() else "".join(map(_shown, name))
    return _SPACES.sub(" ", shown).replace(" | ", "|").strip(" ")


def _shown(char: str) -> str:
    return char if char.isprintable() else " " if char.isspace() else "?"


def without_lists(name: str) -> str:
    """The name without lists of template parameters and arguments: ``std::map::at`` for ``std::map<a, b>::at(a)``.

    What stands in ``<>`` at the very beginning is a type of Rust's, whose method this is, and stays.
    """
    spelled = name.replace(_ANONYMOUS, "{anonymous}")
    if not _CLOSES.keys() & spelled:
        return spelled  # as nearly always
    kept: list[str] = []
    opened: list[int] = []  # places in ``kept`` of brackets that are not closed yet
    at = 0
    while at < len(spelled):
        operator = _OPERATOR.match(spelled, at) if spelled[at] == "o" else None
        piece = operator[0] if operator else spelled[at]
        at += len(piece)
        kept.append(piece)
        if piece in ("(", "<", "["):
            opened.append(len(kept) - 1)
        elif piece in _CLOSES:
            _close(kept, opened, _CLOSES[piece])
    return "".join(kept)


def _close(kept: list[str], opened: list[int], bracket: str) -> None:
    """Drop the list that the last piece closes, if there is one that it can close."""
    while opened and kept[opened[-1]] == "<" and bracket != "<" and any(kept[at] == bracket for at in opened):
        opened.pop()  # it was less than
    if not opened or kept[opened[-1]] != bracket:
        return
    start = opened.pop()
    if not (bracket == "<" and set(kept[:start]) <= {"<"}):
        del kept[start:]


def _cut(name: str, longest: int) -> str:
    """The name, or its beginning and a digest of all of it."""
    if len(name) <= longest:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
    return f"{name[: longest - _DIGEST - 1]}~{digest}"
