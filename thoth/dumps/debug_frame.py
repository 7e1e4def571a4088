"""Call frame information as debuggers have it: .debug_frame, of what was built without .eh_frame, as C without unwind
tables and Go are.

It has no table of functions, and is gone through once. Sources: DWARF 5, section 6.4.1; the System V gABI, chapter 4,
"Section Compression".
"""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final

from thoth.dumps.allowance import Allowance
from thoth.dumps.cfi_rules import Damaged
from thoth.dumps.image import Image

MOST_FUNCTIONS: Final = 1 << 17

_LARGEST: Final = 16 << 20  # bytes of a section; those of large programs have some MiB
_ENTRY: Final = 1 << 14  # bytes of one entry
_ROW: Final = 128  # bytes of memory that an entry of the table takes, about
_NO_ENTRY: Final = b"\xff\xff\xff\xff"  # where entries have the place of their CIE, a CIE has this
_ZLIB: Final = 1


class DebugFrame:
    """The section's functions, by address as linked. ``decode`` makes the entry out of a CIE and an FDE behind it.

    The allowance is of bytes: of the section, and of what goes through it takes.
    """

    def __init__(self, image: Image, decode: Callable[[bytes], Any], allowance: Allowance) -> None:
        self._decode, self._allowance = decode, allowance
        self._order, self._wide = image.header.order, image.header.wide
        self._data = _section(image, allowance)
        self._rows: list[tuple[int, int]] | None = None

    def before(self, address: int) -> tuple[int, int] | None:
        """The last function that begins at or before an address: where it begins, and where in the section its entry
        is."""
        if self._rows is None:
            self._rows = sorted(islice(self._scanned(), MOST_FUNCTIONS))
        place = bisect_right(self._rows, (address, 1 << 64)) - 1
        return self._rows[place] if place >= 0 else None

    def decoded(self, place: int) -> Any:
        """The entry at a place, decoded. Raises Damaged, and what ``decode`` does."""
        entry = self._entry_at(place)
        shared = self._entry_at(struct.unpack_from(self._order + "I", entry, 4)[0])
        if shared[4:8] != _NO_ENTRY:
            raise Damaged
        return self._decode(shared + entry[:4] + bytes(4) + entry[8:])

    def _scanned(self) -> Iterator[tuple[int, int]]:
        head = struct.Struct(self._order + ("I4sQ" if self._wide else "I4sI"))
        at = 0
        while at + head.size <= len(self._data) and self._allowance.take(_ROW):
            length, shared, start = head.unpack_from(self._data, at)
            if not 4 <= length <= _ENTRY:  # or of a form for sections of 4 GiB
                return
            if shared != _NO_ENTRY:
                yield start, at
            at += length + 4

    def _entry_at(self, place: int) -> bytes:
        head = self._data[place : place + 4]
        length = struct.unpack(self._order + "I", head)[0] if len(head) == 4 else 0
        data = self._data[place : place + length + 4]
        if not 4 <= length <= _ENTRY or len(data) < length + 4:
            raise Damaged
        return data


def _section(image: Image, allowance: Allowance) -> bytes:
    """The section's bytes, also where they are compressed; none when there is none, or more than are allowed."""
    place = image.section(b".debug_frame")
    if image.file is None or place is None or not place.in_file or place.offset >= image.file.size:
        return b""
    form = struct.Struct(image.header.order + ("I4xQ8x" if image.header.wide else "II4x"))
    if place.size > _LARGEST or not allowance.take(place.size):
        return b""
    data = image.file.read_at(place.offset, place.size)
    if len(data) < form.size or data[4:8] == _NO_ENTRY:
        return data
    kind, size = form.unpack_from(data)
    allowed = kind == _ZLIB and 0 < size <= _LARGEST and allowance.take(size)
    return _inflated(data[form.size :], size) if allowed else b""


def _inflated(packed: bytes, size: int) -> bytes:
    """What is packed, of so many bytes; nothing when it is damaged or of another size."""
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(packed, size + 1)
    except zlib.error:
        return b""
    return data if unpacker.eof and len(data) == size else b""
