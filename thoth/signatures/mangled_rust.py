"""The names inside Rust's mangled symbols of the second scheme (v0), without generic arguments.

What is not understood is no mangled name, as in ``thoth.signatures.mangled``. Source: Rust RFC 2603.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_MOST_STEPS: Final = 500  # paths and types: a reference back may lead to many again
_BASE62: Final = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_IDENTIFIER: Final = re.compile("u?(0|[1-9][0-9]{0,4})_?")
_TYPES: Final = "i8 bool char f64 str f32 u8 isize usize i32 u32 i128 u128 _ i16 u16 unit ... i64 u64 never"
_BASIC: Final = dict(zip("abcdefhijlmnopstuvxyz", _TYPES.split(), strict=True))


class _NotUnderstood(Exception):
    """No mangled name, or a part of the encoding that is not read here."""


def plain_rust_name(symbol: str) -> str | None:
    """``mycrate::foo`` for ``_RNvCs9ltgdHTiPiY_7mycrate3foo``; None for what is not such a symbol."""
    if not symbol.startswith("_R") or not symbol.isascii():
        return None
    try:
        return _Reader(symbol[2:]).path()
    except (_NotUnderstood, IndexError, RecursionError):
        return None


class _Reader:
    """Reads a path from its beginning. References back are to places in the same text."""

    def __init__(self, text: str) -> None:
        self._text, self._at, self._left = text, 0, _MOST_STEPS

    def path(self) -> str:
        """A path, as it is written in a program."""
        self._step()
        match kind := self._next():
            case "C":
                return self._identifier()[1]
            case "N":
                return self._nested()
            case "M":
                self._implementation()
                return self._type()
            case "X" | "Y":
                if kind == "X":
                    self._implementation()
                return f"<{self._type()} as {self.path()}>"
            case "I":
                path = self.path()
                self._arguments()
                return path
            case "B":
                return self._back(self.path)
        raise _NotUnderstood

    def _nested(self) -> str:
        kind, outer = self._next(), self.path()
        number, name = self._identifier()
        if kind.isupper():  # a closure, or what the compiler made
            word = {"C": "closure", "S": "shim"}.get(kind, kind)
            return f"{outer}::{{{word}{':' + name if name else ''}#{number}}}"
        return f"{outer}::{name}"

    def _implementation(self) -> None:
        """The place of an implementation, which says nothing to people."""
        self._disambiguator()
        self.path()

    def _arguments(self) -> None:
        while not self._took("E"):
            if self._took("L"):
                self._number()
            elif self._took("K"):
                self._constant()
            else:
                self._type()

    def _constant(self) -> None:
        self._step()
        if self._took("p"):
            return
        if self._took("B"):
            self._number()
            return
        self._type()
        self._until("_")

    def _type(self) -> str:
        self._step()
        kind = self._text[self._at]
        if kind in _BASIC:
            self._at += 1
            return _BASIC[kind]
        if kind in "CNMXYI":
            return self.path()
        return self._compound(self._next())

    def _compound(self, kind: str) -> str:
        match kind:
            case "R" | "Q":
                if self._took("L"):
                    self._number()
                return self._type()
            case "P" | "O":
                return self._type()
            case "S":
                self._type()
                return "slice"
            case "A":
                self._type()
                self._constant()
                return "array"
            case "T":
                while not self._took("E"):
                    self._type()
                return "tuple"
        return self._other(kind)

    def _other(self, kind: str) -> str:
        if kind == "B":
            return self._back(self._type)
        if kind == "F":
            self._function()
            return "fn"
        if kind == "D":
            return f"dyn {self._traits()}"
        raise _NotUnderstood

    def _function(self) -> None:
        """What a function takes and returns."""
        self._binder()
        self._took("U")
        if self._took("K") and not self._took("C"):
            self._identifier()
        while not self._took("E"):
            self._type()
        self._type()

    def _traits(self) -> str:
        """The traits of an object, and how long it lives."""
        self._binder()
        names: list[str] = []
        while not self._took("E"):
            names.append(self.path())
            while self._took("p"):
                self._identifier()
                self._type()
        if not self._took("L"):
            raise _NotUnderstood
        self._number()
        return " + ".join(names)

    def _binder(self) -> None:
        if self._took("G"):
            self._number()

    def _back(self, read: Callable[[], str]) -> str:
        """What stands at an earlier place."""
        here = self._at - 1
        place = self._number()
        if place >= here:
            raise _NotUnderstood
        after, self._at = self._at, place
        told = read()
        self._at = after
        return told

    # ---- characters ---------------------------------------------------------------------------------

    def _identifier(self) -> tuple[int, str]:
        """Which of several of the same name, and the name."""
        number = self._disambiguator()
        length = _IDENTIFIER.match(self._text, self._at)
        if length is None:
            raise _NotUnderstood
        self._at = length.end() + int(length[1])
        if self._at > len(self._text):
            raise _NotUnderstood
        return number, self._text[length.end() : self._at]

    def _disambiguator(self) -> int:
        return self._number() + 1 if self._took("s") else 0

    def _number(self) -> int:
        digits, value = self._until("_"), 0
        for digit in digits:
            value = value * 62 + _BASE62.index(digit)
        return value + 1 if digits else 0

    def _until(self, end: str) -> str:
        found = self._text.find(end, self._at)
        if found < 0 or not f"0{self._text[self._at : found]}".isalnum():
            raise _NotUnderstood
        passed, self._at = self._text[self._at : found], found + 1
        return passed

    def _took(self, wanted: str) -> bool:
        took = self._text.startswith(wanted, self._at)
        self._at += took
        return took

    def _next(self) -> str:
        self._at += 1
        return self._text[self._at - 1]

    def _step(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise _NotUnderstood
