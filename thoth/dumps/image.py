"""Executables and libraries: their program headers, and their bytes by the addresses that they were linked for.

They come as files, or as what a core holds of them in memory. Source: the System V gABI, chapters 4 and 5.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import islice

from thoth.dumps.elfcore import (
    ET_DYN,
    ET_EXEC,
    HEAD,
    PT_LOAD,
    PT_NOTE,
    ElfCore,
    Header,
    Memory,
    Section,
    Segment,
    parse_header,
)
from thoth.dumps.source import ReadAt

PT_DYNAMIC, PT_PHDR, PT_GNU_EH_FRAME = 2, 6, 0x6474E550
BUILD_ID_NOTE = b".note.gnu.build-id"  # the section

_SEGMENTS = 256  # that are looked at; ordinary ones have about ten
_DYNAMIC = 16384  # bytes of a dynamic section that are read
_NOTES = 8192  # bytes of a note segment that are read
_LONGEST_ID = 128  # bytes of a build-id; usual are 20, and 83 are of Go
_GNU, _GO = (b"GNU\0", 3), (b"Go\0\0", 4)  # who and which note: NT_GNU_BUILD_ID, and that of Go's own linker

Read = Callable[[int, int], bytes]  # address, length: the bytes there, as far as they are known


class Image:
    """An executable or library. ``read`` takes addresses of its own; ``file`` is the whole file, if there is one.

    ``bias`` is how far from there it was put in memory, 0 for a file.
    """

    __slots__ = ("_build_id", "_go_build_id", "bias", "elf", "file", "header", "read", "segments")

    def __init__(self, elf: ElfCore, read: Read | None) -> None:
        self.elf = elf
        self.header: Header = elf.header
        self.segments: tuple[Segment, ...] = tuple(islice(elf.segments(), _SEGMENTS))
        self.file: ReadAt | None = elf.source if read is None else None
        self.read: Read = read or Memory(elf.source, self.segments).read
        self.bias = 0
        self._build_id: str | None = None
        self._go_build_id: str | None = None

    @classmethod
    def of_file(cls, source: ReadAt) -> Image | None:
        """A file on some disk; None when it is no executable or library."""
        header = parse_header(source.read_at(0, HEAD), (ET_EXEC, ET_DYN))
        return None if header is None else cls(ElfCore(source, header), None)

    @classmethod
    def in_memory(cls, base: int, end: int, read: Read) -> Image | None:
        """What was mapped at ``base``, its first byte, and ends before ``end``, as far as ``read`` knows it."""
        source = _Mapped(base, end, read)
        header = parse_header(source.read_at(0, 64), (ET_EXEC, ET_DYN))
        if header is None:
            return None
        image = cls(ElfCore(source, header), read)
        first = image.first_address
        if first is None:
            return None
        image.bias = bias = base - first
        image.read = lambda address, length: read(address + bias, length)
        return image

    @property
    def first_address(self) -> int | None:
        """The address of its first byte, as linked; None when no segment begins with that."""
        return next((s.vaddr - s.offset for s in self.segments if s.type == PT_LOAD and s.offset < 4096), None)

    @property
    def end_address(self) -> int:
        """The address behind its last byte, as linked."""
        return max((s.vaddr + s.memsz for s in self.segments if s.type == PT_LOAD), default=0)

    def section(self, name: bytes) -> Section | None:
        """The first section by this name, of a file."""
        sections = list(self.elf.sections()) if self.file else []
        if self.file is None or self.header.shstrndx >= len(sections):
            return None
        names = sections[self.header.shstrndx]
        wanted = name + b"\0"
        return next((s for s in sections if self._text(names, s.name, len(wanted)) == wanted), None)

    def _text(self, names: Section, at: int, length: int) -> bytes:
        inside = self.file and at < names.size and names.offset < self.file.size
        return self.file.read_at(names.offset + at, length) if self.file and inside else b""

    def debug_link(self) -> bytes:
        """The name of the file that has the symbols which were stripped from this one; empty when it tells none."""
        place = self.section(b".gnu_debuglink")
        name, nul, _ = self._text(place, 0, min(place.size, 256)).partition(b"\0") if place else (b"", b"", b"")
        return name if nul and b"/" not in name else b""

    def unplaced(self, address: int) -> int:
        """An address out of the object, as linked, also when the loader has put it in its place in memory."""
        placed = self.bias and self.bias + (self.first_address or 0) <= address < self.bias + self.end_address
        return address - self.bias if placed else address

    def segment(self, kind: int) -> Segment | None:
        """The first program header of this type."""
        return next((each for each in self.segments if each.type == kind), None)

    def dynamic(self) -> dict[int, int]:
        """The dynamic section: the first value of each tag; empty when there is none, or it is not known."""
        place = self.segment(PT_DYNAMIC)
        data = self.read(place.vaddr, min(place.memsz, _DYNAMIC)) if place else b""
        return dynamic_entries(data, self.header)

    def build_id(self) -> str | None:
        """The build-id in hex, if there is one and it is known."""
        if self._build_id is None:
            self._build_id = self._noted(_GNU) or self._build_id_of_section() or ""
        return self._build_id or None

    def build_id_at(self, address: int, length: int) -> str | None:
        """The build-id in hex among the notes at an address."""
        return self._note(self.read(address, min(length, _NOTES)), _GNU)

    def go_build_id(self) -> str | None:
        """The name that Go's linker has given to this build, in hex."""
        if self._go_build_id is None:
            self._go_build_id = self._noted(_GO) or ""
        return self._go_build_id or None

    def _noted(self, kind: tuple[bytes, int]) -> str | None:
        places = (each for each in self.segments if each.type == PT_NOTE)
        found = (self._note(self.read(each.vaddr, min(each.filesz, _NOTES)), kind) for each in places)
        return next((value for value in found if value), None)

    def _build_id_of_section(self) -> str | None:
        """The build-id of a file whose program headers do not lead to it, as Go's linker leaves it."""
        place = self.section(BUILD_ID_NOTE)
        if self.file is None or place is None or place.offset >= self.file.size:
            return None
        return self._note(self.file.read_at(place.offset, min(place.size, _NOTES)), _GNU)

    def _note(self, data: bytes, kind: tuple[bytes, int]) -> str | None:
        """What the first such note says, in hex."""
        head = struct.Struct(self.header.order + "III")
        at = 0
        while at + 12 <= len(data):
            namesz, descsz, number = head.unpack_from(data, at)
            start = at + 12 + (namesz + 3 & ~3)
            name, value = data[at + 12 : at + 12 + min(namesz, 16)], data[start : start + descsz]
            if (name, number) == kind and len(value) == descsz <= _LONGEST_ID:
                return value.hex()
            at = start + (descsz + 3 & ~3)
        return None


def dynamic_entries(data: bytes, header: Header) -> dict[int, int]:
    """The entries of a dynamic section, the first of each tag, up to DT_NULL."""
    entry = struct.Struct(header.order + ("QQ" if header.wide else "II"))
    entries: dict[int, int] = {}
    for tag, value in entry.iter_unpack(data[: len(data) // entry.size * entry.size]):
        if not tag:
            break
        entries.setdefault(tag, value)
    return entries


class _Mapped:
    """Memory from an address on, as if it were a file."""

    __slots__ = ("_base", "_read", "size")

    def __init__(self, base: int, end: int, read: Read) -> None:
        self._base = base
        self._read = read
        self.size = max(0, end - base)

    def read_at(self, offset: int, length: int) -> bytes:
        inside = max(0, min(length, self.size - offset))
        return self._read(self._base + offset, inside) if inside else b""
