"""1 GiB from a node into the directory store, digests included, against the shell pipeline that it replaces."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from tests.bench.table import Row, Run, run, show
from tests.support.elfwriter import illumos_core
from tests.support.sshd import Fleet, Node, NodeSpec

_SIZE = 1 << 30
_ROUNDS = 4


def measure() -> None:
    # /tmp may be memory.
    folder = tempfile.TemporaryDirectory(prefix="thoth-bench-", dir="/var/tmp")
    with folder as home, Fleet([NodeSpec("cn0", "gnu")]) as fleet:
        _write_core(fleet[0])
        inventory = Path(home, "fleet.toml")
        inventory.write_text('[paths]\ncore = ["/var/cores/core.*"]\n' + fleet.fleet_toml())
        pairs = [(_pipeline(fleet[0], Path(home)), _collect(Path(home), inventory)) for _ in range(_ROUNDS)]
        shell = min(reference.seconds for reference, _ in pairs)
        ours = min(collected.seconds for _, collected in pairs)
        rss = max(collected.rss for _, collected in pairs)
    ratio = shell / ours
    figure = f"{ratio:.2f} x ({_SIZE / ours / 1e6:.0f} MB/s)"
    show(
        "1 GiB from node to directory store",
        [
            Row("throughput, against ssh cat | tee >(md5sum) >(sha256sum)", figure, "1.00 x", ratio >= 1),
            Row("RSS", f"{rss:.0f} MiB", "150 MiB", rss < 150),
        ],
    )


def _write_core(node: Node) -> None:
    core = node.put("/var/cores/core.big.1", illumos_core(pid=1, size=64 << 10))
    noise = os.urandom(1 << 20)
    with core.open("ab") as file:
        for _ in range(_SIZE >> 20):
            file.write(noise)
    os.utime(core, (1_700_000_000, 1_700_000_000))


def _pipeline(node: Node, home: Path) -> Run:
    copy = home / "copy"
    ssh = node.ssh("cat", "/var/cores/core.big.1")
    ssh.insert(1, "-caes128-gcm@openssh.com")
    done = run(["bash", "-c", f"{shlex.join(ssh)} | tee >(md5sum) >(sha256sum) > {copy}; wait"])
    copy.unlink()
    return done


def _collect(home: Path, inventory: Path) -> Run:
    command = [Path(sys.executable).parent / "sdc-thoth", "--inventory", inventory]
    done = run(command, {"HOME": str(home), "PATH": "/usr/bin:/bin"})
    assert "uploaded 1.00GB" in done.output, done.output
    shutil.rmtree(home / ".local")
    return done
