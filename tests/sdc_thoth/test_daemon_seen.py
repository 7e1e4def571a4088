"""What the daemon shows of itself: metrics and status."""

from __future__ import annotations

import json
import re
import socket
import stat
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tests.support.daemon import OFTEN, PLACE, SELDOM, Daemon
from tests.support.elfwriter import illumos_core
from tests.support.mishaps import collector
from tests.support.processes import listeners, wait_until
from tests.support.server import free_port
from tests.support.sshd import Fleet, Node


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
