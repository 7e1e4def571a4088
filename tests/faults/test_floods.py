"""F21, F37: nodes that say too much, and what they say of themselves. Memory and time stay bounded."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.faults.scene import MIB, Scene, within
from tests.faults.test_replies import END, READ_END, SIGNATURE, SYSTEM, answer, check_honest_again, fields, found
from tests.support.elfwriter import (
    PT_NOTE,
    Segment,
    elf,
    linux_core,
    linux_prpsinfo,
    linux_prstatus,
    note,
)
from tests.support.sshd import Fleet

MEMORY = 200 * MIB
FLOOD = "exec dd if=/dev/zero bs=1048576 count=1024"  # a gibibyte
RUN = 'exec sh -c "$SSH_ORIGINAL_COMMAND"\n'  # what was asked for


def test_F21_floods(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    floods = {
        "zeros": FLOOD,
        "systems": "while cat /replies/system; do :; done",
        "troubles": "while cat /replies/troubles; do :; done",
        "names": "while cat /replies/names; do :; done",
    }
    scene = Scene(fleet([*floods, "good"]), tmp_path / "home")
    for node in scene.fleet:
        scene.plant(node, 16384)
        node.path("/replies").mkdir()
        node.path("/replies/system").write_bytes(SYSTEM * 1000)
    trouble = fields("bad", "gcore", "/var/tmp/thoth", "x" * 4000)
    scene.fleet["troubles"].path("/replies/troubles").write_bytes(SYSTEM + trouble * 250)
    names = (fields("odd", "gcore", "/var/tmp/thoth", f"core.{n}", "a link") for n in range(20_000))
    scene.fleet["names"].path("/replies/names").write_bytes(SYSTEM + b"".join(names))
    for name, script in floods.items():
        scene.fleet[name].force_command(script)
    with within(30):
        seen, memory = scene.measured("-p", "9")
    assert memory < MEMORY, f"{memory / MIB:.0f} MiB"
    assert seen.code == 1
    for name, reason in (
        ("zeros", "in place of a reply: the login shell of root has to run commands"),
        ("systems", "lists more files than one node can have"),
        ("troubles", "lists more files than one node can have"),
        ("names", "lists more files than one node can have"),
    ):
        assert (seen.nodes[name]["result"], seen.nodes[name]["stage"]) == ("failed", "discover")
        assert reason in seen.nodes[name]["reason"], seen.nodes[name]
    scene.check_good(seen, "good")
    check_honest_again(scene)


def test_F21_a_directory_that_a_tenant_has_filled(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    """It costs that directory: it is told in one line, and the dumps that are listed behind it come (I6)."""
    scene = Scene(fleet(["cn0"], flavour="smartos"), tmp_path / "home")
    node = scene.fleet["cn0"]
    scene.plant(node, 16384)
    core = linux_core(pid=99, size=16384)
    node.put("/zones/z/cores/core.good.99", core)
    for zone in ("evil-a", "evil-b", "evil-c"):
        folder = node.path(f"/zones/{zone}/cores")
        folder.mkdir(parents=True)
        for number in range(65_000):  # links are looked at like all else, and need no more
            (folder / f"core.{number:0245}").symlink_to("x")
    with within(120):
        seen, memory = scene.measured(seconds=110)
    assert memory < MEMORY, f"{memory / MIB:.0f} MiB"
    scene.check_good(seen, "cn0")
    told = {path: dump for (_, path), dump in seen.dumps_by_node.items() if dump["result"] != "skipped"}
    assert told.pop(b"/zones/z/cores/core.good.99")["result"] == "stored"
    crowded = {path for path, dump in told.items() if dump["result"] == "failed"}
    assert crowded == {b"/zones/evil-a/cores", b"/zones/evil-b/cores", b"/zones/evil-c/cores"}
    assert all(told[path]["reason"].startswith("holds too many dumps: only those") for path in crowded)
    assert seen.code == 1


# Names as long as they may be, of which there is no end, each in a directory of its own.
LONG = r"""
long=$(head -c 4000 /dev/zero | tr '\0' x)
cat /replies/system
n=0
while n=$((n + 1)); do
    printf "$1" "$long$n" "core.$n.$long"
