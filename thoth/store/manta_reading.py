"""Reading an object of Manta's: single ranges when it is looked about in, one stream when it is read through.

All requests carry the etag that the object had when it was opened, so no two contents mix; one that was replaced
or deleted meanwhile cannot be read any more. Who reads all of it, in order, has it held against the object's MD5.
"""

from __future__ import annotations

import hashlib
import threading
from types import TracebackType
from typing import Final, Self

from thoth.errors import CorruptTransfer, NoSuchObject, PreconditionFailed, StoreError, StoreTransient
from thoth.store.manta_service import Manta, MantaDownload, length_of, md5_in_base64, target

_WINDOW: Final = 64 << 10  # bytes got at once by who looks about
_WHOLE: Final = 1 << 20  # bytes of an object that is got whole by its first read
_TRIES: Final = 3  # connections in a row that may break without giving a byte


class MantaObject:
    """An object open for reading. Several threads may use it, one after the other."""

    def __init__(self, manta: Manta, name: str) -> None:
        found = manta.head(name)
        self._manta = manta
        self._name = name
        self._size = length_of(found.headers, name)
        self._etag = found.headers["Etag"]
        self._md5 = found.headers.get("Content-MD5", "")
        self._closed = False
        self._window = b""  # what was got last, and where it lies
        self._start = 0
        self._stream: MantaDownload | None = None
        self._at = 0  # where the stream is
        self._digest = hashlib.md5(usedforsecurity=False)
        self._digested = 0  # bytes from the start on
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        return self._size

    @property
    def etag(self) -> str:
        return self._etag

    def read_at(self, offset: int, length: int) -> bytes:
        if self._closed:
            raise StoreError(f"{self._name}: read after it was closed")
        length = max(0, min(length, self._size - offset))
        if not length:
            return b""
        with self._lock:
            data = self._read(offset, length)
            self._check(offset, data)
        return data

    def _read(self, offset: int, length: int) -> bytes:
        end = self._start + len(self._window)
        if self._start <= offset and offset + length <= end:
            return self._window[offset - self._start :][:length]
        if self._stream is not None and offset == self._at:
            return self._streamed(offset, length)
        if self._window and self._start <= offset <= end:  # where the last read ended: it is being read through
            head = self._window[offset - self._start :]
            return head + self._streamed(end, length - len(head))
        self._start, self._window = offset, self._range(offset, max(length, self._reach(offset)))
        return self._window[:length]

    def _reach(self, offset: int) -> int:
        return _WHOLE if offset == 0 and self._size <= _WHOLE else _WINDOW

    def _range(self, offset: int, length: int) -> bytes:
        end = min(offset + length, self._size)
        return self._got(offset, end - offset, end)

    def _streamed(self, offset: int, length: int) -> bytes:
        self._window = b""
        return self._got(offset, length, self._size) if length else b""

    def _got(self, offset: int, length: int, end: int) -> bytes:
        """Bytes of the answer that goes to ``end``; when it breaks another one goes on from there."""
        pieces: list[bytes] = []
        have = failed = 0
        while have < length:
            try:
                piece = self._piece(offset + have, length - have, end)
            except StoreTransient as error:
                self._leave()
                failed += 1
                if failed >= _TRIES or error.retry_after is not None:  # who asks for a pause gets it, from the caller
                    raise
                continue
            failed = 0
            have += len(piece)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _piece(self, offset: int, length: int, end: int) -> bytes:
        if self._stream is None or self._at != offset:
            self._leave()
            self._stream, self._at = self._asked(offset, end), offset
        piece = self._stream.read(length)
        if not piece:
            raise StoreTransient(f"{self._name}: the connection broke after {offset} of {self._size} bytes")
        self._at += len(piece)
        if self._at >= end:
            self._leave()
        return piece

    def _asked(self, offset: int, end: int) -> MantaDownload:
        part = (offset, end) != (0, self._size)
        wanted = {"If-Match": self._etag} | ({"Range": f"bytes={offset}-{end - 1}"} if part else {})
        try:
            found = self._manta.open(target(self._name), self._name, 206 if part else 200, headers=wanted)
        except PreconditionFailed as error:
            raise PreconditionFailed(f"{self._name}: was replaced while it was read; open it again") from error
        except NoSuchObject as error:
            raise NoSuchObject(f"{self._name}: was deleted while it was read") from error
        place = f"bytes {offset}-{end - 1}/{self._size}" if part else None
        told = found.headers
        given = told.get("Content-Length"), told.get("Etag"), told.get("Content-Range")
        if given != (str(end - offset), self._etag, place):
            found.close()
            raise StoreTransient(f"{self._name}: Manta gave other bytes than it was asked for")
        return found

    def _leave(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _check(self, offset: int, data: bytes) -> None:
        """Digest what is read in order, and at its end compare."""
        if offset != self._digested:
            return
        self._digest.update(data)
        self._digested += len(data)
        if self._digested == self._size and self._md5 and md5_in_base64(self._digest.hexdigest()) != self._md5:
            raise CorruptTransfer(
                f"{self._name}: what came is not what its MD5 in Manta says; read it again, or scrub"
            )

    def close(self) -> None:
        self._closed = True
        with self._lock:
            self._leave()
            self._window = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
