"""The identity: the original's digits for every vector, its oddities, and the bounds that are ours."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.support import vectors
from tests.support.crashwriter import dumphdr
from tests.support.elfwriter import (
    EM_386,
    PT_LOAD,
    PT_NOTE,
    Segment,
    elf,
    flattened,
    illumos_core,
    kdump,
    linux_core,
    note,
    vmdump,
)
from tests.support.notewriter import Endian
from tests.support.sources import Logged, ask, fetched, whole
from tests.thoth.dumps.model import core_identity
from thoth.dumps.identity import HASHED_LIMIT, identify, identity_ranges, is_named_whole
from thoth.dumps.source import KnownRanges, LocalFile, Range
from thoth.errors import NotADump

KNOWN = [entry for entry in vectors.entries() if entry["identity"]]
KDUMP = "linux-kdump-compressed.core"
REFUSED = [entry for entry in vectors.entries() if not entry["identity"] and entry["file"] != KDUMP]


@pytest.mark.parametrize("entry", KNOWN, ids=lambda entry: entry["file"])
def test_is_what_the_original_printed(entry: dict[str, str], tmp_path: Path) -> None:
    with LocalFile(vectors.write(entry["file"], tmp_path)) as dump:
        assert identify(dump) == entry["identity"]


@pytest.mark.parametrize("entry", REFUSED, ids=lambda entry: entry["file"])
def test_refuses_what_the_original_refuses(entry: dict[str, str]) -> None:
    with pytest.raises(NotADump) as refusal:
        identify(whole(vectors.load(entry["file"])))
    assert refusal.value.reason
    assert "\n" not in refusal.value.reason


@pytest.mark.parametrize("name", [entry["file"] for entry in KNOWN] + [KDUMP])
def test_needs_only_the_ranges_that_it_lists(name: str) -> None:
    dump = whole(vectors.load(name))
    ranges = ask(identity_ranges, dump)
    assert ranges == identity_ranges(dump)
    assert ranges == sorted(ranges)
    assert identify(fetched(dump, ranges)) == identify(dump)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("endian", ["little", "big"])
def test_follows_the_rules_in_every_width_and_byte_order(bits: int, endian: Endian) -> None:
    core = illumos_core(pid=7, bits=bits, endian=endian)
    assert identify(whole(core)) == core_identity(core)


def test_differs_between_processes() -> None:
    cores = [builder(pid=pid) for builder in (illumos_core, linux_core) for pid in range(1, 20)]
    dumps = [vmdump(panic=f"panic {number}", size=16384) for number in range(20)]
    assert len({identify(whole(each)) for each in cores + dumps}) == 58


# ---- oddities of the original ---------------------------------------------------------------------


def test_headers_and_notes_behind_the_end_of_the_file_are_zero() -> None:
    core = illumos_core()
    for length in (57, 58, 60, 64, 100, 119, 120, 200, 1000, 2000, 5000):
        cut = core[:length]
        assert identify(whole(cut)) == core_identity(cut)


def test_header_table_behind_the_end_of_the_file_is_zero() -> None:
    core = elf([Segment(PT_LOAD, b"x")] * 3, phoff=1 << 40)
    zeros = elf([Segment(PT_LOAD, b"x")] * 3, table=bytes(3 * 56))
    assert identify(whole(core)) == identify(whole(zeros))


def test_64_bit_offsets_are_the_sum_of_their_words() -> None:
    text = note(b"CORE", 13, b"payload!")
    # high word 1, low word 199: byte 200 of the file, not 4 GiB + 199.
    core = elf([Segment(PT_NOTE, b"", offset=(1 << 32) + 199, filesz=(1 << 32) + len(text) - 1)])
    core = core.ljust(200, b"\0") + text
    digest = hashlib.md5()
    digest.update(b'{"p_type":4,"p_flags":6,"p_offset":[1,199],"p_vaddr":[0,0],"p_paddr":[0,0],')
    digest.update(b'"p_filesz":[1,%d],"p_memsz":[0,0],"p_align":[0,0]}' % (len(text) - 1) + text)
    assert identify(whole(core)) == digest.hexdigest() == core_identity(core)


def test_high_words_have_a_sign() -> None:
    # 0xffffffff counts as -1: the note lies at 9999 and has 19 bytes.
    core = elf([Segment(PT_NOTE, b"", offset=0xFFFFFFFF_00002710, filesz=0xFFFFFFFF_00000014)])
    core += bytes(range(256)) * 50
    assert identify(whole(core)) == core_identity(core)
    assert Range(9999, 19) in identity_ranges(whole(core))


def test_numbers_of_other_segments_are_only_printed() -> None:
    core = elf([Segment(PT_LOAD, b"x", offset=(1 << 64) - 1, filesz=(1 << 64) - 1, memsz=1 << 63)])
    assert identify(whole(core)) == core_identity(core)


@pytest.mark.parametrize("phentsize", [56, 57, 64, 4096, 65535])
def test_larger_headers_are_stepped_over(phentsize: int) -> None:
    core = elf([Segment(PT_LOAD, b"a", vaddr=1), Segment(PT_NOTE, b"note")], phentsize=phentsize)
    assert identify(whole(core)) == core_identity(core)


def test_65535_headers_are_hashed_as_they_stand() -> None:
    # PN_XNUM: section 0 would say that there are 3.
    core = elf([Segment(PT_NOTE, b"note"), Segment(PT_LOAD, b"x"), Segment(PT_LOAD, b"y")], phnum=0xFFFF)
    core += bytes(range(256)) * 64
    assert identify(whole(core)) == core_identity(core)


def test_notes_are_not_parsed() -> None:
    core = elf([Segment(PT_NOTE, b"\xff" * 37), Segment(PT_NOTE, b"")], bits=32, machine=EM_386)
    assert identify(whole(core)) == core_identity(core)


@pytest.mark.parametrize(
    ("number", "printed"),
    [
        (1600000000, "[ 0, 1600000000 ]"),
        (0, "[ 0, 0 ]"),
        (-1, "[ -0, -1 ]"),
        (-(1 << 32), "[ -1, 0 ]"),
        (-(1 << 32) - 5, "[ -1, -5 ]"),
        (-(1 << 63), "[ -2147483648, 0 ]"),
        ((1 << 63) - 1, "[ 2147483647, 4294967295 ]"),
    ],
)
def test_crash_header_is_printed_as_node_8_did(number: int, printed: str) -> None:
    def buffer(text: bytes, size: int) -> str:
        shown = text.ljust(size, b"\0")[:50].hex(" ")
        return f"<Buffer {shown}{' ... ' if size > 50 else ''}>"

    uuid = b"0a1b2c3d-0000-1111-2222-333344445555"
    expected = f"""{{ dump_magic: 3741239533,
  dump_version: 10,
  dump_flags: 65547,
  dump_wordsize: 64,
  dump_start: [ 0, 0 ],
  dump_ksyms: [ 0, 4096 ],
  dump_pfn: [ 0, 8192 ],
  dump_map: [ 0, 12288 ],
  dump_data: [ 0, 16384 ],
  dump_utsname:\x20
   {{ sysname: {buffer(b"SunOS", 257)},
     nodename: {buffer(b"n" * 90, 257)},
     release: {buffer(b"5.11", 257)},
     version: {buffer(b"joyent", 257)},
     machine: {buffer(b"i86pc", 257)} }},
  dump_platform: {buffer(b"i86pc", 257)},
  dump_panicstring: {buffer(b"BAD TRAP", 202)},
  dump_crashtime: {printed},
  dump_pageshift: [ 0, 12 ],
  dump_pagesize: [ 0, 4096 ],
  dump_hashmask: [ 0, 15 ],
  dump_nvtop: [ 0, 7 ],
  dump_npages: [ 0, 7 ],
  dump_ksyms_size: [ 0, 3000 ],
  dump_ksyms_csize: [ 0, 161 ],
  dump_fm_panic: 0,
  dump_uuid: {buffer(uuid, 37)} }}"""
    header = dumphdr(node=b"n" * 90, time=number, platform=b"joyent", uuid=uuid)
    assert identify(whole(header)) == hashlib.md5(expected.encode()).hexdigest()


# ---- kdump, which the original refuses ------------------------------------------------------------


@pytest.mark.parametrize("dump", [vectors.load(KDUMP), kdump(), kdump(endian="big", signature=b"DISKDUMP")])
@pytest.mark.parametrize("chunk", [1000, 4096, 8192, 1 << 20])
def test_kdump_and_its_flattened_form_have_one_identity(dump: bytes, chunk: int) -> None:
    expected = hashlib.md5(b"kdump\n\0" + dump[:8192]).hexdigest()
    flat = whole(flattened(dump, chunk))
    assert identify(whole(dump)) == identify(flat) == expected
    assert identify(fetched(flat, ask(identity_ranges, flat))) == expected


def test_short_kdump_is_filled_with_zeros() -> None:
    dump = kdump()[:5000]
    expected = hashlib.md5(b"kdump\n\0" + dump + bytes(3192)).hexdigest()
    assert identify(whole(dump)) == identify(whole(flattened(dump))) == expected


def test_flattened_chunks_may_come_in_any_order() -> None:
    dump = kdump()
    parts = [flattened(dump[at : at + 2048], end=False)[4096:] for at in range(0, 8192, 2048)]
    moved = [at.to_bytes(8, "big") + part[8:] for at, part in zip(range(0, 8192, 2048), parts, strict=True)]
    flat = flattened(b"")[:4096] + b"".join(reversed(moved))
    assert identify(whole(flat)) == identify(whole(dump))


def test_endless_flattened_chunks_are_not_followed() -> None:
    empty_chunk = bytes(16)
    flat = Logged(whole(flattened(kdump(), end=False)[: 4096 + 16 + 4096] + empty_chunk * 100_000))
    identify(flat)
    assert len(flat.reads) < 300


def test_flattened_elf_is_refused() -> None:
    with pytest.raises(NotADump, match="makedumpfile -R"):
        identify(whole(flattened(illumos_core())))


# ---- bounds ---------------------------------------------------------------------------------------


def refused(core: bytes, size: int | None = None) -> tuple[str, Logged]:
    dump = Logged(KnownRanges(size or len(core), [(0, core.ljust(8192, b"\0"))]))
    with pytest.raises(NotADump) as refusal:
        identify(dump)
    with pytest.raises(NotADump):
        identity_ranges(dump)
    return refusal.value.reason, dump


def test_more_than_256_mib_of_notes_are_refused_unread() -> None:
    half = HASHED_LIMIT // 2
    reason, dump = refused(elf([Segment(PT_NOTE, filesz=half), Segment(PT_NOTE, filesz=half)]), 1 << 40)
    assert "256 MiB" in reason
    assert {each.offset for each in dump.reads} == {0}


def test_256_mib_with_the_header_table_are_hashed() -> None:
    core = elf([Segment(PT_NOTE, filesz=HASHED_LIMIT - 56)])
    dump = Logged(whole(core))
    digest = hashlib.md5(b'{"p_type":4,"p_flags":6,"p_offset":[0,120],"p_vaddr":[0,0],"p_paddr":[0,0],')
    digest.update(b'"p_filesz":[0,%d],"p_memsz":[0,0],"p_align":[0,0]}' % (HASHED_LIMIT - 56))
    zeros = bytes(1 << 20)
    for _ in range(255):
        digest.update(zeros)
    digest.update(zeros[56:])
    assert identify(dump) == digest.hexdigest()
    assert max(each.length for each in dump.reads) <= 1 << 20
    assert "256 MiB" in refused(elf([Segment(PT_NOTE, filesz=HASHED_LIMIT - 55)]))[0]


@pytest.mark.parametrize(
    "core",
    [
        elf([Segment(PT_NOTE, b"", offset=1 << 63, filesz=4)]),
        elf([Segment(PT_NOTE, b"", offset=0, filesz=1 << 63)]),
        elf([Segment(PT_LOAD, b"x")], phoff=1 << 63),
    ],
)
def test_negative_offsets_and_sizes_are_refused(core: bytes) -> None:
    assert "negative" in refused(core)[0]


def test_empty_note_with_a_negative_offset_is_not_read() -> None:
    core = elf([Segment(PT_NOTE, b"", offset=1 << 63)])
    assert identify(whole(core)) == core_identity(core)


@pytest.mark.parametrize(("bits", "phentsize"), [(64, 0), (64, 1), (64, 55), (32, 0), (32, 31)])
def test_headers_that_are_too_small_are_refused(bits: int, phentsize: int) -> None:
    reason, dump = refused(elf([Segment(PT_LOAD, b"x")], bits=bits, phentsize=phentsize))
    assert f"{phentsize} bytes" in reason
    assert set(dump.reads) == {Range(0, 8192)}


def test_core_without_program_headers_is_refused() -> None:
    assert "without program headers" in refused(elf([]))[0]


def test_oversized_header_table_is_refused_unread() -> None:
    reason, dump = refused(elf([], phnum=0xFFFF, phentsize=0xFFFF), 1 << 40)
    assert "256 MiB" in reason
    assert set(dump.reads) == {Range(0, 8192)}


def test_a_cut_that_takes_from_the_name_is_told_from_one_that_does_not() -> None:
    """Where all that names a dump came, the cut one has the identity of the whole one."""
    for data in (illumos_core(size=20_000), linux_core(1), vmdump(size=30_000), kdump()):
        name = identify(whole(data))
        assert is_named_whole(whole(data))
        cuts = [data[:length] for length in range(100, len(data), 97)]
        told = {(is_named_whole(whole(cut)), identify(whole(cut)) == name) for cut in cuts}
        assert told - {(False, True)} == {(True, True), (False, False)}, "zeros may be cut off without a change"
