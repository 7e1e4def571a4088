"""Walking a stack by frame pointers, as illumos' own tools do.

Source: usr/src/lib/libproc/amd64/Pisadep.c (Pstack_iter) for the rules, usr/src/uts/intel/sys/ucontext.h for what
a signal handler's caller has saved.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from thoth.dumps.machine import Machine
from thoth.dumps.record import ByteOrder, Record
from thoth.dumps.space import AddressSpace
from thoth.dumps.threads import ThreadState

_MOST_CONTEXTS = 64  # signals that have interrupted each other


class Place(NamedTuple):
    """A frame: where its code goes on, and how that is known: ``context`` (registers that a kernel saved),
    ``cfi``, ``frame-pointer``, or ``return-address`` (what lay on top of the stack)."""

    pc: int
    trust: str
    called: bool  # pc is a return address: the call lies before it
    signal: bool = False  # the code that calls a signal's handler, or is returned to from it


def walk_frame_pointers(
    thread: ThreadState, space: AddressSpace, machine: Machine, order: ByteOrder
) -> Iterator[Place]:
    """The frames of an illumos thread, the innermost first. A frame that cannot be read ends the walk."""
    contexts = _Contexts(thread.contexts, space, machine, order)
    pc, fp = thread.registers[machine.pc], thread.registers[machine.fp]
    seen: set[int] = set()
    trust = "context"
    while (fp or pc) and fp not in seen:
        seen.add(fp)
        yield Place(pc, trust, trust != "context")
        saved = space.words(fp, 2) if fp else ()
        handled = fp
        fp, pc = saved if len(saved) == 2 else (0, 0)
        trust = "frame-pointer"
        interrupted = contexts.below(handled) if pc == machine.mask else None
        if interrupted:
            pc, fp = interrupted
            trust = "context"


class _Contexts:
    """What signals interrupted: each ucontext_t has the address of the one before."""

    def __init__(self, newest: int, space: AddressSpace, machine: Machine, order: ByteOrder) -> None:
        self._space, self._machine, self._order = space, machine, order
        self._newest = newest
        self._wide = machine.word == 8

    def below(self, fp: int) -> tuple[int, int] | None:
        """Program counter and frame pointer of what was interrupted by the handler whose frame lies at ``fp``."""
        expected = fp + (4 if self._wide else 5) * self._machine.word
        if expected not in self._chain():
            return None
        saved = 64 if self._wide else 36  # of a ucontext_t, where its registers begin
        registers = self._machine.registers(self._record(expected, saved + 28 * self._machine.word), saved)
        return None if registers is None else (registers[self._machine.pc], registers[self._machine.fp])

    def _chain(self) -> Iterator[int]:
        at = self._newest
        for _ in range(_MOST_CONTEXTS):
            if not at:
                return
            yield at
            at = self._record(at, 16).number(8 if self._wide else 4, "Q" if self._wide else "I") or 0

    def _record(self, at: int, size: int) -> Record:
        return Record(self._space.read(at, size), self._order)
