"""Runs one analyzer and ends whatever it started. A program of its own, which sandbox.py starts.

Its stdin, stdout and stderr become the analyzer's. Its one argument is the number of a socket, on which a request
comes in (see ``Request``) and a line goes out when nothing of the analyzer is left: ``status N`` or ``reason TEXT``.
When the socket is closed at the other end, who asked has died, or wants no more of it.

On Linux it is the subreaper of all it starts (prctl(2)): what daemonizes becomes its child. For a user of the
analyzer's own it sends SIGKILL to all the processes of that user. On other systems, without such a user, a process
that has left the analyzer's process group is out of reach.

It imports nothing of ours and little else: its start is part of every run. So it speaks marshal: the modules json
and typing alone would take a quarter of that time.
"""

from __future__ import annotations

import ctypes
import errno
import marshal
import os
import resource
import select
import signal
import sys
import time
import warnings  # noqa: F401 - os.execvpe wants it, when Python's files may be out of reach
from collections.abc import Callable, Iterator
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, NoReturn, TypedDict

    class Request(TypedDict):
        """What to run, by the module marshal of the same Python."""

        argv: list[bytes]
        environment: dict[bytes, bytes]
        directory: bytes
        user: int | None  # to become, together with the group; None: stay who we are
        group: int | None
        timeout: float  # seconds
        processes: int  # more than there are
        space: int  # bytes of all files in the directory
        limits: dict[str, int]  # by their names in the module resource


_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_SET_NO_NEW_PRIVS: Final = 38
_LINUX: Final = sys.platform == "linux"
_PATIENCE: Final = 10.0  # seconds that processes may take to die of SIGKILL: one may hang in the kernel
_LOOK: Final = 0.25  # seconds between two looks at what has been written
_MOST_FILES: Final = 100_000
_MOST_PROCESSES: Final = 1 << 22  # that Linux can have: when none can be started then, the limit isn't the reason


class CannotStart(Exception):
    """The analyzer could not be started; the text says why."""


def main() -> None:
    control = int(sys.argv[1])
    os.set_inheritable(control, False)
    wake = _signals()
    if _LINUX:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    reply = _supervised(_request(control), control, wake)
    with suppress(OSError):  # nobody is left to be told
        os.write(control, f"{reply}\n".encode())
    os._exit(0)  # which Python would need more time for


def _request(control: int) -> Request:
    with open(control, "rb", closefd=False) as file:
        try:
            request: Request = marshal.load(file)  # noqa: S302 - it comes from who has started us
        except EOFError:
            sys.exit(1)  # who asked has died
    return request


def _signals() -> int:
    """A descriptor that brings the number of each signal as a byte."""
    wake, woken = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return wake


# ---- from start to end ----------------------------------------------------------------------------


def _supervised(request: Request, control: int, wake: int) -> str:
    try:
        child = _start(request)
    except CannotStart as error:
        return f"reason cannot be started: {error}"
    try:
        reply = _waited(child, request, control, wake)
    finally:
        left = not _end_all(child, request["user"], wake)
    return "reason some of its processes cannot be killed" if left else reply


def _waited(child: int, request: Request, control: int, wake: int) -> str:
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(wake, select.POLLIN)
    deadline = time.monotonic() + request["timeout"]
    look = time.monotonic() + _LOOK
    while (now := time.monotonic()) < deadline:
        ready = [fd for fd, _ in poll.poll(max(0, min(deadline, look) - now) * 1000 + 1)]
        if control in ready or (wake in ready and set(os.read(wake, 4096)) - {signal.SIGCHLD}):
            return "reason was interrupted"
        for pid, status in _reaped():
            if pid == child:
                return f"status {status}"
        if (now := time.monotonic()) >= look:
            if reason := _too_much(request["directory"], request["space"]):
                return f"reason {reason}"
            look = time.monotonic() + max(_LOOK, 20 * (time.monotonic() - now))
    return f"reason timed out after {request['timeout']:g} s"


def _too_much(directory: bytes, space: int) -> str:
    """Why there is too much in the directory; empty when there is not. What is hidden from us counts for nothing."""
    used, files, waiting = 0, 0, [directory]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                files += 1
                if files > _MOST_FILES:
                    return f"made more than {_MOST_FILES} files"
                with suppress(OSError):  # removed meanwhile
                    used += entry.stat(follow_symlinks=False).st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
    return f"wrote more than {space} bytes to its directory" if used > space else ""


def _reaped() -> Iterator[tuple[int, int]]:
    """Children that have ended, with their wait statuses."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            yield ended


# ---- the start ------------------------------------------------------------------------------------


def _start(request: Request) -> int:
    """The pid of the analyzer, which has become what it should be. Raises CannotStart."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        _become(request, tell)
    os.close(tell)
    with os.fdopen(told, "rb") as pipe:
        fault = pipe.read()  # ends when the analyzer's exec has closed the other end
    if fault:
        os.waitpid(child, 0)
        raise CannotStart(fault.decode(errors="replace"))
    return child


