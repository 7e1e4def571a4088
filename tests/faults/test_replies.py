"""F21: nodes that lie. What answers is a command of theirs, behind a real sshd; one pass meets all the lies of a kind."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.faults.scene import MIB, Scene, within
from tests.support.collector import Pass
from tests.support.sshd import Fleet, Node
from thoth import DumpInfo

SIZE = 16384
SIGNATURE = b"1:2:%d:1600000000.5:1600000000:1"
CANARY = "/tmp/thoth-canary"
PAYLOAD = f";touch {CANARY};$(touch {CANARY})`touch {CANARY}`\n\x1b]0;touch {CANARY}\x07"
NAME = b"core.x" + PAYLOAD.replace("/", "\\57").encode()


def fields(*words: bytes | str) -> bytes:
    return b"".join((word if isinstance(word, bytes) else word.encode()) + b"\0" for word in words)


def found(*names: bytes | str, count: bytes | str = "1", signatures: bytes = SIGNATURE % SIZE) -> bytes:
    return fields("found", "gcore", "/var/tmp/thoth", count, *names, signatures)


SYSTEM = fields("system", "Linux", "1700000000")
END = fields("end")
ONE = SYSTEM + found(NAME) + END
BODY = b"\x7fELF" + bytes(SIZE - 4)
AFTER = fields("after", SIGNATURE % SIZE + b"\n")


def answer(node: Node, replies: Mapping[str, bytes]) -> None:
    """The node has one reply to each verb, whatever it is asked about."""
    for verb, reply in replies.items():
        path = node.path(f"/replies/{verb}")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(reply)
    # The last line of a request is "end", the one before it the verb with its arguments.
    node.force_command("verb=$(tail -n 2 | head -n 1 | cut -f 1)\nexec cat /replies/$verb\n")


def lying(fleet: Callable[..., Fleet], home: Path, lies: Mapping[str, Mapping[str, bytes]]) -> Scene:
    """A node for each lie, named after it, and a good one."""
    scene = Scene(fleet([*lies, "good"]), home)
    for node in scene.fleet:
        scene.plant(node, SIZE)
        if node.name in lies:
            answer(node, lies[node.name])
    return scene


def check_told(scene: Scene, seen: Pass, lies: Mapping[str, Mapping[str, bytes]]) -> None:
    """Each liar is reported as such, and nobody else; nothing of theirs is kept, or was run."""
    assert seen.code == 1
    scene.check_good(seen, "good")
    for name in lies:
        told = seen.nodes[name]
        assert told["result"] == "failed", told
        assert told["stage"] in ("discover", "identify", "transfer"), told
        assert "internal" not in told["reason"]
        assert told["reason"].isprintable(), told
    assert len(seen.nodes) == len(scene.fleet)
    assert len(scene.collector.stored()) == 1
    assert seen.talk.replace("\n", "").isprintable()
    check_not_run(scene)


def check_not_run(scene: Scene) -> None:
    assert not Path(CANARY).exists()
    assert [node.name for node in scene.fleet if node.path(CANARY).exists()] == []


def check_honest_again(scene: Scene) -> None:
    for node in scene.fleet:
        node.force_command(None)
    scene.check_healed()
    check_not_run(scene)


LISTINGS = {
    "nothing": b"",
    "garbage": PAYLOAD.encode() + b"\xff\xfe" * 5000,
    "greeting": b"Welcome to cn0!\r\n" + ONE,
    "extra-nul": SYSTEM + b"\0" + found(NAME) + END,
    "nul-within": SYSTEM + found(b"core.a\0b") + END,
    "no-end": SYSTEM + found(NAME),
    "cut-field": SYSTEM + found(NAME)[:-5],
    "two-counted": SYSTEM + found(NAME, count="2") + END,
    "two-named": SYSTEM + found(NAME, b"core.y") + END,
    "two-signed": SYSTEM + found(NAME, signatures=b"\n".join([SIGNATURE % SIZE] * 2)) + END,
    "none-counted": SYSTEM + found(NAME, count="0") + END,
    "less-counted": SYSTEM + found(NAME, count="-1") + END,
    "all-counted": SYSTEM + found(NAME, count="1" + "0" * 30) + END,
    "hex-counted": SYSTEM + found(NAME, count="0x1") + END,
    "negative": SYSTEM + found(NAME, signatures=SIGNATURE % -5) + END,
    "huge": SYSTEM + found(NAME, signatures=SIGNATURE % 10**30) + END,
    "too-large": SYSTEM + found(NAME, signatures=SIGNATURE % 2**63) + END,
    "no-times": SYSTEM + found(NAME, signatures=b"1:2:3:nan:inf:1") + END,
    "elsewhere": SYSTEM + fields("found", "gcore", "/etc", "1", "core.shadow", SIGNATURE % SIZE) + END,
    "not-a-core": SYSTEM + found(b"shadow") + END,
    "upwards": SYSTEM + found(b"core./../../../etc/shadow") + END,
    "odd-upwards": SYSTEM + fields("odd", "gcore", "/etc", "..", "a link") + END,
    "long-name": SYSTEM + found(b"core." + b"x" * 5000) + END,
    "other-words": SYSTEM + fields("run", PAYLOAD) + END,
}


def test_F21_listings(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    lies = {name: {"discover": reply} for name, reply in LISTINGS.items()}
    scene = lying(fleet, tmp_path / "home", lies)
    with within(15):
        seen = scene.collector.collect("-e", "2", "-p", "8")
    check_told(scene, seen, lies)
    # What was listed before the reply went wrong was seen: it is not passed over in silence.
    named = [told for path, told in seen.dumps.items() if path not in scene.of("good")]
    assert {told["node"] for told in named} == {"no-end", "cut-field"} - {"cut-field"}
    assert {(told["result"], told["stage"]) for told in named} == {("failed", "discover")}
    check_honest_again(scene)


READINGS = {
    "nothing-read": b"",
    "not-a-group": fields("files", "1", "ok"),
    "two-in-group": fields("group", "2", "ok", "ok") + BODY + AFTER + END,
    "none-in-group": fields("group", "0") + END,
    "new-status": fields("group", "1", PAYLOAD) + END,
    "bytes-status": fields("group", "1", b"changed \xff\xfe") + END,
    "no-signature": fields("group", "1", "changed 1:2:3") + END,
    "more-files": fields("group", "1", "ok") + BODY + AFTER + fields("group", "1", "ok") + BODY + AFTER,
}


def test_F21_replies_to_reading(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    lies = {name: {"discover": ONE, "read": reply} for name, reply in READINGS.items()}
    scene = lying(fleet, tmp_path / "home", lies)
    with within(10):
        seen = scene.collector.collect("-e", "2", "-p", "8")
    check_told(scene, seen, lies)
    named = [told for path, told in seen.dumps.items() if path not in scene.of("good")]
    assert sorted(told["node"] for told in named) == sorted(lies)
    assert {told["result"] for told in named} == {"failed"}
    check_honest_again(scene)


DUBIOUS = {
    "short": (fields("group", "1", "ok") + BODY[:-1] + AFTER + END, "failed"),
    "long": (fields("group", "1", "ok") + BODY + b"x" + AFTER + END, "failed"),
    "other-after": (
        fields("group", "1", "ok") + BODY + fields("after", SIGNATURE % 5 + b"\n") + END,
        "failed",
    ),
    "none-after": (fields("group", "1", "ok") + BODY + fields("after", "") + END, "failed"),
    "replaced": (fields("group", "1", b"changed 9:9:9:1:1:1") + END, "failed"),
    "linked": (fields("group", "1", "a link") + END, "skipped"),
    "gone": (fields("group", "1", "gone") + END, "gone"),
    "denied": (fields("group", "1", "denied") + END, "denied"),
    "no-dump": (fields("group", "1", "ok") + b"x" * SIZE + AFTER + END, "skipped"),
}


def test_F21_a_lie_about_one_file_costs_one_file(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    lies = {name: {"discover": ONE, "read": reply} for name, (reply, _) in DUBIOUS.items()}
    scene = lying(fleet, tmp_path / "home", lies)
    with within(10):
        seen = scene.collector.collect("-e", "2", "-p", "8")
    told = {dump["node"]: dump["result"] for dump in seen.dumps.values() if dump["node"] != "good"}
    assert told == {name: result for name, (_, result) in DUBIOUS.items()}
    assert {node["result"] for node in seen.nodes.values()} == {"reached"}
    assert seen.code == 1
    assert len(scene.collector.stored()) == 1
    check_honest_again(scene)
