"""All dumps, what lies beside them, and others who write meanwhile."""

from __future__ import annotations

import hashlib
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from tests.support.arrivals import CORE, CUT, take
from tests.support.elfwriter import illumos_core, vmdump
from tests.support.memory_index import MemoryIndex
from tests.thoth.scrub.conftest import OTHER, Stage, replaced
from thoth.edit import SetProperty, edit_dump, revise
from thoth.errors import IndexFailure, StoreError, StoreUnavailable
from thoth.index.sqlite import SqliteIndex
from thoth.library import Thoth
from thoth.maintain import stored_identities
from thoth.model import DumpInfo, Identity
from thoth.query import Query
from thoth.scrub.check import scrub
from thoth.scrub.findings import Clock, Kind
from thoth.store.base import ObjectStore
from thoth.store.directory import DirectoryStore
from thoth.store.names import home


def test_nothing_is_wrong(stage: Stage) -> None:
    for data in (CORE, OTHER, vmdump(node="cn0", panic="BAD TRAP")):
        stage.upload(data)
    for name in ("analyzers/fmri", "autoanalyzers/rule.json", "jobs/thoth-1.sh", "logs/cn0/1", "config.json"):
        stage.thoth.store.put(f"{home('bmc')}/{name}", b"{}")
    checked = list(scrub(stage.thoth, stored_identities(stage.thoth), stage.clock, workers=3))
    assert sorted(each.size for each in checked) == sorted(info.size or 0 for info in stage.thoth.index.find(Query()))
    assert stage.found() == []
    assert stage.sleeps == []


def test_an_empty_store(stage: Stage) -> None:
    assert stage.found() == []


class _Failing:
    """A store of which the objects cannot be read."""

    def __init__(self, store: ObjectStore, error: StoreError) -> None:
        self._store, self._error = store, error

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def open(self, name: str) -> object:
        raise self._error


def test_an_object_that_cannot_be_read_is_a_finding_and_a_store_that_refuses_ends_it(stage: Stage) -> None:
    stage.upload()
    stage.upload(OTHER)
    broken = _Failing(stage.thoth.store, StoreError("I/O error"))
    stage.thoth = Thoth(broken, stage.thoth.index, "bmc")  # type: ignore[arg-type]  # __getattr__ has the rest
    findings = stage.told()
    assert [kind for kind, _ in findings] == [Kind.CORRUPT] * 2
    assert all("cannot be read: I/O error" in what for _, what in findings)
    gone = _Failing(stage.thoth.store, StoreUnavailable("gone"))
    stage.thoth = Thoth(gone, stage.thoth.index, "bmc")  # type: ignore[arg-type]  # as above
    with pytest.raises(StoreUnavailable):
        stage.found(workers=2)


class TestMeanwhile:
    """Between two steps of a writer a dump looks wrong; it is looked at again before that is told."""

    def test_a_dump_that_is_replaced(self, stage: Stage) -> None:
        info = stage.upload(CUT)
        stage.thoth.store.put(str(info.document["dump"]), CORE)
        whole = {"size": len(CORE), "sha256": hashlib.sha256(CORE).hexdigest(), "complete": True}
        stage.meanwhile = lambda: revise(stage.thoth, info.id, lambda stored: stored.changed(**whole))
        assert stage.found() == []
        assert stage.sleeps

    def test_a_dump_that_is_purged(self, stage: Stage) -> None:
        info = stage.upload()
        stage.thoth.store.delete(str(info.document["dump"]))
        stage.meanwhile = lambda: revise(stage.thoth, info.id, lambda stored: stored.changed(purged=1))
        assert stage.found() == []

    def test_a_dump_on_which_something_is_set(self, stage: Stage) -> None:
        info = stage.upload()
        edited = info.changed(ticket="OS-1")
        stage.write(edited)
        stage.meanwhile = lambda: stage.thoth.index.put(edited)
        assert stage.found() == []

    def test_a_dump_on_which_much_is_set(self, stage: Stage) -> None:
        """Each look finds the index behind, each time by another change."""
        info = stage.upload()
        first = info.changed(ticket="OS-1")
        stage.write(first)

        def next_change() -> None:
            stage.thoth.index.put(first)
            stage.write(first.changed(ticket="OS-2"))

        stage.meanwhile = next_change
        assert stage.found() == []

    def test_what_is_wrong_all_the_same_is_told_and_nothing_else(self, stage: Stage) -> None:
        info = stage.upload()
        stage.thoth.store.put(str(info.document["dump"]), replaced(CORE, 100))
        edited = info.changed(ticket="OS-1")
        stage.write(edited)
        stage.meanwhile = lambda: stage.thoth.index.put(edited)
        assert stage.kinds() == [Kind.CORRUPT]

    def test_F36_uploads_and_changes_beside_it_are_no_findings(self, tmp_path: Path) -> None:
        store, index = DirectoryStore(tmp_path / "store", create=True), SqliteIndex(tmp_path / "index.db")
        enough, changed = threading.Event(), threading.Condition()
        with Thoth(store, index, "bmc") as thoth:
            info = take(thoth, CORE).info
            done = 0

            def write() -> None:
                nonlocal done
                while not enough.is_set():
                    take(thoth, illumos_core(pid=done % 100, size=1 << 14))
                    edit_dump(thoth, info.id, [SetProperty(("number",), done)])
                    with changed:
                        done += 1
                        changed.notify()

            def wait_for_the_writer(seconds: float) -> None:
                with changed:
                    before = done
                    assert changed.wait_for(lambda: done > before + 1, 60)

            writer = threading.Thread(target=write)
            writer.start()
            try:
                clock = Clock(time.time, time.monotonic, wait_for_the_writer)
                for _ in range(20):
                    checked = list(scrub(thoth, stored_identities(thoth), clock, workers=2))
                    assert [each for each in checked if each.findings] == []
            finally:
                enough.set()
                writer.join()


class _Busy:
    """An index that another process' writes spoil now and then."""

    def __init__(self, index: MemoryIndex, failures: int) -> None:
        self._index, self._left = index, failures

    def __getattr__(self, name: str) -> object:
        return getattr(self._index, name)

    def get(self, identity: Identity) -> DumpInfo | None:
        self._left -= 1
        if self._left >= 0:
            raise IndexFailure("another process wrote to it while a dry run read it; try again")
        return self._index.get(identity)


@pytest.mark.parametrize(("failures", "ends"), [(3, False), (1000, True)])
def test_an_index_that_is_written_to_is_asked_again(stage: Stage, failures: int, ends: bool) -> None:
    stage.upload()
    index: Any = _Busy(stage.thoth.index, failures)  # type: ignore[arg-type]  # it is a MemoryIndex
    stage.thoth = Thoth(stage.thoth.store, index, "bmc")
    if ends:
        with pytest.raises(IndexFailure):
            stage.found()
    else:
        assert stage.found() == []


def test_I5_memory_stays_flat(tmp_path: Path) -> None:
    stage = Stage()
    stage.thoth = Thoth(DirectoryStore(tmp_path / "store", create=True), MemoryIndex(), "bmc")
    info = take(stage.thoth, CORE).info
    with (tmp_path / f"store{info.document['dump']}").open("r+b") as dump:
        dump.truncate(64 << 20)
    digest = hashlib.sha256((tmp_path / f"store{info.document['dump']}").read_bytes()).hexdigest()
    whole = {"size": 64 << 20, "sha256": digest}
    revise(stage.thoth, info.id, lambda stored: stored.changed(**whole))
    tracemalloc.start()
    try:
        assert stage.found() == []
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