done
"""
LONG_ODD = r"odd\0core\0/zones/%s/cores\0%s\0a link\0"
LONG_FOUND = r"found\0core\0/zones/%s/cores\0001700000000\0001\0%s\0001:2:3:1.5:1.5:1\0"


def test_F21_names_that_are_long(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    scene = Scene(fleet(["odd", "found", "good"]), tmp_path / "home")
    for node in scene.fleet:
        scene.plant(node, 16384)
        node.path("/replies").mkdir()
        node.path("/replies/system").write_bytes(SYSTEM)
        node.path("/replies/long").write_text(LONG)
    scene.fleet["odd"].force_command(f"sh /replies/long '{LONG_ODD}'")
    scene.fleet["found"].force_command(f"sh /replies/long '{LONG_FOUND}'")
    with within(30):
        seen, memory = scene.measured("-p", "9")
    assert memory < 150 * MIB, f"{memory / MIB:.0f} MiB"
    assert "lists more files than one node can have" in seen.nodes["odd"]["reason"], seen.nodes["odd"]
    for name, stage in (("odd", "discover"), ("found", "identify")):
        assert (seen.nodes[name]["result"], seen.nodes[name]["stage"]) == ("failed", stage), seen.nodes[name]
    scene.check_good(seen, "good")
    check_honest_again(scene)


def test_F21_noise_around_a_good_reply_does_no_harm(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    scene = Scene(fleet(["noisy", "talkative", "good"]), tmp_path / "home")
    for node in scene.fleet:
        scene.plant(node, 16384)
    scene.fleet["noisy"].force_command("dd if=/dev/zero bs=1048576 count=10 >&2\n" + RUN)
    scene.fleet["talkative"].force_command(f"( {RUN} )\n{FLOOD}")
    with within(10):
        seen, memory = scene.measured()
    assert memory < MEMORY
    assert seen.code == 0
    scene.check_good(seen, "noisy", "talkative", "good")
    check_honest_again(scene)


def immense(size: int) -> dict[str, bytes]:
    """Replies of a node that has one dump, of that size by its own word."""
    signature = SIGNATURE % size
    head = linux_core(pid=4711, size=1 << 16)
    listing = SYSTEM + found("core.immense", signatures=signature) + END
    after = fields("after @MARK@", signature + b"\n")
    return {"discover": listing, "read": fields("group @MARK@", "1", "ok") + head + after + READ_END}


def test_F21_a_dump_that_is_larger_than_any_disk(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    scene = Scene(fleet(["immense", "good", "better"]), tmp_path / "home")
    for node in scene.fleet:
        scene.plant(node, 16384)
    answer(scene.fleet["immense"], immense(1 << 62))
    with within(10):
        seen, memory = scene.measured("-e", "1", "-p", "1")
    assert memory < MEMORY
    assert seen.code == 1
    assert [told["result"] for (node, _), told in seen.dumps_by_node.items() if node == "immense"] == ["failed"]
    scene.check_good(seen, "good", "better")
    check_honest_again(scene)


def check_greedy(fleet: Fleet, home: Path, cores: Sequence[tuple[bytes, int]], result: str) -> None:
    """Cores, made as long as the numbers beside them say: memory stays bounded, and they get this result."""
    scene = Scene(fleet, home)
    scene.plant(fleet["good"], 16384)
    paths = [fleet["greedy"].put(f"/var/tmp/thoth/core.{n}", core) for n, (core, _) in enumerate(cores)]
    for path, (_, size) in zip(paths, cores, strict=True):
        os.truncate(path, size)
        os.utime(path, (1e9, 1e9))
    with within(30):
        seen, memory = scene.measured("-e", "5", "-n")
    assert memory < MEMORY, f"{memory / MIB:.0f} MiB"
    told = [told["result"] for (node, _), told in seen.dumps_by_node.items() if node == "greedy"]
    assert told == [result] * len(cores)
    assert [seen.results[path] for path in scene.of("good")] == ["planned"]
    for path in paths:
        path.unlink()
    scene.check_healed()


def test_F21_notes_that_are_large(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    core = elf([Segment(PT_NOTE, b"", filesz=40 * MIB)])
    check_greedy(fleet(["greedy", "good"]), tmp_path / "home", [(core, 41 * MIB)] * 5, "planned")


@pytest.mark.soak
@pytest.mark.parametrize("count", [8000, 60_000])
def test_F21_notes_that_are_scattered(fleet: Callable[..., Fleet], tmp_path: Path, count: int) -> None:
    notes = [Segment(PT_NOTE, b"", offset=number * 9 * MIB, filesz=4) for number in range(1, count)]
    check_greedy(fleet(["greedy", "good"]), tmp_path / "home", [(elf(notes), count * 9 * MIB)], "failed")


def test_a_core_with_many_notes_has_its_own_identity(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    scene = Scene(fleet(["good"]), tmp_path / "home")
    notes = b"".join(note(b"CORE", 1, linux_prstatus(pid)) for pid in range(50_000))
    assert len(notes) > 16 * MIB
    core = elf([Segment(PT_NOTE, note(b"CORE", 3, linux_prpsinfo(7, "many", "many")) + notes)])
    path = scene.fleet["good"].put("/var/tmp/thoth/core.good.many", core)
    scene.planted[b"/var/tmp/thoth/core.good.many"] = core
    scene.plant(scene.fleet["good"], 16384)
    scene.check_healed()
    own = scene.collector.thoth("object", str(path)).stdout.strip()
    assert own in {info.id for info, _ in scene.collector.stored()}


SYSINFOS = {
    "text": "not JSON",
    "list": "[1]",
    "nan": '{"a": NaN}',
    "infinite": '{"a": [Infinity, -Infinity, {"b": 1e999}]}',
    "digits": '{"a": %s}' % ("9" * 4000),
    "more-digits": '{"a": %s}' % ("9" * 5000),
    "deep": '{"a":' * 400 + "1" + "}" * 400,
    "deepest": "[" * 100_000,
    "lists": '{"a":' + "[" * 900 + "]" * 900 + "}",
    "surrogate": '{"a\\udc80": "\\ud800", "\\u0000": "\\u0000\\u001b[31m"}',
    "names": '{"a.b": 1, "$c": {"d e": 2}, "__class__": 3, "": 4, "sysinfo": 5}',
    "large": json.dumps({"a b": ["x" * 60_000]}, indent=4),
    "escapes": '{"a": "%s"}' % ("\N{LATIN SMALL LETTER E WITH ACUTE}" * 15_000),  # 30 KB here, 90 KB in a document
    "mebibyte": json.dumps({"a": "x" * MIB}),
    "blank": '{"a": 1}' + " " * 300_000,
}


def test_F37_what_nodes_say_of_themselves(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    scene = Scene(fleet([*SYSINFOS, "too-long"], flavour="smartos"), tmp_path / "home")
    for node in scene.fleet:
        scene.plant(node, 16384)
        path = node.path("/usr/lib/sysinfo.json")
        path.write_text(SYSINFOS.get(node.name, '{"a": "' + "x" * 5 * MIB + '"}'))
        node.replace_program("sysinfo", "#!/bin/sh\nexec cat /usr/lib/sysinfo.json\n")
    with within(15):
        seen, memory = scene.measured("-p", "4")
    assert memory < MEMORY, f"{memory / MIB:.0f} MiB"
    scene.check_good(seen, *SYSINFOS)
    assert (seen.nodes["too-long"]["result"], seen.nodes["too-long"]["stage"]) == ("failed", "identify")
    assert "longer than" in seen.nodes["too-long"]["reason"]
    too_large = ("escapes", "mebibyte", "blank")
    for name in too_large:
        line = f"sdc-thoth: {name}: its sysinfo is more than 64 KiB of JSON; noting host name and release only"
        assert seen.talk.count(line) == 1, seen.talk
    listed = scene.collector.thoth("ls")
    assert listed.returncode == 0, listed.stderr
    assert len(listed.stdout.splitlines()) >= len(SYSINFOS)
    told = {info.document["node"]: info.properties["sysinfo"] for info in scene.collector.infos()}
    assert told["names"] == {"a.b": 1, "$c": {"d_e": 2}, "__class__": 3, "": 4, "sysinfo": 5}
    assert told["large"] == {"a_b": ["x" * 60_000]}
    assert told["surrogate"] == {"a\udc80": "\ud800", "\0": "\0\x1b[31m"}
    for name in ("text", "list", "nan", "infinite", "more-digits", "deep", "deepest", "lists", *too_large):
        assert told[name]["System_Type"] == "SunOS", told[name]
    scene.fleet["too-long"].path("/usr/lib/sysinfo.json").write_text("{}")
    scene.check_healed()


@pytest.mark.parametrize("length", [50, 3000], ids=["kept", "too large"])
def test_F37_what_a_node_says_of_itself_beside_many_dumps(
    length: int, fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    """It lies in the document of each of them; the index is told of some at a time."""
    scene = Scene(fleet(["verbose"], flavour="smartos"), tmp_path / "home")
    node = scene.fleet["verbose"]
    scene.plant(node, *[1 << 14] * 250)
    node.path("/usr/lib/sysinfo.json").write_text(json.dumps({str(n): "x" * length for n in range(1000)}))
    node.replace_program("sysinfo", "#!/bin/sh\nexec cat /usr/lib/sysinfo.json\n")
    with within(60):
        seen, memory = scene.measured()
    scene.check_good(seen, "verbose")
    assert memory < 110 * MIB, f"{memory / MIB:.0f} MiB"
    told = scene.collector.infos()
    assert len(told) == 250
    assert {len(info.properties["sysinfo"]) for info in told} == {1000 if length == 50 else 5}
    scene.check_healed()
