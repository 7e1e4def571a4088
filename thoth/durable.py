"""Files that are there whole after a crash, or as they were before.

A file is first a draft: it has a name that nobody can guess and mode 0600, is made with O_EXCL, and is locked
for as long as its process lives. A rename gives it its real name once its bytes are on the disk. What a
killed process leaves behind is a draft without a lock, which ``sweep`` removes.

Everything here raises OSError; who calls knows what the file is for and says so.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import stat
from pathlib import Path
from types import TracebackType
from typing import Self

_HOLE = 64 << 10  # bytes of zeros that become a hole
_ZEROS = bytes(_HOLE)
_DRAFT = re.compile(r"\.thoth-[0-9a-f]{32}\.draft")


class Draft:
    """A file on its way in the directory that is open as ``directory``. ``discard`` leaves no trace of it."""

    __slots__ = ("_directory", "_fd", "_name")

    def __init__(self, directory: int) -> None:
        self._directory = os.dup(directory)
        self._name = ""
        self._fd = -1
        try:
            self._create()
        except BaseException:
            self.discard()
            raise

    def _create(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        while True:
            self._name = f".thoth-{secrets.token_hex(16)}.draft"
            self._fd = os.open(self._name, flags, 0o600, dir_fd=self._directory)
            os.fchmod(self._fd, 0o600)  # the umask may have taken bits away
            if _locked(self._fd) and os.fstat(self._fd).st_nlink:
                return
            # A sweep came between the open and the lock and took the file for a dead one's.
            fd, self._fd = self._fd, -1
            os.close(fd)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._name, dir_fd=self._directory)

    def fileno(self) -> int:
        return self._fd

    def write_sparse(self, data: bytes) -> None:
        """Append all of ``data``, but leave holes where it has nothing but zeros: they read as zeros all the same.

        To be followed by ``end``, when all is written.
        """
        view, start = memoryview(data), 0
        for at in range(0, len(data), _HOLE):
            if data.startswith(_ZEROS, at):
                self.write(view[start:at])
                os.lseek(self._fd, _HOLE, os.SEEK_CUR)
                start = at + _HOLE
        self.write(view[start:])

    def end(self) -> None:
        """Make a hole at the end part of the file."""
        size = os.lseek(self._fd, 0, os.SEEK_CUR)
        if os.fstat(self._fd).st_size < size:
            os.ftruncate(self._fd, size)

    def write(self, data: bytes | memoryview) -> None:
        """Append all of ``data``."""
        if not data:
            return
        written = os.write(self._fd, data)
        if written < len(data):  # one call takes at most 2 GiB, or what still fits
            rest = memoryview(data)[written:]
            while rest:
                rest = rest[os.write(self._fd, rest) :]

    def sync(self) -> None:
        """Return when the bytes are on the disk."""
        os.fsync(self._fd)

    def publish(self, directory: int, name: str) -> None:
        """Take the name, in place of an older file's. It is durable once ``directory`` has been synced."""
        os.rename(self._name, name, src_dir_fd=self._directory, dst_dir_fd=directory)
        self._name = ""

    def discard(self) -> None:
        """Remove the draft, unless it is published, and close it. Safe to repeat."""
        name, self._name = self._name, ""
        fd, self._fd = self._fd, -1
        directory, self._directory = self._directory, -1
        try:
            if name:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=directory)
        finally:
            for each in (fd, directory):
                if each >= 0:
                    os.close(each)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()


def write_durably(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Put ``data`` into the file ``path`` with that mode, durably and at once; its directory must exist.

    A link by that name is replaced, not followed. Raises OSError, and then the file is as it was.
    """
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sweep(directory)
        with Draft(directory) as draft:
            draft.write(data)
            if mode != 0o600:
                os.fchmod(draft.fileno(), mode)
            draft.sync()  # before the rename: or a power cut could leave the new name on an empty file
            draft.publish(directory, path.name)
        os.fsync(directory)  # the rename itself
    finally:
        os.close(directory)


def sweep(directory: int) -> int:
    """Remove the drafts of dead processes from an open directory. Returns how many there were."""
    with os.scandir(directory) as entries:
        drafts = [entry.name for entry in entries if _DRAFT.fullmatch(entry.name)]
    return sum(_removed(directory, name) for name in drafts)


def _removed(directory: int, name: str) -> bool:
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # over NFS a lock needs a writer
    try:
        fd = os.open(name, flags, dir_fd=directory)
    except OSError:
        return False  # published or swept meanwhile, or not a file of ours: a link, another user's
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode) or not _locked(fd):
            return False
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return False
    finally:
        os.close(fd)
    return True


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
