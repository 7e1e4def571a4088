"""The collector as a service: ended by signals in each stage (F54), and a schedule that cannot be kept (F55)."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.scene import DUMPS, MIB, Scene, within
from tests.support.analysis import common_ground
from tests.support.chaos import HalfOpen, Proxy, Silence, Throttle
from tests.support.collector import Collector
from tests.support.daemon import Daemon
from tests.support.elfwriter import illumos_core, linux_core
from tests.support.invariants import check_store
from tests.support.mishaps import after_listing, analyze_without_end, at_reading, at_session, collector
from tests.support.processes import arguments, descendants, send, wait_until
from tests.support.sshd import Fleet, Node

BIG = 5 * MIB
HUNG = "sleep 60"
BRIEF = "[schedule]\nevery = 3600\ngrace = 0.5\n"
# What makes a node hang in a stage: one shell tells what lies there and sends the heads, another sends the bytes.
STAGES: dict[str, Callable[[Node], None]] = {
    "discover": lambda node: at_session(node, 1, HUNG),
    "identify": lambda node: after_listing(node, HUNG),
    "transfer": lambda node: at_reading(node, 2, HUNG),
}


def stuck(node: Node, told: str = HUNG) -> bool:
    """Whether the node hangs, as it was told to. What looks out for its script sleeps as well."""
    return any(arguments(each.pid) == told.split() for each in node.commands())


def end_commands(node: Node) -> None:
    """A command that hangs outlives its session."""
    send(signal.SIGKILL, (each.pid for each in node.commands()))


def hanging(fleet: Callable[..., Fleet], home: Path, stage: str, more: str = "") -> tuple[Collector, Node]:
    """A collector and a node with a large dump, which hangs in that stage."""
    node = fleet(1, flavour="gnu")[0]
    node.put(f"{DUMPS}/core.1", linux_core(1, size=BIG))
    STAGES[stage](node)
    return collector(home, [node], more), node


# ---- F54: signals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["discover", pytest.param("identify", marks=pytest.mark.soak), "transfer"])
def test_F54_the_daemon_is_told_to_stop(fleet: Callable[..., Fleet], tmp_path: Path, stage: str) -> None:
    home, node = hanging(fleet, tmp_path, stage, BRIEF)
    with Daemon(home, "-e", "600") as daemon:
        assert wait_until(lambda: stuck(node), 30)
        with within(10):
            assert daemon.stop() == 0
        assert daemon.wait_for("what is under way is cut off")["after"] == 0.5
        told = daemon.wait_for("node")
        assert (told["result"], told["reason"]) == ("skipped", "left for the next pass: stopped by SIGTERM")
        assert "Traceback" not in daemon.log
        assert (daemon.status()["daemon"]["state"], daemon.status()["last_pass"]["stopped"]) == (
            "stopped",
            "stopped by SIGTERM",
        )
    assert {path.name for path in daemon.directory.iterdir()} == {"journal.sqlite", "status.json"}
    end_commands(node)
    assert home.collect().results == {f"{DUMPS}/core.1".encode(): "stored"}
    check_store(home)


@pytest.mark.parametrize(
    ("stage", "number"),
    [
        pytest.param("discover", signal.SIGTERM, marks=pytest.mark.soak),
        ("identify", signal.SIGHUP),
        pytest.param("transfer", signal.SIGINT, marks=pytest.mark.soak),
    ],
)
def test_F54_a_single_pass_is_told_to_stop(
    fleet: Callable[..., Fleet], tmp_path: Path, stage: str, number: signal.Signals
) -> None:
    home, node = hanging(fleet, tmp_path, stage)
    run = home.start("--json")
    assert wait_until(lambda: stuck(node), 30)
    with within(10):
        run.send_signal(number)
        out, said = run.communicate(timeout=20)
    assert run.returncode == 128 + number, said
    assert said.splitlines()[-1] == f"sdc-thoth: stopped by {number.name}"
    (told,) = json.loads(out)["nodes"]
    assert (told["result"], told["reason"]) == ("skipped", f"left for the next pass: stopped by {number.name}")
    end_commands(node)
    assert home.collect().code == 0
    check_store(home)


def test_F54_a_run_under_nohup_outlives_its_terminal(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    node = fleet(1, flavour="gnu")[0]
    node.put(f"{DUMPS}/core.1", linux_core(1))
    after_listing(node, "sleep 1")
    home = collector(tmp_path, [node])
    command = ["/bin/sh", "-c", 'trap "" HUP; exec "$@"', "sh", *home.command("--json")]
    run = subprocess.Popen(command, env=home.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert wait_until(lambda: stuck(node, "sleep 1"), 30)
    run.send_signal(signal.SIGHUP)
    out, _ = run.communicate(timeout=30)
    assert (run.returncode, [each["result"] for each in json.loads(out)["dumps"]]) == (0, ["stored"])


def test_F54_a_dump_on_its_way_may_come_to_its_end(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    """Nothing new is begun meanwhile: neither another dump nor another node."""
    scene = Scene(fleet(["cn0", "cn1"]), tmp_path / "home")
    first, second = scene.fleet["cn0"], scene.fleet["cn1"]
    assert scene.collector.collect().code == 0  # both nodes are known from before
    scene.plant(first, BIG, BIG)
    scene.plant(second, BIG)
    with Proxy((first.address, first.port), Throttle(8 * MIB)) as proxy:
        begun = proxy.at(MIB)
        scene.reach({"cn0": proxy.address})
        configure(scene, "[schedule]\nevery = 3600\ngrace = 60\n")
        with Daemon(scene.collector, "-p", "1") as daemon:
            assert begun.wait(20)
            assert daemon.stop() == 0
            results = [event["result"] for event in daemon.events("dump")]
            assert sorted(results) == ["skipped", "skipped", "stored"], daemon.log
            left = [event for event in daemon.events("dump") if event["result"] == "skipped"]
            assert {each["reason"] for each in left} == {"left for the next pass: stopped by SIGTERM"}
            assert {each["level"] for each in left} == {"info"}  # it is nobody's failure
            assert not daemon.events("what is under way is cut off")
            status = daemon.status()
            # What we have cut short ourselves is nobody's failure.
            assert status["failing"] == [] and not [each for each in status["nodes"] if each["failing_since"]]
            assert [each["node"] for each in status["nodes"]] == ["cn0", "cn1"]
    scene.reach({})
    scene.check_healed_with_status()


def test_F54_the_second_signal_ends_the_daemon_at_once(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    home, node = hanging(fleet, tmp_path, "transfer", "[schedule]\nevery = 3600\ngrace = 600\n")
    with Daemon(home, "-e", "600") as daemon:
        assert wait_until(lambda: stuck(node), 30)
        daemon.send(signal.SIGINT)
        daemon.wait_for("stopping")
        with within(5):
            assert daemon.stop() == -signal.SIGTERM
    end_commands(node)
    assert home.collect().code == 0
    check_store(home)


def test_F54_a_reload_in_the_middle_of_a_pass_leaves_that_alone(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    scene = Scene(fleet(["cn0", "cn1"]), tmp_path / "home")
    node = scene.fleet["cn0"]
    scene.plant(node, BIG)
    with Proxy((node.address, node.port), Throttle(4 * MIB)) as proxy:
        begun = proxy.at(MIB)
        scene.reach({"cn0": proxy.address})
        configure(scene, "[schedule]\nevery = 3600\n")
        with Daemon(scene.collector) as daemon:
            assert begun.wait(20)
            configure(scene, "[schedule]\nevery = 1800\n")
            daemon.send(signal.SIGHUP)
            daemon.wait_for("the configuration was read again")
            assert not daemon.events("pass ends")
            assert daemon.wait_for("pass ends")["dumps"] == {"stored": 1}
            assert daemon.stop() == 0
    scene.reach({})
    scene.check_healed_with_status()


def test_F54_a_log_without_a_reader_is_no_reason_to_stop(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    home = collector(tmp_path, [only], "[schedule]\nevery = 0.5\n")
    run = subprocess.Popen(
        home.command("--daemon"), env=home.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        assert run.stderr
        assert b"started" in run.stderr.readline()
        run.stderr.close()
        run.send_signal(signal.SIGPIPE)
        only.put(f"{DUMPS}/core.1", linux_core(1))
        assert wait_until(lambda: len(home.stored()) == 1, 30)
        run.send_signal(signal.SIGTERM)
        assert run.wait(20) == 0
    finally:
        run.kill()
        run.wait()


@pytest.fixture
def analyzing(node: Callable[..., Node], tmp_path: Path) -> Iterator[tuple[Collector, Path]]:
    """A collector whose rules run an analyzer that does not end; and the file that this makes."""
    with common_ground() as ground:
        only = node()
        only.put(f"{DUMPS}/core.1", illumos_core(1))
        home = collector(tmp_path, [only], BRIEF)
        analyze_without_end(home, ground / "cache", "thoth_set begun yes; sleep 600")
        yield home, ground


def test_F54_analyzers_are_stopped(analyzing: tuple[Collector, Path]) -> None:
    home, _ = analyzing
    with Daemon(home) as daemon:
        assert wait_until(lambda: sleeps(daemon.process.pid), 30)
        with within(15):
            assert daemon.stop() == 0
        assert daemon.status()["last_pass"]["stopped"] == "stopped by SIGTERM"
    (info,) = home.infos()
    assert "begun" not in info.properties


def sleeps(pid: int) -> bool:
    return any(each.command == "sleep" for each in descendants(pid))


# ---- F55: the schedule cannot be kept --------------------------------------------------------------------


def configure(scene: Scene, more: str) -> None:
    """More lines for the collector's configuration, in place of those before."""
    path = scene.collector.inventory
    text = path.read_text().partition("[schedule]")[0]
    path.write_text(text.rstrip() + "\n" + more)


