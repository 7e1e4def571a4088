"""What a Linux core says about its process, and a kernel's vmcore about its system.

Sources: include/uapi/linux/elfcore.h (struct elf_prpsinfo, elf_prstatus), fs/binfmt_elf.c (NT_FILE), and for
VMCOREINFO Documentation/admin-guide/kdump/vmcoreinfo.rst and include/uapi/linux/utsname.h.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from thoth.dumps.notes import NoteIndex
from thoth.dumps.record import TEXT_LIMIT, ByteOrder, Record
from thoth.model import DumpFacts

NAME = b"CORE"
NT_PRSTATUS, NT_PRPSINFO, NT_AUXV, NT_SIGINFO, NT_FILE = 1, 3, 6, 0x53494749, 0x46494C45
AT_ENTRY, AT_UID, AT_EXECFN = 9, 11, 31
VMCOREINFO = (b"VMCOREINFO", 0)

_TELLING = frozenset({(NAME, NT_SIGINFO), (NAME, NT_FILE), (b"LINUX", 0x202), (b"LINUX", 0x401), VMCOREINFO})
NOTES = _TELLING | {(NAME, NT_PRSTATUS), (NAME, NT_PRPSINFO), (NAME, NT_AUXV)}

_OVERFLOW = 65534  # in the place of what needs more than 16 bits
_PRPSINFO_SIZES = {True: (136,), False: (124, 128)}
_MACHINES = {
    (2, 32): "sparc",
    (3, 32): "i386",
    (8, 32): "mips",
    (8, 64): "mips64",
    (20, 32): "ppc",
    (21, 64): "ppc64",
    (22, 32): "s390",
    (22, 64): "s390x",
    (40, 32): "arm",
    (43, 64): "sparc64",
    (62, 64): "x86_64",
    (62, 32): "x86_64",
    (183, 64): "aarch64",
    (243, 32): "riscv32",
    (243, 64): "riscv64",
    (258, 64): "loongarch64",
}
PATH_MAX = 4096

FILES_LIMIT = 4 << 20  # bytes of NT_FILE that are read: as many as Linux writes, unless it is told to write more
_UTS_FIELD = 65  # __NEW_UTS_LEN and a NUL
UTS_SIZE = 6 * _UTS_FIELD
_HEX, _DECIMAL = re.compile(rb"[0-9a-f]{1,16}"), re.compile(rb"[0-9]{1,4}")
REMOVED = b" (deleted)"  # stands behind the path of a file that was removed or replaced: d_path of fs/d_path.c


class MappedFile(NamedTuple):
    """A part of a file in memory: from where up to where, its path, and where in the file it begins."""

    start: int
    end: int
    path: bytes
    offset: int


def is_linux(notes: NoteIndex) -> bool:
    """Whether the notes are of a Linux core; without a note that only Linux has prpsinfo's size tells."""
    return notes.any_of(_TELLING) or notes.size(NAME, NT_PRPSINFO) in _PRPSINFO_SIZES[notes.wide]


def with_process(facts: DumpFacts, notes: NoteIndex, machine: int) -> DumpFacts:
    """``facts`` and what the notes say about the process; about the system when it is the kernel's dump."""
    known = replace(facts, os="linux", arch=_MACHINES.get((machine, 64 if notes.wide else 32)))
    if is_vmcore(notes):
        return _with_vmcoreinfo(known, notes)
    return _with_threads(_with_prpsinfo(known, notes), notes)


def is_vmcore(notes: NoteIndex) -> bool:
    """Whether these are the notes of a kernel's memory in the form of a core, as /proc/vmcore gives it."""
    return notes.any_of({VMCOREINFO})


def uts_address(notes: NoteIndex) -> int | None:
    """Where in a kernel's memory its struct new_utsname lies, if VMCOREINFO tells."""
    values = _vmcoreinfo(notes)
    start, offset = (values.get(key, b"") for key in (b"SYMBOL(init_uts_ns)", b"OFFSET(uts_namespace.name)"))
    known = _HEX.fullmatch(start) and _DECIMAL.fullmatch(offset)
    return int(start, 16) + int(offset) if known else None


def with_uts(facts: DumpFacts, uts: bytes) -> DumpFacts:
    """``facts`` and what a struct new_utsname says, if it is one: six texts of 65 bytes."""
    fields = Record(uts, "<")
    if len(uts) < UTS_SIZE or fields.text(0, _UTS_FIELD) != b"Linux":
        return facts
    return replace(facts, node=fields.text(_UTS_FIELD, _UTS_FIELD), platform=fields.text(3 * _UTS_FIELD, _UTS_FIELD))


