"""Which dumps a pass collects, and from which nodes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.sdc_thoth.passes import MEGABYTE, PLACE
from tests.support.crashwriter import kdump, vmdump
from tests.support.elfwriter import elf_vmcore, illumos_core, linux_core
from tests.support.mishaps import check_settled, collector
from tests.support.sshd import Fleet, Node, NodeSpec

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
    nodes["cn1"].put("/var/crash/127.0.0.1-2025/vmcore", elf_vmcore("OSRELEASE=6.1.0"))
    nodes["cn1"].put("/var/lib/systemd/coredump/core.x.0.1.2.3", linux_core(1))
    home = collector(tmp_path, nodes)
    assert set(home.collect("-t", "crash").results.values()) == {"stored"}
    crashes = {(info.document["node"], info.document["type"]) for info in home.infos()}
    assert crashes == {("hn0", "crash"), ("cn1", "crash"), ("cn1", "core")}
    assert len(home.infos()) == 4
    home.collect()
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


def test_a_program_that_takes_cores_to_nobody_knows_where_is_told(
    fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    """On a node of which nothing is collected for ever, nobody may say that nothing is to do."""
    patterns = {
        "cn0": "|/usr/libexec/abrt-hook-ccpp %s %c %p",
        "cn1": "|/opt/systemd-coredump-of-ours/h",
        "cn2": "|/usr/share/apport/apport -p%p -s%s",
        "cn3": "@/run/cores.socket",
        "cn4": "@@/run/systemd/coredump.socket",
    }
    told = collector(
        tmp_path, fleet([NodeSpec(name, core_pattern=each) for name, each in patterns.items()])
    ).collect()
    assert told.code == 0
    remarks = {name: node["reason"] for name, node in told.nodes.items()}
    unknown = "and where that puts them is not known; name the place with [paths] core"
    assert remarks == {
        "cn0": f"core_pattern '{patterns['cn0']}' gives cores to a program, {unknown}",
        "cn1": f"core_pattern '{patterns['cn1']}' gives cores to a program, {unknown}",
        "cn2": None,
        "cn3": f"core_pattern '{patterns['cn3']}' gives cores to a socket, {unknown}",
        "cn4": None,
    }


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
