"""Writes core files, with as much or as little in them as a test needs.

Whole cores in one call, of any size from 16 KiB on, with one identity for each pid::

    illumos_core(pid=7, cmd="nginx", node="headnode", size=1 << 20)
    linux_core(pid=7, cmd="nginx")
    vmdump(node="headnode", panic="BAD TRAP", time=1_600_000_000)      (see crashwriter)

Cores by hand, every number of which can be a lie::

    notes = note(b"CORE", 13, psinfo(pid=7)) + note(b"GNU", 3, b"build-id")
    elf([Segment(PT_NOTE, notes), Segment(PT_LOAD, b"text", vaddr=0x400000)], bits=32, endian="big")
    elf([Segment(PT_NOTE, b"", filesz=1 << 63)], phnum=0xFFFF, phentsize=1)

Text may be str or bytes. The structures in notes are notewriter's, crash dumps are crashwriter's; all are
names of this module.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from tests.support.crashwriter import dumphdr, flattened, kdump, vmdump
from tests.support.notewriter import (
    Endian,
    Field,
    Text,
    auxv,
    linux_prpsinfo,
    linux_prstatus,
    lwpstatus,
    note,
    old_prpsinfo,
    old_prstatus,
    psinfo,
    pstatus,
    raw,
    record,
    utsname,
)

__all__ = [
    "EM_386",
    "EM_AARCH64",
    "EM_SPARC",
    "EM_SPARCV9",
    "EM_X86_64",
    "PT_LOAD",
    "PT_NOTE",
    "Section",
    "Segment",
    "auxv",
    "dumphdr",
    "elf",
    "elf_vmcore",
    "flattened",
    "freebsd_core",
    "illumos_core",
    "illumos_notes",
    "kdump",
    "linux_core",
    "linux_prpsinfo",
    "linux_prstatus",
    "lwpstatus",
    "note",
    "old_prpsinfo",
    "old_prstatus",
    "psinfo",
    "pstatus",
    "record",
    "utsname",
    "vmdump",
]

PT_LOAD, PT_NOTE = 1, 4
EM_SPARC, EM_386, EM_SPARCV9, EM_X86_64, EM_AARCH64 = 2, 3, 43, 62, 183

_STACK = {32: 0x08045000, 64: 0xFFFFFD7FFFDFD000}
_HEAP = {32: 0x08100000, 64: 0x4A0000}
_EXEC_AT = 0x100  # where in the stack segment the executable's name lies


@dataclass(frozen=True, slots=True)
class Segment:
    """A program header and the bytes it describes; ``offset``, ``filesz``, ``memsz`` override the truth."""

    type: int
    data: bytes = b""
    vaddr: int = 0
    flags: int = 6
    offset: int | None = None
    filesz: int | None = None
    memsz: int | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """A section header and its bytes, which lie behind all segments."""

    type: int
    data: bytes = b""
    addr: int = 0
    info: int = 0
    size: int | None = None


def elf(
    segments: Sequence[Segment],
    sections: Sequence[Section] = (),
    *,
    bits: int = 64,
    endian: Endian = "little",
    machine: int = EM_X86_64,
    type: int = 4,
    osabi: int = 0,
    phnum: int | None = None,
    phoff: int | None = None,
    phentsize: int | None = None,
    shnum: int | None = None,
    table: bytes | None = None,
) -> bytes:
    """An ELF file: header, program headers (or ``table``), section headers, data without gaps."""
    wide = bits == 64
    mark = "<" if endian == "little" else ">"
    head, entry, section = (64, 56, 64) if wide else (52, 32, 40)
    entry = max(entry, phentsize or 0) if phentsize not in (None, 0, 1) else entry
    shoff = head + entry * len(segments)
    at = shoff + section * len(sections)
    programs, headers, body = b"", b"", b""
    for each in segments:
        programs += _program(each, at + len(body), wide, mark).ljust(entry, b"\0")
        body += each.data
    for part in sections:
        headers += _section(part, at + len(body), wide, mark)
        body += part.data
    ident = struct.pack("4s5B7x", b"\x7fELF", 2 if wide else 1, 1 if endian == "little" else 2, 1, osabi, 0)
    ehdr = ident + struct.pack(
        mark + ("HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"),
        *(type, machine, 1, 0, head if phoff is None else phoff, shoff if sections else 0, 0, head),
        entry if phentsize is None else phentsize,
        len(segments) if phnum is None else phnum,
        section if sections else 0,
        len(sections) if shnum is None else shnum,
        0,
    )
    return ehdr + (programs if table is None else table) + headers + body


def _program(segment: Segment, at: int, wide: bool, mark: str) -> bytes:
    size = len(segment.data) if segment.filesz is None else segment.filesz
    offset = at if segment.offset is None else segment.offset
    memory = (0 if segment.type == PT_NOTE else size) if segment.memsz is None else segment.memsz
    if wide:
        return struct.pack(mark + "II6Q", segment.type, segment.flags, offset, segment.vaddr, 0, size, memory, 0)
    return struct.pack(mark + "8I", segment.type, offset, segment.vaddr, 0, size, memory, segment.flags, 0)


def _section(section: Section, at: int, wide: bool, mark: str) -> bytes:
    size = len(section.data) if section.size is None else section.size
    form = mark + ("IIQQQQIIQQ" if wide else "10I")
    return struct.pack(form, 0, section.type, 0, section.addr, at, size, 0, section.info, 1, 0)


def illumos_notes(
    pid: int = 1,
    cmd: Text = b"node",
    psargs: Text = b"node server.js",
    node: Text = b"headnode",
    *,
    platform: Text = b"joyent_20210520T001010Z",
    zone: Text = b"global",
    zoneid: int = 0,
    ppid: int = 1,
    uid: int = 0,
    signal: int = 11,
    lwps: int = 1,
    lwp: int = 1,
    bits: int = 64,
    endian: Endian = "little",
) -> tuple[bytes, bytes]:
    """The contents of an illumos core's two note segments: old /proc, new /proc."""

    def one(type: int, desc: bytes) -> bytes:
        return note(b"CORE", type, desc, endian, rounded=True)

    way = {"bits": bits, "endian": endian}
    vector = one(6, auxv([(9, 0x400000), (2014, _STACK[bits] + _EXEC_AT)], bits, endian))
    faulting = lwpstatus(lwp, signal, **way)
    old = one(3, old_prpsinfo(pid, cmd, psargs, ppid=ppid, uid=uid, **way)) + one(5, b"i86pc\0") + vector
    old += one(1, old_prstatus(pid, lwp, signal, lwps=lwps, **way))
    new = one(13, psinfo(pid, cmd, psargs, ppid=ppid, uid=uid, lwps=lwps, zoneid=zoneid, signal=signal, **way))
    new += one(10, pstatus(pid, lwps=lwps, lwp=faulting, **way)) + one(5, b"i86pc\0") + vector
    new += one(15, utsname(node, version=platform)) + one(21, raw(zone) + b"\0") + one(16, faulting)
    return old, new


