"""F43: archives called core.*.gz. They are never unpacked: refused when they are no dump, else stored as they are."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults.scene import DUMPS, MIB, Scene, within
from tests.support.elfwriter import illumos_core, linux_core
from tests.support.sshd import Fleet

TOP = Path(__file__).resolve().parents[2]
UNPACKED = 10 << 30  # bytes that a bomb would become
MEMORY = 64 * MIB  # Python and our modules are half of it
CORE = illumos_core(pid=7, cmd="svc.startd", size=1 << 16)


def gzip_bomb() -> bytes:
    """Ten gibibytes of zeros as ten mebibytes: the same member of 64 MiB again and again."""
    member = gzip.compress(bytes(64 * MIB), 9, mtime=0)
    return member * (UNPACKED // (64 * MIB))


def zstd_bomb() -> bytes:
    """The same as one frame of blocks that repeat a byte (RFC 8878, 3.1.1.2): 128 KiB in four bytes each."""
    block = 128 << 10
    count = UNPACKED // block
    repeat = (1 << 1) | (block << 3)  # type RLE, not the last
    head = struct.pack("<I", 0xFD2FB528) + bytes([0, 0x38])  # window of 128 KiB, no checksum
    blocks = struct.pack("<I", repeat)[:3] + b"\0"
    return head + blocks * (count - 1) + struct.pack("<I", repeat | 1)[:3] + b"\0"


def zip_bomb() -> bytes:
    """The same in one member of a zip file, whose deflate stream is made of the same piece again and again."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = packer.compress(bytes(64 * MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    data = piece * (UNPACKED // (64 * MIB)) + b"\x03\x00"  # and an empty last block
    name = b"core.1"
    sizes = struct.pack("<II", 0xFFFFFFFF, 0xFFFFFFFF)
    extra = struct.pack("<HHQQ", 1, 16, UNPACKED, len(data))
    local = struct.pack("<4s5HI", b"PK\3\4", 45, 0, 8, 0, 0, 0) + sizes
    return local + struct.pack("<HH", len(name), len(extra)) + name + extra + data


def zipped(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("core.1", data)
    return file.getvalue()


def wrong_crc(data: bytes) -> bytes:
    packed = bytearray(gzip.compress(data, mtime=0))
    packed[-8] ^= 1
    return bytes(packed)


ARCHIVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "core.bomb.gz": (gzip_bomb, "gzip"),
    "core.nested.gz": (lambda: gzip.compress(gzip_bomb(), mtime=0), "gzip"),
    "core.bomb.zst": (zstd_bomb, "zstd"),
    "core.bomb.zip": (zip_bomb, "zip"),
    "core.1.gz": (lambda: gzip.compress(CORE, mtime=0), "gzip"),
    "core.wrong-crc.gz": (lambda: wrong_crc(CORE), "gzip"),
    "core.cut.gz": (lambda: gzip.compress(CORE, mtime=0)[:-20], "gzip"),
    "core.and-more.gz": (lambda: gzip.compress(b"", mtime=0) + CORE, "gzip"),
    "core.1.zip": (lambda: zipped(CORE), "zip"),
    "core.1.zst": (lambda: zstd_bomb()[:20], "zstd"),
}


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("archives")
    made = {name: folder / name for name in ARCHIVES}
    for name, path in made.items():
        path.write_bytes(ARCHIVES[name][0]())
    return made


class Ran(NamedTuple):
    code: int
    lines: list[str]
    said: list[str]
    memory: int  # the most bytes that it had


_MEASURED = """
import re, sys
from thoth.cli import main
code = main(sys.argv[1:])
print(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1], file=sys.stderr)
sys.exit(code)
"""


def thoth(*words: str | Path) -> Ran:
    """The command as a process of its own, which is killed when it takes long."""
    ran = subprocess.run(
        [sys.executable, "-c", _MEASURED, *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(TOP)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    *said, memory = ran.stderr.splitlines()
    return Ran(ran.returncode, ran.stdout.splitlines(), said, int(memory) << 10)


@pytest.mark.parametrize("command", ["object", "upload"])
def test_F43_they_are_refused_as_no_dumps(command: str, archives: dict[str, Path]) -> None:
    assert gzip_is_a_bomb(archives["core.bomb.gz"])
    with within(10):
        ran = thoth(command, *archives.values())
    assert (ran.code, ran.lines) == (1, [])
    for (name, (_, packer)), line in zip(ARCHIVES.items(), ran.said, strict=True):
        assert line == f"thoth: {archives[name]}: a file compressed by {packer}: uncompress it first"
    assert ran.memory < MEMORY, f"{ran.memory / MIB:.0f} MiB"
    if command == "upload":
        assert thoth("ls", "--json").lines == []
        assert not list(Path(os.environ["HOME"]).rglob("stor"))


def gzip_is_a_bomb(path: Path) -> bool:
    """Whether it would have been one for who unpacks it: its first member says so, and there are many."""
    with gzip.open(path) as unpacked:
        first = unpacked.read(65 * MIB)
    return len(first) == 65 * MIB and 9 * MIB < path.stat().st_size < 11 * MIB


def test_F43_a_dump_is_stored_as_it_is_whatever_it_is_called(tmp_path: Path) -> None:
    packed_looking, behind = tmp_path / "core.1.gz", tmp_path / "core.2.zip"
    packed_looking.write_bytes(CORE)
    trailing = illumos_core(pid=8, size=1 << 16) + gzip.compress(bytes(MIB))  # what lies behind is not looked into
    behind.write_bytes(trailing)
    ran = thoth("upload", packed_looking, behind)
    assert ran.code == 0
    stored = Path(os.environ["HOME"]) / ".local/share/thoth/store/thoth/stor/thoth"
    for name, filename, data in zip(ran.lines, ("core.1.gz", "core.2.zip"), (CORE, trailing), strict=True):
        assert (stored / name / filename).read_bytes() == data
        document = json.loads((stored / name / "info.json").read_text())
        assert (document["dump"].rpartition("/")[2], document["size"]) == (filename, len(data))
    assert thoth("object", packed_looking).lines == ran.lines[:1]


def test_F43_the_collector_skips_them_and_takes_the_dumps(
    archives: dict[str, Path], fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    scene = Scene(fleet(["archives", "good"]), tmp_path / "home")
    scene.plant(scene.fleet["good"], 16384)
    node = scene.fleet["archives"]
    for name, path in archives.items():
        node.put(f"{DUMPS}/{name}", path.read_bytes())
    real = linux_core(pid=99, size=16384)
    node.put(f"{DUMPS}/core.99.gz", real)
    scene.planted[f"{DUMPS}/core.99.gz".encode()] = real
    with within(20):
        seen, memory = scene.measured()
    assert memory < 200 * MIB, f"{memory / MIB:.0f} MiB"
    assert seen.code == 0, seen.talk
    scene.check_good(seen, "good")
    assert seen.results[f"{DUMPS}/core.99.gz".encode()] == "stored"
    for name, (_, packer) in ARCHIVES.items():
        told = seen.dumps[f"{DUMPS}/{name}".encode()]
        reason = f"not a dump: a file compressed by {packer}: uncompress it first"
        assert (told["result"], told["reason"]) == ("skipped", reason)
    assert seen.document["bytes"] == sum(map(len, scene.planted.values()))
    assert sorted(data for _, data in scene.collector.stored()) == sorted(scene.planted.values())
