"""Dumps that are thrown away, row F39: what is to stay stays, whatever fails, and a next run ends the work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.support.arrivals import NOW, objects, take
from tests.support.elfwriter import illumos_core
from tests.support.memory_index import MemoryIndex
from tests.support.memory_store import MemoryStore
from tests.support.roots import program
from thoth.config import load_config
from thoth.edit import revise
from thoth.errors import StoreError, ThothError
from thoth.library import Thoth, open_thoth
from thoth.model import Identity
from thoth.purge import Rules, candidates, purge_dump
from thoth.store.base import ObjectStore
from thoth.store.wrappers import Passing

DAY = 86400
RULES = Rules(before=NOW - 90 * DAY)
GOING = 3  # dumps that a purge takes


class Died(BaseException):
    """What a process that is killed leaves is what it leaves when this goes through it."""


class Faulty(Passing):
    """A store in which the n-th delete or conditional write fails, before or after it has done its work."""

    def __init__(self, store: ObjectStore) -> None:
        super().__init__(store)
        self.fault: BaseException | None = None
        self.deletes_only = False
        self.left = 0  # calls until the fault
        self.after = False

    def put(self, name: str, data: bytes, *, if_match: str | None = None) -> str:
        etag: str = self._called(
            lambda: super(Faulty, self).put(name, data, if_match=if_match), not self.deletes_only
        )
        return etag

    def delete(self, name: str, *, if_match: str | None = None) -> None:
        self._called(lambda: super(Faulty, self).delete(name, if_match=if_match), True)

    def _called(self, work: Callable[[], Any], counts: bool) -> Any:
        self.left -= counts
        due = counts and self.left == 0 and self.fault is not None
        if due and not self.after:
            raise self.fault  # type: ignore[misc]  # it is not None when it is due
        done = work()
        if due:
            raise self.fault  # type: ignore[misc]  # as above
        return done


@pytest.fixture
def store() -> Faulty:
    return Faulty(MemoryStore(now=lambda: NOW))


@pytest.fixture
def thoth(store: Faulty) -> Thoth:
    """Three old dumps, one of them expanded; one with a ticket, one of unknown time, one that is new."""
    thoth = Thoth(store, MemoryIndex(), "bmc")
    for pid in range(GOING + 3):
        info = take(thoth, illumos_core(pid=pid), b"core", mtime=NOW - (200 - pid) * DAY).info
        changes: dict[int, dict[str, Any]] = {
            1: {"expanded": {"dump": f"{info.document['name']}/vmcore.0", "size": 3}},
            3: {"ticket": "OS-1"},
            4: {"time": None},
            5: {"time": NOW - DAY},
        }
        if pid == 1:
            store.put(f"{info.document['name']}/vmcore.0", b"xyz")
        if pid in changes:
            revise(thoth, info.id, lambda info, more=changes[pid]: info.changed(**more))  # type: ignore[misc]
    return thoth


def purge(thoth: Thoth, rules: Rules = RULES) -> list[Exception]:
    """What ``thoth purge --delete`` does: one after the other, each failure noted."""
    failures: list[Exception] = []

    def failed(identity: Identity, error: ThothError) -> None:
        failures.append(error)

    for each in [found.info.id for found in candidates(thoth, rules, failed) if not found.kept]:
        try:
            purge_dump(thoth, each, rules, now=NOW)
        except ThothError as error:
            failures.append(error)
    return failures


def pids(thoth: Thoth, *, purged: bool) -> list[int]:
    """The dumps that are purged, or are not, by their pid; store and index agree on each."""
    found = []
    for entry in thoth.store.list(f"/{thoth.user}/stor/thoth"):
        stored = thoth.stored_info(Identity(entry.name))
        assert stored is not None
        if bool(stored[0].document.get("purged")) is purged:
            found.append(int(stored[0].document["pid"]))
    return sorted(found)


def check_protected(thoth: Thoth) -> None:
    """What has to stay is whole, and a tombstone has no objects."""
    here = objects(thoth)
    for entry in thoth.store.list(f"/{thoth.user}/stor/thoth"):
        stored = thoth.stored_info(Identity(entry.name))
        assert stored is not None
        document = stored[0].document
        files = [name for name in here if entry.name in name]
        if document.get("purged"):
            assert len(files) == 1, files
            assert int(document["pid"]) < GOING
        elif int(document["pid"]) >= GOING:
            assert len(here[document["dump"]]) == document["size"]


def check_done(thoth: Thoth) -> None:
    """A run without faults ends the work, and one more finds nothing to do."""
    assert purge(thoth) == []
    check_protected(thoth)
    assert pids(thoth, purged=True) == list(range(GOING))
    assert pids(thoth, purged=False) == list(range(GOING, GOING + 3))
    for entry in thoth.store.list(f"/{thoth.user}/stor/thoth"):
        stored = thoth.stored_info(Identity(entry.name))
        assert stored is not None
        assert thoth.index.get(Identity(entry.name)) == stored[0]
    before = objects(thoth)
    assert purge(thoth) == []
    assert objects(thoth) == before


def test_F39_the_n_th_delete_fails(thoth: Thoth, store: Faulty) -> None:
    """For N = 1, 2, .. on the same dumps, until there is nothing left to delete."""
    store.deletes_only = True
    for number in count(1):
        store.fault, store.left = StoreError("I/O error"), number
        failures = purge(thoth)
        check_protected(thoth)
        if not failures:
            break
        assert [str(each) for each in failures] == ["I/O error"]
    assert number == 2  # the first run has purged all but one
    store.fault = None
    check_done(thoth)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("number", range(1, 9))
def test_F39_each_delete_and_each_mark_fails_in_its_turn(
    thoth: Thoth, store: Faulty, number: int, after: bool
) -> None:
    store.fault, store.left, store.after = StoreError("I/O error"), number, after
    failures = purge(thoth)
    assert len(failures) == (number <= 2 * GOING + 1)  # three dumps, four objects
    check_protected(thoth)
    store.fault = None
    check_done(thoth)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("number", range(1, 8))
def test_F39_killed_at_each_delete_and_at_each_mark(thoth: Thoth, store: Faulty, number: int, after: bool) -> None:
    store.fault, store.left, store.after = Died(), number, after
    with pytest.raises(Died):
        purge(thoth)
    check_protected(thoth)
    store.fault = None
    check_done(thoth)


def test_F39_a_ticket_that_is_set_after_a_run_died_keeps_what_is_left(thoth: Thoth, store: Faulty) -> None:
    """Killed between the objects of one dump: its ticket then saves the dump itself, which goes last."""
    expanded = next(found.info.id for found in candidates(thoth, RULES, print) if found.info.document["pid"] == "1")
    store.fault, store.left, store.after, store.deletes_only = Died(), 1, True, True
    with pytest.raises(Died):
        purge_dump(thoth, expanded, RULES, now=NOW)
    store.fault = None
    revise(thoth, expanded, lambda info: info.changed(ticket="OS-2"))
    assert purge(thoth) == []
    assert pids(thoth, purged=True) == [0, 2]
    assert store.stat(f"/bmc/stor/thoth/{expanded}/core").size == 16384


# ---- the command, killed by the kernel ----------------------------------------------------------------

_CALLS = {"unlink": "unlink,unlinkat", "rename": "rename,renameat,renameat2", "fsync": "fsync,fdatasync"}


class Command:
    """``thoth purge --delete`` in a home of its own, with two old dumps and one that has a ticket."""

    def __init__(self, home: Path) -> None:
        self.environment = {**os.environ, "HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[2])}
        self._words = [sys.executable, "-m", "thoth", "purge", "--older", "90d", "--delete"]
        self._pids = count(GOING * 1000)
        with self.opened() as thoth:
            self._put(thoth, GOING, ticket="OS-1")

    def opened(self) -> Thoth:
        place = f"{self.environment['HOME']}/.local/share/thoth"
        return open_thoth(load_config({"THOTH_STORE": f"file://{place}/store", "THOTH_DB": f"sqlite://{place}/db"}))

    def more(self) -> None:
        with self.opened() as thoth:
            for _ in range(2):
                self._put(thoth, next(self._pids))

    def _put(self, thoth: Thoth, pid: int, **changes: Any) -> None:
        info = take(thoth, illumos_core(pid=pid), b"core", mtime=time.time() - 200 * DAY).info
        revise(thoth, info.id, lambda info: info.changed(uploaded=time.time(), **changes))

    def run(self, *before: str) -> int:
        place = f"{self.environment['HOME']}/.local/share/thoth"
        where = {"THOTH_STORE": f"file://{place}/store", "THOTH_DB": f"sqlite://{place}/db"}
        done = subprocess.run(
            [*before, *self._words],
            env={**self.environment, **where}, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode in (0, -signal.SIGKILL, 128 + signal.SIGKILL), done.stderr
        return done.returncode

    def killed(self, call: str, number: int) -> bool:
        """Whether a run made this call for the n-th time, at which it was killed."""
        kill = f"inject={_CALLS[call]}:signal=KILL:when={number}"
        return self.run(str(program("strace")), "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", kill) != 0

    def check(self) -> None:
        """Then a clean run ends the work."""
        assert self.run() == 0
        with self.opened() as thoth:
            for name, data in objects(thoth).items():
                identity = Identity(name.split("/")[4])
                stored = thoth.stored_info(identity)
                assert stored is not None
                assert thoth.index.get(identity) == stored[0]
                is_kept = stored[0].document["pid"] == str(GOING)
                assert bool(stored[0].document.get("purged")) is not is_kept
                assert name.endswith("/info.json") or (is_kept and len(data) == 16384)


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    command = Command(tmp_path)
    yield command
    assert list((tmp_path / ".local/share/thoth/store/.uploads").iterdir()) == []


@pytest.mark.parametrize(
    ("call", "number"), [("unlink", 1), ("unlink", 2), ("rename", 1), ("rename", 2), ("fsync", 2), ("fsync", 4)]
)
def test_F39_killed_by_the_kernel(command: Command, call: str, number: int) -> None:
    command.more()
    assert command.killed(call, number)
    command.check()


@pytest.mark.soak
@pytest.mark.parametrize("call", _CALLS)
def test_F39_killed_by_the_kernel_at_every_call(command: Command, call: str) -> None:
    for number in count(1):
        command.more()
        if not command.killed(call, number):
            break
        command.check()
    assert number > 2
