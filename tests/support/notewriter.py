"""Writes the notes of core files: entries, and the structures that go into them.

Layouts: illumos sys/procfs.h and sys/old_procfs.h, Linux elfcore.h. All of these are names of elfwriter too.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Literal

Endian = Literal["little", "big"]
Text = str | bytes
Field = tuple[int, str, int | bytes]  # offset, struct format, value


def raw(value: Text) -> bytes:
    """The bytes of a text."""
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value


def record(size: int, endian: Endian, *fields: Field) -> bytes:
    """``size`` bytes, zero but for the fields."""
    data = bytearray(size)
    for at, form, value in fields:
        struct.pack_into(("<" if endian == "little" else ">") + form, data, at, value)
    return bytes(data)


def note(
    name: bytes,
    type: int,
    desc: bytes,
    endian: Endian = "little",
    *,
    namesz: int | None = None,
    descsz: int | None = None,
    rounded: bool = False,
) -> bytes:
    """One note entry. ``rounded``: the size is stored rounded up to 4, as the illumos kernel does."""
    own = name + b"\0" if name else b""
    padded = desc + bytes(-len(desc) % 4)
    size = len(padded if rounded else desc) if descsz is None else descsz
    mark = "<" if endian == "little" else ">"
    header = struct.pack(mark + "3I", len(own) if namesz is None else namesz, size, type)
    return header + own + bytes(-len(own) % 4) + padded


def auxv(pairs: Sequence[tuple[int, int]], bits: int = 64, endian: Endian = "little") -> bytes:
    """NT_AUXV: the pairs and AT_NULL."""
    form = ("<" if endian == "little" else ">") + ("QQ" if bits == 64 else "II")
    return b"".join(struct.pack(form, *pair) for pair in (*pairs, (0, 0)))


# ---- illumos --------------------------------------------------------------------------------------


def psinfo(
    pid: int = 1,
    cmd: Text = b"",
    psargs: Text = b"",
    *,
    ppid: int = 1,
    uid: int = 0,
    lwps: int = 1,
    zoneid: int = 0,
    signal: int = 0,
    bits: int = 64,
    endian: Endian = "little",
) -> bytes:
    """psinfo_t (note 13)."""
    w = bits == 64
    return record(
        416 if w else 336,
        endian,
        (4, "i", lwps),
        (8, "i", pid),
        (12, "i", ppid),
        (24, "I", uid),
        (136 if w else 88, "16s", raw(cmd)),
        (152 if w else 104, "80s", raw(psargs)),
        (232 if w else 184, "i", signal | 0x80 if signal else 0),
        (256 if w else 200, "b", 2 if w else 1),
        (276 if w else 220, "i", zoneid),
    )


def lwpstatus(
    lwp: int = 1, signal: int = 0, *, registers: Sequence[int] = (), bits: int = 64, endian: Endian = "little"
) -> bytes:
    """lwpstatus_t (note 16) of an x86 LWP; registers in the order of sys/regset.h."""
    w = bits == 64
    regs = [(544 + 8 * i if w else 344 + 4 * i, "Q" if w else "I", r) for i, r in enumerate(registers)]
    return record(1296 if w else 800, endian, (4, "i", lwp), (12, "h", signal), (16, "i", signal), *regs)


def pstatus(pid: int = 1, *, lwps: int = 1, lwp: bytes = b"", bits: int = 64, endian: Endian = "little") -> bytes:
    """pstatus_t (note 10) around an lwpstatus_t."""
    own = lwp or lwpstatus(bits=bits, endian=endian)
    return record(384 if bits == 64 else 336, endian, (4, "i", lwps), (8, "i", pid)) + own


def old_prpsinfo(
    pid: int = 1,
    cmd: Text = b"",
    psargs: Text = b"",
    *,
    ppid: int = 1,
    uid: int = 0,
    bits: int = 64,
    endian: Endian = "little",
) -> bytes:
    """prpsinfo_t of old /proc (note 3)."""
    w = bits == 64
    return record(
        328 if w else 260,
        endian,
        (8, "I", uid),
        (16, "i", pid),
        (20, "i", ppid),
        (120 if w else 84, "16s", raw(cmd)),
        (136 if w else 100, "80s", raw(psargs)),
    )


def old_prstatus(
    pid: int = 1, lwp: int = 1, signal: int = 0, *, lwps: int = 1, bits: int = 64, endian: Endian = "little"
) -> bytes:
    """prstatus_t of old /proc (note 1)."""
    w = bits == 64
    return record(
        824 if w else 432,
        endian,
        (264 if w else 136, "h", signal),
        (266 if w else 138, "h", lwps),
        (360 if w else 216, "i", pid),
        (520 if w else 308, "i", lwp),
    )


def utsname(node: Text, release: Text = b"5.11", version: Text = b"joyent_20210520T001010Z") -> bytes:
    """struct utsname (note 15); ``version`` is what is called the platform."""
    values = (b"SunOS", raw(node), raw(release), raw(version), b"i86pc")
    return b"".join(struct.pack("257s", each) for each in values)


# ---- Linux ----------------------------------------------------------------------------------------


def linux_prpsinfo(
    pid: int = 1,
    cmd: Text = b"",
    psargs: Text = b"",
    *,
    ppid: int = 1,
    uid: int = 0,
    bits: int = 64,
    endian: Endian = "little",
) -> bytes:
    """struct elf_prpsinfo (note 3)."""
    w = bits == 64
    return record(
        136 if w else 124,
        endian,
        (16, "I", uid) if w else (8, "H", uid),
        (24 if w else 12, "i", pid),
        (28 if w else 16, "i", ppid),
        (40 if w else 28, "16s", raw(cmd)),
        (56 if w else 44, "80s", raw(psargs)),
    )


def linux_prstatus(
    tid: int = 1, signal: int = 0, *, registers: Sequence[int] = (), bits: int = 64, endian: Endian = "little"
) -> bytes:
    """struct elf_prstatus (note 1) of an x86 thread."""
    w = bits == 64
    regs = [(112 + 8 * i if w else 72 + 4 * i, "Q" if w else "I", r) for i, r in enumerate(registers)]
    fields: list[Field] = [(0, "i", signal), (12, "h", signal), (32 if w else 24, "i", tid)]
    return record(336 if w else 144, endian, *fields, *regs)
