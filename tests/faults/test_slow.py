"""F07: a peer that has vanished without a word, and one that is slow and alive: they are told apart."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.faults.scene import MIB, Scene
from tests.support.chaos import Delay, HalfOpen, Proxy, Throttle
from tests.support.sshd import Fleet

_IDLE = 3  # seconds without a byte


def test_F07_half_open_ends_and_slow_goes_on(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    scene = Scene(fleet(["gone", "late", "slow", "good"]), tmp_path / "home")
    faults = {
        "gone": HalfOpen(3 * MIB),
        "late": Delay(2.0, every=20),  # 5 % of the chunks
        "slow": Throttle(64_000),
    }
    scene.plant(scene.fleet["gone"], 5 * MIB)
    scene.plant(scene.fleet["late"], 100_000, 200_000)
    scene.plant(scene.fleet["slow"], 16_384, 300_000)  # that is 5 s
    scene.plant(scene.fleet["good"], 5 * MIB)
    with ExitStack() as undo:
        proxies = {
            name: undo.enter_context(Proxy((scene.fleet[name].address, scene.fleet[name].port), fault))
            for name, fault in faults.items()
        }
        scene.reach({name: proxy.address for name, proxy in proxies.items()})
        seen = scene.collector.collect("-T", "10", "-e", str(_IDLE), "-p", "4")
        for name in ("late", "slow", "good"):
            assert seen.nodes[name]["result"] == "reached", seen.nodes[name]
            assert {seen.results[path] for path in scene.of(name)} == {"stored"}
        assert seen.nodes["gone"]["result"] == "failed"
        assert f"nothing came for {_IDLE} s" in seen.nodes["gone"]["reason"]
        assert {seen.results[path] for path in scene.of("gone")} == {"failed"}
    scene.reach({})
    scene.check_healed()
