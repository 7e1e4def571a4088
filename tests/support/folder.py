"""The folder on disk that a fleet's nodes live in, and its removal, also after a run that was killed."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.processes import process

_BASES = (Path("/srv"), Path("/var/lib"), Path("/opt"))
_LOCK = "in-use"
_NAME = re.compile(r"thoth-fleet-(?P<pid>[0-9]+)-(?P<start>[0-9]+)-")


class NoPlace(Exception):
    """No folder on this machine can hold the root of a node."""


@contextmanager
def lent() -> Iterator[Path]:
    """A new folder that sshd accepts above a ChrootDirectory, removed at the end. Sweeps first.

    Its name holds this process's pid and start time, and a file in it is locked while it is in use: either
    tells another run, also one that cannot see this process, to leave it alone.
    """
    sweep(base())
    folder = Path(tempfile.mkdtemp(prefix=_prefix(), dir=base()))
    try:
        with (folder / _LOCK).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            folder.chmod(0o755)  # processes on a node need not be root
            yield folder
    finally:
        remove(folder)


def sweep(where: Path) -> list[Path]:
    """Removes the folders whose maker is gone; returns where they were."""
    swept = []
    for entry in where.iterdir():
        if _is_dead(entry):
            claimed = where / (_prefix() + entry.name.rpartition("-")[2])
            with suppress(FileNotFoundError):  # another run was quicker
                entry.rename(claimed)
                remove(claimed)
                swept.append(entry)
    return swept


def remove(folder: Path) -> None:
    """Removes the tree, after unmounting what a test mounted below it."""
    for point in mounts_below(folder):
        subprocess.run(["umount", os.fsencode(point)], check=True)
    shutil.rmtree(folder)


def mounts_below(folder: Path) -> list[Path]:
    """The mount points below the folder, deepest first."""
    return sorted((point for point in mounts() if point.is_relative_to(folder)), reverse=True)


def mounts() -> list[Path]:
    """All mount points that this process sees. Source: proc(5), /proc/PID/mountinfo, field 5."""
    lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    return [Path(os.fsdecode(_unescaped(line.split(b" ")[4]))) for line in lines]


def _unescaped(field: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), field)


def _prefix() -> str:
    me = process(os.getpid())
    assert me is not None
    return f"thoth-fleet-{me.pid}-{me.start}-"


def _is_dead(entry: Path) -> bool:
    name = _NAME.match(entry.name)
    if not name:
        return False
    maker = process(int(name["pid"]))
    return (maker is None or maker.start != int(name["start"])) and not _is_locked(entry / _LOCK)


def _is_locked(path: Path) -> bool:
    try:
        with path.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:  # it was killed before it got that far
        return False
    except BlockingIOError:
        return True
    return False


def base() -> Path:
    """The folder that all fleets' folders are made in. Raises NoPlace."""
    for candidate in _BASES:
        parts = (candidate, *candidate.parents)
        if candidate.is_dir() and all(map(_is_safe, parts)) and not _forbids_devices(candidate):
            return candidate
    raise NoPlace(
        "a node's root needs a folder that only root can write, on a file system with devices: "
        f"none of {', '.join(map(str, _BASES))} is one"
    )


def _is_safe(folder: Path) -> bool:
    # sshd's own rule for each part of a ChrootDirectory.
    status = folder.stat()
    return status.st_uid == 0 and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _forbids_devices(folder: Path) -> bool:
    return bool(os.statvfs(folder).f_flag & (os.ST_NODEV | os.ST_NOEXEC))
