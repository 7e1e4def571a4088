"""The embedded store: Manta's layout in a directory. ``/alice/stor/x`` is ROOT/alice/stor/x.

Beside the users' directories ROOT holds ``.uploads``, where every object is written before it is renamed to
its place, ``.lock``, an flock under which names change hands, and ``.id``, the mark by which an index knows the
store. Nothing is held open between calls.

An etag is made of the object's inode, mtime and size. An object never changes in place, so its etag stays
true for as long as it is there. But inodes are used again, clocks jump and kernels round times: so we set a
new object's mtime, to the nanosecond, and always behind that of the object whose place it takes. A digest
would do for small objects, but would make ``stat`` read whole dumps.

What is synced, and why. One dump and its document cost five:
- each file before its rename: or a power cut could leave the name on a file without its bytes (2);
- the directory that got the name, after it: ``commit`` and ``put`` promise that the name stays (2);
- the directory in which the dump's own was made (1); where that was there already, all above it: who made it may
  have been killed before that lasted.
Of dumps that a ``gathering`` store takes it is three: a document's sync makes the dump beside it durable too, and
``flush`` syncs what lies above, for all of them at once.
Not synced: ``.uploads``, where what a power cut brings back is a draft to sweep, or to be held against the bytes
that come.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from copy import copy
from itertools import islice
from pathlib import Path
from typing import Final

from thoth.durable import Draft
from thoth.errors import NoSuchObject, PreconditionFailed, StoreError
from thoth.store import walk
from thoth.store.base import ABSENT, MAX_SMALL, Entry, ObjectStat, Unfinished
from thoth.store.drafts import RESUME_FROM, UPLOADS, Drafts
from thoth.store.incoming import DirectoryUpload
from thoth.store.lasting import AtOnce, Parts, SyncOne, Together, sync
from thoth.store.mark import MARK, make_mark, read_mark
from thoth.store.names import parts
from thoth.store.opened import OpenObject, object_stat
from thoth.store.refusals import missing, reading, writing
from thoth.store.repeat import ReadRepeat

_LOCK: Final = ".lock"
# What a store says that can be read only.
_TAKES_NOTHING: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.ENOLCK})
_Lasts = Callable[[Parts, int, Sequence[int], SyncOne], None]
_LATER: Final = (1, 10**3, 10**6, 10**9, 10**10)  # ns: the first that the file system's clock can tell from 0


class DirectoryStore:
    """A store in the directory ``root``, which nobody else may write to. Files are 0600, directories 0700.

    With ``create`` a root that is not there is an empty store, and the first write makes it. Without, every
    call raises StoreUnavailable then: a file system that is not mounted must not pass for an empty store.
    ``now_ns`` is the clock of new objects, in ns since 1970. An upload of ``resume_from`` bytes or more that ends
    early is gone on with by the next one of the same name and size.
    """

    def __init__(
        self,
        root: Path,
        *,
        create: bool = False,
        now_ns: Callable[[], int] = time.time_ns,
        resume_from: int = RESUME_FROM,
    ) -> None:
        self._root = root
        self._create = create
        self._now_ns = now_ns
        self._drafts = Drafts(root, now_ns, resume_from)
        self._names: AtOnce | Together = AtOnce()

    def stat(self, name: str) -> ObjectStat:
        with self._parent(name) as (directory, last):
            found = walk.look(directory, last)
            if found is None or stat.S_ISDIR(found.st_mode):
                raise NoSuchObject(f"{name}: no such object")
            return object_stat(found)

    def get(self, name: str) -> tuple[bytes, str]:
        with self.open(name) as found:
            if found.size > MAX_SMALL:
                raise StoreError(f"{name}: too large to be read whole ({found.size} bytes)")
            return found.read_at(0, found.size), found.etag

    def open(self, name: str) -> OpenObject:
        with self._parent(name) as (directory, last):
            return OpenObject(self._root, name, walk.open_file(directory, last))

    def list(self, name: str, *, most: int | None = None) -> Iterator[Entry]:
        place = parts(name)
        try:
            with (
                reading(self._root, name),
                self._opened() as root,
                walk.directory(root, place) as directory,
            ):
                yield from islice(_entries(directory), most)
        except NoSuchObject:
            return

    def put(self, name: str, data: bytes, *, if_match: str | None = None) -> str:
        parts(name)
        if len(data) > MAX_SMALL:
            raise StoreError(f"{name}: too large to be written at once ({len(data)} bytes)")
        with (
            writing(self._root, name),
            self._opened(write=True) as root,
            self._drafts.make(root, name, None, len(data)) as draft,
        ):
            draft.write(data)
            return self._publish(root, name, draft, if_match, self._names.of_document).etag

    def begin(self, name: str, size: int | None, *, if_match: str | None = None) -> DirectoryUpload:
        parts(name)
        with writing(self._root, name):
            return DirectoryUpload(
                self._root,
                name,
                self._draft(name, size),
                publish=lambda whole: self._publish_upload(name, whole, if_match),
                is_there=lambda: self._has(name, size),
            )

    def repeat(self, name: str, found: ObjectStat) -> ReadRepeat:
        there = self.open(name)
        if there.etag != found.etag:
            there.close()
            raise PreconditionFailed(f"{name}: has changed; read it again")
        return ReadRepeat(name, found, there)

    def delete(self, name: str, *, if_match: str | None = None) -> None:
        with self._parent(name, locked=True) as (directory, last):
            found = walk.look(directory, last)
            if found is None:
                raise NoSuchObject(f"{name}: no such object")
            if stat.S_ISDIR(found.st_mode):
                _remove_directory(name, directory, last)
            else:
                _require(name, found, if_match)
                os.unlink(last, dir_fd=directory)
            os.fsync(directory)

    def unfinished(self, home: str) -> Iterator[Unfinished]:
        try:
            with reading(self._root, UPLOADS), self._opened() as root:
                yield from self._drafts.dead(root)
        except NoSuchObject:
            return

    def forget(self, unfinished: Unfinished) -> None:
        with reading(self._root, unfinished.name), self._opened() as root:
            self._drafts.remove(root, unfinished.name)

    def discard(self, name: str, size: int) -> None:
        try:
            with reading(self._root, UPLOADS), self._opened() as root:
                self._drafts.drop(root, name, size)
        except NoSuchObject:
            return

    def free(self) -> int | None:
        try:
            with reading(self._root, UPLOADS), self._opened() as root:
                system = os.fstatvfs(root)
        except NoSuchObject:
            system = os.statvfs(
                next(each for each in self._root.absolute().parents if each.is_dir())
            )  # it will lie there
        return system.f_bavail * system.f_frsize if system.f_blocks else None  # some network file systems say 0 of 0

    def gathering(self) -> DirectoryStore:
        store = copy(self)
        store._names = Together()
        return store

    def flush(self) -> None:
        self._names.flush(self._sync_directory)

    def settle(self, name: str) -> None:
        self._names.of_found(tuple(parts(name)[:-1]), self._sync_directory)

    def _sync_directory(self, place: Parts) -> None:
        with (
            writing(self._root, "/" + "/".join(place)),
            self._opened(write=True) as root,
            suppress(FileNotFoundError),  # it was removed since
            walk.directory(root, place) as directory,
        ):
            sync(directory)

    @property
    def root(self) -> Path:
        return self._root

    def mark(self) -> str | None:
        """The mark of this store; None when it has none. Raises StoreError."""
        try:
            with reading(self._root, MARK), self._opened() as root:
                return read_mark(root)
        except NoSuchObject:
            return None  # there is no directory yet

    def make_mark(self) -> str | None:
        """The mark, made if there is none; None where nothing can be written. Raises StoreError."""
        with writing(self._root, MARK):
            try:
                with self._opened(write=True) as root:
                    return make_mark(root, _lock(root))
            except OSError as error:
                if error.errno not in _TAKES_NOTHING:
                    raise
                return None  # what is read can be indexed all the same; who writes more than a mark is told

    def close(self) -> None:
        """There is nothing to close."""

    @contextmanager
    def _opened(self, *, write: bool = False) -> Iterator[int]:
        """The root. Raises FileNotFoundError only for a store that may be empty."""
        try:
            fd = walk.open_root(self._root)
        except FileNotFoundError as error:
            if not self._create:
                raise missing(self._root) from error
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
        with reading(self._root, name), self._opened() as root, ExitStack() as held:
            if locked:
                held.enter_context(_lock(root))
            yield held.enter_context(walk.directory(root, above)), last

    def _draft(self, name: str, size: int | None) -> Draft:
        with self._opened(write=True) as root:
            return self._drafts.make(root, name, size)

    def _has(self, name: str, size: int | None) -> bool:
        """Whether there is an object of this size already."""
        try:
            return self.stat(name).size == size
        except StoreError:
            return False

    def _publish_upload(self, name: str, draft: Draft, if_match: str | None) -> ObjectStat:
        with self._opened(write=True) as root:  # the one of the beginning may be none any more
            return self._publish(root, name, draft, if_match, self._names.of_dump)

    def _publish(self, root: int, name: str, draft: Draft, if_match: str | None, lasts: _Lasts) -> ObjectStat:
        *above, last = parts(name)
        now = self._now_ns()
        draft.end()
        draft.supersede()
        os.utime(draft.fileno(), ns=(now, now))
        draft.sync()
        with ExitStack() as opened:
            with _lock(root):  # all that is slow lies outside
                directory, changed = _destination(root, name, above, if_match, opened)
                found = walk.look(directory, last)
                _require(name, found, if_match)
                written = _dated_after(found, draft.fileno())
                draft.publish(directory, last)
            lasts(tuple(above), directory, changed, self._sync_directory)
        return object_stat(written)


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
    etag = ABSENT if found is None else object_stat(found).etag
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
