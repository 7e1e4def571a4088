"""``thoth upload`` to Manta, killed at any moment: row F30. One clean run later all is as if nothing had been."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from tests.support.elfwriter import illumos_core
from tests.support.reqlite import ReqlServer
from tests.support.roots import program
from tests.support.site import Site
from tests.support.site import site as a_site

CALLS: Final = ("sendto", "recvfrom", "write", "rename")
SAMPLES: Final = (0.2, 0.4, 0.6, 0.8, 1.0)  # parts of the calls of sendto that a run makes: each is a request
_CALL: Final = re.compile(r"^\d+ +(\w+)\(", re.MULTILINE)
_STRACE: Final = ("-f", "--seccomp-bpf", "-qq")
_KILLED: Final = (-signal.SIGKILL, 128 + signal.SIGKILL)
_PATIENCE: Final = 60  # seconds


class Uploading:
    """Uploads dumps of 300 kB, each a new one, with the user's own index."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site = site
        self._folder = folder
        self._pids = count(1)
        self.cores: dict[Path, bytes] = {}

    def more(self) -> Path:
        pid = next(self._pids)
        path = self._folder / f"core.{pid}"
        self.cores[path] = illumos_core(pid=pid, size=300_000)
        path.write_bytes(self.cores[path])
        return path

    def run(self, *words: str | Path, strace: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        thoth = Path(sys.executable).with_name("thoth")
        environment = {**self.site.environment, "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
        before = [program("strace"), *_STRACE, *strace] if strace else []
        return subprocess.run(
            [*before, thoth, "-q", *words],
            env=environment, capture_output=True, text=True, timeout=_PATIENCE, check=False,
        )  # fmt: skip

    def calls(self, trace: Path) -> Counter[str]:
        """How often an upload makes each call."""
        done = self.run("upload", self.more(), strace=("-o", str(trace), "-e", f"trace={','.join(CALLS)}"))
        assert done.returncode == 0, done.stderr
        return Counter(_CALL.findall(trace.read_text(errors="replace")))

    def killed(self, path: Path, call: str, number: int) -> bool:
        """Whether an upload was killed when a thread of it made this call for the n-th time."""
        inject = f"inject={call}:signal=KILL:when={number}"
        done = self.run("upload", path, strace=("-o", "/dev/null", "-e", inject))
        if done.returncode in _KILLED:
            return True
        assert done.returncode == 0, done.stderr
        return False

    def check(self, path: Path) -> None:
        """A clean run completes it, and everything is in order."""
        done = self.run("upload", path)
        assert done.returncode == 0, done.stderr
        document = json.loads(self.run("info", done.stdout.strip()).stdout)
        assert document["sha256"] == hashlib.sha256(self.cores[path]).hexdigest()
        scrubbed = self.run("scrub")
        assert (scrubbed.returncode, scrubbed.stdout) == (0, ""), scrubbed.stdout


@pytest.fixture
def uploading(reql: ReqlServer, tmp_path: Path) -> Iterator[Uploading]:
    with a_site(reql, tmp_path / "bc") as site:
        yield Uploading(site, tmp_path)


def test_F30_killed_at_some_moments(uploading: Uploading, tmp_path: Path) -> None:
    made = uploading.calls(tmp_path / "trace")
    assert made["sendto"] > 5, made
    killed = 0
    for part in SAMPLES:
        path = uploading.more()
        killed += uploading.killed(path, "sendto", max(1, int(part * made["sendto"])))
        uploading.check(path)
    assert killed >= len(SAMPLES) - 1  # a directory that one run makes is there for the next


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("call", CALLS)
def test_F30_killed_at_every_moment(uploading: Uploading, call: str) -> None:
    for number in count(1):
        path = uploading.more()
        if not uploading.killed(path, call, number):
            break
        uploading.check(path)
    uploading.check(path)
    assert number > 1
