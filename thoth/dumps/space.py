"""A process's memory as far as anybody knows it: what its core holds, and what was mapped without being dumped."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

from thoth.dumps.elfcore import PF_X, PT_LOAD, ElfCore
from thoth.dumps.machine import Machine
from thoth.dumps.paged import TooMuchRead

_MOST_MAPPINGS = 1 << 17


class Mapping(NamedTuple):
    """A mapped part of the address space, whether its bytes were dumped or not."""

    start: int
    end: int
    flags: int


class AddressSpace:
    """Memory of a process, by address. What is not known, or would take too much reading, is missing."""

    __slots__ = ("_elsewhere", "_machine", "_mappings", "_memory", "_starts", "_word")

    def __init__(self, core: ElfCore, machine: Machine) -> None:
        self._machine = machine
        self._memory = core.memory
        self._word = struct.Struct(core.header.order + ("Q" if machine.word == 8 else "I"))
        loads = (s for s in core.segments() if s.type == PT_LOAD and s.memsz)
        self._mappings = sorted(Mapping(s.vaddr, s.vaddr + s.memsz, s.flags) for s in loads)[:_MOST_MAPPINGS]
        self._starts = [each.start for each in self._mappings]
        self._elsewhere: Callable[[int, int], bytes] = lambda address, length: b""

    def look_elsewhere(self, read: Callable[[int, int], bytes]) -> None:
        """Have ``read`` asked, by address and length, for what the core does not hold."""
        self._elsewhere = read

    def dumped(self, address: int, length: int) -> bytes:
        """Up to ``length`` bytes at ``address`` out of the core itself."""
        try:
            return self._memory.read(address, length) if 0 <= address <= self._machine.mask else b""
        except TooMuchRead:
            return b""

    def read(self, address: int, length: int) -> bytes:
        """Up to ``length`` bytes at ``address``, out of the core or from elsewhere."""
        data = self.dumped(address, length)
        if len(data) < length:
            data += self._elsewhere(address + len(data), length - len(data))
        return data

    def word(self, address: int) -> int | None:
        """The word at an address; None when it is not known."""
        data = self.read(address, self._word.size)
        return self._word.unpack(data)[0] if len(data) == self._word.size else None

    def words(self, address: int, count: int) -> tuple[int, ...]:
        """So many words from an address on; fewer where they are not known."""
        size = self._word.size
        data = self.read(address, count * size)
        return tuple(value for (value,) in self._word.iter_unpack(data[: len(data) // size * size]))

    def text(self, address: int, limit: int) -> bytes | None:
        """The text at an address up to its NUL; None when none is found among ``limit`` bytes."""
        value, nul, _ = self.read(address, limit).partition(b"\0")
        return value if nul else None

    def mapping(self, address: int) -> Mapping | None:
        """The mapping that an address lies in."""
        place = bisect_right(self._starts, address) - 1
        if place < 0 or address >= self._mappings[place].end:
            return None
        return self._mappings[place]

    def executable(self, address: int) -> bool:
        """Whether there can be code at an address."""
        found = self.mapping(address)
        return found is not None and bool(found.flags & PF_X)

    def code_mappings(self) -> list[Mapping]:
        """The mappings that can be executed, in the order of their addresses."""
        return [each for each in self._mappings if each.flags & PF_X]
