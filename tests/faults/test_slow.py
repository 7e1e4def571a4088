"""F07: a peer that has vanished without a word, and one that is slow and alive: they are told apart."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.faults.scene import MIB, Scene
from tests.faults.test_replies import SYSTEM, check_honest_again
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


_CHATTER = r"""
cat /replies/system
n=0
while n=$((n + 1)); do
    printf 'odd\0gcore\0/var/tmp/thoth\0core.%d\0a link\0' $n
done
"""


def test_F21_the_deadman_ends_what_always_has_something_to_tell(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    """However slowly the report is read: the next outcome is always there."""
    scene = Scene(fleet(["chatty", "good"]), tmp_path / "home")
    for node in scene.fleet:
        scene.plant(node, 16384)
    chatty = scene.fleet["chatty"]
    chatty.path("/replies").mkdir()
    chatty.path("/replies/system").write_bytes(SYSTEM)
    chatty.path("/replies/chatter").write_text(_CHATTER)
    chatty.force_command("sh /replies/chatter")
    run = scene.collector.start("--json", "-D", "0.02")
    assert run.stdout is not None
    told, until = b"", time.monotonic() + 15
    while piece := os.read(run.stdout.fileno(), 1 << 14):
        told += piece
        time.sleep(0.02)
        if time.monotonic() > until:
            run.kill()
            break
    run.communicate(timeout=20)
    assert (run.returncode, b"--deadman" in told) == (1, True)
    check_honest_again(scene)
