"""What is on a node's disk: each flavour has what it should have, and lacks what it should lack."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.roots import program
from tests.support.smartos import HIDDEN
from tests.support.sshd import Fleet, Node, NodeSpec


def inside(node: Node, command: str, patience: float = 20) -> subprocess.CompletedProcess[str]:
    """Runs it in the node's root without logging in, which takes thirty times as long."""
    vector = [str(program("chroot")), str(node.root), "/bin/sh", "-c", command]
    return subprocess.run(
        vector,
        env={"PATH": "/usr/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patience,
        check=False,
    )


def out(node: Node, command: str) -> str:
    ended = inside(node, command)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def fails(node: Node, command: str) -> str:
    ended = inside(node, command)
    assert ended.returncode != 0
    return ended.stderr


@pytest.fixture(scope="module")
def zoo() -> Iterator[Fleet]:
    """One node of each flavour, named after it."""
    with Fleet([NodeSpec(flavour, flavour) for flavour in ("gnu", "smartos", "little")]) as fleet:
        yield fleet


def test_what_is_done_on_a_node_does_not_reach_this_machine(zoo: Fleet) -> None:
    ours = Path("/usr/bin/cat").resolve()
    before = (ours.stat().st_ino, ours.stat().st_size)
    assert zoo["gnu"].path("/usr/bin/cat").stat().st_ino != before[0]
    inside(zoo["gnu"], "printf x >>/usr/bin/cat")
    assert (ours.stat().st_ino, ours.stat().st_size) == before


def test_smartos_speaks_as_a_global_zone(zoo: Fleet) -> None:
    node = zoo["smartos"]
    assert out(node, "uname -s; uname -n") == "SunOS\nsmartos"
    assert out(node, "uname -a").split()[:3] == ["SunOS", "smartos", "5.11"]
    told = json.loads(out(node, "sysinfo"))
    assert (told["UUID"], told["Admin IP"], told["System Type"]) == (node.uuid, node.address, "SunOS")
    assert told["Setup"] == "true" and told["Network Interfaces"]["ixgbe0"]["NIC Names"] == ["admin"]
    places = ["/zones/global/cores", "/var/crash/volatile", *(f"/zones/{zone}/cores" for zone in node.zones)]
    assert out(node, f"stat -c %F {' '.join(places)}").splitlines() == ["directory"] * 4


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("head -c 3 /etc/passwd", "illegal option -- c"),
        ("head -q -n 1 /etc/passwd", "illegal option -- q"),
        ("echo x | xargs -0 echo", "illegal option -- 0"),
        ("dd if=/etc/passwd status=none", "bad argument"),
        ("dd if=/etc/passwd iflag=skip_bytes skip=3", "bad argument"),
        ("find / -maxdepth 0 -printf %s", "bad option -printf"),
        ("date -d yesterday", "illegal option"),
        ("sha256sum /etc/passwd", "not found"),
        ("timeout 1 true", "not found"),
        ("python3 -V", "not found"),
    ],
)
def test_smartos_refuses_what_only_gnu_takes(zoo: Fleet, command: str, complaint: str) -> None:
    assert complaint in fails(zoo["smartos"], command)


def test_smartos_programs_do_their_work(zoo: Fleet) -> None:
    node = zoo["smartos"]
    node.put("/tmp/digits", b"0123456789" * 100)
    assert out(node, "head -2 /etc/passwd | wc -l") == "2"
    assert out(node, "echo a b | xargs -n 1 echo") == "a\nb"
    assert out(node, "date +%S%N")[2:] == "N"
    assert out(node, "dd if=/tmp/digits bs=7 iseek=3 count=1 2>/dev/null") == "1234567"
    assert out(node, "dd if=/tmp/digits bs=7 skip=3 count=1 2>/dev/null") == "1234567"
    assert out(node, "dd bs=7 skip=3 count=1 </tmp/digits 2>/dev/null") == "1234567"
    assert out(node, "dd if=/tmp/digits of=/dev/null bs=1000 2>&1") == "1+0 records in\n1+0 records out"
    assert out(node, "digest -a md5 /dev/null; digest -a sha256 </dev/null").split() == [
        "d41d8cd98f00b204e9800998ecf8427e",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ]


def test_smartos_skip_reads_and_iseek_seeks(zoo: Fleet) -> None:
    holes = zoo["smartos"].path("/tmp/holes")
    with holes.open("wb") as opened:
        opened.truncate(1 << 43)
    read = "dd if=/tmp/holes bs=1024k count=1 2>/dev/null"
    assert out(zoo["smartos"], f"{read} iseek=8388600 | wc -c") == "1048576"
    # To read that far takes an hour: the node is still at it when the time is up.
    with pytest.raises(subprocess.TimeoutExpired):
        inside(zoo["smartos"], f"{read} skip=8388600", patience=0.3)
    zoo["smartos"].kill()
    assert zoo["smartos"].wait_idle()


def test_little_has_next_to_nothing(zoo: Fleet) -> None:
    for name in ("xargs", "head", "stat", "tail", "sha256sum", "find", "od"):
        assert "not found" in fails(zoo["little"], f"{name} --version")
    assert out(zoo["little"], "dd if=/etc/hostname bs=3 count=1 2>/dev/null") == "lit"


def test_sysinfo_of_any_size(zoo: Fleet) -> None:
    zoo["smartos"].path(f"{HIDDEN}/sysinfo.json").write_text(json.dumps({"x": "y" * (1 << 20)}))
    assert len(json.loads(out(zoo["smartos"], "sysinfo"))["x"]) == 1 << 20
