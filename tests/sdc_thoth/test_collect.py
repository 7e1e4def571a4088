"""What a pass does when nothing is wrong."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.collector import Collector
from tests.support.crashwriter import kdump, vmdump
from tests.support.elfwriter import illumos_core, linux_core
from tests.support.invariants import check_store
from tests.support.mishaps import at_session, check_settled, collector
from tests.support.roots import FLAVOURS
from tests.support.sshd import Fleet, Node, NodeSpec
from thoth import DumpInfo, load_config, open_thoth

PLACE = "/var/tmp/thoth"
MEGABYTE = 1 << 20


def changed_at(home: Collector) -> dict[str, int]:
    """When each file of the store was last written, in ns."""
    return {str(path): path.stat().st_mtime_ns for path in home.store.rglob("*") if path.is_file()}


def sessions(node: Node) -> int:
    """How often the node's script has been run, on a node that counts."""
    return len(list(node.path("/tmp").glob("session.*")))


def only_info(home: Collector) -> DumpInfo:
    (info,) = home.infos()
    return info


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


# ---- what is there already -----------------------------------------------------------------------------------------


def test_a_dump_that_came_by_hand_gets_sysinfo_and_keeps_its_ticket(
    node: Callable[..., Node], tmp_path: Path
) -> None:
    only = node()
    core = only.put(f"{PLACE}/core.1", illumos_core(1))
    home = collector(tmp_path, [only])
    assert home.thoth("upload", str(core)).returncode == 0
    (path,) = home.store.glob("*/stor/thoth/*/info.json")
    info = DumpInfo.from_json(path.read_bytes())
    ticketed = info.changed(ticket="OS-1", properties={"triage": "mine"})
    path.write_text(ticketed.to_json())
    result = home.collect()
    assert result.results == {f"{PLACE}/core.1".encode(): "present"} and result.document["bytes"] == 0
    after = only_info(home)
    assert after.document["ticket"] == "OS-1"
    assert after.properties["triage"] == "mine" and after.properties["sysinfo"]["System_Type"] == "Linux"
    assert [source["node"] for source in after.document["sources"]][1:] == [only.name]
    check_settled(home, [only])


