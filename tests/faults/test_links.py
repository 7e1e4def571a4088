"""What lies where dumps lie and is none, or leads elsewhere: rows F16 and F17 of the fault matrix."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.elfwriter import illumos_core
from tests.support.mishaps import after_listing, check_settled, collector
from tests.support.sshd import Node

PLACE = "/var/tmp/thoth"
ZONES = '[paths]\ncore = ["/zones/*/cores/core.*"]'
SECRET = b"another tenant's "


@pytest.fixture
def only(node: Callable[..., Node]) -> Node:
    return node()


@pytest.fixture
def odd(only: Node, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[bytes, str]]:
    """One dump among all that can have a dump's name; gives path -> what that is."""
    core = only.put(f"{PLACE}/core.dump", illumos_core(1))
    folder = core.parent
    os.mkfifo(folder / "core.fifo")
    os.mknod(folder / "core.zero", 0o20666, os.makedev(1, 5))
    os.mknod(folder / "core.block", 0o60600, os.makedev(7, 0))
    (folder / "core.folder").mkdir()
    (folder / "core.folder" / "core.2").write_bytes(illumos_core(2))
    monkeypatch.chdir(folder)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("core.socket")
        yield {
            f"{PLACE}/core.fifo".encode(): "a FIFO",
            f"{PLACE}/core.zero".encode(): "a device",
            f"{PLACE}/core.block".encode(): "a device",
            f"{PLACE}/core.folder".encode(): "a directory",
            f"{PLACE}/core.socket".encode(): "a socket",
        }


def test_F16_what_is_not_a_file_is_skipped(odd: dict[bytes, str], only: Node, tmp_path: Path) -> None:
    home = collector(tmp_path, [only])
    result = home.collect("-e", "30")
    told = {path: (dump["result"], dump["reason"]) for path, dump in result.dumps.items()}
    assert told.pop(f"{PLACE}/core.dump".encode())[0] == "stored"
    assert told == {path: ("skipped", kind) for path, kind in odd.items()}
    assert result.code == 0
    assert result.document["seconds"] < 10
    assert only.wait_idle()
    check_settled(home, [only])


def test_F16_F17_a_dump_that_becomes_something_else(node: Callable[..., Node], tmp_path: Path) -> None:
    gnu = node(flavour="gnu")
    becomes = ["mkfifo", "mknod -m 666", "mkdir", "ln -s /dev/zero", "ln -s /proc/self/mem"]
    for pid in range(len(becomes) + 1):
        gnu.put(f"{PLACE}/core.{pid}", illumos_core(pid))
    commands = [f"rm {PLACE}/core.{n}; {make} {PLACE}/core.{n}" for n, make in enumerate(becomes)]
    commands[1] += " c 1 5"
    after_listing(gnu, "; ".join(commands))
    home = collector(tmp_path, [gnu])
    result = home.collect("-e", "30")
    assert result.results == {
        **{f"{PLACE}/core.{n}".encode(): "skipped" for n in range(len(becomes))},
        f"{PLACE}/core.5".encode(): "stored",
    }
    assert result.document["seconds"] < 10
    assert [data for _, data in home.stored()] == [illumos_core(5)]
    check_settled(home, [gnu])


# ---- F17 -----------------------------------------------------------------------------------------------------------


def test_F17_links_are_skipped_wherever_they_lead(only: Node, tmp_path: Path) -> None:
    folder = only.put("/zones/good/cores/core.1", illumos_core(1)).parent
    only.put("/zones/other/private/core.9", illumos_core(9))
    only.put("/etc/shadow", SECRET)
    targets = {
        "core.out": "/zones/other/private/core.9",
        "core.up": "../../other/private/core.9",
        "core.shadow": "/etc/shadow",
        "core.dangling": "/nowhere",
        "core.loop": "core.loop",
        "core.to.folder": "/zones",
        "core.beside": "core.1",
    }
    for name, target in targets.items():
        (folder / name).symlink_to(target)
    home = collector(tmp_path, [only], ZONES)
    result = home.collect()
    told = {path.rpartition(b"/")[2].decode(): (d["result"], d["reason"]) for path, d in result.dumps.items()}
    assert told.pop("core.1")[0] == "stored"
    assert told == dict.fromkeys(targets, ("skipped", "a link"))
    assert [data for _, data in home.stored()] == [illumos_core(1)]
    check_settled(home, [only])


