"""The program that a core is of: looked up on this machine, and held against what the core holds of it.

The paths come out of the dump, so they are nothing but names of files to look at: only a regular file that is
a program of the core's own kind is taken. The core mostly holds the first page of its program, and there the
linker's build-id (note NT_GNU_BUILD_ID): then no other build is taken.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from thoth.dumps import freebsd, linux
from thoth.dumps.elfcore import ET_DYN, ET_EXEC, HEAD, ElfCore, Header, Memory, parse_header
from thoth.dumps.notes import NoteIndex
from thoth.dumps.source import LocalFile, ReadAt
from thoth.errors import SourceError, SourceGone, ThothError

BUILD_ID_TREES: Final = ("/usr/lib/.build-id", "/usr/lib/debug/.build-id")  # programs by build-id, as Fedora has them

_PROGRAM: Final = (ET_EXEC, ET_DYN)
_BUILD_ID: Final = (b"GNU", 3)  # NT_GNU_BUILD_ID
_LONGEST: Final = 64  # bytes of a build-id; SHA-1, which is usual, has 20
_AT_PHDR: Final = 3
_MAPPED: Final = 1 << 20  # bytes of a mapped program that are looked at


class WrongExecutable(ThothError):
    """A file that is not the program of the dump; the text says why, without its name."""


@dataclass(frozen=True, slots=True)
class Executable:
    """The program of a core. ``verified``: the core holds its build-id, and it is this one."""

    path: str
    verified: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that is there and was not taken, and why. ``path`` is as the dump has it: hostile."""

    path: str
    reason: str


def find_executable(
    core: ElfCore, told: str | bytes | None, trees: Sequence[str] = BUILD_ID_TREES
) -> tuple[Executable | None, list[Refused]]:
    """The program of a core, or None, and what was looked at before it.

    It is looked for where the kernel says that it was mapped from, then at ``told``, the path that the dump
    tells otherwise, then by its build-id in ``trees``.
    """
    refused: list[Refused] = []
    for path in dict.fromkeys(_candidates(core, told, trees)):
        try:
            return held_against(core, path), refused
        except SourceGone:
            continue
        except (SourceError, WrongExecutable) as error:
            refused.append(Refused(path, str(error)))
    return None, refused


def held_against(core: ElfCore | None, path: str) -> Executable:
    """The file as the program of a core, or any program where there is no core that would tell.

    Raises WrongExecutable, or SourceError when the file cannot be read.
    """
    place = os.path.realpath(path)  # /usr/bin/python3 is a link: to be followed now, and not again
    with LocalFile(place) as file:
        header = parse_header(file.read_at(0, HEAD), _PROGRAM)
        if header is None:
            raise WrongExecutable("not a program")
        if core is None:
            return Executable(place, verified=False)
        if _kind(header) != _kind(core.header):
            raise WrongExecutable("a program for another machine than the dump is of")
        found = _build_id(file, header)
    wanted = core_build_id(core)
    if wanted is not None and found != wanted:
        has = f"its build-id is {found.hex()}" if found else "it has no build-id"
        raise WrongExecutable(f"not the build that crashed: {has}, the dump's {wanted.hex()}")
    return Executable(place, verified=wanted is not None)


def mapped_fifo(core: ElfCore) -> str | None:
    """The path of a file that the core had mapped, where a FIFO is now: who opens it for its content waits for ever.

    gdb opens all of them.
    """
    notes = NoteIndex(core, {(linux.NAME, linux.NT_FILE)})
    listed = (each.path for each in linux.mapped_files(notes))
    paths = dict.fromkeys(_absolute(path for each in listed for path in (each, linux.path_of(each))))
    return next((path for path in map(os.fsdecode, paths) if _is_fifo(Path(path))), None)


def _is_fifo(path: Path) -> bool:
    try:
        return stat.S_ISFIFO(path.stat().st_mode)
    except OSError:  # nor can a debugger open it
        return False


def core_build_id(core: ElfCore) -> bytes | None:
    """The build-id of a core's program, if the core holds its first page.

    The auxiliary vector says where the program headers are in memory; the ELF header lies right before them.
    """
    vectors = {(linux.NAME, linux.NT_AUXV), (freebsd.NAME, freebsd.NT_PROCSTAT_AUXV)}
    notes = NoteIndex(core, vectors)
    # illumos has its vector where Linux has it
    auxv = notes.auxv(linux.NAME, linux.NT_AUXV) or notes.auxv(freebsd.NAME, freebsd.NT_PROCSTAT_AUXV, skip=4)
    headers_at = auxv.get(_AT_PHDR, 0)
    start = headers_at - (64 if core.header.wide else 52)
    if start < 0:
        return None
    image = _Image(core.memory, start)
    header = parse_header(image.read_at(0, HEAD), _PROGRAM)
    if header is None or start + header.phoff != headers_at:
        return None
    return _build_id(image, header)


class _Image:
    """A program as it was mapped, from its first byte on and as far as the core holds it, as a ReadAt."""

    __slots__ = ("_memory", "_start", "size")

    def __init__(self, memory: Memory, start: int) -> None:
        self._memory = memory
        self._start = start
        self.size = sum(each.length for each in memory.ranges(start, _MAPPED))

    def read_at(self, offset: int, length: int) -> bytes:
        inside = max(0, min(length, self.size - offset))
        return self._memory.read(self._start + offset, inside) if inside else b""


def _build_id(source: ReadAt, header: Header) -> bytes | None:
    notes = NoteIndex(ElfCore(source, header), {_BUILD_ID})
    return notes.description(*_BUILD_ID, _LONGEST) or None


def _kind(header: Header) -> tuple[object, ...]:
    return header.bits, header.order, header.machine


def _candidates(core: ElfCore, told: str | bytes | None, trees: Sequence[str]) -> Iterator[str]:
    """Absolute paths only: whose directory a relative one began in is not known."""
    mapped = linux.mapped_executable(NoteIndex(core, linux.NOTES)) or b""
    wanted = core_build_id(core)
    if wanted is None and mapped.endswith(linux.REMOVED):
        told = None  # what took its place is most likely another build, and nothing would tell
    else:
        yield from map(os.fsdecode, _absolute([linux.path_of(mapped)]))
    yield from map(os.fsdecode, _absolute([mapped, told]))
    if wanted is not None and len(wanted) > 1:
        yield from (f"{tree}/{wanted[:1].hex()}/{wanted[1:].hex()}" for tree in trees)


def _absolute(paths: Iterable[str | bytes | None]) -> Iterator[bytes]:
    return (raw for path in paths if path and (raw := os.fsencode(path)).startswith(b"/"))
