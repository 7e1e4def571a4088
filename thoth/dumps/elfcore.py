"""ELF core files: header, program headers, notes and memory, read in bounded steps.

Source: the System V gABI, chapters 4 and 5, and sys/elf.h. Notes of cores are padded to 4 bytes in both
classes, on illumos, Linux and FreeBSD alike. Everything read here may be a lie; nothing here raises for it.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator
from itertools import chain, islice
from typing import NamedTuple

from thoth.dumps.record import ByteOrder, ends_inside
from thoth.dumps.source import Range, ReadAt

ET_EXEC, ET_DYN, ET_CORE = 2, 3, 4
PT_LOAD, PT_NOTE = 1, 4
PF_X, PF_W = 1, 2
PN_XNUM = 0xFFFF
HEAD = 8192  # bytes of the first read of any dump
NOTE_LIMIT = 100_000  # note entries that are looked at in one core, all segments together
EXTRA = (
    256 << 10
)  # bytes of header tables, of section headers, of notes that are read though the identity needs them not

_BLOCK = 1 << 16
_NAME = 16  # bytes of a note's name that are looked at; the longest that is known has 10
_FAR = 1 << 32  # from here on the identity reads another place than the one meant
_SHDR = {True: "II8xQQQII8xQ", False: "II4xIIIII4xI"}


class Header(NamedTuple):
    """The fields of an ELF core's header that are used."""

    bits: int
    order: ByteOrder
    osabi: int
    machine: int
    phoff: int
    phentsize: int
    phnum: int
    shoff: int
    shentsize: int
    shnum: int
    shstrndx: int

    @property
    def wide(self) -> bool:
        return self.bits == 64

    @property
    def least_phentsize(self) -> int:
        """Bytes of a program header of this class."""
        return 56 if self.bits == 64 else 32

    @property
    def least_shentsize(self) -> int:
        """Bytes of a section header of this class."""
        return 64 if self.bits == 64 else 40


class Segment(NamedTuple):
    """A program header, with its numbers as the gABI means them."""

    type: int
    flags: int
    offset: int
    vaddr: int
    filesz: int
    memsz: int


class Section(NamedTuple):
    """A section header; ``name`` is where among the names of sections its own begins."""

    name: int
    type: int
    addr: int
    offset: int
    size: int
    link: int
    info: int
    entsize: int

    @property
    def in_file(self) -> bool:
        """Whether it has bytes in the file: neither SHT_NULL nor SHT_NOBITS."""
        return self.type not in (0, 8)


class Note(NamedTuple):
    """An entry of a note segment. Of the description ``size`` bytes are promised, ``held`` are inside."""

    name: bytes
    type: int
    offset: int
    size: int
    held: int


_EHDR = {
    (wide, order): struct.Struct(order + ("HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"))
    for wide in (True, False)
    for order in "<>"
}


def parse_header(head: bytes, types: Collection[int] = (ET_CORE,)) -> Header | None:
    """The header at the start of ``head``, which zeros follow; None when that is no ELF file of these types."""
    if len(head) < 64:
        head = head.ljust(64, b"\0")
    ident, kind = head[4], head[5]
    if head[:4] != b"\x7fELF" or ident not in (1, 2) or kind not in (1, 2):
        return None
    order: ByteOrder = "<" if kind == 1 else ">"
    fields = _EHDR[ident == 2, order].unpack_from(head, 16)
    if fields[0] not in types:
        return None
    _, machine, _, _, phoff, shoff, _, _, phentsize, phnum, shentsize, shnum, names = fields
    return Header(32 * ident, order, head[7], machine, phoff, phentsize, phnum, shoff, shentsize, shnum, names)


