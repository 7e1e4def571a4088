"""What a dump says about itself, read from few ranges of the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from thoth.dumps import crashdump, freebsd, illumos, linux
from thoth.dumps.elfcore import HEAD, ElfCore
from thoth.dumps.identity import identity_ranges
from thoth.dumps.notes import NoteIndex
from thoth.dumps.record import ByteOrder
from thoth.dumps.source import Range, ReadAt, merged
from thoth.errors import NotADump
from thoth.model import DumpFacts

_NOTES = illumos.NOTES | linux.NOTES | freebsd.NOTES


def describe(source: ReadAt) -> DumpFacts:
    """What the dump says; a fact that is not in it is None. Raises NotADump, as identify does."""
    identity_ranges(source)
    return facts_of(source)


def facts_of(source: ReadAt) -> DumpFacts:
    """What a dump says that has an identity, as ``describe``. For what has none there is no promise."""
    core = ElfCore.from_source(source)
    if core is not None:
        return _core_facts(core)
    head = source.read_at(0, HEAD)
    if crashdump.is_flattened(head):
        return _kdump_facts(crashdump.flattened_head(source), crashdump.flattened_complete(source))
    if crashdump.is_kdump(head):
        return _kdump_facts(head, crashdump.kdump_complete(source, crashdump.parse_kdump(head)))
    return _vmdump_facts(source, head)


def fact_ranges(source: ReadAt) -> list[Range]:
    """Every range that ``identify`` and ``describe`` read, in the order of the file, without overlap.

    They may pass its end, and are at most 1 MiB more than the identity needs. Raises NotADump, and
    MissingRange when ``source`` does not hold yet what says where the next bytes lie.
    """
    ranges = identity_ranges(source)
    core = ElfCore.from_source(source)
    if core is not None:
        ranges += _core_ranges(core)
    else:
        ranges += _crash_ranges(source)
    return merged(ranges)


# ---- cores ----------------------------------------------------------------------------------------


class _System(NamedTuple):
    """How the cores of an operating system are told and read."""

    owns: Callable[[NoteIndex], bool]
    with_process: Callable[[DumpFacts, NoteIndex, int], DumpFacts]
    exec_address: Callable[[NoteIndex], int | None]


_SYSTEMS = (
    _System(illumos.is_illumos, illumos.with_process, illumos.exec_address),
    _System(freebsd.is_freebsd, freebsd.with_process, freebsd.exec_address),
    _System(linux.is_linux, linux.with_process, linux.exec_address),
)


def _system(notes: NoteIndex) -> _System | None:
    return next((system for system in _SYSTEMS if system.owns(notes)), None)


def _core_facts(core: ElfCore) -> DumpFacts:
    head = core.header
    facts = DumpFacts(type="core", complete=core.extents_inside(), bits=head.bits, endian=_endian(head.order))
    notes = NoteIndex(core, _NOTES)
    system = _system(notes)
    if system is None:
        return facts
    facts = system.with_process(facts, notes, head.machine)
    if linux.is_vmcore(notes):  # of a system, in the form of a core: that is its type, as for the original
        address = linux.uts_address(notes)
        return linux.with_uts(facts, core.memory.read(address, linux.UTS_SIZE) if address else b"")
    return replace(facts, exec=_executable(core, notes, system))


def _executable(core: ElfCore, notes: NoteIndex, system: _System) -> bytes | None:
    address = system.exec_address(notes)
    path, nul, _ = core.memory.read(address, linux.PATH_MAX).partition(b"\0") if address else (b"", b"", b"")
    if nul and path.startswith(b"/"):
        return path
    # A relative path says little; where the kernel noted which file was mapped that one is better.
    mapped = linux.mapped_executable(notes)
    return linux.path_of(mapped, path) if mapped else (path if nul and path else None)


def _core_ranges(core: ElfCore) -> list[Range]:
    notes = NoteIndex(core, _NOTES)
    system = _system(notes)
    address = system.exec_address(notes) if system else None
    path = core.memory.ranges(address, linux.PATH_MAX) if address else []
    kernels = linux.uts_address(notes)
    path += core.memory.ranges(kernels, linux.UTS_SIZE) if kernels else []
    return [core.first_section(), core.segment_table(), core.section_table(), *core.note_segments(), *path]


def _endian(order: ByteOrder) -> str:
    return "little" if order == "<" else "big"


# ---- crash dumps ----------------------------------------------------------------------------------


def _crash_ranges(source: ReadAt) -> list[Range]:
    head = source.read_at(0, HEAD)
    if crashdump.is_flattened(head):
        return [crashdump.flattened_end(source.size)]
    if crashdump.is_kdump(head):
        return list(crashdump.kdump_ranges(source, crashdump.parse_kdump(head)))
    return [crashdump.trailing_header(source.size)]


def _vmdump_facts(source: ReadAt, head: bytes) -> DumpFacts:
    header = crashdump.parse_dumphdr(head)
    if header is None:
        raise NotADump("not a crash dump")
    return DumpFacts(
        type="crash",
        complete=crashdump.vmdump_complete(source, header),
        os="illumos",
        arch=_word(header.machine),
        bits=header.bits,
        endian=_endian(header.order),
        node=header.node,
        release=header.release,
        platform=header.platform,
        time=None if header.time is None else float(header.time),
        panic=header.panic,
        uuid=_word(header.uuid),
    )


def _kdump_facts(head: bytes, complete: bool) -> DumpFacts:
    header = crashdump.parse_kdump(head)
    return DumpFacts(
        type="crash",
        complete=complete,
        os="linux",
        arch=_word(header.machine),
        bits=header.bits,
        endian=_endian(header.order),
        node=header.node,
        release=header.release,
        platform=header.version,
        time=header.time,
    )


def _word(raw: bytes | None) -> str | None:
    """A name out of a header, if it is one: printable ASCII."""
    if not raw or not raw.isascii():
        return None
    name = raw.decode("ascii")
    return name if name.isprintable() else None
