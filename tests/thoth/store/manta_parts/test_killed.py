"""Uploads in parts by processes that are killed, and how much memory one takes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.manta_server import MantaServer
from tests.support.manta_store import manta
from tests.support.processes import wait_until
from tests.thoth.store.manta_parts.one_upload import NAME, PART
from tests.thoth.store.manta_parts.scene import (
    SIZES,
    count,
    is_right,
    parts_sent,
    upload,
)
from thoth.errors import NoSuchObject


def start(server: MantaServer, key: Path, notes: Path, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.thoth.store.manta_parts.one_upload", server.url, str(key), str(notes)]
    running = subprocess.Popen([*command, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    return running


def end(running: subprocess.Popen[str]) -> str:
    out, _ = running.communicate(timeout=60)
    return out


KILLED_AFTER = [0, 1, 4, 6]  # parts that have arrived, of eight


@pytest.mark.parametrize("arrived", KILLED_AFTER)
def test_a_killed_upload_is_completed_by_the_next(
    server: MantaServer, notes: Path, key_file: Path, arrived: int
) -> None:
    size = 8 * PART - 7
    running = start(server, key_file, notes, size, 0.01)
    try:
        assert wait_until(lambda: len(parts_sent(server)) >= arrived and any(notes.glob("*.json")), 20)
    finally:
        os.kill(running.pid, signal.SIGKILL)
        end(running)
    sent, before = parts_sent(server), len(server.requests)
    store = manta(server, sizes=SIZES, unfinished=notes)
    with pytest.raises(NoSuchObject):
        store.stat(NAME)
    upload(store, size)
    assert is_right(server, size)
    again = [number for number in parts_sent(server, before) if number in sent]
    # A part whose bytes were all sent when its sender died may arrive after we looked: nothing else comes twice.
    assert again == []
    assert count(server, "POST", "/uploads", before) == 0
    assert not list(notes.iterdir())
    store.close()


def test_while_a_process_uploads_another_leaves_its_upload_alone(
    server: MantaServer, notes: Path, key_file: Path
) -> None:
    size = 4 * PART
    running = start(server, key_file, notes, size, 0.02)
    assert wait_until(lambda: len(parts_sent(server)) >= 1, 20)
    store = manta(server, sizes=SIZES, unfinished=notes)
    upload(store, size)
    store.close()
    end(running)
    assert running.returncode == 0
    assert count(server, "POST", "/uploads") == 2
    assert sum(each.path.endswith("/commit") and each.status == 201 for each in server.requests) == 2
    assert is_right(server, size)
    assert not list(notes.iterdir())


def peak(server: MantaServer, key: Path, notes: Path, size: int, *arguments: object) -> int:
    running = start(server, key, notes, size, *arguments)
    out = end(running)
    assert running.returncode == 0
    assert is_right(server, size)
    return int(out)


def test_memory_does_not_grow_with_the_upload(server: MantaServer, notes: Path, key_file: Path) -> None:
    small, large = (peak(server, key_file, notes, parts * PART, 0, PART) for parts in (6, 18))
    assert large - small < 12


@pytest.mark.soak
def test_memory_of_a_GiB(server: MantaServer, notes: Path, key_file: Path) -> None:
    assert peak(server, key_file, notes, 1 << 30, 0, 16 << 20) < 150
