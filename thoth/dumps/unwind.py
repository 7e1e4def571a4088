"""Walking the stack of a Linux thread: by call frame information where there is some, else by frame pointers.

Sources: the psABIs of x86-64 and AArch64 for frames; Linux's arch/*/include/uapi/asm/{sigcontext,ucontext}.h and
arch/*/kernel/signal*.c for what lies on the stack when a signal's handler returns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from thoth.dumps.cfi_rules import Rules
from thoth.dumps.loaded import Loaded
from thoth.dumps.machine import Registers
from thoth.dumps.record import ByteOrder, Record
from thoth.dumps.space import AddressSpace
from thoth.dumps.threads import Process, ThreadState
from thoth.dumps.unwind_fp import Place

if TYPE_CHECKING:
    from thoth.dumps.unwind_cfi import CallFrames


class _Trampoline(NamedTuple):
    """The code that a signal's handler returns to, and where from the stack pointer on the kernel saved registers.

    ``registers`` has the place of each, in bytes.
    """

    code: bytes
    registers: Mapping[int, int]


_X86_64_SAVED: Final = (*range(8, 16), 5, 4, 6, 3, 1, 0, 2, 7, 16)  # r8, ..., rip
_TRAMPOLINES: Final = {
    # mov $15,%rax; syscall: the stack pointer is at the ucontext
    "x86_64": _Trampoline(
        bytes.fromhex("48c7c00f0000000f05"), {number: 40 + 8 * place for place, number in enumerate(_X86_64_SAVED)}
    ),
    # mov x8, #139; svc #0: at a siginfo, with the ucontext behind it
    "aarch64": _Trampoline(
        bytes.fromhex("681180d2010000d4"), {number: 128 + 176 + 8 + 8 * number for number in range(33)}
    ),
}


_CALL: Final = 7  # bytes of the longest call
_INJECTED: Final = frozenset((b"runtime.sigpanic", b"runtime.sigpanic.abi0", b"runtime.sigpanic0"))


class _Step(NamedTuple):
    registers: Registers
    trust: str
    called: bool


class Unwinder:
    """Walks the threads of one process."""

    def __init__(self, process: Process, space: AddressSpace, loaded: Loaded, order: ByteOrder) -> None:
        self._process, self._space, self._loaded, self._order = process, space, loaded, order
        self._machine = process.machine
        self._trampolines: dict[int, bool] = {}
        self._injected: dict[int, bool] = {}

    def walk(self, thread: ThreadState) -> Iterator[Place]:
        """The frames of a thread, the innermost first."""
        step: _Step | None = _Step(thread.registers, "context", called=False)
        seen: set[tuple[int, int | None]] = set()
        innermost = True
        while step:
            pc, sp = step.registers[self._machine.pc], step.registers.get(self._machine.sp)
            if (pc, sp) in seen:
                return
            seen.add((pc, sp))
            yield Place(pc, step.trust, step.called, signal=self._is_handlers(step))
            above = self._up(step, innermost=innermost)
            step = above._replace(called=False) if above and self._is_injected(pc) else above
            innermost = False
            if step and not self._is_code(step.registers[self._machine.pc]):
                return

    def _up(self, step: _Step, *, innermost: bool) -> _Step | None:
        pc = step.registers[self._machine.pc]
        if innermost and not self._is_code(pc):
            return self._returned(step.registers)
        known = self._frame_information(step)
        if known:
            frames, rules = known
            above = frames.caller(rules, step.registers, self._space)
            return self._unsigned(_Step(above, "cfi", not rules.signal), step) if above else None
        if self._is_trampoline(pc):
            return self._interrupted(step.registers)
        return self._by_frame_pointer(step.registers)

    def _frame_information(self, step: _Step) -> tuple[CallFrames, Rules] | None:
        """What call frame information there is for a frame.

        A call that never returns may be the last of a function: its return address lies in the next one.
        """
        address = step.registers[self._machine.pc] - step.called
        module = self._loaded.modules.at(address)
        frames = self._loaded.frames(module) if module else None
        rules = frames.rules(module.own(address)) if module and frames else None
        return (frames, rules) if frames and rules else None

    def _is_handlers(self, step: _Step) -> bool:
        """Whether a frame is the code that a signal's handler returns to.

        Where call frame information tells that it is not, the code itself is not looked at: it may be far away.
        """
        known = self._frame_information(step)
        return (known is None or known[1].signal) and self._is_trampoline(step.registers[self._machine.pc])

    def _is_injected(self, pc: int) -> bool:
        """Whether a frame's function is one that its caller never called: Go has a signal's handler enter it."""
        if pc not in self._injected:
            module = self._loaded.modules.at(pc)
            go = module if module and module.image and module.image.go_build_id() else None
            symbol = self._loaded.symbol(go, pc - 1) if go else None
            self._injected[pc] = symbol is not None and symbol.name in _INJECTED
        return self._injected[pc]

    def _is_code(self, pc: int) -> bool:
        """Whether there can be code: the core's segments say so, or the module's own where gdb left them out."""
        if self._space.mapping(pc):
            return self._space.executable(pc)
        module = self._loaded.modules.at(pc)
        return module is not None and module.has_code(pc)

    def _unsigned(self, step: _Step, below: _Step) -> _Step | None:
        """The step without a signature in its return address; None when it leads down the stack again, or nobody
        knows where."""
        machine = self._machine
        sp, before = step.registers.get(machine.sp), below.registers.get(machine.sp, 0)
        if sp is None or (step.called and (sp < before or (sp == before and machine.link is None))):
            return None
        pc = step.registers[machine.pc] & ~self._process.signing
        return step._replace(registers={**step.registers, machine.pc: pc})

    def _returned(self, registers: Registers) -> _Step | None:
        """Out of where there is no code: whoever jumped there has left a return address."""
        machine = self._machine
        if machine.link is not None:
            return _Step({**registers, machine.pc: registers[machine.link]}, "return-address", called=True)
        sp = registers[machine.sp]
        pc = self._space.word(sp)
        if pc is None:
            return None
        return _Step({**registers, machine.pc: pc, machine.sp: sp + machine.word}, "return-address", called=True)

    def _is_trampoline(self, pc: int) -> bool:
        if pc not in self._trampolines:
            known = _TRAMPOLINES.get(self._machine.name)
            self._trampolines[pc] = known is not None and self._space.read(pc, len(known.code)) == known.code
        return self._trampolines[pc]

    def _interrupted(self, registers: Registers) -> _Step | None:
        """What the handler whose trampoline this is has interrupted."""
        places = _TRAMPOLINES[self._machine.name].registers
        record = Record(self._space.read(registers[self._machine.sp], max(places.values()) + 8), self._order)
        saved = {number: record.number(at, "Q") for number, at in places.items()}
        known = {number: value for number, value in saved.items() if value is not None}
        return _Step(known, "context", called=False) if len(known) == len(places) else None

    def _by_frame_pointer(self, registers: Registers) -> _Step | None:
        """By the record that the frame pointer leads to, if that looks like one."""
        machine = self._machine
        fp, sp = registers.get(machine.fp, 0), registers.get(machine.sp, 0)
        saved = self._space.words(fp, 2) if fp >= sp and fp % machine.word == 0 else ()
        if len(saved) < 2:
            return None
        pc = saved[1] & ~self._process.signing
        here = registers[machine.pc]
        called = self._is_trampoline(pc) or follows_call(machine.name, self._space.read(pc - _CALL, _CALL))
        if called is False and self._is_injected(here):
            called = None
        # Where nobody knows the code, the next record has to lie above this one.
        if not (saved[0] > fp if called is None else called):
            return None
        above = {machine.pc: pc, machine.fp: saved[0], machine.sp: fp + 2 * machine.word}
        return _Step(above, "frame-pointer", called=True)


def follows_call(machine: str, code: bytes) -> bool | None:
    """Whether these bytes, seven right before an address, end in a call, so that it can be a return address.

    None when they are not known, or not for this processor.
    """
    if len(code) < _CALL:
        return None
    if machine == "aarch64":  # bl; blr and its kin that check a signature
        word = int.from_bytes(code[3:], "little")
        return word >> 26 == 0b100101 or word & 0xFEFFF000 == 0xD63F0000
    # call with an offset; call through a register or memory, which is FF /2 in two to seven bytes
    return code[2] == 0xE8 or any(
        code[-size] == 0xFF and code[1 - size] >> 3 & 7 == 2 and _call_size(code[1 - size :]) == size
        for size in (2, 3, 4, 6, 7)
    )


def _call_size(operand: bytes) -> int:
    """Bytes of an FF instruction, by what follows that byte: its ModR/M, and SIB where that asks for one."""
    mode, base = operand[0] >> 6, operand[0] & 7
    if mode == 0b11:
        return 2
    size = 2
    if base == 0b100:
        size += 1
        base = operand[1] & 7 if len(operand) > 1 else base
    return size + (4 if mode == 0b10 or (mode == 0 and base == 0b101) else mode)
