"""The identity of a dump: an MD5 over headers and notes, digit for digit that of the original thoth 1.3.2.

A core is hashed as the JSON text of its program headers and the raw bytes of its note segments, a crash dump
as the text that Node 8 printed for its header. Where the original is odd this is odd too: sites have years of
dumps filed under these names. Linux kernel dumps of makedumpfile, which the original refuses, have a rule of
our own: an MD5 over a tag and the first 8,192 bytes.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from operator import itemgetter
from typing import NamedTuple

from thoth.dumps.crashdump import MAGIC, flattened_head, flattened_ranges, is_flattened, is_kdump
from thoth.dumps.elfcore import HEAD, PT_NOTE, Header, parse_header
from thoth.dumps.source import Range, ReadAt, merged
from thoth.errors import NotADump
from thoth.naming import Identity

HASHED_LIMIT = 256 << 20  # bytes of header table and notes together; a larger core is refused

_BLOCK = 1 << 20
_PHDR32 = '{"p_type":%d,"p_offset":%d,"p_vaddr":%d,"p_paddr":%d,"p_filesz":%d,"p_memsz":%d,"p_flags":%d,"p_align":%d}'
_PHDR64 = (
    '{"p_type":%d,"p_flags":%d,"p_offset":[%d,%d],"p_vaddr":[%d,%d],"p_paddr":[%d,%d],'
    '"p_filesz":[%d,%d],"p_memsz":[%d,%d],"p_align":[%d,%d]}'
)
_HIGH_WORDS_FIRST = itemgetter(0, 1, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12)


def identify(source: ReadAt) -> Identity:
    """The dump's identity. Raises NotADump, or what ``source`` raises."""
    head = source.read_at(0, HEAD)
    header = parse_header(head)
    if header is None:
        return _crash_identity(source, head)
    plan = _plan(source, header, head)
    digest = hashlib.md5(usedforsecurity=False)
    for text, (offset, length) in zip(plan.texts, plan.notes, strict=False):
        digest.update(text.encode())
        for block in _zero_filled(source, offset, length):
            digest.update(block)
    digest.update(plan.texts[-1].encode())
    return Identity(digest.hexdigest())


def identity_ranges(source: ReadAt) -> list[Range]:
    """Every range that ``identify`` reads, in the order of the file, without overlap. They may pass its end.

    Raises NotADump, and MissingRange when ``source`` does not hold yet what says where the next bytes lie.
    """
    head = source.read_at(0, HEAD)
    header = parse_header(head)
    if header is None:
        _refuse_unless_crash(source, head)
        return merged([Range(0, HEAD), *(flattened_ranges(source) if is_flattened(head) else ())])
    return merged([Range(0, HEAD), _table(header), *_plan(source, header, head).notes])


def is_named_whole(source: ReadAt) -> bool:
    """Whether all that names the dump lies inside the file. If not, the whole dump has another identity.

    Raises as ``identity_ranges``.
    """
    head = source.read_at(0, HEAD)
    header = parse_header(head)
    if header is not None:
        named = [_table(header), *_plan(source, header, head).notes]
    elif is_kdump(head) or is_flattened(head):
        named = identity_ranges(source)
    else:
        _refuse_unless_crash(source, head)
        named = [Range(0, _DUMPHDR.size)]
    return all(each.end <= source.size for each in named if each.length)


# ---- cores ----------------------------------------------------------------------------------------


class _Plan(NamedTuple):
    """What is hashed: texts[0], notes[0], texts[1], notes[1] ... and one text more than notes."""

    texts: list[str]
    notes: list[Range]