def test_a_dump_that_was_cut_short_is_replaced(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    whole = illumos_core(1, size=300_000)
    only.put(f"{PLACE}/core.1", whole[:200_000])
    home = collector(tmp_path, [only])
    assert home.collect().results == {f"{PLACE}/core.1".encode(): "stored"}
    assert only_info(home).complete is False
    only.put(f"{PLACE}/core.1", whole)
    result = home.collect()
    assert result.results == {f"{PLACE}/core.1".encode(): "replaced"} and result.code == 0
    assert only_info(home).complete is True
    assert [data for _, data in home.stored()] == [whole]
    # The cut one is now the lesser one: it changes nothing.
    only.put(f"{PLACE}/core.1", whole[:200_000])
    assert home.collect().results == {f"{PLACE}/core.1".encode(): "present"}
    assert [data for _, data in home.stored()] == [whole]
    check_settled(home, [only])


def test_another_dump_with_the_same_headers_is_a_conflict(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    first = illumos_core(1)
    only.put(f"{PLACE}/core.1", first)
    home = collector(tmp_path, [only])
    assert home.collect().code == 0
    only.put(f"{PLACE}/core.2", first + b"more than the headers tell")
    result = home.collect()
    dump = result.dumps[f"{PLACE}/core.2".encode()]
    assert (dump["result"], dump["stage"]) == ("conflict", "look up")
    assert dump["reason"] == "stored whole with 16384 bytes; this file has 16410 and the same headers"
    assert result.code == 1
    assert [data for _, data in home.stored()] == [first]


@pytest.mark.parametrize("complete", [True, False])
def test_a_dump_that_was_purged_is_not_fetched_again(
    node: Callable[..., Node], tmp_path: Path, complete: bool
) -> None:
    only = node()
    core = illumos_core(1, size=100_000)
    only.put(f"{PLACE}/core.1", core if complete else core[:50_000])
    home = collector(tmp_path, [only])
    assert home.collect().results == {f"{PLACE}/core.1".encode(): "stored"}
    assert only_info(home).complete is complete
    purged = only_info(home).changed(purged=1_700_000_000)
    with open_thoth(
        load_config(home.environment, store=f"file://{home.store}", db=f"sqlite://{home.store.parent}/thoth.db")
    ) as thoth:
        thoth.store.put(f"/thoth/stor/thoth/{purged.id}/info.json", purged.to_json().encode())
        thoth.index.put(purged)
        thoth.store.delete(str(purged.document["dump"]))
    only.put(f"{PLACE}/core.1", core + b"more than there was")
    for flags in (["-n"], [], []):
        result = home.collect(*flags)
        assert result.results == {f"{PLACE}/core.1".encode(): "present"}
        assert (result.document["bytes"], result.code) == (0, 0)
    assert only_info(home).document["purged"] == 1_700_000_000
    assert not list(home.store.glob("*/stor/thoth/*/core.1"))


def test_the_same_core_on_two_nodes(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    nodes = fleet(["cn0", "cn1"])
    for node in nodes:
        node.put(f"{PLACE}/core.1", illumos_core(1))
    home = collector(tmp_path, nodes)
    told = home.run("--json", "-p", "2")
    assert told.returncode == 0
    sources = only_info(home).document["sources"]
    assert sorted((source["node"], source["path"]) for source in sources) == [
        ("cn0", f"{PLACE}/core.1"),
        ("cn1", f"{PLACE}/core.1"),
    ]
    check_store(home)


def test_dumps_that_are_too_large_stay(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    only.put(f"{PLACE}/core.1", illumos_core(1, size=100_000))
    only.put(f"{PLACE}/core.2", illumos_core(2, size=100_001))
    home = collector(tmp_path, [only], "[limits]\nmax_size = 100000")
    result = home.collect()
    assert result.results == {f"{PLACE}/core.1".encode(): "stored", f"{PLACE}/core.2".encode(): "skipped"}
    assert result.dumps[f"{PLACE}/core.2".encode()]["reason"] == "larger than max_size, 100000 bytes"
    assert result.code == 0
    home = collector(tmp_path, [only])
    assert home.collect().results[f"{PLACE}/core.2".encode()] == "stored"


# ---- what was lost -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [16384, 5 * MEGABYTE])
def test_a_dump_that_the_store_has_lost_comes_again(node: Callable[..., Node], tmp_path: Path, size: int) -> None:
    """Its document is there, with what people set, and the index has it: nothing but the store tells."""
    only = node()
    path, core = f"{PLACE}/core.1", linux_core(1, size=size)
    only.put(path, core)
    home = collector(tmp_path, [only])
    home.collect()
    (info,) = home.infos()
    assert home.thoth("ticket", info.id, "OS-7").returncode == 0
    (home.store / str(info.document["dump"]).lstrip("/")).unlink()
    fresh = ("-d", str(tmp_path / "fresh"))  # the journal of another collector
    planned = home.collect("-n", *fresh).dumps[path.encode()]
    assert (planned["result"], planned["reason"]) == ("planned", "what is stored was cut short, or is lost")
    assert home.collect(*fresh).results == {path.encode(): "stored"}
    ((again, data),) = home.stored()
    assert (data, again.document["ticket"]) == (core, "OS-7")
    check_settled(home, [only])


@pytest.mark.parametrize("flags", [("-n",), ()], ids=["dry", "wet"])
def test_a_damaged_document_is_the_failure_of_one_dump(
    node: Callable[..., Node], tmp_path: Path, flags: tuple[str, ...]
) -> None:
    only = node()
    damaged, fresh = (f"{PLACE}/core.{pid}".encode() for pid in (1, 2))
    only.put(damaged.decode(), linux_core(1))
    home = collector(tmp_path, [only])
    home.collect()
    (info,) = home.infos()
    (home.store / str(info.document["name"]).lstrip("/") / "info.json").write_text("{")
    only.put(fresh.decode(), linux_core(2))
    result = home.collect(*flags, "-d", str(tmp_path / "fresh"))
    assert result.results == {damaged: "failed", fresh: "planned" if flags else "stored"}
    assert "info.json: not JSON" in result.dumps[damaged]["reason"]
    assert (result.code, result.nodes[only.name]["result"]) == (1, "reached")


def test_a_lost_index_heals_without_sending_dumps_again(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    for pid in range(1, 6):
        only.put(f"{PLACE}/core.{pid}", illumos_core(pid))
    home = collector(tmp_path, [only])
    assert home.collect().code == 0
    before = changed_at(home)
    for path in home.store.parent.glob("thoth.db*"):
        path.unlink()
    result = home.collect()
    assert set(result.results.values()) == {"present"} and result.document["bytes"] == 0
    assert {path: when for path, when in changed_at(home).items() if not path.endswith(".lock")} == {
        path: when for path, when in before.items() if not path.endswith(".lock")
    }
    assert len(home.infos()) == 5
    check_settled(home, [only])


def test_a_lost_journal_costs_time_and_nothing_else(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    for pid in range(1, 6):
        only.put(f"{PLACE}/core.{pid}", illumos_core(pid))
    home = collector(tmp_path, [only])
    assert home.collect().code == 0
    journal = home.home / ".local/state/sdc-thoth/journal.sqlite"
    content, before = journal.read_bytes(), changed_at(home)
    for damaged in (None, b"no database\n" * 1000, content[: len(content) // 2], b""):
        journal.unlink()
        if damaged is not None:
            journal.write_bytes(damaged)
        result = home.collect()
        assert set(result.results.values()) == {"present"} and result.document["bytes"] == 0
        assert result.code == 0
        assert changed_at(home) == before
    check_settled(home, [only])


# ---- which dumps ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smartos() -> Iterator[Node]:
    """A node with a dump in each of its places, for tests that leave it as it is."""
    with Fleet(1, flavour="smartos") as fleet:
        fill(fleet[0])
        yield fleet[0]


def fill(only: Node) -> None:
    zone, _ = only.zones
    only.put(f"/zones/{zone}/cores/core.nginx.1", illumos_core(1))
    only.put(f"/zones/{zone}/cores/core.node.2", illumos_core(2))
    only.put("/zones/global/cores/core.vmadmd.3", illumos_core(3))
    only.put(f"/zones/{zone}/root/var/tmp/thoth/core.4", illumos_core(4))
    only.put(f"{PLACE}/core.5", illumos_core(5))
    only.put("/var/crash/volatile/vmdump.0", vmdump())
    only.put(f"/zones/{zone}/cores/bounds", illumos_core(6))


@pytest.mark.parametrize(
    ("types", "names"),
    [
        ("all", ["core.nginx.1", "core.node.2", "core.vmadmd.3", "core.4", "core.5", "vmdump.0"]),
        ("core", ["core.nginx.1", "core.node.2", "core.vmadmd.3"]),
        ("global", ["core.vmadmd.3"]),
        ("gcore", ["core.4", "core.5"]),
        ("crash", ["vmdump.0"]),
        ("crash,nginx", ["core.nginx.1", "vmdump.0"]),
        ("vmadmd,node", ["core.node.2", "core.vmadmd.3"]),
        ("absent", []),
    ],
)
def test_types_and_executables(types: str, names: list[str], smartos: Node, tmp_path: Path) -> None:
    result = collector(tmp_path, [smartos]).collect("-n", "-t", types)
    assert sorted(path.decode().rpartition("/")[2] for path in result.results) == sorted(names)
    assert result.code == 0


def test_crash_dumps_of_kernels(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    nodes = fleet([NodeSpec("hn0", "smartos"), NodeSpec("cn1", "gnu")])
    nodes["hn0"].put("/var/crash/volatile/vmdump.0", vmdump(node="hn0", panic="BAD TRAP", size=5 * MEGABYTE))
    nodes["cn1"].put("/var/crash/202601010000/dump.202601010000", kdump(node="cn1"))
    nodes["cn1"].put("/var/crash/127.0.0.1-2026/vmcore", kdump(node="cn1", time=1_700_000_000.0))
    home = collector(tmp_path, nodes)
    assert set(home.collect().results.values()) == {"stored"}
    crashes = {(info.document["node"], info.document["type"]) for info in home.infos()}
    assert crashes == {("hn0", "crash"), ("cn1", "crash")}
    assert len(home.infos()) == 3
    check_settled(home, nodes)


_SYSTEMD = "/var/lib/systemd/coredump/core.x.0.1.2.3"
# What the kernel is told, the core that it then writes, and a file that is none of its. Each pattern names the pid,
# since the kernel adds that where it is missing, if it is told to.
_PATTERNS = (
    ("/var/cores/core.%e.%p", "/var/cores/core.nginx.7", "/var/cores/note"),
    ("/var/cores/%h/%E-%p.core", "/var/cores/cn1/!usr!bin!nginx-7.core", "/var/cores/nginx"),
    ("/core.%p", "/core.7", "/kore.7"),
    ("/var/cores/100%%[x]*.%p", "/var/cores/100%[x]*.7", "/var/cores/100%x.7"),
    # These name no place.
    ("core", _SYSTEMD, "/core"),
    ("|/usr/lib/systemd/systemd-coredump %P", _SYSTEMD, "/usr/lib/systemd/systemd-coredump 7"),
    ("", _SYSTEMD, "/7"),
)


def test_cores_lie_where_the_kernel_of_linux_puts_them(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    specs = [NodeSpec(f"cn{n}", "busybox", core_pattern=told) for n, (told, _, _) in enumerate(_PATTERNS)]
    nodes = fleet(specs)
    for pid, (node, (_, core, other)) in enumerate(zip(nodes, _PATTERNS, strict=True), 1):
        node.put(core, linux_core(pid))
        node.put(other, linux_core(100 + pid))
    told = json.loads(collector(tmp_path, nodes).run("--json").stdout)
    found = sorted((dump["node"], dump["path"], dump["result"]) for dump in told["dumps"])
    assert found == [(f"cn{n}", core, "stored") for n, (_, core, _) in enumerate(_PATTERNS)]
    remarks = {node["node"]: node["reason"] for node in told["nodes"]}
    assert {name for name, remark in remarks.items() if remark} == {"cn4"}, "the one whose pattern is relative"


def test_a_relative_core_pattern_is_told_once_and_fails_nothing(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    specs = [NodeSpec("cn0", core_pattern="core\x1b[2J.%e"), NodeSpec("hn0", "smartos", core_pattern="core")]
    remark = (
        "is relative: cores stay where processes run; set kernel.core_pattern to an absolute path, or name their"
        " places with [paths] core"
    )
    home = collector(tmp_path, fleet(specs))
    done = home.run("-t", "cat,sh")
    assert (done.returncode, done.stdout.count("is relative")) == (0, 1)
    assert {rf"cn0: core_pattern 'core\x1b[2J.%e' {remark}", "hn0: nothing to do"} <= {*done.stdout.splitlines()}
    assert f"core_pattern 'core\x1b[2J.%e' {remark}" == home.collect().nodes["cn0"]["reason"]
    status = home.command_run("status")
    assert (status.returncode, rf"'core\x1b[2J.%e' {remark}" in status.stdout) == (0, True)
    home.inventory.write_text(home.inventory.read_text() + '[paths]\ncore = ["/cores/*"]\n')
    assert "cn0: nothing to do" in home.run().stdout.splitlines()


def test_compressed_cores_are_told_of_the_node_in_each_pass(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    only = fleet(["cn0"])[0]
    packed = only.put(f"{PLACE}/core.1.gz", gzip.compress(linux_core(1)))
    only.put(f"{PLACE}/core.2.zst", b"\x28\xb5\x2f\xfd" + bytes(60))
    only.put(f"{PLACE}/core.3", linux_core(3))
    remark = (
        "2 files are compressed by gzip, zstd and not taken; have none compressed: for systemd-coredump set"
        " Compress=no in coredump.conf"
    )
    home = collector(tmp_path, [only])
    assert home.collect("--dry-run").nodes["cn0"]["reason"] == remark
    for _ in range(2):
        assert home.collect().nodes["cn0"] == {"node": "cn0", "result": "reached", "stage": None, "reason": remark}
    done = home.run()
    assert (done.returncode, f"cn0: {remark}" in done.stdout.splitlines()) == (0, True)
    status = home.command_run("status")
    assert (status.returncode, f": {remark}\n" in status.stdout) == (0, True)
    packed.unlink()
    assert home.collect().nodes["cn0"]["reason"].startswith("1 file is compressed by zstd and not taken; ")


def test_configured_places_stand_in_for_the_usual_ones(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    only.put("/dumps/a/x.core", linux_core(1))
    only.put("/dumps/a/b/x.core", linux_core(2))
    only.put("/var/crash/1/vmcore", vmdump())
    home = collector(tmp_path, [only], '[paths]\ncore = ["/dumps/?/*.core"]\ncrash = []')
    assert home.collect().results == {b"/dumps/a/x.core": "stored", b"/var/crash/1/vmcore": "stored"}


# ---- which nodes ---------------------------------------------------------------------------------------------------


def test_nodes_by_name(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    home = collector(tmp_path, fleet(3))
    for flags, names in (
        (["-N", "cn1"], {"cn1"}),
        (["-N", "cn0,cn2"], {"cn0", "cn2"}),
        (["-x", "-N", "cn1"], {"cn0", "cn2"}),
        ([], {"cn0", "cn1", "cn2"}),
    ):
        assert set(home.collect("-n", *flags).nodes) == names


def test_a_node_by_uuid_and_one_that_is_not_there(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    nodes = fleet(2)
    home = collector(tmp_path, nodes)
    home.inventory.write_text(nodes.fleet_toml())
    assert set(home.collect("-n", "-N", nodes["cn1"].uuid).nodes) == {"cn1"}
    refused = home.run("-N", "cn7")
    assert refused.returncode == 1 and refused.stdout == ""
    (line,) = refused.stderr.splitlines()
    assert "cn7" in line


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
