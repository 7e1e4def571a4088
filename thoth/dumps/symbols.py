"""Which function an address lies in: symbol tables, of files and as a process has them in memory.

Sources: the System V gABI, chapter 4 (symbol table) and 5 (dynamic section, hash table); the hash table of GNU
as its linker writes it; usr/src/uts/common/sys/link.h for the tables that only illumos has.
"""

from __future__ import annotations

import lzma
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator
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
_PLACE = 20  # bits of a symbol's number in its table: more symbols are not looked at
_WIDE = 24  # bytes of a 64-bit symbol; those of 32 bits have 16
_LOOK_BACK = 32  # symbols before an address that are asked whether they reach to it

_DT_HASH, _DT_STRTAB, _DT_SYMTAB, _DT_STRSZ, _DT_GNU_HASH = 4, 5, 6, 10, 0x6FFFFEF5
_DT_SUNW_SYMTAB, _DT_SUNW_SYMSZ = 0x60000011, 0x60000012

ReadName = Callable[[int], bytes]  # from an offset among the names on


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
    """One symbol table: its functions, by address."""

    __slots__ = ("_data", "_keys", "_name", "_symbol")

    def __init__(self, data: bytes, header: Header, name: ReadName) -> None:
        self._name = name
        self._data = data
        self._symbol = struct.Struct(header.order + ("IBBHQQ" if header.wide else "IIIBBH"))
        # A number for each, of its address and its place in the table: large programs have half a million.
        self._keys = sorted(value << _PLACE | number for number, value in _functions(data, self._symbol))

    def find(self, address: int) -> Symbol | None:
        """The function that the address lies in; of several with one beginning the one that mdb would name."""
        last = bisect_right(self._keys, (address + 1 << _PLACE) - 1) - 1
        for place in range(last, max(last - _LOOK_BACK, -1), -1):
            entry = self._entry(place)
            if address < entry.value + entry.size:
                return self._preferred(place, address)
        return None

    @property
    def lowest(self) -> int | None:
        """Where the first function begins."""
        return self._keys[0] >> _PLACE if self._keys else None

    def _entry(self, place: int) -> _Entry:
        """The function that comes at this place in the order of addresses."""
        number = self._keys[place] & (1 << _PLACE) - 1
        fields = self._symbol.unpack_from(self._data, number * self._symbol.size)
        if self._symbol.size == _WIDE:
            name, info, _, _, value, size = fields
        else:
            name, value, size, info, _, _ = fields
        return _Entry(value, size, info, name)

    def _preferred(self, place: int, address: int) -> Symbol:
        value = self._entry(place).value
        named: list[tuple[tuple[object, ...], Symbol]] = []
        for each in range(place, max(place - _LOOK_BACK, -1), -1):
            entry = self._entry(each)
            if entry.value != value:
                break
            if address < value + entry.size:
                full = self._name(entry.name).partition(b"\0")[0]
                name = full.partition(b"@")[0] or full  # without the version of a library's interface
                named.append((_preference(name, entry.info, entry.size), Symbol(name, value, entry.size)))
        return min(named)[1]


def _functions(data: bytes, symbol: struct.Struct) -> Iterator[tuple[int, int]]:
    """Place in the table and value of each symbol that may be a function."""
    all_of = symbol.iter_unpack(_cut(data, symbol.size)[: symbol.size << _PLACE])
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
    """A table out of two sections of a file. The allowance is of symbols."""
    size = min(symbols.size, source.size - symbols.offset) if symbols.offset < source.size else 0
    data = source.read_at(symbols.offset, size) if allowance.take(_count(size, header)) else b""
    return SymbolTable(data, header, lambda at: _name_in(source, names, at))


def _count(size: int, header: Header) -> int:
    return size // (_WIDE if header.wide else 16)


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
        data = image.read(start, size) if allowance.take(_count(size, image.header)) else b""
        found.append(SymbolTable(data, image.header, lambda at: _name_at(image, names, length, at)))
    return found


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
