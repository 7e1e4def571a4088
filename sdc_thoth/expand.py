"""What a node has compressed, as it was. The only module that knows zstandard, which need not be installed.

A stream ends itself: what follows it belongs to the reply. Never more is expanded than was announced, nor more held
in memory at a time than a small piece of what comes can expand to.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Final, Protocol

from sdc_thoth.errors import Desynchronized
from thoth import SourceError

BLOCK: Final = 1 << 20  # bytes of a block when a dump is streamed
_GZIP: Final = 31  # window bits of zlib for gzip's format, with its CRC
_WINDOW: Final = 8 << 20  # bytes; zstd -1 uses half a MiB
_SIP: Final = 2 << 10  # bytes of zstd: 512 of its smallest blocks, which become 64 MiB at most


class Damaged(SourceError):
    """What came cannot be expanded."""


class Reply(Protocol):
    """A channel, as far as it is used here."""

    def recv(self) -> bytes: ...
    def unread(self, data: bytes) -> None: ...


class _Expander(Protocol):
    rest: bytes | None  # what follows the end of the stream; None: it has not ended

    def pieces(self, data: bytes) -> Iterator[bytes]: ...


def programs(wish: str) -> tuple[str, ...]:
    """The programs that may compress, the best one first; ``wish``: auto, gzip, zstd or none."""
    if wish == "none":
        return ()
    known = ("gzip",) if lacking("zstd") else ("zstd", "gzip")
    return known if wish == "auto" else (wish,)


def lacking(wish: str) -> str | None:
    """What there has to be here before dumps can come in that way; None: nothing."""
    if wish != "zstd" or find_spec("zstandard"):
        return None
    return "needs Python's zstandard (pip install 'manta-thoth[zstd]', pkgsrc's py311-zstandard); or say auto or gzip"


def expanded(reply: Reply, length: int, program: str, came: Callable[[int], None]) -> Iterator[bytes]:
    """The ``length`` bytes that come compressed, in blocks of BLOCK, the last one shorter.

    ``came`` is told how many bytes have come. Raises Desynchronized when it is another number of bytes, Damaged when
    they cannot be expanded, and what ``reply`` raises.
    """
    block = bytearray()
    left = length
    for piece in _pieces(reply, program, came):
        left -= len(piece)
        if left < 0:
            raise Desynchronized("more bytes came than were announced")
        block += piece
        while len(block) >= BLOCK:
            yield bytes(block[:BLOCK])
            del block[:BLOCK]
    if left:
        raise Desynchronized(f"{left} bytes fewer came than were announced")
    if block:
        yield bytes(block)


def _pieces(reply: Reply, program: str, came: Callable[[int], None]) -> Iterator[bytes]:
    expander: _Expander = _Zstd() if program == "zstd" else _Gzip()
    while expander.rest is None:
        data = reply.recv()
        if not data:
            raise Desynchronized("the compressed bytes end early")
        came(len(data))
        yield from expander.pieces(data)
    reply.unread(expander.rest)


class _Gzip:
    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=_GZIP)
        self.rest: bytes | None = None

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while True:
            try:
                piece = self._inflate.decompress(data, BLOCK)
            except zlib.error as error:
                raise Damaged(f"what gzip on the node gave cannot be expanded: {error}") from error
            data = self._inflate.unconsumed_tail
            if piece:
                yield piece
            if self._inflate.eof:
                self.rest = self._inflate.unused_data
                return
            if not data and len(piece) < BLOCK:
                return


class _Zstd:
    def __init__(self) -> None:
        import zstandard  # noqa: PLC0415 - it is an extra, and only large dumps need it

        self._error = zstandard.ZstdError
        self._inflate = zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()
        self.rest: bytes | None = None

    def pieces(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _SIP):
            end = start + _SIP
            try:
                piece = self._inflate.decompress(data[start:end])
            except self._error as error:
                raise Damaged(f"what zstd on the node gave cannot be expanded: {error}") from error
            if piece:
                yield piece
            if self._inflate.eof:
                self.rest = self._inflate.unused_data + data[end:]
                return
