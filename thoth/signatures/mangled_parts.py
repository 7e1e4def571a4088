"""The parts of C++'s mangled names (Itanium): one name, and types, arguments and expressions, which are passed over.

Source: the Itanium C++ ABI, section 5.1.
"""

from __future__ import annotations

import re
from typing import Final

_DEEPEST: Final = 64  # names and types in each other
_MODIFIERS: Final = frozenset("rVKPROCG")  # of a type: const, pointer, reference and the like
_BUILTIN: Final = frozenset("vwbcahstijlmxynofdegz")
_BUILTIN_D: Final = frozenset("fdehisnuac")  # after a D
STANDARD: Final = {
    "t": "std",
    "a": "std::allocator",
    "b": "std::basic_string",
    "s": "std::basic_string",
    "i": "std::basic_istream",
    "o": "std::basic_ostream",
    "d": "std::basic_iostream",
}
# Codes and what stands behind ``operator``, in turn.
_SIGNS: Final = """
    ps + ng - ad & de * co ~ pl + mi - ml * dv / rm % an & or | eo ^ aS = pL += mI -= mL *= dV /= rM %= aN &= oR |=
    eO ^= ls << rs >> lS <<= rS >>= eq == ne != lt < gt > le <= ge >= ss <=> nt ! aa && oo || pp ++ mm -- cm ,
    pm ->* pt -> cl () ix [] qu ?
"""
_WORDS: Final = {"nw": " new", "na": " new[]", "dl": " delete", "da": " delete[]", "aw": " co_await"}
_OPERATORS: Final = _WORDS | dict(zip(_SIGNS.split()[::2], _SIGNS.split()[1::2], strict=True))
# Expressions: how many others the operators have that have not two; what has a type and no other, or one behind it.
_ONE: Final = "ps ng ad de co nt pp mm sz az nx sp te tw sZ"
_OPERANDS: Final = {**dict.fromkeys(_ONE.split(), 1), "qu": 3}
_OF_TYPES: Final = frozenset(("st", "at", "ti"))
_CASTS: Final = frozenset(("cv", "dc", "sc", "cc", "rc"))
_LISTS: Final = frozenset(("cl", "il", "tl", "sP"))
_FOLDS: Final = {"fl": 1, "fr": 1, "fL": 2, "fR": 2}
_WIDTH: Final = re.compile("[0-9]{1,4}[_bx]")
_LENGTH: Final = re.compile("[0-9]{1,5}")


class NotUnderstood(Exception):
    """No mangled name, or a part of the encoding that is not read here."""


