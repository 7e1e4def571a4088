"""Running a program that we don't trust on a dump: an analyzer, or a debugger that reads what a crash left behind.

It has a directory, a session and a process group of its own, a clean environment, limits, and no way to more
privileges; when it ends, or its time is over, everything that it started is killed. supervise.py does that, in a
process between us and the program which outlives neither. What is out of reach on which system is told there.

Neither limits nor modes of files bind root. So as root the program runs as a user that belongs to nobody, another
one in each run (accounts.py), and sees what we ``give`` it. Otherwise it runs as the user that we are: the limits
keep its mistakes in check, but it may do whatever that user may, to other files and processes too.
"""

from __future__ import annotations

import marshal
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Final, Self

from thoth.analysis.accounts import draw_user, is_root, reading_group
from thoth.errors import ThothError

_SUPERVISOR: Final = Path(__file__).with_name("supervise.py")
_GRACE: Final = 15.0  # seconds over its time after which the supervisor is not waited for any more
_TICK: Final = 0.2  # seconds after which we look at ``cancelled`` again
_BLOCK: Final = 1 << 20  # bytes of output that are read at once
_FILES: Final = 1024  # that may be open in one process
_PR_SET_DUMPABLE: Final = 4  # prctl(2)

_KEPT: Final = frozenset({"PATH", "LANG", "LANGUAGE", "TZ", "TERM"})
_KEPT_PREFIX: Final = "LC_"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may use. Those for CPU time and memory hold for each of its processes."""

    timeout: float = 600.0  # seconds, by the clock on the wall
    cpu: int = 600  # seconds
    memory: int = 4 << 30  # bytes of address space
    file_size: int = 256 << 20  # bytes of a file, and of all files in its directory
    processes: int = 256  # processes and threads, more than the user has already
    output: int = 1 << 20  # bytes of output that are kept

    @classmethod
    def for_dump(cls, size: int) -> Self:
        """Limits for a dump of ``size`` bytes: a debugger maps it, savecore may expand it to 16 times as much."""
        return cls(memory=(4 << 30) + size, file_size=16 * size + (256 << 20))


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended."""

    status: int | None  # its exit status; None: it was killed or did not start
    reason: str | None  # why there is no status, in one line; None when there is
    output: bytes  # the beginning of what it wrote, to stdout and stderr together
    cut: bool  # it wrote more than that
    seconds: float  # how long it took


def run_sandboxed(
    argv: Sequence[str],
    *,
    directory: Path,
    environment: Mapping[str, str],
    limits: Limits,
    stdin: bytes = b"",
    cancelled: Event | None = None,
) -> Ended:
    """Run a program in ``directory``, which has to be its own, and return when nothing of it is left.

    As root the directory becomes the property of the user that the program runs as; what else it should read has to
    be given to it. As another user, on Linux, this process closes its memory and environment in /proc to all but
    root, for good (PR_SET_DUMPABLE); those of the user's other processes stay open to the program.

    ``cancelled`` ends it when it is set, from another thread. So does an exception that is raised in here
    (KeyboardInterrupt), and the death of this process. Programs may be run from several threads at once.
    """
    started = time.monotonic()
    output = _Output(limits.output)
    try:
        request = _request(argv, directory, environment, limits)
        with _supervisor(stdin) as (control, pipe):
            with suppress(ConnectionError):  # it has ended: what it wrote says why
                control.sendall(marshal.dumps(request))
            reply = _listened(control, pipe, output, limits.timeout + _GRACE, cancelled)
        status, reason = _judged(reply, limits)
    except OSError as error:
        where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        status, reason = None, f"cannot be started: {where}{error.strerror or error}"
    except ThothError as error:
        status, reason = None, f"cannot be started: {error}"
    return Ended(status, reason, bytes(output.kept), output.cut, time.monotonic() - started)


