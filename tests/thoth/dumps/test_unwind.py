"""Single steps up a stack: each rule of call frame information, frame pointers, trampolines, lost jumps."""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping

import pytest

from tests.support.cfiwriter import (
    ARGS_SIZE,
    REMEMBER,
    RESTORE_STATE,
    Function,
    advance,
    breg,
    def_cfa,
    def_cfa_expression,
    def_cfa_offset,
    def_cfa_register,
    expression,
    image,
    moved,
    offset,
    restore,
    same_value,
    uleb,
    undefined,
    val_expression,
    val_offset,
)
from tests.support.elfwriter import EM_AARCH64, EM_X86_64, PT_LOAD, PT_NOTE, Segment, auxv, elf, note, record
from tests.support.sources import whole
from thoth.dumps.stack import Thread, read_stacks
from thoth.dumps.unwind import follows_call

BASE, STACK = 0x7F1000000000, 0x7FFF00000000
IN, ABOVE, END = BASE + 0x1010, BASE + 0x1110, BASE + 0x1210  # in three functions, of which the last ends a stack
RBX, RBP, RSP, R12, RIP = 5, 4, 19, 3, 16  # places in x86-64's user_regs_struct
FP, LR, SP, PC = 29, 30, 31, 32  # in AArch64's user_pt_regs

_LAST = Function(0x1200, 0x100, undefined(16))
_ABOVE = Function(0x1100, 0x100, def_cfa_offset(16))


def walked(
    library: bytes,
    registers: Mapping[int, int],
    stack: Mapping[int, int],
    *,
    machine: int = EM_X86_64,
    signing: int = 0,
) -> Thread:
    """The only thread of a core that has a library at BASE and these words of its stack, by their offset."""
    places = [registers.get(place, 0) for place in range(27 if machine == EM_X86_64 else 34)]
    fields = [(112 + 8 * number, "Q", value) for number, value in enumerate(places)]
    status = record(336 if machine == EM_X86_64 else 392, "little", (12, "h", 11), (32, "i", 1), *fields)
    listed = struct.pack("<QQQQQ", 1, 4096, BASE, BASE + len(library), 0) + b"/lib/it.so\0"
    notes = note(b"CORE", 1, status) + note(b"CORE", 6, auxv([])) + note(b"CORE", 0x46494C45, listed)
    if signing:
        notes += note(b"LINUX", 0x406, struct.pack("<QQ", signing, signing))
    words = bytearray(0x2000)
    for at, value in stack.items():
        struct.pack_into("<Q", words, at, value)
    loads = [Segment(PT_LOAD, library, vaddr=BASE, flags=5), Segment(PT_LOAD, bytes(words), vaddr=STACK)]
    stacks = read_stacks(whole(elf([Segment(PT_NOTE, notes), *loads], machine=machine)))
    assert stacks is not None
    return stacks.threads[0]


def places(thread: Thread) -> list[tuple[int, str]]:
    return [(frame.pc, frame.trust) for frame in thread.frames]


LIT32 = b"\x08\x20"  # const1u
# One from the upper value to the lower one, until nothing is left: swap, plus_uconst 1, swap, lit1, minus, dup, bra.
LOOP = b"\x16\x23\x01\x16\x31\x1c\x12\x28\xf6\xff\x13"

