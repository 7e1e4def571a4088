"""What a pass does when nothing is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sdc_thoth.passes import MEGABYTE, PLACE, changed_at, only_info, sessions
from tests.support.elfwriter import illumos_core, linux_core
from tests.support.mishaps import at_session, check_settled, collector
from tests.support.roots import FLAVOURS
from tests.support.sshd import Fleet, Node, NodeSpec

# ---- passes --------------------------------------------------------------------------------------------------------


def test_dumps_of_all_sizes_come_whole(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    sizes = (16384, 65535, 65536, 65537, 300_000, 4 * MEGABYTE - 1, 4 * MEGABYTE + 1, 9 * MEGABYTE)
    cores = {f"{PLACE}/core.{pid}".encode(): linux_core(pid, size=size) for pid, size in enumerate(sizes, 1)}
    for path, core in cores.items():
        only.put(path, core)
    home = collector(tmp_path, [only])
    result = home.collect()
    assert result.results == dict.fromkeys(cores, "stored")
    assert result.document["bytes"] == sum(sizes)
    assert {
        source["path"].encode(): data for info, data in home.stored() for source in info.document["sources"]
    } == cores
    check_settled(home, [only])


def test_a_node_is_asked_few_questions(node: Callable[..., Node], tmp_path: Path) -> None:
    gnu = node(flavour="gnu")
    at_session(gnu, 1, ":")
    for pid in range(1, 21):
        gnu.put(f"{PLACE}/core.{pid}", illumos_core(pid, size=60_000))
    home = collector(tmp_path, [gnu])
    home.collect("--dry-run")
    assert sessions(gnu) == 1  # what is there, and the heads, by one shell
    assert set(home.collect().results.values()) == {"stored"}
    assert sessions(gnu) == 2  # and what the node is, along with the heads: of small dumps these are all
    assert {info.properties["sysinfo"]["System_Type"] for info in home.infos()} == {"Linux"}
    home.collect()
    assert sessions(gnu) == 3


def test_the_second_pass_is_idle(node: Callable[..., Node], tmp_path: Path) -> None:
    gnu = node(flavour="gnu")
    for pid in range(1, 21):
        gnu.put(f"{PLACE}/core.{pid}", linux_core(pid))
    gnu.put(f"{PLACE}/core.text", b"no dump")
    at_session(gnu, 0, ":")
    home = collector(tmp_path, [gnu])
    assert home.collect().code == 0
    before, asked = changed_at(home), sessions(gnu)
    again = home.collect()
    assert again.document["bytes"] == 0
    assert again.document["counts"] == {"present": 20, "skipped": 1}
    assert changed_at(home) == before
    assert sessions(gnu) - asked == 1  # the listing: no head was read again
    assert again.dumps[f"{PLACE}/core.text".encode()]["reason"].startswith("not a dump: ")


def test_nodes_of_all_flavours(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    nodes = fleet([NodeSpec(flavour, flavour) for flavour in FLAVOURS])
    for pid, node in enumerate(nodes, 1):
        node.put(f"{PLACE}/core.small.{pid}", illumos_core(pid))
        node.put(f"{PLACE}/core.large.{pid}", illumos_core(100 + pid, size=5 * MEGABYTE))
    home = collector(tmp_path, nodes)
    result = home.run()
    assert result.returncode == 0
    assert len(home.infos()) == 8
    sysinfo = {info.document["sources"][0]["node"]: info.properties["sysinfo"] for info in home.infos()}
    assert sysinfo["smartos"]["Live_Image"] == "20260101T000000Z"
    assert sysinfo["smartos"]["Network_Interfaces"]["ixgbe0"]["MAC_Address"] == "00:0c:29:00:00:01"
    assert not any(" " in key for key in sysinfo["smartos"])
    for name in ("busybox", "gnu", "little"):
        assert sysinfo[name].keys() == {"Hostname", "System_Type", "Release", "Version", "Machine"}
        assert sysinfo[name]["System_Type"] == "Linux"
    check_settled(home, nodes)


def test_the_report_for_people(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    nodes = fleet(["cn0", "cn1"])
    nodes["cn0"].put(f"{PLACE}/core.a b", linux_core(1))
    nodes["cn0"].put(f"{PLACE}/core.none", b"no dump")
    home = collector(tmp_path, nodes)
    dry, real, again = home.run("-n"), home.run(), home.run("-v")
    identity = only_info(home).id
    name = f"{PLACE}/core.a b"
    reason = "not a dump: neither a core nor a crash dump: too short"
    assert sorted(dry.stdout.splitlines()[:2]) == ["discovering dumps on cn0", "discovering dumps on cn1"]
    assert f"would upload {name} from cn0 (16.00KB)" in dry.stdout.splitlines()
    shown = real.stdout.splitlines()
    assert f"uploaded {name} from cn0 (16.00KB) as {identity}" in shown
    summary = shown[shown.index("=== Completed ===") :]
    assert sorted(summary[1:4]) == [
        f"cn0: {name}: stored {identity}",
        next(
            line
            for line in summary
            if line.startswith(f"cn0: {PLACE}/core.none: skipped: {reason.split(':', maxsplit=1)[0]}")
        ),
        "cn1: nothing to do",
    ]
    assert summary[4] == "uploaded 16.00KB"
    assert summary[5].startswith("total run time ")
    assert f"cn0: {name}: present {identity}" in again.stdout.splitlines()
    assert dry.stderr == real.stderr == again.stderr == ""


# ---- what is noted -------------------------------------------------------------------------------------------------


def test_passes_by_hand_are_noted_for_status_and_for_the_next_plan(
    fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    nodes = fleet(["cn0", "cn1"])
    nodes["cn0"].put(f"{PLACE}/core.1", linux_core(1, size=5 * MEGABYTE))
    textfile = tmp_path / "x.prom"
    home = collector(tmp_path, nodes, f'[metrics]\ntextfile = "{textfile}"')
    plan = home.collect("-n").document
    assert (plan["bytes"], plan["rate"], plan["estimated_seconds"]) == (5 * MEGABYTE, None, None)
    assert not textfile.exists()
    assert home.collect().code == 0
    assert 'sdc_thoth_dumps_total{result="stored"} 1.0' in textfile.read_text()
    shown = home.command_run("status")
    assert shown.returncode == 0, shown.stdout
    assert shown.stdout.splitlines()[0] == "daemon: none; passes are run one by one"
    nodes["cn1"].put(f"{PLACE}/core.2", linux_core(2, size=5 * MEGABYTE))
    plan = home.collect("-n").document
    assert plan["rate"] > 0
    assert plan["estimated_seconds"] == pytest.approx(plan["bytes"] / plan["rate"], rel=0.1, abs=0.1)
    nodes["cn1"].authorize()
    assert home.collect().code == 1
    shown = home.command_run("status")
    assert shown.returncode == 1 and "  cn1: denied since " in shown.stdout
    # A pass over some nodes leaves what is known of the others.
    assert home.collect("-N", "cn0").code == 0
    assert [line for line in home.command_run("status").stdout.splitlines() if line.startswith("  cn1: denied since")]


def test_a_pass_by_hand_that_cannot_begin_is_noted(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    only.put(f"{PLACE}/core.1", linux_core(1))
    home = collector(tmp_path, [only])
    assert home.collect().code == 0
    home.store.rename(home.store.with_name("away"))
    assert home.run().returncode == 1
    shown = home.command_run("status")
    assert shown.returncode == 1 and "!! the last pass broke off: store " in shown.stdout