class Parts:
    """Reads parts of an encoded name, from a place on. Each step reads at least one character."""

    def __init__(self, text: str, at: int) -> None:
        self._text, self._at, self._depth = text, at, 0

    # ---- names -------------------------------------------------------------------------------------

    def _unqualified(self, outer: str) -> str:
        """One name; ``outer`` is the one around it, which constructors share."""
        self._took("L")  # seen in its own file only
        here = self._text[self._at]
        if here.isdigit():
            name = self._source()
        elif here in "CD" and self._text[self._at + 1].isdigit() and outer:
            self._at += 2
            name = ("~" if here == "D" else "") + outer.rpartition("::")[2]
        elif self._took("CI1") or self._took("CI2"):  # the constructor of a base
            self._type()
            name = outer.rpartition("::")[2]
        elif self._took("Ul"):
            self._types()
            name = f"{{lambda#{self._number()}}}"
        elif self._took("Ut"):
            name = f"{{unnamed#{self._number()}}}"
        else:
            name = self._operator()
        while self._took("B"):
            self._source()  # a tag of the ABI
        return name

    def _source(self) -> str:
        digits = _LENGTH.match(self._text, self._at)
        if digits is None:
            raise NotUnderstood
        start = digits.end()
        self._at = start + int(digits[0])
        if self._at > len(self._text) or start == self._at:
            raise NotUnderstood
        name = self._text[start : self._at]
        return "{anonymous}" if name.startswith("_GLOBAL__N") else name

    def _operator(self) -> str:
        code = self._text[self._at : self._at + 2]
        self._at += 2
        if code == "cv":
            self._type()
            return "operator cast"
        if code not in _OPERATORS:
            raise NotUnderstood
        return "operator" + _OPERATORS[code]

    def _which(self) -> None:
        """Which one it is of several that have one name inside of a function."""
        if self._took("__"):
            self._until("_")
        elif self._took("_"):
            self._at += 1

    def _number(self) -> int:
        digits = self._until("_")
        if digits and not digits.isdecimal():
            raise NotUnderstood
        return int(digits or -1) + 2

    # ---- types, which are passed over ----------------------------------------------------------------

    def _arguments(self) -> None:
        self._deeper()
        while not self._took("E"):
            if self._took("J"):
                self._arguments()
            elif self._took("X"):
                self._expression()
                self._expect("E")
            elif self._took("L"):
                self._literal()
            else:
                self._type()
        self._depth -= 1

    def _literal(self) -> None:
        if self._took("_Z"):
            self._passed()
        else:
            self._type()
            self._until("E")

    def _passed(self) -> None:
        """A function or variable that another name has in it, up to its E."""
        self._took("L")
        if self._text[self._at] in "NZS":
            self._type()
        else:
            self._unqualified("")
            if self._took("I"):
                self._arguments()
        self._types()

    def _types(self) -> None:
        while not self._took("E"):
            if self._text[self._at : self._at + 2] in ("RE", "OE"):  # which objects a method is for
                self._at += 1
            else:
                self._type()

    def _type(self) -> None:
        while self._text[self._at] in _MODIFIERS:
            self._at += 1
        self._deeper()
        here = self._text[self._at]
        if here in _BUILTIN:
            self._at += 1
        elif here == "u" or here.isdigit():
            self._at += here == "u"
            self._source()
        else:
            self._compound()
        if self._took("I"):
            self._arguments()
        self._depth -= 1

    def _compound(self) -> None:
        kind = self._text[self._at]
        self._at += 1
        if kind == "N":
            while not self._took("E"):
                self._member()
        elif kind == "S":
            self._substitution()
        elif kind == "T":
            self._until("_")
        elif kind == "F":
            self._took("Y")
            self._types()
        elif kind == "A":
            self._until("_")
            self._type()
        elif kind == "M":
            self._type()
            self._type()
        elif kind == "D":
            self._other()
        else:
            self._at -= 1
            self._unnamed()

    def _unnamed(self) -> None:
        """A type that only its place tells."""
        if self._took("Z"):
            self._inner()
        elif self._text.startswith(("Ul", "Ut"), self._at):
            self._unqualified("")
        else:
            raise NotUnderstood

    def _inner(self) -> None:
        """A type inside of a function."""
        self._passed()
        if self._took("s"):
            return
        if self._took("d"):
            self._until("_")
        self._type()
        self._which()

    def _member(self) -> None:
        """A part of a nested name of a type."""
        if self._took("S"):
            self._substitution()
        elif self._took("T"):
            self._until("_")
        elif self._took("I"):
            self._arguments()
        elif self._text[self._at] in "rVKROM":
            self._at += 1
        elif self._took("Dt") or self._took("DT"):
            self._expression()
            self._expect("E")
        else:
            self._unqualified("outer")

    def _substitution(self) -> None:
        if self._took("t"):
            self._unqualified("")
        elif self._text[self._at] in STANDARD:
            self._at += 1
        else:
            self._until("_")

    def _other(self) -> None:
        kind = self._text[self._at]
        self._at += 1
        if kind in ("p", "o"):
            self._type()
        elif kind in ("t", "T"):
            self._expression()
            self._expect("E")
        elif kind == "v":  # so many in one register
            self._until("_")
            self._type()
        elif kind == "F":  # a number of so many bits
            width = _WIDTH.match(self._text, self._at)
            if width is None:
                raise NotUnderstood
            self._at = width.end()
        elif kind not in _BUILTIN_D:
            raise NotUnderstood

    # ---- expressions, which are passed over ------------------------------------------------------------

    def _expression(self) -> None:
        self._deeper()
        if self._text[self._at] == "T":
            self._until("_")
        elif self._took("L"):
            self._literal()
        elif self._text[self._at].isdigit():
            self._simple()
        else:
            code = self._text[self._at : self._at + 2]
            self._at += 2
            self._operation(code)
        self._depth -= 1

    def _operation(self, code: str) -> None:
        if code in _OF_TYPES:
            self._type()
        elif code in _CASTS:
            self._type()
            self._listed() if self._took("_") else self._expression()
        elif code in _LISTS:
            if code == "tl":
                self._type()
            self._listed()
        elif code in ("dt", "pt"):
            self._expression()
            self._simple()
        elif code == "sr":
            self._scoped()
        elif code == "fp" or (code == "fL" and self._text[self._at].isdigit()):  # a parameter
            self._until("_")
        else:
            self._took("_")  # ++ and -- before what they are for
            self._operands(code)

    def _operands(self, code: str) -> None:
        if code in _FOLDS:
            self._operator()
        elif code not in _OPERANDS and code not in _OPERATORS:
            raise NotUnderstood
        for _ in range(_FOLDS.get(code) or _OPERANDS.get(code, 2)):
            self._expression()

    def _listed(self) -> None:
        while not self._took("E"):
            self._expression()

    def _scoped(self) -> None:
        """A name in a type that is not known yet."""
        if self._took("N"):
            self._type()
            while not self._took("E"):
                self._simple()
        else:
            self._type()
        self._simple()

    def _simple(self) -> None:
        if self._took("on"):
            self._operator()
        else:
            self._source()
        if self._took("I"):
            self._arguments()

    # ---- characters ---------------------------------------------------------------------------------

    def _took(self, wanted: str) -> bool:
        took = self._text.startswith(wanted, self._at)
        self._at += len(wanted) if took else 0
        return took

    def _expect(self, wanted: str) -> None:
        if not self._took(wanted):
            raise NotUnderstood

    def _until(self, end: str) -> str:
        found = self._text.find(end, self._at)
        if found < 0:
            raise NotUnderstood
        passed, self._at = self._text[self._at : found], found + len(end)
        return passed

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise NotUnderstood
