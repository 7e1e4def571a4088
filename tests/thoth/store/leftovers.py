"""Large uploads that end early, what they leave in a directory store, and the next one, which goes on with it."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.thoth.store.large_upload import MEGABYTE, NAME, content, opened, send, store
from tests.thoth.store.traced import TOP
from thoth.store.base import Upload

MODULE = "tests.thoth.store.large_upload"
LETTERS = "abcdefghij"
SIZE = len(LETTERS) * MEGABYTE
OTHER = "/alice/stor/thoth/other"


@contextmanager
def uploading(root: Path, letters: str, stop: int) -> Iterator[subprocess.Popen[str]]:
    """A process that has sent so many bytes, and waits for a line."""
    command = [sys.executable, "-m", MODULE, str(root), letters, str(stop)]
    with subprocess.Popen(command, cwd=TOP, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write("\n")
        process.stdin.flush()
        assert [process.stdout.readline() for _ in range(2)] == ["ready\n", "there\n"]
        yield process


def killed(root: Path, letters: str = LETTERS, stop: int = 6 * MEGABYTE) -> Path:
    """What a process leaves that was killed when it had sent so many bytes."""
    before = {*drafts(root)}
    with uploading(root, letters, stop) as process:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    (draft,) = {*drafts(root)} - before
    return draft


def drafts(root: Path) -> list[Path]:
    return sorted((root / ".uploads").iterdir()) if (root / ".uploads").exists() else []


def object_of(root: Path) -> Path:
    return root / NAME[1:]


def assert_stored(root: Path, letters: str = LETTERS) -> None:
    """The object is there, as it would be had nothing happened, and nothing else is."""
    assert object_of(root).read_bytes() == content(letters)
    status = object_of(root).lstat()
    assert (stat.S_IMODE(status.st_mode), status.st_nlink, status.st_uid) == (0o600, 1, os.geteuid())
    assert drafts(root) == []


@contextmanager
def begun(root: Path, name: str, size: int) -> Iterator[Upload]:
    """An upload that holds no file of the store any more when the test is over."""
    upload = opened(root).begin(name, size)
    try:
        yield upload
    finally:
        upload.abort()


def break_off(root: Path, data: bytes, size: int = SIZE) -> None:
    """An upload of ``size`` bytes that is given up after these."""
    upload = opened(root).begin(NAME, size)
    send(upload, data)
    upload.abort()


def gone_on_with(root: Path, letters: str = LETTERS) -> int:
    """Upload it in this process, and see that it is right. Returns how many megabytes were written."""
    count = store(root, letters)
    assert_stored(root, letters)
    assert not count % MEGABYTE
    return count // MEGABYTE


def aged(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))
