"""Files that are there whole after a crash, or as they were before.

A file is first a draft: it has a name that nobody can guess and mode 0600, is made with O_EXCL, and is locked
for as long as its process lives. A rename gives it its real name once its bytes are on the disk. What a
killed process leaves behind is a draft without a lock, which ``sweep`` removes. A large file's draft may have a
key in its name: ``sweep`` spares it, and ``take_up`` finds it, for who is going to write the same file again.

Everything here raises OSError; who calls knows what the file is for and says so.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

HOLE: Final = 64 << 10  # bytes of zeros that become a hole
_ZEROS = bytes(HOLE)
# What file systems without hard links say, such as FAT, exFAT and some that programs make.
_NO_LINKS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
_DRAFT = re.compile(r"\.thoth-(?:([0-9a-f]{32})-)?[0-9a-f]{32}\.draft")


class Draft:
    """A file on its way in the directory that is open as ``directory``. ``discard`` leaves no trace of it.

    ``key``, 32 lower-case hex digits or none, is what ``take_up`` finds it by. ``taken`` is for ``take_up``: the
    name and the locked descriptor of one that is there.
    """

    __slots__ = ("_directory", "_ends_in_hole", "_fd", "_name", "key")

    def __init__(self, directory: int, key: str = "", *, taken: tuple[str, int] | None = None) -> None:
        self.key = key
        self._name, self._fd = taken or ("", -1)
        self._directory = -1
        self._ends_in_hole = False
        try:
            self._directory = os.dup(directory)
            found = self._create() if taken is None else os.fstat(self._fd)
            if stat.S_IMODE(found.st_mode) != 0o600:  # the umask may have taken bits away
                os.fchmod(self._fd, 0o600)
        except BaseException:
            if taken is None:
                self.discard()
            else:
                self.keep()
            raise

    def _create(self) -> os.stat_result:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        prefix = f".thoth-{self.key}-" if self.key else ".thoth-"
        while True:
            self._name = f"{prefix}{os.urandom(16).hex()}.draft"
            self._fd = os.open(self._name, flags, 0o600, dir_fd=self._directory)
            if _locked(self._fd) and (found := os.fstat(self._fd)).st_nlink:
                return found
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
        for at in range(0, len(data), HOLE):
            if data.startswith(_ZEROS, at):
                self.write(view[start:at])
                os.lseek(self._fd, HOLE, os.SEEK_CUR)
                self._ends_in_hole = True
                start = at + HOLE
        self.write(view[start:])

    def end(self) -> None:
        """Make a hole at the end part of the file."""
        if self._ends_in_hole:
            os.ftruncate(self._fd, os.lseek(self._fd, 0, os.SEEK_CUR))

    def cut(self, size: int) -> None:
        """Leave ``size`` bytes of it, to be written on from there."""
        os.ftruncate(self._fd, size)
        os.lseek(self._fd, size, os.SEEK_SET)
        self._ends_in_hole = False

    def write(self, data: bytes | memoryview) -> None:
        """Append all of ``data``."""
        if not data:
            return
        self._ends_in_hole = False
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

    def publish_new(self, directory: int, name: str) -> None:
        """As ``publish``, unless something has that name: then it raises FileExistsError."""
        try:
            os.link(self._name, name, src_dir_fd=self._directory, dst_dir_fd=directory)
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # An empty file holds the name until the rename: who comes in between does not get it.
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory))
            self.publish(directory, name)
            return
        self.unname()

    def unname(self) -> None:
        """Take its name away: it is gone once nobody has it open, whoever is killed."""
        name, self._name = self._name, ""
        os.unlink(name, dir_fd=self._directory)

    def supersede(self) -> None:
        """Remove what dead processes have left under the same key: this one is whole."""
        if self.key:
            sweep(self._directory, lambda left: left.key == self.key)

    def discard(self) -> None:
        """Remove the draft, unless it is published, and close it. Safe to repeat."""
        name, self._name = self._name, ""
        try:
            if name:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=self._directory)
        finally:
            self.keep()

    def keep(self) -> None:
        """Close the draft and leave it to whom takes it up, or sweeps it. Safe to repeat."""
        self._name = ""
        fd, self._fd = self._fd, -1
        directory, self._directory = self._directory, -1
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


@dataclass(frozen=True, slots=True)
class Left:
    """A draft that lies in a directory. Whether its process is dead only its lock tells."""

    name: str
    key: str  # "" without
    size: int  # bytes, holes among them
    room: int  # bytes that it takes on the disk
    mtime_ns: int  # since 1970


def drafts(directory: int) -> list[Left]:
    """The drafts in an open directory, of the living and the dead, in no order."""
    found = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if named := _DRAFT.fullmatch(entry.name):
                with contextlib.suppress(FileNotFoundError):  # published or swept meanwhile
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        found.append(Left(entry.name, named[1] or "", *_measures(status)))
    return found


def _measures(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_blocks * 512, status.st_mtime_ns


def take_up(directory: int, key: str) -> Draft | None:
    """The longest draft that a dead process has left under ``key``, with all that is in it; or None.

    Nothing is known of its bytes: they are to be held against those that belong there.
    """
    candidates = [left for left in drafts(directory) if left.key == key]
    for left in sorted(candidates, key=lambda each: each.size, reverse=True):
        fd = _hold(directory, left.name)
        if fd >= 0:
            if _is_ours(os.fstat(fd)):
                return Draft(directory, key, taken=(left.name, fd))
            os.close(fd)
    return None


def sweep(directory: int, chosen: Callable[[Left], bool] = lambda left: not left.key) -> int:
    """Remove the drafts of dead processes that are ``chosen``: if not told, those without a key.

    Returns how many there were.
    """
    return sum(remove(directory, left.name) for left in drafts(directory) if chosen(left))


def remove(directory: int, name: str) -> bool:
    """Remove a draft if its process is dead. Returns whether it was; what has no draft's name never is."""
    fd = _hold(directory, name) if _DRAFT.fullmatch(name) else -1
    if fd < 0:
        return False
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return False
    finally:
        os.close(fd)
    return True


def is_dead(directory: int, name: str) -> bool:
    """Whether a draft is one whose process is dead."""
    fd = _hold(directory, name)
    if fd >= 0:
        os.close(fd)
    return fd >= 0


def _hold(directory: int, name: str) -> int:
    """Lock a draft whose process is dead; its descriptor, or -1 for anything else."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # over NFS a lock needs a writer
    try:
        fd = os.open(name, flags, dir_fd=directory)
    except OSError:
        return -1  # published or swept meanwhile, or not a file of ours: a link, another user's
    held = False
    try:
        # Its process may have published it between the open and the lock: then it is a draft no more.
        held = stat.S_ISREG(os.fstat(fd).st_mode) and _locked(fd) and _is_named(fd, directory, name)
    finally:
        if not held:
            os.close(fd)
    return fd if held else -1


def _is_named(fd: int, directory: int, name: str) -> bool:
    try:
        named = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(fd), named)


def _is_ours(found: os.stat_result) -> bool:
    """Whether a draft is one of ours that can be reached by no other name, and has something in it.

    An empty one may be a draft that is being made, whose process had no time yet to lock it.
    """
    return found.st_uid == os.geteuid() and found.st_nlink == 1 and found.st_size > 0


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
