"""The notes of a core that are looked at, found in one walk."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Set

from thoth.dumps.elfcore import ElfCore, Note
from thoth.dumps.record import TEXT_LIMIT, ByteOrder, Record

NoteKey = tuple[bytes, int]  # name without its NUL, type

_STRUCTURE = 8192  # bytes of a structure that are read; the largest that is known has 3,096
_VECTOR = 16384  # bytes of an auxiliary vector that are read: 1,024 entries of the larger size


class NoteIndex:
    """The first note of each kind in ``wanted``, and how many there are."""

    __slots__ = ("_core", "_counts", "_first")

    def __init__(self, core: ElfCore, wanted: Set[NoteKey]) -> None:
        self._core = core
        self._first: dict[NoteKey, Note] = {}
        self._counts: dict[NoteKey, int] = {}
        for note in core.notes():
            key = (note.name, note.type)
            # An entry without a description tells nothing, and a true one may follow it.
            if note.size and key in wanted:
                self._first.setdefault(key, note)
                self._counts[key] = self._counts.get(key, 0) + 1

    @property
    def wide(self) -> bool:
        """Whether the core is of a 64-bit process, which decides on the layout of structures."""
        return self._core.header.wide

    @property
    def order(self) -> ByteOrder:
        """The core's byte order."""
        return self._core.header.order

    def size(self, name: bytes, kind: int) -> int | None:
        """The promised size of the first such note's description; None without one."""
        note = self._first.get((name, kind))
        return None if note is None else note.size

    def count(self, name: bytes, kind: int) -> int:
        """How many such notes there are."""
        return self._counts.get((name, kind), 0)

    def any_of(self, keys: Set[NoteKey]) -> bool:
        """Whether there is a note of one of these kinds."""
        return not keys.isdisjoint(self._first)

    def record(self, name: bytes, kind: int, limit: int = _STRUCTURE) -> Record:
        """The first such note's description as a structure; one that is empty without such a note."""
        return Record(self.description(name, kind, limit), self.order)

    def description(self, name: bytes, kind: int, limit: int) -> bytes:
        """At most ``limit`` bytes of the first such note's description."""
        note = self._first.get((name, kind))
        return b"" if note is None else self._core.description(note, limit)

    def text(self, name: bytes, kind: int) -> tuple[bytes | None, bool]:
        """The first such note's description up to a NUL, and whether it was cut to TEXT_LIMIT bytes."""
        note = self._first.get((name, kind))
        if note is None:
            return None, False
        data = self._core.description(note, TEXT_LIMIT + 1)
        value, nul, _ = data.partition(b"\0")
        if len(value) > TEXT_LIMIT:
            return value[:TEXT_LIMIT], True
        return (value, False) if nul or len(data) == note.size else (None, False)

    def auxv(self, name: bytes, kind: int, skip: int = 0) -> Mapping[int, int]:
        """The auxiliary vector in the first such note, behind ``skip`` bytes; the first of equal entries."""
        form = struct.Struct(self.order + ("QQ" if self.wide else "II"))
        data = self.description(name, kind, _VECTOR)[skip:]
        entries: dict[int, int] = {}
        for entry, value in form.iter_unpack(data[: len(data) // form.size * form.size]):
            if not entry:
                break
            entries.setdefault(entry, value)
        return entries
