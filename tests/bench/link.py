"""A core that compresses 5 to 1 over a link of 100 Mbit/s: compressed on the way against as it is."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

from tests.bench.table import Row, Run, run, show
from tests.support.elfwriter import illumos_core
from tests.support.roots import program
from tests.support.sshd import Fleet, Node, NodeSpec

_SIZE = int(os.environ.get("THOTH_BENCH_MIB", "1024")) << 20
_TILE = 16 << 20  # bytes; no compressor looks back so far
_LINK = "ip link set lo up mtu 1500 && tc qdisc add dev lo root tbf rate 100mbit burst 64kb latency 50ms"


def measure() -> None:
    """In a network namespace of its own, whose loopback is the link."""
    command = [program("unshare"), "--net", "bash", "-c", f'{_LINK} && exec "$0" -m tests.bench.link', sys.executable]
    subprocess.run(command, check=True)


def _measure() -> None:
    folder = tempfile.TemporaryDirectory(prefix="thoth-bench-", dir="/var/tmp")
    with folder as home, Fleet([NodeSpec("cn0", "gnu")]) as fleet:
        ratio = _write_core(fleet[0])
        inventory = Path(home, "fleet.toml")
        inventory.write_text('[paths]\ncore = ["/var/cores/core.*"]\n' + fleet.fleet_toml())
        plain = _collect(Path(home), inventory, "none")
        rows = [_row(way, plain, _collect(Path(home), inventory, way)) for way in ("gzip", "zstd", "auto")]
    what = f"as it is: {plain.seconds:.1f} s, {_SIZE / plain.seconds / 1e6:.1f} MB/s"
    show(f"{_SIZE >> 20} MiB that compress {ratio:.1f} to 1 over 100 Mbit/s ({what})", rows)


def _row(way: str, plain: Run, done: Run) -> Row:
    ratio = plain.seconds / done.seconds
    figure = f"{ratio:.1f} x ({_SIZE / done.seconds / 1e6:.0f} MB/s)"
    return Row(f"throughput with --compress {way}, {done.rss:.0f} MiB", figure, "3.0 x", ratio >= 3)


def _write_core(node: Node) -> float:
    """Returns to what part of it gzip -1 makes it."""
    core = node.put("/var/cores/core.big.1", illumos_core(pid=1, size=64 << 10))
    tile = _tile()
    with core.open("ab") as file:
        for _ in range(_SIZE // _TILE):
            file.write(tile)
    os.utime(core, (1_700_000_000, 1_700_000_000))
    return len(tile) / len(zlib.compress(tile, 1))


def _tile() -> bytes:
    """Like a heap: records of pointers into one place, a few small numbers and much that is nothing."""
    chance = random.Random(5)
    records = []
    for at in range(0, _TILE, 128):
        pointer = (0xFFFFFD7F_C0000000 + chance.randrange(1 << 26)).to_bytes(8, "little")
        number = chance.randrange(1 << 16).to_bytes(8, "little")
        records.append((pointer + number + chance.randbytes(12) + at.to_bytes(4, "little")).ljust(128, b"\0"))
    return b"".join(records)


def _collect(home: Path, inventory: Path, way: str) -> Run:
    command = [Path(sys.executable).parent / "sdc-thoth", "--compress", way, "--inventory", inventory]
    done = run(command, {"HOME": str(home), "PATH": "/usr/bin:/bin"})
    assert "=== Completed ===" in done.output and ": stored " in done.output, done.output
    shutil.rmtree(home / ".local")
    return done


if __name__ == "__main__":
    _measure()
