"""Which debugger reads a dump, and how it is asked to.

mdb reads what illumos leaves, gdb and lldb what a process of Linux or FreeBSD does, crash what Linux's kernel does.
A debugger gets words, never a line for a shell; the dump's own words are in none of them but the path of its
executable, which thoth.analysis.executable has looked at.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from thoth.analysis.executable import Executable, Refused, WrongExecutable, find_executable, held_against, mapped_fifo
from thoth.dumps import linux
from thoth.dumps.crashdump import parse_dumphdr
from thoth.dumps.describe import describe
from thoth.dumps.elfcore import HEAD, ElfCore
from thoth.dumps.notes import NoteIndex
from thoth.dumps.source import LocalFile, ReadAt
from thoth.errors import SourceError, ThothError, UsageError
from thoth.model import DumpInfo, Identity
from thoth.objects import EXPANDED
from thoth.query import shown

Name = Literal["mdb", "gdb", "lldb", "crash"]
NAMES: Final[tuple[Name, ...]] = ("mdb", "gdb", "lldb", "crash")

_COMPRESSED: Final = 0x8  # DF_COMPRESSED of sys/dumphdr.h

Which = Callable[[str], str | None]  # a program's name -> its path, as shutil.which


class NoDebugger(ThothError):
    """No debugger that is here reads this dump; the text says what would."""


class BadReply(ThothError):
    """A debugger did not say what it was asked for, or in another form."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A dump as a debugger sees it."""

    dump: Path
    identity: Identity
    system: str | None  # illumos, linux, freebsd; None: the dump does not tell
    kernel: bool = False  # the dump of a system, not of a process
    compressed: bool = False  # a vmdump, which only savecore reads
    told: bytes | None = None  # where the dump says that its program is

    @property
    def called(self) -> str:
        """What it is, for people: ``an illumos kernel dump``."""
        system = {"illumos": "an illumos", "linux": "a Linux", "freebsd": "a FreeBSD"}.get(self.system or "", "a")
        return f"{system} {'kernel dump' if self.kernel else 'core'}"


@dataclass(frozen=True, slots=True)
class Debugger:
    """A debugger that is installed, by the path of its program."""

    name: Name
    program: str


@dataclass(frozen=True, slots=True)
class Invocation:
    """How a debugger is started. ``stdin`` is for the one that takes commands in no other way."""

    argv: tuple[str, ...]
    stdin: bytes = b""


def subject(dump: Path, identity: Identity) -> Subject:
    """What there is to debug in the local copy of a dump. Raises NotADump and SourceError."""
    with LocalFile(dump) as source:
        header = parse_dumphdr(source.read_at(0, HEAD))
        if header is not None:  # also of a vmcore, which has no identity of its own
            compressed = bool((header.flags or 0) & _COMPRESSED)
            return Subject(dump, identity, "illumos", kernel=True, compressed=compressed)
        facts = describe(source)
        kernel = facts.type == "crash" or _is_vmcore(source)
        return Subject(dump, identity, facts.os, kernel=kernel, told=facts.exec)


def foreseen(info: DumpInfo) -> Subject | None:
    """What a crash dump will turn out to be, as far as its document says; None where only the dump can tell.

    It has no path yet: it serves to tell that nothing here reads the dump, before gigabytes of it are fetched.
    """
    system = info.document.get("os")
    if info.document.get("type") != "crash" or system not in ("illumos", "linux"):
        return None
    compressed = system == "illumos" and not isinstance(info.document.get(EXPANDED), dict)
    return Subject(Path(), info.id, system, kernel=True, compressed=compressed)


# ---- which ----------------------------------------------------------------------------------------


def choose(subject: Subject, wanted: Name | None, which: Which) -> Debugger:
    """The debugger for a dump: the one that is ``wanted``, else the first that reads it and is installed.

    Raises NoDebugger, which says what to install, or what can be done in its place.
    """
    if subject.compressed:
        raise NoDebugger(
            f"{subject.called} is compressed, and no debugger reads it so;"
            f" 'thoth analyze {subject.identity} process-dump' expands it where savecore is, which illumos has"
        )
    fitting = _fitting(subject)
    if wanted is not None and wanted not in fitting:
        there = next((f"{name} does: leave --debugger out" for name in fitting if which(name)), None)
        raise NoDebugger(f"{wanted} cannot read {subject.called}; {there or _advice(subject, fitting)}")
    for name in (wanted,) if wanted else fitting:
        if program := which(name):
            return Debugger(name, program)
    if wanted:
        raise NoDebugger(f"there is no {wanted} here; install it, or leave --debugger out")
    raise NoDebugger(f"nothing here reads {subject.called}; {_advice(subject, fitting)}")


