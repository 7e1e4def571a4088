"""Copies of dumps on this machine, for debuggers and analyzers.

A copy lies where the original has it: ``CACHE/IDENTITY/FILENAME``, FILENAME as in the store. It has that name only
when all of it is there and checked; before, it is a draft (durable.py). It is checked again whenever it is used.

Beside it are ``.lock``, which is shared by all who use the directory; ``.fetch``, which who checks or fetches a copy
holds alone; and ``.passing-FILENAME`` as long as nobody has asked for the copy to be kept. Then the last who uses it
removes it, also when the one that fetched it was killed. A run's own directory is ``.run-RANDOM``, beside its lock.

The cache belongs to one user, mode 0700. Root's can be passed through (0710), and its copies read (0440), by a group
that belongs to nobody: that of the programs in the sandbox. Whatever is in it may be removed with rm.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from thoth.analysis.fetching import Wanted, fetch, is_whole, wanted
from thoth.analysis.private import let_through, private_directory, told
from thoth.analysis.removal import remove_tree
from thoth.analysis.sandbox import give
from thoth.durable import sweep
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity
from thoth.naming import is_identity

_LOCK: Final = ".lock"
_FETCH: Final = ".fetch"
_PASSING: Final = ".passing-"
_TICK: Final = 0.1  # seconds after which a lock that somebody holds is tried again
_RUN_LOCK: Final = re.compile(r"\.run-[0-9a-f]{32}\.lock")


class Cache:
    """The cache in one directory. Any number of processes and threads may use it at once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._swept = False

    @contextmanager
    def borrow(
        self,
        thoth: Thoth,
        info: DumpInfo,
        *,
        keep: bool,
        progress: Callable[[int], object] = lambda _: None,
    ) -> Iterator[Path]:
        """A copy of the dump, or of what it was expanded to, to be read for as long as the context lasts.

        It is fetched unless a good one is there. With ``keep`` it stays for the next time; else it is removed
        afterwards, unless it was kept before or is still used. ``progress`` is told how many bytes are there while it
        is checked or fetched, and 0 again and again while another process does that; what it raises ends that.

        Raises NoSuchObject for a dump that was purged or lost, CorruptTransfer for one that is not what its document
        says, CacheError when there is no place for it here, StoreError and BadDocument.
        """
        target = wanted(thoth, info)
        with ExitStack() as held:
            with told(self._root, f" for the {target.size} bytes of {target.name}"):
                directory = self._opened() / info.id
                held.enter_context(_used(self._root, directory))
                with _held(_turn(directory / _FETCH, progress)):
                    copy = directory / target.filename
                    _provide(thoth, target, copy, keep=keep, progress=progress)
            yield copy

    @contextmanager
    def work(self) -> Iterator[Path]:
        """A new directory, mode 0700, for one run. It is removed afterwards, whatever is in it by then."""
        with ExitStack() as held:
            with told(self._root):
                place = self._opened() / f".run-{secrets.token_hex(16)}"
                lock = place.with_name(place.name + ".lock")
                held.enter_context(_held(_lock(lock, fcntl.LOCK_EX)))
            try:
                with told(self._root):
                    place.mkdir(mode=0o700)
                yield place
            finally:
                with told(self._root):
                    _remove_run(place, lock)

    def forget(self, identity: Identity) -> None:
        """Remove the copies of a dump, at once or when the last who uses them has done so. Raises CacheError."""
        if not (self._root / identity).is_dir():
            return
        with told(self._root):
            directory = self._opened() / identity
            with _used(self._root, directory):
                for name in _names(directory):
                    if not name.startswith("."):
                        directory.joinpath(_PASSING + name).touch(mode=0o600)

    def _opened(self) -> Path:
        """The cache's path without links, once it is known to be ours and what dead processes left is gone."""
        root = private_directory(self._root)
        if not self._swept:
            _sweep(root)
            self._swept = True
        return root


# ---- copies ---------------------------------------------------------------------------------------


