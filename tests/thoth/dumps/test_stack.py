"""Stacks of illumos cores: as mdb prints them, and what is known where not everything is."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import pytest

from tests.support import vectors
from tests.support.elfwriter import (
    EM_386,
    EM_X86_64,
    PT_LOAD,
    PT_NOTE,
    Segment,
    elf,
    lwpstatus,
    note,
    psinfo,
    pstatus,
)
from tests.support.sources import Logged, whole
from thoth.dumps.stack import MOST_FRAMES, Stacks, read_stacks

WALKED = [entry["file"] for entry in vectors.entries() if entry.get("stacks")]

TEXT, STACK = 0x400000, 0x8000000
RIP, RBP, RSP = 17, 10, 20  # places in amd64's gregset_t
EIP, EBP, UESP = 14, 6, 17  # in i386's
ALL_ONES = {64: (1 << 64) - 1, 32: (1 << 32) - 1}


def texts(stacks: Stacks | None, thread: int = 0) -> list[str]:
    assert stacks is not None
    return [frame.text.decode() for frame in stacks.threads[thread].frames]


@pytest.mark.parametrize("name", WALKED)
def test_each_stack_of_a_vector_is_as_mdb_prints_it(name: str) -> None:
    entry = vectors.entry(name)
    stacks = read_stacks(whole(vectors.load(name)))
    assert texts(stacks) == entry["stack"]
    assert stacks is not None
    printed = {str(t.id): [frame.text.decode() for frame in t.frames] for t in stacks.threads}
    assert printed == entry["stacks"]
    assert stacks.threads[0].id == entry["lwpid"]
    assert stacks.threads[0].signal == entry["signal"]
    assert not any(thread.cut for thread in stacks.threads)


def test_there_are_vectors_of_both_widths() -> None:
    assert {vectors.entry(name)["bits"] for name in WALKED} == {32, 64}
    assert len(WALKED) > 15


def test_a_frame_tells_its_object_and_where_in_it() -> None:
    stacks = read_stacks(whole(vectors.load("illumos-core64.core.30522")))
    assert stacks is not None
    top, *_, last = stacks.threads[0].frames
    assert (top.object, top.symbol, top.trust, top.main) == (
        b"/lib/64/libc.so.1", b"_malloc_unlocked", "context", False,
    )  # fmt: skip
    assert top.offset is not None and top.pc - top.offset == 0xFFFFFD7FFF0F0000
    assert (last.object, last.symbol, last.trust, last.main) == (b"/usr/sbin/zfs", b"_start", "frame-pointer", True)


@pytest.mark.parametrize(
    "name", ["vmdump/vmdump.0", "linux-kdump-elf.core", "illumos-core64-be.core.5981", "bad-text"]
)
def test_what_has_no_stack_that_we_could_walk(name: str) -> None:
    assert read_stacks(whole(vectors.load(name))) is None


def test_symbols_without_text_are_those_of_the_core() -> None:
    """The text is not in the core, and with it the list of objects: what lies where has no name then."""
    frames = texts(read_stacks(whole(vectors.load("illumos-core64-notext.core.569"))))
    assert frames[0].startswith("?`_lwp_kill+0x")
    assert [frame.partition("+")[0] for frame in frames[-3:]] == ["panic", "main", "_start"]


# ---- cores by hand --------------------------------------------------------------------------------


def words(bits: int, *values: int) -> bytes:
    return struct.pack(f"<{len(values)}{'Q' if bits == 64 else 'I'}", *values)


def core(
    stack: bytes,
    pc: int,
    fp: int,
    *,
    bits: int = 64,
    contexts: int = 0,
    size: int | None = None,
    si: Sequence[int] = (),
) -> bytes:
    """An amd64 or i386 core of one LWP, with a page of text that has no header and these words as its stack."""
    places = {RIP: pc, RBP: fp, RSP: fp} if bits == 64 else {EIP: pc, EBP: fp, UESP: fp}
    registers = [places.get(number, 0) for number in range(28 if bits == 64 else 19)]
    status = bytearray(lwpstatus(7, 11, registers=registers, bits=bits))
    struct.pack_into("<Q" if bits == 64 else "<I", status, 360 if bits == 64 else 220, contexts)
    if si:
        struct.pack_into("<ii", status, 20, si[0], 0)
        struct.pack_into("<Q" if bits == 64 else "<I", status, 32 if bits == 64 else 28, si[1])
    notes = note(b"CORE", 13, psinfo(7, bits=bits)) + note(b"CORE", 10, pstatus(7, lwp=bytes(status), bits=bits))
    segments = [
        Segment(PT_NOTE, notes),
        Segment(PT_LOAD, bytes(4096), vaddr=TEXT, flags=5),
        Segment(PT_LOAD, stack, vaddr=STACK, filesz=size),
    ]
    return elf(segments, bits=bits, machine=EM_X86_64 if bits == 64 else EM_386)


@pytest.mark.parametrize("bits", [32, 64])
def test_frames_are_followed_while_they_can_be_read(bits: int) -> None:
    w = bits // 8
    stack = words(bits, STACK + 4 * w, TEXT + 0x20, 0, 0, STACK + 0x100000, TEXT + 0x30)
    frames = texts(read_stacks(whole(core(stack, TEXT + 0x10, STACK, bits=bits))))
    assert frames == ["0x400010()", "0x400020()", "0x400030()"]


def test_a_stack_that_was_not_dumped_leaves_the_registers() -> None:
    stack = words(64, STACK + 32, TEXT + 0x20)
    assert texts(read_stacks(whole(core(stack, TEXT, STACK, size=0)))) == ["0x400000()"]
    assert texts(read_stacks(whole(core(stack, TEXT, STACK + (1 << 40))))) == ["0x400000()"]


def test_half_a_frame_is_none() -> None:
    stack = words(64, STACK + 16, TEXT + 0x20, STACK + 32)
    assert texts(read_stacks(whole(core(stack, TEXT, STACK)))) == ["0x400000()", "0x400020()"]


def test_frames_in_a_circle_end_the_walk() -> None:
    stack = words(64, STACK + 16, TEXT + 0x20, STACK, TEXT + 0x30)
    stacks = read_stacks(whole(core(stack, TEXT, STACK)))
    assert texts(stacks) == ["0x400000()", "0x400020()"]
    assert stacks is not None and not stacks.threads[0].cut


def test_a_very_deep_stack_is_cut() -> None:
    stack = b"".join(words(64, STACK + 16 * (i + 1), TEXT + 1) for i in range(MOST_FRAMES + 10))
    stacks = read_stacks(whole(core(stack, TEXT, STACK)))
    assert stacks is not None
    assert (len(stacks.threads[0].frames), stacks.threads[0].cut) == (MOST_FRAMES, True)


def handled(bits: int, *, context_at: int, registers: dict[int, int], link: int = 0) -> bytes:
    """A stack whose first frame is that of a signal handler's caller, with a ucontext_t at this offset."""
    w = bits // 8
    stack = bytearray(0x1000)
    stack[: 2 * w] = words(bits, STACK + 0x900, ALL_ONES[bits])
    stack[context_at + w : context_at + 2 * w] = words(bits, link)
    saved = context_at + (64 if bits == 64 else 36)
    for place, value in registers.items():
        stack[saved + place * w : saved + (place + 1) * w] = words(bits, value)
    stack[0x800 : 0x800 + 2 * w] = words(bits, 0, TEXT + 0x50)
    return bytes(stack)


