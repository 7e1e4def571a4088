"""Writes libraries with call frame information, to lie in a core's memory or to be its files.

    image(functions=[Function(0x1000, 0x40, def_cfa(7, 8) + offset(16, 1) + advance(4) + def_cfa_offset(16))])

Instructions as DWARF 5, section 6.4.2, has them. There is one CIE for all functions.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

PT_LOAD, PT_GNU_EH_FRAME = 1, 0x6474E550
_FRAMES = 0x3000  # where .eh_frame_hdr lies


@dataclass(frozen=True, slots=True)
class Function:
    """Where a function begins, how long it is, and what its FDE says."""

    start: int
    size: int
    rules: bytes = b""


def uleb(value: int) -> bytes:
    """An unsigned number in base 128."""
    out = bytearray()
    while True:
        value, low = value >> 7, value & 127
        out.append(low | (128 if value else 0))
        if not value:
            return bytes(out)


def sleb(value: int) -> bytes:
    """A signed number in base 128."""
    out = bytearray()
    while True:
        value, low = value >> 7, value & 127
        last = value == (-1 if low & 64 else 0)
        out.append(low | (0 if last else 128))
        if last:
            return bytes(out)


def def_cfa(register: int, distance: int) -> bytes:
    return b"\x0c" + uleb(register) + uleb(distance)


def def_cfa_register(register: int) -> bytes:
    return b"\x0d" + uleb(register)


def def_cfa_offset(distance: int) -> bytes:
    return b"\x0e" + uleb(distance)


def def_cfa_expression(operations: bytes) -> bytes:
    return b"\x0f" + uleb(len(operations)) + operations


def offset(register: int, factored: int) -> bytes:
    return bytes([0x80 | register]) + uleb(factored)


def val_offset(register: int, factored: int) -> bytes:
    return b"\x14" + uleb(register) + uleb(factored)


def moved(register: int, to: int) -> bytes:
    return b"\x09" + uleb(register) + uleb(to)


def expression(register: int, operations: bytes) -> bytes:
    return b"\x10" + uleb(register) + uleb(len(operations)) + operations


def val_expression(register: int, operations: bytes) -> bytes:
    return b"\x16" + uleb(register) + uleb(len(operations)) + operations


def undefined(register: int) -> bytes:
    return b"\x07" + uleb(register)


def same_value(register: int) -> bytes:
    return b"\x08" + uleb(register)


def restore(register: int) -> bytes:
    return bytes([0xC0 | register])


def advance(units: int) -> bytes:
    return bytes([0x40 | units]) if units < 64 else b"\x02" + bytes([units])


REMEMBER, RESTORE_STATE, ARGS_SIZE = b"\x0a", b"\x0b", b"\x2e\x10"


def breg(register: int, distance: int) -> bytes:
    """DW_OP_breg: the register's value and a distance."""
    return bytes([0x70 + register]) + sleb(distance)


def image(
    functions: Sequence[Function],
    *,
    machine: int = 62,
    initial: bytes = def_cfa(7, 8) + offset(16, 1),
    column: int = 16,
    code: int = 1,
    signal: bool = False,
    text: bytes = b"",
) -> bytes:
    """A 64-bit library of 16 KiB with this text at 0x1000 and these functions; the CIE begins with ``initial``."""
    hdr_size = 12 + 8 * len(functions)
    frames_at = _FRAMES + (hdr_size + 7 & ~7)
    augmentation = b"zRS\0" if signal else b"zR\0"
    shared = b"\0\0\0\0\x01" + augmentation + uleb(code) + sleb(-8) + uleb(column) + b"\x01\x1b" + initial
    frames = _entry(shared)
    table: list[tuple[int, int]] = []
    for each in sorted(functions, key=lambda function: function.start):
        at = frames_at + len(frames)
        table.append((each.start - _FRAMES, at - _FRAMES))
        body = struct.pack("<Iii", len(frames) + 4, each.start - (at + 8), each.size) + b"\0" + each.rules
        frames += _entry(body)
    head = b"\x01\x1b\x03\x3b" + struct.pack("<iI", frames_at - _FRAMES - 4, len(table))
    head += b"".join(struct.pack("<ii", *row) for row in table)
    out = bytearray(0x4000)
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    out[:64] = ident + struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    out[64:120] = struct.pack("<IIQQQQQQ", PT_LOAD, 5, 0, 0, 0, 0x4000, 0x4000, 0)
    out[120:176] = struct.pack("<IIQQQQQQ", PT_GNU_EH_FRAME, 4, _FRAMES, _FRAMES, 0, hdr_size, hdr_size, 0)
    out[0x1000 : 0x1000 + len(text)] = text
    out[_FRAMES : _FRAMES + len(head)] = head
    out[frames_at : frames_at + len(frames)] = frames
    return bytes(out)


def _entry(body: bytes) -> bytes:
    padded = body + bytes(-(len(body) + 4) % 8)
    return struct.pack("<I", len(padded)) + padded
