"""Killed at any moment: row F30 of the fault matrix. One clean run later all is as if nothing had been."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

import pytest

from tests.support.collector import Collector
from tests.support.elfwriter import linux_core
from tests.support.invariants import check_store
from tests.support.mishaps import check_settled, collector
from tests.support.roots import program
from tests.support.sshd import Node

PLACE = "/var/tmp/thoth"
CALLS = {
    "openat": ("openat",),
    "write": ("write", "pwrite64"),
    "fsync": ("fsync", "fdatasync"),
    "rename": ("rename", "renameat", "renameat2"),
    "sendto": ("sendto",),
    "unlink": ("unlink", "unlinkat"),
}
# Where in a run to kill it, as parts of what a run makes of that call. Most opens are Python's, at the start.
SAMPLES = (
    *(("openat", 0.9), ("write", 0.5), ("fsync", 0.2), ("fsync", 0.6), ("rename", 0.5), ("rename", 1.0)),
    *(("sendto", 0.8), ("unlink", 0.5)),
)
_CALL = re.compile(r"^(?P<thread>\d+) +(?P<name>\w+)\(", re.MULTILINE)
_PATIENCE = 60  # seconds


class Command:
    """A command that takes dumps in; ``more`` gives it new ones to take."""

    def __init__(self, home: Collector, words: list[str], plant: Callable[[bytes], object]) -> None:
        self.home = home
        self._words = words
        self._plant = plant
        self._pids = count(1)
        self.planted: list[bytes] = []

    def more(self) -> None:
        """A small dump and one of several blocks."""
        for size in (16384, 300_000):
            self.add(linux_core(next(self._pids), size=size))

    def add(self, core: bytes) -> None:
        """A dump to take in."""
        self._plant(core)
        self.planted.append(core)

    def run(self, *strace: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*strace, *self._words],
            env=self.home.environment, cwd=self.home.home,
            capture_output=True, text=True, timeout=_PATIENCE, check=False,
        )  # fmt: skip

    def calls(self, trace: Path) -> dict[str, int]:
        """How often a run makes each call: the most that one of its threads does, since strace counts for each."""
        names = ",".join(name for group in CALLS.values() for name in group)
        done = self.run(
            str(program("strace")), "-f", "--seccomp-bpf", "-qq", "-o", str(trace), "-e", f"trace={names}"
        )
        assert done.returncode == 0, done.stderr
        made = Counter(
            (found["thread"], found["name"]) for found in _CALL.finditer(trace.read_text(errors="replace"))
        )
        return {
            call: max((n for (_, name), n in made.items() if name in names), default=0)
            for call, names in CALLS.items()
        }

    def killed(self, call: str, number: int) -> bool:
        """Run it, and kill it when a thread makes this call for the n-th time; False when it came to its end."""
        kill = f"inject={','.join(CALLS[call])}:signal=KILL:when={number}"
        done = self.run(str(program("strace")), "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", kill)
        if done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL):
            return True
        assert done.returncode == 0, done.stderr
        return False

    def check(self) -> None:
        """A clean run takes what is there, and the store is in order."""
        done = self.run()
        assert done.returncode == 0, done.stdout + done.stderr
        assert sorted(data for _, data in self.home.stored()) == sorted(self.planted)
        check_store(self.home)


@pytest.fixture
def collecting(node: Callable[..., Node], tmp_path: Path) -> Iterator[Command]:
    only = node()
    home = collector(tmp_path / "home", [only])
    numbers = count(1)
    yield Command(home, home.command(), lambda core: only.put(f"{PLACE}/core.{next(numbers)}", core))
    check_settled(home, [only])


@pytest.fixture
def uploading(tmp_path: Path) -> Command:
    home = Collector(tmp_path, "")
    words = [str(Path(home.command()[0]).with_name("thoth")), "upload"]

    def plant(core: bytes) -> None:
        path = tmp_path / f"core.{len(words)}"
        path.write_bytes(core)
        words.append(str(path))

    return Command(home, words, plant)


LARGE = 80 << 20


def test_F30_a_large_upload_is_gone_on_with(uploading: Command, tmp_path: Path) -> None:
    """Killed in the middle, and again by what reads what is there. What was written is not written again."""
    uploading.more()
    uploading.check()  # the index is made, so that what is written from now on is the dump
    uploading.add(linux_core(9, size=LARGE))
    assert uploading.killed("write", 60)
    (left,) = uploading.home.store.rglob(".uploads/*.draft")
    there = left.stat().st_size
    assert there > LARGE // 2
    strace = (str(program("strace")), "-f", "--seccomp-bpf", "-qq")
    killing = uploading.run(*strace, "-o", "/dev/null", "-e", "inject=preadv,preadv2:signal=KILL:when=20")
    assert killing.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
    trace = tmp_path / "trace"
    done = uploading.run(*strace, "-y", "-o", str(trace), "-e", "trace=write")
    assert done.returncode == 0, done.stderr
    written = re.findall(rf"write\(\d+<[^>]*{re.escape(left.name)}>.*= (\d+)$", trace.read_text(), re.MULTILINE)
    assert LARGE - there <= sum(map(int, written)) <= LARGE - there + (64 << 10)
    uploading.check()


def sample(command: Command, trace: Path, samples: Sequence[tuple[str, float]]) -> None:
    command.more()
    made = command.calls(trace)
    moments = [(call, max(1, int(part * made[call]))) for call, part in samples if made[call]]
    for call, number in moments:
        kill_at(command, call, number)
        command.check()
    assert len(moments) >= len(samples) - 1  # an upload talks to nobody


def kill_at(command: Command, call: str, number: int) -> None:
    """Kill a run at this call, or earlier when it makes fewer: which thread does what is not the same twice."""
    command.more()
    while not command.killed(call, number):
        assert number > 1, f"a run makes no call of {call}"
        number //= 2
        command.more()


def every(command: Command, call: str) -> None:
    """Kill at the first such call, then at the second, until a run comes to its end."""
    for number in count(1):
        command.more()
        if not command.killed(call, number):
            break
        command.check()
    assert number > 1 or call == "sendto"


def test_F30_collector_killed(collecting: Command, tmp_path: Path) -> None:
    sample(collecting, tmp_path / "trace", SAMPLES[1::2])


@pytest.mark.soak
def test_F30_collector_killed_more_often(collecting: Command, tmp_path: Path) -> None:
    sample(collecting, tmp_path / "trace", SAMPLES)


def test_F30_upload_killed(uploading: Command, tmp_path: Path) -> None:
    sample(uploading, tmp_path / "trace", SAMPLES)


def with_rule(command: Command) -> Command:
    rule = {"name": "every", "version": 1, "matches": ["type=core"], "ticket": "OS-1"}
    path = command.home.home / "rule.json"
    path.write_text(json.dumps(rule))
    done = command.home.thoth("autoanalyzers", "upload", str(path))
    assert done.returncode == 0, done.stderr
    return command


def every_rename(command: Command) -> None:
    """Kill at the first, then at the second and so on, of a run that takes one dump in and has a rule for it."""
    for number in count(1):
        command.add(linux_core(number))
        if not command.killed("rename", number):
            break
        command.check()
        check_rules(command)
    assert number > 3  # the dump, its document, and what the rule makes of that
    check_rules(command)


def check_rules(command: Command) -> None:
    """The rule was run on each dump, and once: the document has been changed by nothing else."""
    for info in command.home.infos():
        assert (info.document.get("ticket"), info.document.get("rules_pending"), info.revision) == ("OS-1", None, 1)
        assert info.document["autoanalyzed"].keys() == {"every"}


def test_F30_upload_killed_at_every_rename_with_a_rule(uploading: Command) -> None:
    every_rename(with_rule(uploading))


def test_F30_collector_killed_at_every_rename_with_a_rule(collecting: Command) -> None:
    every_rename(with_rule(collecting))


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("call", CALLS)
def test_F30_collector_killed_at_every_step(call: str, collecting: Command) -> None:
    every(collecting, call)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("call", CALLS)
def test_F30_upload_killed_at_every_step(call: str, uploading: Command) -> None:
    every(uploading, call)
