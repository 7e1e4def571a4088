"""The folder on disk that a fleet's nodes live in, and its removal, also after a run that was killed."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

from tests.support.processes import process

_BASES = (Path("/srv"), Path("/var/lib"), Path("/opt"))
_NAME = re.compile(r"thoth-fleet-(?P<pid>[0-9]+)-(?P<start>[0-9]+)-")


class NoPlace(Exception):
    """No folder on this machine can hold the root of a node."""


def make() -> Path:
    """A new folder that sshd accepts above a ChrootDirectory. Removes those of dead processes first.

    Its name holds this process's pid and start time: a later run can tell whether it is still in use.
    """
    base = _base()
    sweep(base)
    me = process(os.getpid())
    assert me is not None
    folder = Path(tempfile.mkdtemp(prefix=f"thoth-fleet-{me.pid}-{me.start}-", dir=base))
    folder.chmod(0o755)  # processes on a node need not be root
    return folder


def sweep(base: Path) -> list[Path]:
    """Removes and returns the folders below ``base`` whose maker is gone."""
    dead = [entry for entry in base.iterdir() if _is_dead(entry)]
    for entry in dead:
        remove(entry)
    return dead


def remove(folder: Path) -> None:
    """Removes the tree, after unmounting what a test mounted below it."""
    for point in mounts_below(folder):
        subprocess.run(["umount", os.fsencode(point)], check=True)
    shutil.rmtree(folder)


def mounts_below(folder: Path) -> list[Path]:
    """The mount points below the folder, deepest first. Source: proc(5), /proc/PID/mountinfo, field 5."""
    lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    points = [Path(os.fsdecode(_unescaped(line.split(b" ")[4]))) for line in lines]
    return sorted((point for point in points if point.is_relative_to(folder)), reverse=True)


def _unescaped(field: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), field)


def _is_dead(entry: Path) -> bool:
    name = _NAME.match(entry.name)
    if not name:
        return False
    maker = process(int(name["pid"]))
    return maker is None or maker.start != int(name["start"])


def _base() -> Path:
    for base in _BASES:
        if (
            base.is_dir()
            and all(_is_safe(part) for part in (base, *base.parents))
            and not _forbids_devices(base)
        ):
            return base
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
