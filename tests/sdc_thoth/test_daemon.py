"""The daemon when nothing is wrong: passes by a schedule, and reloads."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.cnapi_server import CnapiServer, server
from tests.support.collector import Collector
from tests.support.daemon import OFTEN, PLACE, SELDOM, Daemon
from tests.support.elfwriter import linux_core
from tests.support.invariants import check_store
from tests.support.mishaps import collector
from tests.support.processes import listeners, wait_until
from tests.support.sshd import Fleet, Node, NodeSpec


def limit_of_cores(pid: int) -> str:
    limits = Path(f"/proc/{pid}/limits").read_text()
    found = re.search(r"^Max core file size\s+(\S+)\s+(\S+)", limits, re.MULTILINE)
    assert found
    return f"{found[1]} {found[2]}"


# ---- passes ------------------------------------------------------------------------------------------


def test_passes_follow_each_other_and_bring_what_is_new(only: Node, tmp_path: Path) -> None:
    home = collector(tmp_path, [only], OFTEN)
    with Daemon(home) as daemon:
        assert daemon.wait_for("started")["schedule"] == "every 0.5 s"
        assert daemon.wait_for("dump")["result"] == "stored"
        daemon.wait_for("pass ends")
        only.put(f"{PLACE}/core.2", linux_core(2))
        assert daemon.wait_for("dump", 2)["path"] == f"{PLACE}/core.2"
        *_, last = daemon.wait_for_passes(2)
        assert (last["dumps"], last["nodes"], last["sent"]) == ({"present": 2}, {"reached": 1}, 0)
        assert limit_of_cores(daemon.process.pid) == "0 0"
        assert listeners(daemon.process.pid) == set()
        assert daemon.stop() == 0
        assert daemon.events("stopped")
        assert daemon.process.stdout and daemon.process.stdout.read() == ""
    assert len(daemon.events("dump")) == 2  # what is there already is no news
    assert {path.name for path in daemon.directory.iterdir()} == {"journal.sqlite", "status.json"}
    check_store(home)


def test_a_pass_over_an_unchanged_fleet_connects_once_and_reads_no_dump(only: Node, tmp_path: Path) -> None:
    home = collector(tmp_path, [only], OFTEN)
    with Daemon(home) as daemon:
        daemon.wait_for_passes(4)
        sessions = len(only.pids())
        assert daemon.stop() == 0
    assert only.log.count("Accepted publickey") == 1, only.log
    assert sessions <= 2  # sshd's two halves of one connection
    assert only.wait_idle()


def test_a_remark_on_a_node_is_logged_once(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    only = fleet([NodeSpec("cn0", core_pattern="core")])[0]
    home = collector(tmp_path, [only], OFTEN)
    with Daemon(home) as daemon:
        told = daemon.wait_for("node")
        daemon.wait_for_passes(3)
        assert (told["level"], told["result"]) == ("info", "reached") and "'core' is relative" in told["reason"]
        assert len(daemon.events("node")) == 1


def test_connections_are_not_kept_when_the_next_pass_is_far_away(only: Node, tmp_path: Path) -> None:
    home = collector(tmp_path, [only], SELDOM)
    with Daemon(home) as daemon:
        daemon.wait_for("pass ends")
        assert only.wait_idle()
        assert daemon.stop() == 0


def test_a_kept_connection_that_broke_is_made_anew(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node(own_process=True)
    home = collector(tmp_path, [only], "[schedule]\nevery = 2\n")
    with Daemon(home) as daemon:
        daemon.wait_for("pass ends")
        only.restart()
        again = daemon.wait_for_passes(2)
        assert [each["nodes"] for each in again] == [{"reached": 1}] * len(again)
        assert daemon.stop() == 0


def test_a_node_that_hangs_while_its_connection_rests(node: Callable[..., Node], tmp_path: Path) -> None:
    """It is told as unreachable after the time to connect, not after the time that a command may be silent."""
    only = node(own_process=True)
    home = collector(tmp_path, [only], "[schedule]\nevery = 1.5\n")
    with Daemon(home, "-e", "600", "-T", "1") as daemon:
        daemon.wait_for("pass ends")
        only.stop()
        try:
            began = time.monotonic()
            told = daemon.wait_for("node")
            assert time.monotonic() - began < 10
            assert (told["result"], told["level"]) == ("unreachable", "warning")
        finally:
            only.cont()
        assert wait_until(lambda: daemon.events("pass ends")[-1]["nodes"] == {"reached": 1}, 15)
        assert daemon.stop() == 0


def test_a_key_that_is_trusted_no_more_ends_the_kept_connection(only: Node, tmp_path: Path) -> None:
    home = collector(tmp_path, [only], OFTEN)
    with Daemon(home) as daemon:
        daemon.wait_for("pass ends")
        (home.home / "known_hosts").write_text("")
        told = daemon.wait_for("node")
        assert told["result"] == "denied" and "host key unknown" in told["reason"]
        assert daemon.stop() == 0


def test_the_nodes_are_those_of_the_moment(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    nodes = fleet(["cn0", "cn1"])
    home = tmp_path / "home"
    home.mkdir()
    nodes.write_known_hosts(home / "known_hosts")
    listed = [server(node.uuid, node.name, node.address) for node in nodes]
    with CnapiServer(listed[:1]) as cnapi:
        config = home / "config.toml"
        config.write_text(
            f'[ssh]\nkey = "{nodes.identity_file}"\nknown_hosts = "known_hosts"\nport = {nodes[0].port}\n{OFTEN}'
        )
        running = Collector(home, "")
        running.options = ("--inventory", "cnapi", "--cnapi", cnapi.url, "-c", str(config))
        with Daemon(running) as daemon:
            assert daemon.wait_for("pass ends")["nodes"] == {"reached": 1}
            cnapi.servers = listed
            assert daemon.wait_for_passes(2)[-1]["nodes"] == {"reached": 2}
            cnapi.mood = lambda target: (500, "text/plain", b"moray is down")
            told = daemon.wait_for("the inventory cannot be had, the last one is used")
            assert "moray is down" in told["reason"]
            assert daemon.wait_for_passes(1)[-1]["nodes"] == {"reached": 2}
            cnapi.servers, cnapi.mood = listed[1:], lambda target: None
            assert daemon.wait_for_passes(2)[-1]["nodes"] == {"reached": 1}
            assert wait_until(lambda: [each["node"] for each in daemon.status()["nodes"]] == ["cn1"], 5)
            assert daemon.stop() == 0


def test_a_cnapi_that_is_away_at_the_start_is_waited_for(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    nodes = fleet(["cn0"])
    home = collector(tmp_path, nodes, f"{OFTEN}[cnapi]\nurl = 'http://127.0.0.1:9'\n")
    home.options = ("--inventory", "cnapi", "-c", str(home.inventory))
    with Daemon(home) as daemon:
        told = daemon.wait_for("the pass failed", 2)
        assert told["reason"].startswith("CNAPI http://127.0.0.1:9: no connection")
        assert wait_until(lambda: daemon.status()["last_pass"] is not None, 5)
        assert daemon.status()["last_pass"]["error"] == told["reason"]
        assert daemon.stop() == 0


# ---- reload ------------------------------------------------------------------------------------------


def test_a_new_configuration_is_taken(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    nodes = fleet(["cn0", "cn1"])
    home = collector(tmp_path, [nodes["cn0"]], SELDOM)
    with Daemon(home) as daemon:
        assert daemon.wait_for("pass ends")["nodes"] == {"reached": 1}
        collector(tmp_path, nodes, OFTEN)
        daemon.send(signal.SIGHUP)
        assert daemon.wait_for("the configuration was read again")["schedule"] == "every 0.5 s"
        assert daemon.wait_for_passes(1)[-1]["nodes"] == {"reached": 2}
        assert daemon.status()["daemon"]["schedule"] == "every 0.5 s"
        assert daemon.stop() == 0


def test_a_wrong_configuration_leaves_the_old_one(only: Node, tmp_path: Path) -> None:
    home = collector(tmp_path, [only], OFTEN)
    good = home.inventory.read_text()
    with Daemon(home) as daemon:
        daemon.wait_for("pass ends")
        for number, (bad, reason) in enumerate(
            (
                (good.replace("every", "evry"), "[schedule] evry: unknown"),
                (good.replace("every = 0.5", "cron = '61 * * * *'"), "minute: '61' is not from 0 to 59"),
                (good.replace("[[node]]", "[[nod]]"), "nod: unknown"),
                (good.replace(str(only.identity_file), "/nowhere/id"), "key /nowhere/id: No such file or directory"),
            ),
            1,
        ):
            home.inventory.write_text(bad)
            daemon.send(signal.SIGHUP)
            told = daemon.wait_for("the configuration is not taken, the old one stays", number)
            assert reason in told["reason"]
            assert wait_until(lambda: reason in (daemon.status()["daemon"]["refused_configuration"] or ""), 5)  # noqa: B023 - called at once
        assert daemon.wait_for_passes(2)[-1]["nodes"] == {"reached": 1}
        shown = home.command_run("status")
        assert shown.returncode == 1 and "!! the configuration was not taken: key /nowhere/id" in shown.stdout
        home.inventory.write_text(good)
        daemon.send(signal.SIGHUP)
        daemon.wait_for("the configuration was read again")
        assert wait_until(lambda: daemon.status()["daemon"]["refused_configuration"] is None, 5)
        assert daemon.stop() == 0
