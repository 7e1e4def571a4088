"""F60, F61: very many dumps on one node, and very many nodes of which a part misbehaves."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.scene import DUMPS, MIB, Scene
from tests.faults.test_soak import a_fault
from tests.support.chaos import Proxy
from tests.support.elfwriter import linux_core
from tests.support.invariants import check_store
from tests.support.mishaps import at_session
from tests.support.sshd import Fleet

_RSS = 200 * MIB


@pytest.mark.parametrize(
    ("dumps", "seconds"),
    [(1_200, 30.0), pytest.param(100_000, 60.0, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])],
)
def test_F60_ten_new_dumps_among_very_many(
    fleet: Callable[..., Fleet], tmp_path: Path, dumps: int, seconds: float
) -> None:
    """What is known costs a listing and one question of the index for each batch; memory is flat."""
    scene = Scene(fleet(1, flavour="gnu"), tmp_path / "home")
    (node,) = scene.fleet
    for pid in range(1, dumps + 1):
        node.put(f"{DUMPS}/core.{pid}", linux_core(pid, size=8192))
    at_session(node, 0, ":")
    first, most = scene.measured(seconds=90 + dumps / 100)
    assert first.document["counts"] == {"stored": dumps} and most < _RSS
    sessions = len(list(node.path("/tmp").glob("session.*")))
    for pid in range(dumps + 1, dumps + 11):
        node.put(f"{DUMPS}/core.{pid}", linux_core(pid, size=8192))
    began = time.monotonic()
    again, rss = scene.measured()
    assert time.monotonic() - began < seconds
    assert again.document["counts"] == {"present": dumps, "stored": 10}
    assert rss < _RSS and rss < most + 20 * MIB
    # The listing, the ten heads, and what the node says of itself.
    assert len(list(node.path("/tmp").glob("session.*"))) - sessions <= 4
    check_store(scene.collector)


@pytest.mark.parametrize(
    ("nodes", "seed"),
    [(12, 3), pytest.param(200, None, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])],
)
def test_F61_many_nodes_of_which_a_part_fails(
    fleet: Callable[..., Fleet], tmp_path: Path, nodes: int, seed: int | None
) -> None:
    seed = random.SystemRandom().getrandbits(32) if seed is None else seed
    print(f"seed {seed}")
    chance = random.Random(seed)
    scene = Scene(fleet(nodes), tmp_path / "home")
    for node in scene.fleet:
        scene.plant(node, 16_384, 100_000)
    bad = [node.name for node in scene.fleet][: nodes * 3 // 10]
    crowded = scene.fleet[nodes - 1]
    scene.plant(crowded, *[5 * MIB] * 10)
    with ExitStack() as undo:
        places = {}
        for name in bad:
            target = (scene.fleet[name].address, scene.fleet[name].port)
            places[name] = undo.enter_context(Proxy(target, *a_fault(chance))).address
        scene.reach(places)
        began = time.monotonic()
        seen = scene.collector.collect("-T", "2", "-e", "2", "-p", "4")
        # Each bad node costs a few time-outs at the most, of four at a time.
        assert time.monotonic() - began < 20 + len(bad) * 4
        scene.check_good(seen, *(node.name for node in scene.fleet if node.name not in bad))
        assert set(seen.nodes) == {node.name for node in scene.fleet}
        last = [dump["node"] for dump in seen.document["dumps"] if dump["node"] not in bad]
        assert set(last[-9:]) == {crowded.name}  # nobody waits for the one that has most
    scene.reach({})
    scene.check_healed()
