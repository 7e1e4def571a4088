"""The embedded store: Manta's layout in a directory. ``/alice/stor/x`` is ROOT/alice/stor/x.

Beside the users' directories ROOT holds ``.uploads``, where every object is written before it is renamed to
its place, and ``.lock``, an flock under which names change hands. Nothing is held open between calls.

An etag is made of the object's inode, mtime and size. An object never changes in place, so its etag stays
true for as long as it is there. But inodes are used again, clocks jump and kernels round times: so we set a
new object's mtime, to the nanosecond, and always behind that of the object whose place it takes. A digest
would do for small objects, but would make ``stat`` read whole dumps.

What is synced, and why. One dump and its document cost five:
- each file before its rename: or a power cut could leave the name on a file without its bytes (2);
- the directory that got the name, after it: ``commit`` and ``put`` promise that the name stays (2);
- the directory in which the dump's own was made (1).
Not synced: ``.uploads``, where what a power cut brings back is a draft to sweep; and directories that were
there before, which are synced by who makes them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from thoth.durable import Draft, sweep
from thoth.errors import (
    CorruptTransfer,
    NoRoom,
    NoSuchObject,
    PreconditionFailed,
    StoreError,
    StoreUnavailable,
)
from thoth.store import walk
from thoth.store.base import ABSENT, MAX_SMALL, Digests, Entry, ObjectStat
from thoth.store.names import parts

_UPLOADS: Final = ".uploads"
_LOCK: Final = ".lock"
_WINDOW: Final = 8 << 20  # bytes of an upload that may wait in memory before the disk is set to work
_LATER: Final = (1, 10**3, 10**6, 10**9, 10**10)  # ns: the first that the file system's clock can tell from 0

_REFUSALS: Final = {
    errno.ENOSPC: "no space or no inode is left; free some",
    errno.EDQUOT: "the quota is used up; free some space or have it raised",
    errno.EROFS: "it is mounted read-only; remount it",
    errno.EACCES: "access denied; check who owns what is in it",
    errno.EPERM: "operation not permitted; check who owns what is in it, and its flags",
    errno.EIO: "I/O error; check the disk",
    errno.ESTALE: "the file server has forgotten it; mount it again",
    errno.ENOLCK: "its file system has no locks; choose another",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n)",
    errno.ENFILE: "too many open files on this machine",
}


class DirectoryStore:
    """A store in the directory ``root``, which nobody else may write to. Files are 0600, directories 0700.

    With ``create`` a root that is not there is an empty store, and the first write makes it. Without, every
    call raises StoreUnavailable then: a file system that is not mounted must not pass for an empty store.
    ``now_ns`` is the clock of new objects, in ns since 1970.
    """

    def __init__(self, root: Path, *, create: bool = False, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._root = root
        self._create = create
        self._now_ns = now_ns
        self._swept = False

    def stat(self, name: str) -> ObjectStat:
        with self._parent(name) as (directory, last):
            found = walk.look(directory, last)
            if found is None or stat.S_ISDIR(found.st_mode):
                raise NoSuchObject(f"{name}: no such object")
            return _object_stat(found)

    def get(self, name: str) -> tuple[bytes, str]:
        with self.open(name) as found:
            if found.size > MAX_SMALL:
                raise StoreError(f"{name}: too large to be read whole ({found.size} bytes)")
            return found.read_at(0, found.size), found.etag

    def open(self, name: str) -> OpenObject:
        with self._parent(name) as (directory, last):
            return OpenObject(self._root, name, walk.open_file(directory, last))

    def list(self, name: str) -> Iterator[Entry]:
        place = parts(name)
        try:
            with (
                _reading(self._root, name),
                self._opened() as root,
                walk.directory(root, place) as directory,
            ):
                yield from _entries(directory)
        except NoSuchObject:
            return

    def put(self, name: str, data: bytes, *, if_match: str | None = None) -> str:
        parts(name)
        if len(data) > MAX_SMALL:
            raise StoreError(f"{name}: too large to be written at once ({len(data)} bytes)")
        with _writing(self._root, name), self._draft(name, 0) as draft:
            draft.write(data)
            return self._publish(name, draft, if_match).etag

    def begin(self, name: str, size: int | None, *, if_match: str | None = None) -> DirectoryUpload:
        parts(name)
        with _writing(self._root, name):
            draft = self._draft(name, size or 0)
        return DirectoryUpload(self._root, name, draft, lambda whole: self._publish(name, whole, if_match))

    def delete(self, name: str) -> None:
        with self._parent(name, locked=True) as (directory, last):
            found = walk.look(directory, last)
            if found is None:
                raise NoSuchObject(f"{name}: no such object")
            if stat.S_ISDIR(found.st_mode):
                _remove_directory(name, directory, last)
            else:
                os.unlink(last, dir_fd=directory)
            os.fsync(directory)

    def close(self) -> None:
        """There is nothing to close."""

    @contextmanager
    def _opened(self, *, write: bool = False) -> Iterator[int]:
        """The root. Raises FileNotFoundError only for a store that may be empty."""
        try:
            fd = walk.open_root(self._root)
        except FileNotFoundError as error:
            if not self._create:
                raise StoreUnavailable(
                    f"store {self._root}: no such directory; make it: mkdir -m 700 {self._root}"
                ) from error
            if not write:
                raise
            walk.make_root(self._root)
            fd = walk.open_root(self._root)
        try:
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def _parent(self, name: str, *, locked: bool = False) -> Iterator[tuple[int, str]]:
        """The open directory of an object that should be there, and the object's name in it."""
        *above, last = parts(name)
        with _reading(self._root, name), self._opened() as root, ExitStack() as held:
            if locked:
                held.enter_context(_lock(root))
            yield held.enter_context(walk.directory(root, above)), last

    def _draft(self, name: str, size: int) -> Draft:
        with self._opened(write=True) as root, ExitStack() as opened:
            if not (self._swept and _has_room(root, size)):
                _sweep(root)  # what a dead process has left may be what takes the room
                self._swept = True
            _check_room(self._root, root, name, size)
            uploads, _ = walk.make_directories(root, (_UPLOADS,), opened)
            return Draft(uploads)

    def _publish(self, name: str, draft: Draft, if_match: str | None = None) -> ObjectStat:
        *above, last = parts(name)
        now = self._now_ns()
        draft.end()
        os.utime(draft.fileno(), ns=(now, now))
        draft.sync()
        with self._opened(write=True) as root, ExitStack() as opened:
            with _lock(root):  # all that is slow lies outside
                directory, changed = _destination(root, name, above, if_match, opened)
                found = walk.look(directory, last)
                _require(name, found, if_match)
                written = _dated_after(found, draft.fileno())
                draft.publish(directory, last)
            for each in (directory, *changed):
                os.fsync(each)
        return _object_stat(written)