def _plan(source: ReadAt, header: Header, head: bytes) -> _Plan:
    table = _table(header)
    if table.end <= len(head):
        blocks = iter((head[table.offset : table.end],))
    else:
        blocks = _zero_filled(source, *table, _BLOCK // header.phentsize * header.phentsize)
    left = HASHED_LIMIT - table.length
    texts: list[str] = []
    notes: list[Range] = []
    pending: list[str] = []
    parse = _headers64 if header.wide else _headers32
    for block in blocks:
        for text, note in parse(block, header):
            pending.append(text)
            if note is None:
                continue
            left -= note.length
            if left < 0 or note.length < 0 or (note.offset < 0 and note.length):
                raise NotADump(_bad_note(note))
            texts.append("".join(pending))
            notes.append(note)
            pending.clear()
    texts.append("".join(pending))
    return _Plan(texts, notes)


def _bad_note(note: Range) -> str:
    if note.length < 0 or note.offset < 0:
        return "a note segment has a negative offset or size: the core is damaged"
    return f"header table and notes are larger than {HASHED_LIMIT >> 20} MiB: the core is damaged"


def _table(header: Header) -> Range:
    """Where the program headers lie, as the original finds them. Raises NotADump where that is nowhere."""
    offset = _sum_of_words(header.phoff >> 32, header.phoff & 0xFFFFFFFF)
    length = header.phnum * header.phentsize
    if not header.phnum:
        raise NotADump("an ELF core without program headers: it was cut short, or never written")
    if header.phentsize < header.least_phentsize:
        raise NotADump(f"program headers of {header.phentsize} bytes: the core is damaged")
    if offset < 0:
        raise NotADump("the program headers have a negative offset: the core is damaged")
    if length > HASHED_LIMIT:
        raise NotADump(f"header table and notes are larger than {HASHED_LIMIT >> 20} MiB: the core is damaged")
    return Range(offset, length)


def _headers32(block: bytes, header: Header) -> Iterator[tuple[str, Range | None]]:
    for words in struct.iter_unpack(f"{header.order}8I{header.phentsize - 32}x", block):
        yield _PHDR32 % words, Range(words[1], words[4]) if words[0] == PT_NOTE else None


def _headers64(block: bytes, header: Header) -> Iterator[tuple[str, Range | None]]:
    swapped = header.order == "<"
    for stored in struct.iter_unpack(f"{header.order}14I{header.phentsize - 56}x", block):
        words = _HIGH_WORDS_FIRST(stored) if swapped else stored
        note = None
        if words[0] == PT_NOTE:
            note = Range(_sum_of_words(words[2], words[3]), _sum_of_words(words[8], words[9]))
        yield _PHDR64 % words, note


def _sum_of_words(high: int, low: int) -> int:
    # The original shifts by 32 in JavaScript, where that is no shift, and only the high word gets a sign.
    return (high - (1 << 32) if high & 0x80000000 else high) + low


def _zero_filled(source: ReadAt, offset: int, length: int, step: int = _BLOCK) -> Iterator[bytes]:
    """``length`` bytes from ``offset`` on in blocks of ``step``; behind the end of the file they are zero."""
    held = True
    for at in range(offset, offset + length, step):
        wanted = min(step, offset + length - at)
        block = source.read_at(at, wanted) if held else b""
        held = len(block) == wanted
        yield block if held else block.ljust(wanted, b"\0")


# ---- crash dumps ----------------------------------------------------------------------------------

_COMPLETE, _COMPRESSED = 0x2, 0x8
_DUMPHDR = struct.Struct("<4I5Q257s257s257s257s257s257s202s5q3QI37s")  # as the original has it: no padding
_FIELDS = (
    *("magic", "version", "flags", "wordsize", "start", "ksyms", "pfn", "map", "data"),
    *("sysname", "nodename", "release", "version", "machine", "platform", "panicstring"),
    *("crashtime", "pageshift", "pagesize", "hashmask", "nvtop", "npages", "ksyms_size", "ksyms_csize"),
    *("fm_panic", "uuid"),
)
_WORDS, _UTSNAME = range(4), range(9, 14)
_KDUMP_TAG = b"kdump\n\0"


def _crash_identity(source: ReadAt, head: bytes) -> Identity:
    _refuse_unless_crash(source, head)
    if is_flattened(head) or is_kdump(head):
        first = flattened_head(source) if is_flattened(head) else head
        hashed = _KDUMP_TAG + first.ljust(HEAD, b"\0")
    else:
        hashed = _printed(_DUMPHDR.unpack_from(head.ljust(HEAD, b"\0"))).encode()
    return Identity(hashlib.md5(hashed, usedforsecurity=False).hexdigest())


def _printed(values: tuple[int | bytes, ...]) -> str:
    """The header as util.inspect of Node 8 prints it."""
    lines = [_field(index, value) for index, value in enumerate(values)]
    uts = ",\n     ".join(lines[_UTSNAME.start : _UTSNAME.stop])
    outer = [*lines[: _UTSNAME.start], f"dump_utsname: \n   {{ {uts} }}", *lines[_UTSNAME.stop :]]
    return "{ " + ",\n  ".join(outer) + " }"


def _field(index: int, value: int | bytes) -> str:
    name = _FIELDS[index] if index in _UTSNAME else f"dump_{_FIELDS[index]}"
    if isinstance(value, bytes):
        return f"{name}: <Buffer {value[:50].hex(' ')}{' ... ' if len(value) > 50 else ''}>"
    if index in _WORDS or name == "dump_fm_panic":
        return f"{name}: {value}"
    high, low = divmod(abs(value), 1 << 32)
    if value >= 0:
        return f"{name}: [ {high}, {low} ]"
    return f"{name}: [ -{high}, {-low} ]"  # minus zero is printed for the high word only


# ---- refusals -------------------------------------------------------------------------------------

_ELF_TYPES = {0: "of no type", 1: "an object file", 2: "an executable", 3: "a shared object or executable"}
_NEITHER = "neither a core nor a crash dump"
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": "zip",
}


def _refuse_unless_crash(source: ReadAt, head: bytes) -> None:
    if is_kdump(head):
        return
    if is_flattened(head):
        if not is_kdump(flattened_head(source)):
            raise NotADump(
                "flattened by makedumpfile, but not of a kdump file: make a dump of it with makedumpfile -R"
            )
        return
    magic, _, flags = struct.unpack("<III", head[:12].ljust(12, b"\0"))
    if magic != MAGIC:
        raise NotADump(_why_not(head))
    if not flags & _COMPLETE:
        raise NotADump("not a complete dump: the system did not finish writing it")
    if not flags & _COMPRESSED:
        raise NotADump("dump is not compressed: keep the vmdump file that savecore made, not the vmcore")


def _why_not(head: bytes) -> str:
    if not head:
        return f"{_NEITHER} (is empty)"
    if head[:4] == b"\x7fELF":
        return _why_no_core(head)
    for mark, packer in _PACKED.items():
        if head.startswith(mark):
            return f"a file compressed by {packer}: uncompress it first"
    if head[:4] == struct.pack(">I", MAGIC):
        return "a crash dump of a big-endian system: these have no identity"
    return f"{_NEITHER} (begins with {head[:4].hex()})"


def _why_no_core(head: bytes) -> str:
    if len(head) < 18 or head[4] not in (1, 2) or head[5] not in (1, 2):
        return "begins like an ELF file, but its class or byte order is unknown"
    kind = int.from_bytes(head[16:18], "little" if head[5] == 1 else "big")
    return f"an ELF file, but {_ELF_TYPES.get(kind, f'of type {kind}')}, not a core"
