"""Names of files and text of dumps, from the node's disk to the operator's terminal: rows F20, F22, F23, F26, F27."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.support.collector import Collector
from tests.support.crashwriter import vmdump
from tests.support.elfwriter import PT_LOAD, PT_NOTE, Segment, elf, illumos_core, illumos_notes, linux_core
from tests.support.hostile import CANARY, NAMES, TEXTS
from tests.support.mishaps import check_settled, collector, in_terminal
from tests.support.roots import FLAVOURS, Flavour
from tests.support.sshd import Fleet, Node, NodeSpec
from thoth import DumpInfo, raw_bytes

PLACE = "/var/tmp/thoth"
_STORED_NAME = re.compile(r"[A-Za-z0-9%_-][A-Za-z0-9%._-]{0,199}")
_CONTROLS = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xa8-\xae]")


def no_canary(home: Collector, nodes: Iterable[Node]) -> bool:
    places = [home.home, *(node.root for node in nodes)]
    return not any(path for place in places for path in place.rglob(CANARY) if path.is_file())


def paths_of(info: DumpInfo) -> list[bytes]:
    return [raw_bytes(source["path"]) for source in info.document["sources"]]


def check_terminal(home: Collector, *commands: list[str]) -> None:
    """Nothing that a terminal acts on, and nothing that is not UTF-8, is written to it."""
    for command in commands:
        shown = in_terminal(command, home.environment)
        assert shown
        assert not _CONTROLS.search(shown), (command, shown)
        shown.decode("utf-8")


def thoth_command(home: Collector, *words: str) -> list[str]:
    return [str(Path(home.command()[0]).with_name("thoth")), *words]


# ---- F20, F22, F27 -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flavour",
    ["busybox", "smartos", *(pytest.param(each, marks=pytest.mark.soak) for each in ("gnu", "little"))],
)
def test_F20_names_from_the_disk_of_a_node_to_the_store(
    flavour: Flavour, node: Callable[..., Node], tmp_path: Path
) -> None:
    only = node(flavour=flavour)
    paths = [f"{PLACE}/core.".encode() + name for name in NAMES]
    contents = {path: linux_core(number + 1) for number, path in enumerate(paths)}
    for path, content in contents.items():
        only.put(path, content)
    # A node's own thoth gets the names too. This one tells them, and names nothing.
    only.replace_program("thoth", '#!/bin/sh\nprintf "%s\\0" "$#" "$1" "$2" >>/tmp/asked\nexit 1\n')
    home = collector(tmp_path, [only], f'[paths]\ncore = ["{PLACE}/core.*"]')
    home.inventory.write_text(home.inventory.read_text() + 'remote_thoth = "/usr/bin/thoth"\n')

    planned = home.collect("-n")
    asked = only.path("/tmp/asked").read_bytes().split(b"\0")[:-1]
    assert asked[0::3] == [b"2"] * len(NAMES) and set(asked[1::3]) == {b"object"}
    assert sorted(asked[2::3]) == sorted(b"./core." + name for name in NAMES)
    assert planned.results == dict.fromkeys(paths, "planned")

    result = home.collect()
    assert result.results == dict.fromkeys(paths, "stored") and result.code == 0
    stored = {path: data for info, data in home.stored() for path in paths_of(info)}
    assert stored == contents
    for info, _ in home.stored():
        name = str(info.document["dump"]).rpartition("/")[2]
        assert _STORED_NAME.fullmatch(name) and name != "info.json"
    assert no_canary(home, [only])
    check_settled(home, [only])


def test_F20_names_on_the_terminal(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    for number, name in enumerate(NAMES):
        only.put(f"{PLACE}/core.".encode() + name, linux_core(number + 1, cmd=name[:15] or b"x"))
        only.put(f"{PLACE}/core.no dump.".encode() + name[:200], b"no dump")
    home = collector(tmp_path, [only])
    check_terminal(home, home.command("-n"), home.command(), home.command("-v"), home.command("--json"))
    ls, info = (thoth_command(home, word) for word in ("ls", "info"))
    check_terminal(home, ls, [*ls, "sources"], [*ls, "name"], [*info, "type=core"])
    assert len(home.infos()) == len(NAMES)
    lines = home.run("-v").stdout.splitlines()
    assert sum(": present " in line for line in lines) == len(NAMES)
    assert sum(": skipped: not a dump: " in line for line in lines) == len(NAMES)
    assert no_canary(home, [only])


def test_F20_hostile_names_of_directories(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    names = [name for name in NAMES if name not in (b"", b"..", b"...")]
    for number, name in enumerate(names):
        only.put(b"/zones/" + name + b"/cores/core.1", linux_core(number + 1))
    home = collector(tmp_path, [only], '[paths]\ncore = ["/zones/*/cores/core.*"]')
    result = home.collect()
    assert result.results == {b"/zones/" + name + b"/cores/core.1": "stored" for name in names}
    assert sorted(path for info, _ in home.stored() for path in paths_of(info)) == sorted(result.results)
    assert no_canary(home, [only])


def test_F22_a_name_is_never_taken_for_properties(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    names = ["core.ticket=X.k=v", "core.name=other.type=crash", "core.a=1&b=2", "core.dump=x.properties={}"]
    for number, name in enumerate(names):
        only.put(f"{PLACE}/{name}", linux_core(number + 1))
    home = collector(tmp_path, [only])
    assert set(home.collect().results.values()) == {"stored"}
    for info, _ in home.stored():
        assert "ticket" not in info.document
        assert set(info.properties) == {"sysinfo"}
        assert info.document["type"] == "core"
        assert info.document["name"] == f"/thoth/stor/thoth/{info.id}"
    assert not home.thoth("info", "ticket=X").stdout.strip("[]\n ")


def test_F27_non_utf8_name_among_good_ones(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    nodes = fleet([NodeSpec(flavour, flavour) for flavour in FLAVOURS])
    bad = b"core.\xff\xfe\n;$(x)"
    names = [b"core.good.1", bad, b"core.good.2"]
    for number, node in enumerate(nodes):
        for pid, name in enumerate(names):
            node.put(f"{PLACE}/".encode() + name, linux_core(10 * number + pid + 1))
    home = collector(tmp_path, nodes)
    result = home.run("--json")
    dumps = json.loads(result.stdout)["dumps"]
    found = sorted((dump["node"], os.fsencode(dump["path"]), dump["result"]) for dump in dumps)
    wanted = [(node.name, f"{PLACE}/".encode() + name, "stored") for node in nodes for name in names]
    assert found == sorted(wanted)
    assert result.returncode == 0
    assert "core.\\xff\\xfe\\n;$(x): present " in home.run("-v").stdout


# ---- F23, F26 ------------------------------------------------------------------------------------------------------


def test_F23_text_of_dumps_is_kept_exactly(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    said: dict[str, tuple[bytes, bytes]] = {}
    for pid, text in enumerate(TEXTS, 1):
        only.put(f"{PLACE}/core.{pid}", illumos_core(pid, psargs=text, node=text, cmd=text[:15], zone=text))
        said[str(pid)] = (text, text[:15])
    for at, text in enumerate(TEXTS):
        only.put(f"/var/crash/{at}/vmcore", vmdump(node=text, panic=text, time=1_600_000_000 + at))
    home = collector(tmp_path, [only])
    assert set(home.collect().results.values()) == {"stored"}
    for infos in ([info for info, _ in home.stored()], home.infos()):
        cores = {info.document["pid"]: info.document for info in infos if info.document["type"] == "core"}
        for core, (text, cmd) in said.items():
            told = [raw_bytes(cores[core][key]) for key in ("psargs", "node", "zone", "cmd")]
            assert told == [text, text, text, cmd]
        crashes = [info.document for info in infos if info.document["type"] == "crash"]
        assert sorted(raw_bytes(each["panicstring"]) for each in crashes) == sorted(TEXTS)
        assert sorted(raw_bytes(each["node"]) for each in crashes) == sorted(TEXTS)
    ls = thoth_command(home, "ls")
    check_terminal(home, [*ls, "psargs", "node", "zone", "panicstring"], [*ls, "type=crash", "panicstring"])
    check_terminal(home, thoth_command(home, "info", "id=*"), thoth_command(home, "report", "psargs"))
    assert no_canary(home, [only])
    check_settled(home, [only])


def test_F23_huge_text_is_cut_and_says_so(node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    old, new = illumos_notes(1, zone=b"z" * (1 << 20))
    core = elf([Segment(PT_NOTE, old, flags=4), Segment(PT_NOTE, new, flags=4), Segment(PT_LOAD, bytes(4096))])
    only.put(f"{PLACE}/core.1", core)
    only.put(f"{PLACE}/core.2", illumos_core(2))
    home = collector(tmp_path, [only])
    assert set(home.collect().results.values()) == {"stored"}
    (huge,) = [info.document for info, _ in home.stored() if info.document["pid"] == "1"]
    assert huge["zone"] == "z" * (64 << 10)
    assert huge["truncated"] == ["zone"]
    check_settled(home, [only])


def random_texts(count: int) -> list[bytes]:
    """As long as psargs can be, of bytes that mean something to shells, tables, JSON and SQL, and of any others."""
    chance = random.Random(26)
    special = b"\",:;'\\\n\r\t%_*?[]{}()$`|&<>= \x1b\xff\xc3"
    return [
        bytes(chance.choice(special) if chance.random() < 0.7 else chance.randrange(1, 256) for _ in range(79))
        for _ in range(count)
    ]


@pytest.mark.parametrize("count", [60, pytest.param(2000, marks=pytest.mark.soak)])
def test_F26_random_text_is_the_same_everywhere(count: int, node: Callable[..., Node], tmp_path: Path) -> None:
    only = node()
    texts = {str(pid): text for pid, text in enumerate(random_texts(count), 1)}
    for pid, text in texts.items():
        only.put(f"{PLACE}/core.{pid}", linux_core(int(pid), psargs=text))
    home = collector(tmp_path, [only])
    assert set(home.collect().results.values()) == {"stored"}
    infos = {info.document["pid"]: info for info in home.infos()}
    assert {pid: raw_bytes(info.document["psargs"]) for pid, info in infos.items()} == texts
    assert {info.document["pid"]: info.document for info, _ in home.stored()} == {
        pid: info.document for pid, info in infos.items()
    }
    listed = home.thoth("ls", "psargs").stdout.splitlines()
    assert len(listed) == count + 1
    check_terminal(home, thoth_command(home, "ls", "psargs"))
    some = infos["7"]
    found = json.loads(home.thoth("info", "psargs=*", "pid=7").stdout)
    assert [DumpInfo(each).id for each in found] == [some.id]
