"""Dumps that the collector brings in are held against the rules of the autoanalyzers."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sdc_thoth.arrivals import Arrivals
from tests.support import vectors
from tests.support.analysis import common_ground
from tests.support.arrivals import NOW, take
from tests.support.collector import Collector
from tests.support.elfwriter import illumos_core
from tests.support.memory_index import MemoryIndex
from tests.support.memory_store import MemoryStore
from tests.support.mishaps import check_settled, collector, small_disk
from tests.support.sshd import Node
from thoth import Autoanalyzer
from thoth.analysis.rules import parse_rules
from thoth.analysis.stored_rules import upload_rules
from thoth.library import Thoth
from thoth.store.names import analyzer_name

PLACE = "/var/tmp/thoth"
LARGE = 5 << 20  # bytes: more than is held in memory
TICKET = {"name": "OS-2359", "version": 1, "matches": ["cmd=svc.startd"], "ticket": "OS-2359"}
FMRI = {"name": "fmri", "version": 1, "matches": ["type=core"], "analyzer": "fmri"}


class Scene(NamedTuple):
    """A collector with one node, and a place that analyzers can reach."""

    home: Collector
    node: Node
    ground: Path

    def put(self, pid: int, cmd: str, **more: Any) -> bytes:
        """A core on the node, by its path."""
        path = f"{PLACE}/core.{pid}"
        self.node.put(path, illumos_core(pid, cmd=cmd, **more))
        return path.encode()

    def rules(self, *rules: Any) -> None:
        path = self.home.home / "rules.json"
        path.write_text(json.dumps(rules))
        done = self.home.thoth("autoanalyzers", "upload", str(path))
        assert done.returncode == 0, done.stderr

    def analyzer(self, name: str, script: str) -> None:
        place = self.home.store / f"thoth/stor/thoth/analyzers/{name}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(script)

    def documents(self) -> dict[str, Any]:
        """By pid, what is known of each dump."""
        return {info.document["pid"]: info.document for info in self.home.infos()}

    def done(self) -> list[int]:
        """Of each dump, least first, whether the collector need not look at it any more."""
        with closing(sqlite3.connect(self.home.home / ".local/state/sdc-thoth" / "journal.sqlite")) as journal:
            return sorted(done for (done,) in journal.execute("SELECT done FROM seen"))

    def check_completed(self, pids: set[str]) -> dict[bytes, str]:
        """The next pass runs what an earlier one has left, and the one behind it has nothing to do."""
        self.analyzer("fmri", "exit 0\n")
        result = self.home.collect()
        assert {pid for pid, each in self.documents().items() if "fmri" in each.get("autoanalyzed", {})} == pids
        for document in self.documents().values():
            assert "failed" not in document["autoanalyzed"]["fmri"]
            assert "rules_pending" not in document
        before = self.documents()
        self.home.collect()
        assert self.documents() == before
        return result.results


@pytest.fixture
def scene(node: Callable[..., Node], tmp_path: Path) -> Iterator[Scene]:
    with common_ground() as ground:
        only = node()
        home = collector(tmp_path, [only])
        settings = tmp_path / ".config/thoth/config.toml"
        settings.parent.mkdir(parents=True)
        settings.write_text(f'cache = "{ground}/cache"\n')
        yield Scene(home, only, ground)


def test_every_dump_that_arrives(scene: Scene) -> None:
    scene.rules(TICKET)
    small, large, other = scene.put(1, "svc.startd"), scene.put(2, "svc.startd", size=LARGE), scene.put(3, "bc")
    result = scene.home.collect()
    assert result.results == dict.fromkeys([small, large, other], "stored")
    assert (result.code, result.talk.count("autoanalyzer")) == (0, 0)
    told = {pid: document.get("ticket") for pid, document in scene.documents().items()}
    assert told == {"1": "OS-2359", "2": "OS-2359", "3": None}
    assert scene.documents()["1"]["autoanalyzed"]["OS-2359"]["set"] == "OS-2359"
    assert scene.home.thoth("autoanalyzers", "remove", "OS-2359").returncode == 0
    check_settled(scene.home, [scene.node])  # nothing but the dumps and their documents is in the store


def test_a_rule_asks_for_a_signature(scene: Scene) -> None:
    """What the collector brings in has its signature before the rules are asked."""
    scene.rules({**TICKET, "matches": ["signature=*: free | nomem | zfs_do_send"]})
    for name in ("illumos-psargs-02.core.78727", "illumos-psargs-05.core.63992"):
        scene.node.put(f"{PLACE}/core.{name[-5:]}", vectors.load(name))
    assert set(scene.home.collect().results.values()) == {"stored"}
    told = {document["signature"]: document.get("ticket") for document in scene.documents().values()}
    assert told == {"zfs: free | nomem | zfs_do_send": "OS-2359", "zfs: nomem | zfs_do_send": None}


def test_a_dump_that_is_seen_again_is_left_alone(scene: Scene) -> None:
    path = scene.put(1, "svc.startd")
    assert scene.home.collect().results == {path: "stored"}
    scene.rules(TICKET)
    assert scene.home.collect().results == {path: "present"}
    assert "ticket" not in scene.documents()["1"]
    # What came before the rule did is found by that it has no record.
    assert scene.home.thoth("autoanalyzers", "run", "autoanalyzed=undefined").returncode == 0
    assert scene.documents()["1"]["ticket"] == "OS-2359"


def test_analyzers_run_when_the_nodes_are_done(scene: Scene) -> None:
    scene.analyzer("fmri", 'thoth_set fmri "svc:/$THOTH_TYPE"\n')
    scene.rules(FMRI, {**TICKET, "matches": ["properties.fmri=*"], "depends": ["fmri"]})
    paths = [scene.put(pid, "bc") for pid in (1, 2)]
    result = scene.home.collect()
    assert (result.results, result.code) == (dict.fromkeys(paths, "stored"), 0)
    for document in scene.documents().values():
        assert (document["properties"]["fmri"], document["ticket"]) == ("svc:/core", "OS-2359")
        assert document["autoanalyzed"].keys() == {"fmri", "OS-2359"}


def test_a_rule_that_fails_is_told_and_the_dump_is_stored(scene: Scene) -> None:
    scene.analyzer("fmri", "exit 7\n")
    scene.rules(FMRI, {**TICKET, "name": "after", "depends": ["fmri"]}, TICKET)
    path = scene.put(1, "svc.startd")
    ran = scene.home.run()
    assert ran.returncode == 0
    (document,) = scene.documents().values()
    failures = [line for line in ran.stdout.splitlines() if line.startswith("autoanalyzer ")]
    assert failures == [
        f"autoanalyzer fmri: failed on {document['id']}: fmri: exit status 7",
        f"autoanalyzer after: skipped on {document['id']}: depends on fmri, which failed",
    ]
    assert f"{scene.node.name}: {path.decode()}: stored {document['id']}" in ran.stdout.splitlines()
    assert (document["ticket"], document["autoanalyzed"]["fmri"]["failed"]) == ("OS-2359", "fmri: exit status 7")


def test_a_broken_rule_is_told_once_and_stops_nothing(scene: Scene) -> None:
    scene.rules(TICKET)
    (scene.home.store / "thoth/stor/thoth/autoanalyzers/broken.json").write_text("{")
    paths = [scene.put(pid, "svc.startd") for pid in range(1, 6)]
    result = scene.home.collect()
    assert (result.results, result.code) == (dict.fromkeys(paths, "stored"), 0)
    assert result.talk.count("autoanalyzer broken: cannot run: ") == 1
    assert {document["ticket"] for document in scene.documents().values()} == {"OS-2359"}


def test_a_dry_run_runs_no_rule(scene: Scene) -> None:
    scene.rules(TICKET)
    (scene.home.store / "thoth/stor/thoth/autoanalyzers/broken.json").write_text("{")
    path = scene.put(1, "svc.startd")
    result = scene.home.collect("-n")
    assert (result.results, result.code) == ({path: "planned"}, 0)
    assert "autoanalyzer" not in result.talk


def test_a_signal_ends_an_analyzer_and_what_is_left_is_told(scene: Scene) -> None:
    started = scene.ground / "started"
    os.mkfifo(started)
    started.chmod(0o666)
    scene.analyzer("fmri", f"echo >{started}; read -r _ <{started}\n")
    scene.rules(FMRI)
    scene.put(1, "bc")
    with scene.home.start() as process:
        with started.open():  # returns when the analyzer runs
            process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    left = "1 dump not analyzed; the next pass does it, or 'thoth autoanalyzers run rules_pending=*'"
    assert left in out.splitlines()
    assert "=== Completed ===" in out
    assert "autoanalyzed" not in scene.documents()["1"]
    scene.check_completed({"1"})


def test_F30_killed_while_an_analyzer_runs(scene: Scene) -> None:
    """What the first pass has set stays; what was under way, or had not begun, is run in the next pass."""
    started = scene.ground / "started"
    os.mkfifo(started)
    started.chmod(0o666)
    scene.analyzer("fmri", f"echo >{started}; sleep 60\n")
    scene.rules(FMRI, TICKET)
    paths = [scene.put(1, "bc"), scene.put(2, "svc.startd")]
    with scene.home.start() as process:
        with started.open():  # returns when the first analyzer runs
            os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
    assert {bool(document.get("rules_pending")) for document in scene.documents().values()} == {True}
    (identity,) = [document["id"] for document in scene.documents().values() if document.get("ticket") == "OS-2359"]
    assert scene.home.thoth("unticket", identity).returncode == 0
    assert scene.check_completed({"1", "2"}) == dict.fromkeys(paths, "present")
    assert not any(document.get("ticket") for document in scene.documents().values())


def test_a_dump_whose_rules_are_pending_is_no_more_looked_at_when_they_have_run(scene: Scene) -> None:
    """The journal calls a dump done once its document says so: where no analyzer is needed, at once."""
    scene.put(1, "bc")
    scene.home.collect()
    assert (scene.done(), "rules_pending" in scene.documents()["1"]) == ([1], False)
    scene.rules(TICKET)
    scene.put(2, "svc.startd")
    scene.put(3, "bc")
    scene.home.collect()
    assert scene.done() == [1, 1, 1]
    scene.analyzer("fmri", "exit 0\n")
    scene.rules(FMRI)
    scene.put(4, "bc")
    scene.home.collect()
    assert scene.done() == [0, 1, 1, 1]
    scene.home.collect()
    assert scene.done() == [1, 1, 1, 1]
    assert not any("rules_pending" in document for document in scene.documents().values())
    assert {pid for pid, document in scene.documents().items() if "autoanalyzed" in document} == {"2", "4"}


def test_F08_rules_that_cannot_be_read_are_run_in_the_next_pass(scene: Scene) -> None:
    """The dumps are stored, and marked, since nobody knows whether there are rules for them."""
    scene.rules(TICKET)
    path = scene.put(1, "svc.startd")
    place = scene.home.store / "thoth/stor/thoth/autoanalyzers"
    place.rename(place.with_name("aside"))
    place.symlink_to("aside")
    result = scene.home.collect()
    assert (result.results, "held against the rules when it is met again" in result.talk) == ({path: "stored"}, True)
    assert scene.done() == [0]
    place.unlink()
    place.with_name("aside").rename(place)
    assert scene.home.collect().results == {path: "present"}
    document = scene.documents()["1"]
    assert (document["ticket"], document.get("rules_pending")) == ("OS-2359", None)
    assert scene.done() == [1]


def test_one_dump_in_two_places_is_analyzed_once(scene: Scene) -> None:
    ran = scene.ground / "ran"
    ran.touch()
    ran.chmod(0o666)
    scene.analyzer("fmri", f"echo >>{ran}\n")
    scene.rules(FMRI)
    core = illumos_core(1, cmd="bc")
    for name in ("core.1", "core.copy"):
        scene.node.put(f"{PLACE}/{name}", core)
    assert sorted(scene.home.collect().results.values()) == ["present", "stored"]
    assert ran.read_text() == "\n"


def test_a_cache_that_is_full_ends_no_pass(scene: Scene) -> None:
    """The dumps are stored, and told, whatever becomes of their analyzers."""
    scene.analyzer("fmri", "# " + "x" * 200_000 + "\n")
    scene.rules(FMRI)
    paths = [scene.put(pid, "bc") for pid in (1, 2)]
    with small_disk(scene.ground / "small", "64k") as small:
        (scene.home.home / ".config/thoth/config.toml").write_text(f'cache = "{small}/cache"\n')
        result = scene.home.collect()
    assert (result.results, result.code) == (dict.fromkeys(paths, "stored"), 0)
    assert result.talk.count("autoanalyzer fmri: failed on ") == 2


def test_F36_a_person_s_ticket_stays_though_an_analyzer_sets_one(scene: Scene) -> None:
    path = scene.put(1, "bc")
    scene.home.collect()
    (identity,) = [document["id"] for document in scene.documents().values()]
    assert scene.home.thoth("ticket", identity, "OS-7").returncode == 0
    scene.analyzer("fmri", "thoth_ticket OS-9; thoth_set fmri x\n")
    scene.rules(FMRI)
    ran = scene.home.thoth("autoanalyzers", "run", "type=core")
    assert ran.stdout == f"{identity} fmri: matched: analyzer fmri: others have changed ticket\n"
    assert (scene.documents()["1"]["ticket"], scene.documents()["1"]["properties"]["fmri"]) == ("OS-7", "x")
    assert scene.home.collect().results == {path: "present"}


def test_F34_two_collectors_and_a_run_at_the_same_time(scene: Scene, tmp_path: Path) -> None:
    """Each dump is one dump, its rule has run on it, and no ticket and no property is lost."""
    scene.analyzer("fmri", 'thoth_set "pid$(json pid <$THOTH_INFO)" 1\n')
    scene.rules(TICKET, {**FMRI, "matches": ["cmd=svc.startd"]})
    paths = [scene.put(pid, "svc.startd") for pid in range(1, 6)]
    other = tmp_path / "other"
    with scene.home.start("--json", "-d", str(other)) as first, scene.home.start("--json") as second:
        ran = scene.home.thoth("autoanalyzers", "run", "type=core")
        told = [process.communicate(timeout=90) for process in (first, second)]
    assert (first.returncode, second.returncode, ran.returncode) == (0, 0, 0), told
    results = [{dump["path"]: dump["result"] for dump in json.loads(out)["dumps"]} for out, _ in told]
    assert all(set(result.values()) <= {"stored", "present"} for result in results)
    assert [result.keys() for result in results] == [{path.decode() for path in paths}] * 2
    scene.home.thoth("autoanalyzers", "run", "autoanalyzed.fmri=undefined")
    for pid, document in scene.documents().items():
        assert (document["ticket"], document["properties"][f"pid{pid}"]) == ("OS-2359", 1)
        assert not any("failed" in record for record in document["autoanalyzed"].values())


class TestArrivals:
    def test_what_time_is_left_for_decides(self) -> None:
        """Those that are left over are told in number, and none is begun any more."""
        thoth = Thoth(MemoryStore(), MemoryIndex(), "bmc")
        thoth.store.put(analyzer_name("bmc", "fmri"), b"true")
        upload_rules(thoth, parse_rules(json.dumps(FMRI).encode(), "x"))
        said: list[str] = []
        autoanalyzer = Autoanalyzer(
            thoth, cache=Path("/dev/null/cache"), environ={}, clock=lambda: NOW, say=pytest.fail
        )
        arrivals = Arrivals(autoanalyzer, said.append)
        for pid in range(3):
            arrivals.take(take(thoth, illumos_core(pid)))
        assert not said
        answers = iter([True, False, False])
        arrivals.finish(lambda: next(answers))
        arrivals.tell_left()
        failed, left = said  # there is no such cache
        assert failed.startswith("autoanalyzer fmri: failed on ")
        assert left == "2 dumps not analyzed; the next pass does it, or 'thoth autoanalyzers run rules_pending=*'"
