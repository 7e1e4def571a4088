"""The names inside mangled symbols of C++ (Itanium) and Rust (legacy): who is called, and not with what.

Only as much of the encoding is read as that takes: the nested name; template arguments are passed over. What is not
understood is no mangled name: a signature then has the symbol as it is. No library reads them for us: what one prints
may change with its version, and the same symbol always has to give the same.
Source: the Itanium C++ ABI, section 5.1.
"""

from __future__ import annotations

import re
from typing import Final

_DEEPEST: Final = 64  # names and types in each other
_MODIFIERS: Final = frozenset("rVKPROCG")  # of a type: const, pointer, reference and the like
_BUILTIN: Final = frozenset("vwbcahstijlmxynofdegz")
_BUILTIN_D: Final = frozenset("fdehisnuac")  # after a D
_STANDARD: Final = {
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
_LENGTH: Final = re.compile("[0-9]{1,5}")
_RUST_HASH: Final = re.compile("h[0-9a-f]{16}")
_RUST_ESCAPE: Final = re.compile(r"\$(?:(SP|BP|RF|LT|GT|LP|RP|C)|u([0-9a-f]{1,6}))\$")
_RUST_SIGNS: Final = dict(zip(("SP", "BP", "RF", "LT", "GT", "LP", "RP", "C"), "@*&<>(),", strict=True))


class _NotUnderstood(Exception):
    """No mangled name, or a part of the encoding that is not read here."""


def plain_name(symbol: str) -> str | None:
    """``v8::internal::Runtime`` for ``_ZN2v88internal7RuntimeEv``; None for what is not such a symbol."""
    encoded = symbol.removeprefix("_") if symbol.startswith("__Z") else symbol
    if not encoded.startswith("_Z") or not encoded.isascii():
        return None
    try:
        names = _Reader(encoded, 2).encoding()
    except (_NotUnderstood, IndexError):
        return None
    if len(names) > 1 and _RUST_HASH.fullmatch(names[-1]):
        names = [_rust(name) for name in names[:-1]]
    return "::".join(names)


def _rust(name: str) -> str:
    """A part of a name as Rust's compiler had it before it wrote it with letters and digits only."""
    spelled = name[1:] if name.startswith("_$") else name
    return _RUST_ESCAPE.sub(_rust_sign, spelled.replace("..", "::"))


def _rust_sign(found: re.Match[str]) -> str:
    code = int(found[2], 16) if found[2] else 0
    return _RUST_SIGNS[found[1]] if found[1] else chr(code) if 0x20 <= code < 0x7F else found[0]


class _Reader:
    """Reads an encoded name from its beginning. Each step reads at least one character."""

    def __init__(self, text: str, at: int) -> None:
        self._text, self._at, self._depth = text, at, 0

    def encoding(self) -> list[str]:
        """The names of a function or variable, the outermost first."""
        if self._took("Th"):
            self._until("_")
        elif self._took("Tv"):
            self._until("_")
            self._until("_")
        return self._name()

    # ---- names -------------------------------------------------------------------------------------

    def _name(self) -> list[str]:
        self._deeper()
        if self._took("N"):
            while self._text[self._at] in "rVKRO":
                self._at += 1
            names = self._nested()
        elif self._took("Z"):
            names = self._local()
        elif self._took("S"):
            names = [self._standard()]
            names += [self._unqualified("")] if names == ["std"] else []
        else:
            names = [self._unqualified("")]
        if self._took("I"):
            self._arguments()
        self._depth -= 1
        return names

    def _nested(self) -> list[str]:
        names: list[str] = []
        while not self._took("E"):
            if self._took("I"):
                self._arguments()
            elif self._took("S"):
                names.append(self._standard())
            else:
                names.append(self._unqualified(names[-1] if names else ""))
        if not names:
            raise _NotUnderstood
        return names

    def _local(self) -> list[str]:
        """Something inside of a function."""
        names = self._name()
        while not self._took("E"):
            self._type()
        if self._took("s"):
            return names
        if self._took("d"):
            self._until("_")
        return names + self._name()

    def _unqualified(self, outer: str) -> str:
        """One name; ``outer`` is the one around it, which constructors share."""
        self._took("L")  # seen in its own file only
        here = self._text[self._at]
        if here.isdigit():
            name = self._source()
        elif here in "CD" and self._text[self._at + 1].isdigit() and outer:
            self._at += 2
            name = ("~" if here == "D" else "") + outer.rpartition("::")[2]
        elif self._took("Ul"):
            while not self._took("E"):
                self._type()
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
            raise _NotUnderstood
        start = digits.end()
        self._at = start + int(digits[0])
        if self._at > len(self._text) or start == self._at:
            raise _NotUnderstood
        name = self._text[start : self._at]
        return "{anonymous}" if name.startswith("_GLOBAL__N") else name

    def _operator(self) -> str:
        code = self._text[self._at : self._at + 2]
        self._at += 2
        if code == "cv":
            self._type()
            return "operator cast"
        if code not in _OPERATORS:
            raise _NotUnderstood
        return "operator" + _OPERATORS[code]

    def _standard(self) -> str:
        """A name of the standard library that has a letter of its own."""
        name = _STANDARD.get(self._text[self._at])
        if name is None:
            raise _NotUnderstood
        self._at += 1
        return name

    def _number(self) -> int:
        digits = self._until("_")
        if digits and not digits.isdecimal():
            raise _NotUnderstood
        return int(digits or -1) + 2

    # ---- types, which are passed over ----------------------------------------------------------------

    def _arguments(self) -> None:
        self._deeper()
        while not self._took("E"):
            if self._took("J"):
                self._arguments()
            elif self._took("L"):
                self._literal()
            else:
                self._type()
        self._depth -= 1

    def _literal(self) -> None:
        if self._took("_Z"):
            self.encoding()
            while not self._took("E"):
                self._type()
            return
        self._type()
        self._until("E")

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
            while not self._took("E"):
                self._type()
        elif kind == "A":
            self._until("_")
            self._type()
        elif kind == "M":
            self._type()
            self._type()
        elif kind == "D":
            self._other()
        else:
            raise _NotUnderstood

    def _member(self) -> None:
        """A part of a nested name of a type."""
        if self._took("S"):
            self._substitution()
        elif self._took("T"):
            self._until("_")
        elif self._took("I"):
            self._arguments()
        elif self._text[self._at] in "rVKRO":
            self._at += 1
        else:
            self._unqualified("outer")

    def _substitution(self) -> None:
        if self._took("t"):
            self._unqualified("")
        elif self._text[self._at] in _STANDARD:
            self._at += 1
        else:
            self._until("_")

    def _other(self) -> None:
        kind = self._text[self._at]
        self._at += 1
        if kind in ("p", "o"):
            self._type()
        elif kind not in _BUILTIN_D:
            raise _NotUnderstood

    # ---- characters ---------------------------------------------------------------------------------

    def _took(self, wanted: str) -> bool:
        took = self._text.startswith(wanted, self._at)
        self._at += len(wanted) if took else 0
        return took

    def _until(self, end: str) -> str:
        found = self._text.find(end, self._at)
        if found < 0:
            raise _NotUnderstood
        passed, self._at = self._text[self._at : found], found + len(end)
        return passed

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _NotUnderstood
