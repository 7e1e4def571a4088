"""F56: many passes of one daemon over a fleet of which a part always fails: nothing grows, is lost or comes twice."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.scene import MIB, Scene
from tests.faults.test_daemon import configure
from tests.support.chaos import Cut, Fault, Flip, HalfOpen, Proxy, Silence
from tests.support.daemon import Daemon
from tests.support.sshd import Fleet
from tests.support.usage import Usage

_GROWTH = 5 * MIB


def a_fault(chance: random.Random) -> tuple[Fault, ...]:
    """What happens to a connection: something else each time, and sometimes nothing."""
    faults: list[tuple[Fault, ...]] = [
        (Cut(chance.randrange(1, 60_000)),),
        (Cut(chance.randrange(1, 60_000), reset=True),),
        (Flip(chance.randrange(1, 60_000)),),
        (HalfOpen(chance.randrange(1, 60_000)),),
        (Silence(),),
        (),
    ]
    return chance.choice(faults)


@contextmanager
def troubled(scene: Scene, names: list[str]) -> Iterator[list[Proxy]]:
    """These nodes are reached by proxies, which damage what goes through them."""
    with ExitStack() as stack:
        proxies = {
            name: stack.enter_context(Proxy((scene.fleet[name].address, scene.fleet[name].port))) for name in names
        }
        scene.reach({name: proxy.address for name, proxy in proxies.items()})
        yield list(proxies.values())


@dataclass(frozen=True, slots=True)
class Size:
    """How long a soak is; ``seed`` is that of its faults."""

    nodes: int
    passes: int
    seed: int


@pytest.mark.parametrize(
    "size", [Size(5, 15, 7), pytest.param(Size(20, 500, 11), marks=[pytest.mark.soak, pytest.mark.timeout(3600)])]
)
def test_F56_passes_over_a_fleet_that_always_fails_in_part(
    fleet: Callable[..., Fleet], tmp_path: Path, capsys: pytest.CaptureFixture[str], size: Size
) -> None:
    chance = random.Random(size.seed)
    scene = Scene(fleet(size.nodes), tmp_path / "home")
    for node in scene.fleet:
        scene.plant(node, 16384, 100_000)
    bad = [node.name for node in scene.fleet][: max(1, size.nodes * 3 // 10)]
    usages: list[Usage] = []
    began = time.monotonic()
    with troubled(scene, bad) as proxies:
        configure(scene, "[schedule]\nevery = 0.1\n[limits]\nsettle = 0\n")
        with Daemon(scene.collector, "-T", "0.5", "-e", "0.5", "-p", "8") as daemon:
            for number in range(size.passes):
                for proxy in proxies:
                    proxy.set(*a_fault(chance))
                    if chance.random() < 0.5:
                        proxy.cut()  # a connection that is kept would meet no fault any more
                daemon.wait_for("pass ends", number + 1, seconds=60)
                if number % 5 == 4 and len(scene.planted) < 40 * size.nodes:
                    scene.plant(chance.choice(list(scene.fleet)), 20_000)
                if number >= min(size.passes // 3, 50):  # by then every path of the code has been taken
                    usages.append(Usage.of(daemon.process.pid))
            assert daemon.stop() == 0
            seconds = time.monotonic() - began
            check_level(usages, daemon)
            stored = check_once(daemon)
    scene.reach({})
    scene.check_healed()
    with capsys.disabled() if size.passes > 100 else nullcontext():
        print(f"\n{size.passes} passes over {size.nodes} nodes, {len(bad)} of them faulty, in {seconds:.0f} s")
        print(figures(scene, stored))
        print(f"after pass {size.passes - len(usages) + 1}: {usages[0]}; at the end: {usages[-1]}")


def figures(scene: Scene, stored: int) -> str:
    """What has become of the dumps, the daemon having stored so many of them."""
    there = [data for _, data in scene.collector.stored()]
    lost = set(scene.planted.values()) - set(there)
    twice = len(there) - len(set(there))
    return f"{len(scene.planted)} dumps, {stored} stored by the daemon, {len(lost)} lost, {twice} stored twice"


def check_level(usages: list[Usage], daemon: Daemon) -> None:
    """The end is as the beginning: medians, since each look finds the daemon at something else."""
    part = max(1, len(usages) // 4)
    first, last = usages[:part], usages[-part:]
    growth = median([each.memory for each in last]) - median([each.memory for each in first])
    assert growth < _GROWTH, f"{first[0]} -> {last[-1]}"
    # How many connections are kept goes up and down with the faults: few looks see no more than that.
    tolerance = 2 if len(usages) > 100 else 6
    for count in ("files", "threads"):
        before, after = (median([getattr(each, count) for each in part]) for part in (first, last))
        assert after <= before + tolerance, f"{count}: {first[0]} -> {last[-1]}"
    failed = [event for event in daemon.events("node") if event["level"] == "warning"]
    assert failed, "no node has failed"
    unforeseen = [event for event in daemon.all_events if "exception" in event]
    assert not unforeseen, unforeseen[0]["exception"]


def median(values: list[int]) -> int:
    return sorted(values)[len(values) // 2]


def check_once(daemon: Daemon) -> int:
    """No dump was stored twice; how many were stored."""
    stored = [(event["node"], event["path"]) for event in daemon.events("dump") if event["result"] == "stored"]
    assert len(stored) == len(set(stored))
    return len(stored)
