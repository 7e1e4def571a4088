"""The network and the nodes fail: F01 to F08. One pass meets all the forms of a fault, each on a node of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.faults.scene import IMPATIENT, MIB, Scene
from tests.support.chaos import Address, Babble, Blackhole, Cut, Fault, Flip, HalfOpen, Proxy, Silence, Throttle
from tests.support.collector import Pass
from tests.support.sshd import Fleet, Node, NodeSpec

BIG = 5 * MIB  # a dump of this size is streamed into the store; smaller ones come together
NAMES = 400  # files in a listing that takes some time


@pytest.fixture
def undo() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def proxied(undo: ExitStack, node: Node, *faults: Fault) -> Proxy:
    return undo.enter_context(Proxy((node.address, node.port), *faults))


# ---- nobody answers ------------------------------------------------------------------------------------


def test_F01_a_node_that_never_answers(fleet: Callable[..., Fleet], tmp_path: Path, undo: ExitStack) -> None:
    scene = Scene(fleet(["dropped", "silent", "refused", "good"]), tmp_path / "home")
    for node in scene.fleet:
        scene.plant(node, 16384, 16384)
    refused = proxied(undo, scene.fleet["refused"])
    refused.refuse()
    dropped = undo.enter_context(Blackhole())
    silent = undo.enter_context(Proxy(("127.0.0.1", 1), Silence()))
    scene.reach({"dropped": dropped.address, "silent": silent.address, "refused": refused.address})
    seen = scene.collector.collect(*IMPATIENT)
    assert seen.document["seconds"] < 10
    assert seen.code == 1
    assert set(seen.results) == scene.of("good")
    for name, reason in (
        ("dropped", "no answer within 2 s"),
        ("silent", "no SSH banner within 2 s"),
        ("refused", "cannot connect: Connection refused"),
    ):
        assert (seen.nodes[name]["result"], seen.nodes[name]["stage"]) == ("unreachable", "connect")
        assert reason in seen.nodes[name]["reason"]
        assert f"]:{scene_port(scene, name)})" in seen.nodes[name]["reason"]
    scene.check_good(seen, "good")
    scene.reach({})
    scene.check_healed()


def scene_port(scene: Scene, name: str) -> int:
    """The port at which the inventory says that a node is."""
    lines = scene.collector.inventory.read_text().split(f'name = "{name}"')[1].splitlines()
    return int(next(line for line in lines if line.startswith("port")).split()[2])


def test_F02_dead_nodes_give_their_slots_back(fleet: Callable[..., Fleet], tmp_path: Path, undo: ExitStack) -> None:
    scene = Scene(fleet(4), tmp_path / "home")
    for node in scene.fleet:
        scene.plant(node, 16384)
    places: dict[str, Address] = {}
    for number in range(4):
        places[f"dropped{number}"] = undo.enter_context(Blackhole(f"127.78.0.{number + 1}")).address
        silent = Proxy(("127.0.0.1", 1), Silence(), host=f"127.78.1.{number + 1}")
        places[f"silent{number}"] = undo.enter_context(silent).address
    scene.reach(places)
    # The dead ones come first: the good ones are reached because slots become free.
    text = scene.collector.inventory.read_text()
    head, *nodes = text.split("\n[[node]]")
    scene.collector.inventory.write_text("\n[[node]]".join([head, *reversed(nodes)]))
    seen = scene.collector.collect("-T", "2", "-p", "4")
    assert seen.document["seconds"] < 10  # two times four of them at once; one after the other they take 16 s
    assert seen.code == 1
    scene.check_good(seen, "cn0", "cn1", "cn2", "cn3")
    assert {seen.nodes[name]["result"] for name in places} == {"unreachable"}
    assert len(seen.nodes) == 12
    scene.reach({})
    scene.check_healed()


def test_F03_banners(fleet: Callable[..., Fleet], tmp_path: Path, undo: ExitStack) -> None:
    scene = Scene(fleet(["cn0"]), tmp_path / "home")
    scene.plant(scene.fleet[0], 16384)
    talk: dict[str, Fault] = {
        "mute": Silence(),
        "slow": Babble(b"SSH-2.0-x", size=1, interval=0.1),
        "endless": Babble(),
        "chatty": Babble(b"hello\r\n"),
    }
    nobody = ("127.0.0.1", 1)
    scene.reach({name: undo.enter_context(Proxy(nobody, fault)).address for name, fault in talk.items()})
    seen, memory = scene.measured("-T", "2")
    assert seen.document["seconds"] < 10
    assert seen.code == 1
    assert memory < 100 * MIB
    for name in talk:
        assert (seen.nodes[name]["result"], seen.nodes[name]["stage"]) == ("unreachable", "connect")
        reason = "no SSH server that we can talk to" if name == "chatty" else "SSH banner"
        assert reason in seen.nodes[name]["reason"], seen.nodes[name]
    scene.check_good(seen, "cn0")
    scene.reach({})
    scene.check_healed()


# ---- nodes stop, or die, at work -------------------------------------------------------------------------


def check_lost(seen: Pass, node: str, stage: str, reason: str) -> None:
    told = seen.nodes[node]
    assert (told["result"], told["stage"]) == ("failed", stage), told
    assert reason in told["reason"]


def test_F04_a_node_that_hangs(fleet: Callable[..., Fleet], tmp_path: Path, undo: ExitStack) -> None:
    frozen = [NodeSpec(name, own_process=True) for name in ("before", "listing", "sending")]
    scene = Scene(fleet([*frozen, "good"]), tmp_path / "home")
    before, listing, sending, _ = scene.fleet
    for node in scene.fleet:
        scene.plant(node, 16384)
    scene.plant(sending, BIG)
    many = [listing.put(f"/var/tmp/thoth/core.{'x' * 190}{number:04}", b"") for number in range(NAMES)]
    # The names are listed 200 at a time: the first ones are through when the node hangs. What it has sent by then
    # waits in the kernel, so that the connection has to hang with it.
    proxies = {"listing": proxied(undo, listing, HalfOpen(60_000)), "sending": proxied(undo, sending)}
    hung = [proxies["listing"].at(60_000, action=lambda _link: listing.stop())]
    hung += [proxies["sending"].at(BIG // 2, action=lambda _link: sending.stop())]
    for node in (before, listing, sending):
        undo.callback(node.cont)
    before.stop()
    scene.reach({name: proxy.address for name, proxy in proxies.items()})
    seen = scene.collector.collect(*IMPATIENT)
    assert seen.document["seconds"] < 15
    assert seen.code == 1
    assert all(event.is_set() for event in hung)
    assert seen.nodes["before"]["result"] == "unreachable"
    check_lost(seen, "listing", "discover", "nothing came for 2 s")
    check_lost(seen, "sending", "transfer", "nothing came for 2 s")
    big = max(scene.of("sending"), key=lambda path: len(scene.planted[path]))
    assert (seen.results[big], seen.dumps[big]["stage"]) == ("failed", "transfer")
    listed = {path: told for path, told in seen.dumps.items() if path.startswith(b"/var/tmp/thoth/core.x")}
    assert len(listed) >= 199  # each name that came has an outcome
    assert {(told["result"], told["stage"]) for told in listed.values()} == {("failed", "discover")}
    scene.check_good(seen, "good")
    for node in (before, listing, sending):
        node.cont()
    for path in many:
        path.unlink()
    proxies["listing"].set()
    proxies["listing"].cut()
    scene.check_healed()


def test_F05_a_node_that_dies_and_comes_back(fleet: Callable[..., Fleet], tmp_path: Path, undo: ExitStack) -> None:
    scene = Scene(fleet([NodeSpec("dying", own_process=True), "good"]), tmp_path / "home")
    dying, good = scene.fleet
    scene.plant(dying, BIG, 16384)
    scene.plant(good, BIG)
    proxy = proxied(undo, dying)
    killed = proxy.at(BIG // 2, action=lambda _link: dying.kill())
    scene.reach({"dying": proxy.address})
    seen = scene.collector.collect(*IMPATIENT)
    assert seen.document["seconds"] < 10
    assert killed.is_set()
    assert seen.code == 1
    check_lost(seen, "dying", "transfer", "the connection broke")
    # The small dump may have come before the large one that the node dies in.
    assert {seen.results[path] for path in scene.of("dying")} in ({"failed"}, {"failed", "stored"})
    scene.check_good(seen, "good")
    dead = scene.collector.collect(*IMPATIENT)
    assert dead.nodes["dying"]["result"] == "unreachable"
    scene.check_good(dead, "good")
    dying.restart()
    scene.check_healed()


def test_F05_a_node_that_starts_again_under_the_run(
    fleet: Callable[..., Fleet], tmp_path: Path, undo: ExitStack
) -> None:
    scene = Scene(fleet([NodeSpec("dying", own_process=True), "good"]), tmp_path / "home")
    dying, good = scene.fleet
    scene.plant(dying, BIG)
    scene.plant(good, 16384)
    proxy = proxied(undo, dying)
    proxy.at(BIG // 2, action=lambda _link: dying.restart())
    scene.reach({"dying": proxy.address})
    seen = scene.collector.collect(*IMPATIENT)
    assert seen.code == 1
    check_lost(seen, "dying", "transfer", "the connection broke")
    scene.check_good(seen, "good")
    scene.check_healed()


# ---- what is on the way is cut, or damaged ---------------------------------------------------------------


def length_of_a_pass(scene: Scene, node: Node, home: Path) -> int:
    """The bytes that a node sends in a pass which nothing disturbs."""
    with Proxy((node.address, node.port)) as proxy:
        apart = Scene(scene.fleet, home)
        apart.reach({node.name: proxy.address})
        assert apart.collector.collect("-N", node.name).code == 0
        return proxy.passed["down"]


def cut_at(scene: Scene, places: Sequence[tuple[Node, Fault]]) -> None:
    """A pass in which the way to each node has its fault; then one in which it has none."""
    with ExitStack() as undo:
        proxies = {node.name: proxied(undo, node, fault) for node, fault in places}
        scene.reach({name: proxy.address for name, proxy in proxies.items()})
        seen = scene.collector.collect(*IMPATIENT, "-p", "8")
        assert seen.document["seconds"] < 30
        assert len(seen.nodes) == len(scene.fleet)
        for told in seen.nodes.values():
            # A cut behind the last reply is none.
            assert told["result"] in ("failed", "unreachable", "denied", "reached"), told
        for path, told in seen.dumps.items():
            assert told["result"] in ("stored", "failed"), (path, told)
        check_exit_code(seen)
        check_kept_is_whole(scene, seen)
        scene.check_good(seen, "good")
        for proxy in proxies.values():
            proxy.set()
        scene.check_healed()


def check_exit_code(seen: Pass) -> None:
    bad = [*seen.dumps.values(), *seen.nodes.values()]
    assert seen.code == any(told["result"] in ("failed", "unreachable", "denied") for told in bad)


def check_kept_is_whole(scene: Scene, seen: Pass) -> None:
    """What is in the store right after the fault is whole, and nothing that was said to be there is missing."""
    kept = [data for _, data in scene.collector.stored()]
    assert set(kept) <= set(scene.planted.values())
    said = [scene.planted[path] for path, result in seen.results.items() if result == "stored"]
    assert set(said) <= set(kept)


def grown(fleet: Fleet, home: Path) -> Scene:
    """Dumps on each node that come together, and one that is streamed."""
    scene = Scene(fleet, home)
    for node in fleet:
        scene.plant(node, 16384, 100_000, BIG)
    return scene


def test_F06_a_connection_that_is_cut(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    scene = grown(fleet([*(f"cut{number}" for number in range(8)), "good"]), tmp_path / "home")
    whole = length_of_a_pass(scene, scene.fleet["cut0"], tmp_path / "apart")
    offsets = [1, 700, 2200, 6000, 100_000, whole // 2, whole - 2000, whole - 1]
    cuts = [partial(Cut, reset=number % 2 == 1)(after) for number, after in enumerate(offsets)]
    cut_at(scene, list(zip(scene.fleet, cuts, strict=False)))


@pytest.mark.soak
@pytest.mark.parametrize("part", range(5))
def test_F06_cuts_all_along(fleet: Callable[..., Fleet], tmp_path: Path, part: int) -> None:
    scene = grown(fleet([*(f"cut{number}" for number in range(8)), "good"]), tmp_path / "home")
    whole = length_of_a_pass(scene, scene.fleet["cut0"], tmp_path / "apart")
    # Half of them within the first 20 kB, where most happens.
    early = [1 + (part + 5 * number) * 1000 for number in range(4)]
    late = [whole * (part + 5 * number + 1) // 20 - 1 for number in range(4)]
    cut_at(scene, list(zip(scene.fleet, [Cut(after) for after in early + late], strict=False)))


def test_F08_a_byte_that_is_flipped(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    scene = grown(fleet([*(f"bad{number}" for number in range(6)), "good"]), tmp_path / "home")
    down = [Flip(3), Flip(900), Flip(4000), Flip(60_000), Flip(BIG // 2)]
    faults = [*down, Flip(4000, "up")]
    with ExitStack() as undo:
        proxies = [proxied(undo, node, fault) for node, fault in zip(scene.fleet, faults, strict=False)]
        places = {node.name: proxy.address for node, proxy in zip(scene.fleet, proxies, strict=False)}
        scene.reach(places)
        seen = scene.collector.collect(*IMPATIENT, "-p", "8")
        assert seen.document["seconds"] < 30
        assert seen.code == 1
        for name in places:
            assert seen.nodes[name]["result"] in ("failed", "unreachable"), seen.nodes[name]
        assert {seen.dumps[path]["result"] for path in seen.dumps if b".bad" in path} <= {"stored", "failed"}
        check_kept_is_whole(scene, seen)
        scene.check_good(seen, "good")
    scene.reach({})
    scene.check_healed()


def test_F07_the_deadman_ends_what_trickles(fleet: Callable[..., Fleet], tmp_path: Path, undo: ExitStack) -> None:
    scene = Scene(fleet(["slow", "good"]), tmp_path / "home")
    slow, good = scene.fleet
    scene.plant(slow, BIG)
    scene.plant(good, 16384)
    proxy = proxied(undo, slow, Throttle(300_000))
    scene.reach({"slow": proxy.address})
    seen = scene.collector.collect("-D", "0.05")
    assert 3 <= seen.document["seconds"] < 12  # the dump alone would take 17 s
    assert seen.code == 1
    check_lost(seen, "slow", "transfer", "--deadman")
    assert set(seen.results[path] for path in scene.of("slow")) == {"failed"}
    scene.check_good(seen, "good")
    proxy.set()
    scene.check_healed()
