"""The executable and the libraries of a process: where in its memory each was put, and its name.

On illumos the runtime linker keeps a list of them. Source: usr/src/uts/common/sys/link.h (Link_map, r_debug) and
sys/auxv.h. Where the list is not in the core, the mappings that begin with an ELF header tell what they can. On
Linux the kernel lists the mapped files in the core (NT_FILE), and the first page of each tells the rest.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from thoth.dumps import linux
from thoth.dumps.elfcore import PF_X, PT_LOAD, ElfCore, Header
from thoth.dumps.image import PT_DYNAMIC, PT_PHDR, Image, dynamic_entries
from thoth.dumps.record import Record
from thoth.dumps.space import AddressSpace
from thoth.dumps.threads import Process

MOST_MODULES = 4096

_AT_PHDR, _AT_PHENT, _AT_PHNUM, _AT_ENTRY, _AT_SYSINFO_EHDR, _AT_SUN_EXECNAME = 3, 4, 5, 9, 33, 2014
_DT_STRTAB, _DT_SONAME, _DT_DEBUG = 5, 14, 21
_PATH = 4096


@dataclass(frozen=True, slots=True)
class Module:
    """An object in memory, from ``start`` up to ``end``.

    ``listed`` is the path as Linux has it, which marks a removed file; empty: the same as ``name``.
    ``bias`` is what its addresses were moved by when it was put there, None when that is not known. ``image`` is
    what memory holds of it, if that begins with its header. ``file_offset`` is where in its file ``start`` lies.
    """

    name: bytes  # its path; empty when nothing tells it
    start: int
    end: int
    bias: int | None = None
    image: Image | None = None
    main: bool = False  # the executable
    file_offset: int = 0
    listed: bytes = b""

    @property
    def paths(self) -> tuple[bytes, ...]:
        """Where its file may lie: one that was replaced at its name, or one that is really called as it is listed."""
        return tuple(dict.fromkeys((self.name, self.listed or self.name)))

    def build_id(self) -> str | None:
        """Its build-id, if memory holds it."""
        return self.image.build_id() if self.image else None

    def has_code(self, address: int) -> bool:
        """Whether its program headers put code at an address in memory."""
        own, segments = self.own(address), self.image.segments if self.image else ()
        return any(s.flags & PF_X and s.vaddr <= own < s.vaddr + s.memsz for s in segments if s.type == PT_LOAD)

    def own(self, address: int) -> int:
        """An address in memory as the object's own: as linked, or its place in the file where that is not known."""
        return address - self.start + self.file_offset if self.bias is None else address - self.bias


class Modules:
    """The modules of a process, by address."""

    __slots__ = ("_modules", "_starts")

    def __init__(self, modules: Sequence[Module]) -> None:
        self._modules = sorted(modules, key=lambda each: each.start)
        self._starts = [each.start for each in self._modules]

    def at(self, address: int) -> Module | None:
        """The module that an address lies in."""
        place = bisect_right(self._starts, address) - 1
        if place < 0 or address >= self._modules[place].end:
            return None
        return self._modules[place]

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules)


# ---- illumos --------------------------------------------------------------------------------------


def illumos_modules(process: Process, space: AddressSpace, core: ElfCore) -> Modules:
    """What the link maps list, and of the rest what begins with an ELF header."""
    path = space.text(process.vector.get(_AT_SUN_EXECNAME, 0), _PATH) or b""
    listed = list(_link_maps(process, space, core.header))
    found = [
        _placed(space, address, path if number == 0 and path else name, main=number == 0)
        for number, (address, name) in enumerate(listed)
    ]
    known = Modules(found)
    entry = process.vector.get(_AT_ENTRY, process.vector.get(_AT_PHDR, 0))
    for mapping in space.code_mappings()[:MOST_MODULES]:
        if known.at(mapping.start) is None:
            main = not listed and mapping.start <= entry < mapping.end
            found.append(_placed(space, mapping.start, path if main else b"", main=main))
    return Modules(found)


