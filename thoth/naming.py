"""Names: the identity of a dump; and names and text out of dumps, as bytes and as str.

They are in a module of their own because ``thoth object`` needs them, and none of the documents.
"""

from __future__ import annotations

from thoth.errors import UsageError

_HEX = frozenset("0123456789abcdef")


class Identity(str):
    """The name of a dump: 32 lower-case hex digits. Raises UsageError for any other text."""

    __slots__ = ()

    def __new__(cls, digits: str) -> Identity:
        if not is_identity(digits):
            raise UsageError(f"not a dump's identity (32 hex digits): {digits[:64]!r}")
        return super().__new__(cls, digits)


def is_identity(digits: str) -> bool:
    """Whether a text is a dump's identity."""
    return len(digits) == 32 and _HEX.issuperset(digits)


def text(raw: bytes) -> str:
    """Text out of a dump or a file name, undamaged: bytes that are not UTF-8 become lone surrogates.

    ``raw_bytes`` turns it back. JSON carries it as ``\\udcXX``; only ``thoth.render`` may show it.
    """
    return raw.decode("utf-8", "surrogateescape")


def raw_bytes(value: str) -> bytes:
    """The bytes that ``text`` was given."""
    return value.encode("utf-8", "surrogateescape")