class DirectoryUpload:
    """An upload into a DirectoryStore. After an error there is nothing left of it."""

    def __init__(self, root: Path, name: str, draft: Draft, publish: Callable[[Draft], ObjectStat]) -> None:
        self._root = root
        self._name = name
        self._draft: Draft | None = draft
        self._publish = publish
        self._size = 0
        self._nudged = 0  # the disk has been set to work up to here

    def part(self, data: bytes) -> None:
        with self._going_on() as draft:
            draft.write_sparse(data)
            self._size += len(data)
            if self._size - self._nudged >= _WINDOW:
                self._nudge(draft)

    def _nudge(self, draft: Draft) -> None:
        # DONTNEED makes the kernel begin to write what is new, without waiting for it, and drop what is
        # written already: commit has little left to wait for, and a large dump does not flood the page cache.
        start = max(0, self._nudged - _WINDOW)
        os.posix_fadvise(draft.fileno(), start, self._size - start, os.POSIX_FADV_DONTNEED)
        self._nudged = self._size

    def commit(self, digests: Digests) -> ObjectStat:
        with self._going_on() as draft:
            if self._size != digests.size:
                raise CorruptTransfer(
                    f"{self._name}: {self._size} bytes came where {digests.size} were read; upload it again"
                )
            stored = self._publish(draft)
        self.abort()
        return stored

    def abort(self) -> None:
        draft, self._draft = self._draft, None
        if draft is not None:
            draft.discard()

    @contextmanager
    def _going_on(self) -> Iterator[Draft]:
        if self._draft is None:
            raise StoreError(f"{self._name}: this upload is over; begin another")
        try:
            with _writing(self._root, self._name, full=NoRoom):
                yield self._draft
        except BaseException:
            self.abort()
            raise


