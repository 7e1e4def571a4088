"""One step up a stack by call frame information: what .eh_frame, or .debug_frame, says of a caller's registers.

pyelftools decodes the entries; only those that a frame needs, found by the table in .eh_frame_hdr. Sources: DWARF 5,
section 6.4; the Linux Standard Base, "DWARF Extensions", for .eh_frame and .eh_frame_hdr; the DWARF ABI of AArch64.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import cached_property
from io import BytesIO
from itertools import islice
from typing import Any, Final, Protocol

from elftools.common.exceptions import DWARFError, ELFError
from elftools.construct import ConstructError
from elftools.dwarf.callframe import CallFrameInfo
from elftools.dwarf.dwarf_expr import DWARFExprParser
from elftools.dwarf.structs import DWARFStructs

from thoth.dumps.allowance import Unwinding
from thoth.dumps.cfi_rules import Damaged, Rules, rules_at
from thoth.dumps.debug_frame import MOST_FUNCTIONS, DebugFrame
from thoth.dumps.expressions import Known
from thoth.dumps.image import PT_GNU_EH_FRAME, Image
from thoth.dumps.machine import Machine, Registers
from thoth.dumps.space import AddressSpace

_ENTRY = 1 << 14  # bytes of one entry; those of the largest functions have some thousand
_PC_RELATIVE = 0x1B  # DW_EH_PE_pcrel | DW_EH_PE_sdata4
_TABLE: Final = b"\1\x1b\x03\x3b"  # version, and how pointers are encoded, in every header that linkers write

# What goes wrong in the decoding of bytes that are not what they should be.
_BAD = (
    ELFError,
    DWARFError,
    ConstructError,
    struct.error,
    AssertionError,
    ArithmeticError,  # a length beyond what Python can index
    LookupError,
    RecursionError,  # expressions in each other
    TypeError,
    ValueError,
)


class _Index(Protocol):
    def before(self, address: int) -> tuple[int, int] | None: ...


class CallFrames:
    """The call frame information of one image. It raises nothing for what is damaged.

    ``allowed`` is shared by the modules of a core. ``debug`` gives the file that has what was stripped from this one.
    """

    def __init__(
        self, image: Image, machine: Machine, allowed: Unwinding, debug: Callable[[], Image | None] = lambda: None
    ) -> None:
        self._image, self._machine, self._allowed, self._stripped = image, machine, allowed, debug
        self._structs = DWARFStructs(
            little_endian=image.header.order == "<", dwarf_format=32, address_size=machine.word
        )
        self._parse = DWARFExprParser(self._structs).parse_expr
        self._rules: dict[int, Rules | None] = {}
        self._entries: dict[tuple[_Index, int], Any] = {}
        self._index: _Index = _Header.of(image) or _Scan(image, self._entry_at, self._decoded_cie)

    def rules(self, address: int) -> Rules | None:
        """The rules at an address of the image; None when it says nothing of it."""
        if address not in self._rules:
            try:
                self._rules[address] = self._found(address)
            except (Damaged, *_BAD):
                self._rules[address] = None
        return self._rules[address]

    def _found(self, address: int) -> Rules | None:
        return self._told(self._index, self._decoded, address) or self._told(
            self._debug, self._debug.decoded, address
        )

    @cached_property
    def _debug(self) -> DebugFrame:
        """What debuggers have, of the image or of what was stripped from it; read where .eh_frame says nothing."""
        image = self._image if self._image.section(b".debug_frame") else self._stripped() or self._image
        decode = lambda section: self._entries_of(section, debug=True)[1]  # noqa: E731 - it is given away
        return DebugFrame(image, decode, self._allowed.debug_frame)

    def _told(self, index: _Index, decoded: Callable[[int], Any], address: int) -> Rules | None:
        found = index.before(address)
        if found is None:
            return None
        key = index, found[1]
        if key not in self._entries:
            self._entries[key] = decoded(found[1])
        entry = self._entries[key]
        return rules_at(entry, address - found[0]) if address - found[0] < entry["address_range"] else None

    def _decoded(self, place: int) -> Any:
        """The entry at an address, decoded; with its CIE, which lies before it, as a section of two entries."""
        order = self._image.header.order
        entry = self._entry_at(place)
        back = struct.unpack_from(order + "I", entry, 4)[0]
        if not back:
            raise Damaged
        shared = self._entry_at(place + 4 - back)
        section = shared + entry[:4] + struct.pack(order + "I", len(shared) + 4) + entry[8:]
        return self._entries_of(section)[1]

    def _decoded_cie(self, place: int) -> Any:
        """The CIE at an address, decoded."""
        return self._entries_of(self._entry_at(place))[0]

    def _entries_of(self, section: bytes, *, debug: bool = False) -> Any:
        """The entries of .eh_frame or .debug_frame, decoded."""
        if not self._allowed.decoded.take(len(section)):
            raise Damaged
        return CallFrameInfo(BytesIO(section), len(section), 0, self._structs, for_eh_frame=not debug).get_entries()

    def _entry_at(self, place: int) -> bytes:
        """The bytes of a CIE or FDE."""
        length = struct.unpack(self._image.header.order + "I", self._image.read(place, 4))[0]
        if not 4 <= length <= _ENTRY:
            raise Damaged
        data = self._image.read(place, length + 4)
        if len(data) < length + 4:
            raise Damaged
        return data

    # ---- a step -----------------------------------------------------------------------------------

    def caller(self, rules: Rules, registers: Registers, space: AddressSpace) -> Registers | None:
        """The caller's registers, as far as they are known; None when its program counter is not."""
        try:
            return self._caller(rules, registers, space)
        except (Damaged, *_BAD):
            return None

    def _caller(self, rules: Rules, registers: Registers, space: AddressSpace) -> Registers | None:
        machine = self._machine
        order, operations = self._image.header.order, self._allowed.operations
        known = Known(registers, space, machine, order, self._parse, allowed=operations)
        if isinstance(rules.cfa, bytes):
            cfa = known.value(rules.cfa, ())
        else:
            cfa = registers[rules.cfa[0]] + rules.cfa[1] & machine.mask
        above = dict(registers)
        above[machine.sp] = cfa
        for number, (how, what) in rules.registers.items():
            value = known.saved(how, what, cfa)
            if value is None:
                above.pop(number, None)
            else:
                above[number] = value
        moved = rules.column in rules.registers
        if rules.column not in above or not (moved or rules.column == machine.link):
            return None
        above[machine.pc] = above[rules.column]
        return above


