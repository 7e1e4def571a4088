"""A large upload into the directory store that was killed, and the next one, which goes on with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.thoth.store.large_upload import MEGABYTE, NAME, PIECE, content, opened, send, store, written
from tests.thoth.store.leftovers import (
    LETTERS,
    MODULE,
    SIZE,
    assert_stored,
    drafts,
    gone_on_with,
    killed,
    object_of,
    uploading,
)
from tests.thoth.store.traced import TOP, Run, traced
from thoth.store.base import Digests

CALLS = ("openat", "flock", "utimensat", "preadv", "preadv2", "ftruncate", "write", "fsync", "renameat")


def test_bytes_are_counted() -> None:
    """The measure that these tests go by."""
    before = written()
    with Path(os.devnull).open("wb", buffering=0) as sink:
        sink.write(bytes(12345))
    assert written() - before == 12345


@pytest.mark.parametrize("stop", [1, MEGABYTE, 6 * MEGABYTE + 1, SIZE])
def test_F30_what_was_written_is_not_written_again(root: Path, stop: int) -> None:
    killed(root, stop=stop)
    done = subprocess.run(
        [sys.executable, "-m", MODULE, str(root), LETTERS],
        cwd=TOP, text=True, input="\n", capture_output=True, check=True,
    )  # fmt: skip
    again = int(done.stdout.split()[1])
    assert again == SIZE - stop // PIECE * PIECE if stop < SIZE else again == 0
    assert_stored(root)


@pytest.mark.parametrize(("first", "then"), [(300_000, 4 * MEGABYTE), (4 * MEGABYTE, 300_000), (65_537, 999)])
def test_parts_of_other_sizes(root: Path, first: int, then: int) -> None:
    data = content("ab..cdefghij")
    earlier = opened(root).begin(NAME, len(data))
    send(earlier, data[: 9 * MEGABYTE], first)
    earlier.abort()
    before, upload = written(), opened(root).begin(NAME, len(data))
    send(upload, data, then)
    upload.commit(Digests(len(data), "", ""))
    assert written() - before <= len(data) - 9 * MEGABYTE + PIECE
    assert_stored(root, "ab..cdefghij")


def traced_upload(root: Path, *options: str) -> Run:
    return traced(MODULE, root, [LETTERS], CALLS, options)


def calls_of_the_next(root: Path, first: int) -> Counter[str]:
    """How often each call is made by an upload that goes on where another one was killed at this write."""
    kill_at_write(root, first)
    return Counter(name for name, _ in traced_upload(root).calls)


def kill_at_write(root: Path, number: int) -> None:
    assert traced_upload(root, "-e", f"inject=write:signal=KILL:when={number}").status == -signal.SIGKILL
    assert not object_of(root).exists()


def kill_twice(root: Path, first: int, call: str, number: int) -> None:
    """Kill an upload at one of its writes, the next one at this call, and see what a third one does."""
    root.mkdir(mode=0o700)
    kill_at_write(root, first)
    assert traced_upload(root, "-e", f"inject={call}:signal=KILL:when={number}").status == -signal.SIGKILL
    there = sum(left.stat().st_size for left in drafts(root))
    if object_of(root).exists():
        assert_stored(root)
    count = store(root, LETTERS)
    assert SIZE - there <= count <= SIZE - there + PIECE
    assert_stored(root)


def test_F30_killed_again_while_it_goes_on(tmp_path: Path, root: Path) -> None:
    made = calls_of_the_next(root, 20)
    assert {*CALLS} - {*made} in ({"preadv"}, {"preadv2"})  # which of them os.preadv is, differs
    for call, count in made.items():
        number = 1 if call == "fsync" else (count + 1) // 2  # the first is the draft's
        kill_twice(tmp_path / call, 20, call, number)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", [2, 20, 32])  # the last one that writes some of it
def test_F30_killed_again_at_every_call(tmp_path: Path, root: Path, first: int) -> None:
    for call, count in calls_of_the_next(root, first).items():
        for number in range(1, count):  # the last is one that it says with that it is done
            kill_twice(tmp_path / f"{call}-{number}", first, call, number)


def test_two_processes_at_once_share_no_draft(root: Path) -> None:
    killed(root, stop=3 * MEGABYTE)
    with uploading(root, "abcdefghij", 4 * MEGABYTE) as one, uploading(root, "klmnopqrst", 5 * MEGABYTE) as two:
        assert [path.stat().st_size for path in sorted(drafts(root), key=lambda path: path.stat().st_size)] == [
            4 * MEGABYTE,
            5 * MEGABYTE,
        ]
        said, _ = one.communicate("\n")
        assert MEGABYTE * 7 <= int(said) <= MEGABYTE * 7 + PIECE + 100
        assert object_of(root).read_bytes() == content("abcdefghij")
        two.communicate("\n")
        assert (one.returncode, two.returncode) == (0, 0)
    assert_stored(root, "klmnopqrst")


def test_of_two_that_were_killed_the_longest_is_gone_on_with_and_none_stays(root: Path) -> None:
    with uploading(root, LETTERS, 2 * MEGABYTE) as one, uploading(root, LETTERS, 7 * MEGABYTE) as two:
        for process in (one, two):
            process.send_signal(signal.SIGKILL)
            process.communicate()
    assert len(drafts(root)) == 2
    assert gone_on_with(root) == 3