class ElfCore:
    """A core file behind a ReadAt; ``from_source`` gives one. Raises what the source raises, nothing else."""

    __slots__ = ("_memory", "_segments", "header", "source")

    def __init__(self, source: ReadAt, header: Header) -> None:
        self.source = source
        self.header = header
        self._memory: Memory | None = None
        self._segments: tuple[Segment, ...] | None = None

    @classmethod
    def from_source(cls, source: ReadAt) -> ElfCore | None:
        """The core, or None when the file is none."""
        header = parse_header(source.read_at(0, HEAD))
        return None if header is None else cls(source, header)

    # ---- tables ----

    def segment_count(self) -> int:
        """How many program headers there are. Above 65,534 (PN_XNUM) section 0 holds the number."""
        count = self.header.phnum
        if count != PN_XNUM:
            return count
        first = self._first_section()
        return first.info if first and first.info else count

    def segment_table(self) -> Range:
        """Where the program headers lie; of what the identity does not read too, EXTRA bytes at most."""
        head = self.header
        hashed = head.phnum * head.phentsize if head.phoff < _FAR else 0
        length = min(self.segment_count() * head.phentsize, hashed + EXTRA)
        return Range(head.phoff, length - length % max(head.phentsize, 1))

    def segments(self) -> Iterator[Segment]:
        """The program headers of ``segment_table`` in file order, those that the file holds."""
        table = self.segment_table()
        if table.length > _BLOCK:
            return self._read_segments(table)
        if self._segments is None:  # a table of ordinary size is asked for ten times
            self._segments = tuple(self._read_segments(table))
        return iter(self._segments)

    def _read_segments(self, table: Range) -> Iterator[Segment]:
        head = self.header
        spare = head.phentsize - head.least_phentsize
        if spare < 0:
            return
        form = "IIQQ8xQQ8x" if head.wide else "III4xIII4x"
        for fields in self._entries(table, f"{head.order}{form}{spare}x"):
            if head.wide:
                yield Segment._make(fields)
            else:
                # The flags have another place in the smaller header.
                kind, offset, vaddr, filesz, memsz, flags = fields
                yield Segment(kind, flags, offset, vaddr, filesz, memsz)

    def section_count(self) -> int:
        """How many section headers there are; none when their entries are too small to be any."""
        head = self.header
        if not head.shoff or head.shentsize < head.least_shentsize:
            return 0
        first = None if head.shnum else self._first_section()
        return first.size if first else head.shnum

    def section_table(self) -> Range:
        """Where the section headers lie, EXTRA bytes at most; empty when there are none."""
        head = self.header
        count = self.section_count()
        return Range(head.shoff, min(count, EXTRA // head.shentsize) * head.shentsize) if count else Range(0, 0)

    def sections(self) -> Iterator[Section]:
        """The section headers of ``section_table`` in file order, those that the file holds."""
        return self._sections(self.section_table())

    def first_section(self) -> Range:
        """Where section 0 lies; empty when the header has room for all counts, so that it is not needed."""
        head = self.header
        asked = head.phnum == PN_XNUM or not head.shnum
        usable = asked and head.shoff and head.shentsize >= head.least_shentsize
        return Range(head.shoff, head.least_shentsize) if usable else Range(0, 0)

    def _first_section(self) -> Section | None:
        place = self.first_section()
        if not place.length or place.offset >= self.source.size:
            return None
        data = self.source.read_at(*place)
        entry = struct.Struct(self.header.order + _SHDR[self.header.wide])
        return Section._make(entry.unpack(data)) if len(data) == entry.size else None

    def _sections(self, table: Range) -> Iterator[Section]:
        head = self.header
        spare = max(head.shentsize - head.least_shentsize, 0)
        return map(Section._make, self._entries(table, f"{head.order}{_SHDR[head.wide]}{spare}x"))

    def _entries(self, table: Range, entry: str) -> Iterator[tuple[int, ...]]:
        size = struct.calcsize(entry)
        step = max(_BLOCK // size, 1) * size
        for at in range(table.offset, min(table.end, self.source.size), step):
            wanted = min(step, table.end - at)
            block = self.source.read_at(at, wanted)
            yield from struct.iter_unpack(entry, block[: len(block) // size * size])
            if len(block) < wanted:
                return

    # ---- notes ----

    def note_segments(self) -> Iterator[Range]:
        """Where notes lie, clipped to the file; of what the identity does not read EXTRA bytes at most."""
        size, spare = self.source.size, EXTRA
        hashed = self.header.phnum if self.header.phoff < _FAR else 0
        for index, each in enumerate(self.segments()):
            if each.type != PT_NOTE or not each.filesz or each.offset >= size:
                continue
            length = min(each.filesz, size - each.offset)
            if index >= hashed or each.offset >= _FAR or each.filesz >= _FAR:
                # The identity reads another place for these (see thoth.dumps.identity), or none.
                length = min(length, spare)
                spare -= length
            if length:
                yield Range(each.offset, length)

    def notes(self) -> Iterator[Note]:
        """The entries of all note segments in order; ends after NOTE_LIMIT entries."""
        return islice(chain.from_iterable(map(self._walk, self.note_segments())), NOTE_LIMIT)

    def _walk(self, place: Range) -> Iterator[Note]:
        header = struct.Struct(self.header.order + "III")
        at, end = place.offset, place.end
        base, window = at, b""
        while at + 12 <= end:
            if at + 12 + _NAME > base + len(window):
                base, window = at, self.source.read_at(at, min(_BLOCK, end - at))
                if len(window) < 12:
                    return
            start = at - base
            namesz, descsz, kind = header.unpack_from(window, start)
            name = window[start + 12 : start + 12 + min(namesz, _NAME)].partition(b"\0")[0]
            desc = at + 12 + (namesz + 3 & ~3)
            if desc > end:
                return
            yield Note(name, kind, desc, descsz, min(descsz, end - desc))
            at = desc + (descsz + 3 & ~3)

    def description(self, note: Note, limit: int = _BLOCK) -> bytes:
        """At most ``limit`` bytes of a note's description; fewer where segment or file end before."""
        return self.source.read_at(note.offset, min(note.held, limit)) if note.held else b""

    # ---- memory ----

    @property
    def memory(self) -> Memory:
        """The process's memory, as far as the core holds it."""
        if self._memory is None:
            self._memory = Memory(self.source, self.segments())
        return self._memory

    def extents_inside(self) -> bool:
        """Whether header, tables, segments and sections all end inside the file.

        Of tables that are larger than EXTRA allows, the part that is read is judged.
        """
        head, size = self.header, self.source.size
        tables_inside = (
            size >= (64 if head.wide else 52)
            and ends_inside(head.phoff, self.segment_count() * head.phentsize, size)
            and ends_inside(*self.first_section(), size)
            and ends_inside(head.shoff, self.section_count() * head.shentsize, size)
        )
        return (
            tables_inside
            and all(ends_inside(each.offset, each.filesz, size) for each in self.segments())
            and all(ends_inside(each.offset, each.size, size) for each in self.sections() if each.in_file)
        )


class Memory:
    """What the PT_LOAD segments of a core hold, by virtual address. What was not dumped is unknown."""

    __slots__ = ("_loads", "_source", "_starts")

    def __init__(self, source: ReadAt, segments: Iterable[Segment]) -> None:
        self._source = source
        self._loads = sorted((s.vaddr, s.filesz, s.offset) for s in segments if s.type == PT_LOAD and s.filesz)
        self._starts = [load[0] for load in self._loads]

    def ranges(self, address: int, length: int) -> list[Range]:
        """Where in the file the bytes from ``address`` on lie, as far as they were dumped without a gap."""
        found: list[Range] = []
        while length > 0:
            index = bisect_right(self._starts, address) - 1
            if index < 0:
                break
            start, size, offset = self._loads[index]
            part = min(length, start + size - address)
            if part <= 0:
                break
            found.append(Range(offset + address - start, part))
            address, length = address + part, length - part
        return found

    def parts(self, address: int, length: int) -> Iterator[tuple[int, int]]:
        """The parts of so many bytes at ``address`` that were dumped: where each begins, and its length."""
        end = address + length
        first = max(bisect_right(self._starts, address) - 1, 0)
        for start, size, _ in islice(self._loads, first, bisect_left(self._starts, end)):
            begin = max(start, address)
            if begin < min(start + size, end):
                yield begin, min(start + size, end) - begin

    def read(self, address: int, length: int) -> bytes:
        """Up to ``length`` bytes at ``address``: fewer, or none, where the core does not hold them."""
        parts: list[bytes] = []
        for each in self.ranges(address, length):
            # A 64-bit offset may be more than the operating system can seek to.
            data = self._source.read_at(*each) if each.offset < self._source.size else b""
            parts.append(data)
            if len(data) < each.length:
                break
        return b"".join(parts)
