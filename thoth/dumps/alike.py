"""Whether a file is the one that was mapped, where no build-id tells: by what the core holds of its pages.

Linux dumps the first page of what begins with an ELF header, which has the program headers, and often the notes; with
other settings (coredump_filter) all of it. Two builds of a program may have the same first page: so Go's own name of
the build has to be there, or instructions.
"""

from __future__ import annotations

from thoth.dumps.elfcore import PF_W, PF_X, PT_LOAD, Memory, Segment
from thoth.dumps.image import BUILD_ID_NOTE, Image
from thoth.dumps.paged import TooMuchRead

_FIRST = 4096  # bytes of a page, which Linux dumps of each file that begins with an ELF header
_COMPARED = 64 << 10  # bytes of each segment: a core that holds all of it is large


def is_alike(file: Image, mapped: Image, memory: Memory) -> bool:
    """Whether what ``memory`` holds of an image, as far as the process could not write to it, is what the file has.

    The page with the headers has to be there, and instructions or Go's name of the build, which is the same for both.
    """
    try:
        return _same_names(file, mapped) and _same_pages(file, mapped.bias, memory)
    except TooMuchRead:
        return False


def _same_names(file: Image, mapped: Image) -> bool:
    note = file.section(BUILD_ID_NOTE) if file.build_id() else None
    build_id = mapped.build_id_at(note.addr, note.size) if note else None
    return (file.build_id(), file.go_build_id()) == (build_id, mapped.go_build_id())


def _same_pages(file: Image, bias: int, memory: Memory) -> bool:
    head, told = False, file.go_build_id() is not None or file.build_id() is not None
    for each in file.segments:
        if each.type != PT_LOAD or each.flags & PF_W:
            continue
        for address, length in memory.parts(each.vaddr + bias, min(each.filesz, _COMPARED)):
            if memory.read(address, length) != file.read(address - bias, length):
                return False
            head = head or _has_headers(file, each, address - bias, length)
            headers = 0 if each.offset else _FIRST
            told = told or bool(each.flags & PF_X and address - bias + length > each.vaddr + headers)
    return head and told


def _has_headers(file: Image, segment: Segment, address: int, length: int) -> bool:
    """Whether so much of a segment begins with the file's header and reaches behind its program headers."""
    headers = file.header.phoff + file.header.phnum * file.header.phentsize
    return not segment.offset and address == segment.vaddr and length >= headers
