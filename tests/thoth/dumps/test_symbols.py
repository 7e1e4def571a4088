"""Which symbol an address has: among aliases, by size, out of each place where tables are."""

from __future__ import annotations

import lzma
import struct

import pytest

from tests.support.elfwriter import PT_LOAD, Segment, elf
from tests.support.sources import whole
from thoth.dumps.allowance import Allowance
from thoth.dumps.elfcore import Header, parse_header
from thoth.dumps.image import Image
from thoth.dumps.symbols import Symbol, SymbolTable, file_tables, memory_tables

LOCAL, GLOBAL, WEAK = 0, 1, 2
FUNC, OBJECT, NOTYPE = 2, 1, 0
BASE = 0x7F0000000000

Written = tuple[str, int, int, int, int]  # name, value, size, binding, type


def header(bits: int = 64) -> Header:
    found = parse_header(elf([Segment(PT_LOAD, b"x")], bits=bits, type=3), (3,))
    assert found is not None
    return found


def entries(symbols: list[Written], bits: int = 64) -> tuple[bytes, bytes]:
    """A symbol table and its names."""
    names, table = b"\0", bytes(24 if bits == 64 else 16)
    for name, value, size, binding, kind in symbols:
        info = binding << 4 | kind
        if bits == 64:
            table += struct.pack("<IBBHQQ", len(names), info, 0, 1, value, size)
        else:
            table += struct.pack("<IIIBBH", len(names), value, size, info, 0, 1)
        names += name.encode() + b"\0"
    return table, names


def table_of(*symbols: Written, bits: int = 64) -> SymbolTable:
    table, names = entries(list(symbols), bits)
    return SymbolTable(lambda at, length: table[at : at + length], len(table), header(bits), lambda at: names[at:])


@pytest.mark.parametrize("bits", [32, 64])
def test_an_address_lies_in_a_symbol_from_its_beginning_up_to_its_end(bits: int) -> None:
    table = table_of(("g", 0x200, 0x10, GLOBAL, FUNC), ("f", 0x100, 0x20, GLOBAL, FUNC), bits=bits)
    assert table.find(0x100) == table.find(0x11F) == Symbol(b"f", 0x100, 0x20)
    assert table.find(0x200) == Symbol(b"g", 0x200, 0x10)
    for nowhere in (0, 0xFF, 0x120, 0x1FF, 0x210, 1 << 63):
        assert table.find(nowhere) is None
    assert table.lowest == 0x100


def test_what_no_code_lies_in_has_no_name() -> None:
    table = table_of(("data", 0x100, 0x20, GLOBAL, OBJECT), ("label", 0x100, 0, GLOBAL, FUNC))
    assert table.find(0x100) is table.lowest is None


def test_a_function_inside_another_is_the_nearer_one_and_the_outer_goes_on_behind_it() -> None:
    table = table_of(("outer", 0x100, 0x100, GLOBAL, FUNC), ("inner", 0x140, 0x10, LOCAL, NOTYPE))
    assert [getattr(table.find(at), "name", None) for at in (0x13F, 0x148, 0x150)] == [b"outer", b"inner", b"outer"]


def test_large_functions_that_lie_far_before_and_apart() -> None:
    table = table_of(
        ("wide", 0x1FFF0, 0x50000, GLOBAL, FUNC),
        ("at the end", (1 << 64) - 16, 15, GLOBAL, FUNC),
        *((f"f{number}", 0x60000 + number, 1, GLOBAL, FUNC) for number in range(20)),
    )
    places = (0x1FFF0, 0x30000, 0x60013, 0x60014, 0x6FFEF, 0x6FFF0, (1 << 64) - 2)
    found = [getattr(table.find(at), "name", None) for at in places]
    assert found == [b"wide", b"wide", b"f19", b"wide", b"wide", None, b"at the end"]


# Of two names of one address the first is taken: in the order in which libproc looks at them.
PREFERRED: list[tuple[Written, Written]] = [
    (("f", 0x100, 8, LOCAL, FUNC), ("a", 0x100, 8, GLOBAL, NOTYPE)),
    (("f", 0x100, 8, WEAK, FUNC), ("a", 0x100, 8, LOCAL, FUNC)),
    (("f", 0x100, 8, GLOBAL, FUNC), ("$a", 0x100, 8, GLOBAL, FUNC)),
    (("_f", 0x100, 8, WEAK, FUNC), ("__a", 0x100, 8, GLOBAL, FUNC)),
    (("f", 0x100, 8, GLOBAL, FUNC), ("a", 0x100, 9, GLOBAL, FUNC)),
    (("a", 0x100, 8, GLOBAL, FUNC), ("f", 0x100, 8, WEAK, FUNC)),
    (("f", 0x100, 8, GLOBAL, FUNC), ("a", 0x100, 2, GLOBAL, FUNC)),  # too short for 0x104
]


@pytest.mark.parametrize(("one", "other"), PREFERRED)
def test_of_several_names_one_is_preferred(one: Written, other: Written) -> None:
    for table in (table_of(one, other), table_of(other, one)):
        found = table.find(0x104)
        assert found is not None and found.name == one[0].encode()


@pytest.mark.parametrize(("written", "name"), [("f@@V_2.34", b"f"), ("f@V_1", b"f"), ("@f", b"@f")])
def test_a_version_is_no_part_of_a_name(written: str, name: bytes) -> None:
    assert table_of((written, 0x100, 8, GLOBAL, FUNC)).find(0x100) == Symbol(name, 0x100, 8)


