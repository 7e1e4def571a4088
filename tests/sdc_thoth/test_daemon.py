"""The daemon when nothing is wrong: passes by a schedule, reloads, what it shows of itself, how it is started."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.cnapi_server import CnapiServer, server
from tests.support.collector import Collector
from tests.support.daemon import Daemon
from tests.support.elfwriter import illumos_core, linux_core
from tests.support.invariants import check_store
from tests.support.mishaps import collector
from tests.support.processes import listeners, process, wait_until
from tests.support.server import free_port
from tests.support.sshd import Fleet, Node, NodeSpec

PLACE = "/var/tmp/thoth"
OFTEN = "[schedule]\nevery = 0.5\n"
SELDOM = "[schedule]\nevery = 3600\n"


@pytest.fixture
def only(node: Callable[..., Node]) -> Node:
    made = node()
    made.put(f"{PLACE}/core.1", linux_core(1))
    return made


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


# ---- start -------------------------------------------------------------------------------------------

SMF = {"SMF_FMRI": "svc:/site/sdc-thoth:default"}


@pytest.mark.parametrize("detach", [(), ("--detach",)], ids=["in front", "detached"])
def test_F57_what_is_wrong_at_the_start_tells_smf_not_to_try_again(
    only: Node, tmp_path: Path, detach: tuple[str, ...]
) -> None:
    home = collector(tmp_path, [only], "[schedule]\ncron = 'x'\n")
    for surroundings, code in ((SMF, 96), ({}, 1)):
        with Daemon(home, *detach, environment=surroundings) as daemon:
            assert daemon.wait() == code
            (told,) = daemon.events("cannot run")
            assert re.search(r"fleet.toml:\d+: \[schedule\] cron: 'x': not five fields", told["reason"])
    assert "Connection from" not in only.log


def test_what_is_wrong_and_no_configuration_is_fatal_to_smf(only: Node, tmp_path: Path) -> None:
    home = collector(tmp_path, [only], OFTEN)
    with Daemon(home) as daemon:
        daemon.wait_for("started")
        for surroundings, code in (({}, 75), (SMF, 95)):
            with Daemon(home, environment=surroundings) as second:
                assert second.wait() == code
                assert "already running: process " in second.events("cannot run")[0]["reason"]
        assert home.run().returncode in (0, 75)  # a single pass between those of the daemon
        assert daemon.stop() == 0


def test_a_usage_error_is_one(only: Node, tmp_path: Path) -> None:
    home = collector(tmp_path, [only], OFTEN)
    for flags, said in (
        (["--dry-run"], "--dry-run: is for a single pass"),
        (["-N", "cn9"], "not in the inventory: cn9"),
    ):
        done = home.run("--daemon", *flags)
        assert done.returncode == 1 and said in done.stderr, done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_detached_it_goes_on_without_the_process_that_was_started(only: Node, tmp_path: Path) -> None:
    home = collector(tmp_path, [only], SELDOM)
    log = home.home / "log"
    with log.open("w") as out:
        command = home.command("--daemon", "--detach", "--log", "json")
        done = subprocess.run(
            command, env=home.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=30, check=False
        )
    started = next(json.loads(line) for line in log.read_text().splitlines() if '"started"' in line)
    pid = started["pid"]
    try:
        assert done.returncode == 0
        assert wait_until(lambda: "pass ends" in log.read_text(), 20)
        assert os.getsid(pid) == pid and Path(f"/proc/{pid}/cwd").readlink() == Path("/")
        assert len(home.stored()) == 1
    finally:
        os.kill(pid, signal.SIGTERM)
        assert wait_until(lambda: (found := process(pid)) is None or found.state == "Z", 20)
    assert '"stopped"' in log.read_text()


@contextmanager
def service_manager(path: Path) -> Iterator[list[str]]:
    """systemd's end of the protocol: the messages that come, as they come."""
    messages: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(path))
        end.settimeout(0.1)
        over = threading.Event()

        def listen() -> None:
            while not over.is_set():
                try:
                    messages.append(end.recv(4096).decode())
                except TimeoutError:
                    continue

        thread = threading.Thread(target=listen, name="service manager")
        thread.start()
        try:
            yield messages
        finally:
            over.set()
            thread.join()


