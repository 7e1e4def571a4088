"""Several processes on one store."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.thoth.store.directory.scene import drafts
from tests.thoth.store.one_upload import CORE, INFO
from tests.thoth.store.traced import TOP
from thoth.store.base import ABSENT
from thoth.store.directory import DirectoryStore

ADD = """
import sys
from pathlib import Path
from thoth.errors import PreconditionFailed
from thoth.store.directory import DirectoryStore
store = DirectoryStore(Path(sys.argv[1]))
left = int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
while left:
    data, etag = store.get("/alice/count")
    try:
        store.put("/alice/count", b"%d" % (int(data) + 1), if_match=etag)
    except PreconditionFailed:
        continue
    left -= 1
"""

HOLD = """
import sys
from pathlib import Path
from thoth.store.base import Digests
from thoth.store.directory import DirectoryStore
upload = DirectoryStore(Path(sys.argv[1])).begin("/alice/held", 4)
upload.part(b"held")
print("ready", flush=True)
sys.stdin.readline()
upload.commit(Digests(4, "", ""))
"""


@contextmanager
def started(program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has said it is ready, and waits for a line."""
    command = [sys.executable, "-c", program, *arguments]
    with subprocess.Popen(command, cwd=TOP, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield process


def add_from_two_processes(root: Path, rounds: int) -> None:
    store = DirectoryStore(root)
    store.put("/alice/count", b"0", if_match=ABSENT)
    with started(ADD, str(root), str(rounds)) as one, started(ADD, str(root), str(rounds)) as two:
        for process in (one, two):
            assert process.stdin
            process.stdin.write("\n")
            process.stdin.flush()
        assert (one.wait(), two.wait()) == (0, 0)
    assert store.get("/alice/count")[0] == b"%d" % (2 * rounds)


def test_F36_two_processes_lose_no_change(root: Path) -> None:
    add_from_two_processes(root, 200)


@pytest.mark.soak
def test_F36_two_processes_lose_no_change_for_long(root: Path) -> None:
    add_from_two_processes(root, 10_000)


def test_a_live_upload_is_not_swept(root: Path) -> None:
    with started(HOLD, str(root)) as process:
        mine = DirectoryStore(root).begin(CORE, 0)
        assert len(drafts(root)) == 2
        process.communicate("\n")
        assert process.returncode == 0
        mine.abort()
    assert DirectoryStore(root).get("/alice/held")[0] == b"held"
    assert drafts(root) == []


@pytest.mark.parametrize("write", ["begin", "put"])
def test_F30_a_dead_upload_is_swept_by_the_first_write(root: Path, write: str) -> None:
    with started(HOLD, str(root)) as process:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    store = DirectoryStore(root)
    assert list(store.list("/alice")) == []
    assert len(drafts(root)) == 1
    if write == "begin":
        store.begin(CORE, 0).abort()
    else:
        store.put(INFO, b"{}")
    assert drafts(root) == []
