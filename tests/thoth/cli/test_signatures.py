"""``thoth top``, ``similar``, ``signature`` and ``ticket --signature``."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import vectors
from tests.support.elfwriter import vmdump
from tests.support.processes import wait_until
from tests.thoth.cli.conftest import COMMAND, Ran, Run
from thoth.edit import stored_form
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity, Json
from thoth.query import Query
from thoth.signatures.rules import current_rules
from thoth.store.names import info_name

Kept = Callable[..., Identity]


@pytest.fixture
def kept(stored: Thoth) -> Kept:
    """``kept(7, "a", "b", ticket="OS-1")`` stores and indexes the document of a dump with this stack."""

    def kept(number: int, *frames: str, **more: Json) -> Identity:
        identity = Identity(f"{number:032x}")
        stack = {"stack": [f"{frame}+0x1()" for frame in frames]} if frames else {}
        name = f"/thoth/stor/thoth/{identity}"
        document = {"id": identity, "name": name, "type": "core", "cmd": "bc", "node": "n", "time": number}
        info = DumpInfo({**document, **stack, **more})
        stored.store.put(info_name("thoth", identity), stored_form(info))
        stored.index.put(info)
        return identity

    return kept


@pytest.fixture
def some(kept: Kept) -> list[Identity]:
    """Dumps of two signatures, and one without."""
    told: list[tuple[str, dict[str, Json]]] = [
        ("bc: a | b", {"node": "n1", "platform": "p1", "ticket": "OS-1"}),
        ("bc: a | b", {"node": "n2", "platform": "p2"}),
        ("bc: a | b", {"node": "n1", "platform": "p2"}),
        ("bc: a | c", {"ticket": "OS-2"}),
    ]
    dumps = [
        kept(86400 * number, *signature[4:].split(" | "), signature=signature, signature_rules=1, **more)
        for number, (signature, more) in enumerate(told, start=1)
    ]
    return [*dumps, kept(86400 * 5)]


REST = "thoth: 1 of 5 dumps has no signature; 'thoth signature --recompute' finds those of older dumps\n"


class TestTop:
    def test_a_table(self, run: Run, some: list[Identity]) -> None:
        assert run("top") == Ran(
            0,
            "DUMPS            FIRST               LAST                NODES VERSIONS TICKET SIGNATURE\n"
            "    3 ########## 1970-01-02T00:00:00 1970-01-04T00:00:00     2        2 OS-1   bc: a | b\n"
            "    1 ###        1970-01-05T00:00:00 1970-01-05T00:00:00     1        - OS-2   bc: a | c\n",
            REST,
        )

    def test_json(self, run: Run, some: list[Identity]) -> None:
        ran = run("-q", "top", "--json", "--limit", "1")
        told = json.loads(ran.out)
        assert (ran.code, ran.err, len(ran.lines)) == (0, "", 1)
        assert told.pop("top") == [
            {
                "signature": "bc: a | b",
                "dumps": 3,
                "first": 86400.0,
                "last": 259200.0,
                "nodes": {"n1": 2, "n2": 1},
                "versions": {"p1": 1, "p2": 2},
                "tickets": {"OS-1": 1},
            }
        ]
        assert told == {"version": 1, "dumps": 5, "unsigned": 1, "signatures": 2}

    def test_what_no_dump_tells(self, run: Run, kept: Kept) -> None:
        kept(1, "a", signature="a", node=None)
        assert run("top").lines[1].split()[-4:] == ["-", "-", "-", "a"]
        (told,) = json.loads(run("top", "--json").out)["top"]
        assert (told["nodes"], told["versions"]) == ({}, {})

    def test_a_specification(self, run: Run, some: list[Identity]) -> None:
        assert [line.split()[0] for line in run("top", "ticket=undefined").lines[1:]] == ["2"]
        assert [line.split()[0] for line in run("top", "signature=*c").lines[1:]] == ["1"]
        assert [line.split()[0] for line in run("top", some[0], some[3]).lines[1:]] == ["1", "1"]
        assert run("top", "cmd=x") == Ran(0, "", "thoth: no dump matches\n")
        assert run("top", "platform").code == 1

    def test_the_limit_is_told(self, run: Run, some: list[Identity]) -> None:
        ran = run("top", "--limit", "1")
        assert len(ran.lines) == 2
        assert ran.err == "thoth: 1 signature more; --limit shows them\n" + REST
        for bad in ("0", "x", "1.5", "99999999"):
            assert f"top: argument --limit: '{bad}' is not a whole number from 1 to" in run("top", "--limit", bad).err

    @pytest.mark.parametrize("command", ["similar", "signature", "debug"])
    def test_a_specification_is_not_one_dump(self, run: Run, command: str) -> None:
        assert run(command, "cmd=ab") == Ran(
            1,
            "",
            "thoth: takes one dump, not a specification: cmd=ab; 'thoth ls' shows which there are\n",
        )

    def test_several_tickets(self, run: Run, kept: Kept) -> None:
        for number, ticket in enumerate(["B", "B", "A"]):
            kept(number, "a", signature="a", ticket=ticket)
        assert run("top").lines[1].split()[-3:] == ["B", "+1", "a"]

    def test_nothing_there(self, run: Run) -> None:
        assert run("top") == Ran(0, "", "thoth: no dump matches\n")
        assert json.loads(run("-q", "top", "--json").out)["top"] == []


class TestSimilar:
    def test_the_same_first_and_the_newest(self, run: Run, some: list[Identity]) -> None:
        ran = run("similar", some[0])
        assert (ran.code, ran.err) == (0, "")
        assert ran.lines == [
            "SCORE NAME             TIME                NODE/CMD TICKET WHY",
            "  100 0000000000000000 1970-01-04T00:00:00 bc       -      the same signature",
            "  100 0000000000000000 1970-01-03T00:00:00 bc       -      the same signature",
            "   66 0000000000000000 1970-01-05T00:00:00 bc       OS-2   a; 1 dump of bc: a | c",
        ]

    def test_json_and_limit(self, run: Run, some: list[Identity]) -> None:
        told = [json.loads(line) for line in run("similar", "--json", "--limit", "1", some[3]).lines]
        assert told == [
            {
                "score": 66,
                "common": ["a"],
                "dumps": 3,
                "signature": "bc: a | b",
                "id": some[2],
                "time": 259200,
                "node": "n1",
                "cmd": "bc",
                "ticket": None,
            }
        ]

    def test_a_document_without_a_signature_has_that_of_its_stack(
        self, run: Run, some: list[Identity], kept: Kept
    ) -> None:
        assert len(run("similar", kept(9, "a", "b")).lines) == 5

    def test_none(self, run: Run, some: list[Identity], kept: Kept) -> None:
        ran = run("similar", some[4])
        assert ran == Ran(1, "", f"thoth: {some[4]}: has no signature, since nothing tells of its stack\n")
        assert run("similar", kept(9, "z", signature="bc: z")) == Ran(0, "", "thoth: no other dump is like it\n")
        assert run("similar", "abc").code == 2


class TestSignature:
    def test_it_is_shown(self, run: Run, some: list[Identity]) -> None:
        assert run("signature", some[0]) == Ran(0, "bc: a | b\n", "")
        assert run("signature", some[4]) == Ran(0, "-\n", "thoth: nothing tells of its stack\n")

    def test_it_is_explained(self, run: Run, kept: Kept) -> None:
        name = kept(1, "libc.so.1`strlen", "libc.so.1`_ndoprnt", "a", "main", signature="old", signature_rules=1)
        ran = run("signature", "--explain", name)
        assert [line.split(None, 3) for line in ran.lines] == [
            ["FRAME", "NAME", "VERDICT", "WHY"],
            ["libc.so.1`strlen+0x1()", "strlen", "joined", "called with what it cannot work on"],
            ["libc.so.1`_ndoprnt+0x1()", "_ndoprnt", "skipped", "inside the C library"],
            ["a+0x1()", "a", "kept"],
            ["main+0x1()", "main", "skipped", "the beginning of every program"],
            ["bc:", "strlen", "|", "a"],
        ]
        assert ran.said == [f"thoth: its document has old; 'thoth signature --recompute --write {name}' changes that"]

    def test_json(self, run: Run, kept: Kept) -> None:
        name = kept(1, "vpanic", "b", type="crash", panicstring="deadman: cpu 7", signature=None)
        assert json.loads(run("signature", "--json", name).out) == {
            "version": 1,
            "id": name,
            "signature": "panic: deadman: cpu N | b",
            "recorded": None,
            "rules": current_rules().version,
            "program": "",
            "panic": "deadman: cpu N",
            "frames": [
                {"frame": "vpanic+0x1()", "name": "vpanic", "verdict": "skipped", "why": "a panic"},
                {"frame": "b+0x1()", "name": "b", "verdict": "kept", "why": ""},
            ],
        }
        assert run("signature", "--explain", name).lines[1].split()[:2] == ["panic", "string"]

    def test_hostile_names_are_shown_harmless(self, run: Run, kept: Kept) -> None:
        name = kept(1, "a\x1b[31m\n\u202e\udcff", "x" * 5000, cmd="\x07\u2028", signature="\x1b[0m", ticket="\x9b")
        for words in (["signature", name], ["signature", "--explain", name], ["top"], ["similar", name]):
            assert run(*words).code == 0  # the fixture looks for what a terminal acts on
        kept(2, "a\x1b[31m\n\u202e\udcff", signature="\x1b[1m: a?[31m ??")
        assert run("similar", name).code == 0

    @pytest.mark.parametrize(
        "words",
        [[], ["a", "b"], ["--write", "a"], ["--recompute", "--explain"], ["--recompute", "zz"], ["zz"]],
        ids=" ".join,
    )
    def test_what_cannot_be_meant(self, run: Run, words: list[str]) -> None:
        ran = run("signature", *words)
        assert ran.code != 0
        assert len(ran.said) == 1


class TestRecompute:
    def test_it_tells_first_and_then_does_it(self, run: Run, kept: Kept, stored: Thoth) -> None:
        for number, frames, old in ((1, "ab", "x"), (2, "ab", "y"), (3, "ac", "x"), (4, "d", None), (5, "", "z")):
            kept(number, *frames, **({"signature": old} if old else {}))
        ran = run("signature", "--recompute")
        assert ran.out == (
            "merged: 2 dumps get bc: a | b\n"
            "         1 had x\n"
            "         1 had y\n"
            "split: 2 dumps had x\n"
            "         1 get bc: a | b\n"
            "         1 get bc: a | c\n"
        )
        assert ran.said == [
            "thoth: of 5 dumps 1 get their first signature, 1 lose theirs, 3 get another one; 5 documents change",
            "thoth: nothing was written: --write does it",
        ]
        assert "bc: a" not in run("report", "signature").out
        told = json.loads(run("-q", "signature", "--recompute", "--write", "--json").out)
        counts = {key: value for key, value in told.items() if isinstance(value, int)}
        assert counts == {
            "version": 1, "rules": current_rules().version, "dumps": 5, "signed": 1, "unsigned": 1, "renamed": 3,
            "stale": 5, "written": True, "failed": 0,
        }  # fmt: skip
        assert told["merged"] == [{"signature": "bc: a | b", "from": {"x": 1, "y": 1}}]
        assert told["split"] == [{"signature": "x", "into": {"bc: a | b": 1, "bc: a | c": 1}}]
        assert json.loads(run("report", "signature").out) == {
            "bc: a | b": 2, "bc: a | c": 1, "bc: d": 1, "undefined": 1,
        }  # fmt: skip
        for info in stored.index.find(Query()):
            found = stored.stored_info(info.id)
            assert found is not None
            assert found[0] == info
            assert info.revision == 1
        ran = run("signature", "--recompute", "--write")
        assert (ran.out, ran.code) == ("", 0)
        assert ran.said[-1].endswith("; 0 documents change")

    def test_to_tell_writes_nothing(self, run: Run, kept: Kept, stored: Thoth) -> None:
        kept(1, "a")
        stored.close()  # the last one to close the index puts its log into it
        home = Path(os.environ["HOME"])
        before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
        assert run("signature", "--recompute").said[-1] == "thoth: nothing was written: --write does it"
        assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before

    def test_F30_killed_anywhere_the_next_run_completes_it(
        self, run: Run, kept: Kept, stored: Thoth, child_environment: dict[str, str]
    ) -> None:
        count = 150
        for number in range(count):
            kept(number, f"f{number % 5}")
        for wait in (0.0, 0.2):
            with subprocess.Popen(
                [*COMMAND, "signature", "--recompute", "--write"], env=child_environment, stderr=subprocess.DEVNULL
            ) as process:
                assert wait_until(lambda: signed_in_store(stored) > 0, 30)
                time.sleep(wait)
                process.kill()
        assert run("signature", "--recompute", "--write").code == 0
        assert signed_in_store(stored) == count
        for info in stored.index.find(Query()):
            found = stored.stored_info(info.id)
            assert found is not None
            assert (found[0], info.revision) == (info, 1)

    def test_some_of_them(self, run: Run, kept: Kept) -> None:
        one, other = kept(1, "a"), kept(2, "b")
        assert run("signature", "--recompute", "--write", one).code == 0
        assert run("report", "signature", "signature=*").out == '{\n  "bc: a": 1\n}\n'
        assert run("signature", "--recompute", "--write", "signature=undefined").code == 0
        assert run("signature", other).out == "bc: b\n"

    def test_one_that_is_lost_is_told(self, run: Run, kept: Kept, stored: Thoth) -> None:
        name = kept(1, "a")
        kept(2, "b")
        stored.store.delete(info_name("thoth", name))
        ran = run("signature", "--recompute", "--write")
        assert ran.code == 1
        assert f"thoth: {name}: no such dump: {name}" in ran.said or f"thoth: no such dump: {name}" in ran.said
        assert ran.said[-1] == "thoth: 1 dump could not be changed; run it again"
        assert run("report", "signature", "signature=*").out == '{\n  "bc: b": 1\n}\n'

    def test_loading_an_older_programs_dump_signs_it(self, run: Run, kept: Kept, stored: Thoth) -> None:
        name = kept(1, "a")
        stored.index.delete(name)
        assert run("load", name) == Ran(0, "", "thoth: indexed 1 dump\n")
        assert json.loads(run("info", name).out)["signature"] == "bc: a"
        assert run("top").lines[1].endswith("bc: a")


def signed_in_store(stored: Thoth) -> int:
    """How many documents in the store have a signature."""
    infos = (stored.stored_info(info.id) for info in stored.index.find(Query()))
    return sum("signature" in found[0].document for found in infos if found)


class TestTicket:
    def test_the_rest_of_its_signature_is_offered(self, run: Run, some: list[Identity]) -> None:
        ran = run("ticket", some[0], "OS-9")
        assert ran.said == [
            "thoth: set ticket OS-9 on 1 dump",
            "thoth: 2 dumps more crashed in the same way and have no ticket:"
            f" 'thoth ticket --signature {some[0][:16]} OS-9' ties them too",
        ]
        assert run("ticket", some[3], "OS-9").said == ["thoth: set ticket OS-9 on 1 dump"]
        assert run("ticket", some[4], "OS-9").said == ["thoth: set ticket OS-9 on 1 dump"]

    def test_all_of_its_signature(self, run: Run, some: list[Identity], kept: Kept) -> None:
        kept(9, "a", "b", signature="bc: a | b", ticket="OS-7")
        assert run("ticket", "-n", "--signature", some[1], "OS-9").lines == [some[1], some[2]]
        ran = run("ticket", "--signature", some[1], "OS-9")
        assert ran == Ran(
            0,
            "",
            "thoth: 2 dumps of the same signature stay with another ticket: OS-1, OS-7\n"
            "thoth: set ticket OS-9 on 2 dumps\n",
        )
        assert [line[:16] for line in run("ls", "ticket=OS-9").lines[1:]] == [some[1][:16], some[2][:16]]

    def test_one_that_stays(self, run: Run, some: list[Identity]) -> None:
        said = run("ticket", "--signature", some[1], "OS-9").said
        assert said[0] == "thoth: 1 dump of the same signature stays with another ticket: OS-1"

    def test_a_dump_that_is_named_gets_it_whatever_it_had(self, run: Run, some: list[Identity]) -> None:
        assert run("ticket", "--signature", some[0], "OS-9").err == "thoth: set ticket OS-9 on 3 dumps\n"
        assert run("-q", "ticket", "--signature", some[4], "OS-9").code == 0
        assert json.loads(run("report", "ticket").out) == {"OS-2": 1, "OS-9": 4}

    def test_one_without_a_signature(self, run: Run, some: list[Identity]) -> None:
        assert run("ticket", "--signature", some[4], "OS-9").said == [
            "thoth: they have no signature; 'thoth signature --recompute' finds those of older dumps",
            "thoth: set ticket OS-9 on 1 dump",
        ]


class TestArrival:
    """What is uploaded has its signature in store and index at once."""

    def test_a_core(self, run: Run, tmp_path: Path) -> None:
        for name in ("illumos-psargs-00.core.78571", "illumos-core64-utf8node.core.16700"):
            assert run("upload", vectors.write(name, tmp_path)).code == 0
        ran = run("-q", "top")
        assert [line.split("- ")[1].strip() for line in ran.lines[1:]] == [
            "node: memcpy | v8::internal::Runtime | node::Start",
            "node: v8::internal::Runtime | node::Start",
        ]
        assert len(run("ls", "signature=*v8::internal::Runtime*").lines) == 3
        name = run("ls", "signature=node: v8*").lines[1].split()[0]
        assert run("similar", name).lines[1].split()[0] == "70"
        assert run("set", name, "signature", "x").code == 1

    def test_a_crash_dump(self, run: Run, tmp_path: Path) -> None:
        for number, panic in enumerate(["deadman: cpu 3", "deadman: cpu 4", "BAD TRAP: type=e"]):
            path = tmp_path / f"vmdump.{number}"
            path.write_bytes(vmdump(panic=panic, time=number + 1))
            assert run("-q", "upload", path).code == 0
        assert json.loads(run("report", "signature").out) == {"undefined": 1, "panic: deadman: cpu N": 2}
