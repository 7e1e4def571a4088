"""The store's file system is not mounted where the collector is to store dumps: its directory is there, and empty."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.collector import Collector
from tests.support.daemon import Daemon
from tests.support.elfwriter import linux_core
from tests.support.invariants import check_store
from tests.support.mishaps import check_settled, collector
from tests.support.processes import wait_until
from tests.support.sshd import Node

DUMPS = "/var/tmp/thoth"


def unmount(home: Collector) -> None:
    home.store.rename(home.store.with_name("unmounted"))
    home.store.mkdir(mode=0o700)


def mount(home: Collector) -> None:
    assert list(home.store.iterdir()) == []
    home.store.rmdir()
    home.store.with_name("unmounted").rename(home.store)


def said(home: Collector) -> str:
    return f"store {home.store}: has no dump, and the index {home.store.parent}/thoth.db speaks of some; mount it"


def test_a_pass_stores_nothing_in_its_place(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    only.put(f"{DUMPS}/core.1", linux_core(1))
    home = collector(tmp_path, [only])
    assert home.collect().code == 0
    before = home.thoth("ls", "--json").stdout
    only.put(f"{DUMPS}/core.2", linux_core(2))
    unmount(home)
    for flags in ((), ("--dry-run",), ("--json",)):
        ran = home.run(*flags)
        assert (ran.returncode, ran.stdout, len(ran.stderr.splitlines())) == (1, "", 1), ran
        assert said(home) in ran.stderr
    shown = home.command_run("status").stdout
    assert "the last pass broke off: store " in shown
    assert "cannot be collected from" not in shown, shown
    assert home.thoth("ls", "--json").stdout == before
    mount(home)
    assert home.collect().results == {f"{DUMPS}/core.1".encode(): "present", f"{DUMPS}/core.2".encode(): "stored"}
    check_settled(home, [only])


def test_the_daemon_waits_for_it(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    only.put(f"{DUMPS}/core.1", linux_core(1))
    home = collector(tmp_path, [only], "[schedule]\nevery = 0.5\n")
    with Daemon(home) as daemon:
        daemon.wait_for("pass ends")
        unmount(home)
        only.put(f"{DUMPS}/core.2", linux_core(2))
        assert wait_until(lambda: any(said(home) in each["reason"] for each in daemon.events("the pass failed")), 20)
        assert [each["failing_since"] for each in daemon.status()["nodes"]] == [None]
        mount(home)
        assert daemon.wait_for_passes(1)[-1]["dumps"] == {"present": 1, "stored": 1}
        assert wait_until(lambda: home.command_run("status").returncode == 0, 10)
        assert daemon.stop() == 0
    check_store(home)


def test_a_pass_begins_no_other_index_where_that_lies_beside_the_store(
    node: Callable[..., Node], tmp_path: Path
) -> None:
    only = node()
    only.put(f"{DUMPS}/core.1", linux_core(1))
    home = collector(tmp_path, [only])
    place = home.store.parent
    assert home.collect().code == 0
    away = place.rename(place.with_name("unmounted"))
    place.mkdir(mode=0o700)
    for flags in ((), ("--dry-run",)):
        ran = home.run(*flags)
        assert (ran.returncode, len(ran.stderr.splitlines())) == (1, 1), ran
        assert f"store {home.store}: has no dump, and dumps were stored before; mount it" in ran.stderr
    assert list(place.iterdir()) == []
    place.rename(place.with_name("mountpoint"))
    away.rename(place)
    assert home.collect().results == {f"{DUMPS}/core.1".encode(): "present"}
    place.rename(away)
    assert home.thoth("init").returncode == 0  # for who means it
    assert home.collect().results == {f"{DUMPS}/core.1".encode(): "stored"}