def illumos_core(
    pid: int = 1,
    cmd: Text = b"node",
    psargs: Text = b"node server.js",
    node: Text = b"headnode",
    size: int = 16384,
    *,
    exec: Text = b"/opt/local/bin/node",
    bits: int = 64,
    endian: Endian = "little",
    **facts: int | Text,
) -> bytes:
    """A whole illumos core of ``size`` bytes; ``facts`` as in illumos_notes. Equal calls give equal bytes."""
    old, new = illumos_notes(pid, cmd, psargs, node, bits=bits, endian=endian, **facts)  # type: ignore[arg-type]  # each fact has its type
    machine = {
        (64, "little"): EM_X86_64,
        (32, "little"): EM_386,
        (64, "big"): EM_SPARCV9,
        (32, "big"): EM_SPARC,
    }
    fixed = [Segment(PT_NOTE, old, flags=4), Segment(PT_NOTE, new, flags=4)]
    return _filled(fixed, raw(exec), seed=pid, size=size, bits=bits, endian=endian, machine=machine[bits, endian])


def _filled(
    notes: list[Segment], executable: bytes, *, seed: int, size: int, bits: int, endian: Endian, machine: int
) -> bytes:
    stack = Segment(PT_LOAD, record(4096, endian, (_EXEC_AT, f"{len(executable)}s", executable)), _STACK[bits])

    def built(heap: bytes) -> bytes:
        segments = [*notes, Segment(PT_LOAD, heap, _HEAP[bits]), stack]
        return elf(segments, bits=bits, endian=endian, machine=machine)

    room = size - len(built(b""))
    if room < 0:
        raise ValueError(f"such a core has at least {size - room} bytes, {size} were asked for")
    return built(random.Random(seed).randbytes(room))


