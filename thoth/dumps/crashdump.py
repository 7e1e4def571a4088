"""Headers of kernel crash dumps: illumos dumphdr_t (vmdump.N, vmcore.N), Linux kdump by makedumpfile.

Sources: illumos-gate usr/src/uts/common/sys/dumphdr.h (versions 9 and 10), usr/src/cmd/savecore/savecore.c;
makedumpfile diskdump_mod.h, makedumpfile.h, IMPLEMENTATION.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from thoth.dumps.record import ByteOrder, Record, ends_inside
from thoth.dumps.source import Range, ReadAt

MAGIC = 0xDEFEC8ED  # DUMP_MAGIC

# ---- illumos --------------------------------------------------------------------------------------

HEADER_SIZE = 1912  # sizeof (dumphdr_t) of a 64-bit kernel, the larger one
_TRAILER = 65536  # DUMP_OFFSET: the second copy of the header begins at a multiple of it
_UUID_SINCE = 10


class CrashHeader(NamedTuple):
    """What a dumphdr_t says. None: the file ends before it, or the version has it not."""

    version: int | None
    flags: int | None
    bits: int | None
    order: ByteOrder
    node: bytes | None
    release: bytes | None
    platform: bytes | None
    machine: bytes | None
    panic: bytes | None
    time: int | None  # seconds since 1970
    uuid: bytes | None


def parse_dumphdr(data: bytes) -> CrashHeader | None:
    """The header at the start of ``data``, of any byte order and word size; None without its magic."""
    order: ByteOrder = "<" if data[:4] == struct.pack("<I", MAGIC) else ">"
    if data[:4] != struct.pack(order + "I", MAGIC):
        return None
    field = Record(data, order)
    version = field.number(4, "I")
    wide = field.number(12, "I") != 32
    has_uuid = version is not None and version >= _UUID_SINCE
    return CrashHeader(
        version=version,
        flags=field.number(8, "I"),
        bits={32: 32, 64: 64}.get(field.number(12, "I") or 0),
        order=order,
        node=field.text(313, 257),
        release=field.text(570, 257),
        platform=field.text(827, 257),
        machine=field.text(1084, 257),
        panic=field.text(1598, 200),
        time=field.number(1800, "q" if wide else "i"),
        uuid=field.text(1868 if wide else 1836, 37) if has_uuid else None,
    )


def trailing_header(size: int) -> Range:
    """Where savecore puts the second copy of the header in a vmdump of this size; empty without room."""
    at = (size - _TRAILER) & -_TRAILER
    return Range(at, HEADER_SIZE) if at > 0 else Range(0, 0)


def vmdump_complete(source: ReadAt, header: CrashHeader) -> bool:
    """Whether the second copy of the header, which is written last, is in its place and of the same crash."""
    place = trailing_header(source.size)
    copy = parse_dumphdr(source.read_at(*place)) if place.length else None
    if copy is None or header.time is None:
        return False
    return (copy.order, copy.time, copy.uuid) == (header.order, header.time, header.uuid)


# ---- Linux ----------------------------------------------------------------------------------------

_KDUMP = (b"KDUMP   ", b"DISKDUMP")
_INCOMPLETE = 0x8  # DUMP_DH_COMPRESSED_INCOMPLETE
_DESCRIPTOR = 24  # sizeof (page_desc_t): offset, size, flags, page_flags


class KdumpHeader(NamedTuple):
    """What a disk_dump_header says. None: the file ends before it."""

    bits: int
    order: ByteOrder
    node: bytes | None
    release: bytes | None
    version: bytes | None
    machine: bytes | None
    time: float | None  # seconds since 1970
    status: int
    block_size: int
    pages_at: int  # offset of the page descriptors, behind header, sub-header and bitmaps


def is_kdump(head: bytes) -> bool:
    """Whether a file that starts like this is in makedumpfile's kdump-compressed format."""
    return head[:8] in _KDUMP


