"""Uploads in parts that did not come to their end, noted on this machine so that a later run can go on with them.

One file for each, whose name is a digest of what is uploaded where, and beside it a file that is locked for as long
as a process works on it. The lock file has no content, and its lock dies with its process.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from thoth.durable import write_durably
from thoth.errors import StoreUnavailable
from thoth.store import walk

_NOTE: Final = ".json"
_LOCK: Final = ".lock"
_LARGEST: Final = 64 << 10  # bytes of a note


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An upload in parts. ``begun`` is when it was begun, or last gone on with, in seconds since 1970."""

    url: str
    name: str
    size: int
    directory: str  # where the service keeps the parts
    part_size: int  # bytes of each part but the last
    begun: float


class Claim:
    """The right to work on one upload, for one process at a time. ``found`` is what an earlier one has left."""

    def __init__(self, registry: Path, key: str, fd: int) -> None:
        self._note = registry / f"{key}{_NOTE}"
        self._lock = registry / f"{key}{_LOCK}"
        self._fd = fd
        self.found = _read(self._note)

    def record(self, upload: Unfinished) -> None:
        """Note an upload, in place of what was found. Raises StoreUnavailable."""
        with _noting(self._note.parent):
            write_durably(self._note, json.dumps(asdict(upload)).encode())

    def forget(self) -> None:
        """There is nothing to go on with. Ends the claim."""
        with _noting(self._note.parent), suppress(FileNotFoundError):
            self._note.unlink()
        self.release()

    def release(self) -> None:
        """Leave it to others. Safe to repeat."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            if not self._note.exists():
                self._unlock()  # nothing was begun
            os.close(fd)

    def _unlock(self) -> None:
        with suppress(OSError):  # an empty file that stays behind harms nobody
            self._lock.unlink()


class Registry:
    """The notes in ``directory``, which is made when it is not there and which nobody else may write to."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def claim(self, url: str, name: str, size: int) -> Claim | None:
        """The claim on the upload of this object; None when another process, or thread, works on one."""
        with _noting(self._directory):
            walk.make_root(self._directory)
            os.close(walk.open_root(self._directory))
        # Numbers and names have no line's end in the URL, so no two uploads share a key.
        key = hashlib.sha256(f"{url}\n{size}\n{name}".encode("utf-8", "surrogateescape")).hexdigest()
        return self._claimed(key)

    def abandoned(self, url: str, before: float) -> Iterator[Claim]:
        """Claims on all uploads there that nobody has worked on since this time, in seconds since 1970."""
        with _noting(self._directory):
            notes = sorted(self._directory.glob(f"*{_NOTE}")) if self._directory.is_dir() else []
        for note in notes:
            claim = self._claimed(note.stem) if _is_old(_read(note), url, before) else None
            if claim is None:
                continue
            try:
                if _is_old(claim.found, url, before):  # still: or somebody was faster
                    yield claim
            finally:
                claim.release()

    def is_claimed(self, url: str, directory: str) -> bool:
        """Whether a process works on the upload whose parts the service keeps there."""
        with _noting(self._directory):
            notes = list(self._directory.glob(f"*{_NOTE}")) if self._directory.is_dir() else []
        for note in notes:
            upload = _read(note)
            if upload is not None and (upload.url, upload.directory) == (url, directory):
                claim = self._claimed(note.stem)
                if claim is None:
                    return True
                claim.release()
        return False

    def _claimed(self, key: str) -> Claim | None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC  # over NFS a lock needs a writer
        while True:
            with _noting(self._directory):
                fd = os.open(self._directory / f"{key}{_LOCK}", flags, 0o600)
                if not _is_locked(fd):
                    return None
                if os.fstat(fd).st_nlink:
                    return Claim(self._directory, key, fd)
                os.close(fd)  # who had it removed it between our open and our lock


def _is_locked(fd: int) -> bool:
    """Whether we have the lock. A file that is not locked is closed."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return False
    return True


def _is_old(upload: Unfinished | None, url: str, before: float) -> bool:
    return upload is not None and upload.url == url and upload.begun < before


def _read(note: Path) -> Unfinished | None:
    """What a file notes; None for a file that is not there or is no note: then there is nothing to go on with."""
    try:
        with note.open("rb") as file:
            told = json.loads(file.read(_LARGEST))
        upload = Unfinished(**told)
        types = [type(getattr(upload, field)) for field in Unfinished.__slots__]
    except (OSError, ValueError, TypeError):
        return None
    return upload if types == [str, str, int, str, int, float] and upload.part_size > 0 else None


@contextmanager
def _noting(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        fault = f"{directory}: unfinished uploads cannot be noted there: {error.strerror}"
        raise StoreUnavailable(f"{fault}; make it writable, or name another in XDG_STATE_HOME") from error
