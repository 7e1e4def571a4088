"""Which function an address lies in: symbol tables, of files and as a process has them in memory.

Sources: the System V gABI, chapter 4 (symbol table) and 5 (dynamic section, hash table); the hash table of GNU
as its linker writes it; usr/src/uts/common/sys/link.h for the tables that only illumos has.
"""

from __future__ import annotations

import lzma
import struct
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from thoth.dumps.allowance import Allowance
from thoth.dumps.elfcore import Header, Section
from thoth.dumps.image import Image
from thoth.dumps.source import KnownRanges, ReadAt

SHT_SYMTAB, SHT_STRTAB, SHT_DYNSYM = 2, 3, 11
LONGEST_NAME = 4096  # bytes of a symbol's name that are kept; templates of C++ have names of hundreds

_MOST_BUCKETS = 1 << 19  # of a hash table
_INFLATED = 32 << 20  # bytes that .gnu_debugdata may have when it is decompressed
_OBJECT, _FUNC, _IFUNC = 1, 2, 10
_CODE = frozenset((0, _FUNC, _IFUNC))  # types of symbols that code can have
_PLACE = 21  # bits of a symbol's number in its table: more symbols are not looked at
_ROUGHLY = 16  # bits of an address that are not of its place
_MOST_PLACES = 1 << 16
_PIECE = 1 << 15  # symbols that are read at once
_WIDE = 24  # bytes of a 64-bit symbol; those of 32 bits have 16
_LOOK_BACK = 32  # symbols before an address that are asked whether they reach to it

_DT_HASH, _DT_STRTAB, _DT_SYMTAB, _DT_STRSZ, _DT_GNU_HASH = 4, 5, 6, 10, 0x6FFFFEF5
_DT_SUNW_SYMTAB, _DT_SUNW_SYMSZ = 0x60000011, 0x60000012

ReadName = Callable[[int], bytes]  # from an offset among the names on
ReadPart = Callable[[int, int], bytes]  # offset, length


class Symbol(NamedTuple):
    """A function: where it begins, by the addresses of its object, and how long it is."""

    name: bytes
    value: int
    size: int


class _Entry(NamedTuple):
    """What a table says of a function: with where its name begins."""

    value: int
    size: int
    info: int  # type and binding
    name: int


class SymbolTable:
    """One symbol table: its functions, by address. ``read`` gives bytes of it, of which there are ``size``.

    Large programs have half a million functions, of which a stack needs some: by eight bytes for each they are known
    by where they lie, roughly, and put in order there where an address is looked for.
    """

    __slots__ = ("_name", "_near", "_places", "_read", "_sorted", "_symbol")

    def __init__(self, read: ReadPart, size: int, header: Header, name: ReadName) -> None:
        self._read, self._name = read, name
        self._symbol = struct.Struct(header.order + ("IBBHQQ" if header.wide else "IIIBBH"))
        self._near = _by_place(read, size, self._symbol)
        self._places = sorted(self._near)
        self._sorted: dict[int, list[int]] = {}

    def find(self, address: int) -> Symbol | None:
        """The function that the address lies in; of several with one beginning the one that mdb would name."""
        before = self._before(address)
        for place, (value, number) in enumerate(before[:_LOOK_BACK]):
            entry = self._entry(number)
            if entry and address < value + entry.size:
                return self._preferred(before[place : place + _LOOK_BACK], address)
        return None

    @property
    def lowest(self) -> int | None:
        """Where the first function begins."""
        return (
            (self._places[0] << _ROUGHLY) + (self._in_order(self._places[0])[0] >> _PLACE) if self._places else None
        )

    def _before(self, address: int) -> list[tuple[int, int]]:
        """Value and number of the last functions that begin at or before an address, the nearest first."""
        found: list[tuple[int, int]] = []
        for at in range(bisect_right(self._places, address >> _ROUGHLY) - 1, -1, -1):
            begin = self._places[at] << _ROUGHLY
            keys = self._in_order(self._places[at])
            end = bisect_right(keys, (address - begin + 1 << _PLACE) - 1)
            near = keys[max(0, end - 2 * _LOOK_BACK) : end]
            found += [(begin + (key >> _PLACE), key & (1 << _PLACE) - 1) for key in reversed(near)]
            if len(found) >= 2 * _LOOK_BACK:
                break
        return found

    def _in_order(self, place: int) -> list[int]:
        if place not in self._sorted:
            self._sorted[place] = sorted(self._near[place])
        return self._sorted[place]

    def _entry(self, number: int) -> _Entry | None:
        """A function by its number in the table."""
        data = self._read(number * self._symbol.size, self._symbol.size)
        if len(data) < self._symbol.size:
            return None
        fields = self._symbol.unpack(data)
        if self._symbol.size == _WIDE:
            name, info, _, _, value, size = fields
        else:
            name, value, size, info, _, _ = fields
        return _Entry(value, size, info, name)

    def _preferred(self, near: Sequence[tuple[int, int]], address: int) -> Symbol:
        value = near[0][0]
        named: list[tuple[tuple[object, ...], Symbol]] = []
        for entry in (self._entry(number) for each, number in near if each == value):
            if entry and address < value + entry.size:
                full = self._name(entry.name).partition(b"\0")[0]
                name = full.partition(b"@")[0] or full  # without the version of a library's interface
                named.append((_preference(name, entry.info, entry.size), Symbol(name, value, entry.size)))
        return min(named)[1]


