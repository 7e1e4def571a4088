"""Fields at fixed places in bytes that may end too early: what is not there is None."""

from __future__ import annotations

import struct
from typing import Literal

ByteOrder = Literal["<", ">"]  # as the struct module writes little and big endian

TEXT_LIMIT = 65536  # bytes of one text that are kept


class Record:
    """One structure out of a dump."""

    __slots__ = ("_data", "_order")

    def __init__(self, data: bytes, order: ByteOrder) -> None:
        self._data = data
        self._order = order

    def number(self, at: int, form: str) -> int | None:
        """The integer at offset ``at``; ``form`` is the struct module's letter for its size and sign."""
        try:
            value: int = struct.unpack_from(self._order + form, self._data, at)[0]
        except struct.error:
            return None
        return value

    def numbers(self, at: int, form: str, count: int) -> tuple[int, ...] | None:
        """So many integers in a row; None when the structure ends before them."""
        try:
            return struct.unpack_from(f"{self._order}{count}{form}", self._data, at)
        except struct.error:
            return None

    def text(self, at: int, size: int) -> bytes | None:
        """The bytes of a char array up to its first NUL; None when the structure ends before the text."""
        field = self._data[at : at + size]
        value, nul, _ = field.partition(b"\0")
        return value if nul or len(field) == size else None


def ends_inside(offset: int, length: int, size: int) -> bool:
    """Whether an extent lies inside a file of ``size`` bytes. An empty one lies anywhere."""
    return length <= 0 or 0 <= offset <= size - length
