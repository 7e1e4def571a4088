"""A fleet of 200 nodes: a pass in which all is new beside OpenSSH's own tools, and passes with nothing new."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.bench.table import Row, Run, run, show
from tests.support.collector import Collector
from tests.support.daemon import Daemon
from tests.support.elfwriter import illumos_core
from tests.support.roots import program
from tests.support.sshd import Fleet, Node
from tests.support.usage import Usage, cpu_with_children

_NODES = 200
_DUMPS = 20  # on each
_SIZE = 64 << 10
_WORKERS = 4
_ROUNDS = 2
_PASSES = 200
_SETTLED = 50  # passes by which memory has what it needs: of 200 connections, caches and logs
_PLACE = "/var/cores"


def measure() -> None:
    # /tmp may be memory. What each round has stored stays until the end: for minutes, ext4 looks at each inode that
    # was given back before it gives one out, and a round would pay for the one before.
    folder = tempfile.TemporaryDirectory(prefix="thoth-bench-", dir="/var/tmp")
    with folder as name, Fleet(_NODES, flavour="gnu") as fleet:
        _plant(fleet)
        home = Path(name)
        pairs = [
            (_with_openssh(fleet, home / f"copies-{n}"), _collected(fleet, home / f"home-{n}"))
            for n in range(_ROUNDS)
        ]
        title = f"{_NODES} nodes with {_DUMPS} dumps of {_SIZE >> 10} KiB each"
        show(title, [*_rows_of_new(pairs), *_rows_of_idle(_collector(fleet, home / "home-0"))])


def _plant(fleet: Fleet) -> None:
    pid = 0
    for node in fleet:
        for _ in range(_DUMPS):
            pid += 1
            node.put(f"{_PLACE}/core.x.{pid}", illumos_core(pid=pid, size=_SIZE))


# ---- all is new ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _New:
    """All dumps fetched: seconds, and those of CPU, by who fetched them and by the nodes."""

    seconds: float
    own: float
    nodes: float

    @property
    def cpu(self) -> str:
        return f"{1000 * self.own / _NODES:.0f} + {1000 * self.nodes / _NODES:.0f}"


def _rows_of_new(pairs: list[tuple[_New, _New]]) -> Iterator[Row]:
    theirs, ours = (min(each, key=lambda new: new.seconds) for each in zip(*pairs, strict=True))
    what = f"all new, against {_WORKERS} workers of ssh ls, ssh md5sum, scp"
    ratio = theirs.seconds / ours.seconds
    figure = f"{ratio:.2f} x ({ours.seconds:.1f} s, {_NODES * _DUMPS / ours.seconds:.0f} a second)"
    yield Row(what, figure, "2.00 x", ratio >= 2)
    # Beside other work the CPU tells more than the time: theirs is that of many processes, ours mostly of one.
    ratio = (theirs.own + theirs.nodes) / (ours.own + ours.nodes)
    yield Row(f"its CPU, own + node's, {ours.cpu} ms for {theirs.cpu} ms", f"{ratio:.2f} x", "1.00 x", ratio >= 1)


def _with_openssh(fleet: Fleet, copies: Path) -> _New:
    """OpenSSH's tools list, hash and fetch all dumps of all nodes; nothing is synced."""
    copies.mkdir()
    os.sync()  # neither way is to pay for what the one before it has left to write
    started, own, nodes = time.monotonic(), _own_cpu(), fleet.cpu
    with ThreadPoolExecutor(_WORKERS) as workers:
        list(workers.map(lambda node: _fetched(node, copies), fleet))
    done = _New(time.monotonic() - started, _own_cpu() - own, fleet.cpu - nodes)
    assert sum(1 for _ in copies.glob("*/core.*")) == _NODES * _DUMPS
    return done


def _own_cpu() -> float:
    """Seconds of CPU of this process and of all that it has run."""
    return cpu_with_children(os.getpid())


def _fetched(node: Node, copies: Path) -> None:
    copy = copies / node.name
    copy.mkdir()
    hashed = f'for dump in {_PLACE}/core.*; do head -c {_SIZE} "$dump" | md5sum; done'
    for command in (node.ssh(f"ls -l {_PLACE}"), node.ssh(hashed), _scp(node, copy)):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)


def _scp(node: Node, copy: Path) -> list[str]:
    options = [each for each in node.ssh() if each.startswith("-o")]
    reached = ["-P", str(node.port), "-i", str(node.identity_file)]
    return [
        str(program("scp")),
        "-q",
        "-F",
        "none",
        *options,
        *reached,
        f"root@{node.address}:{_PLACE}/core.*",
        str(copy),
    ]


def _collector(fleet: Fleet, home: Path) -> Collector:
    home.mkdir(exist_ok=True)
    return Collector(home, f'[paths]\ncore = ["{_PLACE}/core.*"]\n' + fleet.fleet_toml())


def _collected(fleet: Fleet, home: Path) -> _New:
    collector = _collector(fleet, home)
    os.sync()
    nodes = fleet.cpu
    done = _pass(collector)
    assert f'"stored": {_NODES * _DUMPS}' in done.output, done.output[-500:]
    return _New(done.seconds, done.cpu, fleet.cpu - nodes)


def _pass(collector: Collector) -> Run:
    return run(collector.command("--json", "-p", str(_WORKERS)), collector.environment)


# ---- nothing is new -----------------------------------------------------------------------------------


def _rows_of_idle(collector: Collector) -> Iterator[Row]:
    single = _pass(collector)
    assert f'"present": {_NODES * _DUMPS}' in single.output, single.output[-500:]
    yield Row("nothing new, a single run", f"{single.seconds:.1f} s", "15 s", single.seconds < 15)
    idle = _daemon(collector)
    yield Row("nothing new, the daemon on kept connections", f"{idle.seconds:.2f} s", "5 s", idle.seconds < 5)
    yield Row("CPU of the daemon for a node and a pass", f"{idle.cpu * 1000:.2f} ms", "10 ms", idle.cpu < 0.01)
    mib, growth = idle.last.memory / (1 << 20), (idle.last.memory - idle.first.memory) / (1 << 20)
    yield Row(f"RSS of the daemon after {_PASSES} passes", f"{mib:.0f} MiB", "200 MiB", mib < 200)
    yield Row(f"grown since pass {_SETTLED}", f"{growth:+.1f} MiB", "0, give or take 2", growth < 2)


@dataclass(frozen=True, slots=True)
class _Idle:
    """Passes of a daemon: the median of their seconds, CPU seconds for a node and pass, and what it takes."""

    seconds: float
    cpu: float
    first: Usage
    last: Usage


def _daemon(collector: Collector) -> _Idle:
    collector.inventory.write_text(collector.inventory.read_text() + "[schedule]\nevery = 0.1\n")
    with Daemon(collector, "-T", "30", "-e", "60", "-p", str(_WORKERS)) as daemon:
        daemon.wait_for("pass ends", _SETTLED, seconds=600)
        first = Usage.of(daemon.process.pid)
        daemon.wait_for("pass ends", _PASSES, seconds=3600)
        last = Usage.of(daemon.process.pid)
        ended = daemon.events("pass ends")[:_PASSES]
        assert daemon.stop() == 0
    assert all(event["dumps"] == {"present": _NODES * _DUMPS} for event in ended), ended[-1]
    passes = _PASSES - _SETTLED
    seconds = statistics.median(event["seconds"] for event in ended[_SETTLED:])
    return _Idle(seconds, (last.cpu - first.cpu) / (passes * _NODES), first, last)
