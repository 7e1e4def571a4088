"""The collector's own directory: a full disk below it (F10), what dead runs and others have left there (F11, F18)."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.collector import Collector, Pass
from tests.support.daemon import Daemon
from tests.support.elfwriter import linux_core
from tests.support.invariants import check_store
from tests.support.mishaps import collector, small_disk
from tests.support.processes import wait_until
from tests.support.roots import program
from tests.support.sshd import Node

PLACE = "/var/tmp/thoth"
NAME = ".local/state/sdc-thoth"


@pytest.fixture
def only(node: Callable[..., Node]) -> Node:
    made = node()
    for pid in range(1, 4):
        made.put(f"{PLACE}/core.{pid}", linux_core(pid))
    return made


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "512k") as folder:
        yield folder


def on(disk: Path, home: Collector) -> Collector:
    """The collector's directory lies on that disk."""
    home.options = (*home.options, "-d", str(disk / "state"))
    return home


def said(result: Pass) -> list[str]:
    """What it said beside how far it was."""
    return [line for line in result.talk.splitlines() if "discovering dumps on" not in line]


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return ballast


def test_F10_a_directory_without_room_costs_no_dump(only: Node, disk: Path, tmp_path: Path) -> None:
    home = on(disk, collector(tmp_path / "home", [only]))
    assert home.collect("-t", "crash").code == 0  # the journal is made
    ballast = fill(disk)
    result = home.collect()
    assert set(result.results.values()) == {"stored"} and result.code == 0
    assert "dumps will be looked at again" in result.talk or "begun anew" in result.talk
    assert "status" in result.talk and "Traceback" not in result.talk
    ballast.unlink()
    again = home.collect()
    assert set(again.results.values()) == {"present"} and said(again) == []
    assert home.command_run("status", "-d", str(disk / "state")).returncode == 0
    check_store(home)


def test_F10_a_daemon_whose_directory_runs_full_goes_on(only: Node, disk: Path, tmp_path: Path) -> None:
    home = on(disk, collector(tmp_path / "home", [only], "[schedule]\nevery = 0.5\n"))
    with Daemon(home) as daemon:
        daemon.wait_for("pass ends")
        ballast = fill(disk)
        only.put(f"{PLACE}/core.9", linux_core(9))
        assert wait_until(lambda: "database or disk is full" in daemon.log, 20)
        assert daemon.wait_for("dump", 4)["result"] == "stored"
        daemon.wait_for_passes(2)
        ballast.unlink()
        daemon.wait_for_passes(2)
        assert wait_until(lambda: home.command_run("status", "-d", str(disk / "state")).returncode == 0, 10)
        assert daemon.stop() == 0
        assert "Traceback" not in daemon.log
    check_store(home)


_LATE = [pytest.param("write,pwrite64", n, marks=pytest.mark.soak) for n in (1, 2, 5, 10, 20)]
_LATE.append(pytest.param("fsync", 1, marks=pytest.mark.soak))
_FULL_AT = [("fsync", 3), ("rename", 1), *_LATE]


@pytest.mark.parametrize(("call", "number"), _FULL_AT)
def test_F10_no_room_at_any_step_of_what_is_noted(call: str, number: int, only: Node, tmp_path: Path) -> None:
    """From the n-th time on that this call is made on files of the collector's directory, the disk is full."""
    home = collector(tmp_path, [only])
    state = tmp_path / NAME
    state.mkdir(mode=0o700, parents=True)
    files = ("journal.sqlite", "journal.sqlite-journal", "status.json")
    only_those = [word for name in files for word in ("-P", str(state / name))]
    done = subprocess.run(
        [str(program("strace")), "-f", "-qq", "-o", str(tmp_path / "trace"), *only_those, "-e", f"trace={call}",
         "-e", f"inject={call}:error=ENOSPC:when={number}+", *home.command("--json")],
        env=home.environment, cwd=home.home, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    result = home.collect()
    assert set(result.results.values()) <= {"stored", "present"} and result.code == 0
    assert set(home.collect().results.values()) == {"present"}
    assert not list(state.glob("*.draft"))
    check_store(home)


def leave_half_a_transaction(path: Path) -> None:
    """The journal as a run leaves it that is killed in the middle of writing: half of it is new, and SQLite's own
    journal knows the rest."""
    child = os.fork()
    if child == 0:
        db = sqlite3.connect(path, isolation_level=None)
        db.execute("PRAGMA cache_size = 1")
        db.execute("BEGIN")
        db.execute("UPDATE seen SET done = 0, identity = NULL, reason = 'half'")
        db.executemany(
            "INSERT INTO seen VALUES ('x', ?, 's', NULL, 0, 'half', 1)", ((b"%d" % n,) for n in range(5000))
        )
        os._exit(0)  # as by SIGKILL: nothing is rolled back
    os.waitpid(child, 0)


def test_F11_what_a_dead_run_has_left_is_not_believed(only: Node, tmp_path: Path) -> None:
    home = collector(tmp_path, [only])
    assert home.collect().code == 0
    state = tmp_path / NAME
    leave_half_a_transaction(state / "journal.sqlite")
    assert (state / "journal.sqlite-journal").stat().st_size > 0
    (state / f".thoth-{'0' * 32}.draft").write_text('{"version": 1')  # a status that never got its name
    (state / "status.json").write_text((state / "status.json").read_text()[:100])
    broken = home.command_run("status")
    assert broken.returncode == 1 and "the next pass writes it anew" in broken.stderr
    dry = home.collect("-n")  # it cannot undo what is half done, and does without
    assert set(dry.results.values()) == {"present"} and (state / "journal.sqlite-journal").exists()
    result = home.collect()
    assert set(result.results.values()) == {"present"} and (result.code, said(result)) == (0, [])
    assert {path.name for path in state.iterdir()} == {"journal.sqlite", "status.json"}
    with sqlite3.connect(state / "journal.sqlite") as db:
        assert db.execute("SELECT count(*), sum(done) FROM seen").fetchone() == (3, 3)
    db.close()
    assert home.command_run("status").returncode == 0
    check_store(home)


def test_F18_links_under_our_names_are_not_written_through(only: Node, tmp_path: Path) -> None:
    home = collector(tmp_path / "home", [only], "[schedule]\nevery = 3600\n")
    os.umask(0)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    state = home.home / NAME
    state.mkdir(mode=0o700, parents=True)
    for name in ("lock.daemon.lock", "lock", "journal.sqlite"):
        (state / name).unlink(missing_ok=True)
        (state / name).symlink_to(victim)
        with Daemon(home) as daemon:
            if name == "lock":  # of a pass: the daemon itself goes on, and says so each time
                told = daemon.wait_for("the pass failed")
                assert daemon.stop() == 0
            else:
                assert daemon.wait() == 1
                told = daemon.wait_for("cannot run")
            assert "a link, which is not followed; remove it" in told["reason"]
        (state / name).unlink()
    (state / "status.json").unlink(missing_ok=True)
    (state / "status.json").symlink_to(victim)
    with Daemon(home) as daemon:
        daemon.wait_for("pass ends")
        assert daemon.stop() == 0
    assert victim.read_text() == "mine"
    assert all(path.stat().st_mode & 0o077 == 0 for path in (state, *state.iterdir()))
    state.chmod(0o755)
    with Daemon(home) as daemon:
        assert daemon.wait() == 1
        assert "others may look into it; run: chmod 700" in daemon.wait_for("cannot run")["reason"]
