"""Stacks of cores that were cut, damaged or made to harm: what is known, quickly, out of few bytes."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support import vectors
from tests.support.crash import Crasher
from tests.support.elfwriter import EM_X86_64, PT_LOAD, PT_NOTE, Segment, auxv, elf, linux_prstatus, note
from tests.support.sources import Logged, whole
from thoth.dumps.allowance import Allowance
from thoth.dumps.loaded import MOST_SYMBOLS
from thoth.dumps.paged import Paged, TooMuchRead
from thoth.dumps.stack import ALL_FRAMES, CORE_LIMIT, NOTES_LIMIT, Stacks, read_stacks

REPOSITORY = Path(__file__).parents[3]
RIP, RBP, RSP = 16, 4, 19  # places in Linux' user_regs_struct
CODE, STACK = 0x10000000, 0x7F0000000000


def check_mutants(seed: int, count: int, folder: Path, crasher: Crasher) -> None:
    core = crasher.native(folder / "core", threads=3)
    command = [sys.executable, "-m", "tests.support.stack_mutants", str(seed), str(count), core, crasher.executable()]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_F40_mutants_sampled(crasher: Crasher, tmp_path: Path) -> None:
    check_mutants(0, 50, tmp_path, crasher)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_F40_mutants(crasher: Crasher, tmp_path: Path) -> None:
    check_mutants(1_000_000, 30_000, tmp_path, crasher)


@pytest.mark.parametrize("name", ["illumos-core64-mt.core.11198", "illumos-core32.core.60338"])
def test_F40_a_cut_core_has_the_beginning_of_each_stack(name: str) -> None:
    data, entry = vectors.load(name), vectors.entry(name)
    last = 0
    for length in range(0, len(data), 499):
        stacks = read_stacks(whole(data[:length]))
        for thread in stacks.threads if stacks else ():
            known = entry["stacks"][str(thread.id)]
            # Without their symbols the same frames have other names; there are no more of them.
            assert len(thread.frames) <= len(known)
            last = max(last, len(thread.frames))
    assert last > 3


# ---- F41 ------------------------------------------------------------------------------------------


def linux(
    loads: Sequence[Segment],
    listed: bytes = b"",
    *,
    places: Sequence[int] = (CODE + 0x800,),
    pairs: Sequence[tuple[int, int]] = (),
    filler: bytes = b"",
) -> bytes:
    """A core of x86-64 Linux with a thread at each of these places, all with their frames at STACK."""
    notes = b"".join(note(b"CORE", 1, status(number, place)) for number, place in enumerate(places, 1))
    notes += note(b"CORE", 6, auxv(pairs)) + note(b"CORE", 0x46494C45, listed)
    return elf([Segment(PT_NOTE, notes + filler), *loads], machine=EM_X86_64)


def status(number: int, place: int) -> bytes:
    registers = {RIP: place, RBP: STACK, RSP: STACK}
    return linux_prstatus(number, 11, registers=[registers.get(each, 0) for each in range(27)])


def files(entries: Sequence[tuple[int, int, int, bytes]]) -> bytes:
    """NT_FILE: start, end, page and path of each."""
    numbers = b"".join(struct.pack("<QQQ", *entry[:3]) for entry in entries)
    return struct.pack("<QQ", len(entries), 4096) + numbers + b"".join(entry[3] + b"\0" for entry in entries)


def quickly(core: bytes, seconds: float = 2.0) -> Stacks:
    begin = time.process_time()
    stacks = read_stacks(whole(core))
    assert time.process_time() - begin < seconds
    assert stacks is not None
    return stacks


def frames_up(count: int) -> Segment:
    """So many frame records, each leading to the next."""
    words = ((STACK + 16 * (number + 1), CODE + 0x900) for number in range(count))
    return Segment(PT_LOAD, b"".join(struct.pack("<QQ", *pair) for pair in words), vaddr=STACK)


def test_F41_notes_without_end_leave_the_threads_before_them() -> None:
    """A process of more open files, or whatever its notes are full of, than we read of."""
    code = Segment(PT_LOAD, vaddr=CODE, flags=5, filesz=0, memsz=4096)
    filling = note(b"LINUX", 0x999, bytes(1000)) * (NOTES_LIMIT // 1000)
    stacks = quickly(linux([code, frames_up(3)], filler=filling))
    assert [len(thread.frames) for thread in stacks.threads] == [4]


def test_F41_all_frames_together_are_bounded() -> None:
    code = Segment(PT_LOAD, vaddr=CODE, flags=5, filesz=0, memsz=4096)
    stacks = quickly(linux([code, frames_up(5000)], places=[CODE] * 200))
    assert sum(len(thread.frames) for thread in stacks.threads) == ALL_FRAMES
    assert stacks.threads[0].cut


def test_F41_a_million_threads_are_not_walked() -> None:
    code = Segment(PT_LOAD, vaddr=CODE, flags=5, filesz=0, memsz=4096)
    assert len(quickly(linux([code, frames_up(2)], places=[CODE] * 20_000), seconds=4.0).threads) <= 1024


def library(symbols: int) -> bytes:
    """An x86-64 library with so many functions of one byte in its dynamic symbol table, from 0x100 on."""
    table = b"".join(struct.pack("<IBBHQQ", 1, 2, 0, 1, 0x100 + number, 1) for number in range(symbols))
    head = 64 + 56 * 2
    strings = head + len(table)
    dynamic = b"".join(struct.pack("<QQ", *pair) for pair in ((5, strings), (6, head), (10, 16), (0, 0)))
    size = strings + 16 + len(dynamic)
    load = struct.pack("<IIQQQQQQ", PT_LOAD, 5, 0, 0, 0, size, size, 0)
    program = struct.pack("<IIQQQQQQ", 2, 4, strings + 16, strings + 16, 0, len(dynamic), len(dynamic), 0)
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = ident + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    return header + load + program + table + b"\0f\0".ljust(16, b"\0") + dynamic


def test_F41_symbols_of_all_modules_together_are_bounded() -> None:
    """One large table that 400 modules share, each with a thread in it."""
    data, count = library(60_000), 400
    size = len(data) + 4095 & ~4095
    starts = [CODE + number * size for number in range(count)]
    listed = files([(start, start + size, 0, b"/lib/%d" % start) for start in starts])
    offset = 1 << 20
    loads = [Segment(PT_LOAD, vaddr=at, flags=5, offset=offset, filesz=len(data), memsz=size) for at in starts]
    core = linux(loads, listed, places=[start + 0x800 for start in starts])
    assert len(core) < offset
    stacks = quickly(core.ljust(offset, b"\0") + data, seconds=4.0)
    named = [thread.frames[0].symbol for thread in stacks.threads]
    assert named.count(b"f") == -(-MOST_SYMBOLS // 60_000) and named[0] == b"f"


def test_F41_a_library_with_more_functions_than_a_browser_has_names() -> None:
    """What the names take does not grow with the table: a list in order would be some 40 bytes for each."""
    data = library(600_000)
    listed = files([(CODE, CODE + len(data), 0, b"/lib/large")])
    loads = [Segment(PT_LOAD, vaddr=CODE, flags=5, offset=1 << 20, filesz=len(data), memsz=len(data))]
    core = linux(loads, listed, places=[CODE + 0x100 + number for number in (0, 300_000, 599_999)])
    stacks = quickly(core.ljust(1 << 20, b"\0") + data, seconds=4.0)
    assert [thread.frames[0].symbol for thread in stacks.threads] == [b"f"] * 3


def test_F41_a_list_of_files_without_end() -> None:
    entries = [(CODE + 4096 * n, CODE + 4096 * n + 4096, 0, b"/lib/%d" % n) for n in range(20_000)]
    code = Segment(PT_LOAD, b"\x7fELF", vaddr=CODE, flags=5, memsz=4096 * 20_000)
    quickly(linux([code, frames_up(9)], files(entries)))


def test_F41_a_file_at_the_end_of_the_longest_list() -> None:
    """Linux writes 4 MiB of it; a part of a file in 14,000 places comes before the libraries."""
    low = 1 << 32
    parts = [(low + 8192 * n, low + 8192 * n + 4096, 0, b"/" + b"x" * 250) for n in range(14_000)]
    listed = files([*parts, (CODE, CODE + 4096, 0, b"/lib/last")])
    assert 3 << 20 < len(listed) < 4 << 20
    code = Segment(PT_LOAD, b"\x7fELF", vaddr=CODE, flags=5, memsz=4096)
    stacks = quickly(linux([code, frames_up(2)], listed))
    assert stacks.threads[0].frames[0].object == b"/lib/last"


@pytest.mark.parametrize("address", [0, 1, (1 << 64) - 1, STACK, CODE])
def test_F41_addresses_without_sense(address: int) -> None:
    pairs = [(3, address), (4, 0xFFFF), (5, 1 << 40), (9, address), (33, address), (2014, address)]
    code = Segment(PT_LOAD, b"\x7fELF\x02\x01\x01".ljust(4096, b"\xff"), vaddr=CODE, flags=5)
    quickly(linux([code, frames_up(3)], files([(address, 1 << 63, 0, b"/x")]), pairs=pairs))


def test_F41_little_is_read_of_a_core_of_one_tib() -> None:
    code = Segment(PT_LOAD, vaddr=CODE, flags=5, offset=1 << 13, filesz=1 << 40)
    source = Logged(whole(linux([code, frames_up(50)], places=[CODE] * 5)))
    read_stacks(source)
    assert sum(each.length for each in source.reads) < 1 << 20


def test_no_more_is_read_than_is_allowed() -> None:
    source = Logged(whole(bytes(100_000)))
    pages = Paged(source, Allowance(3 * 4096))
    assert pages.read_at(4095, 2) == pages.read_at(0, 2) == b"\0\0"
    assert len(source.reads) == 1
    with pytest.raises(TooMuchRead):
        pages.read_at(20_000, 8192)
    assert pages.read_at(99_999, 10) == b"\0"
    assert pages.read_at(100_000, 10) == b""
    with pytest.raises(TooMuchRead):
        pages.read_at(50_000, 1)
    assert CORE_LIMIT < 64 << 20
