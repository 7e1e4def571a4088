"""The names inside mangled symbols of C++ (Itanium) and Rust (legacy): who is called, and not with what.

Only as much of the encoding is read as that takes: the nested name; what it was made with is passed over
(mangled_parts). What is not understood is no mangled name: a signature then has the symbol as it is. No library reads
them for us: what one prints may change with its version, and the same symbol always has to give the same.
Source: the Itanium C++ ABI, section 5.1.
"""

from __future__ import annotations

import re
from typing import Final

from thoth.signatures.mangled_parts import STANDARD, NotUnderstood, Parts

_RUST_HASH: Final = re.compile("h[0-9a-f]{16}")
_RUST_ESCAPE: Final = re.compile(r"\$(?:(SP|BP|RF|LT|GT|LP|RP|C)|u([0-9a-f]{1,6}))\$")
_RUST_SIGNS: Final = dict(zip(("SP", "BP", "RF", "LT", "GT", "LP", "RP", "C"), "@*&<>(),", strict=True))


def plain_name(symbol: str) -> str | None:
    """``v8::internal::Runtime`` for ``_ZN2v88internal7RuntimeEv``; None for what is not such a symbol."""
    encoded = symbol.removeprefix("_") if symbol.startswith("__Z") else symbol
    if not encoded.startswith("_Z") or not encoded.isascii():
        return None
    try:
        names = _Reader(encoded, 2).encoding()
    except (NotUnderstood, IndexError):
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


class _Reader(Parts):
    """Reads an encoded name from its beginning."""

    def encoding(self) -> list[str]:
        """The names of a function or variable, the outermost first."""
        if self._took("Th"):
            self._until("_")
        elif self._took("Tv"):
            self._until("_")
            self._until("_")
        return self._name()

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
            elif not self._took("M"):  # of a member's initializer
                names.append(self._unqualified(names[-1] if names else ""))
        if not names:
            raise NotUnderstood
        return names

    def _local(self) -> list[str]:
        """Something inside of a function."""
        names = self._name()
        self._types()
        if self._took("s"):
            return names
        if self._took("d"):
            self._until("_")
        names += self._name()
        self._which()
        return names

    def _standard(self) -> str:
        """A name of the standard library that has a letter of its own."""
        name = STANDARD.get(self._text[self._at])
        if name is None:
            raise NotUnderstood
        self._at += 1
        return name
