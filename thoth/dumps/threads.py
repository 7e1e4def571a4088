"""The threads of a core, with the registers that each had: the one that dumped comes first.

Sources: usr/src/uts/common/sys/procfs.h and old_procfs.h (lwpstatus_t, pstatus_t, prstatus_t), sys/siginfo.h;
Linux's include/uapi/linux/elfcore.h (struct elf_prstatus) and the siginfo_t in NT_SIGINFO.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from thoth.dumps import illumos, linux
from thoth.dumps.elfcore import ElfCore, Note
from thoth.dumps.machine import ILLUMOS, LINUX, Machine, Registers
from thoth.dumps.paged import TooMuchRead
from thoth.dumps.record import Record

MOST_THREADS = 1024  # that are looked at

NT_LWPSTATUS, NT_ARM_PAC_MASK = 16, 0x406

_STRUCTURE = 4096  # bytes of one that are read; the largest is illumos' pstatus_t with 1,776
_SENT = 0x80  # si_code from here on, or up to 0: somebody sent the signal, and there is no address


@dataclass(frozen=True, slots=True)
class ThreadState:
    """One thread as it was. ``contexts`` is the address of the newest context that a signal interrupted, or 0."""

    id: int
    signal: int | None
    registers: Registers
    contexts: int = 0


@dataclass(frozen=True, slots=True)
class Process:
    """What the notes say that a walk needs. Of ``threads`` the first is the one that dumped."""

    system: str  # "illumos" or "linux"
    machine: Machine
    threads: tuple[ThreadState, ...]
    vector: dict[int, int]  # the auxiliary vector
    fault_address: int | None = None
    files: Note | None = None  # NT_FILE
    signing: int = 0  # bits of a return address that are its signature: AArch64's pointer authentication


def process_of(core: ElfCore) -> Process | None:
    """The process of an illumos or Linux core; None when it is neither, or its processor is none that we know."""
    notes = [note for note in _readable(core.notes()) if note.size]
    names = {(note.name, note.type) for note in notes}
    sizes = {note.type: note.size for note in reversed(notes) if note.name == b"CORE"}
    key = (core.header.machine, core.header.order)
    if names & illumos.TELLING or sizes.get(3) == (328 if core.header.wide else 260):
        return _illumos(core, notes, ILLUMOS[key]) if key in ILLUMOS else None
    return _linux(core, notes, LINUX[key]) if key in LINUX and not names & {linux.VMCOREINFO} else None


def _readable(notes: Iterator[Note]) -> Iterator[Note]:
    """The notes up to where reading on would take too much."""
    with suppress(TooMuchRead):
        yield from notes


def _of_type(notes: list[Note], kind: int, name: bytes = b"CORE") -> Iterator[Note]:
    return (note for note in notes if note.type == kind and note.name == name)


def _record(core: ElfCore, note: Note | None) -> Record:
    data = b""
    with suppress(TooMuchRead):
        data = core.description(note, _STRUCTURE) if note else b""
    return Record(data, core.header.order)


def _vector(core: ElfCore, notes: list[Note]) -> dict[int, int]:
    record = _record(core, next(_of_type(notes, 6), None))
    step, letter = (16, "Q") if core.header.wide else (8, "I")
    entries: dict[int, int] = {}
    for at in range(0, _STRUCTURE, step):
        kind, value = record.number(at, letter), record.number(at + step // 2, letter)
        if not kind or value is None:
            break
        entries.setdefault(kind, value)
    return entries


# ---- illumos --------------------------------------------------------------------------------------


def _illumos(core: ElfCore, notes: list[Note], machine: Machine) -> Process:
    status = _record(core, next(_of_type(notes, illumos.NT_PSTATUS), None))
    own = 384 if machine.word == 8 else 336  # where in a pstatus_t the LWP's own status lies
    threads: dict[int, ThreadState] = {}
    first = _lwp(status, own, machine)
    if first:
        threads[first.id] = first
    for note in _of_type(notes, NT_LWPSTATUS):
        if len(threads) >= MOST_THREADS:
            break
        thread = _lwp(_record(core, note), 0, machine)
        if thread:
            threads.setdefault(thread.id, thread)
    if not threads:
        return _old_illumos(core, notes, machine)
    places = _Information(own + 20, own + (32 if machine.word == 8 else 28), (4, 5, 8, 10, 11))
    fault = _fault(status, first.signal if first else None, places, machine)
    return Process("illumos", machine, tuple(threads.values()), _vector(core, notes), fault)


def _lwp(record: Record, at: int, machine: Machine) -> ThreadState | None:
    """An lwpstatus_t."""
    wide = machine.word == 8
    registers = machine.registers(record, at + (544 if wide else 344))
    number, signal = record.number(at + 4, "i"), record.number(at + 12, "h")
    contexts = record.number(at + (360 if wide else 220), "Q" if wide else "I")
    if number is None or registers is None:
        return None
    return ThreadState(number, signal or None, registers, contexts or 0)


def _old_illumos(core: ElfCore, notes: list[Note], machine: Machine) -> Process:
    """From old /proc alone, which knows nothing of interrupted contexts."""
    wide = machine.word == 8
    threads: dict[int, ThreadState] = {}
    for note in _of_type(notes, illumos.NT_PRSTATUS):
        record = _record(core, note)
        registers = machine.registers(record, 600 if wide else 356)
        number = record.number(520 if wide else 308, "i")
        if registers is not None and number is not None and len(threads) < MOST_THREADS:
            signal = record.number(264 if wide else 136, "h")
            threads.setdefault(number, ThreadState(number, signal or None, registers))
    return Process("illumos", machine, tuple(threads.values()), _vector(core, notes))


# ---- Linux ----------------------------------------------------------------------------------------


def _linux(core: ElfCore, notes: list[Note], machine: Machine) -> Process:
    wide = machine.word == 8
    threads: dict[int, ThreadState] = {}
    for note in _of_type(notes, linux.NT_PRSTATUS):
        record = _record(core, note)
        registers = machine.registers(record, 112 if wide else 72)
        number = record.number(32 if wide else 24, "i")
        if registers is not None and number is not None and len(threads) < MOST_THREADS:
            # The kernel writes the fatal signal into the status of every thread: it was one's only.
            signal = record.number(12, "h") if not threads else None
            threads.setdefault(number, ThreadState(number, signal or None, registers))
    information = _record(core, next(_of_type(notes, linux.NT_SIGINFO), None))
    places = _Information(8, 16 if wide else 12, (4, 5, 7, 8, 11))
    fault = _fault(information, information.number(0, "i"), places, machine)
    mask = _record(core, next(_of_type(notes, NT_ARM_PAC_MASK, b"LINUX"), None)).number(8, "Q")
    files = next(_of_type(notes, linux.NT_FILE), None)
    return Process("linux", machine, tuple(threads.values()), _vector(core, notes), fault, files, mask or 0)


class _Information(NamedTuple):
    """Where in a structure a siginfo_t has its code and its address, and which signals have an address."""

    code: int
    address: int
    faults: tuple[int, ...]


def _fault(record: Record, signal: int | None, at: _Information, machine: Machine) -> int | None:
    """The address in a siginfo_t, if the processor raised the signal there."""
    why = record.number(at.code, "i")
    if signal not in at.faults or why is None or not 0 < why < _SENT:
        return None
    return record.number(at.address, "Q" if machine.word == 8 else "I")