class OpenObject:
    """An object open for reading: it stays what it was, whatever takes its name."""

    def __init__(self, root: Path, name: str, fd: int) -> None:
        self._root = root
        self._name = name
        self._fd = fd
        self._stat = _object_stat(os.fstat(fd))

    @property
    def size(self) -> int:
        return self._stat.size

    @property
    def etag(self) -> str:
        return self._stat.etag

    def read_at(self, offset: int, length: int) -> bytes:
        if self._fd < 0:
            raise StoreError(f"{self._name}: read after it was closed")
        wanted = max(0, min(length, self.size - offset))  # what is asked for may be more than memory holds
        with _reading(self._root, self._name):
            data = os.pread(self._fd, wanted, min(offset, self.size))
            while data and len(data) < wanted:  # one call gives at most 2 GiB
                more = os.pread(self._fd, wanted - len(data), offset + len(data))
                if not more:
                    break
                data += more
        return data

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _object_stat(found: os.stat_result) -> ObjectStat:
    return ObjectStat(found.st_size, f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}")


def _entries(directory: int) -> Iterator[Entry]:
    with os.scandir(directory) as found:
        names = sorted(entry.name for entry in found if not entry.name.startswith("."))
    for name in names:
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            continue  # deleted since
        # A link or device is shown as an object: who opens it is told what it is.
        below = stat.S_ISDIR(status.st_mode)
        yield Entry(name, below, 0 if below else status.st_size, status.st_mtime)


@contextmanager
def _lock(root: int) -> Iterator[None]:
    # Opened each time: threads exclude each other then, and a fork shares nothing.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(_LOCK, flags, 0o600, dir_fd=root)
    except OSError:
        walk.look(root, _LOCK)  # tells a link
        raise
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _destination(
    root: int, name: str, above: list[str], if_match: str | None, opened: ExitStack
) -> tuple[int, list[int]]:
    """The directory that an object goes into, and those that got a new entry for it."""
    if not if_match:
        return walk.make_directories(root, above, opened)
    try:
        return opened.enter_context(walk.directory(root, above)), []
    except (FileNotFoundError, NotADirectoryError):
        _require(name, None, if_match)
        raise


def _require(name: str, found: os.stat_result | None, if_match: str | None) -> None:
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise StoreError(f"{name}: is a directory")
    if if_match is None:
        return
    etag = ABSENT if found is None else _object_stat(found).etag
    if etag != if_match:
        what = "is gone" if etag == ABSENT else "exists already" if if_match == ABSENT else "has changed"
        raise PreconditionFailed(f"{name}: {what}; read it again")


def _dated_after(old: os.stat_result | None, fd: int) -> os.stat_result:
    """What the open file is, once its mtime is behind that of ``old``."""
    new = os.fstat(fd)
    for step in _LATER:
        if old is None or new.st_mtime_ns > old.st_mtime_ns:
            break
        os.utime(fd, ns=(old.st_mtime_ns + step, old.st_mtime_ns + step))
        new = os.fstat(fd)
    return new


def _remove_directory(name: str, directory: int, last: str) -> None:
    try:
        os.rmdir(last, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # illumos says EEXIST
            raise StoreError(f"{name}: is not empty") from error
        raise


def _sweep(root: int) -> None:
    try:
        with walk.directory(root, [_UPLOADS]) as uploads:
            sweep(uploads)
    except FileNotFoundError:
        return


def _has_room(root: int, size: int) -> bool:
    system = os.fstatvfs(root)
    return not system.f_blocks or size <= system.f_bavail * system.f_frsize  # some network file systems say 0 of 0


def _check_room(path: Path, root: int, name: str, size: int) -> None:
    if not _has_room(root, size):
        system = os.fstatvfs(root)
        free = system.f_bavail * system.f_frsize
        raise NoRoom(f"store {path}: {name} needs {size} bytes and {free} are free; free some space")


@contextmanager
def _reading(root: Path, name: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NoSuchObject(f"{name}: no such object") from error
    except OSError as error:
        # A bad block spoils one object; that the disk is gone, the next write tells.
        raise _translated(error, root, name, full=StoreUnavailable, broken=StoreError) from error


@contextmanager
def _writing(root: Path, name: str, *, full: type[StoreUnavailable] = StoreUnavailable) -> Iterator[None]:
    try:
        yield
    except NotADirectoryError as error:
        raise StoreError(f"{name}: one of the directories in its name is a file") from error
    except OSError as error:
        raise _translated(error, root, name, full=full, broken=StoreUnavailable) from error


def _translated(
    error: OSError, root: Path, name: str, *, full: type[StoreError], broken: type[StoreError]
) -> StoreError:
    text = _REFUSALS.get(error.errno or 0)
    if text is None:
        return StoreError(f"{name}: {error.strerror or error}")
    kinds = {errno.ENOSPC: full, errno.EDQUOT: full, errno.EIO: broken}
    return kinds.get(error.errno or 0, StoreUnavailable)(f"store {root}: {text} ({name})")