def test_F55_a_pass_that_is_longer_than_the_interval(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    node = fleet(1, flavour="gnu")[0]
    at_session(node, 1, "sleep 2")
    home = collector(tmp_path, [node], "[schedule]\nevery = 0.4\n")
    with Daemon(home) as daemon:
        daemon.wait_for("pass ends", 2)
        told = daemon.wait_for("passed over")
        assert (told["level"], told["reason"]) == ("warning", "the one before was still running")
        assert daemon.stop() == 0
        order = [json.loads(line)["event"] for line in daemon.log.splitlines()]
        turns = [name for name in order if name in ("pass begins", "pass ends")]
        assert turns[: len(turns) // 2 * 2] == ["pass begins", "pass ends"] * (len(turns) // 2)
        status = daemon.status()["daemon"]
        assert status["passed_over"] >= 3
        assert status["passed_over_because"] == "the one before was still running"
    assert "passed over" in home.command_run("status").stdout


def test_F55_what_was_missed_while_it_was_stopped_is_done_once(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    home = collector(tmp_path, [only], "[schedule]\nevery = 1\n")
    with Daemon(home) as daemon:
        daemon.wait_for("pass ends")
        daemon.send(signal.SIGSTOP)
        ended = len(daemon.events("pass ends"))
        only.put(f"{DUMPS}/core.1", linux_core(1))
        time.sleep(3.5)
        daemon.send(signal.SIGCONT)
        assert wait_until(lambda: any("nothing ran" in event["reason"] for event in daemon.events("passed over")), 10)
        assert daemon.wait_for("dump")["result"] == "stored"
        daemon.wait_for("pass ends", ended + 1)
        assert daemon.stop() == 0
        missed = sum(event["times"] for event in daemon.events("passed over") if "nothing ran" in event["reason"])
        assert 1 <= missed <= 4, daemon.log


def test_F55_a_pass_that_cannot_begin_is_seen_and_the_next_one_comes(
    node: Callable[..., Node], tmp_path: Path
) -> None:
    only = node()
    only.put(f"{DUMPS}/core.1", linux_core(1))
    home = collector(tmp_path, [only], "[schedule]\nevery = 0.5\n")
    with Daemon(home) as daemon:
        daemon.wait_for("pass ends")
        away = home.store.with_name("away")
        home.store.rename(away)  # as a file system that is not mounted
        told = daemon.wait_for("the pass failed", 2)
        assert "no such directory" in told["reason"]
        assert wait_until(lambda: daemon.status()["last_pass"]["error"] == told["reason"], 5)
        shown = home.command_run("status")
        assert shown.returncode == 1 and "!! the last pass broke off: store " in shown.stdout
        away.rename(home.store)
        assert daemon.wait_for_passes(1)[-1]["dumps"] == {"present": 1}
        assert wait_until(lambda: home.command_run("status").returncode == 0, 10)
        assert daemon.stop() == 0
    check_store(home)


def test_F55_a_run_by_hand_is_waited_for(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    scene = Scene(fleet(1), tmp_path / "home")
    with Proxy(("127.0.0.1", 1), Silence()) as silent:
        scene.reach({"silent": silent.address})
        run = scene.collector.start("-T", "60")
        assert wait_until(scene.lock.exists, 20)
        scene.reach({})
        configure(scene, "[schedule]\nevery = 0.5\n")
        with Daemon(scene.collector) as daemon:
            told = daemon.wait_for("passed over")
            assert f"already running: process {run.pid}, since" in told["reason"]
            silent.cut()
            run.communicate(timeout=20)
            daemon.wait_for("pass ends")
            assert daemon.stop() == 0
    scene.check_clean()


# ---- dumps that fail again and again ---------------------------------------------------------------------


def test_a_dump_that_ends_each_session_lets_the_others_through(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    """The node's connection breaks in the middle of the first dump, each time. Those behind it come all the same."""
    scene = Scene(fleet(1), tmp_path / "home")
    node = scene.fleet[0]
    scene.plant(node, BIG)
    with Proxy((node.address, node.port), HalfOpen(BIG // 2)) as proxy:
        scene.reach({"cn0": proxy.address})
        configure(scene, "[schedule]\nevery = 0.3\n")
        with Daemon(scene.collector, "-e", "1") as daemon:
            bad = next(iter(scene.of("cn0"))).decode()
            assert wait_until(lambda: tries(daemon, bad) == 2, 30), daemon.log
            due = daemon.status()["failing"][0]["due"]
            assert 800 < due - time.time() < 1000
            scene.plant(node, 16384)
            assert wait_until(lambda: any(event["result"] == "stored" for event in daemon.events("dump")), 20)
            daemon.wait_for_passes(2)
            assert tries(daemon, bad) == 2  # it waits
            assert daemon.stop() == 0
        shown = scene.collector.command_run("status").stdout
        assert f"cn0: {bad}: 2 tries since " in shown and "next after" in shown
    scene.reach({})
    scene.check_healed_with_status()  # a pass that somebody asks for does not wait


def tries(daemon: Daemon, path: str) -> int:
    try:
        return next((each["tries"] for each in daemon.status()["failing"] if each["path"] == path), 0)
    except FileNotFoundError:
        return 0
