"""node.sh in every shell that a node may have: parts of executables, and numbers that are none."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from sdc_thoth import images as image_protocol
from sdc_thoth import protocol
from sdc_thoth.images import Ask, Told, image_request
from sdc_thoth.listing import Place
from sdc_thoth.protocol import Get
from tests.sdc_thoth.shells import NASTY, Shell, ask, found_in, plant


def images(shell: Shell, asks: Sequence[Ask], cwd: Path) -> list[Told]:
    return list(image_protocol.images(ask(shell, image_request(asks, "mark"), cwd), asks, "mark"))


ELF = b"\x7fELF\2\1\1" + bytes(9) + b"\3\0>\0"


def test_parts_of_executables(shell: Shell, cores: Path, tmp_path: Path) -> None:
    data = (ELF + bytes(range(256)) * 100)[:20000]
    for name in (b"app", *NASTY):
        if name.strip(b"."):
            plant(cores, name, data)
    asks = [Ask(str(cores).encode() + b"/app", ((0, 1), (2, 2), (4, 9)))]
    asks += [Ask(str(cores).encode() + b"/" + name, ((1, 1),)) for name in NASTY if name.strip(b".")]
    first, *others = images(shell, asks, tmp_path)
    assert (first.status, first.signature and first.signature.size) == ("ok", 20000)
    assert first.parts == ((0, data[:4096]), (8192, data[8192:16384]), (16384, data[16384:]))
    assert {(told.status, told.parts) for told in others} == {("ok", ((4096, data[4096:8192]),))}
    assert not (tmp_path / "CANARY").exists()


def test_F74_executables_and_nothing_else(shell: Shell, cores: Path, tmp_path: Path) -> None:
    plant(cores, b"shadow", b"root:secret")
    plant(cores, b"empty", b"")
    plant(cores, b"core", ELF[:16] + b"\4\0" + bytes(5000))
    plant(cores, b"object", ELF[:16] + b"\1\0" + bytes(5000))
    plant(cores, b"app", ELF + bytes(5000))
    (cores / "link").symlink_to("app")
    (tmp_path / "way").symlink_to(cores)
    os.mkfifo(cores / "fifo")
    paths = {
        f"{cores}/shadow": "not an executable or library",
        f"{cores}/empty": "not an executable or library",
        f"{cores}/core": "not an executable or library",
        f"{cores}/object": "not an executable or library",
        f"{cores}/fifo": "not a regular file",
        f"{cores}": "not a regular file",
        f"{cores}/gone": "not a regular file",
        f"{cores}/none/app": "gone",
        f"{cores}/link": "a link",
        f"{tmp_path}/way/app": "the path leads through a link",
        f"{cores}/../{cores.name}/app": "the path leads through a link",
        f"{cores}/..": "not a name",
        f"{cores}/": "not a name",
        "/dev/zero": "not a regular file",
        "app": "gone",
        f"{cores}/app": "ok",
    }
    told = images(shell, [Ask(path.encode(), ((0, 1),)) for path in paths], tmp_path)
    assert {path: each.status for path, each in zip(paths, told, strict=True)} == paths


@pytest.mark.parametrize("evil", ["1;touch CANARY", "$(touch CANARY)", "all;touch CANARY", "", "1x", "9" * 17])
def test_F74_numbers_are_numbers(evil: str, shell: Shell, cores: Path, places: list[Place], tmp_path: Path) -> None:
    plant(cores, b"core.1", b"x" * 5000)
    plant(cores, b"app", ELF + bytes(5000))
    (found,) = found_in(shell, places, tmp_path)
    good = protocol.read_request([Get(found, 1, 1)], "mark")
    row = b"\t1\t1\t"
    assert row in good
    for words in (f"\t{evil}\t1\t", f"\t1\t{evil}\t"):
        reply = ask(shell, good.replace(row, words.encode()), tmp_path, places)
        assert reply.read_until(b"\0", 100) == b"bad"
    for words in (f"{evil}\t1", f"1\t{evil}"):
        request = image_request([Ask(str(cores / "app").encode(), ((1, 1),))], "mark")
        reply = ask(shell, request.replace(b"\t1\t1\n", f"\t{words}\n".encode()), tmp_path)
        assert b"bad" in [reply.read_until(b"\0", 200) for _ in range(4)]
    assert not (tmp_path / "CANARY").exists() and not (cores / "CANARY").exists()
