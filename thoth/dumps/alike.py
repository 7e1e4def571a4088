"""Whether a file is the one that was mapped, where no build-id tells: by what the core holds of its pages.

Linux dumps the first page of what begins with an ELF header, which has the program headers, and often the notes; with
other settings (coredump_filter) all of it.
"""

from __future__ import annotations

from thoth.dumps.elfcore import PF_W, PT_LOAD, Memory, Segment
from thoth.dumps.image import BUILD_ID_NOTE, Image
from thoth.dumps.paged import TooMuchRead

_COMPARED = 64 << 10  # bytes of each segment: a core that holds all of it is large


def is_alike(file: Image, mapped: Image, memory: Memory) -> bool:
    """Whether what ``memory`` holds of an image, as far as the process could not write to it, is what the file has.

    The page with the headers has to be there; and what either names its build by is the same for both.
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
    head = False
    for each in file.segments:
        if each.type != PT_LOAD or each.flags & PF_W:
            continue
        for address, length in memory.parts(each.vaddr + bias, min(each.filesz, _COMPARED)):
            if memory.read(address, length) != file.read(address - bias, length):
                return False
            head = head or _has_headers(file, each, address - bias, length)
    return head


def _has_headers(file: Image, segment: Segment, address: int, length: int) -> bool:
    """Whether so much of a segment begins with the file's header and reaches behind its program headers."""
    headers = file.header.phoff + file.header.phnum * file.header.phentsize
    return not segment.offset and address == segment.vaddr and length >= headers
