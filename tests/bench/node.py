"""A node with 10,000 dumps over loopback ssh: the first dry run, the first real pass, a pass with nothing new."""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.bench.table import Row, Run, run, show
from tests.support.elfwriter import illumos_core
from tests.support.roots import Flavour
from tests.support.sshd import Fleet, NodeSpec

_DUMPS = 10_000
_SIZE = 64 << 10
_FLAVOURS: tuple[Flavour, ...] = ("gnu", "busybox")


def measure() -> None:
    # All files stay until the end: for minutes, ext4 looks at each inode that was given back before it gives one out,
    # and the second node would pay for the first.
    with ExitStack() as kept:
        for flavour in _FLAVOURS:
            home = kept.enter_context(tempfile.TemporaryDirectory(prefix="thoth-bench-"))
            fleet = kept.enter_context(Fleet([NodeSpec("cn0", flavour)]))
            for number in range(_DUMPS):
                fleet[0].put(f"/var/cores/core.x.{number}", illumos_core(pid=number + 1, size=_SIZE))
            inventory = Path(home, "fleet.toml")
            inventory.write_text('[paths]\ncore = ["/var/cores/core.*"]\n' + fleet.fleet_toml())
            show(f"A node with {_DUMPS:,} dumps of 64 KiB ({flavour})", _passes(Path(home), inventory))


def _passes(home: Path, inventory: Path) -> list[Row]:
    dry, first, again = (_collect(home, inventory, *flags) for flags in (("--dry-run",), (), ()))
    assert _counts(dry) == {"planned": _DUMPS}, _counts(dry)
    assert _counts(first) == {"stored": _DUMPS}, _counts(first)
    assert _counts(again) == {"present": _DUMPS}, _counts(again)
    return [
        _row("first dry run", dry, 1_000),
        _row("first real pass, stored durably", first, 250),
        _row("a pass with nothing new", again, 10_000),
    ]


def _row(what: str, done: Run, goal: int) -> Row:
    rate = _DUMPS / done.seconds
    return Row(what, f"{rate:,.0f} a second, {done.rss:.0f} MiB", f"{goal:,} a second", rate >= goal)


def _collect(home: Path, inventory: Path, *flags: str) -> Run:
    command = [Path(sys.executable).parent / "sdc-thoth", "--json", "--inventory", inventory, *flags]
    return run(command, {"HOME": str(home), "PATH": "/usr/bin:/bin"})


def _counts(done: Run) -> dict[str, int]:
    counts = json.loads(done.output)["counts"]
    assert isinstance(counts, dict)
    return counts
