"""The modules of a process together with their files and symbols, which are read when a frame asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from thoth.dumps.alike import is_alike
from thoth.dumps.allowance import Allowance, Unwinding
from thoth.dumps.binaries import Binaries
from thoth.dumps.elfcore import PF_W, PT_LOAD, ElfCore, Section
from thoth.dumps.image import Image
from thoth.dumps.modules import Module, Modules
from thoth.dumps.paged import Paged, TooMuchRead
from thoth.dumps.source import ReadAt
from thoth.dumps.symbols import (
    SHT_DYNSYM,
    SHT_SYMTAB,
    Symbol,
    SymbolTable,
    file_tables,
    is_full,
    memory_tables,
    section_table,
)
from thoth.dumps.threads import Process
from thoth.errors import SourceError

if TYPE_CHECKING:
    from thoth.dumps.unwind_cfi import CallFrames

BINARIES_LIMIT = 64 << 20  # bytes of all executables and libraries together that are read
MOST_SYMBOLS = 1 << 20  # of all modules together that are looked at

Tables = list[tuple[SymbolTable, int]]  # each with what its values are moved by in memory


class Loaded:
    """What there is to know of each module. Nothing is raised for a binary that cannot be read."""

    def __init__(self, core: ElfCore, process: Process, modules: Modules, binaries: Binaries) -> None:
        self.modules = modules
        self._core, self._process, self._binaries = core, process, binaries
        self._sections = list(core.sections())
        self._reading_left = Allowance(BINARIES_LIMIT)
        self._symbols_left = Allowance(MOST_SYMBOLS)
        self._unwinding_left = Unwinding.of_a_core()
        # Each by where the module starts.
        self._tables: dict[int, Tables] = {}
        self._files: dict[int, Image | None] = {}
        self._stripped: dict[int, Image | None] = {}
        self._frames: dict[int, CallFrames | None] = {}

    # ---- files ------------------------------------------------------------------------------------

    def file(self, module: Module) -> Image | None:
        """The module's very file, if it can be had: by its build-id, or ``alike``."""
        if module.start not in self._files:
            opened = (self._opened(path, module.build_id() or "") for path in self._paths(module))
            self._files[module.start] = next((each for each in opened if each and self._believed(each, module)), None)
        return self._files[module.start]

    def build_id(self, module: Module) -> str | None:
        """Its build-id as memory holds it, also where only its file tells where that lies."""
        file = None if module.build_id() else self.file(module)
        return file.build_id() if file else module.build_id()

    def alike(self, module: Module) -> bool:
        """Whether the file that is taken for the module's has no build-id: it has the pages that the core holds."""
        return module.build_id() is None and self.file(module) is not None and self.build_id(module) is None

    def _paths(self, module: Module) -> Sequence[bytes]:
        """Where its file may lie. Without a build-id those of illumos need none: their symbols are in the core."""
        return module.paths if module.build_id() or (module.image and self._process.system == "linux") else ()

    def _believed(self, file: Image, module: Module) -> bool:
        if module.build_id():
            return file.build_id() == module.build_id()
        return module.image is not None and is_alike(file, module.image, self._core.memory)

    def _opened(self, path: bytes, build_id: str) -> Image | None:
        return self._image(self._binaries.open(path, build_id))

    def _image(self, opened: ReadAt | None) -> Image | None:
        return Image.of_file(_Quiet(opened, self._reading_left)) if opened else None

    def read(self, address: int, length: int) -> bytes:
        """Memory that was not dumped, as a module's file has it: what the process could not write to."""
        module = self.modules.at(address)
        file = self.file(module) if module else None
        if module is None or file is None:
            return b""
        own = module.own(address)
        place = next((s for s in file.segments if s.vaddr <= own < s.vaddr + s.filesz and s.type == PT_LOAD), None)
        return file.read(own, length) if place and not place.flags & PF_W else b""

    def frames(self, module: Module) -> CallFrames | None:
        """The module's call frame information, out of its file or out of memory."""
        if module.start not in self._frames:
            image = self.file(module) or module.image
            self._frames[module.start] = self._call_frames(image, module) if image else None
        return self._frames[module.start]

    def _call_frames(self, image: Image, module: Module) -> CallFrames:
        from thoth.dumps.unwind_cfi import CallFrames  # noqa: PLC0415 - pyelftools costs 30 ms, and illumos needs it not

        return CallFrames(image, self._process.machine, self._unwinding_left, lambda: self._debug(module))

    # ---- symbols ----------------------------------------------------------------------------------

    def symbol(self, module: Module, address: int) -> Symbol | None:
        """The function at an address in memory, its value as the object was linked."""
        if module.start not in self._tables:
            self._tables[module.start] = self._found(module)
        for table, moved in self._tables[module.start]:
            found = table.find(address - moved)
            if found:
                return found._replace(value=module.own(found.value + moved))
        return None

    def _found(self, module: Module) -> Tables:
        try:
            return self._from_sections(module) or self._from_file(module) or self._from_memory(module)
        except TooMuchRead:
            return []

    def _from_sections(self, module: Module) -> Tables:
        """The tables that an illumos kernel has put into the core; sh_addr tells whose they are."""
        found = []
        for kind in (SHT_SYMTAB, SHT_DYNSYM):
            for section in self._sections:
                if section.type == kind and self._is_of(section, module) and section.link < len(self._sections):
                    names = self._sections[section.link]
                    table = section_table(self._core.source, self._core.header, section, names, self._symbols_left)
                    found.append((table, self._moved(table, module)))
        return found

    @staticmethod
    def _is_of(section: Section, module: Module) -> bool:
        return section.in_file and section.size > 0 and module.start <= section.addr < module.end

    @staticmethod
    def _moved(table: SymbolTable, module: Module) -> int:
        """How far the values of a table are from memory: a movable object's are relative to where it begins."""
        if module.bias is not None:
            return module.bias
        return 0 if (table.lowest or 0) >= module.start else module.start

    def _from_file(self, module: Module) -> Tables:
        file, bias = self.file(module), module.bias
        if file is None or bias is None:
            return []
        stripped = self._debug(module)
        images = [stripped, file] if stripped else [file]
        return [(table, bias) for image in images for table in file_tables(image, self._symbols_left)]

    def _debug(self, module: Module) -> Image | None:
        """The file that has the symbols which a module's own lacks."""
        if module.start not in self._stripped:
            file = self.file(module)
            self._stripped[module.start] = (
                None if file is None or is_full(file) else self._debug_of(file, module.name)
            )
        return self._stripped[module.start]

    def _debug_of(self, file: Image, path: bytes) -> Image | None:
        build_id, link = file.build_id(), file.debug_link()
        beside = path.rpartition(b"/")[0] + b"/" + link if link else b""
        image = self._image(self._binaries.symbols(build_id, beside)) if build_id else None
        return image if image and image.build_id() == build_id else None

    def _from_memory(self, module: Module) -> Tables:
        image = module.image
        return [(table, image.bias) for table in memory_tables(image, self._symbols_left)] if image else []


class _Quiet:
    """A binary as a ReadAt: what cannot be read of it is not there."""

    __slots__ = ("_pages", "size")

    def __init__(self, source: ReadAt, allowance: Allowance) -> None:
        self._pages = Paged(source, allowance)
        self.size = source.size

    def read_at(self, offset: int, length: int) -> bytes:
        try:
            return self._pages.read_at(offset, length)
        except SourceError:
            return b""
