"""The rules of a core's identity in the plainest way there is: no bounds, no blocks, everything in memory."""

from __future__ import annotations

import hashlib
import json
import struct

_NAMES32 = ("p_type", "p_offset", "p_vaddr", "p_paddr", "p_filesz", "p_memsz", "p_flags", "p_align")
_NAMES64 = ("p_type", "p_flags", "p_offset", "p_vaddr", "p_paddr", "p_filesz", "p_memsz", "p_align")


def core_identity(data: bytes) -> str:
    """The identity of a core that is not refused."""
    mark = "<" if data[5] == 1 else ">"
    wide = data[4] == 2
    head = data[:64].ljust(64, b"\0")
    phoff = struct.unpack_from(mark + ("Q" if wide else "I"), head, 32 if wide else 28)[0]
    entsize, count = struct.unpack_from(mark + "HH", head, 54 if wide else 42)
    digest = hashlib.md5()
    for index in range(count):
        raw = _read(data, _number(phoff, wide) + index * entsize, 56 if wide else 32)
        names, form = (_NAMES64, "II6Q") if wide else (_NAMES32, "8I")
        fields = dict(zip(names, struct.unpack(mark + form, raw), strict=True))
        printed = {
            name: list(divmod(value, 1 << 32)) if wide and name not in ("p_type", "p_flags") else value
            for name, value in fields.items()
        }
        digest.update(json.dumps(printed, separators=(",", ":")).encode())
        if fields["p_type"] == 4:
            place = _number(fields["p_offset"], wide), _number(fields["p_filesz"], wide)
            digest.update(_read(data, *place))
    return digest.hexdigest()


def _number(value: int, wide: bool) -> int:
    if not wide:
        return value
    return sum(struct.unpack("<Ii", struct.pack("<Q", value)))


def _read(data: bytes, offset: int, length: int) -> bytes:
    return data[offset : offset + length].ljust(length, b"\0")
