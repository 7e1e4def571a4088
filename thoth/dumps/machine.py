"""Processors whose stacks are walked: which register is where in what a kernel saves.

Registers go by their DWARF numbers. Sources: the psABIs of x86-64, i386 and AArch64 for the numbers;
usr/src/uts/intel/sys/regset.h and Linux's struct user_regs_struct and user_pt_regs for the orders.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from thoth.dumps.record import ByteOrder, Record

Registers = Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Machine:
    """A processor as one kernel saves it. ``saved`` has, for each register, its place among the saved words."""

    name: str
    word: int  # bytes
    pc: int
    sp: int
    fp: int
    link: int | None  # the register that holds the return address on entry; None: it lies on the stack
    saved: Mapping[int, int]

    @property
    def mask(self) -> int:
        """The largest address, all bits set."""
        return (1 << 8 * self.word) - 1

    def registers(self, record: Record, at: int) -> Registers | None:
        """The registers saved at offset ``at`` of a structure; None when it ends before they do."""
        letter = "Q" if self.word == 8 else "I"
        words = record.numbers(at, letter, max(self.saved.values()) + 1)
        return None if words is None else {number: words[place] for number, place in self.saved.items()}


def _amd64(places: Mapping[int, int]) -> Machine:
    return Machine("x86_64", 8, pc=16, sp=7, fp=6, link=None, saved=places)


def _i386(places: Mapping[int, int]) -> Machine:
    return Machine("i386", 4, pc=8, sp=4, fp=5, link=None, saved=places)


ILLUMOS: Mapping[tuple[int, ByteOrder], Machine] = {
    (62, "<"): _amd64(
        {0: 14, 1: 12, 2: 13, 3: 11, 4: 9, 5: 8, 6: 10, 7: 20, 16: 17}
        | {number: 15 - number for number in range(8, 16)}
    ),
    (3, "<"): _i386({0: 11, 1: 10, 2: 9, 3: 8, 4: 17, 5: 6, 6: 5, 7: 4, 8: 14}),
}

LINUX: Mapping[tuple[int, ByteOrder], Machine] = {
    (62, "<"): _amd64(
        {0: 10, 1: 12, 2: 11, 3: 5, 4: 13, 5: 14, 6: 4, 7: 19, 16: 16}
        | {8: 9, 9: 8, 10: 7, 11: 6, 12: 3, 13: 2, 14: 1, 15: 0}
    ),
    (3, "<"): _i386({0: 6, 1: 1, 2: 2, 3: 0, 4: 15, 5: 5, 6: 3, 7: 4, 8: 12}),
    # 32 has no meaning to DWARF on AArch64: here it is the program counter, which has no number there.
    (183, "<"): Machine("aarch64", 8, pc=32, sp=31, fp=29, link=30, saved={number: number for number in range(33)}),
}