def _by_place(read: ReadPart, size: int, symbol: struct.Struct) -> dict[int, array[int]]:
    """Where each function begins within its place, and its number in the table, by place."""
    found: dict[int, array[int]] = {}
    step, inside = _PIECE * symbol.size, (1 << _ROUGHLY) - 1
    for at in range(0, min(size, symbol.size << _PLACE), step):
        before = at // symbol.size
        for number, value in _functions(read(at, min(step, size - at)), symbol):
            place = value >> _ROUGHLY
            if place not in found:
                if len(found) == _MOST_PLACES:  # no program is as large as that
                    continue
                found[place] = array("Q")
            found[place].append((value & inside) << _PLACE | before + number)
    return found


def _functions(data: bytes, symbol: struct.Struct) -> Iterator[tuple[int, int]]:
    """Place among these and value of each symbol that may be a function."""
    all_of = symbol.iter_unpack(_cut(data, symbol.size))
    if symbol.size == _WIDE:
        for number, (_, info, _, section, value, size) in enumerate(all_of):
            if section and size and info & 15 in _CODE:
                yield number, value
    else:
        for number, (_, value, size, info, _, section) in enumerate(all_of):
            if section and size and info & 15 in _CODE:
                yield number, value


def _cut(data: bytes, entry: int) -> bytes:
    return data[: len(data) // entry * entry]


def _preference(name: bytes, info: int, size: int) -> tuple[object, ...]:
    """Of several symbols of one address the smallest is taken, in the order in which libproc chooses."""
    local = info >> 4 == 0
    underscores = len(name) - len(name.lstrip(b"_"))
    return (info & 15 not in (_FUNC, _IFUNC), local, name.startswith(b"$"), underscores, size, name)


# ---- where tables are ------------------------------------------------------------------------------


def section_table(
    source: ReadAt, header: Header, symbols: Section, names: Section, allowance: Allowance
) -> SymbolTable:
    """A table out of two sections of a file, or as much of it as the allowance, which is of symbols, has left."""
    size = _allowed(min(symbols.size, max(source.size - symbols.offset, 0)), header, allowance)
    return SymbolTable(partial(_part_in, source, symbols), size, header, lambda at: _name_in(source, names, at))


def _part_in(source: ReadAt, symbols: Section, at: int, length: int) -> bytes:
    return source.read_at(symbols.offset + at, length)


def _allowed(size: int, header: Header, allowance: Allowance) -> int:
    """Bytes of a table of this size that may be looked at."""
    entry = _WIDE if header.wide else 16
    return allowance.take_up_to(size // entry) * entry


def _name_in(source: ReadAt, names: Section, at: int) -> bytes:
    if at >= names.size or names.offset >= source.size:
        return b""
    return source.read_at(names.offset + at, min(LONGEST_NAME, names.size - at))


def file_tables(image: Image, allowance: Allowance) -> list[SymbolTable]:
    """The tables of an executable's or library's file, the fullest first; none for what is not a file."""
    found = [*_section_tables(image, SHT_SYMTAB, allowance), *_section_tables(image, SHT_DYNSYM, allowance)]
    inner = None if is_full(image) else _debugdata(image)
    return found if inner is None else [*found, *_section_tables(inner, SHT_SYMTAB, allowance)]


def is_full(image: Image) -> bool:
    """Whether a file has its full symbol table: it was not stripped."""
    return image.file is not None and any(s.type == SHT_SYMTAB and s.in_file for s in image.elf.sections())


def _section_tables(image: Image, kind: int, allowance: Allowance) -> Iterator[SymbolTable]:
    sections = list(image.elf.sections()) if image.file else []
    for each in sections:
        if image.file and each.type == kind and each.link < len(sections):
            yield section_table(image.file, image.header, each, sections[each.link], allowance)


def _debugdata(image: Image) -> Image | None:
    """The ELF file in .gnu_debugdata, compressed, that has the symbols which were stripped."""
    packed = image.section(b".gnu_debugdata")
    if image.file is None or packed is None or packed.offset >= image.file.size:
        return None
    inflated = _inflated(image.file.read_at(packed.offset, min(packed.size, _INFLATED)))
    inner = Image.of_file(KnownRanges(len(inflated), [(0, inflated)])) if inflated else None
    return inner if inner and inner.header.machine == image.header.machine else None


def _inflated(packed: bytes) -> bytes:
    """What xz has compressed; nothing when it is damaged, or larger than it may be."""
    unpacker = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_INFLATED)
    try:
        data = unpacker.decompress(packed, _INFLATED)
    except (lzma.LZMAError, EOFError):
        return b""
    return data if unpacker.eof else b""


def memory_tables(image: Image, allowance: Allowance) -> list[SymbolTable]:
    """The tables that the dynamic section leads to: what the process itself could look up."""
    dynamic, found = image.dynamic(), []
    names, length = _own(image, dynamic.get(_DT_STRTAB)), dynamic.get(_DT_STRSZ, 0)
    if not names:
        return []
    for start, size in _dynamic_places(image, dynamic, names):
        found.append(
            SymbolTable(
                partial(_part_of, image, start),
                _allowed(size, image.header, allowance),
                image.header,
                lambda at: _name_at(image, names, length, at),
            )
        )
    return found


def _part_of(image: Image, start: int, at: int, length: int) -> bytes:
    return image.read(start + at, length)


def _name_at(image: Image, names: int, length: int, at: int) -> bytes:
    return image.read(names + at, min(LONGEST_NAME, length - at)) if at < length else b""


def _own(image: Image, address: int | None) -> int:
    """An address out of a dynamic section, as linked: glibc's loader has put those of the process in their place."""
    if address is None:
        return 0
    return image.unplaced(address)


def _dynamic_places(image: Image, dynamic: dict[int, int], names: int) -> Iterator[tuple[int, int]]:
    """Where the tables begin and how many bytes they have."""
    own, size = _own(image, dynamic.get(_DT_SUNW_SYMTAB)), dynamic.get(_DT_SUNW_SYMSZ)
    if own and size:
        yield own, size
    start = _own(image, dynamic.get(_DT_SYMTAB))
    entry = _WIDE if image.header.wide else 16
    if start:
        count = _symbol_count(image, dynamic)
        # The names lie behind the symbols wherever a linker made both; that is no rule, so it comes last.
        yield start, count * entry if count else max(0, names - start)


def _symbol_count(image: Image, dynamic: dict[int, int]) -> int:
    """How many symbols the hash table of either kind knows; 0 without one."""
    order = image.header.order
    plain, gnu = _own(image, dynamic.get(_DT_HASH)), _own(image, dynamic.get(_DT_GNU_HASH))
    if plain:
        data = image.read(plain, 8)
        return int(struct.unpack(order + "II", data)[1]) if len(data) == 8 else 0
    return _gnu_symbol_count(image, gnu, order) if gnu else 0


def _gnu_symbol_count(image: Image, at: int, order: str) -> int:
    """The last symbol of the last chain, and one: buckets lead to chains, whose last entry is odd."""
    head = image.read(at, 16)
    if len(head) < 16:
        return 0
    count, first, words, _ = struct.unpack(order + "IIII", head)
    buckets = at + 16 + words * (8 if image.header.wide else 4)
    data = image.read(buckets, 4 * min(count, _MOST_BUCKETS))
    last = max(struct.unpack(f"{order}{len(data) // 4}I", _cut(data, 4)), default=0)
    if last < first:
        return int(first)
    chain = image.read(buckets + 4 * count + 4 * (last - first), 4 * 4096)
    for place, (value,) in enumerate(struct.iter_unpack(order + "I", _cut(chain, 4))):
        if value & 1:
            return int(last + place + 1)
    return int(last + 1)
