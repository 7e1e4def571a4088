"""``thoth scrub``."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.thoth.cli.conftest import Ran, Run
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity

Core = Callable[..., Path]
CLEAN = "0 problems"
HINT = "thoth: 'thoth scrub --repair' mends what can be mended without losing a byte"


@pytest.fixture
def place() -> Path:
    """Where store and index of a user who has configured nothing are."""
    return Path(os.environ["HOME"], ".local/share/thoth")


@pytest.fixture
def dumps(place: Path) -> Path:
    return place / "store/thoth/stor/thoth"


def aged(path: Path, seconds: float = 7200) -> Path:
    """As if it had been written that long ago; nothing that is wrong with it can be a passing state then."""
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    aged(path)


def tree(place: Path) -> dict[Path, tuple[int, bytes]]:
    """All that lies there: mtime and content of each file and directory."""
    found = {path: path.stat() for path in (place, *place.rglob("*"))}
    return {
        path: (status.st_mtime_ns, path.read_bytes() if path.is_file() else b"") for path, status in found.items()
    }


@pytest.fixture
def troubled(run: Run, core: Core, dumps: Path, stored: Thoth) -> dict[str, str]:
    """One dump with each kind of trouble that does not have to be waited for; kind -> identity."""
    kinds = ("corrupt", "unreadable", "orphan", "unindexed", "ghost", "unrecorded", "stray", "good")
    names = run("-q", "upload", *(core(pid) for pid in range(len(kinds)))).lines
    of = dict(zip(kinds, names, strict=True))
    flipped(dumps / of["corrupt"] / "core.0")
    aged(dumps / of["unreadable"] / "core.1").with_name("info.json").write_text("{")
    (dumps / of["orphan"] / "info.json").unlink()
    stored.index.delete(Identity(of["unindexed"]))
    stored.index.put(DumpInfo({"id": "0" * 32}))
    bare = json.loads((dumps / of["unrecorded"] / "info.json").read_text())
    del bare["size"], bare["sha256"]
    (dumps / of["unrecorded"] / "info.json").write_text(json.dumps(bare))
    stored.index.put(DumpInfo(bare))
    (dumps / of["stray"] / "core.copy").write_bytes((dumps / of["stray"] / "core.6").read_bytes())
    (dumps / "leftovers").mkdir()
    for path in dumps.rglob("*"):
        aged(path)
    stored.close()
    return of


def found(ran: Ran) -> set[tuple[str, str]]:
    """Of each line the place and the kind."""
    words = [line.split(" ", 2) for line in ran.lines]
    return {(place, kind.removesuffix(":")) for place, kind, _ in words}


def test_nothing_is_wrong(run: Run, core: Core) -> None:
    run("upload", *(core(pid) for pid in range(3)))
    ran = run("scrub")
    assert (ran.code, ran.out) == (0, "")
    size = sum(core(pid).stat().st_size for pid in range(3)) / 1024
    assert ran.said == [f"thoth: scrubbed 3 dumps, {size:.2f}KB: 0 problems"]
    assert run("-q", "scrub") == Ran(0, "", "")


def test_what_no_repair_mends_does_not_ask_for_one(run: Run, core: Core, dumps: Path) -> None:
    name = run("-q", "upload", core(1)).out.strip()
    flipped(dumps / name / "core.1")
    assert run("scrub", "--repair").code == 1
    ran = run("scrub")
    assert (ran.code, found(ran), len(ran.said)) == (1, {(name, "corrupt")}, 1)
    aged(dumps / name / "core.1").with_name("core.2").write_bytes(b"x")
    aged(dumps / name / "core.2")
    assert run("scrub").said[1:] == [HINT]


def test_a_line_for_each_thing_that_is_wrong(run: Run, troubled: dict[str, str]) -> None:
    expected = {(troubled[kind], kind) for kind in ("corrupt", "orphan", "unindexed", "unrecorded", "stray")} | {
        (troubled["unreadable"], "corrupt"),
        ("0" * 32, "ghost"),
        ("/thoth/stor/thoth/leftovers", "stray"),
    }
    ran = run("scrub")
    assert ran.code == 1
    assert found(ran) == expected
    assert len(ran.lines) == len(expected)
    assert ran.said[0].startswith("thoth: scrubbed 8 dumps, ")
    assert ran.said[0].endswith(": 7 problems, 1 unrecorded")
    assert ran.said[1:] == [HINT]
    told = [json.loads(line) for line in run("scrub", "--json").lines]
    assert {(each["id"] or each["name"], each["kind"]) for each in told} == expected
    assert {tuple(each) for each in told} == {("id", "name", "kind", "what", "repaired")}
    quickly = expected - {(troubled["corrupt"], "corrupt")}
    assert found(run("scrub", "--quick")) == quickly


def test_without_repair_nothing_is_written(run: Run, troubled: dict[str, str], place: Path) -> None:
    before = tree(place)
    for words in ((), ("--quick",), ("--json", troubled["orphan"]), ("type=core",)):
        assert run("scrub", *words).code == 1
        assert tree(place) == before


def test_repair_mends_what_costs_no_byte(run: Run, troubled: dict[str, str], dumps: Path) -> None:
    kept = {path: path.read_bytes() for path in dumps.rglob("core.?")}
    ran = run("scrub", "--repair")
    assert (ran.code, len(ran.lines)) == (1, 8)
    assert ran.said[-1].endswith(": 7 problems, 5 repaired, 1 recorded")
    assert sum(" (repaired: " in line for line in ran.lines) == 6
    assert {path: path.read_bytes() for path in dumps.rglob("core.?")} == kept
    again = run("scrub", "--repair")
    left = {(troubled["corrupt"], "corrupt"), (troubled["unreadable"], "corrupt")}
    assert (again.code, found(again)) == (1, left)
    assert again.said[-1].endswith(": 2 problems")
    listed = {(each := json.loads(line))["id"]: each for line in run("ls", "--json").lines}
    assert listed.keys() == {*troubled.values()}
    for name in listed.keys() - {troubled["unreadable"]}:
        assert listed[name] == json.loads((dumps / name / "info.json").read_text())


def test_what_is_lost_is_told(run: Run, core: Core, dumps: Path) -> None:
    name = run("-q", "upload", core(1)).out.strip()
    (dumps / name / "core.1").unlink()
    ran = run("scrub", "--repair", "--quick")
    advice = f"upload the dump again, or bring it back from a backup, as /thoth/stor/thoth/{name}/core.1"
    assert (ran.code, ran.lines) == (1, [f"{name} lost: core.1: is not in the store; {advice}"])


def test_what_unfinished_uploads_hold(run: Run, core: Core, place: Path) -> None:
    run("upload", core(1))
    draft = f".thoth-{'5e' * 16}-{'0' * 32}.draft"
    left = place / "store/.uploads" / draft
    left.write_bytes(b"x" * 5000)
    size = left.stat().st_blocks * 512
    what = f"an upload that ended early holds {size} bytes; the next one of the same dump may go on with it"
    ran = run("scrub")
    assert (ran.code, ran.lines) == (0, [f"/.uploads/{draft} unfinished: {what}"])
    assert ran.said[0].endswith(": 0 problems, 1 unfinished")
    assert len(ran.said) == 1
    (told,) = map(json.loads, run("scrub", "--json").lines)
    expected = {"id": None, "name": f"/.uploads/{draft}", "kind": "unfinished", "what": what, "repaired": False}
    assert told == expected
    assert "not repaired: it is new" in run("scrub", "--repair").out
    assert left.exists()
    aged(left)
    ran = run("scrub", "--repair")
    assert (ran.code, ran.lines) == (0, [f"/.uploads/{draft} unfinished: {what} (repaired: removed)"])
    assert ran.said[0].endswith(": 0 problems, 1 unfinished removed")
    assert not left.exists()
    assert run("scrub").out == ""


class TestWords:
    def test_only_the_dumps_that_are_named(self, run: Run, troubled: dict[str, str]) -> None:
        assert run("scrub", troubled["good"]).said[0].startswith("thoth: scrubbed 1 dump, ")
        ran = run("scrub", troubled["good"], troubled["corrupt"])
        assert (ran.code, found(ran)) == (1, {(troubled["corrupt"], "corrupt")})
        assert run("scrub", troubled["corrupt"][:12]).code == 1
        assert run("scrub", "pid=0").code == 1
        assert run("scrub", "pid=7").code == 0
        assert run("scrub", "cmd=nope").said == ["thoth: scrubbed 0 dumps, 0B: 0 problems"]

    @pytest.mark.parametrize("kind", ["unreadable", "orphan", "unindexed"])
    def test_a_dump_whose_document_is_what_is_wrong(self, run: Run, troubled: dict[str, str], kind: str) -> None:
        name = troubled[kind]
        assert found(run("scrub", name)) == {(name, "corrupt" if kind == "unreadable" else kind)}
        assert found(run("scrub", f"/thoth/stor/thoth/{name}")) == found(run("scrub", name))

    def test_a_ghost_by_its_name(self, run: Run, troubled: dict[str, str]) -> None:
        assert found(run("scrub", "0" * 32)) == {("0" * 32, "ghost")}

    def test_the_beginning_of_a_name_that_only_the_index_has(self, run: Run, troubled: dict[str, str]) -> None:
        for name in ("0" * 32, troubled["unreadable"]):
            assert [each for each, _ in found(run("scrub", name[:9]))] == [name]

    @pytest.mark.parametrize("word", ["f" * 32, "abc", "no-such-file"])
    def test_no_such_dump_is_2(self, run: Run, core: Core, word: str) -> None:
        run("upload", core(1))
        ran = run("scrub", word)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith("thoth: no such dump")

    def test_names_on_standard_input(self, run: Run, spawn: Run, troubled: dict[str, str]) -> None:
        names = f"{troubled['orphan']} {troubled['good']}\n".encode()
        ran = spawn("scrub", "dump=stdin", stdin=names)
        assert (ran.code, found(ran)) == (1, {(troubled["orphan"], "orphan")})
        assert "scrubbed 2 dumps" in ran.err
        assert spawn("scrub", "dump=stdin", stdin=b"").code == 1


def test_a_hostile_name_is_told_harmlessly(run: Run, core: Core, dumps: Path) -> None:
    name = run("-q", "upload", core(1)).out.strip()
    for hostile in (b"\x1b[2J\n\xff", "a corrupt: \u202e".encode()):
        path = Path(os.fsdecode(os.fsencode(dumps / name) + b"/" + hostile))
        path.write_bytes(b"")
    for path in (dumps / name).iterdir():
        aged(path)
    ran = run("scrub")  # which sees to it that nothing but printable characters comes
    assert (ran.code, len(ran.lines)) == (1, 2)
    assert any("\\x1b[2J\\n\\xff: an object of 0 bytes" in line for line in ran.lines)
    assert all(json.loads(line)["kind"] == "stray" for line in run("scrub", "--json").lines)


def test_a_store_that_is_not_mounted_has_no_ghosts(run: Run, core: Core, place: Path) -> None:
    run("upload", core(1))
    (place / "store").rename(place / "not-mounted")
    ran = run("scrub", "--repair")
    assert (ran.code, ran.out, len(ran.said)) == (1, "", 1)
    assert "no such directory" in ran.err
    (place / "store").mkdir(mode=0o700)
    ran = run("scrub", "--repair")
    assert (ran.code, ran.out, len(ran.said)) == (1, "", 1)
    assert "has no dump, and the index " in ran.err
    (place / "store").rmdir()
    (place / "not-mounted").rename(place / "store")
    assert run("scrub").said[0].endswith(CLEAN)


def test_F35_a_damaged_index_is_one_line(run: Run, core: Core, place: Path) -> None:
    run("upload", core(1))
    (place / "thoth.db").write_bytes(b"\xff" * 8192)
    for words in ((), ("--repair",)):
        ran = run("scrub", *words)
        assert (ran.code, ran.out, len(ran.said)) == (1, "", 1)
        assert "move it away and run 'thoth index'" in ran.err


def test_an_index_that_is_not_there_is_not_made_by_looking(run: Run, core: Core, place: Path) -> None:
    name = run("-q", "upload", core(1)).out.strip()
    (place / "thoth.db").unlink()
    aged(place / f"store/thoth/stor/thoth/{name}/info.json")
    aged(place / f"store/thoth/stor/thoth/{name}/core.1")
    assert found(run("scrub")) == {(name, "unindexed")}
    assert not (place / "thoth.db").exists()
    assert run("scrub", "--repair").code == 0
    assert run("info", name[:8]).code == 0


def test_a_terminal_shows_a_bar_and_the_findings_below_it(
    troubled: dict[str, str], on_terminal: Callable[..., tuple[int, bytes]]
) -> None:
    code, seen = on_terminal("scrub")
    assert code == 1
    bar = seen.rindex(b"thoth: scrubbing     [=======================>] 100%        8")
    assert bar < seen.index(troubled["corrupt"].encode() + b" corrupt: ")
    assert b"7 problems, 1 unrecorded\r\n" in seen
    quiet = on_terminal("-q", "scrub", troubled["corrupt"])[1]
    assert quiet.startswith(troubled["corrupt"].encode() + b" corrupt: core.0: has SHA-256 ")


def test_help_teaches(run: Run) -> None:
    ran = run("scrub", "--help")
    assert (ran.code, ran.err) == (0, "")
    assert "unrecorded   a document without size or SHA-256" in ran.out
    assert "thoth scrub --repair mtime=7d" in ran.out
