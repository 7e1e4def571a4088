"""What an illumos core says about its process.

Sources: usr/src/uts/common/sys/procfs.h and old_procfs.h for the structures, their offsets as in elfdump's
struct_layout_{i386,amd64,sparc,sparcv9}.c; usr/src/uts/common/exec/elf/{old_notes,elf_notes}.c for the notes.
"""

from __future__ import annotations

from dataclasses import replace

from thoth.dumps.notes import NoteIndex
from thoth.model import DumpFacts

NAME = b"CORE"
NT_PRSTATUS, NT_PRPSINFO, NT_AUXV, NT_PSTATUS, NT_PSINFO, NT_UTSNAME, NT_ZONENAME = 1, 3, 6, 10, 13, 15, 21
AT_SUN_EXECNAME = 2014

TELLING = frozenset((NAME, kind) for kind in (NT_PSTATUS, *range(NT_PSINFO, 23)))  # no other system has these
NOTES = TELLING | {(NAME, NT_PRSTATUS), (NAME, NT_PRPSINFO), (NAME, NT_AUXV)}

_Values = dict[str, int | bytes | None]  # of fields of DumpFacts

_MACHINES = {2: "sparc", 3: "i386", 18: "sparc", 43: "sparcv9", 62: "amd64", 183: "aarch64"}


def is_illumos(notes: NoteIndex) -> bool:
    """Whether the notes are of an illumos core; one of old /proc only is told by the size of prpsinfo_t."""
    return notes.any_of(TELLING) or notes.size(NAME, NT_PRPSINFO) == (328 if notes.wide else 260)


def with_process(facts: DumpFacts, notes: NoteIndex, machine: int) -> DumpFacts:
    """``facts`` and what the notes say: new /proc where there is any, else old /proc."""
    values = _of_old_proc(notes) | _said(_of_psinfo(notes)) | _said(_of_pstatus(notes))
    known = replace(facts, os="illumos", arch=_MACHINES.get(machine), **values)  # type: ignore[arg-type]  # each name is given a value of its own type
    return _with_system(known, notes)


def exec_address(notes: NoteIndex) -> int | None:
    """Where in memory the resolved path of the executable lies."""
    return notes.auxv(NAME, NT_AUXV).get(AT_SUN_EXECNAME)


def _of_old_proc(notes: NoteIndex) -> _Values:
    wide = notes.wide
    info, status = notes.record(NAME, NT_PRPSINFO), notes.record(NAME, NT_PRSTATUS)
    return {
        "uid": info.number(8, "I"),
        "pid": info.number(16, "i"),
        "ppid": info.number(20, "i"),
        "cmd": info.text(120 if wide else 84, 16),
        "psargs": info.text(136 if wide else 100, 80),
        "signal": status.number(264 if wide else 136, "h") or None,
        "lwps": status.number(266 if wide else 138, "h"),
        "lwp": status.number(520 if wide else 308, "i"),
    }


def _of_psinfo(notes: NoteIndex) -> _Values:
    wide = notes.wide
    info = notes.record(NAME, NT_PSINFO)
    wait = info.number(232 if wide else 184, "i") or 0
    return {
        "lwps": info.number(4, "i"),
        "pid": info.number(8, "i"),
        "ppid": info.number(12, "i"),
        "uid": info.number(24, "I"),
        "cmd": info.text(136 if wide else 88, 16),
        "psargs": info.text(152 if wide else 104, 80),
        "zoneid": info.number(276 if wide else 220, "i"),
        "signal": wait & 0x7F or None,
    }


def _of_pstatus(notes: NoteIndex) -> _Values:
    status = notes.record(NAME, NT_PSTATUS)
    lwp = 384 if notes.wide else 336
    return {"lwp": status.number(lwp + 4, "i"), "signal": status.number(lwp + 12, "h") or None}


def _with_system(facts: DumpFacts, notes: NoteIndex) -> DumpFacts:
    system = notes.record(NAME, NT_UTSNAME)
    zone, cut = notes.text(NAME, NT_ZONENAME)
    return replace(
        facts,
        node=system.text(257, 257),
        release=system.text(514, 257),
        platform=system.text(771, 257),
        zone=zone,
        truncated=(*facts.truncated, "zone") if cut else facts.truncated,
    )


def _said(values: _Values) -> _Values:
    """Without what is not said, which may be known from elsewhere."""
    return {name: value for name, value in values.items() if value is not None}