@pytest.mark.parametrize("level", ["/zones/evil", "/zones/evil/cores"])
def test_F17_a_directory_that_is_a_link_is_not_entered(level: str, only: Node, tmp_path: Path) -> None:
    only.put("/zones/good/cores/core.1", illumos_core(1))
    only.put("/private/cores/core.9", illumos_core(9))
    link = only.path(level)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to("/private" if level == "/zones/evil" else "/private/cores")
    home = collector(tmp_path, [only], ZONES)
    result = home.collect()
    assert result.results == {b"/zones/good/cores/core.1": "stored"}
    node = result.nodes[only.name]
    # Any tenant can make one: it is told, and the node is none with which something is wrong.
    assert (node["result"], node["reason"]) == ("reached", "/zones/evil/cores: the path leads through a link")
    assert result.code == 0
    status = home.command_run("status")
    assert status.returncode == 0 and "/zones/evil/cores: the path leads through a link" in status.stdout
    assert [data for _, data in home.stored()] == [illumos_core(1)]


def test_F17_a_hard_link_is_told(only: Node, tmp_path: Path) -> None:
    """It cannot be seen where the file's other names are, so the file is taken, and that there are others is told."""
    core = only.put(f"{PLACE}/core.1", illumos_core(1))
    os.link(core, only.path("/var/elsewhere"))
    only.put(f"{PLACE}/core.2", illumos_core(2))
    home = collector(tmp_path, [only])
    assert home.collect().code == 0
    links = {info.document["pid"]: info.document["sources"][0].get("links") for info, _ in home.stored()}
    assert links == {"1": 2, "2": None}


# Between the listing and the open: each is done to one zone, in turn.
_SWAPS = (
    # the directory becomes a link to itself, elsewhere: the files are the same ones
    "mv /zones/{0}/cores /private/{0}; ln -s /private/{0} /zones/{0}/cores",
    # ... to a directory of another tenant, with a file of the same name
    "rm -r /zones/{0}/cores; ln -s /secrets /zones/{0}/cores",
    # its parent becomes a link
    "mv /zones/{0} /private/{0}; ln -s /private/{0} /zones/{0}",
    # another directory takes its place
    "mv /zones/{0}/cores /private/{0}; cp -r /secrets /zones/{0}/cores",
    # the file becomes a link, a hard link
    "ln -sf /secrets/core.1 /zones/{0}/cores/core.1",
    "ln -f /secrets/core.1 /zones/{0}/cores/core.1",
    # a link in the path that leads back to the same place
    "mv /zones/{0}/cores /zones/{0}/real; ln -s real /zones/{0}/cores",
)


@pytest.mark.parametrize("zones", [20, pytest.param(1000, marks=pytest.mark.soak)])
def test_F17_swapped_between_the_listing_and_the_open(zones: int, node: Callable[..., Node], tmp_path: Path) -> None:
    gnu = node(flavour="gnu")
    for number in range(zones):
        gnu.put(f"/zones/{number}/cores/core.1", illumos_core(number))
    gnu.put("/secrets/core.1", illumos_core(5000, cmd="secret"))
    gnu.path("/private").mkdir()
    swaps = "\n".join(_SWAPS[number % len(_SWAPS)].format(number) for number in range(zones))
    gnu.put("/tmp/swaps", swaps.encode())
    after_listing(gnu, "sh -e /tmp/swaps")
    home = collector(tmp_path, [gnu], ZONES)
    result = home.collect()
    assert len(result.dumps) == zones
    assert set(result.results.values()) <= {"failed", "skipped"}
    reasons = {dump["reason"] for dump in result.dumps.values()}
    assert reasons == {"the path leads through a link", "was replaced", "a link"}
    assert home.stored() == []
    assert gnu.wait_idle()
