"""The webhook: one event for each change of a node, none for anybody else, and no pass that fails for it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from sdc_thoth.notes import NodeNote
from sdc_thoth.webhook import Webhook, changes
from tests.sdc_thoth.test_cnapi import of, reached_by_cnapi
from tests.support.cnapi_server import CnapiServer, server
from tests.support.collector import Collector
from tests.support.daemon import Daemon
from tests.support.elfwriter import linux_core
from tests.support.mishaps import collector, keep_in, small_disk
from tests.support.roots import program
from tests.support.sshd import Fleet

SECRET = "T0P-S3CRET"


@pytest.fixture
def cnapi() -> Iterator[CnapiServer]:
    with CnapiServer([]) as running:
        yield running


class Hook:
    """A webhook on loopback that takes what it is told."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.status = 200

    @contextmanager
    def serving(self) -> Iterator[str]:
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.paths.append(self.path)
                if hook.status == 200:
                    hook.told.append(json.loads(body))
                self.send_response(hook.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """The test looks at what was told."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}/hooks/{SECRET}?key={SECRET}"
            finally:
                server.shutdown()
                thread.join()


def note(node: str, failures: int) -> NodeNote:
    return NodeNote(
        node, "unreachable" if failures else "reached", "no answer", 1.0, 5.0 if failures else None, failures
    )


def told(nodes: list[NodeNote], known: set[str], after: int = 3) -> list[tuple[str, bool]]:
    return [(change.note.node, change.failing) for change in changes(nodes, known, after)]


def test_each_change_is_told_once() -> None:
    assert told([note("a", 2), note("b", 3), note("c", 9), note("d", 0)], {"c"}) == [("b", True)]
    assert told([note("a", 0), note("b", 1), note("c", 3)], {"a", "b", "c"}) == [("a", False)]
    assert told([note("a", 1)], set(), after=1) == [("a", True)]


def test_a_node_that_does_not_run_is_not_collected_from_again() -> None:
    off = NodeNote("a", "not-running", "its status is unknown", 1.0, 5.0, 3)
    assert told([off], {"a"}) == []
    assert told([NodeNote("b", "not-running", None, None, None, 0)], set(), after=1) == []
    (change,) = changes([off], set(), 3)  # nobody has been told yet that it fails
    text = json.loads(change.to_json("hn"))["text"]
    assert text == (
        "sdc-thoth on hn: node a could not be collected from, 3 passes in a row, and is not running now:"
        " its status is unknown"
    )


def test_nothing_shows_the_url() -> None:
    assert SECRET not in repr(Webhook(f"https://x/{SECRET}"))


def configured(home: Path, nodes: Fleet, url: str, more: str = "", *, after: int = 2) -> Collector:
    made = collector(home, nodes, f'[webhook]\nurl = "{url}"\nafter = {after}\n{more}')
    made.inventory.chmod(0o600)
    return made


def test_a_node_that_goes_and_comes_back(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    nodes, hook = fleet(["cn0", "cn1"]), Hook()
    with hook.serving() as url:
        home = configured(tmp_path, nodes, url)
        said = home.run()
        nodes["cn1"].authorize()
        said_more = [home.run().stderr for _ in range(4)]
        assert home.run("-n").returncode == 1  # a plan tells nobody
        assert [(each["event"], each["node"], each["failures"]) for each in hook.told] == [("node-failing", "cn1", 2)]
        assert hook.told[0]["result"] == "denied" and hook.told[0]["reached"] is not None
        assert "node cn1 cannot be collected from, 2 passes in a row: cn1 (" in hook.told[0]["text"]
        nodes["cn1"].authorize(nodes["cn1"].login_key)
        for _ in range(2):
            assert home.run().returncode == 0
        assert [each["event"] for each in hook.told] == ["node-failing", "node-reached"]
        assert hook.told[1]["text"].endswith("node cn1 is collected from again")
        assert set(hook.paths) == {f"/hooks/{SECRET}?key={SECRET}"}
        everything = said.stdout + said.stderr + "".join(said_more) + home.command_run("status", "--json").stdout
        assert SECRET not in everything


def test_a_dead_node_that_cnapi_gives_up_is_not_announced_as_healthy(
    fleet: Callable[..., Fleet], tmp_path: Path, cnapi: CnapiServer
) -> None:
    hook, dead = Hook(), server(of(7), "cn7", "127.77.9.9")
    with hook.serving() as url:
        home = reached_by_cnapi(tmp_path, fleet(["cn0"]), cnapi, [dead])
        config, textfile = home.home / "config.toml", tmp_path / "x.prom"
        more = f'[webhook]\nurl = "{url}"\nafter = 2\n[metrics]\ntextfile = "{textfile}"\n'
        config.write_text(config.read_text() + more)
        config.chmod(0o600)
        for _ in range(2):
            assert home.collect().nodes["cn7"]["result"] == "unreachable"
        dead["status"] = "unknown"
        seen = home.collect()
        assert (seen.code, seen.nodes["cn7"]["result"]) == (0, "not-running")
        assert [(each["event"], each["node"]) for each in hook.told] == [("node-failing", "cn7")]
        shown = home.command_run("status")
        assert shown.returncode == 1 and "  cn7: not running, and failing since " in shown.stdout, shown.stdout
        told = textfile.read_text().splitlines()
        assert 'sdc_thoth_node_up{node="cn7"} 0.0' in told and 'sdc_thoth_node_running{node="cn7"} 0.0' in told


@contextmanager
def silent_hook() -> Iterator[tuple[str, socket.socket]]:
    """A webhook that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(60)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/{SECRET}", listening


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_F54_a_silent_webhook_keeps_nobody_from_the_report(
    flags: tuple[str, ...], fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    nodes = fleet(["cn0", "cn1"])
    nodes["cn0"].put("/var/tmp/thoth/core.0", linux_core(10))
    nodes["cn1"].authorize()
    with silent_hook() as (url, listening):
        home = configured(tmp_path, nodes, url, after=1)
        run = home.start(*flags)
        asked, _ = listening.accept()
        with asked:
            assert asked.recv(1)
            run.send_signal(signal.SIGTERM)
            out, said = run.communicate(timeout=20)
    assert run.returncode == 143 and said.splitlines()[-1] == "sdc-thoth: stopped by SIGTERM"
    if flags:
        assert {each["node"] for each in json.loads(out)["nodes"]} == {"cn0", "cn1"}
    else:
        assert "=== Completed ===" in out.splitlines() and out.splitlines()[-1].startswith("total run time ")
    assert failures(home) == {"cn0": 0, "cn1": 1}


def failures(home: Collector) -> dict[str, int]:
    """What is known of the nodes: how often each has failed in a row."""
    told = json.loads(home.command_run("status", "--json").stdout)
    return {node["node"]: node["failures"] for node in told["nodes"]}


def remount(disk: Path, how: str) -> None:
    subprocess.run([str(program("mount")), "-o", f"remount,{how}", str(disk)], check=True)


def test_a_store_that_refuses_says_nothing_of_nodes(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    nodes, hook = fleet(["cn0", "cn1", "cn2"]), Hook()
    with hook.serving() as url, small_disk(tmp_path / "disk", "8m") as disk:
        home = configured(tmp_path / "home", nodes, url)
        keep_in(home, disk / "store", tmp_path / "index.db")
        nodes["cn0"].put("/var/tmp/thoth/core.0", linux_core(10))
        assert home.run().returncode == 0
        for pid, node in enumerate(nodes, 1):
            node.put("/var/tmp/thoth/core.1", linux_core(pid))
        remount(disk, "ro")
        try:
            for width in ("1", "1", "3"):
                seen = home.collect("-p", width)
                assert seen.code == 1
                assert {told["result"] for told in seen.nodes.values()} == {"failed"}, seen.document
                assert all("read-only" in told["reason"] for told in seen.nodes.values()), seen.nodes
        finally:
            remount(disk, "rw")
        assert failures(home) == {"cn0": 0, "cn1": 0, "cn2": 0}
        assert hook.told == []
        assert home.run().returncode == 0


def test_nodes_that_the_deadman_keeps_waiting_have_not_failed(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    nodes, hook = fleet(["cn0", "cn1"]), Hook()
    with hook.serving() as url:
        home = configured(tmp_path, nodes, url)
        assert home.run().returncode == 0
        nodes["cn0"].force_command("sleep 60")
        for times in (1, 2):
            seen = home.collect("-p", "1", "-D", "0.05")
            assert (seen.code, seen.nodes["cn0"]["result"]) == (1, "failed")
            assert failures(home) == {"cn0": times, "cn1": 0}
            if times == 1:
                assert seen.nodes["cn1"]["reason"].startswith("not reached: ")
    assert [each["node"] for each in hook.told] == ["cn0"]


def test_a_webhook_that_fails_fails_no_pass_and_is_told_later(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    nodes, hook = fleet(["cn0", "cn1"]), Hook()
    with hook.serving() as url:
        home = configured(tmp_path, nodes, url, "[schedule]\nevery = 0.5\n")
        nodes["cn1"].authorize()
        hook.status = 500
        with Daemon(home) as daemon:
            said = daemon.wait_for("webhook http://127.0.0.1:" + url.split(":")[2].split("/")[0] + _FAILED, 2)
            assert said["level"] == "warning"
            hook.status = 200
            daemon.wait_for_passes(2)
            assert daemon.stop() == 0
            assert SECRET not in daemon.log
            assert len(daemon.events("the pass failed")) == 0
    assert [each["event"] for each in hook.told] == ["node-failing"]
    unanswered = configured(tmp_path / "other", nodes, f"http://127.0.0.1:9/{SECRET}")
    done = [unanswered.run() for _ in range(2)][-1]
    assert done.returncode == 1  # for the node
    assert "webhook http://127.0.0.1:9: no connection" in done.stderr and SECRET not in done.stderr + done.stdout


_FAILED = ": answers with status 500; what it should be told is told after the next pass"


@pytest.mark.parametrize(
    ("url", "mode", "said"),
    [
        ("https://me:pw@x/" + SECRET, 0o600, "not a URL like"),
        ("ftp://x/" + SECRET, 0o600, "not a URL like"),
        (f"https://x/{SECRET} {SECRET}", 0o600, "not a URL like"),
        ("https://x/" + SECRET, 0o644, "others may read this file, and the URL is a secret"),
    ],
)
def test_F57_what_is_wrong_with_it_is_told_without_it(
    url: str, mode: int, said: str, fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    home = collector(tmp_path, fleet(1), f'[webhook]\nurl = "{url}"\n')
    home.inventory.chmod(mode)
    done = home.run()
    assert done.returncode == 1 and said in done.stderr
    assert SECRET not in done.stderr + done.stdout
