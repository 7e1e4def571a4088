"""Writes kernel crash dumps for tests: illumos vmdump and vmcore, Linux kdump and its flattened form.

Layouts: illumos sys/dumphdr.h, makedumpfile diskdump_mod.h. ``vmdump`` is also a name of elfwriter.
"""

from __future__ import annotations

import hashlib
import random
import struct
from typing import Literal

Endian = Literal["little", "big"]
Text = str | bytes

DUMP_MAGIC = 0xDEFEC8ED
COMPLETE, COMPRESSED = 0x2, 0x8
_TRAILER = 65536


def _raw(value: Text) -> bytes:
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value


def dumphdr(
    node: Text = b"headnode",
    panic: Text = b"BAD TRAP",
    time: int = 1_600_000_000,
    *,
    platform: Text = b"joyent_20210520T001010Z",
    uuid: Text | None = None,
    magic: int = DUMP_MAGIC,
    version: int = 10,
    flags: int = 0x1000B,
    bits: int = 64,
    endian: Endian = "little",
) -> bytes:
    """dumphdr_t: 1912 bytes of a 64-bit kernel, 1876 of a 32-bit one. No uuid: one that follows."""
    mark = "<" if endian == "little" else ">"
    digest = hashlib.sha256(repr((_raw(node), _raw(panic), time)).encode()).hexdigest()
    own = "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32])) if uuid is None else uuid
    names = [b"SunOS", _raw(node), b"5.11", _raw(platform), b"i86pc", b"i86pc"]
    head = struct.pack(mark + "4I5Q", magic, version, flags, bits, 0, 4096, 8192, 12288, 16384)
    head += struct.pack("257s" * 6 + "200s2x", *names, _raw(panic))
    word = "q" if bits == 64 else "i"
    head += struct.pack(f"{mark}8{word}", time, 12, 4096, 15, 7, 7, 3000, 161)
    tail = struct.pack(mark + "I37s", 0, _raw(own)) if version >= 10 else b""
    return (head + tail).ljust(1912 if bits == 64 else 1876, b"\0")


def vmdump(
    node: Text = b"headnode",
    panic: Text = b"BAD TRAP",
    time: int = 1_600_000_000,
    size: int = 2 * _TRAILER,
    **header: int | Text,
) -> bytes:
    """A vmdump of exactly ``size`` bytes; ``header`` as in dumphdr.

    From 128 KiB on it is whole. Below that there is no room for the copy of the header that ends a vmdump:
    it is one that was cut short.
    """
    head = dumphdr(node, panic, time, **header)  # type: ignore[arg-type]  # each field has its type
    body = random.Random(head).randbytes(size - 4096)
    data = head.ljust(4096, b"\0") + body
    at = (size - _TRAILER) & -_TRAILER
    if at <= 0:
        return data
    copy = (head + struct.pack("<II", 0x64686472, 1)).ljust(_TRAILER, b"\0")
    return data[:at] + copy + data[at + _TRAILER :]


def kdump(
    node: Text = b"headnode",
    release: Text = b"5.10.0-21-amd64",
    time: float = 1_600_000_000.0,
    *,
    pages: int = 4,
    signature: bytes = b"KDUMP   ",
    machine: Text = b"x86_64",
    status: int = 1,
    endian: Endian = "little",
) -> bytes:
    """A makedumpfile dump of a 64-bit kernel: header, sub-header, two bitmaps, page descriptors, pages."""
    mark = "<" if endian == "little" else ">"
    names = [b"Linux", _raw(node), _raw(release), b"#1 SMP", _raw(machine), b"(none)"]
    head = signature + struct.pack(mark + "I", 6) + struct.pack("65s" * 6 + "6x", *names)
    head += struct.pack(mark + "qq", int(time), round(time % 1 * 1e6))
    head += struct.pack(mark + "10I", status, 4096, 1, 2, pages, 0, 0, pages, 0, 1)
    blocks = [head, struct.pack(mark + "qi", 0, 31), b"\xff", b"\xff"]
    start = 4 * 4096 + 24 * pages
    table = b"".join(struct.pack(mark + "qIIQ", start + 100 * i, 100, 1, 0) for i in range(pages))
    data = random.Random(head).randbytes(100 * pages)
    return b"".join(block.ljust(4096, b"\0") for block in blocks) + table + data


def flattened(data: bytes, chunk: int = 4096, *, end: bool = True) -> bytes:
    """What ``makedumpfile -F`` writes for this dump: big-endian chunks, each with its place."""
    parts = [struct.pack(">16sqq", b"makedumpfile", 1, 1).ljust(4096, b"\0")]
    for at in range(0, len(data), chunk):
        part = data[at : at + chunk]
        parts.append(struct.pack(">qq", at, len(part)) + part)
    return b"".join(parts) + (struct.pack(">qq", -1, -1) if end else b"")