def parse_kdump(head: bytes) -> KdumpHeader:
    """The header at the start of ``head``: of the byte order that makes its version small, of the width that
    makes its block size one.
    """
    order: ByteOrder = "<" if (Record(head, "<").number(8, "I") or 0) < _SMALL else ">"
    bits = 32 if _plausible(head, order, 32) and not _plausible(head, order, 64) else 64
    field = Record(head, order)
    at = _TIME[bits]
    seconds = field.number(at, "q" if bits == 64 else "i")
    micros = field.number(at + bits // 8, "q" if bits == 64 else "i")
    status, size, sub, bitmaps = (field.number(at + bits // 4 + 4 * i, "I") or 0 for i in range(4))
    return KdumpHeader(
        bits=bits,
        order=order,
        node=field.text(77, 65),
        release=field.text(142, 65),
        version=field.text(207, 65),
        machine=field.text(272, 65),
        time=None if seconds is None or micros is None else seconds + micros / 1e6,
        status=status,
        block_size=size,
        pages_at=(1 + sub + bitmaps) * size,
    )


_SMALL = 1 << 16  # versions are 1 to 6
_TIME = {64: 408, 32: 404}  # offset of the timestamp: two longs, then status and block size


def _plausible(head: bytes, order: ByteOrder, bits: int) -> bool:
    size = Record(head, order).number(_TIME[bits] + bits // 4 + 4, "I") or 0
    return 512 <= size <= 1 << 16 and not size & (size - 1)


def kdump_ranges(source: ReadAt, header: KdumpHeader) -> Iterator[Range]:
    """What ``kdump_complete`` reads. The second range is known when the first one can be read."""
    first = Range(header.pages_at, _DESCRIPTOR)
    yield first
    last = _last_descriptor(source, header)
    if last is not None:
        yield last


def kdump_complete(source: ReadAt, header: KdumpHeader) -> bool:
    """Whether nothing that was promised is missing, as far as a few small reads can tell.

    The status must not say that the dump is incomplete, header and bitmaps must end inside the file, and so
    must the data of the first and the last page descriptor: pages are written in order, and the descriptors
    end where the data begins.
    """
    size = source.size
    if header.status & _INCOMPLETE or not header.block_size or not ends_inside(0, header.pages_at, size):
        return False
    places = [Range(header.pages_at, _DESCRIPTOR), _last_descriptor(source, header)]
    return all(_page_inside(source, header, place) for place in places if place is not None)


def _descriptor(source: ReadAt, header: KdumpHeader, place: Range) -> tuple[int, int]:
    data = source.read_at(*place) if place.offset < source.size else b""
    at, length = struct.unpack(header.order + "qI", data[:12]) if len(data) == _DESCRIPTOR else (-1, 0)
    return at, length


def _page_inside(source: ReadAt, header: KdumpHeader, place: Range) -> bool:
    at, length = _descriptor(source, header, place)
    return at >= header.pages_at + _DESCRIPTOR and length > 0 and at + length <= source.size


def _last_descriptor(source: ReadAt, header: KdumpHeader) -> Range | None:
    begin, _ = _descriptor(source, header, Range(header.pages_at, _DESCRIPTOR))
    # A page of zeros, which all such pages share, may lie between the descriptors and the first page's data.
    # A block's size is no multiple of a descriptor's, so the two cases cannot be mistaken for each other.
    for gap in (0, header.block_size):
        end = begin - gap
        if header.pages_at < end <= source.size and not (end - header.pages_at) % _DESCRIPTOR:
            return Range(end - _DESCRIPTOR, _DESCRIPTOR)
    return None


# ---- flattened ------------------------------------------------------------------------------------

_FLAT_HEADER = 4096  # MAX_SIZE_MDF_HEADER
_FLAT_SIGNATURE = b"makedumpfile".ljust(16, b"\0") + struct.pack(">q", 1)
_CHUNKS = 64  # chunks that are looked at for the beginning of the dump; two or three hold it
_FLAT_END = b"\xff" * 16
_HEAD = 8192


class _Chunk(NamedTuple):
    """The part of a chunk that is in the dump's head: ``length`` bytes at ``source`` belong to ``target``."""

    header: Range
    source: int
    target: int
    length: int


def is_flattened(head: bytes) -> bool:
    """Whether a file that starts like this is a dump in the form that makedumpfile -F writes to a pipe."""
    return head[:24] == _FLAT_SIGNATURE


def flattened_head(source: ReadAt) -> bytes:
    """The first 8,192 bytes of the dump inside a flattened file; what the file does not hold is zero."""
    head = bytearray(_HEAD)
    for chunk in _head_chunks(source):
        data = source.read_at(chunk.source, chunk.length)
        head[chunk.target : chunk.target + len(data)] = data
    return bytes(head)


def flattened_ranges(source: ReadAt) -> list[Range]:
    """What ``flattened_head`` reads: headers of chunks, and the parts of chunks that it takes."""
    ranges: list[Range] = []
    for chunk in _head_chunks(source):
        ranges += [chunk.header, Range(chunk.source, chunk.length)]
    return ranges


def _head_chunks(source: ReadAt) -> Iterator[_Chunk]:
    at, wanted = _FLAT_HEADER, bytearray(b"x" * _HEAD)
    for _ in range(_CHUNKS):
        header = Range(at, 16)
        fields = source.read_at(*header) if at < source.size else b""
        target, length = struct.unpack(">qq", fields) if len(fields) == 16 else (-1, -1)
        usable = target >= 0 and length >= 0
        begin, end = (min(target, _HEAD), min(target + length, _HEAD)) if usable else (0, 0)
        yield _Chunk(header, header.end, begin, end - begin)
        wanted[begin:end] = bytes(end - begin)
        if not usable or not any(wanted):
            return
        at = header.end + length


def flattened_end(size: int) -> Range:
    """Where the mark lies that ends a flattened file of ``size`` bytes."""
    return Range(max(size - len(_FLAT_END), 0), len(_FLAT_END))


def flattened_complete(source: ReadAt) -> bool:
    """Whether the file ends with the mark that makedumpfile writes last."""
    return source.read_at(*flattened_end(source.size)) == _FLAT_END