def linux_core(
    pid: int = 1,
    cmd: Text = b"node",
    psargs: Text = b"node server.js ",
    size: int = 16384,
    *,
    exec: Text = b"/usr/bin/node",
    ppid: int = 1,
    uid: int = 1000,
    signal: int = 11,
    lwps: int = 1,
    bits: int = 64,
    endian: Endian = "little",
) -> bytes:
    """A whole Linux core of ``size`` bytes. Equal calls give equal bytes."""

    def one(type: int, desc: bytes) -> bytes:
        return note(b"CORE", type, desc, endian)

    threads = [one(1, linux_prstatus(pid + i, signal, bits=bits, endian=endian)) for i in range(lwps)]
    about = one(3, linux_prpsinfo(pid, cmd, psargs, ppid=ppid, uid=uid, bits=bits, endian=endian))
    vector = one(6, auxv([(9, 0x400000), (31, _STACK[bits] + _EXEC_AT)], bits, endian))
    notes = threads[0] + about + one(0x53494749, record(128, endian, (0, "i", signal))) + vector
    machine = EM_X86_64 if bits == 64 else EM_386
    segments = [Segment(PT_NOTE, notes + b"".join(threads[1:]), flags=0)]
    return _filled(segments, raw(exec), seed=pid, size=size, bits=bits, endian=endian, machine=machine)


def elf_vmcore(*lines: Text, cpus: int = 1, node: Text = b"db1") -> bytes:
    """A Linux kernel's vmcore as /proc/vmcore gives it: a prstatus for each CPU and VMCOREINFO's lines.

    Where SYMBOL(init_uts_ns)=ffffffff81000100 and OFFSET(uts_namespace.name)=4 are there, they lead to ``node``.
    """
    notes = b"".join(note(b"CORE", 1, linux_prstatus(0)) for _ in range(cpus))
    notes += note(b"VMCOREINFO", 0, b"".join(raw(line) + b"\n" for line in lines))
    texts = (b"Linux", raw(node), b"6.1.0", b"#1 SMP Debian", b"x86_64", b"(none)")
    uts = b"".join(text.ljust(65, b"\0") for text in texts)
    memory = (bytes(0x104) + uts).ljust(4096, b"\0")
    return elf([Segment(PT_NOTE, notes), Segment(PT_LOAD, memory, vaddr=0xFFFFFFFF81000000)])


def freebsd_core(
    pid: int = 1, cmd: Text = b"node", psargs: Text = b"node server.js", *, lwps: int = 1, signal: int = 11
) -> bytes:
    """A FreeBSD/amd64 core (sys/procfs.h): prpsinfo, then a prstatus for each thread."""
    fields: list[Field] = [
        (0, "i", 1),
        (8, "Q", 120),
        (16, "17s", raw(cmd)),
        (33, "81s", raw(psargs)),
        (116, "i", pid),
    ]
    notes = note(b"FreeBSD", 3, record(120, "little", *fields))
    for thread in range(lwps):
        notes += note(
            b"FreeBSD", 1, record(272, "little", (0, "i", 1), (36, "i", signal), (40, "i", 100000 + thread))
        )
    return elf([Segment(PT_NOTE, notes), Segment(PT_LOAD, bytes(64), vaddr=0x400000)], osabi=9)