# What the rules of a function say at IN, 16 bytes behind its beginning; its frame has four words.
RULES: dict[str, bytes] = {
    "from the stack pointer": advance(1) + def_cfa_offset(32),
    "from another register": advance(1) + def_cfa(3, 0),
    "from a register at the same distance": advance(1) + def_cfa_offset(0) + def_cfa_register(3),
    "from an expression": def_cfa_expression(breg(7, 30) + b"\x32\x22"),  # lit2, plus
    "from memory": def_cfa_expression(breg(7, 8) + b"\x06"),  # deref
    "as a table of jumps has it": def_cfa_expression(breg(7, 24) + breg(16, 0) + b"\x3f\x1a\x30\x2a\x33\x24\x22"),
    # swap, over, drop: 32 and the stack pointer
    "in another order": def_cfa_expression(LIT32 + breg(7, 0) + b"\x16\x14\x13\x22"),
    "of three": def_cfa_expression(breg(7, 48) + b"\x40\x30\x17\x1c\x22"),  # lit16, lit0, rot, minus, plus
    "picked": def_cfa_expression(LIT32 + breg(7, 0) + b"\x15\x01\x22"),  # pick 1
    "without its low bits": def_cfa_expression(breg(7, 39) + b"\x3f\x38\x1c\x20\x1a"),  # lit15, lit8, minus, not, and
    "less than nothing": def_cfa_expression(breg(7, 0) + LIT32 + b"\x1f\x1c"),  # neg, minus
    "shifted with its sign": def_cfa_expression(breg(7, 0) + LIT32 + b"\x1f\x31\x26\x1f\x12\x22\x22"),  # by lit1
    "smaller than nothing": def_cfa_expression(breg(7, 31) + b"\x31\x1f\x30\x2d\x22"),  # lit1, neg, lit0, lt
    "a part of a word": def_cfa_expression(breg(7, 0) + breg(7, 48) + b"\x94\x01\x22"),  # deref_size 1
    "what is jumped over": def_cfa_expression(breg(7, 32) + b"\x2f\x01\x00\x06"),
    "one of two": def_cfa_expression(breg(7, 0) + b"\x31\x28\x04\x00\x30\x2f\x02\x00" + LIT32 + b"\x22"),
    "a loop": def_cfa_expression(breg(7, 0) + LIT32 + LOOP),
    "what lies behind it does not count": def_cfa_offset(32) + advance(17) + def_cfa_offset(4096),
    "a state that was kept": def_cfa_offset(32) + REMEMBER + def_cfa_offset(8) + offset(16, 3) + RESTORE_STATE,
    "a rule that was taken back": def_cfa_offset(32) + offset(16, 3) + restore(16),
    "in another register": def_cfa_offset(32) + moved(16, 12),
    "its address from an expression": def_cfa_offset(32) + expression(16, breg(7, 24)),
    "itself from an expression": def_cfa_offset(32) + val_expression(16, breg(7, 24) + b"\x06"),
    "words that say nothing of it": def_cfa_offset(32) + ARGS_SIZE + undefined(3) + same_value(6) + val_offset(6, 2),
}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES.keys())
def test_each_rule_leads_to_the_caller(rules: bytes) -> None:
    library = image([Function(0x1000, 0x100, rules), _ABOVE, _LAST])
    registers = {RIP: IN, RSP: STACK, RBX: STACK + 32, R12: ABOVE}
    thread = walked(library, registers, {8: STACK + 32, 24: ABOVE, 40: END, 48: 32})
    assert places(thread) == [(IN, "context"), (ABOVE, "cfi"), (END, "cfi")]


def test_a_register_that_was_kept_leads_further() -> None:
    kept = Function(0x1000, 0x100, def_cfa_offset(32) + offset(6, 2))
    above = Function(0x1100, 0x100, def_cfa(6, 16))
    thread = walked(image([kept, above, _LAST]), {RIP: IN, RSP: STACK}, {16: STACK + 0x100, 24: ABOVE, 0x108: END})
    assert places(thread) == [(IN, "context"), (ABOVE, "cfi"), (END, "cfi")]


def nested(depth: int) -> bytes:
    """DW_OP_entry_value of DW_OP_entry_value of ..."""
    operations = b""
    for _ in range(depth):
        operations = b"\xa3" + uleb(len(operations)) + operations
    return operations


DAMAGED: dict[str, bytes] = {
    "an instruction that nobody knows": b"\x3f",
    "a place that comes from nowhere": b"\x01" + bytes(8),
    "a state that was not kept": RESTORE_STATE,
    "states without end": REMEMBER * 100,
    "registers without end": b"".join(b"\x05" + b"\xff\x7f" + b"\1" for _ in range(100)),
    "an expression that takes too much": def_cfa_expression(b"\x22"),
    "an expression that does what none does": def_cfa_expression(breg(7, 0) + b"\x97"),  # push_object_address
    "an expression that jumps into another operation": def_cfa_expression(breg(7, 32) + b"\x2f\xfe\xff"),
    "an expression that jumps for ever": def_cfa_expression(breg(7, 32) + b"\x2f\xfd\xff"),
    "an expression that divides by nothing": def_cfa_expression(breg(7, 32) + b"\x30\x1b"),
    "a word that is too wide": def_cfa_expression(breg(7, 32) + b"\x94\x09"),
    "an expression that reads nothing": def_cfa_expression(b"\x30\x06"),
    "an expression without end": def_cfa_expression(breg(7, 0) * 100),
    "expressions in each other without end": def_cfa_expression(nested(1500)),
}


@pytest.mark.parametrize("rules", DAMAGED.values(), ids=DAMAGED.keys())
def test_rules_that_make_no_sense_end_the_walk(rules: bytes) -> None:
    library = image([Function(0x1000, 0x100, rules), _ABOVE, _LAST])
    assert places(walked(library, {RIP: IN, RSP: STACK}, {24: ABOVE})) == [(IN, "context")]


