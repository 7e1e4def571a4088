"""What is known of a fleet follows the fleet, and not a clock that is set."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.collector import Collector
from tests.support.daemon import OFTEN, Daemon
from tests.support.elfwriter import illumos_core
from tests.support.mishaps import after_listing, collector
from tests.support.sshd import Fleet, Node

PLACE = "/var/tmp/thoth"
TEN_YEARS = 3650 * 86400
_CLOCK = """
import pathlib, time
_true = time.time
time.time = lambda: _true() + float(pathlib.Path({file!r}).read_text())
"""


class Shifted(Collector):
    """A collector whose clock differs by the seconds that a file says."""

    @classmethod
    def of(cls, home: Collector, file: Path) -> Shifted:
        made = cls(home.home, home.inventory.read_text())
        (made.home / "python").mkdir()
        (made.home / "python/sitecustomize.py").write_text(_CLOCK.format(file=str(file)))
        return made

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "PYTHONPATH": str(self.home / "python")}


def status(home: Collector) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(home.command_run("status", "--json").stdout)
    return told


def conflicting(home: Collector, node: Node) -> None:
    """A dump that is stored, and one with the same headers, which is not."""
    first = illumos_core(1)
    node.put(f"{PLACE}/core.1", first)
    assert home.collect().code == 0
    node.put(f"{PLACE}/core.2", first + b"more than the headers tell")


def test_a_clock_that_was_ahead_does_not_have_the_last_word(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    nodes, shift = fleet(["cn0", "cn1"]), tmp_path / "shift"
    home = Shifted.of(collector(tmp_path / "home", nodes), shift)
    nodes["cn1"].authorize()
    shift.write_text(str(TEN_YEARS))
    assert home.collect().code == 1
    shift.write_text("0")
    collector(home.home, [nodes["cn0"]])
    assert home.collect().code == 0
    told = status(home)
    assert abs(told["last_pass"]["started"] - time.time()) < 60 and told["last_pass"]["good"]
    assert [each["node"] for each in told["nodes"]] == ["cn0"]
    assert home.command_run("status").returncode == 0


def test_a_clock_that_is_set_back_in_the_middle_of_a_pass(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    nodes = fleet(["cn0", "cn1"], flavour="gnu")
    shift = nodes["cn0"].path("/tmp/shift")
    shift.write_text("0")
    home = Shifted.of(collector(tmp_path / "home", nodes), shift)
    nodes["cn1"].authorize()
    for _ in range(2):
        home.collect()
    after_listing(nodes["cn0"], "echo -60 > /tmp/shift")
    nodes["cn0"].put(f"{PLACE}/core.1", illumos_core(1))
    assert home.collect().nodes["cn0"]["result"] == "reached"
    assert shift.read_text() == "-60\n"
    assert {each["node"]: each["failures"] for each in status(home)["nodes"]} == {"cn0": 0, "cn1": 3}


def test_the_failing_dump_of_a_node_that_is_no_more_is_forgotten(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    nodes = fleet(["cn0", "cn1"])
    home = collector(tmp_path, nodes)
    conflicting(home, nodes["cn1"])
    assert home.collect().code == 1
    assert [each["node"] for each in status(home)["failing"]] == ["cn1"]
    assert home.collect("-N", "cn0").code == 0  # it knows of one node only
    assert status(home)["failing_dumps"] == 1
    collector(tmp_path, [nodes["cn0"]])
    assert home.collect().code == 0
    shown = home.command_run("status")
    assert shown.returncode == 0, shown.stdout


def test_a_dump_that_waits_for_its_next_try_is_not_counted_again(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    home = collector(tmp_path, [only], OFTEN)
    conflicting(home, only)
    with Daemon(home) as daemon:
        ends = daemon.wait_for_passes(5)
        assert daemon.stop() == 0
    assert [each["dumps"].get("conflict") for each in ends[:5]] == [1, 1, None, None, None]
    assert ends[4]["dumps"] == {"present": 1, "put-off": 1}
    told = status(home)
    assert {word: amount["dumps"] for word, amount in told["totals"].items()} == {"stored": 1, "conflict": 2}
    assert told["failing_dumps"] == 1 and not told["last_pass"]["good"]
