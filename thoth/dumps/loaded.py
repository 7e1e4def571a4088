"""The modules of a process together with their symbols, which are read when a frame asks for them."""

from __future__ import annotations

from thoth.dumps.elfcore import ElfCore, Section
from thoth.dumps.modules import Module, Modules
from thoth.dumps.paged import TooMuchRead
from thoth.dumps.symbols import (
    SHT_DYNSYM,
    SHT_SYMTAB,
    Symbol,
    SymbolTable,
    memory_tables,
    section_table,
)


class Loaded:
    """What there is to know of each module. A table comes with what its values are moved by in memory."""

    def __init__(self, core: ElfCore, modules: Modules) -> None:
        self.modules = modules
        self._core = core
        self._sections = list(core.sections())
        self._tables: dict[
            int, list[tuple[SymbolTable, int]]
        ] = {}  # by the module's start; and what to add to a value

    def symbol(self, module: Module, address: int) -> Symbol | None:
        """The function at an address in memory, its value as the object was linked."""
        if module.start not in self._tables:
            self._tables[module.start] = self._found(module)
        for table, moved in self._tables[module.start]:
            found = table.find(address - moved)
            if found:
                return found._replace(value=found.value + moved - (address - module.own(address)))
        return None

    def _found(self, module: Module) -> list[tuple[SymbolTable, int]]:
        try:
            return self._from_sections(module) or self._from_memory(module)
        except TooMuchRead:
            return []

    def _from_sections(self, module: Module) -> list[tuple[SymbolTable, int]]:
        """The tables that an illumos kernel has put into the core; sh_addr tells whose they are."""
        found = []
        for kind in (SHT_SYMTAB, SHT_DYNSYM):
            for section in self._sections:
                if section.type == kind and self._is_of(section, module) and section.link < len(self._sections):
                    names = self._sections[section.link]
                    table = section_table(self._core.source, self._core.header, section, names)
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

    @staticmethod
    def _from_memory(module: Module) -> list[tuple[SymbolTable, int]]:
        image = module.image
        return [(table, image.bias) for table in memory_tables(image)] if image else []