# ---- in memory ------------------------------------------------------------------------------------

SYMBOLS: list[Written] = [("first", 0x1000, 16, GLOBAL, FUNC), ("last", 0x1020, 16, GLOBAL, FUNC)]


def in_memory(tags: dict[int, int], more: bytes = b"", *, apart: bool = False) -> list[SymbolTable]:
    """The tables of a library at BASE: symbols at 0x200, names behind them (or at 0x180), ``more`` at 0x600."""
    table, names = entries(SYMBOLS)
    names_at = 0x180 if apart else 0x200 + len(table)
    dynamic = b"".join(struct.pack("<QQ", *pair) for pair in {5: names_at, 10: len(names), **tags, 0: 0}.items())
    memory = bytearray(0x1000)
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    memory[:64] = ident + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    memory[64:120] = struct.pack("<IIQQQQQQ", PT_LOAD, 5, 0, 0, 0, 0x1000, 0x2000, 0)
    memory[120:176] = struct.pack("<IIQQQQQQ", 2, 6, 0x800, 0x800, 0, len(dynamic), len(dynamic), 0)
    for at, data in ((0x200, table), (names_at, names), (0x600, more), (0x800, dynamic)):
        memory[at : at + len(data)] = data
    image = Image.in_memory(BASE, BASE + 0x2000, lambda at, length: bytes(memory[at - BASE :][:length]))
    assert image is not None and image.bias == BASE
    return memory_tables(image, Allowance(1000))


GNU_HASH = struct.pack("<4IQ2I2I", 2, 1, 1, 0, 0, 1, 2, 2, 3)  # two buckets with a chain of one each
PLACES: dict[str, tuple[dict[int, int], bytes]] = {
    "as many as the hash table has chains": ({6: 0x200, 4: 0x600}, struct.pack("<II", 1, 3)),
    "as many as GNU's hash table leads to": ({6: 0x200, 0x6FFFFEF5: 0x600}, GNU_HASH),
    "up to the names": ({6: 0x200}, b""),
    "where the loader has put them": ({6: BASE + 0x200, 4: BASE + 0x600, 5: BASE + 0x248}, struct.pack("<II", 1, 3)),
    "as illumos has them for debuggers": ({0x60000011: 0x200, 0x60000012: 72}, b""),
}


@pytest.mark.parametrize(("tags", "more"), PLACES.values(), ids=PLACES.keys())
def test_the_dynamic_section_leads_to_symbols(tags: dict[int, int], more: bytes) -> None:
    found = in_memory(tags, more)
    assert [getattr(found[0].find(at), "name", None) for at in (0x1008, 0x1018, 0x102F)] == [b"first", None, b"last"]


def test_symbols_that_nothing_counts_are_not_looked_for() -> None:
    (table,) = in_memory({6: 0x200}, apart=True)
    assert table.find(0x1000) is None


# ---- in files -------------------------------------------------------------------------------------


def library(packed: bytes) -> Image:
    """A library with nothing but .gnu_debugdata."""
    names = b"\0.gnu_debugdata\0"
    body = 64 + 56
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    at = body + len(names) + len(packed)
    data = ident + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, at, 0, 64, 56, 1, 64, 3, 1)
    data += struct.pack("<IIQQQQQQ", PT_LOAD, 5, 0, 0, 0, body, body, 0) + names + packed
    data += bytes(64) + struct.pack("<IIQQQQIIQQ", 0, 3, 0, 0, body, len(names), 0, 0, 1, 0)
    data += struct.pack("<IIQQQQIIQQ", 1, 1, 0, 0, body + len(names), len(packed), 0, 0, 1, 0)
    image = Image.of_file(whole(data))
    assert image is not None
    return image


def unpacked() -> bytes:
    """An ELF file that has .symtab and its names, and nothing else."""
    table, names = entries(SYMBOLS)
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    at = 64 + len(table) + len(names)
    data = ident + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 0, at, 0, 64, 56, 0, 64, 3, 0) + table + names
    data += bytes(64) + struct.pack("<IIQQQQIIQQ", 0, 2, 0, 0, 64, len(table), 2, 1, 8, 24)
    return data + struct.pack("<IIQQQQIIQQ", 0, 3, 0, 0, 64 + len(table), len(names), 0, 0, 1, 0)


def test_packed_symbols_are_unpacked() -> None:
    (table,) = file_tables(library(lzma.compress(unpacked())), Allowance(1000))
    assert table.find(0x1020) == Symbol(b"last", 0x1020, 16)


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"no xz",
        lzma.compress(unpacked())[:-20],
        lzma.compress(b"no ELF"),
        lzma.compress(unpacked() + bytes(40 << 20), preset=0),
    ],
    ids=["nothing", "not packed", "cut", "something else", "a bomb"],
)
def test_packed_symbols_that_are_none(packed: bytes) -> None:
    assert file_tables(library(packed), Allowance(1000)) == []


def test_more_symbols_than_are_allowed_are_not_looked_at() -> None:
    (table,) = file_tables(library(lzma.compress(unpacked())), Allowance(2))
    assert table.find(0x1000) == Symbol(b"first", 0x1000, 16)
    assert table.find(0x1020) is None