def _fitting(subject: Subject) -> tuple[Name, ...]:
    """The debuggers that read such a dump, the best one first."""
    if subject.kernel:
        return {"illumos": ("mdb",), "linux": ("crash",)}.get(subject.system or "", ())  # type: ignore[return-value]  # of literals
    if subject.system == "freebsd":
        return ("lldb", "gdb")  # most builds of gdb know their own system's cores only
    return ("gdb", "lldb") if subject.system == "linux" else ("mdb", "gdb", "lldb")


def _advice(subject: Subject, fitting: Sequence[Name]) -> str:
    if not fitting:
        return "no debugger that Thoth knows does"
    if fitting == ("mdb",):
        return "mdb does, on an illumos machine, and nothing else does: run 'thoth debug' there"
    if fitting == ("crash",):
        return "install crash, and name the kernel's vmlinux with --exec"
    return f"install {' or '.join(name for name in fitting if name != 'mdb')}"


def _is_vmcore(source: ReadAt) -> bool:
    core = ElfCore.from_source(source)
    return core is not None and linux.is_vmcore(NoteIndex(core, {linux.VMCOREINFO}))


# ---- of which program -----------------------------------------------------------------------------


def program_of(subject: Subject, debugger: Debugger, given: str | None) -> tuple[Executable | None, list[Refused]]:
    """The program of a dump for its debugger, or None, and what was looked at and not taken.

    ``given`` is what the user names; it is taken or refused with UsageError, never passed over. Otherwise it is
    looked for, unless the debugger does so itself. Raises NoDebugger when the debugger would wait for ever.
    """
    with LocalFile(subject.dump) as source:
        core = None if subject.kernel else ElfCore.from_source(source)
        if core is not None and (fifo := mapped_fifo(core)) is not None:
            raise NoDebugger(
                f"{fifo}: was a file that the dump had mapped, and is a FIFO now; it blocks {debugger.name}"
            )
        if given is not None:
            return _named(core, given), []
        if debugger.name == "crash":
            raise UsageError("crash needs the kernel that the dump is of: name its vmlinux with --exec")
        if core is None or debugger.name == "mdb":
            return None, []
        return find_executable(core, subject.told)


def _named(core: ElfCore | None, given: str) -> Executable:
    try:
        return held_against(core, given)
    except (SourceError, WrongExecutable) as error:
        raise UsageError(f"--exec {shown(given)}: {error}") from error


# ---- how ------------------------------------------------------------------------------------------


def session(debugger: Debugger, subject: Subject, executable: Executable | None) -> Invocation:
    """The debugger with a user before it, whose own settings it reads."""
    dump, program = _files(subject, executable)
    match debugger.name:
        case "mdb" | "crash":
            words = [*program, dump]
        case "gdb":
            words = ["-q", "-c", dump, *program]
        case "lldb":
            words = ["--core", dump, *_each("--file", program)]
    return Invocation((debugger.program, *words))


def batch(
    debugger: Debugger, subject: Subject, executable: Executable | None, commands: Sequence[str], libraries: Path
) -> Invocation:
    """The debugger with these commands before it, in order, and nobody's settings: it ends with the last one.

    ``libraries`` is a directory with those that it cannot read in their places.
    """
    dump, program = _files(subject, executable)
    lines = "\n".join(commands)
    match debugger.name:
        case "mdb":  # which takes -e once only, and reads it as it reads standard input
            words = ["-e", lines, *program, dump]
        case "gdb":
            places = ["-iex", f"set solib-search-path {libraries}"]
            words = ["-nx", "-q", "-batch", *places, *_each("-ex", commands), "-c", dump, *program]
        case "lldb":
            places = ["-O", f'settings append target.exec-search-paths "{libraries}"']
            words = ["--no-lldbinit", "--batch", *places, *_each("-o", commands), "--core", dump]
            words += _each("--file", program)
        case "crash":
            given = os.fsencode(f"{lines}\nquit\n")
            return Invocation((debugger.program, "-s", *program, dump), given)
    return Invocation((debugger.program, *words))


def _files(subject: Subject, executable: Executable | None) -> tuple[str, list[str]]:
    return str(subject.dump), [executable.path] if executable else []


def _each(option: str, values: Sequence[str]) -> list[str]:
    return [word for value in values for word in (option, value)]
