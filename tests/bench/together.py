"""1 GiB from each of four nodes at once, into the directory store, against 1 GiB from one of them."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench.table import Row, run, show
from tests.support.collector import Collector
from tests.support.elfwriter import illumos_core
from tests.support.sshd import Fleet

_NODES = 4
_SIZE = 1 << 30
_ROUNDS = 2
_PLACE = "/var/cores"


@dataclass(frozen=True, slots=True)
class _Transfer:
    """Seconds until the last dump was stored, how far before that the first was, and the most memory, in MiB."""

    seconds: float
    spread: float
    rss: float


def measure() -> None:
    # /tmp may be memory.
    with (
        tempfile.TemporaryDirectory(prefix="thoth-bench-", dir="/var/tmp") as home,
        Fleet(_NODES, flavour="gnu") as fleet,
    ):
        _plant(fleet)
        collector = Collector(Path(home), f'[paths]\ncore = ["{_PLACE}/core.*"]\n' + fleet.fleet_toml())
        pairs = [
            (_collected(collector, "-N", fleet[0].name), _collected(collector, "-p", str(_NODES)))
            for _ in range(_ROUNDS)
        ]
    one = min(alone.seconds for alone, _ in pairs)
    four = min((together for _, together in pairs), key=lambda each: each.seconds)
    ratio = _NODES * one / four.seconds
    apart = four.spread / four.seconds
    figure = f"{ratio:.2f} x ({_NODES * _SIZE / four.seconds / 1e6:.0f} MB/s)"
    show(
        f"{_NODES} dumps of 1 GiB from {_NODES} nodes at once",
        [
            Row("throughput, against one dump from one node", figure, "0.80 x", ratio >= 0.8),
            Row("finished within", f"{apart:.0%} of the time of all", "20 %", apart <= 0.2),
            Row("RSS", f"{four.rss:.0f} MiB", "200 MiB", four.rss < 200),
        ],
    )


def _plant(fleet: Fleet) -> None:
    noise = os.urandom(1 << 20)
    for pid, node in enumerate(fleet, 1):
        core = node.put(f"{_PLACE}/core.big.{pid}", illumos_core(pid=pid, size=64 << 10))
        with core.open("ab") as file:
            for _ in range(_SIZE >> 20):
                file.write(noise)
        os.utime(core, (1_700_000_000, 1_700_000_000))


def _collected(collector: Collector, *flags: str) -> _Transfer:
    started = time.time()
    done = run(collector.command(*flags), collector.environment)
    # A dump's object is dated when it takes its name.
    stored = [path.stat().st_mtime - started for path in collector.store.glob("*/stor/thoth/*/core.*")]
    assert len(stored) == done.output.count("(1.00GB) as"), done.output
    shutil.rmtree(collector.home / ".local")
    return _Transfer(max(stored), max(stored) - min(stored), done.rss)
