"""Dumps that change, vanish or may not be read while they are collected: rows F12 to F15 of the fault matrix."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.chaos import Link, Proxy
from tests.support.collector import Pass
from tests.support.elfwriter import illumos_core
from tests.support.invariants import check_store
from tests.support.mishaps import after_listing, at_reading, check_settled, collector, wrap
from tests.support.roots import program
from tests.support.sshd import Node

PLACE = "/var/tmp/thoth"
LARGE = 16 << 20  # bytes: streamed, and more than an SSH window lets the node send ahead
MIDDLE = 200 << 10  # bytes: more than is read to identify it, and fetched together with others
SMALL = 20 << 10  # bytes: read whole to identify it
MEGABYTE = 1 << 20
NOBODY = 65534


@pytest.fixture
def gnu(node: Callable[..., Node]) -> Node:
    return node(flavour="gnu")


def aged(path: Path) -> None:
    """The dump has been still for an hour."""
    then = time.time() - 3600
    os.utime(path, (then, then))


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def collect_while(home: Path, node: Node, act: Callable[[], None]) -> Pass:
    """A pass in which ``act`` is called when a megabyte has come from the node."""
    with Proxy((node.address, node.port)) as proxy:

        def action(_link: Link) -> None:
            act()

        reached = proxy.at(MEGABYTE, "down", action)
        result = collector(home, [node], proxy=proxy).collect()
        assert reached.is_set()
    return result


def outcome(result: Pass, name: str = "core.1") -> tuple[str, str | None]:
    """Result and reason of one dump, after what holds for every dump that is not taken."""
    dump = result.dumps[f"{PLACE}/{name}".encode()]
    assert result.code == (dump["result"] not in ("skipped", "gone"))
    assert result.nodes[dump["node"]]["result"] == "reached"
    return dump["result"], dump["reason"]


def check_taken_next(home: Path, node: Node, *whole: bytes) -> None:
    """Nothing is stored yet, the next pass stores what there is now, and then all is well."""
    again = collector(home, [node])
    assert again.stored() == []
    result = again.collect()
    assert result.code == 0
    assert sorted(data for _, data in again.stored()) == sorted(whole)
    check_settled(again, [node])


# ---- F12 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [SMALL, MIDDLE], ids=["small", "middle"])
def test_F12_grows_while_its_head_is_read(size: int, gnu: Node, tmp_path: Path) -> None:
    core = gnu.put(f"{PLACE}/core.1", illumos_core(1, size=size))
    at_reading(gnu, 1, f"echo more >> {PLACE}/core.1")
    result, reason = outcome(collector(tmp_path, [gnu]).collect())
    assert (result, reason) == ("skipped", f"still growing: {size + 5} bytes now, {size} when it was found")
    aged(core)
    check_taken_next(tmp_path, gnu, core.read_bytes())


def test_F12_grows_while_it_is_sent_together_with_others(gnu: Node, tmp_path: Path) -> None:
    cores = [gnu.put(f"{PLACE}/core.{pid}", illumos_core(pid, size=MIDDLE)) for pid in range(1, 4)]
    at_reading(gnu, 2, f"echo more >> {PLACE}/core.2")
    first = collector(tmp_path, [gnu]).collect()
    assert outcome(first, "core.2") == (
        "skipped",
        f"still growing: {MIDDLE + 5} bytes now, {MIDDLE} when it was found",
    )
    assert first.results[f"{PLACE}/core.1".encode()] == first.results[f"{PLACE}/core.3".encode()] == "stored"
    aged(cores[1])
    second = collector(tmp_path, [gnu]).collect()
    assert second.results[f"{PLACE}/core.2".encode()] == "stored"
    check_settled(collector(tmp_path, [gnu]), [gnu])


def test_F12_grows_while_it_is_streamed(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    core = only.put(f"{PLACE}/core.1", illumos_core(1, size=LARGE))
    result, reason = outcome(collect_while(tmp_path, only, lambda: append(core)))
    assert (result, reason) == ("skipped", f"still growing: {LARGE + 4} bytes now, {LARGE} when it was found")
    aged(core)
    check_taken_next(tmp_path, only, core.read_bytes())


def test_F12_what_was_written_just_now_waits(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    fresh = only.put(f"{PLACE}/core.1", illumos_core(1), age=0)
    only.put(f"{PLACE}/core.2", illumos_core(2), age=60)
    only.put(f"{PLACE}/core.3", illumos_core(3), age=-86400)  # a clock that is wrong must not keep it for ever
    result = collector(tmp_path, [only], "[limits]\nsettle = 30").collect()
    assert outcome(result) == ("skipped", "still changing")
    assert result.results[f"{PLACE}/core.2".encode()] == result.results[f"{PLACE}/core.3".encode()] == "stored"
    aged(fresh)
    again = collector(tmp_path, [only])
    assert again.collect().results[f"{PLACE}/core.1".encode()] == "stored"
    check_settled(again, [only])


# ---- F13 -----------------------------------------------------------------------------------------------------------


def shrink(core: Path) -> None:
    os.truncate(core, 2 * MEGABYTE)


def replace(core: Path) -> None:
    other = core.with_name("other")
    other.write_bytes(illumos_core(2, size=LARGE))
    aged(other)
    other.rename(core)


def rewrite(core: Path) -> None:
    """In place, with the same size and, as far as a process can, the same times: what ctime is for."""
    before = core.stat()
    core.write_bytes(illumos_core(2, size=LARGE))
    os.utime(core, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(shrink, "changed since it was found", marks=pytest.mark.soak),
        (replace, "was replaced"),
        (rewrite, "changed since it was found"),
    ],
)
def test_F13_changes_while_it_is_streamed(
    change: Callable[[Path], None], reason: str, gnu: Node, tmp_path: Path
) -> None:
    core = gnu.put(f"{PLACE}/core.1", illumos_core(1, size=LARGE))
    first = collect_while(tmp_path, gnu, lambda: change(core))
    assert outcome(first) == ("failed", reason)
    aged(core)
    check_taken_next(tmp_path, gnu, core.read_bytes())


@pytest.mark.parametrize("size", [SMALL, pytest.param(MIDDLE, marks=pytest.mark.soak)], ids=["small", "middle"])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("mv {0}/other {0}/core.1", "was replaced"),
        ("cp {0}/other {0}/core.1", "changed since it was found"),
        ("cp {0}/cut {0}/core.1", "changed since it was found"),
    ],
    ids=["replaced", "rewritten", "cut"],
)
def test_F13_changes_while_its_head_is_read(change: str, reason: str, size: int, gnu: Node, tmp_path: Path) -> None:
    core = gnu.put(f"{PLACE}/core.1", illumos_core(1, size=size))
    gnu.put(f"{PLACE}/other", illumos_core(2, size=size))
    gnu.put(f"{PLACE}/cut", illumos_core(2, size=16384))
    at_reading(gnu, 1, change.format(f"{PLACE}"))
    assert outcome(collector(tmp_path, [gnu]).collect()) == ("failed", reason)
    aged(core)
    check_taken_next(tmp_path, gnu, core.read_bytes())


def test_F13_changes_between_its_name_and_its_bytes(gnu: Node, tmp_path: Path) -> None:
    core = gnu.put(f"{PLACE}/core.1", illumos_core(1, size=MIDDLE))
    gnu.put(f"{PLACE}/other", illumos_core(2, size=MIDDLE))
    at_reading(gnu, 2, f"mv {PLACE}/other {PLACE}/core.1")
    assert outcome(collector(tmp_path, [gnu]).collect()) == ("failed", "was replaced")
    aged(core)
    check_taken_next(tmp_path, gnu, core.read_bytes())


# ---- F14 -----------------------------------------------------------------------------------------------------------


def test_F14_deleted_before_it_is_read(gnu: Node, tmp_path: Path) -> None:
    cores = [gnu.put(f"{PLACE}/core.{pid}", illumos_core(pid)) for pid in range(10)]
    after_listing(gnu, f"rm {PLACE}/core.7")
    result = collector(tmp_path, [gnu]).collect()
    assert not cores[7].exists()
    assert result.results.pop(f"{PLACE}/core.7".encode()) == "gone"
    assert result.code == 0
    home = collector(tmp_path, [gnu])
    assert len(home.stored()) == 9
    check_settled(home, [gnu])


def test_F14_deleted_while_it_is_listed(gnu: Node, tmp_path: Path) -> None:
    for pid in range(10):
        gnu.put(f"{PLACE}/core.{pid}", illumos_core(pid))
    wrap(gnu, "stat", f"[ $# -lt 10 ] || rm -f {PLACE}/core.7")
    result = collector(tmp_path, [gnu]).collect()
    assert result.results[f"{PLACE}/core.7".encode()] == "gone"
    assert sorted(result.results.values()) == ["gone", *["stored"] * 9]
    assert result.code == 0


def test_F14_deleted_while_it_is_streamed(node: Callable[..., Node], tmp_path: Path) -> None:
    """What is open stays readable; that it is no more shows at the end."""
    only = node()
    core = only.put(f"{PLACE}/core.1", illumos_core(1, size=LARGE))
    first = collect_while(tmp_path, only, core.unlink)
    assert outcome(first)[0] == "gone"
    assert collector(tmp_path, [only]).stored() == []
    check_settled(collector(tmp_path, [only]), [only])


def test_F14_one_bad_file_among_ten(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    for pid in range(9):
        only.put(f"{PLACE}/core.{pid}", illumos_core(pid))
    only.put(f"{PLACE}/core.bad", b"not a core at all" * 1000)
    home = collector(tmp_path, [only])
    result = home.collect()
    bad = result.dumps[f"{PLACE}/core.bad".encode()]
    reason = "not a dump: neither a core nor a crash dump (begins with 6e6f7420)"
    assert (bad["result"], bad["reason"]) == ("skipped", reason)
    assert sorted(result.results.values()) == ["skipped", *["stored"] * 9]
    assert result.code == 0
    check_settled(home, [only])


# ---- F15 -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def modest(node: Callable[..., Node]) -> Node:
    """A node on which the collector is nobody."""
    return be_nobody(node())


def be_nobody(node: Node) -> Node:
    node.force_command('exec busybox su -s /bin/sh -c "$SSH_ORIGINAL_COMMAND" nobody')
    return node


def test_F15_a_file_that_may_not_be_read(modest: Node, tmp_path: Path) -> None:
    modest.put(f"{PLACE}/core.open", illumos_core(1))
    modest.put(f"{PLACE}/core.closed", illumos_core(2)).chmod(0o600)
    home = collector(tmp_path, [modest])
    result = home.collect()
    assert outcome(result, "core.closed") == ("denied", "permission denied")
    assert result.results[f"{PLACE}/core.open".encode()] == "stored"
    check_store(home)


@pytest.mark.parametrize("closed", ["/var/tmp/thoth", "/zones/one/cores", "/zones/one"])
def test_F15_a_directory_that_may_not_be_searched(closed: str, modest: Node, tmp_path: Path) -> None:
    modest.put(f"{PLACE}/core.1", illumos_core(1))
    modest.put("/zones/one/cores/core.2", illumos_core(2))
    modest.put("/zones/two/cores/core.3", illumos_core(3))
    modest.path(closed).chmod(0o700)
    home = collector(tmp_path, [modest], f'[paths]\ncore = ["{PLACE}/core.*", "/zones/*/cores/core.*"]')
    result = home.collect()
    assert len(result.dumps) == 2 and set(result.results.values()) == {"stored"}
    node = result.nodes[modest.name]
    assert (node["result"], node["reason"]) == ("denied", f"{closed}: permission denied")
    assert result.code == 1
    lines = home.run().stdout.splitlines()
    assert f"{modest.name}: denied (discover): {closed}: permission denied" in lines
    assert f"{modest.name}: nothing to do" not in lines


def test_F15_a_file_that_is_closed_after_it_was_found(gnu: Node, tmp_path: Path) -> None:
    core = gnu.put(f"{PLACE}/core.1", illumos_core(1))
    os.chown(core, NOBODY, NOBODY)
    gnu.put("/usr/bin/busybox", program("busybox")).chmod(0o755)
    be_nobody(gnu)
    after_listing(gnu, f"chmod 0 {PLACE}/core.1")
    assert outcome(collector(tmp_path, [gnu]).collect()) == ("denied", "permission denied")
    core.chmod(0o644)
    check_taken_next(tmp_path, gnu, core.read_bytes())