def clean_environment(directory: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of ``environ`` that a program may see: where programs are, language, time zone, terminal.

    Its home is ``directory``. What isn't known to be harmless stays out: any other variable may hold a secret.
    """
    kept = {name: value for name, value in environ.items() if name in _KEPT or name.startswith(_KEPT_PREFIX)}
    own = {"HOME": str(directory), "TMPDIR": str(directory), "PWD": str(directory)}
    return {"PATH": os.defpath, **kept, **own}


def give(path: Path) -> None:
    """Let the programs that we run read a file or directory of ours, and nobody write to it.

    When we aren't root they run as we do: then nothing is to be done. Raises OSError, for a link too, and ThothError.
    """
    if not is_root():
        return
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        give_open(fd)
    finally:
        os.close(fd)


def give_open(fd: int, *, directory_mode: int = 0o750) -> None:
    """As ``give``, for what is open as ``fd``."""
    if not is_root():
        return
    mode = os.fstat(fd).st_mode
    os.fchown(fd, -1, reading_group())
    if stat.S_ISDIR(mode):
        os.fchmod(fd, directory_mode)
    else:
        os.fchmod(fd, 0o550 if mode & stat.S_IXUSR else 0o440)


# ---- one run --------------------------------------------------------------------------------------


def _request(
    argv: Sequence[str], directory: Path, environment: Mapping[str, str], limits: Limits
) -> dict[str, object]:
    """What supervise.py is asked for; there it is described."""
    user, group = (draw_user(), reading_group()) if is_root() else (None, None)
    if user is None:
        _hide()
    _own(directory, user, group)
    return {
        "argv": [os.fsencode(each) for each in argv],
        "environment": {os.fsencode(name): os.fsencode(value) for name, value in environment.items()},
        "directory": os.fsencode(directory),
        "user": user,
        "group": group,
        "timeout": limits.timeout,
        "processes": limits.processes,
        "space": limits.file_size,
        "limits": _resources(limits),
    }


def _hide() -> None:
    """Keep programs that run as we do out of our memory and environment: they hold keys."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - elsewhere, and for root, there is no use for it

        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _own(directory: Path, user: int | None, group: int | None) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if user is not None and group is not None:
            os.fchown(fd, user, group)
        os.fchmod(fd, 0o700)
    finally:
        os.close(fd)


def _resources(limits: Limits) -> dict[str, int]:
    return {
        "RLIMIT_CORE": 0,
        "RLIMIT_CPU": limits.cpu,
        "RLIMIT_FSIZE": limits.file_size,
        "RLIMIT_NOFILE": _FILES,
        "RLIMIT_AS": limits.memory,
    }


@contextmanager
def _supervisor(stdin: bytes) -> Iterator[tuple[socket.socket, int]]:
    """Our end of the supervisor's socket, and the pipe of the output. Afterwards the supervisor has ended."""
    with ExitStack() as undo:
        ours, theirs = (undo.enter_context(end) for end in socket.socketpair())
        given = undo.enter_context(tempfile.TemporaryFile())
        given.write(stdin)
        given.seek(0)
        read_end, write_end = os.pipe()
        undo.callback(os.close, read_end)
        os.set_blocking(read_end, False)
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", str(_SUPERVISOR), str(theirs.fileno())],
                stdin=given,
                stdout=write_end,
                stderr=write_end,
                env={},
                cwd="/",
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        finally:
            os.close(write_end)
            theirs.close()
        undo.callback(_end, process, ours)
        yield ours, read_end


def _end(process: subprocess.Popen[bytes], control: socket.socket) -> None:
    """Make the supervisor kill everything, if it has not, and wait for it."""
    with suppress(OSError):  # it has ended
        control.shutdown(socket.SHUT_WR)
    process.send_signal(signal.SIGCONT)  # a program that runs as we do can have stopped it
    try:
        _wait_for_end(control)
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        pass
    finally:
        process.kill()  # the program dies with it
        process.wait()


def _wait_for_end(control: socket.socket) -> None:
    """The socket is closed as the process ends; Popen.wait with a timeout would look now and then, and sleep."""
    control.settimeout(_GRACE)
    with suppress(OSError):
        while control.recv(1 << 16):
            pass


def _listened(control: socket.socket, pipe: int, output: _Output, seconds: float, cancelled: Event | None) -> str:
    """What the supervisor has to say at the end; the output is taken meanwhile. Empty when it says nothing."""
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(pipe, select.POLLIN)
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        ready = [fd for fd, _ in poll.poll(min(left, _TICK if cancelled else 3600) * 1000 + 1)]
        if pipe in ready and not output.take(pipe):
            poll.unregister(pipe)
        if control.fileno() in ready:
            reply = _received(control)
            output.take(pipe)  # all that is in it comes at once
            return reply
        if cancelled is not None and cancelled.is_set():
            return "reason was interrupted"
    return "reason timed out, and cannot be killed"


def _received(control: socket.socket) -> str:
    try:
        return control.recv(1 << 16).decode(errors="replace")
    except ConnectionError:
        return ""


def _judged(reply: str, limits: Limits) -> tuple[int | None, str | None]:
    """Exit status and reason, from what the supervisor said."""
    kind, _, told = reply.rstrip("\n").partition(" ")
    if kind != "status":
        return None, told or "was ended together with its supervisor"
    code = os.waitstatus_to_exitcode(int(told))
    if code >= 0:
        return code, None
    if -code == signal.SIGXCPU:
        return None, f"used more than {limits.cpu} s of CPU time"
    if -code == signal.SIGXFSZ:
        return None, f"wrote a file of more than {limits.file_size} bytes"
    return None, f"was killed by {_signal_name(-code)}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class _Output:
    """The beginning of what comes through a pipe, in bounded memory."""

    __slots__ = ("_room", "cut", "kept")

    def __init__(self, room: int) -> None:
        self._room = room
        self.kept = bytearray()
        self.cut = False

    def take(self, pipe: int) -> bool:
        """Take what is there now. False at the end."""
        try:
            block = os.read(pipe, _BLOCK)
        except BlockingIOError:
            return True
        left = self._room - len(self.kept)
        self.kept += block[:left]
        self.cut = self.cut or len(block) > left
        return bool(block)