def exec_address(notes: NoteIndex) -> int | None:
    """Where in memory the path that was given to execve lies."""
    return notes.auxv(NAME, NT_AUXV).get(AT_EXECFN)


def mapped_executable(notes: NoteIndex) -> bytes | None:
    """The path of the mapped file that holds the program's entry point."""
    entry = notes.auxv(NAME, NT_AUXV).get(AT_ENTRY)
    if entry is None:
        return None
    return next((each.path for each in mapped_files(notes) if each.start <= entry < each.end), None)


def path_of(listed: bytes, started: bytes = b"") -> bytes:
    """The path that a file was mapped from, without the mark that the kernel puts behind one that was removed.

    ``started`` is the path that was given to execve: a program may really be called so.
    """
    called_so = listed.rpartition(b"/")[2] == started.rpartition(b"/")[2]
    return listed if called_so else listed.removesuffix(REMOVED)


def mapped_files(notes: NoteIndex) -> Iterator[MappedFile]:
    """The files that were mapped, in the order of their addresses."""
    return files_in(notes.description(NAME, NT_FILE, FILES_LIMIT), notes.order, wide=notes.wide)


def files_in(data: bytes, order: ByteOrder, *, wide: bool) -> Iterator[MappedFile]:
    """The entries of an NT_FILE."""
    form = struct.Struct(order + ("QQQ" if wide else "III"))
    word = form.size // 3
    record = Record(data, order)
    count, page = (record.number(at, "Q" if wide else "I") or 0 for at in (0, word))
    names = 2 * word + count * form.size
    if names > len(data):
        return
    paths = data[names:].split(b"\0", count)[:-1]  # without what comes behind the last NUL
    for (start, end, pages), path in zip(form.iter_unpack(data[2 * word : names]), paths, strict=False):
        if len(path) <= PATH_MAX:
            yield MappedFile(start, end, path, pages * page)


def _with_prpsinfo(facts: DumpFacts, notes: NoteIndex) -> DumpFacts:
    info = notes.record(NAME, NT_PRPSINFO)
    if notes.wide:
        uid, pid, name, args = info.number(16, "I"), 24, 40, 56
    elif notes.size(NAME, NT_PRPSINFO) == 128:  # user ids of 32 bits move all that follows
        uid, pid, name, args = info.number(8, "I"), 16, 32, 48
    else:
        uid, pid, name, args = _whole_uid(info.number(8, "H"), notes), 12, 28, 44
    return replace(
        facts,
        uid=uid,
        pid=info.number(pid, "i"),
        ppid=info.number(pid + 4, "i"),
        cmd=info.text(name, 16),
        psargs=info.text(args, 80),
    )


def _whole_uid(short: int | None, notes: NoteIndex) -> int | None:
    """The user's id where 16 bits have no room for it: the one that the process began with."""
    began = notes.auxv(NAME, NT_AUXV).get(AT_UID, 0) if short == _OVERFLOW else 0
    return began if began > 0xFFFF else short


def _with_threads(facts: DumpFacts, notes: NoteIndex) -> DumpFacts:
    status = notes.record(NAME, NT_PRSTATUS)
    signal = status.number(12, "h") or notes.record(NAME, NT_SIGINFO).number(0, "i")
    threads = notes.count(NAME, NT_PRSTATUS)
    return replace(
        facts,
        signal=signal or None,
        lwp=status.number(32 if notes.wide else 24, "i"),
        lwps=threads or None,
    )


def _with_vmcoreinfo(facts: DumpFacts, notes: NoteIndex) -> DumpFacts:
    values = _vmcoreinfo(notes)
    seconds = values.get(b"CRASHTIME", b"")
    known = seconds.isdigit() and len(seconds) < 20
    time = float(seconds) if known else None
    return replace(facts, release=values.get(b"OSRELEASE"), time=time)


def _vmcoreinfo(notes: NoteIndex) -> dict[bytes, bytes]:
    lines = notes.description(*VMCOREINFO, TEXT_LIMIT).partition(b"\0")[0].split(b"\n")
    return dict(line.split(b"=", 1) for line in lines[:-1] if b"=" in line)
