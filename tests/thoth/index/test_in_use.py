"""An index that is opened, closed or was copied while it is read."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.support.mishaps import small_disk
from tests.support.roots import program
from tests.thoth.index.looking import LEAVE_WAL, ask_everything, trace
from tests.thoth.index.rows import named
from thoth.errors import IndexFailure
from thoth.index.sqlite import SqliteIndex

# As the last process that closes an index holds it: SQLite's locks begin at 1 GiB.
HOLD = """
import fcntl, sys, time
with open(sys.argv[1], "r+b") as file:
    fcntl.lockf(file, fcntl.LOCK_EX, 512, 1 << 30)
    print("held", flush=True)
    time.sleep(0.5)
"""


@pytest.fixture
def left(path: Path) -> Path:
    """An index with a log."""
    subprocess.run([sys.executable, "-c", LEAVE_WAL, str(path)], check=True)
    assert path.with_name("thoth.db-wal").stat().st_size > 0
    return path


@contextmanager
def held(path: Path) -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        yield


def test_F53_a_dry_run_waits_for_a_process_that_closes_the_index(left: Path, tmp_path: Path) -> None:
    before = trace(tmp_path)
    with held(left):
        assert ask_everything(SqliteIndex(left, read_only=True)) == [named(number) for number in range(3)]
    assert trace(tmp_path) == before


def test_F53_a_dry_run_waits_for_a_process_that_opens_it(left: Path, tmp_path: Path) -> None:
    """Which makes the log first, and then the file beside it."""
    shm, away = left.with_name("thoth.db-shm"), tmp_path / "away"
    shm.rename(away)
    back = threading.Timer(0.3, lambda: away.rename(shm))
    back.start()
    assert ask_everything(SqliteIndex(left, read_only=True)) == [named(number) for number in range(3)]
    back.join()


def test_a_dry_run_does_not_wait_long_for_one_that_was_copied(left: Path) -> None:
    left.with_name("thoth.db-shm").unlink()
    begun = time.monotonic()
    with pytest.raises(IndexFailure, match="without its -shm; any command but a dry run mends that"):
        SqliteIndex(left, read_only=True).get(named(1))
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("read_only", [True, False])
def test_one_that_was_copied_to_where_nobody_can_write(path: Path, tmp_path: Path, read_only: bool) -> None:
    with small_disk(tmp_path / "disk", "64m") as disk:
        subprocess.run([sys.executable, "-c", LEAVE_WAL, str(disk / "thoth.db")], check=True)
        (disk / "thoth.db-shm").unlink()
        subprocess.run([str(program("mount")), "-o", "remount,ro", str(disk)], check=True)
        index = SqliteIndex(disk / "thoth.db", read_only=read_only)
        with closing(index), pytest.raises(IndexFailure) as caught:
            ask_everything(index)
        told = str(caught.value)
        assert told.startswith(f"{disk}/thoth.db: was copied while in use, without its -shm")
        assert f"; the file system of {disk} is mounted read-only: remount it, or name another index" in told
        assert "dry run" not in told