# What the enemy's function has for each of 239 registers: a loop of 249 rounds. The frame is above itself.
_TURNS = b"\x08\xf9\x31\x1c\x12\x28\xfa\xff"  # const1u 249; lit1, minus, dup, bra


def test_loops_of_all_frames_together_take_little_time() -> None:
    rules = def_cfa(7, 8) + moved(16, 16) + b"".join(val_expression(number, _TURNS) for number in range(17, 256))
    library = image([Function(0x1000, 0x100, rules), _ABOVE, _LAST])
    began = time.thread_time()
    thread = walked(library, {RIP: IN, RSP: STACK}, {})
    assert time.thread_time() - began < 5
    assert thread.frames[0].pc == IN


def test_augmentation_that_is_longer_than_anything_can_be() -> None:
    library = bytearray(image([Function(0x1000, 0x100, def_cfa_offset(32) + bytes(16)), _LAST]))
    place = library.index(struct.pack("<i", 0x100) + b"\0" + def_cfa_offset(32)) + 4
    library[place : place + 10] = b"\xff" * 9 + b"\x01"
    assert places(walked(bytes(library), {RIP: IN, RSP: STACK}, {24: ABOVE})) == [(IN, "context")]


def test_a_caller_does_not_lie_below() -> None:
    """Frames that lead down the stack, or stay where they are, are none."""
    library = image([Function(0x1000, 0x100, def_cfa(3, 0)), _ABOVE, _LAST])
    for below in (0, 8):
        thread = walked(library, {RIP: IN, RSP: STACK + 8, RBX: STACK + below}, {0: ABOVE, below - 8 & 0xFFF: ABOVE})
        assert places(thread) == [(IN, "context")]


def test_a_return_address_where_no_code_is_ends_the_walk() -> None:
    library = image([Function(0x1000, 0x100, def_cfa_offset(32)), _LAST])
    assert places(walked(library, {RIP: IN, RSP: STACK}, {24: STACK + 8})) == [(IN, "context")]


def test_a_trampoline_by_its_call_frame_information() -> None:
    """Its rules say where the kernel saved the registers; what was interrupted is no return address."""
    saved = def_cfa_expression(breg(7, 0x50) + b"\x06") + expression(16, breg(7, 0x58))
    library = image([Function(0x1000, 0x100, saved), _ABOVE, _LAST], signal=True)
    thread = walked(library, {RIP: IN, RSP: STACK}, {0x50: STACK + 0x200, 0x58: BASE + 0x1100, 0x208: END})
    assert places(thread)[:2] == [(IN, "context"), (BASE + 0x1100, "cfi")]


# ---- without call frame information ---------------------------------------------------------------

CALLS = b"\x90" * 0x1B + b"\xe8\0\0\0\0" + b"\x90" * 0xE0 + b"\xff\xd0" + b"\x90" * 0xFE  # ... at 0x1020 and 0x1102


def test_frame_pointers_where_a_call_lies_before() -> None:
    after, also, not_after = BASE + 0x1020, BASE + 0x1102, BASE + 0x1060
    stack = {0x10: STACK + 0x40, 0x18: after, 0x40: 5, 0x48: also}
    library = image([], text=CALLS)
    thread = walked(library, {RIP: IN, RSP: STACK, RBP: STACK + 0x10}, stack)
    assert places(thread) == [(IN, "context"), (after, "frame-pointer"), (also, "frame-pointer")]
    thread = walked(library, {RIP: IN, RSP: STACK, RBP: STACK + 0x10}, {**stack, 0x18: not_after})
    assert places(thread) == [(IN, "context")]


@pytest.mark.parametrize("rbp", [STACK - 16, STACK + 0x11, STACK + 0x1FFC, 0, 1 << 63])
def test_a_frame_pointer_that_is_none(rbp: int) -> None:
    thread = walked(image([], text=CALLS), {RIP: IN, RSP: STACK, RBP: rbp}, {0x18: BASE + 0x1020})
    assert places(thread) == [(IN, "context")]


def test_a_jump_to_nowhere_is_blamed_on_who_jumped() -> None:
    thread = walked(image([_ABOVE, _LAST]), {RIP: 0x1234, RSP: STACK}, {0: ABOVE, 16: END})
    assert places(thread) == [(0x1234, "context"), (ABOVE, "return-address"), (END, "cfi")]


