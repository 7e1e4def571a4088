"""Where executables and libraries come from that a core names but does not hold.

They are believed only when their build-id is the one in the core, or, where neither has one, when they have the pages
that the core holds (thoth.dumps.alike); who opens them need not look.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Protocol, Self

from thoth.dumps.image import PT_GNU_EH_FRAME, Image
from thoth.dumps.source import LocalFile, Range, ReadAt, merged
from thoth.dumps.symbols import SHT_DYNSYM, SHT_STRTAB, SHT_SYMTAB
from thoth.errors import SourceError

DEBUG_FILES: Final = "/usr/lib/debug/.build-id"  # where packages with symbols put these, by build-id

_DEBUG_TREE: Final = b"/usr/lib/debug"  # has what belongs to /usr/bin/a in /usr/lib/debug/usr/bin
_LIKELY: Final = 1 << 20  # bytes of each part of a binary that is likely to be read
_MOST_LIKELY: Final = 16  # such parts; ordinary files have six


class Binaries(Protocol):
    """Gives the file of an executable or library, by its path on the machine of the crash and its build-id in hex.

    An empty build-id asks for whatever lies at the path. None when it has none. What was given stays readable until
    whoever made this closes it. It raises nothing: a stack with less in it is better than none.
    """

    def open(self, path: bytes, build_id: str) -> ReadAt | None: ...

    def symbols(self, build_id: str, beside: bytes = b"") -> ReadAt | None:
        """The file that has what was stripped from the one with this build-id.

        ``beside`` is the path that it would have if it lay beside that one, where that says what it is called.
        """
        ...


class NoBinaries:
    """Has none: for cores of other machines."""

    def open(self, path: bytes, build_id: str) -> ReadAt | None:
        return None

    def symbols(self, build_id: str, beside: bytes = b"") -> ReadAt | None:
        return None


class LocalBinaries:
    """The files of this machine: for cores of processes that ran here, or on one with the same packages.

    A context manager: it closes what it opened. ``debug`` is the place of DEBUG_FILES.
    """

    def __init__(self, debug: str = DEBUG_FILES) -> None:
        self._debug = debug
        self._undo = ExitStack()

    def open(self, path: bytes, build_id: str) -> ReadAt | None:
        return self._opened(path) if path.startswith(b"/") else None

    def symbols(self, build_id: str, beside: bytes = b"") -> ReadAt | None:
        paths = [debug_path(build_id, self._debug), *debug_links(beside)]
        return _first(map(self._opened, paths), build_id)

    def _opened(self, path: bytes) -> ReadAt | None:
        try:
            return self._undo.enter_context(LocalFile(path))
        except SourceError:
            return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()


class FirstOf:
    """Several, of which the first counts that has the very file: those behind it are then not asked."""

    def __init__(self, binaries: Sequence[Binaries]) -> None:
        self._binaries = tuple(binaries)

    def open(self, path: bytes, build_id: str) -> ReadAt | None:
        return _first((each.open(path, build_id) for each in self._binaries), build_id)

    def symbols(self, build_id: str, beside: bytes = b"") -> ReadAt | None:
        return _first((each.symbols(build_id, beside) for each in self._binaries), build_id)


def _first(found: Iterator[ReadAt | None], build_id: str) -> ReadAt | None:
    return next((each for each in found if each and (not build_id or build_id_of(each) == build_id)), None)


def debug_path(build_id: str, place: str = DEBUG_FILES) -> bytes:
    """The path of the file that has what was stripped from the one with this build-id."""
    return f"{place}/{build_id[:2]}/{build_id[2:]}.debug".encode()


def debug_links(beside: bytes) -> list[bytes]:
    """Where the file may lie that another one names as that with its symbols; where gdb looks for it."""
    folder, slash, name = beside.rpartition(b"/")
    return [beside, folder + b"/.debug/" + name, _DEBUG_TREE + beside] if slash and name else []


def build_id_of(source: ReadAt) -> str | None:
    """The build-id of an executable or library in hex; None when it has none, is none, or cannot be read."""
    try:
        image = Image.of_file(source)
        return image.build_id() if image else None
    except SourceError:
        return None


def likely_ranges(source: ReadAt) -> list[Range]:
    """What of a binary will probably be read for a stack, beside its headers: for who fetches it from far away.

    A guess, which may leave out much and hold too much. Raises SourceError.
    """
    image = Image.of_file(source)
    if image is None:
        return []
    frames = image.segment(PT_GNU_EH_FRAME)
    found = [Range(frames.offset, frames.filesz)] if frames else []
    kinds = (SHT_SYMTAB, SHT_STRTAB, SHT_DYNSYM)
    found += [Range(each.offset, each.size) for each in image.elf.sections() if each.type in kinds]
    named = (image.section(name) for name in (b".eh_frame", b".gnu_debugdata"))
    found += [Range(each.offset, each.size) for each in named if each]
    inside = [each for each in found if each.offset < source.size][:_MOST_LIKELY]
    return merged(Range(each.offset, min(each.length, _LIKELY, source.size - each.offset)) for each in inside)