@pytest.mark.parametrize("bits", [32, 64])
def test_what_a_signal_interrupted_comes_below_its_handler(bits: int) -> None:
    at = (4 if bits == 64 else 5) * bits // 8
    names = (RIP, RBP) if bits == 64 else (EIP, EBP)
    stack = handled(bits, context_at=at, registers=dict(zip(names, (TEXT + 0x40, STACK + 0x800), strict=True)))
    stacks = read_stacks(whole(core(stack, TEXT + 0x10, STACK, bits=bits, contexts=STACK + at)))
    assert texts(stacks) == ["0x400010()", "0x400040()", "0x400050()"]
    assert stacks is not None
    assert [frame.trust for frame in stacks.threads[0].frames] == ["context", "context", "frame-pointer"]


def test_an_older_context_is_found_by_way_of_the_newer_one() -> None:
    stack = bytearray(handled(64, context_at=32, registers={RIP: TEXT + 0x40}))
    stack[0xA08:0xA10] = words(64, STACK + 32)
    stacks = read_stacks(whole(core(bytes(stack), TEXT, STACK, contexts=STACK + 0xA00)))
    assert texts(stacks) == ["0x400000()", "0x400040()"]


@pytest.mark.parametrize("contexts", [0, STACK + 40, STACK + (1 << 40)])
def test_minus_one_is_no_signal_where_no_context_lies(contexts: int) -> None:
    stack = handled(64, context_at=32, registers={RIP: TEXT + 0x40})
    frames = texts(read_stacks(whole(core(stack, TEXT, STACK, contexts=contexts))))
    assert frames[:2] == ["0x400000()", "0xffffffffffffffff()"]


def test_contexts_in_a_circle_are_looked_through_once() -> None:
    stack = bytearray(handled(64, context_at=48, registers={}))
    stack[56:64] = words(64, STACK + 48)
    assert len(texts(read_stacks(whole(core(bytes(stack), TEXT, STACK, contexts=STACK + 48))))) == 2


@pytest.mark.parametrize(
    ("si", "address"), [((1, 0x1234), 0x1234), ((0, 0x1234), None), ((-1, 5), None), ((0x80, 0), None)]
)
def test_a_fault_has_an_address_when_the_processor_raised_it(si: Any, address: int | None) -> None:
    stacks = read_stacks(whole(core(words(64, 0, 0), TEXT, STACK, si=si)))
    assert stacks is not None and stacks.fault_address == address


def test_little_is_read_of_a_large_core() -> None:
    name = "illumos-core64-mt.core.11198"
    source = Logged(whole(vectors.load(name) + bytes(64 << 20)))
    assert texts(read_stacks(source)) == vectors.entry(name)["stack"]
    assert sum(each.length for each in source.reads) < 256 << 10
