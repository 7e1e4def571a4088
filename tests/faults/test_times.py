"""F19: dumps of the past, of the future and of odd moments; and a clock that jumps while a pass goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from tests.faults.scene import DUMPS, MIB, within
from tests.support.collector import Collector, Pass
from tests.support.elfwriter import illumos_core
from tests.support.invariants import check_store
from tests.support.mishaps import check_settled, collector
from tests.support.roots import FLAVOURS
from tests.support.sshd import Fleet, Node, NodeSpec

SECOND: Final = 10**9  # nanoseconds
DAY: Final = 86400  # seconds
DUE: Final = 4_000_000_000  # seconds since 1970: it is 2096
TIMES: Final[Mapping[str, int]] = {
    "zero": 0,
    "a-nanosecond": 1,
    "nanoseconds": 1_600_000_000_123_456_789,
    "last-nanosecond": 1_600_000_000_999_999_999,
    "future": DUE * SECOND,
    "2038": 2**31 * SECOND,
    "2038-and-more": 2**31 * SECOND + 123_456_789,
    "2106": 2**32 * SECOND,
    "before-1970": -SECOND,
    "half-before": -SECOND // 2,
    "one-and-a-half-before": -3 * SECOND // 2,
    "1901": -(2**31) * SECOND,
}
WHOLE: Final = ("busybox", "little")  # flavours whose programs tell no fraction of a second


def aged(core: Path, ns: int) -> bool:
    """Whether the file system can hold that time; the file has it then."""
    os.utime(core, ns=(ns, ns))
    return core.stat().st_mtime_ns == ns


def plant(node: Node, first: int) -> dict[bytes, int]:
    """A dump of each time that the file system can hold: path -> nanoseconds since 1970."""
    planted = {}
    for pid, (name, ns) in enumerate(TIMES.items(), first):
        path = f"{DUMPS}/core.{node.name}.{name}"
        core = node.put(path, illumos_core(pid))
        if aged(core, ns):
            planted[path.encode()] = ns
        else:
            assert ns < 0 or ns >= 2**31 * SECOND  # the others every file system has
            core.unlink()
    return planted


def told(ns: int, flavour: str) -> float:
    """The seconds since 1970 that a node of that flavour tells."""
    return float(ns // SECOND) if flavour in WHOLE else ns / SECOND


# ---- times of dumps --------------------------------------------------------------------------------------


def test_F19_dumps_of_any_time(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    nodes = fleet([NodeSpec(flavour, flavour) for flavour in FLAVOURS])
    planted = {node.name: plant(node, 100 * number) for number, node in enumerate(nodes, 1)}
    paths = {path for each in planted.values() for path in each}
    home = collector(tmp_path, nodes)
    plan = home.collect("--dry-run")
    assert (plan.code, plan.results) == (0, dict.fromkeys(paths, "planned")), plan.document
    real = home.collect()
    assert (real.code, real.results) == (0, dict.fromkeys(paths, "stored")), real.document
    assert {each["result"] for each in real.nodes.values()} == {"reached"}
    for info in home.infos():
        (source,) = info.document["sources"]
        assert source["mtime"] == info.document["time"]
        assert source["mtime"] == told(planted[source["node"]][source["path"].encode()], source["node"])
    again = home.collect()
    assert (again.code, again.document["bytes"]) == (0, 0)
    assert again.results == dict.fromkeys(paths, "present")
    check_settled(home, nodes)
    assert home.command_run("status").returncode == 0


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_F19_a_dump_that_gets_an_odd_time_is_still_known(
    node: Callable[..., Node], tmp_path: Path, flavour: str
) -> None:
    only = node(flavour=flavour)
    core = only.put(f"{DUMPS}/core.1", illumos_core(1))
    home = collector(tmp_path, [only])
    assert home.collect().results == {f"{DUMPS}/core.1".encode(): "stored"}
    for ns in TIMES.values():
        os.utime(core, ns=(ns, ns))  # what the file system cannot hold becomes what it can
        seen = home.collect()
        assert (seen.code, seen.results) == (0, {f"{DUMPS}/core.1".encode(): "present"}), (ns, seen.document)


def test_F19_a_large_dump_of_time_0_is_streamed(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    assert aged(only.put(f"{DUMPS}/core.1", illumos_core(1, size=5 * MIB)), 0)
    home = collector(tmp_path, [only])
    assert home.collect().results == {f"{DUMPS}/core.1".encode(): "stored"}
    check_settled(home, [only])


def test_F19_upload_of_dumps_of_any_time(tmp_path: Path) -> None:
    home = Collector(tmp_path, "")
    kept = {}
    for pid, (name, ns) in enumerate(TIMES.items(), 1):
        core = tmp_path / f"core.{name}"
        core.write_bytes(illumos_core(pid))
        if aged(core, ns):
            kept[str(core)] = ns
    done = home.thoth("upload", *kept)
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    infos = {info.document["sources"][0]["path"]: info for info in home.infos()}
    assert {path: info.document["time"] for path, info in infos.items()} == {
        path: ns / SECOND for path, ns in kept.items()
    }
    listed = home.thoth("ls").stdout
    for ns in kept.values():
        moment = datetime.fromtimestamp(ns // SECOND, UTC)
        assert f" {moment:%Y-%m-%dT%H:%M:%S} " in listed
    young = json.loads(home.thoth("info", "mtime=1d").stdout)
    assert {each["id"] for each in young} == {
        str(infos[path].id) for path, ns in kept.items() if ns >= 2**31 * SECOND
    }
    before = {path: path.stat().st_mtime_ns for path in home.store.rglob("*")}
    assert home.thoth("upload", *kept).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in home.store.rglob("*")} == before
    check_store(home)


# ---- a clock that jumps ----------------------------------------------------------------------------------

# Runs the command by a clock that is set by so many seconds each time that somebody looks at it.
_JUMPING = """
import sys, time
from itertools import count
real, looks, step = time.time, count(), int(sys.argv.pop(1))
time.time = lambda: real() + step * next(looks)
from sdc_thoth.cli import main
sys.exit(main(sys.argv[1:]))
"""


def run_jumping(home: Collector, step: int, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _JUMPING, str(step), *home.command(*flags)[1:]]
    return subprocess.run(
        command,
        env={**home.environment, "PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=home.home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def last_pass(home: Collector) -> dict[str, Any]:
    status = json.loads(home.command_run("status", "--json").stdout)
    return dict(status["last_pass"])


@pytest.mark.parametrize("step", [-DAY, DAY], ids=["back", "forth"])
def test_F19_a_clock_that_jumps_during_a_pass(node: Callable[..., Node], tmp_path: Path, step: int) -> None:
    only = node()
    for pid, size in enumerate((16384, 5 * MIB), 1):
        only.put(f"{DUMPS}/core.{pid}", illumos_core(pid, size=size))
    home = collector(tmp_path, [only], "[limits]\nrate = '64M'")
    with within(30):
        seen = Pass.of(run_jumping(home, step, "--json"))
    assert (seen.code, set(seen.results.values())) == (0, {"stored"}), seen.document
    assert 0 < seen.document["seconds"] < 30
    note = last_pass(home)
    assert 0 < note["busy"] <= note["seconds"] < 30
    check_settled(home, [only])


@pytest.mark.parametrize("step", [-DAY, DAY], ids=["back", "forth"])
def test_F19_a_clock_that_jumps_before_a_pass_breaks_off(
    node: Callable[..., Node], tmp_path: Path, step: int
) -> None:
    only = node()
    only.put(f"{DUMPS}/core.1", illumos_core(1))
    home = collector(tmp_path, [only])
    home.store.parent.mkdir(parents=True)
    home.store.write_text("no directory")
    done = run_jumping(home, step)
    assert done.returncode != 0 and "Traceback" not in done.stderr, done.stderr
    note = last_pass(home)
    assert note["error"] and 0 <= note["seconds"] < 30, note