def _placed(space: AddressSpace, address: int, name: bytes, *, main: bool) -> Module:
    """The module at a load address, as large as its headers say, or else its one mapping."""
    mapping = space.mapping(address)
    start, end = (mapping.start, mapping.end) if mapping else (address, address + 1)
    image = Image.in_memory(start, end, space.read)
    if image is None:
        return Module(name, start, end, main=main)
    return Module(
        name or own_name(image), start, max(end, image.bias + image.end_address), image.bias, image, main=main
    )


def own_name(image: Image) -> bytes:
    """What a library calls itself."""
    dynamic = image.dynamic()
    names, place = dynamic.get(_DT_STRTAB), dynamic.get(_DT_SONAME)
    if names is None or place is None:
        return b""
    name, nul, _ = image.read(image.unplaced(names) + place, _PATH).partition(b"\0")
    return name if nul else b""


def _link_maps(process: Process, space: AddressSpace, header: Header) -> Iterator[tuple[int, bytes]]:
    """Load address and path of each object, the executable first; the linker itself is on a list of its own."""
    debug = _debug_address(process, space, header)
    word = process.machine.word
    seen: set[int] = set()
    for head in (1, 5):  # r_map and r_ldsomap of struct r_debug, in words
        at = space.word(debug + head * word) if debug else None
        while at and at not in seen and len(seen) < MOST_MODULES:
            seen.add(at)
            entry = space.words(at, 4)  # l_addr, l_name, l_ld, l_next
            if len(entry) < 4:
                break
            yield entry[0], space.text(entry[1], _PATH) or b""
            at = entry[3]


def _debug_address(process: Process, space: AddressSpace, header: Header) -> int | None:
    """Where struct r_debug lies: the executable's dynamic section has its address."""
    vector = process.vector
    start, size, count = (vector.get(key, 0) for key in (_AT_PHDR, _AT_PHENT, _AT_PHNUM))
    wide = header.wide
    own = dynamic = None
    length = 0
    for number in range(min(count, 256)):
        entry = Record(space.read(start + number * size, 56 if wide else 32), header.order)
        kind, address = entry.number(0, "I"), entry.number(16 if wide else 8, "Q" if wide else "I")
        if kind == PT_PHDR:
            own = address
        elif kind == PT_DYNAMIC:
            dynamic, length = address, entry.number(40 if wide else 20, "Q" if wide else "I") or 0
    if dynamic is None:
        return None
    bias = 0 if own is None else start - own
    return dynamic_entries(space.read(bias + dynamic, min(length, 16384)), header).get(_DT_DEBUG)


# ---- Linux ----------------------------------------------------------------------------------------


def linux_modules(process: Process, space: AddressSpace, core: ElfCore) -> Modules:
    """The mapped files that have code, and what the kernel itself maps: the vDSO."""
    data = core.description(process.files, linux.FILES_LIMIT) if process.files else b""
    entry = process.vector.get(_AT_ENTRY, 0)
    started = space.text(process.vector.get(linux.AT_EXECFN, 0), _PATH) or b""
    found: list[Module] = []
    for each in linux.files_in(data, core.header.order, wide=core.header.wide):
        last = found[-1] if found else None
        if last and last.listed == each.path and (each.start < last.end or last.image is None):
            # Another part of the same object.
            found[-1] = replace(last, end=max(last.end, each.end), main=last.main or each.start <= entry < each.end)
        elif len(found) < MOST_MODULES:
            found.append(_mapped(space, each, entry, started))
    kernels = process.vector.get(_AT_SYSINFO_EHDR)
    mapping = space.mapping(kernels) if kernels else None
    if kernels and mapping and mapping.start == kernels:
        image = Image.in_memory(kernels, mapping.end, space.dumped)
        if image:
            found.append(Module(own_name(image) or b"[vdso]", kernels, mapping.end, image.bias, image))
    return Modules(found)


def _mapped(space: AddressSpace, file: linux.MappedFile, entry: int, started: bytes) -> Module:
    image = None if file.offset else Image.in_memory(file.start, file.end, space.dumped)
    end = max(file.end, image.bias + image.end_address) if image else file.end
    main = file.start <= entry < end
    bias = image.bias if image else None
    name = linux.path_of(file.path, started)
    return Module(name, file.start, end, bias, image, main=main, file_offset=file.offset, listed=file.path)
