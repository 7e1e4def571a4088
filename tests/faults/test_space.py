"""Dumps for which there is no room, and a disk that is full: rows F44 and F10 of the fault matrix."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.chaos import Proxy
from tests.support.collector import Collector
from tests.support.elfwriter import illumos_core
from tests.support.invariants import check_store
from tests.support.mishaps import check_settled, collector, keep_in, small_disk
from tests.support.roots import program
from tests.support.sshd import Node

PLACE = "/var/tmp/thoth"
HUGE = 1 << 40
MEGABYTE = 1 << 20


@pytest.fixture
def only(node: Callable[..., Node]) -> Node:
    return node()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "6m") as folder:
        yield folder


@pytest.fixture
def home(only: Node, disk: Path, tmp_path: Path) -> Collector:
    """A collector whose store is on the small disk; its index is not."""
    home = collector(tmp_path / "home", [only])
    keep_in(home, disk, home.home / "index.db")
    return home


def paths(*names: str) -> list[bytes]:
    return [f"{PLACE}/core.{name}".encode() for name in names]


def fill(ballast: Path) -> None:
    ballast.write_bytes(bytes(2 * MEGABYTE))


def put_huge(node: Node) -> Path:
    """A core of a terabyte of which only the first kilobytes are on the disk."""
    core = node.put(f"{PLACE}/core.huge", illumos_core(9))
    then = core.stat().st_mtime
    os.truncate(core, HUGE)
    os.utime(core, (then, then))
    return core


def test_F44_a_sparse_core_of_a_terabyte(only: Node, home: Collector, disk: Path) -> None:
    core = put_huge(only)
    for pid in range(1, 4):
        only.put(f"{PLACE}/core.{pid}", illumos_core(pid))
    identity = home.thoth("object", str(core)).stdout.strip()
    huge, *small = paths("huge", "1", "2", "3")

    plan = home.collect("-n").dumps
    assert (plan[huge]["result"], plan[huge]["size"], plan[huge]["identity"]) == ("planned", HUGE, identity)
    assert not list(disk.iterdir())

    result = home.collect()
    dump = result.dumps[huge]
    assert (dump["result"], dump["stage"], dump["identity"]) == ("failed", "store", identity)
    needs = f"store {disk}: /thoth/stor/thoth/{identity}/core.huge needs {HUGE} bytes and "
    assert dump["reason"].startswith(needs) and dump["reason"].endswith(" are free; free some space")
    assert [result.results[path] for path in small] == ["stored"] * 3
    assert result.nodes[only.name]["result"] == "reached"
    assert result.code == 1
    assert result.document["seconds"] < 10
    check_store_of(home, disk, 3)

    core.unlink()
    assert set(home.collect().results.values()) == {"present"}


def check_store_of(home: Collector, disk: Path, dumps: int) -> None:
    """What ``check_store`` checks, of a store that lies elsewhere."""
    home.store.parent.mkdir(parents=True, exist_ok=True)
    home.store.symlink_to(disk)
    check_store(home)
    assert len(home.stored()) == dumps
    home.store.unlink()


def test_F10_a_dump_too_large_for_what_is_left(only: Node, home: Collector, disk: Path) -> None:
    """Room is looked for before a byte is sent; what is smaller goes on. With room made, the next pass takes it."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(2 * MEGABYTE))
    only.put(f"{PLACE}/core.large", illumos_core(1, size=5 * MEGABYTE))
    only.put(f"{PLACE}/core.small", illumos_core(2))
    large, small = paths("large", "small")
    result = home.collect()
    assert result.results == {large: "failed", small: "stored"}
    assert "needs 5242880 bytes" in result.dumps[large]["reason"]
    assert result.code == 1
    ballast.unlink()
    again = home.collect()
    assert again.results == {large: "stored", small: "present"}
    check_store_of(home, disk, 2)


def test_F10_full_in_the_middle_of_a_dump(only: Node, disk: Path, tmp_path: Path) -> None:
    """It fitted when it was begun. What there is of it goes, and then there is room for the next one."""
    only.put(f"{PLACE}/core.large", illumos_core(1, size=5 * MEGABYTE))
    only.put(f"{PLACE}/core.small", illumos_core(2))
    ballast = disk / "ballast"
    with Proxy((only.address, only.port)) as proxy:
        home = collector(tmp_path / "home", [only], proxy=proxy)
        keep_in(home, disk, home.home / "index.db")
        proxy.at(MEGABYTE, "down", lambda _link: fill(ballast))
        result = home.collect()
    large, small = paths("large", "small")
    assert result.results == {large: "failed", small: "stored"}
    assert result.dumps[large]["reason"].startswith(f"store {disk}: no space or no inode is left; free some")
    assert result.code == 1 and "Traceback" not in result.talk
    ballast.unlink()
    check_store_of(home, disk, 1)
    home = collector(tmp_path / "home", [only])
    assert home.collect().results == {large: "stored", small: "present"}
    check_store_of(home, disk, 2)


_SAMPLED = (("fsync", 1), ("fsync", 4))
_FULL_AT = [
    pytest.param(call, number, marks=() if (call, number) in _SAMPLED else pytest.mark.soak)
    for call in ("fsync", "rename,renameat,renameat2", "mkdir,mkdirat")
    for number in range(1, 9)
]


@pytest.mark.parametrize(("call", "number"), _FULL_AT)
def test_F10_no_space_at_any_step(call: str, number: int, only: Node, tmp_path: Path) -> None:
    """From the n-th time on that a thread makes this call the disk is full. Nothing is left half-written.

    The late steps of the full loop may not be reached; the sampled ones are.
    """
    for pid in range(1, 4):
        only.put(f"{PLACE}/core.{pid}", illumos_core(pid))
    home = collector(tmp_path, [only])
    trace = tmp_path / "trace"
    done = subprocess.run(
        [str(program("strace")), "-f", "--seccomp-bpf", "-qq", "-o", str(trace), "-e", f"trace={call}",
         "-e", f"inject={call}:error=ENOSPC:when={number}+", *home.command("--json")],
        env=home.environment, cwd=home.home, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if "discovering dumps on" not in line]
    bitten = "(INJECTED)" in trace.read_text(errors="replace")
    assert bitten or (call, number) not in _SAMPLED
    # To make a directory that is there already may fail in any way.
    assert done.returncode == bitten or (call.startswith("mkdir") and done.returncode == 0), done.stderr
    assert len(said) <= 1, done.stderr
    assert done.stdout or said
    if done.stdout and done.returncode:
        told = json.loads(done.stdout)
        assert len(told["dumps"]) == 3 and len(told["nodes"]) == 1
        failed = [
            each for each in (*told["dumps"], *told["nodes"]) if each["result"] in ("failed", "stored-unindexed")
        ]
        assert failed and all(each["reason"] for each in failed)
    assert not [path for path in home.store.rglob(".uploads/*")]
    assert set(home.collect().results.values()) <= {"stored", "present"}
    check_settled(home, [only])