def _become(request: Request, tell: int) -> NoReturn:
    argv = request["argv"]
    try:
        _prepare(request)
        try:
            os.execvpe(argv[0], argv, request["environment"])  # noqa: S606 - no shell is what we want
        except OSError as error:
            raise CannotStart(f"{os.fsdecode(argv[0])}: {error.strerror}") from error
    except BaseException as error:  # noqa: BLE001 - a forked child must never run its parent's code
        os.write(tell, str(error).encode(errors="replace"))
    os._exit(127)


def _prepare(request: Request) -> None:
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with suppress(OSError, ValueError):  # some belong to the C library
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    if _LINUX:
        with suppress(OSError), open("/proc/self/oom_score_adj", "wb") as file:  # noqa: PTH123 - as below
            file.write(b"1000")  # when there is no memory left, the kernel takes the analyzer first
    _change_user(request["user"], request["group"])
    if _LINUX:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change of user, which clears it
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    os.umask(0o077)
    _enter(request["directory"])
    _limit_processes(request["processes"], own=request["user"] is not None)
    for name, value in request["limits"].items():  # last: what is left to do here must fit into them
        _limit(name, value)


def _enter(directory: bytes) -> None:
    try:
        os.chdir(directory)
    except PermissionError as error:
        raise CannotStart(
            f"{os.fsdecode(directory)}: {error.strerror} to the user that it runs as;"
            " name another place with THOTH_CACHE"
        ) from error


def _change_user(user: int | None, group: int | None) -> None:
    if user is None or group is None:
        return
    os.setgroups([])
    os.setgid(group)
    os.setuid(user)


def _limit(name: str, value: int) -> None:
    """Lower a limit for good. One that this system doesn't have stays out; none is ever raised."""
    number = getattr(resource, name, None)
    if number is None:
        return
    hard = resource.getrlimit(number)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    # The soft limit for CPU time is a second lower: the signal that tells comes before the one that kills.
    resource.setrlimit(number, (value, value + 1 if name == "RLIMIT_CPU" and value != hard else value))


def _limit_processes(more: int, *, own: bool) -> None:
    if not hasattr(resource, "RLIMIT_NPROC"):
        return
    there_are = 0 if own else _processes_of_user()
    _limit("RLIMIT_NPROC", there_are + more)


def _processes_of_user() -> int:
    """How many processes and threads the kernel counts for this user.

    The kernel is asked by forks: /proc shows nothing of other containers, whose users may have our number.
    """
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    below, fits = 0, 64
    while fits < _MOST_PROCESSES and not _can_fork(fits, hard):
        below, fits = fits, fits * 2
    while fits - below > 1:
        middle = (fits + below) // 2
        below, fits = (below, middle) if _can_fork(middle, hard) else (middle, fits)
    return below


def _can_fork(limit: int, hard: int) -> bool:
    if hard != resource.RLIM_INFINITY and limit >= hard:
        return True  # no more can be had
    resource.setrlimit(resource.RLIMIT_NPROC, (limit, hard))
    try:
        child = os.fork()
    except BlockingIOError:
        return False
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return True


# ---- the end --------------------------------------------------------------------------------------


def _end_all(child: int, user: int | None, wake: int) -> bool:
    """Kill all that the analyzer has started until none is left. False: some will not die."""
    kill = _killer(child, user)
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        kill()
        for _ in _reaped():
            pass
        if not _has_children():
            return True
        select.select([wake], [], [], 0.002)
        with suppress(BlockingIOError):
            os.read(wake, 4096)
    return False


def _killer(child: int, user: int | None) -> Callable[[], None]:
    if user is not None:
        return lambda: _kill_user(user)
    if _LINUX:
        return _kill_descendants
    return lambda: _kill_group(child)


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _kill_user(user: int) -> None:
    """All processes of the user, in one call: none of them gets away by forking meanwhile."""
    child = os.fork()
    if child == 0:
        with suppress(OSError):
            os.setuid(user)
            os.kill(-1, signal.SIGKILL)
        os._exit(0)
    os.waitpid(child, 0)


def _kill_descendants() -> None:
    waiting = [os.getpid()]
    while waiting:
        for pid in _children(waiting.pop()):
            waiting.append(pid)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    """The children of all threads of a process; none when it has ended. Source: proc(5)."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - pathlib would double the start of this program
        for thread in threads:
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:  # noqa: PTH123 - as above
                found += map(int, file.read().split())
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def _kill_group(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


# ---- the system -----------------------------------------------------------------------------------


def _prctl(option: int, value: int) -> None:
    library: Any = ctypes.CDLL(None, use_errno=True)
    if library.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)):
        raise OSError(ctypes.get_errno() or errno.EINVAL, os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    main()