class _Header:
    """The table in .eh_frame_hdr: where each function begins, sorted, and where its entry is."""

    def __init__(self, image: Image, at: int, count: int) -> None:
        self._image, self._at, self._count = image, at, count

    @classmethod
    def of(cls, image: Image) -> _Header | None:
        """The image's, if it has one of the form that every linker writes."""
        place = image.segment(PT_GNU_EH_FRAME)
        head = image.read(place.vaddr, 12) if place else b""
        if place is None or len(head) < 12 or head[:4] != _TABLE:
            return None
        count = struct.unpack_from(image.header.order + "I", head, 8)[0]
        return cls(image, place.vaddr, min(count, max(place.memsz - 12, 0) // 8))

    def before(self, address: int) -> tuple[int, int] | None:
        """The last function that begins at or before an address: where it begins, and where its entry is."""
        low, high = 0, self._count
        found: tuple[int, int] | None = None
        while low < high:
            middle = (low + high) // 2
            row = self._row(middle)
            if row[0] <= address:
                low, found = middle + 1, row
            else:
                high = middle
        return found

    def _row(self, number: int) -> tuple[int, int]:
        start, place = struct.unpack(self._image.header.order + "ii", self._image.read(self._at + 12 + 8 * number, 8))
        return self._at + start, self._at + place


class _Scan:
    """The same for a static executable, whose linker makes no table: .eh_frame is gone through once."""

    def __init__(self, image: Image, entry_at: Callable[[int], bytes], cie_at: Callable[[int], Any]) -> None:
        self._image, self._entry_at, self._cie_at = image, entry_at, cie_at
        self._encodings: dict[int, int] = {}  # of each CIE, by where it is: how it writes addresses
        self._rows: list[tuple[int, int]] | None = None

    def before(self, address: int) -> tuple[int, int] | None:
        """As that of _Header."""
        if self._rows is None:
            self._rows = sorted(islice(self._scanned(), MOST_FUNCTIONS))
        place = bisect_right(self._rows, (address, 1 << 64)) - 1
        return self._rows[place] if place >= 0 else None

    def _scanned(self) -> Iterator[tuple[int, int]]:
        section = self._image.section(b".eh_frame")
        if section is None:
            return
        at, end = section.addr, section.addr + section.size
        head = struct.Struct(self._image.header.order + "II")
        while at + 8 <= end:
            length, back = head.unpack(self._image.read(at, 8))
            if not 4 <= length <= _ENTRY:  # the terminator, or nothing that we know
                return
            if back:
                start = self._begin(at, at + 4 - back)
                if start is not None:
                    yield start, at
            at += length + 4

    def _begin(self, place: int, shared: int) -> int | None:
        """Where the function of an FDE begins; None when it is written in a way that none of ours is."""
        if shared not in self._encodings:
            self._encodings[shared] = self._cie_at(shared).augmentation_dict.get("FDE_encoding", 0)
        encoding, order, wide = self._encodings[shared], self._image.header.order, self._image.header.wide
        if encoding == _PC_RELATIVE:
            return int(place + 8 + struct.unpack(order + "i", self._image.read(place + 8, 4))[0])
        if encoding == 0:
            form = order + ("Q" if wide else "I")
            return int(struct.unpack(form, self._image.read(place + 8, 8 if wide else 4))[0])
        return None
