"""A fleet whose dumps go into Manta, with an index in RethinkDB."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.collector import Collector
from tests.support.elfwriter import illumos_core, linux_core
from tests.support.manta_moods import Answer, Reset
from tests.support.mishaps import collector
from tests.support.reqlite import ReqlServer
from tests.support.site import HOME, Site
from tests.support.site import site as a_site
from tests.support.sshd import Fleet
from thoth.index.rethink import RethinkIndex
from thoth.query import Query

PLACE = "/var/tmp/thoth"
MEGABYTE = 1 << 20


class SiteCollector(Collector):
    """A collector that works at a site."""

    site: Site

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, **self.site.environment}


@pytest.fixture
def site(reql: ReqlServer, tmp_path: Path) -> Iterator[Site]:
    with a_site(reql, tmp_path / "bc") as made:
        made.share()
        yield made


@pytest.fixture
def nodes(fleet: Callable[..., Fleet]) -> Fleet:
    return fleet(["cn0", "cn1"])


@pytest.fixture
def home(nodes: Fleet, site: Site, tmp_path: Path) -> SiteCollector:
    plain = collector(tmp_path, nodes)
    made = SiteCollector(plain.home, plain.inventory.read_text())
    made.site = site
    return made


def test_a_fleet_s_dumps_come_into_manta(nodes: Fleet, home: SiteCollector, site: Site) -> None:
    cores = {
        ("cn0", b"core.small"): illumos_core(pid=1),
        ("cn0", b"core.large"): illumos_core(pid=2, size=9 * MEGABYTE),
        ("cn1", b"core.a b"): linux_core(3),
    }
    for (name, file), data in cores.items():
        nodes[name].put(f"{PLACE}/".encode() + file, data)
    result = home.collect()
    assert (result.code, set(result.results.values())) == (0, {"stored"})
    documents = [site.info(identity) for identity in site.dumps()]
    assert sorted(document["sha256"] for document in documents) == sorted(
        hashlib.sha256(data).hexdigest() for data in cores.values()
    )
    assert {document["sources"][0]["node"] for document in documents} == {"cn0", "cn1"}
    before = len(site.server.requests)
    again = home.collect()
    assert again.document["counts"] == {"present": 3}
    assert len(site.server.requests) - before < 10  # the index knows, and the journal


def test_how_much_room_manta_has_nobody_knows(nodes: Fleet, home: SiteCollector) -> None:
    nodes["cn0"].put(f"{PLACE}/core.1", linux_core(1))
    result = home.collect("--min-free", "100T")
    assert result.results == {f"{PLACE}/core.1".encode(): "stored"}
    assert "min_free: this store does not tell how much room it has; the limit cannot hold" in result.talk


def test_F53_a_dry_run_only_asks(nodes: Fleet, home: SiteCollector, site: Site) -> None:
    nodes["cn0"].put(f"{PLACE}/core.1", linux_core(1))
    before = len(site.server.requests)
    result = home.collect("--dry-run")
    assert result.results == {f"{PLACE}/core.1".encode(): "planned"}
    assert {seen.method for seen in site.server.requests[before:]} <= {"GET", "HEAD"}
    assert site.dumps() == []


def test_F34_two_collectors_at_the_same_time(nodes: Fleet, home: SiteCollector, site: Site, tmp_path: Path) -> None:
    for name in ("cn0", "cn1"):  # the same dumps on both
        for pid in range(5):
            nodes[name].put(f"{PLACE}/core.{pid}", linux_core(pid, size=5 * MEGABYTE if pid == 4 else 1 << 16))
    result = home.collect("-p", "2")
    assert (result.code, result.document["counts"]) == (0, {"stored": 5, "present": 5})
    documents = [site.info(identity) for identity in site.dumps()]
    assert len(documents) == 5
    assert all({source["node"] for source in each["sources"]} == {"cn0", "cn1"} for each in documents)


def test_F31_F32_a_store_that_stumbles(nodes: Fleet, home: SiteCollector, site: Site) -> None:
    core = illumos_core(pid=2, size=9 * MEGABYTE)
    nodes["cn0"].put(f"{PLACE}/core.1", linux_core(1))
    nodes["cn0"].put(f"{PLACE}/core.2", core)
    site.server.moods.add(Answer(503, "ServiceUnavailable", retry_after=1), method="PUT", path="*/core.1")
    site.server.moods.add(Reset(5 * MEGABYTE), method="PUT", path="*/core.2")
    site.server.moods.add(Answer(500), method="PUT", path="*/info.json")
    result = home.collect()
    assert (result.code, set(result.results.values())) == (0, {"stored"})
    assert len(site.dumps()) == 2
    identity = result.dumps[f"{PLACE}/core.2".encode()]["identity"]
    assert site.node.run("mget", "-q", f"{HOME}/{identity}/core.2") == core


def test_F31_a_store_that_refuses_ends_the_pass(nodes: Fleet, home: SiteCollector, site: Site) -> None:
    for pid, name in enumerate(("cn0", "cn0", "cn0", "cn1", "cn1", "cn1")):
        nodes[name].put(f"{PLACE}/core.{pid}", linux_core(pid, size=5 * MEGABYTE))
    site.server.moods.add(Answer(403, "AuthorizationFailed"), method="PUT", count=None)
    before = len(site.server.requests)
    ran = home.run()
    assert ran.returncode == 1
    failures = [line for line in ran.stdout.splitlines() if "failed" in line]
    assert len(failures) == 8  # one for each dump, and for each node
    assert all("AuthorizationFailed" in line and "THOTH_USER" in line for line in failures)
    assert sum(seen.method == "PUT" for seen in site.server.requests[before:]) <= 2  # nobody goes on trying
    assert site.dumps() == []


def test_F35_a_database_that_is_down_from_the_start(nodes: Fleet, home: SiteCollector, site: Site) -> None:
    for name in ("cn0", "cn1"):
        nodes[name].put(f"{PLACE}/core.{name}", linux_core(int(name[-1]) + 1))
    with socket.socket() as nobody:  # takes no connections, and nobody else can have its port
        nobody.bind(("127.0.0.1", 0))
        site.configure(host="127.0.0.1", port=nobody.getsockname()[1], db=site.place.database)
        ran = home.run()
        assert ran.returncode == 1
        assert "cannot be reached (Connection refused)" in ran.stderr
        assert "'thoth index' puts them into the index later" in ran.stderr
        assert "Traceback" not in ran.stderr
        assert len(site.dumps()) == 2
        dry = home.run("--dry-run")
        assert (dry.returncode, "cannot be reached" in dry.stderr) == (1, True)
    site.share()
    healed = home.collect()
    assert (healed.code, healed.document["counts"]) == (0, {"present": 2})
    with closing(RethinkIndex(site.place)) as index:
        assert len(list(index.find(Query()))) == 2
