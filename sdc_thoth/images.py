"""Executables and libraries of a node, read in parts: what is asked, and what the replies mean.

Nothing here does I/O. As in ``node``, whose script answers, a reply is hostile until it is parsed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sdc_thoth.errors import Desynchronized, ProtocolError
from sdc_thoth.listing import Signature
from sdc_thoth.protocol import UNIT, Reader, ended, raise_if_hung, word

_FIELD = 4096  # bytes of a field
_SIGNATURE = 160
_FRAME = 64  # bytes of a field that holds a mark

Part = tuple[int, int]  # the first unit, and how many


@dataclass(frozen=True, slots=True)
class Ask:
    """Parts of one file, by its absolute path; in the order of the file and apart from each other."""

    path: bytes
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """What came of it: the file's signature, and each part, clipped to the file. ``status``: why nothing did."""

    status: str
    signature: Signature | None = None
    parts: tuple[tuple[int, bytes], ...] = ()  # each with its offset


def image_request(asks: Sequence[Ask], mark: str) -> bytes:
    """A request for parts of files. ``mark`` is a random word, of this request alone, that the reply repeats. After
    the reply the node waits for another request."""
    lines = [f"image\t{mark}\n".encode()]
    for ask in asks:
        directory, name = os.path.split(ask.path)
        lines.append(b"file\t%b\t%b\n" % (word(directory), word(name)))
        lines += [b"part\t%d\t%d\n" % part for part in ask.parts]
    return b"".join([*lines, b"over\n"])


def images(reply: Reader, asks: Sequence[Ask], mark: str) -> Iterator[Told]:
    """The reply, a file at a time. Raises ProtocolError; Desynchronized when a file changed under the reading,
    OpenHung when one could not be opened and kept the node's shell."""
    for ask in asks:
        _begun(reply, mark)
        status = reply.read_until(b"\0", _FIELD).decode("ascii", "replace")
        raw = reply.read_until(b"\0", _SIGNATURE)
        if status != "ok":
            yield Told(status)
            continue
        signature = Signature.parse(raw)
        parts = tuple(_part(reply, part, signature.size) for part in ask.parts)
        _expect(reply, b"after " + mark.encode())
        if reply.read_until(b"\0", _SIGNATURE) != raw + b"\n":
            raise Desynchronized("a file changed while it was read")
        yield Told(status, signature, parts)
    ended(reply, mark)


def _begun(reply: Reader, mark: str) -> None:
    start = reply.read_until(b"\0", _FRAME)
    raise_if_hung(start, mark)
    if start != b"file " + mark.encode():
        raise ProtocolError("not a reply to image")


def _part(reply: Reader, part: Part, size: int) -> tuple[int, bytes]:
    first, units = part
    return first * UNIT, reply.read_exactly(max(0, min((first + units) * UNIT, size) - first * UNIT))


def _expect(reply: Reader, field: bytes) -> None:
    """The next field has to be this one: else the bytes before it were not as many as announced."""
    try:
        in_place = reply.read_until(b"\0", len(field)) == field
    except ProtocolError:
        in_place = False
    if not in_place:
        raise Desynchronized("a file changed its size while it was read")