@pytest.mark.parametrize(
    ("machine", "code", "is_call"),
    [
        ("x86_64", "9090e800000000", True),
        ("x86_64", "9090909090ffd0", True),  # call *%rax
        ("x86_64", "90909041ffd4ff", False),
        ("x86_64", "90909090ff5008", True),  # call *8(%rax)
        ("x86_64", "90ff1500000000", True),  # call *0(%rip)
        ("x86_64", "ff949000000000", True),  # call *0(%rax,%rdx,4)
        ("x86_64", "9090909090ffe0", False),  # jmp *%rax
        ("x86_64", "90909090909090", False),
        ("aarch64", "00000000000094", True),  # bl
        ("aarch64", "00000020013fd6", True),  # blr x9
        ("aarch64", "0000003f093fd7", True),  # blraa x9, sp
        ("aarch64", "00000020011fd6", False),  # br x9
        ("aarch64", "000000c0035fd6", False),  # ret
        ("x86_64", "", None),
    ],
)
def test_what_is_a_call(machine: str, code: str, is_call: bool | None) -> None:
    assert follows_call(machine, bytes.fromhex(code)) is is_call


# ---- AArch64 --------------------------------------------------------------------------------------

_ARM = {"machine": EM_AARCH64, "column": 30, "code": 4, "initial": def_cfa(31, 0)}
_ARM_LAST = Function(0x1200, 0x100, undefined(30))
_ARM_FRAME = advance(1) + def_cfa_offset(32) + offset(29, 4) + offset(30, 3)


def test_aarch64_by_call_frame_information() -> None:
    """A leaf has its return address in a register, its caller on the stack."""
    leaf, caller = Function(0x1000, 0x100), Function(0x1100, 0x100, _ARM_FRAME)
    library = image([leaf, caller, _ARM_LAST], **_ARM)  # type: ignore[arg-type]  # each has its type
    thread = walked(library, {PC: IN, LR: ABOVE, SP: STACK}, {8: END}, machine=EM_AARCH64)
    assert places(thread) == [(IN, "context"), (ABOVE, "cfi"), (END, "cfi")]


def test_aarch64_return_addresses_that_are_signed() -> None:
    mask = 0x007F << 48
    framed = Function(0x1000, 0x200, _ARM_FRAME)
    library = image([framed, _ARM_LAST], **_ARM)  # type: ignore[arg-type]  # as above
    signed = {8: ABOVE | 0x0012 << 48, 40: END | 0x0034 << 48}
    thread = walked(library, {PC: IN, SP: STACK}, signed, machine=EM_AARCH64, signing=mask)
    assert places(thread) == [(IN, "context"), (ABOVE, "cfi"), (END, "cfi")]
    assert places(walked(library, {PC: IN, SP: STACK}, signed, machine=EM_AARCH64)) == [(IN, "context")]


def test_aarch64_by_frame_pointers() -> None:
    text = struct.pack("<I", 0x94000000) * 0x100  # bl, everywhere
    library = image([], machine=EM_AARCH64, text=text)
    stack = {0x10: STACK + 0x40, 0x18: ABOVE, 0x40: 0, 0x48: END}
    thread = walked(library, {PC: IN, SP: STACK, FP: STACK + 0x10}, stack, machine=EM_AARCH64)
    assert places(thread) == [(IN, "context"), (ABOVE, "frame-pointer"), (END, "frame-pointer")]


def test_aarch64_a_jump_to_nowhere() -> None:
    library = image([Function(0x1100, 0x100, _ARM_FRAME), _ARM_LAST], **_ARM)  # type: ignore[arg-type]  # as above
    thread = walked(library, {PC: 0, LR: ABOVE, SP: STACK}, {8: END}, machine=EM_AARCH64)
    assert places(thread) == [(0, "context"), (ABOVE, "return-address"), (END, "cfi")]


def test_aarch64_what_a_signal_interrupted() -> None:
    trampoline = bytes.fromhex("681180d2010000d4")  # mov x8, #139; svc #0
    library = image(
        [Function(0x1100, 0x100, _ARM_FRAME), _ARM_LAST],
        text=bytes(0x10) + trampoline,
        **_ARM,  # type: ignore[arg-type]  # as above
    )
    saved = 128 + 176 + 8  # behind a siginfo and the head of a ucontext: x0
    stack = {saved + 8 * 31: STACK + 0x1000, saved + 8 * 32: ABOVE, 0x1008: END}
    thread = walked(library, {PC: IN, SP: STACK}, stack, machine=EM_AARCH64)
    assert places(thread) == [(IN, "context"), (ABOVE, "context"), (END, "cfi")]
    assert [frame.signal for frame in thread.frames] == [True, False, False]
    assert thread.frames[0].text == b"<signal handler called>"
