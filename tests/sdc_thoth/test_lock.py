"""One run at a time: F50, F51, and the lock's part of F52."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sdc_thoth.errors import AlreadyRunning
from sdc_thoth.lock import run_lock
from thoth import UsageError

# Holds the lock until its stdin ends; says so, or that another run does.
HOLDER = """
import sys
from pathlib import Path
from sdc_thoth.errors import AlreadyRunning
from sdc_thoth.lock import run_lock
for line in sys.stdin:
    try:
        with run_lock(Path(sys.argv[1]), "lock"):
            print("held", flush=True)
            sys.stdin.readline()
        print("released", flush=True)
    except AlreadyRunning as error:
        print(error.exit_code, error, flush=True)
"""


class Holder:
    """A process that takes the lock when asked to, and lets it go when asked to."""

    def __init__(self, directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def ask(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def asked(self) -> str:
        self.ask()
        return self.answer()

    def __enter__(self) -> Holder:
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def holder(directory: Path) -> Iterator[Callable[[], Holder]]:
    with ExitStack() as undo:
        yield lambda: undo.enter_context(Holder(directory))


def test_the_lock_is_there_while_it_is_held(directory: Path) -> None:
    with run_lock(directory, "lock", clock=lambda: 1000000000.5):
        assert (directory / "lock").read_text() == f"{os.getpid()} 2001-09-09T01:46:40Z\n"
        assert stat.S_IMODE((directory / "lock").stat().st_mode) == 0o600
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert list(directory.iterdir()) == []


def test_it_is_let_go_when_the_run_fails(directory: Path) -> None:
    with pytest.raises(ZeroDivisionError), run_lock(directory, "lock"):
        _ = 1 // 0
    with run_lock(directory, "lock"):
        pass


def test_F50_the_second_run_ends_with_75_and_names_the_first(directory: Path, holder: Callable[[], Holder]) -> None:
    first = holder()
    assert first.asked() == "held"
    with pytest.raises(AlreadyRunning) as caught, run_lock(directory, "lock"):
        pass
    assert caught.value.exit_code == 75
    said = re.fullmatch(r"already running: process (\d+), since (\S+Z), holds (.*)", str(caught.value))
    assert said is not None
    assert (int(said[1]), said[3]) == (first.pid, str(directory / "lock"))
    assert (directory / "lock").read_text().startswith(f"{first.pid} ")  # untouched (F52)


@pytest.mark.parametrize("rounds", [20, pytest.param(100, marks=pytest.mark.soak)])
def test_F50_of_two_that_start_together_one_runs(holder: Callable[[], Holder], rounds: int) -> None:
    both = (holder(), holder())
    for _ in range(rounds):
        for each in both:
            each.ask()
        answers = {each.pid: each.answer() for each in both}
        (winner,) = [each for each in both if answers[each.pid] == "held"]
        (loser,) = [each for each in both if each is not winner]
        # The winner may be slow to write who it is; that it is told is in the test above.
        holder_told = rf"(process {winner.pid}, since \S+,|another process)"
        assert re.fullmatch(rf"75 already running: {holder_told} holds .*", answers[loser.pid])
        assert winner.asked() == "released"


def test_F50_a_lock_that_is_let_go_while_we_reach_for_it(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Between our open and our flock its holder ends: what we then hold is a file that nobody else will find.
    flock, calls = fcntl.flock, []

    def late(fd: int, operation: int) -> None:
        if not calls:
            (directory / "lock").unlink()
        calls.append(fd)
        flock(fd, operation)

    monkeypatch.setattr("fcntl.flock", late)
    with run_lock(directory, "lock"):
        assert (directory / "lock").read_text().startswith(f"{os.getpid()} ")
    assert len(calls) == 2


def test_F51_the_lock_of_a_killed_run_is_no_lock(directory: Path, holder: Callable[[], Holder]) -> None:
    first = holder()
    assert first.asked() == "held"
    os.kill(first.pid, signal.SIGKILL)
    first.process.wait()
    assert (directory / "lock").exists()
    with run_lock(directory, "lock"):
        assert (directory / "lock").read_text().startswith(f"{os.getpid()} ")


@pytest.mark.parametrize(
    "content",
    ["", "garbage\n" * 1000, "1 2001-09-09T01:46:40Z\n", f"{os.getpid()}\n"],
    ids=["empty", "garbage", "init", "ours"],
)
def test_F51_what_stands_in_the_file_does_not_matter(directory: Path, content: str) -> None:
    directory.mkdir(0o700)
    (directory / "lock").write_text(content)
    with run_lock(directory, "lock"):
        assert re.fullmatch(rf"{os.getpid()} \S+Z\n", (directory / "lock").read_text())


def test_F51_a_holder_that_has_not_written_is_not_given_a_false_name(
    directory: Path, holder: Callable[[], Holder]
) -> None:
    assert holder().asked() == "held"
    (directory / "lock").write_text("")
    pauses: list[float] = []
    with (
        pytest.raises(AlreadyRunning, match="already running: another process holds"),
        run_lock(directory, "lock", sleep=pauses.append),
    ):
        pass
    assert 0 < sum(pauses) < 1


@pytest.mark.parametrize("target", ["victim", "missing"])
def test_F51_a_link_is_refused(tmp_path: Path, directory: Path, target: str) -> None:
    directory.mkdir(0o700)
    (tmp_path / "victim").write_text("precious")
    (directory / "lock").symlink_to(tmp_path / target)
    with (
        pytest.raises(UsageError, match=r"a link, which is not followed; remove it"),
        run_lock(directory, "lock"),
    ):
        pass
    assert (tmp_path / "victim").read_text() == "precious"
    assert not (tmp_path / "missing").exists()


def test_F51_a_fifo_does_not_block(directory: Path) -> None:
    directory.mkdir(0o700)
    os.mkfifo(directory / "lock")
    with pytest.raises(UsageError, match="not a regular file; remove it"), run_lock(directory, "lock"):
        pass


def test_F51_a_directory_that_cannot_be_written_to(tmp_path: Path) -> None:
    # Root is not bound by mode bits; /proc takes new files from nobody.
    with (
        pytest.raises(UsageError, match=r"/proc/thoth-state: No such file or directory"),
        run_lock(Path("/proc/thoth-state"), "lock"),
    ):
        pass


def test_F51_directories_that_are_not_ours_alone(tmp_path: Path) -> None:
    shared, foreign, link = tmp_path / "shared", tmp_path / "foreign", tmp_path / "link"
    shared.mkdir(0o755)
    foreign.mkdir(0o700)
    os.chown(foreign, 12345, -1)
    link.symlink_to(shared)
    for path, message in (
        (shared, "others may look into it; run: chmod 700"),
        (foreign, "belongs to another user"),
        (link, "not a directory; a link is not followed"),
    ):
        with pytest.raises(UsageError, match=message), run_lock(path, "lock"):
            pass
        assert not (path / "lock").exists()


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "..", ".hidden", "a\nb", "x" * 200])
def test_lock_names_stay_in_the_directory(directory: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"^--lockfile "), run_lock(directory, name):
        pass
    assert not directory.exists()
