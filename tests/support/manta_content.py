"""The bytes of objects, in files: received with their MD5 on the way, and kept as long as an entry names them."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tests.support.manta_wire import Body

_BUFFER = 1 << 20
_INLINE = 1 << 18  # bytes that are hashed sooner than a thread for it starts
EMPTY_MD5 = "1B2M2Y8AsgTpgAmY7PhCfg=="


@dataclass(frozen=True, slots=True)
class Piece:
    """A file of the content, by its name in the store's folder."""

    file: str
    size: int


@dataclass(frozen=True, slots=True)
class Content:
    """What an object holds: the pieces one after the other. ``md5`` is base64, as in the headers."""

    id: str
    size: int
    md5: str
    pieces: tuple[Piece, ...]


class TooLong(Exception):
    """More bytes came than were promised."""


def new_id() -> str:
    return str(uuid.uuid4())


def empty() -> Content:
    return Content(new_id(), 0, EMPTY_MD5, ())


def receive(body: Body, folder: Path, most: int) -> Content:
    """Writes a body to a new file. Raises TooLong, and what Body raises; then no file is left."""
    name = new_id()
    path = folder / name
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        md5 = _pour(body, file, most)
    except BaseException:
        path.unlink()
        raise
    finally:
        os.close(file)
    return Content(name, body.read, md5, (Piece(name, body.read),))


def _pour(body: Body, file: int, most: int) -> str:
    # Two buffers: while one is hashed by its thread the other is filled and written. The hash is what takes longest.
    size = min(_BUFFER, body.length or _BUFFER)
    buffers = [memoryview(bytearray(size)) for _ in range(2 if size > _INLINE else 1)]
    md5 = hashlib.md5(usedforsecurity=False)
    with _hashing(md5, beside=len(buffers) > 1) as feed:
        turn = 0
        while count := body.read_into(buffers[turn % len(buffers)]):
            if body.read > most:
                raise TooLong
            block = buffers[turn % len(buffers)][:count]
            feed(block)
            _write(file, block)
            turn += 1
    return base64.b64encode(md5.digest()).decode()


def _write(file: int, block: memoryview) -> None:
    while block:
        block = block[os.write(file, block) :]


@contextmanager
def _hashing(md5: Any, *, beside: bool) -> Iterator[Any]:
    """A function that takes the next block. With ``beside``, a thread hashes it, and the block before is done."""
    if not beside:
        yield md5.update
        return
    blocks: SimpleQueue[memoryview | None] = SimpleQueue()
    free = threading.Semaphore(1)

    def work() -> None:
        while (block := blocks.get()) is not None:
            md5.update(block)
            free.release()

    def feed(block: memoryview) -> None:
        free.acquire()
        blocks.put(block)

    thread = threading.Thread(target=work, name="manta md5")
    thread.start()
    try:
        yield feed
    finally:
        blocks.put(None)
        thread.join()


def joined(contents: Iterable[Content], folder: Path) -> Content:
    """One content out of several, without a copy; its MD5 is of all bytes."""
    pieces = tuple(piece for content in contents for piece in content.pieces)
    size = sum(piece.size for piece in pieces)
    return Content(new_id(), size, md5_of(pieces, folder), pieces)


def cut(content: Content, keep: int, folder: Path) -> Content:
    """The first bytes of a content that has one piece; the file is shortened."""
    size = min(keep, content.size)
    os.truncate(folder / content.pieces[0].file, size)
    pieces = (Piece(content.pieces[0].file, size),)
    return Content(content.id, size, md5_of(pieces, folder), pieces)


def of_bytes(data: bytes, folder: Path) -> Content:
    """A new content, from memory."""
    name = new_id()
    (folder / name).write_bytes(data)
    digest = hashlib.md5(data, usedforsecurity=False).digest()
    return Content(name, len(data), base64.b64encode(digest).decode(), (Piece(name, len(data)),))


def md5_of(pieces: Iterable[Piece], folder: Path) -> str:
    """Base64."""
    md5 = hashlib.md5(usedforsecurity=False)
    buffer = memoryview(bytearray(_BUFFER))
    for piece in pieces:
        with (folder / piece.file).open("rb", buffering=0) as file:
            left = piece.size
            while left and (count := file.readinto(buffer[:left])):
                md5.update(buffer[:count])
                left -= count
    return base64.b64encode(md5.digest()).decode()
