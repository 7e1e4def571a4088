"""F21: nodes that lie. What answers is a command of theirs, behind a real sshd; one pass meets all lies of a kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.faults.scene import Scene, within
from tests.support.collector import Pass
from tests.support.sshd import Fleet, Node

SIZE = 16384
SIGNATURE = b"1:2:%d:1600000000.5:1600000000:1"
CANARY = "/tmp/thoth-canary"
PAYLOAD = f";touch {CANARY};$(touch {CANARY})`touch {CANARY}`\n\x1b]0;touch {CANARY}\x07"
NAME = b"core.x" + PAYLOAD.replace("/", "\\57").encode()


MARK = b"@MARK@"  # stands for the mark of a request, which its reply has to repeat


def fields(*words: bytes | str) -> bytes:
    return b"".join((word if isinstance(word, bytes) else word.encode()) + b"\0" for word in words)


def found(*names: bytes | str, count: bytes | str = "1", signatures: bytes = SIGNATURE % SIZE) -> bytes:
    return fields("found", "gcore", "/var/tmp/thoth", "1700000000", count, *names, signatures)


SYSTEM = fields("system", "Linux", "1700000000")
END = fields("end")
READ_END = fields("end @MARK@")
ONE = SYSTEM + found(NAME) + END
ABOUT = fields("about", "Linux", "node", "6.1", "#1", "x86_64", "") + END
BODY = b"\x7fELF" + bytes(SIZE - 4)
AFTER = fields("after @MARK@", SIGNATURE % SIZE + b"\n")


# The verb begins a line, alone or before its arguments; the shell's text, which comes first, has no such line.
_ANSWER = """
while IFS='\t' read -r verb mark; do
    case $verb in about|discover|read|skim|hash) ;; *) continue ;; esac
    number=0
    while [ -f "/replies/$verb.$number" ]; do
        [ $number -eq 0 ] || printf %s "$mark"
        cat "/replies/$verb.$number"
        number=$((number + 1))
    done
    [ ! -f "/replies/$verb.last" ] || exit 0