def test_systemd_is_told(only: Node, tmp_path: Path) -> None:
    home = collector(tmp_path / "home", [only], SELDOM)
    with service_manager(tmp_path / "notify") as messages:
        environment = {
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": "400000",
        }
        with Daemon(home, environment=environment, log="auto") as daemon:
            daemon.wait_for("started")  # as JSON, since it is systemd that takes the log
            assert wait_until(lambda: any(each.startswith("READY=1") for each in messages), 10)
            assert wait_until(lambda: messages.count("WATCHDOG=1") >= 2, 10)
            daemon.send(signal.SIGHUP)
            assert wait_until(lambda: sum(each.startswith("READY=1") for each in messages) == 2, 10)
            assert any(re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", each) for each in messages)
            assert daemon.stop() == 0
    assert messages[-1] == "STOPPING=1"


# ---- being seen --------------------------------------------------------------------------------------


def test_metrics_by_port_and_by_file(only: Node, tmp_path: Path) -> None:
    port = free_port("127.0.0.1")
    textfile = tmp_path / "textfiles" / "sdc-thoth.prom"
    textfile.parent.mkdir()
    home = collector(tmp_path / "home", [only], f'{OFTEN}[metrics]\nport = {port}\ntextfile = "{textfile}"\n')
    with Daemon(home) as daemon:
        daemon.wait_for_passes(2)
        assert listeners(daemon.process.pid) == {f"tcp 0100007F:{port:04X}"}
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            by_port = answer.read().decode()
        for line in (
            'sdc_thoth_dumps_total{result="stored"} 1.0',
            f'sdc_thoth_node_up{{node="{only.name}"}} 1.0',
            "sdc_thoth_last_pass_success 1.0",
            "sdc_thoth_daemon_running 1.0",
        ):
            assert line in by_port.splitlines()
        assert daemon.stop() == 0
    by_file = textfile.read_text()
    assert 'sdc_thoth_dump_bytes_total{result="stored"} 16384.0' in by_file.splitlines()
    assert "sdc_thoth_daemon_running 0.0" in by_file.splitlines()
    assert stat.S_IMODE(textfile.stat().st_mode) == 0o644
    assert list(textfile.parent.iterdir()) == [textfile]


def test_a_port_that_is_taken_is_told_at_the_start(only: Node, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        home = collector(tmp_path, [only], f"{OFTEN}[metrics]\nport = {port}\n")
        with Daemon(home) as daemon:
            assert daemon.wait() == 1
            assert daemon.events("cannot run")[0]["reason"] == f"[metrics] port {port}: Address already in use"


def test_status_while_it_runs_and_afterwards(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    nodes = fleet(["good", "bad"])
    nodes["good"].put(f"{PLACE}/core.1", illumos_core(1))
    home = collector(tmp_path, nodes, OFTEN)
    missing = home.command_run("status")
    assert (missing.returncode, missing.stdout) == (1, "") and "no pass has left a status here" in missing.stderr
    with Daemon(home) as daemon:
        daemon.wait_for_passes(1)
        well = home.command_run("status")
        assert well.returncode == 0, well.stdout
        assert re.search(r"^daemon: (waiting|collecting) since \S+Z, process \d+; passes every 0.5 s", well.stdout)
        assert re.search(r"^  good: reached, last reached \S+Z$", well.stdout, re.MULTILINE)
        nodes["bad"].authorize()  # its plug is pulled
        (home.home / "known_hosts").touch()
        nodes["bad"].kill()
        daemon.wait_for("node", 2)
        assert wait_until(lambda: home.command_run("status").returncode == 1, 10)
        ill = home.command_run("status").stdout
        assert re.search(
            r"^  bad: (denied|unreachable|failed) since \S+Z \(\d+ s ago, \d+ tr(y|ies)\), last reached \S+Z: .*bad",
            ill,
            re.MULTILINE,
        ), ill
        assert "!! 1 of 2 nodes cannot be collected from" in ill
        told = json.loads(home.command_run("status", "--json").stdout)
        assert told["last_pass"]["nodes"]["reached"] == 1 and told["daemon"]["pid"] == daemon.process.pid
        nodes["bad"].authorize(nodes["bad"].login_key)
        assert wait_until(lambda: home.command_run("status").returncode == 0, 15)
        assert daemon.stop() == 0
    stopped = home.command_run("status")
    assert stopped.returncode == 0 and stopped.stdout.startswith("daemon: stopped since ")


def test_status_of_a_daemon_that_was_killed(only: Node, tmp_path: Path) -> None:
    home = collector(tmp_path, [only], SELDOM)
    with Daemon(home) as daemon:
        daemon.wait_for("pass ends")
        assert wait_until(lambda: home.command_run("status").returncode == 0, 10)
        daemon.process.kill()
        daemon.wait()
        dead = home.command_run("status")
        assert dead.returncode == 1
        assert f"!! the daemon is gone: there is no process {daemon.process.pid}" in dead.stdout
    with Daemon(home) as daemon:  # nothing that it left is in the way
        daemon.wait_for("pass ends")
        assert daemon.stop() == 0
