"""Dumps that were cut, damaged or made to harm: an identity or a refusal, quickly, in little memory."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.elfwriter import (
    PT_LOAD,
    PT_NOTE,
    Section,
    Segment,
    elf,
    flattened,
    illumos_core,
    kdump,
    linux_core,
    note,
    psinfo,
    vmdump,
)
from tests.support.sources import Logged, ask, fetched, whole
from tests.thoth.dumps.model import core_identity
from thoth.dumps.describe import describe, fact_ranges
from thoth.dumps.elfcore import NOTE_LIMIT
from thoth.dumps.identity import identify, identity_ranges
from thoth.dumps.source import LocalFile, Range
from thoth.errors import NotADump

REPOSITORY = Path(__file__).parents[3]
GIB = 1 << 30


# ---- F40 ------------------------------------------------------------------------------------------

WHOLE: dict[str, Callable[[], bytes]] = {
    "illumos64": illumos_core,
    "illumos32-be": lambda: illumos_core(bits=32, endian="big"),
    "linux64": linux_core,
    "vmdump": vmdump,
    "kdump": lambda: kdump(pages=20),
    "flattened": lambda: flattened(kdump(pages=20)),
}


def check_cuts(dump: bytes, lengths: range) -> None:
    identity = identify(whole(dump))
    assert describe(whole(dump)).complete
    for length in lengths:
        cut = whole(dump[:length])
        try:
            same = identify(cut) == identity
        except NotADump:
            continue
        facts = describe(cut)
        assert not (same and facts.complete), length
        assert describe(fetched(cut, ask(fact_ranges, cut))) == facts


@pytest.mark.parametrize("kind", WHOLE)
def test_F40_cut_dumps_sampled(kind: str) -> None:
    dump = WHOLE[kind]()
    check_cuts(dump, range(0, min(len(dump), 9000), 41))
    check_cuts(dump, range(9000, len(dump), 997))
    check_cuts(dump, range(len(dump) - 20, len(dump)))


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", WHOLE)
def test_F40_every_cut(kind: str) -> None:
    dump = WHOLE[kind]()
    check_cuts(dump, range(len(dump)))


def check_mutants(seed: int, count: int) -> None:
    command = [sys.executable, "-m", "tests.support.mutants", str(seed), str(count)]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_F40_mutants_sampled() -> None:
    check_mutants(0, 2000)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_F40_mutants() -> None:
    check_mutants(1_000_000, 100_000)


# ---- F41 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("core", "reason"),
    [
        (elf([Segment(PT_LOAD, b"x")], phnum=0), "without program headers"),
        (elf([Segment(PT_LOAD, b"x")], phentsize=0), "of 0 bytes"),
        (elf([Segment(PT_LOAD, b"x")], phentsize=1), "of 1 bytes"),
        (elf([Segment(PT_LOAD, b"x")], phnum=0xFFFF, phentsize=0xFFFF), "256 MiB"),
        (elf([Segment(PT_NOTE, b"x", filesz=1 << 63)]), "negative"),
        (elf([Segment(PT_NOTE, b"x", filesz=(1 << 63) - 1)]), "256 MiB"),
        (elf([Segment(PT_NOTE, b"x", filesz=(1 << 64) - 1)]), "256 MiB"),
    ],
)
def test_F41_numbers_without_sense_are_refused(core: bytes, reason: str) -> None:
    for question in (identify, identity_ranges, describe, fact_ranges):
        with pytest.raises(NotADump, match=reason):
            question(whole(core))


def test_F41_largest_entry_size_is_legal() -> None:
    core = elf([Segment(PT_NOTE, note(b"CORE", 13, psinfo(7)))], phentsize=65535)
    assert identify(whole(core)) == core_identity(core)
    assert describe(whole(core)).pid == 7


def test_F41_pn_xnum_has_an_identity_and_facts() -> None:
    core = elf([Segment(PT_NOTE, note(b"CORE", 13, psinfo(7)))], phnum=0xFFFF)
    assert identify(whole(core)) == core_identity(core)
    facts = describe(whole(core))
    assert (facts.pid, facts.complete) == (7, False)


FAR_NOTES = 12 + 8 + 416  # bytes: header, name, psinfo


@pytest.fixture
def far_core(tmp_path: Path) -> Path:
    """A sparse core of 5 GiB whose one note segment lies 4 GiB and 16 KiB from its start."""
    notes = note(b"CORE", 13, psinfo(7, "node", "node x"))
    assert len(notes) == FAR_NOTES
    path = tmp_path / "core"
    path.write_bytes(elf([Segment(PT_NOTE, offset=4 * GIB + 16384, filesz=len(notes))]))
    with path.open("r+b") as file:
        file.truncate(5 * GIB)
        file.seek(4 * GIB + 16384)
        file.write(notes)
        file.seek(16385)
        file.write(b"read in its place")
    return path


def test_F41_note_beyond_4_gib(far_core: Path) -> None:
    with LocalFile(far_core) as dump:
        # The identity takes the note from 1 + 16384, as the original does; the facts from where it is.
        assert identify(dump) == core_identity(dump.read_at(0, 1 << 20))
        facts = describe(dump)
        assert (facts.pid, facts.psargs, facts.complete) == (7, b"node x", True)
        ranges = ask(fact_ranges, dump)
        assert Range(16385, FAR_NOTES) in ask(identity_ranges, dump)
        assert Range(4 * GIB + 16384, FAR_NOTES) in ranges
        assert describe(fetched(dump, ranges)) == facts


def test_F41_notes_beyond_4_gib_are_not_fetched_without_bound() -> None:
    core = elf([Segment(PT_NOTE, offset=4 * GIB, filesz=100 << 20) for _ in range(2)])
    dump = LargeFile(core, 8 * GIB)
    needed = sum(each.length for each in identity_ranges(dump))
    assert sum(each.length for each in fact_ranges(dump)) <= needed + (1 << 20)


def test_F41_notes_that_only_section_0_counts_are_not_fetched_without_bound() -> None:
    first = elf([Segment(PT_LOAD)])[64:120]
    beyond = elf([Segment(PT_NOTE, offset=0, filesz=100 << 20)])[64:120]
    core = elf([], [Section(0, info=0xFFFF + 2)], phnum=0xFFFF, phoff=128, table=b"")
    core += first * 0xFFFF + beyond * 2
    dump = LargeFile(core, 1 * GIB)
    needed = sum(each.length for each in identity_ranges(dump))
    assert sum(each.length for each in fact_ranges(dump)) <= needed + (1 << 20)


def test_F41_overlapping_segments() -> None:
    notes = note(b"CORE", 13, psinfo(7))
    segments = [Segment(PT_NOTE, notes, offset=64 + 56 * 50, filesz=len(notes)) for _ in range(50)]
    core = elf(segments)
    assert identify(whole(core)) == core_identity(core)
    assert describe(whole(core)).pid == 7


def test_F41_segments_that_are_the_header_itself() -> None:
    core = elf([Segment(PT_NOTE, offset=0, filesz=200), Segment(PT_NOTE, offset=64, filesz=200)])
    core += bytes(200)
    assert identify(whole(core)) == core_identity(core)
    assert describe(whole(core)).pid is None


def test_F41_64_mib_of_zero_notes(tmp_path: Path) -> None:
    path = tmp_path / "core"
    path.write_bytes(elf([Segment(PT_NOTE, filesz=64 << 20), Segment(PT_NOTE, filesz=64 << 20)]))
    with path.open("r+b") as file:
        file.truncate(65 << 20)
    with LocalFile(path) as dump:
        identify(dump)
        source = Logged(dump)
        begin = time.process_time()
        describe(source)
        assert time.process_time() - begin < 2
        # Entries of twelve bytes: the limit is reached in the first segment.
        assert sum(each.length for each in source.reads) < 20 * NOTE_LIMIT


@pytest.mark.parametrize("sizes", [{"namesz": 0xFFFFFFFF}, {"descsz": 0xFFFFFFFF}, {"namesz": 0xFFFFFFFD}])
def test_F41_note_that_promises_everything(sizes: dict[str, Any]) -> None:
    notes = note(b"CORE", 13, psinfo(7)) + note(b"CORE", 15, b"x" * 2000, **sizes) + note(b"CORE", 21, b"zone\0")
    core = elf([Segment(PT_NOTE, notes)])
    assert identify(whole(core)) == core_identity(core)
    facts = describe(whole(core))
    assert (facts.pid, facts.zone) == (7, None)


def test_F41_build_id_is_no_process() -> None:
    # A GNU note of type 3 and the size of a prpsinfo.
    notes = note(b"GNU", 3, psinfo(9)[:136]) + note(b"CORE", 13, psinfo(7))
    assert describe(whole(elf([Segment(PT_NOTE, notes)]))).pid == 7
    assert describe(whole(elf([Segment(PT_NOTE, note(b"GNU", 3, bytes(136)))]))).os is None


def test_F41_every_header_is_a_note() -> None:
    core = elf([], phnum=0xFFFF, table=b"")
    entry = elf([Segment(PT_NOTE, offset=0, filesz=4000)])[64:120]
    core += entry * 0xFFFF
    begin = time.process_time()
    identify(whole(core))
    describe(whole(core))
    assert time.process_time() - begin < 10


# ---- F44 ------------------------------------------------------------------------------------------


class LargeFile:
    """A file of any size that begins with these bytes; all others are zero."""

    def __init__(self, start: bytes, size: int) -> None:
        self._start, self.size = start, size

    def read_at(self, offset: int, length: int) -> bytes:
        wanted = max(0, min(length, self.size - offset))
        return self._start[offset : offset + wanted].ljust(wanted, b"\0")


def test_F44_sparse_core_of_1_tib(tmp_path: Path) -> None:
    notes = note(b"CORE", 13, psinfo(7))
    segments = [Segment(PT_NOTE, notes), Segment(PT_LOAD, vaddr=0x1000, offset=8192, filesz=(1 << 40) - 8192)]
    path = tmp_path / "core"
    path.write_bytes(elf(segments))
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    with LocalFile(path) as dump:
        source = Logged(dump)
        assert identify(source) == core_identity(dump.read_at(0, 8192))
        facts = describe(source)
        assert (facts.pid, facts.complete) == (7, True)
        assert sum(each.length for each in source.reads) < 1 << 20
        with path.open("r+b") as file:
            file.truncate((1 << 40) - 1)
        with LocalFile(path) as cut:
            assert not describe(cut).complete