done
"""


def answer(node: Node, replies: Mapping[str, bytes]) -> None:
    """The node has one reply to each verb, whatever it is asked about; that it is an honest one, if not told. After
    the last of them it is gone."""
    *_, last = replies
    read = {"skim": replies["read"]} if "read" in replies else {}  # a form of it
    for verb, reply in {"about": ABOUT, **replies, **read}.items():
        for number, part in enumerate(reply.split(MARK)):
            path = node.path(f"/replies/{verb}.{number}")
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(part)
        if verb == last or (last, verb) == ("read", "skim"):
            node.path(f"/replies/{verb}.last").touch()
    node.force_command(_ANSWER)


def lying(fleet: Callable[..., Fleet], home: Path, lies: Mapping[str, Mapping[str, bytes]]) -> Scene:
    """A node for each lie, named after it, and a good one."""
    scene = Scene(fleet([*lies, "good"]), home)
    for node in scene.fleet:
        scene.plant(node, SIZE)
        if node.name in lies:
            answer(node, lies[node.name])
    return scene


def check_told(scene: Scene, seen: Pass, reasons: Mapping[str, str]) -> None:
    """Each liar is found out for the right reason, and nobody else; nothing of theirs is kept, or was run."""
    assert seen.code == 1
    scene.check_good(seen, "good")
    for name, reason in reasons.items():
        told = seen.nodes[name]
        assert told["result"] == "failed", told
        assert told["stage"] in ("discover", "identify", "transfer"), told
        assert reason in told["reason"], told
    assert len(seen.nodes) == len(scene.fleet)
    assert len(scene.collector.stored()) == 1
    assert seen.talk.replace("\n", "").isprintable()
    check_not_run(scene)


def of_liars(seen: Pass) -> list[dict[str, Any]]:
    """What became of the dumps that they listed."""
    return [told for (node, _), told in seen.dumps_by_node.items() if node != "good"]


def check_not_run(scene: Scene) -> None:
    assert not Path(CANARY).exists()
    assert [node.name for node in scene.fleet if node.path(CANARY).exists()] == []


def check_honest_again(scene: Scene) -> None:
    for node in scene.fleet:
        node.force_command(None)
    scene.check_healed()
    check_not_run(scene)


SHELL = " in place of a reply: the login shell of root has to run commands and print nothing"
LISTINGS = {
    "nothing": (b"", "says nothing and ends with status 0" + SHELL),
    "garbage": (PAYLOAD.encode() + b"\xff\xfe" * 5000, f"says '{PAYLOAD.splitlines()[0]}'" + SHELL),
    "long-garbage": (b"\xff\xfe" * 5000, "says '" + "\\xff\\xfe" * 100 + "'" + SHELL),
    "greeting": (b"Welcome to cn0!\r\n" + ONE, "says 'Welcome to cn0!'" + SHELL),
    "short-greeting": (b"\nhi\n" + ONE, "says 'hi'" + SHELL),
    "refusing": (b"This account is \x1b[1mnot available.", "says 'This account is \\x1b[1mnot available.'" + SHELL),
    "zeros": (bytes(5000), "says '\\x00"),
    "extra-nul": (SYSTEM + b"\0" + found(NAME) + END, "not a reply to discover: b''"),
    "nul-within": (SYSTEM + found(b"core.a\0b") + END, "not a file's signature: b'b'"),
    "no-end": (SYSTEM + found(NAME), "the reply ended in the middle"),
    "cut-field": (SYSTEM + found(NAME)[:-5], "the reply ended in the middle"),
    "two-counted": (SYSTEM + found(NAME, count="2") + END, "not asked for: "),
    "two-named": (SYSTEM + found(NAME, b"core.y") + END, "not a file's signature: b'core.y'"),
    "two-signed": (
        SYSTEM + found(NAME, signatures=b"\n".join([SIGNATURE % SIZE] * 2)) + END,
        "1 names came with 2 signatures",
    ),
    "none-counted": (SYSTEM + found(NAME, count="0") + END, "not a number from 1 to 200"),
    "less-counted": (SYSTEM + found(NAME, count="-1") + END, "not a number from 1 to 200"),
    "all-counted": (SYSTEM + found(NAME, count="1" + "0" * 30) + END, "longer than 8 bytes"),
    "hex-counted": (SYSTEM + found(NAME, count="0x1") + END, "not a number from 1 to 200"),
    "negative": (SYSTEM + found(NAME, signatures=SIGNATURE % -5) + END, "not a file's signature"),
    "huge": (SYSTEM + found(NAME, signatures=SIGNATURE % 10**30) + END, "not a file's signature"),
    "too-large": (SYSTEM + found(NAME, signatures=SIGNATURE % 2**63) + END, "no file has 9223372036854775808 bytes"),
    "elsewhere": (
        SYSTEM + fields("found", "gcore", "/etc", "1700000000", "1", "core.shadow", SIGNATURE % SIZE) + END,
        "not asked for: b'/etc' b'core.shadow'",
    ),
    "not-a-core": (SYSTEM + found(b"shadow") + END, "not asked for"),
    "upwards": (SYSTEM + found(b"core./../../../etc/shadow") + END, "not a file name"),
    "odd-upwards": (SYSTEM + fields("odd", "gcore", "/etc", "..", "a link") + END, "not a file name: b'..'"),
    "long-name": (SYSTEM + found(b"core." + b"x" * 5000) + END, "longer than 4096 bytes"),
    "other-words": (SYSTEM + fields("run", PAYLOAD) + END, "not a reply to discover: b'run'"),
}


def test_F21_listings(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    lies = {name: {"discover": reply} for name, (reply, _) in LISTINGS.items()}
    scene = lying(fleet, tmp_path / "home", lies)
    with within(15):
        seen = scene.collector.collect("-e", "2", "-p", "8")
    check_told(scene, seen, {name: reason for name, (_, reason) in LISTINGS.items()})
    # What was listed before the reply went wrong was seen: it is not passed over in silence.
    named = of_liars(seen)
    assert "no-end" in {told["node"] for told in named}
    assert {(told["result"], told["stage"]) for told in named} == {("failed", "discover")}
    check_honest_again(scene)


READINGS = {
    "nothing-read": (b"", "the reply ended in the middle"),
    "not-a-group": (fields("files", "1", "ok"), "not a reply to read"),
    "two-in-group": (fields("group @MARK@", "2", "ok", "ok") + BODY + AFTER + READ_END, "not a reply to read"),
    "none-in-group": (fields("group @MARK@", "0") + READ_END, "not a number from 1 to 7"),
    "new-status": (fields("group @MARK@", "1", PAYLOAD) + READ_END, "a status that this version does not know"),
    "bytes-status": (fields("group @MARK@", "1", b"changed \xff\xfe") + READ_END, "not a file's signature"),
    "no-signature": (fields("group @MARK@", "1", "changed 1:2:3") + READ_END, "not a file's signature"),
    "more-files": (
        fields("group @MARK@", "1", "ok") + BODY + AFTER + fields("group @MARK@", "1", "ok") + BODY + AFTER,
        "more came than was asked for",
    ),
}


def test_F21_replies_to_reading(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    lies = {name: {"discover": ONE, "read": reply} for name, (reply, _) in READINGS.items()}
    scene = lying(fleet, tmp_path / "home", lies)
    with within(10):
        seen = scene.collector.collect("-e", "2", "-p", "8")
    check_told(scene, seen, {name: reason for name, (_, reason) in READINGS.items()})
    named = of_liars(seen)
    assert sorted(told["node"] for told in named) == sorted(lies)
    assert {told["result"] for told in named} == {"failed"}
    check_honest_again(scene)


ABOUTS = {
    "silent": (b"", "a field of the reply is longer than 16 bytes"),  # the mark of what comes next
    "other-words": (fields("run", PAYLOAD) + END, "not a reply to about"),
    "longer": (ABOUT.removesuffix(END) + fields("more") + END, "more came than was asked for"),
    "long-name": (fields("about", "x" * 5000), "longer than 256 bytes"),
}


def test_F21_what_a_node_says_of_itself(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    honest = fields("group @MARK@", "1", "ok") + BODY + AFTER + READ_END
    lies = {name: {"discover": ONE, "about": reply, "read": honest} for name, (reply, _) in ABOUTS.items()}
    scene = lying(fleet, tmp_path / "home", lies)
    with within(10):
        seen = scene.collector.collect("-e", "2", "-p", "8")
    check_told(scene, seen, {name: reason for name, (_, reason) in ABOUTS.items()})
    assert {(told["result"], told["stage"]) for told in of_liars(seen)} == {("failed", "identify")}
    check_honest_again(scene)


DUBIOUS = {
    "short": (fields("group @MARK@", "1", "ok") + BODY[:-1] + AFTER + READ_END, "failed"),
    "long": (fields("group @MARK@", "1", "ok") + BODY + b"x" + AFTER + READ_END, "failed"),
    "other-after": (
        fields("group @MARK@", "1", "ok") + BODY + fields("after @MARK@", SIGNATURE % 5 + b"\n") + READ_END,
        "failed",
    ),
    "none-after": (fields("group @MARK@", "1", "ok") + BODY + fields("after @MARK@", "") + READ_END, "failed"),
    "replaced": (fields("group @MARK@", "1", b"changed 9:9:9:1:1:1") + READ_END, "failed"),
    "linked": (fields("group @MARK@", "1", "a link") + READ_END, "skipped"),
    "gone": (fields("group @MARK@", "1", "gone") + READ_END, "gone"),
    "denied": (fields("group @MARK@", "1", "denied") + READ_END, "denied"),
    "no-dump": (fields("group @MARK@", "1", "ok") + b"x" * SIZE + AFTER + READ_END, "skipped"),
}


def test_F21_a_lie_about_one_file_costs_one_file(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    lies = {name: {"discover": ONE, "read": reply} for name, (reply, _) in DUBIOUS.items()}
    scene = lying(fleet, tmp_path / "home", lies)
    with within(10):
        seen = scene.collector.collect("-e", "2", "-p", "8")
    told = {dump["node"]: dump["result"] for dump in of_liars(seen)}
    assert told == {name: result for name, (_, result) in DUBIOUS.items()}
    assert {node["result"] for node in seen.nodes.values()} == {"reached"}
    assert seen.code == 1
    assert len(scene.collector.stored()) == 1
    check_honest_again(scene)


def test_F19_F21_times_that_cannot_be_read_cost_one_file(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    reading = DUBIOUS["gone"][0]  # of the other file
    lines = {"none": b"1:2:5:::1", "words": b"1:2:5:nan:inf:1", "control": b"1:2:5:\x1b[31m:1:1"}
    both = {name: b"\n".join([line, SIGNATURE % SIZE]) for name, line in lines.items()}
    lies = {
        name: {"discover": SYSTEM + found(NAME, b"core.y", count="2", signatures=two) + END, "read": reading}
        for name, two in both.items()
    }
    scene = lying(fleet, tmp_path / "home", lies)
    with within(10):
        seen = scene.collector.collect("-e", "2", "-p", "8")
    told = {(dump["node"], dump["path"].endswith("core.y")): dump for dump in of_liars(seen)}
    assert {key: each["result"] for key, each in told.items()} == {
        (name, other): "gone" if other else "failed" for name in lies for other in (False, True)
    }
    for name, line in lines.items():
        assert told[name, False]["reason"] == f"not a file's times: {line!r}; 'touch' it"
    assert {node["result"] for node in seen.nodes.values()} == {"reached"}
    assert (seen.code, len(scene.collector.stored())) == (1, 1)
    check_honest_again(scene)


def test_F21_identities_by_the_nodes_own_thoth(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    no_dump = fields("group @MARK@", "1", "ok") + b"x" * SIZE + AFTER + READ_END
    good = "0123456789abcdef" * 2
    # What is no identity is not believed: the file itself is looked at.
    doubted = {
        "not-hex": "g" * 32,
        "upper": good.upper(),
        "short": good[:-1],
        "two": f"{good}\n{good}",
        "run": PAYLOAD,
    }
    replies = {name: fields("0", printed) + END for name, printed in doubted.items()}
    replies["failing"] = fields("1", good) + END
    broken = {
        "fewer": END,
        "more": fields("0", good) * 2 + END,
        "longer": fields("0", "x" * 100_000) + END,
    }
    lies = {name: {"discover": ONE, "hash": reply, "read": no_dump} for name, reply in (replies | broken).items()}
    scene = lying(fleet, tmp_path / "home", lies)
    scene.reach({}, more=dict.fromkeys(lies, 'remote_thoth = "/opt/thoth"'))
    with within(10):
        seen = scene.collector.collect("-e", "2", "-p", "8")
    assert seen.code == 1
    told = {dump["node"]: dump["result"] for dump in of_liars(seen)}
    assert told == dict.fromkeys(replies, "skipped") | dict.fromkeys(broken, "failed")
    assert {name for name, node in seen.nodes.items() if node["result"] == "failed"} == set(broken)
    scene.check_good(seen, "good")
    assert len(scene.collector.stored()) == 1
    scene.reach({})
    check_honest_again(scene)