def _provide(thoth: Thoth, target: Wanted, copy: Path, *, keep: bool, progress: Callable[[int], object]) -> None:
    passing = copy.with_name(_PASSING + copy.name)
    if is_whole(copy, target, progress):
        give(copy)
        if keep:
            passing.unlink(missing_ok=True)
        return
    if not keep:
        passing.touch(mode=0o600)
    fetch(thoth, target, copy, progress)
    if keep:
        passing.unlink(missing_ok=True)


@contextmanager
def _used(root: Path, directory: Path) -> Iterator[None]:
    """Share a directory with others; nobody removes it or what is in it meanwhile."""
    with _held(_shared(directory)) as lock:
        try:
            yield
        finally:
            with told(root):
                _clear(directory, lock)


def _shared(directory: Path) -> int:
    """The lock of a directory, which is made if it is missing."""
    while True:
        with suppress(FileExistsError):  # Path.mkdir would look at it again, when it may be gone
            os.mkdir(directory, 0o700)  # noqa: PTH102
        with suppress(FileNotFoundError):  # the last who used it has just removed it
            let_through(directory)
            return _lock(directory / _LOCK, fcntl.LOCK_SH)


def _clear(directory: Path, lock: int) -> None:
    """Remove the copies that are not to be kept, when we are the last who uses the directory."""
    if not _alone(lock):
        return
    names = _names(directory)
    passing = {name for name in names if name.startswith(_PASSING)}
    if names and not passing:
        return
    for name in passing:
        directory.joinpath(name.removeprefix(_PASSING)).unlink(missing_ok=True)
        directory.joinpath(name).unlink(missing_ok=True)
    if not _names(directory):
        for name in (_FETCH, _LOCK):
            directory.joinpath(name).unlink(missing_ok=True)
        _remove_if_empty(directory)


def _names(directory: Path) -> set[str]:
    """What is in it beside its locks."""
    try:
        return {entry.name for entry in directory.iterdir()} - {_LOCK, _FETCH}
    except FileNotFoundError:  # removed with rm
        return set()


def _remove_if_empty(directory: Path) -> None:
    """Without the lock: since that is gone, others may have come, and gone too."""
    try:
        directory.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
            raise


# ---- what dead processes have left ----------------------------------------------------------------


def _sweep(root: Path) -> None:
    for entry in sorted(root.iterdir()):
        with suppress(FileNotFoundError):  # another process was faster
            if is_identity(entry.name):
                _sweep_copies(entry)
            elif _RUN_LOCK.fullmatch(entry.name):
                _sweep_run(entry)


def _sweep_copies(directory: Path) -> None:
    with _held(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)) as fd:
        sweep(fd)
    if any(name.startswith(_PASSING) for name in _names(directory)):
        with _held(_lock(directory / _LOCK, fcntl.LOCK_SH)) as lock:
            _clear(directory, lock)


def _sweep_run(lock: Path) -> None:
    with _held(os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)) as fd:
        if _alone(fd):
            _remove_run(lock.with_suffix(""), lock)


def _remove_run(place: Path, lock: Path) -> None:
    with suppress(FileNotFoundError):  # a program that runs as we do can have removed it
        remove_tree(place)
    lock.unlink(missing_ok=True)


# ---- locks ----------------------------------------------------------------------------------------


def _turn(path: Path, progress: Callable[[int], object]) -> int:
    """As ``_lock``, for us alone. Who has it may be busy for an hour: ``progress`` can end the wait."""
    while True:
        with suppress(BlockingIOError):
            return _lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        progress(0)
        time.sleep(_TICK)


def _lock(path: Path, how: int) -> int:
    """The file at this path, made if it is missing, open and locked."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, how)
            if os.fstat(fd).st_nlink:
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # it was removed before we had the lock: another file may have its name now


def _alone(fd: int) -> bool:
    """Whether the lock could be had for us alone, on a file that is still there. Else it is lost."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(fd).st_nlink > 0


@contextmanager
def _held(fd: int) -> Iterator[int]:
    """Close it afterwards, which gives a lock back."""
    try:
        yield fd
    finally:
        os.close(fd)
