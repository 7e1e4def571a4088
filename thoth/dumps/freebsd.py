"""What a FreeBSD core says about its process. Source: sys/sys/procfs.h, sys/kern/imgact_elf.c."""

from __future__ import annotations

from dataclasses import replace

from thoth.dumps.notes import NoteIndex
from thoth.model import DumpFacts

NAME = b"FreeBSD"
NT_PRSTATUS, NT_PRPSINFO, NT_PROCSTAT_AUXV = 1, 3, 16
AT_EXECPATH = 15
NOTES = frozenset((NAME, kind) for kind in (NT_PRSTATUS, NT_PRPSINFO, NT_PROCSTAT_AUXV))

_MACHINES = {3: "i386", 62: "amd64", 183: "aarch64", 40: "arm"}


def is_freebsd(notes: NoteIndex) -> bool:
    """Whether the notes are of a FreeBSD core."""
    return notes.any_of(NOTES)


def with_process(facts: DumpFacts, notes: NoteIndex, machine: int) -> DumpFacts:
    """``facts`` and what the notes say."""
    wide = notes.wide
    info, status = notes.record(NAME, NT_PRPSINFO), notes.record(NAME, NT_PRSTATUS)
    return replace(
        facts,
        os="freebsd",
        arch=_MACHINES.get(machine),
        pid=info.number(116 if wide else 108, "i"),
        cmd=info.text(16 if wide else 8, 17),
        psargs=info.text(33 if wide else 25, 81),
        signal=status.number(36 if wide else 20, "i") or None,
        lwp=status.number(40 if wide else 24, "i"),
        lwps=notes.count(NAME, NT_PRSTATUS) or None,
    )


def exec_address(notes: NoteIndex) -> int | None:
    """Where in memory the path of the executable lies. The vector follows the size of one entry."""
    return notes.auxv(NAME, NT_PROCSTAT_AUXV, skip=4).get(AT_EXECPATH)
