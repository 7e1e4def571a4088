"""The ELF core reader: tables, notes and memory, true ones and lies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.elfwriter import PT_LOAD, PT_NOTE, Section, Segment, elf, illumos_core, linux_core, note
from tests.support.notewriter import Endian
from tests.support.sources import Logged, whole
from thoth.dumps.elfcore import NOTE_LIMIT, ElfCore, Note
from thoth.dumps.source import Range


def core_of(data: bytes) -> ElfCore:
    core = ElfCore.from_source(whole(data))
    assert core is not None
    return core


def notes_of(segment: bytes, *more: bytes, endian: Endian = "little") -> list[Note]:
    segments = [Segment(PT_NOTE, each) for each in (segment, *more)]
    return list(core_of(elf(segments, endian=endian)).notes())


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("endian", ["little", "big"])
def test_reads_what_the_writer_wrote(bits: int, endian: Endian) -> None:
    segments = [
        Segment(PT_NOTE, b"n" * 40, flags=4),
        Segment(PT_LOAD, b"load", vaddr=0x1000, flags=5, memsz=99),
    ]
    sections = [Section(0), Section(2, b"symtab", addr=77, info=5)]
    core = core_of(elf(segments, sections, bits=bits, endian=endian, machine=3, osabi=9))
    head = core.header
    assert (head.bits, head.order, head.machine, head.osabi) == (
        bits,
        "<" if endian == "little" else ">",
        3,
        9,
    )
    note_segment, load = core.segments()
    assert (note_segment.type, note_segment.flags, note_segment.filesz) == (PT_NOTE, 4, 40)
    assert (load.type, load.flags, load.vaddr, load.filesz, load.memsz) == (PT_LOAD, 5, 0x1000, 4, 99)
    _, symtab = core.sections()
    assert (symtab.type, symtab.addr, symtab.size, symtab.info, symtab.entsize) == (2, 77, 6, 5, 0)
    assert core.source.read_at(symtab.offset, symtab.size) == b"symtab"
    assert core.memory.read(0x1001, 10) == b"oad"


def test_what_is_no_core_is_none() -> None:
    for data in (b"", b"\x7fELF", elf([], type=2), b"\0" * 100):
        assert ElfCore.from_source(whole(data)) is None


def test_many_headers_are_read_block_by_block() -> None:
    data = elf([Segment(PT_LOAD, vaddr=i) for i in range(5000)])
    source = Logged(whole(data))
    core = ElfCore.from_source(source)
    assert core is not None
    assert [each.vaddr for each in core.segments()] == list(range(5000))
    assert max(each.length for each in source.reads) <= 65536
    segments = core.segments()
    next(segments)
    source.reads.clear()
    next(segments)
    assert source.reads == []


def test_section_0_counts_what_the_header_cannot() -> None:
    segments = [Segment(PT_LOAD, vaddr=i) for i in range(3)]
    core = core_of(elf(segments, [Section(0, info=3, size=2), Section(3)], phnum=0xFFFF, shnum=0))
    assert [each.vaddr for each in core.segments()] == [0, 1, 2]
    assert [each.type for each in core.sections()] == [0, 3]
    absurd = core_of(elf(segments, [Section(0, info=0xFFFFFFFF)], phnum=0xFFFF))
    assert absurd.segment_table().length < 4 << 20
    assert not absurd.extents_inside()


def test_cut_section_0_is_seen() -> None:
    # Linux writes it behind all data when there are more headers than e_phnum can say.
    table = b"".join(elf([Segment(PT_LOAD)])[64:120] for _ in range(0xFFFF))
    data = elf([], [Section(0)], phnum=0xFFFF, phoff=128, table=b"")
    data += table
    assert core_of(data).extents_inside()
    moved = data[:40] + len(data).to_bytes(8, "little") + data[48:] + data[64:128]
    assert core_of(moved).extents_inside()
    assert not core_of(moved[:-1]).extents_inside()


# ---- notes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("endian", ["little", "big"])
def test_notes_are_padded_to_four(endian: Endian) -> None:
    segment = note(b"CORE", 1, b"abcde", endian) + note(b"VMCOREINFO", 0, b"", endian) + note(b"", 7, b"xyz", endian)
    core = core_of(elf([Segment(PT_NOTE, segment)], endian=endian))
    found = [(each.name, each.type, core.description(each)) for each in core.notes()]
    assert found == [(b"CORE", 1, b"abcde"), (b"VMCOREINFO", 0, b""), (b"", 7, b"xyz")]


def test_notes_longer_than_a_block_are_stepped_over() -> None:
    segment = note(b"A", 1, bytes(200_000)) + note(b"B", 2, b"b") + note(b"C", 3, bytes(65530)) + note(b"D", 4, b"")
    assert [each.name for each in notes_of(segment)] == [b"A", b"B", b"C", b"D"]


def test_note_that_promises_more_than_its_segment_has_is_the_last() -> None:
    segment = note(b"A", 1, b"abcd") + note(b"B", 2, b"efgh", descsz=0xFFFFFFFF)
    first, last = notes_of(segment)
    assert (first.size, first.held) == (4, 4)
    assert (last.name, last.size, last.held) == (b"B", 0xFFFFFFFF, 4)
    assert notes_of(note(b"A", 1, b"", namesz=0xFFFFFFFF)) == []
    assert notes_of(b"\0" * 11) == []


def test_notes_stop_at_the_limit_over_all_segments() -> None:
    zeros = bytes(12 * (NOTE_LIMIT - 2))
    assert len(notes_of(zeros, note(b"A", 1, b""), bytes(120))) == NOTE_LIMIT
    assert len(notes_of(zeros, note(b"A", 1, b""))) == NOTE_LIMIT - 1


@given(st.binary(max_size=600), st.sampled_from(["little", "big"]))
def test_any_bytes_can_be_walked(segment: bytes, endian: Endian) -> None:
    core = core_of(elf([Segment(PT_NOTE, segment)], endian=endian))
    (place,) = core.note_segments() if segment else (Range(0, 0),)
    found = list(core.notes())
    assert len(found) <= len(segment) // 12
    for each in found:
        assert place.offset + 12 <= each.offset <= each.offset + each.held <= place.end
        assert len(core.description(each)) == each.held


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=15), st.integers(0, 0xFFFFFFFF), st.binary(max_size=40))))
def test_all_notes_that_were_written_are_found(entries: list[tuple[bytes, int, bytes]]) -> None:
    core = core_of(elf([Segment(PT_NOTE, b"".join(note(*each) for each in entries))]))
    found = [(each.name, each.type, core.description(each)) for each in core.notes()]
    assert found == [(name.split(b"\0")[0], kind, desc) for name, kind, desc in entries]


# ---- memory ---------------------------------------------------------------------------------------


def test_memory_is_what_was_dumped() -> None:
    loads = [
        Segment(PT_LOAD, b"bbbb", vaddr=0x2004, memsz=0x100),
        Segment(PT_LOAD, b"aaaa", vaddr=0x2000),
        Segment(PT_LOAD, b"", vaddr=0x1000, memsz=0x1000),
        Segment(PT_NOTE, b"cccc", vaddr=0x2008),
    ]
    memory = core_of(elf(loads)).memory
    assert memory.read(0x2002, 4) == b"aabb"
    assert memory.read(0x2000, 100) == b"aaaabbbb"
    assert memory.read(0x2008, 4) == b""
    assert memory.read(0x1000, 4) == b""
    assert memory.read(0x1FFF, 4) == b""
    assert memory.read(0x2000, 0) == b""


def test_memory_behind_the_end_of_the_file_is_not_there() -> None:
    loads = [
        Segment(PT_LOAD, b"abcd", vaddr=0x1000, filesz=100),
        Segment(PT_LOAD, vaddr=0x5000, offset=1 << 63, filesz=9),
    ]
    memory = core_of(elf(loads)).memory
    assert memory.read(0x1000, 100) == b"abcd"
    assert memory.read(0x5000, 4) == b""


@given(st.data(), st.sampled_from([illumos_core(bits=64), illumos_core(bits=32, endian="big"), linux_core()]))
def test_any_header_can_be_read(data: st.DataObject, core: bytes) -> None:
    patched = bytearray(core)
    for at in data.draw(st.lists(st.integers(18, 400), max_size=12)):
        patched[at] = data.draw(st.integers(0, 255))
    source = Logged(whole(bytes(patched)))
    found = ElfCore.from_source(source)
    assert found is not None
    found.extents_inside()
    assert sum(1 for _ in found.notes()) <= NOTE_LIMIT
    assert len(found.memory.read(0x8045000, 4096)) <= 4096
    assert max(each.length for each in source.reads) <= 1 << 17
