"""One run at a time: a lock that the kernel holds, so that it ends with its process, however that ends.

What stands in the file is for people. A file that a dead process left behind is no lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from sdc_thoth.errors import AlreadyRunning
from sdc_thoth.state import own_directory, shown
from thoth import UsageError

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_HOLDER: Final = re.compile(rb"([0-9]{1,10}) ([0-9TZ:-]{20})\n")
_TRIES: Final = 20  # looks at a holder that has not yet written who it is
_PAUSE: Final = 0.005  # seconds between them


@contextlib.contextmanager
def run_lock(
    directory: Path,
    name: str,
    *,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Hold the lock ``name`` in the collector's directory; the file is gone afterwards.

    Raises AlreadyRunning, with the pid of the run that holds it and since when, and UsageError when the
    directory is not ours, cannot be written to, or holds a link or anything but a file by that name.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"--lockfile {name[:80]!r}: not a file name of letters, digits, '.', '_' and '-'")
    if not name.endswith("lock"):
        name += ".lock"  # or it could be the name of something else that lies there: known_hosts, the journal
    path = own_directory(directory) / name
    fd = _locked(path, sleep)
    try:
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(clock()))
        with contextlib.suppress(OSError):  # it is for people: a full disk must not stop a run
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()} {since}\n".encode(), 0)
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # while it is locked: who opens it now sees that it has gone, and makes another
        os.close(fd)


def _locked(path: Path, sleep: Callable[[float], None]) -> int:
    while True:
        fd = _opened(path)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is(path, fd):
                return fd
        except BlockingIOError:
            raise AlreadyRunning(f"already running: {_holder(path, fd, sleep)} holds {shown(path)}") from None
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _opened(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o600)
    except OSError as error:
        raise UsageError(f"lock {shown(path)}: {_why(path, error)}") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise UsageError(f"lock {shown(path)}: not a regular file; remove it")
    return fd


def _why(path: Path, error: OSError) -> str:
    return "a link, which is not followed; remove it" if path.is_symlink() else error.strerror or str(error)


def _is(path: Path, fd: int) -> bool:
    """Whether the open file still goes by that name."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def _holder(path: Path, fd: int, sleep: Callable[[float], None]) -> str:
    try:
        for _ in range(_TRIES):
            if written := _HOLDER.fullmatch(os.pread(fd, 64, 0)):
                return f"process {int(written[1])}, since {written[2].decode('ascii')},"
            sleep(_PAUSE)
        return "another process"
    finally:
        os.close(fd)
