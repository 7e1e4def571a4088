"""A dry run reads and prints, and writes nothing, anywhere, on either side: row F53 of the fault matrix."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.chaos import Link, Proxy
from tests.support.collector import Collector
from tests.support.crashwriter import vmdump
from tests.support.elfwriter import illumos_core, linux_core
from tests.support.mishaps import collector
from tests.support.roots import program
from tests.support.sshd import Fleet, Node, NodeSpec

PLACE = "/var/tmp/thoth"
MEGABYTE = 1 << 20
# Whatever changes a file system, and whatever others could connect to.
_CHANGES = """
    open openat openat2 creat mkdir mkdirat mknod mknodat rename renameat renameat2 unlink unlinkat rmdir link linkat
    symlink symlinkat chmod fchmod fchmodat chown fchown lchown fchownat truncate ftruncate utime utimes futimesat
    utimensat setxattr fsetxattr bind listen
"""
_CALL = re.compile(r"^(?:\d+ +)?(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+|\?)")
_UNFINISHED = re.compile(r"^(?P<pid>\d+) +(?P<call>.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(?P<pid>\d+) +<\.\.\. \w+ resumed>(?P<rest>.*)$")


class Seen(NamedTuple):
    """What a file system shows of one file, but for when it was last read."""

    mode: int
    inode: int
    owner: int
    size: int
    mtime: int
    ctime: int
    content: str


def snapshot(*folders: Path) -> dict[str, Seen]:
    return {str(path): _seen(path) for folder in folders for path in [folder, *folder.rglob("*")]}


def snapshot_of(node: Node) -> dict[str, Seen]:
    """All but the times of /tmp: ksh93 keeps what a command prints in a file there that has lost its name already."""
    seen = snapshot(node.root)
    del seen[str(node.path("/tmp"))]
    return seen


def _seen(path: Path) -> Seen:
    status = path.lstat()
    content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not path.is_symlink() else ""
    return Seen(
        *(
            status.st_mode,
            status.st_ino,
            status.st_uid,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
        ),
        content,
    )


def traced(home: Collector, trace: Path, *flags: str) -> list[str]:
    """The system calls of a pass, of all its threads, that changed something or tried to."""
    strace = [
        str(program("strace")),
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-o",
        str(trace),
        "-e",
        f"trace={','.join(_CHANGES.split())}",
    ]
    environment = {**home.environment, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*strace, *home.command("-n", *flags)],
        env=environment, cwd=home.home, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "total run time" in done.stdout
    calls = whole_lines(trace.read_text(errors="replace").splitlines())
    assert any("openat" in call for call in calls)
    return [call for call in calls if changes(call)]


def whole_lines(lines: list[str]) -> list[str]:
    """The calls that strace shows in two halves put together."""
    halves: dict[str, str] = {}
    whole = []
    for line in lines:
        if half := _UNFINISHED.match(line):
            halves[half["pid"]] = half["call"]
        elif rest := _RESUMED.match(line):
            whole.append(halves.pop(rest["pid"], "") + rest["rest"])
        else:
            whole.append(line)
    return whole


def changes(line: str) -> bool:
    """Whether it is a call that changes something, or an open that could."""
    call = _CALL.match(line)
    if call is None or "/dev/null" in call["arguments"]:
        return False
    return not call["name"].startswith("open") or bool(re.search(r"O_(WRONLY|RDWR|CREAT|TRUNC)", call["arguments"]))


def planned_and_stored(home: Collector) -> tuple[set[bytes], set[bytes]]:
    """What a dry run says would be sent, and what the real run after it sends; they tell the same of both."""
    dry, real = home.collect("-n"), home.collect()
    planned = {path for path, dump in dry.dumps.items() if dump["action"] == "upload"}
    sent = {path for path, dump in real.dumps.items() if dump["action"] in ("uploaded", "replaced")}
    assert dry.document["bytes"] == real.document["bytes"]
    for path in planned:
        assert [dry.dumps[path][key] for key in ("node", "size", "identity")] == [
            real.dumps[path][key] for key in ("node", "size", "identity")
        ]
    others = {path: result for path, result in dry.results.items() if path not in planned}
    assert others == {path: result for path, result in real.results.items() if path not in sent}
    return planned, sent


@pytest.fixture
def nodes(fleet: Callable[..., Fleet]) -> Fleet:
    both = fleet([NodeSpec("cn0"), NodeSpec("hn0", "smartos")])
    for pid in (1, 2):
        both["cn0"].put(f"{PLACE}/core.{pid}", linux_core(pid))
        both["hn0"].put(f"/zones/global/cores/core.app.{pid}", illumos_core(pid, size=5 * MEGABYTE))
    both["hn0"].put("/var/crash/volatile/vmdump.0", vmdump())
    os.mkfifo(both["cn0"].path(f"{PLACE}/core.fifo"))
    return both


def add_more(nodes: Fleet) -> None:
    """New dumps, and one that was cut short before and is whole now."""
    nodes["cn0"].put(f"{PLACE}/core.3", linux_core(3))
    nodes["cn0"].put(f"{PLACE}/core.text", b"no dump")
    nodes["hn0"].put("/zones/global/cores/core.app.4", illumos_core(4))
    nodes["hn0"].put("/zones/global/cores/core.cut.5", illumos_core(5, size=300_000))


def test_F53_first_dry_run_creates_nothing(nodes: Fleet, tmp_path: Path) -> None:
    home = collector(tmp_path / "home", nodes)
    before = [snapshot(home.home), *map(snapshot_of, nodes)]
    assert traced(home, tmp_path / "trace") == []
    assert home.collect("-n").document["bytes"] > 10 * MEGABYTE
    assert all(node.wait_idle() for node in nodes)
    assert [snapshot(home.home), *map(snapshot_of, nodes)] == before


def test_F53_later_dry_run_changes_nothing(nodes: Fleet, tmp_path: Path) -> None:
    home = collector(tmp_path / "home", nodes)
    whole = illumos_core(5, size=300_000)
    nodes["hn0"].put("/zones/global/cores/core.cut.5", whole[:200_000])
    assert home.collect().code == 0
    add_more(nodes)
    before = [snapshot(home.home), *map(snapshot_of, nodes)]
    assert traced(home, tmp_path / "trace", "-v") == []
    assert all(node.wait_idle() for node in nodes)
    assert [snapshot(home.home), *map(snapshot_of, nodes)] == before


def test_F53_the_plan_is_what_the_real_run_does(nodes: Fleet, tmp_path: Path) -> None:
    home = collector(tmp_path / "home", nodes)
    planned, sent = planned_and_stored(home)
    assert planned == sent and len(sent) == 5
    whole = illumos_core(5, size=300_000)
    nodes["hn0"].put("/zones/global/cores/core.cut.5", whole[:200_000])
    assert home.collect().code == 0
    add_more(nodes)
    planned, sent = planned_and_stored(home)
    assert planned == sent and len(sent) == 3


def test_F53_the_lines_are_the_same(nodes: Fleet, tmp_path: Path) -> None:
    home = collector(tmp_path / "home", nodes)
    dry, real = home.run("-n").stdout, home.run().stdout
    would = re.findall(r"^would upload (.* from .*)$", dry, re.MULTILINE)
    did = re.findall(r"^uploaded (.* from .*) as [0-9a-f]{32}$", real, re.MULTILINE)
    assert would and sorted(would) == sorted(did)
    assert len(would) == 5
    assert "would upload 10.16MB in 5 dumps" in dry.splitlines()
    assert "uploaded 10.16MB" in real.splitlines()


def test_F53_while_a_real_run_holds_the_lock(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    only.put(f"{PLACE}/core.1", linux_core(1))
    direct = collector(tmp_path / "home", [only])
    assert direct.collect().code == 0
    only.put(f"{PLACE}/core.2", linux_core(2, size=20 * MEGABYTE))
    seen: list[tuple[list[str], dict[bytes, str], int, bool]] = []

    def look(_link: Link) -> None:
        before = snapshot(direct.home)
        calls = traced(direct, tmp_path / "trace", "-v")
        plan, second = direct.collect("-n"), direct.run()
        seen.append((calls, plan.results, second.returncode, snapshot(direct.home) == before))

    with Proxy((only.address, only.port)) as proxy:
        real = collector(tmp_path / "proxied", [only], proxy=proxy)
        proxy.at(MEGABYTE, "down", look)
        command = [*direct.command()[:1], "--inventory", str(real.inventory), "--json"]
        done = subprocess.run(command, env=direct.environment, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0
    plan = {f"{PLACE}/core.1".encode(): "present", f"{PLACE}/core.2".encode(): "planned"}
    assert seen == [([], plan, 75, True)]
    assert len(direct.stored()) == 2
