"""The limits of a pass: what is told of them, and that they hold."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdc_thoth.limits import Limits
from sdc_thoth.options import limits, pass_parser
from sdc_thoth.report import Speed
from tests.support.collector import Collector
from tests.support.daemon import Daemon
from tests.support.elfwriter import illumos_core, linux_core
from tests.support.mishaps import check_settled, collector, keep_in, small_disk
from tests.support.processes import wait_until
from tests.support.sshd import Fleet, Node, NodeSpec
from thoth import UsageError

PLACE = "/var/tmp/thoth"
MEGABYTE = 1 << 20
DAY = 86400.0


def large(pid: int, size: int = 5 * MEGABYTE) -> bytes:
    return linux_core(pid, size=size)


def fleet_file(tmp_path: Path, table: str) -> str:
    return f'[limits]\n{table}\n[[node]]\nname = "cn0"\n'


# ---- settings ------------------------------------------------------------------------------------------


def settings_of(tmp_path: Path, table: str, *words: str) -> Limits:
    from sdc_thoth.config import load_settings

    file = tmp_path / "fleet.toml"
    file.write_text(fleet_file(tmp_path, table))
    given = limits(pass_parser().parse_args(list(words)))
    return load_settings(inventory=str(file), home=tmp_path, limits=given).limits


def test_the_file_says_and_an_option_goes_before_it(tmp_path: Path) -> None:
    assert settings_of(tmp_path, "") == Limits()
    table = """
        settle = 30
        max_size = "200G"
        min_free = "50 GiB"
        nodes = 8
        dumps = 3
        rate = "20M"
        node_rate = 1000
        compress = "gzip"
    """
    told = Limits(30, 200 << 30, 50 << 30, 8, 3, 20 << 20, 1000, "gzip")
    assert settings_of(tmp_path, table) == told
    words = "-p 2 --dumps 1 --rate 1M --node-rate 5K --max-size 7 --min-free 9T --compress none"
    assert settings_of(tmp_path, table, *words.split()) == Limits(30, 7, 9 << 40, 2, 1, 1 << 20, 5 << 10, "none")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("rate = 0", r"fleet.toml:2: \[limits\] rate: not a number of bytes above 0"),
        ('node_rate = "fast"', "node_rate: not a number of bytes"),
        ("nodes = 0", "nodes: not between 1 and 1000"),
        ("dumps = 1.5", "dumps: expected a whole number"),
        ('compress = "xz"', "compress: not one of auto, gzip, zstd, none"),
        ("min_fre = 1", "min_fre: unknown; known are"),
    ],
)
def test_F57_what_is_wrong_in_the_file(table: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        settings_of(tmp_path, table)


@pytest.mark.parametrize("words", ["--rate 0", "--min-free x", "--dumps 0", "-p 1001", "--compress xz"])
def test_what_is_wrong_on_the_command_line(words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        settings_of(tmp_path, "", *words.split())


def test_they_are_shown() -> None:
    assert Limits().shown == "4 nodes at a time"
    all_of_them = Limits(max_size=200 << 30, min_free=50 << 30, nodes=8, dumps=3, rate=20 << 20, node_rate=5 << 20)
    told = "8 nodes at a time, 3 dumps at a time, up to 200.00GB each, 50.00GB stay free, 20.00MB/s"
    assert all_of_them.shown == f"{told}, 5.00MB/s from each node"


# ---- how long a plan will take -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "told", "planned", "seconds"),
    [
        (None, {}, {"a": 100}, None),
        (10.0, {}, {}, None),
        (10.0, {}, {"a": 100}, 10),
        (10.0, {"rate": 5}, {"a": 60, "b": 40}, 20),
        (10.0, {"rate": 50}, {"a": 100}, 10),
        (None, {"node_rate": 10}, {"a": 90, "b": 10}, 9),
        (None, {"node_rate": 10, "nodes": 2}, {"a": 50, "b": 50, "c": 50}, 7.5),
        (100.0, {"node_rate": 10, "rate": 12}, {"a": 60, "b": 60}, 10),
    ],
)
def test_the_estimate(
    rate: float | None, told: dict[str, Any], planned: dict[str, int], seconds: float | None
) -> None:
    assert Speed(rate, Limits(**told)).seconds(planned) == seconds


def test_a_plan_says_how_long_it_takes_at_the_limit(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    only.put(f"{PLACE}/core.1", large(1))
    home = collector(tmp_path, [only])
    plan = home.collect("-n", "--rate", "512K").document
    assert (plan["estimated_seconds"], plan["rate"]) == (10.0, 512 << 10)
    assert "about 10.0s at 512.00KB/s" in home.run("-n", "--node-rate", "512K").stdout


# ---- bytes a second ------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["rate", "node_rate"])
def test_a_rate_holds(limit: str, fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    """What it costs is time, not CPU: nobody spins."""
    nodes = fleet(["cn0", "cn1"])
    for pid, each in enumerate(nodes, 1):
        each.put(f"{PLACE}/core.{pid}", large(pid))
    home = collector(tmp_path, nodes, f"[limits]\n{limit} = {4 << 20 if limit == 'rate' else 2 << 20}\n")
    began, before = time.monotonic(), os.times()
    result = home.collect()
    took, after = time.monotonic() - began, os.times()
    assert set(result.results.values()) == {"stored"} and result.document["bytes"] == 10 * MEGABYTE
    assert took > 2.3, took  # 2.5 s and what may be saved up
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    assert cpu < took
    check_settled(home, nodes)


@pytest.mark.parametrize("compress", ["none", "gzip"])
def test_a_rate_is_changed_in_the_middle_of_a_pass(compress: str, node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    only.put(f"{PLACE}/core.1", illumos_core(1) + os.urandom(20 * MEGABYTE))
    slow = f'[schedule]\nevery = 3600\n[limits]\ncompress = "{compress}"\nrate = "20K"\n'
    home = collector(tmp_path, [only], slow)
    with Daemon(home, "--debug") as daemon:
        assert wait_until(lambda: f"uploading {PLACE}/core.1" in daemon.log, 30)
        time.sleep(2)  # by then as much is waited for as was taken at once
        assert "limits: 4 nodes at a time, 20.00KB/s" in home.command_run("status").stdout.splitlines()
        home.inventory.write_text(home.inventory.read_text().replace('rate = "20K"\n', ""))
        daemon.send(signal.SIGHUP)
        daemon.wait_for("the configuration was read again")
        assert wait_until(lambda: daemon.status()["daemon"]["limits"] == "4 nodes at a time", 10)
        told = daemon.wait_for("dump", seconds=10)  # at the old rate a MiB alone takes 51 s
        assert told["result"] == "stored"
        assert daemon.stop() == 0


def test_a_way_of_compressing_that_cannot_be_expanded_here_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings_of(tmp_path, 'compress = "zstd"', "--compress", "zstd").compress == "zstd"
    monkeypatch.setitem(sys.modules, "zstandard", None)  # as where it is not installed
    needs = r"zstd needs Python's zstandard \(pip install 'manta-thoth\[zstd\]', .*\); or say auto or gzip$"
    with pytest.raises(UsageError, match=rf"fleet.toml:2: \[limits\] compress: {needs}"):
        settings_of(tmp_path, 'compress = "zstd"')
    with pytest.raises(UsageError, match=f"^--compress: {needs}"):
        settings_of(tmp_path, "", "--compress", "zstd")
    assert settings_of(tmp_path, "", "--compress", "auto").compress == "auto"


# ---- how many at a time --------------------------------------------------------------------------------


def test_dumps_at_a_time(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    """With one at a time two nodes take as long as one after the other."""
    nodes = fleet(["cn0", "cn1"])
    for pid, each in enumerate(nodes, 1):
        each.put(f"{PLACE}/core.{pid}", large(pid))
        each.put(f"{PLACE}/core.{100 + pid}", linux_core(100 + pid))
    home = collector(tmp_path, nodes, '[limits]\nnode_rate = "4M"\ncompress = "none"\n')
    began = time.monotonic()
    assert set(home.collect("--dumps", "1").results.values()) == {"stored"}
    assert time.monotonic() - began > 2.2  # 1.25 s each
    check_settled(home, nodes)


# ---- what is left out ----------------------------------------------------------------------------------


def test_what_max_size_leaves_out_is_told_and_comes_once_it_may(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node(flavour="gnu")
    only.put(f"{PLACE}/core.1", large(1))
    only.put(f"{PLACE}/core.2", large(2, 6 * MEGABYTE))
    textfile = tmp_path / "x.prom"
    home = collector(tmp_path, [only], f'[metrics]\ntextfile = "{textfile}"')
    big = f"{PLACE}/core.2".encode()
    limit = ("--max-size", "5M")
    plan = home.collect("-n", *limit)
    assert plan.results[big] == "skipped"
    assert plan.document["limited"] == {"max_size": {"dumps": 1, "bytes": 6 * MEGABYTE}}
    first = home.run(*limit)
    assert "left out by max_size: 1 dump (6.00MB)" in first.stdout.splitlines()
    assert first.returncode == 0
    again = home.collect(*limit)
    assert again.dumps[big]["reason"] == "larger than max_size, 5242880 bytes"
    shown = home.command_run("status").stdout
    assert "  left out by limits, to be tried again: 1 max_size (6.00MB)" in shown.splitlines()
    assert 'sdc_thoth_limited_dumps{limit="max_size"} 1.0' in textfile.read_text()
    assert home.collect().results[big] == "stored"
    check_settled(home, [only])


@pytest.mark.parametrize("wet", [True, False], ids=["wet", "dry"])
def test_min_free_keeps_that_much_free(wet: bool, node: Callable[..., Node], tmp_path: Path) -> None:
    """The large one stays, the small one behind it comes."""
    only = node()
    sizes = {1: 6, 2: 9, 3: 5}
    for pid, size in sizes.items():
        only.put(f"{PLACE}/core.{pid}", large(pid, size * MEGABYTE), age=1000 - pid)
    with small_disk(tmp_path / "disk", "20m") as disk:
        home = collector(tmp_path, [only], '[limits]\nmin_free = "8M"\n')
        keep_in(home, disk / "store")
        (disk / "store").mkdir(mode=0o700)
        result = home.collect(*(() if wet else ("-n",)))
        done = "stored" if wet else "planned"
        assert [result.results[f"{PLACE}/core.{pid}".encode()] for pid in sizes] == [done, "skipped", done]
        left = result.dumps[f"{PLACE}/core.2".encode()]
        assert left["reason"] == "would leave less than min_free, 8388608 bytes, on the store's disk"
        assert (result.code, result.document["limited"]) == (0, {"min_free": {"dumps": 1, "bytes": 9 * MEGABYTE}})


# ---- order ---------------------------------------------------------------------------------------------


def uploaded(home: Collector, *flags: str) -> list[str]:
    """The names of the large dumps in the order in which they came."""
    lines = home.run(*flags).stdout.splitlines()
    return [line.split(" from ")[0].rpartition("/")[2] for line in lines if line.startswith("uploading ")]


def test_the_oldest_dump_of_a_node_comes_first(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    ages = {1: 50.0, 2: 4000.0, 3: 900.0, 4: 80_000.0}
    for pid, age in ages.items():
        only.put(f"{PLACE}/core.{pid}", large(pid), age=age)
    assert uploaded(collector(tmp_path, [only])) == ["core.4", "core.2", "core.3", "core.1"]


def test_nodes_take_turns_and_what_is_about_to_be_deleted_goes_first(
    fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    nodes = fleet([NodeSpec(name, "smartos") for name in ("cn0", "cn1", "cn2")])
    for pid in range(1, 5):  # a turn is 64 MiB
        nodes["cn0"].put(f"{PLACE}/core.old.{pid}", illumos_core(pid, size=40 * MEGABYTE), age=30 * DAY - pid)
    nodes["cn1"].put(f"{PLACE}/core.other.9", illumos_core(9, size=5 * MEGABYTE))
    zone = nodes["cn2"].zones[0]
    for pid, days in ((20, 6.0), (21, 6.8), (22, 1.0)):
        nodes["cn2"].put(f"/zones/{zone}/cores/core.x.{pid}", illumos_core(pid, size=5 * MEGABYTE), age=days * DAY)
    order = uploaded(collector(tmp_path, nodes), "-p", "1")
    assert order[:2] == ["core.x.21", "core.x.20"]
    assert order[2:5] == ["core.old.1", "core.other.9", "core.x.22"]
    assert order[5:] == ["core.old.2", "core.old.3", "core.old.4"]
