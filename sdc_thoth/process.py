"""The collector's own process: it leaves no core, and goes into the background as a service manager wants it.

One of the contract kind (SMF) takes the end of the process that it started for the readiness of the service, and its
status for why there is none.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import NoReturn


def no_core() -> None:
    """Of this process no core is written: it would hold pieces of others' cores, and our key."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Parent:
    """The process that waits, as the daemon sees it."""

    def __init__(self, fd: int | None = None) -> None:
        self._fd = fd

    def release(self, status: int) -> None:
        """Let it return with this status. Safe to repeat: the first one counts."""
        fd, self._fd = self._fd, None
        if fd is not None:
            try:
                os.write(fd, bytes([status & 0xFF]))
            except BrokenPipeError:  # nobody waits any more
                pass
            finally:
                os.close(fd)


def detached() -> Parent:
    """Go on in a new session, without a terminal; stdin is nothing, stdout and stderr stay. Call before any thread.

    In the process that was started this does not return.
    """
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid:
        os.close(theirs)
        _wait(ours, pid)
    os.close(ours)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.chdir(Path("/"))
    return Parent(theirs)


def _wait(fd: int, pid: int) -> NoReturn:
    status = os.read(fd, 1)
    if status:
        os._exit(status[0])
    _, ended = os.waitpid(pid, 0)  # it died without a word
    code = os.waitstatus_to_exitcode(ended)
    os._exit(code if code > 0 else 1)
