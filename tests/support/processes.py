"""What runs on this machine, read from /proc, for the bench's own cleaning and for the leak check."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """One process; ``start`` (clock ticks since boot) tells it from a later one with the same pid."""

    pid: int
    parent: int
    start: int
    state: str  # one letter: R, S, D, T (stopped), Z (dead and not yet waited for)
    command: str  # at most 15 characters


def process(pid: int) -> Process | None:
    """The process, or None when there is none. Source of the fields: proc(5), /proc/PID/stat."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command may hold blanks and parentheses, so the fields are counted from the last parenthesis on.
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    return Process(pid, int(fields[1]), int(fields[19]), fields[0], head.partition("(")[2])


def everything() -> Iterator[Process]:
    """All processes that this one can see."""
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (found := process(int(entry.name))):
            yield found


def descendants(pid: int) -> list[Process]:
    """The children of a process, their children and so on, parents first; without the process itself."""
    children = defaultdict(list)
    for found in everything():
        children[found.parent].append(found)
    line = list(children[pid])
    for found in line:
        line.extend(children[found.pid])
    return line


def rooted_in(folder: Path) -> list[Process]:
    """The processes that have the folder for their root directory, dead ones left out."""
    wanted = folder.stat()
    found = []
    for candidate in everything():
        try:
            root = (PROC / str(candidate.pid) / "root").stat()
        except OSError:  # it ended meanwhile, or is dead, or is not ours to look at
            continue
        if (root.st_dev, root.st_ino) == (wanted.st_dev, wanted.st_ino):
            found.append(candidate)
    return found


def arguments(pid: int) -> list[str]:
    """The words of its command line; none when it has ended."""
    try:
        return (PROC / str(pid) / "cmdline").read_text(errors="replace").split("\0")[:-1]
    except (FileNotFoundError, ProcessLookupError):
        return []


def connections(address: str, port: int) -> set[int]:
    """The socket inodes of established connections whose local end is this address and port."""
    packed = int.from_bytes(socket.inet_aton(address), "little")
    local = f"{packed:08X}:{port:04X}"
    lines = (PROC / "net" / "tcp").read_text().splitlines()[1:]
    rows = (line.split() for line in lines)
    return {int(row[9]) for row in rows if row[1] == local and row[3] == "01"}  # 01: TCP_ESTABLISHED


def holds_one_of(pid: int, sockets: set[int]) -> bool:
    """Whether the process has one of these sockets open."""
    return not _held(pid).isdisjoint(f"socket:[{inode}]" for inode in sockets)


def _held(pid: int) -> set[str]:
    """What a process has open, as the kernel writes it; nothing of one that has ended, or is not ours."""
    held = set()
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        for entry in (PROC / str(pid) / "fd").iterdir():
            with suppress(FileNotFoundError):  # it was closed while we looked
                held.add(str(entry.readlink()))
    return held


def listeners(pid: int) -> set[str]:
    """The sockets at which anybody can reach the process: its kind and address, as the kernel writes them.

    ``tcp 0100007F:23F4``, ``unix /tmp/x``. Sources of the fields: proc(5), /proc/PID/net.
    """
    held = _held(pid)
    found = set()
    for kind in ("tcp", "tcp6", "udp", "udp6"):
        for row in _rows(pid, kind):
            if row[3] == ("0A" if kind.startswith("tcp") else "07") and f"socket:[{row[9]}]" in held:
                found.add(f"{kind} {row[1]}")
    for row in _rows(pid, "unix"):
        if int(row[3], 16) & 0x10000 and f"socket:[{row[6]}]" in held:  # 0x10000: __SO_ACCEPTCON
            found.add(f"unix {row[7] if len(row) > 7 else ''}")
    return found


def _rows(pid: int, kind: str) -> list[list[str]]:
    return [line.split() for line in (PROC / str(pid) / "net" / kind).read_text().splitlines()[1:]]


def send(signal_number: signal.Signals, pids: Iterable[int]) -> None:
    """Sends a signal to each process that is still there."""
    for pid in pids:
        try:
            os.kill(pid, signal_number)
        except ProcessLookupError:
            continue


def wait_until(condition: Callable[[], bool], seconds: float, pause: float = 0.005) -> bool:
    """Looks again and again until the condition holds; False when it does not within that time.

    For what gives no event: another process's state, a file that a foreign program writes.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


def open_descriptors() -> int:
    """How many this process has."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - Path would count its own
