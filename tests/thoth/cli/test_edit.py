"""``thoth set``, ``unset``, ``ticket`` and ``unticket``."""

from __future__ import annotations

import io
import json
import os
import pty
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.thoth.cli.conftest import COMMAND, Core, Ran, Run, Uploaded, until_hangup
from thoth.edit import revise
from thoth.library import Thoth
from thoth.model import Identity
from thoth.store.base import MAX_SMALL

Feed = Callable[[bytes], None]


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> Feed:
    """``feed(b"...")`` is what the next command of this process has on its standard input."""
    return lambda data: monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.fixture
def document(run: Run) -> Callable[[str], Any]:
    return lambda name: json.loads(run("info", name).out)


def tree(place: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in place.rglob("*")}


class TestSet:
    @pytest.mark.parametrize(
        ("given", "value"),
        [("bmc", "bmc"), ("17", 17), ("true", True), ('{"a": [1, 2.5]}', {"a": [1, 2.5]}), ("NaN", "NaN"), ("", "")],
    )
    def test_a_value_is_json_or_text(
        self, run: Run, uploaded: Uploaded, document: Callable[[str], Any], given: str, value: object
    ) -> None:
        name = uploaded(1)
        assert run("set", name, "triage", given) == Ran(0, "", "thoth: set 'triage' on 1 dump\n")
        assert document(name)["properties"] == {"triage": value}
        assert document(name)["revision"] == 1

    def test_whatever_names_a_dump(self, run: Run, core: Core, document: Callable[[str], Any]) -> None:
        path = core(1, "core.a=b")
        name = run("-q", "upload", path).out.strip()
        words = [name, name[:16], name[:6].upper(), f"/thoth/stor/thoth/{name}", str(path), f"name={name}", "pid=1"]
        for n, each in enumerate(words):
            assert run("set", each, f"by.{n}", n).code == 0
        assert document(name)["properties"] == {"by": {str(n): n for n in range(len(words))}}

    def test_what_is_behind_the_property_is_the_value_whatever_it_looks_like(
        self, run: Run, uploaded: Uploaded, document: Callable[[str], Any]
    ) -> None:
        name = uploaded(1, cmd="bc")
        for n, value in enumerate(["a=b", "limit=1", name, "dump=stdin", "undefined"]):
            assert run("set", "cmd=bc", "type=core", f"p{n}", value).code == 0
            assert document(name)["properties"][f"p{n}"] == value
        assert run("set", name, "dash", "--", "-v").code == 0
        assert run("set", name, "less", "-1").code == 0
        assert (document(name)["properties"]["dash"], document(name)["properties"]["less"]) == ("-v", -1)

    def test_many_dumps(self, run: Run, uploaded: Uploaded) -> None:
        for pid in range(14):
            uploaded(pid, cmd="bc" if pid else "dc")
        assert run("set", "pid=3", "triage", "bmc").said == ["thoth: set 'triage' on 1 dump"]
        said = "thoth: set 'triage' on 12 dumps; 1 had that value already\n"
        assert run("set", "cmd=b*", "triage", "bmc") == Ran(0, "", said)
        assert len(json.loads(run("info", "properties.triage=bmc").out)) == 13
        assert run("set", "cmd=bc", "limit=2", "triage", "jcl").said == ["thoth: set 'triage' on 2 dumps"]
        assert run("-q", "set", "cmd=bc", "triage", "bmc") == Ran(0, "", "")

    def test_no_dump_matches(self, run: Run, uploaded: Uploaded) -> None:
        assert run("set", "cmd=nope", "triage", "bmc") == Ran(0, "", "thoth: no dump matches\n")
        uploaded(1)
        assert run("set", "cmd=nope", "triage") == Ran(0, "", "thoth: no dump matches\n")
        assert run("set", "--json", "cmd=nope", "triage", "bmc").out == ""

    def test_a_name_that_no_dump_has_is_2(self, run: Run, uploaded: Uploaded) -> None:
        uploaded(1)
        for word in ("0" * 32, "0123abcd"):
            assert run("set", word, "triage", "bmc") == Ran(2, "", f"thoth: no such dump: {word}\n")
        assert run("set", "./nope", "triage", "bmc").err == "thoth: no such dump or file: ./nope\n"

    def test_a_beginning_of_several_changes_none(self, run: Run, uploaded: Uploaded) -> None:
        names = [uploaded(pid) for pid in range(17)]
        several = next(name[0] for name in names if sum(other[0] == name[0] for other in names) > 1)
        ran = run("set", several, "triage", "bmc")
        assert (ran.code, ran.out, len(ran.said)) == (1, "", 1)
        assert f"{several} is the beginning of several dumps: " in ran.err
        assert json.loads(run("info", "properties.triage=bmc").out) == []

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["name", "/x"], "'name' is set by Thoth itself; choose another name"),
            (["stack.top", "x"], "'stack.top' is set by Thoth itself; choose another name"),
            (["ticket", "OS-1"], "'ticket' is not a user property; 'thoth ticket' and 'thoth unticket' change it"),
            (["a..b", "x"], "'a..b': not a property: a part of the name is empty"),
            (["x" * 2000, "x"], "a property has at most 32 parts and 1024 characters"),
            (["a\x1b[2J..", "x"], r"'a\x1b[2J..': not a property"),
            (["triage", "a", "b"], "set: b: one dump or specification, one property and one value"),
            (["triage", "[" * 500 + "]" * 500], "the value is nested too deep"),
        ],
    )
    def test_F24_what_cannot_be_set(
        self, run: Run, uploaded: Uploaded, document: Callable[[str], Any], words: list[str], said: str
    ) -> None:
        name = uploaded(1)
        ran = run("set", name, *words)
        assert (ran.code, ran.out, len(ran.said)) == (1, "", 1)
        assert said in ran.err
        assert (document(name)["revision"], document(name)["properties"]) == (0, {})

    @pytest.mark.parametrize("words", [["abc"], ["cmd=bc"], ["cmd=bc", "triage=bmc"]])
    def test_a_property_is_needed(self, run: Run, words: list[str]) -> None:
        said = "thoth: set: name a dump or a specification, then a property; see 'thoth set --help'\n"
        assert run("set", *words) == Ran(1, "", said)

    def test_a_value_inside_of_what_is_no_object(self, run: Run, uploaded: Uploaded) -> None:
        names = [uploaded(pid, cmd="bc") for pid in (1, 2)]
        run("set", names[0], "triage", "bmc")
        ran = run("set", "cmd=bc", "triage.engineer", "bmc")
        assert (ran.code, ran.out) == (1, "")
        assert ran.said == [
            f"thoth: {names[0]}: property 'triage' is no object, so nothing fits into it; unset it first",
            "thoth: set 'triage.engineer' on 1 dump; 1 failed",
        ]


class TestStandardInput:
    def test_json_of_any_shape(
        self, run: Run, uploaded: Uploaded, feed: Feed, document: Callable[[str], Any]
    ) -> None:
        name = uploaded(1)
        for value in ({"category": "SMF", "engineer": "bmc"}, [1, None], "text", 17):
            feed(json.dumps(value, indent=4).encode() + b"\n")
            assert run("set", name, "triage") == Ran(0, "", "thoth: set 'triage' on 1 dump\n")
            assert document(name)["properties"] == {"triage": value}

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (b"", "thoth: standard input is empty; JSON for 'triage' is read from it\n"),
            (b" \n\t\n", "thoth: standard input is empty; JSON for 'triage' is read from it\n"),
            (b"bmc", "thoth: standard input is not JSON: Expecting value: line 1 column 1 (char 0)\n"),
            (b'{"a": 1', "thoth: standard input is not JSON: Expecting ',' delimiter: line 1 column 8 (char 7)\n"),
            (b"[NaN]", "thoth: standard input is not JSON: NaN is no number of JSON\n"),
        ],
    )
    def test_F38_what_is_no_json_changes_nothing(
        self, run: Run, uploaded: Uploaded, feed: Feed, data: bytes, said: str
    ) -> None:
        name = uploaded(1)
        run("set", name, "triage", "kept")
        before = run("info", name)
        feed(data)
        assert run("set", name, "triage") == Ran(1, "", said)
        assert run("info", name) == before

    def test_F37_more_than_a_document_holds(self, run: Run, uploaded: Uploaded, feed: Feed) -> None:
        name = uploaded(1)
        before = run("info", name)
        feed(b'"%s"' % (b"x" * (MAX_SMALL - 2)))
        assert f"{name}: the document would be over 64 MiB" in run("set", name, "triage").err
        feed(b'"%s"' % (b"x" * (MAX_SMALL - 1)))
        said = "thoth: standard input has over 67108864 bytes, which is too much for JSON for 'triage'\n"
        assert run("set", name, "triage") == Ran(1, "", said)
        assert run("info", name) == before
        assert f"may have {MAX_SMALL >> 20} MiB" in run("set", "--help").out

    def test_F38_names_and_the_value_do_not_both_fit(self, run: Run, feed: Feed) -> None:
        said = "thoth: set: dump=stdin and the value: standard input can be read once; give VALUE as a word\n"
        assert run("set", "dump=stdin", "triage") == Ran(1, "", said)

    def test_a_terminal_is_told_what_is_awaited(
        self, uploaded: Uploaded, child_environment: dict[str, str], document: Callable[[str], Any]
    ) -> None:
        name = uploaded(1)
        ours, theirs = pty.openpty()
        try:
            os.write(ours, b'{"engineer":\n"bmc"}\n\x04')
            process = subprocess.Popen(
                [*COMMAND, "set", name, "triage"], stdin=theirs, stdout=theirs, stderr=theirs, env=child_environment
            )
            os.close(theirs)
            seen = b"".join(until_hangup(ours))
        finally:
            os.close(ours)
        assert process.wait(30) == 0
        assert b"thoth: type the value of 'triage' as JSON; Ctrl-D on a line of its own ends it" in seen
        assert document(name)["properties"] == {"triage": {"engineer": "bmc"}}


class TestUnset:
    def test_it_is_gone_and_undefined_finds_it(
        self, run: Run, uploaded: Uploaded, document: Callable[[str], Any]
    ) -> None:
        name, other = uploaded(1), uploaded(2)
        for each in (name, other):
            run("set", each, "triage", '{"engineer": "bmc", "state": 1}')
        assert run("unset", name, "triage.state") == Ran(0, "", "thoth: unset 'triage.state' on 1 dump\n")
        assert document(name)["properties"] == {"triage": {"engineer": "bmc"}}
        assert run("unset", name, "properties.triage").code == 0
        assert [each["id"] for each in json.loads(run("info", "properties.triage=undefined").out)] == [name]
        said = "thoth: unset 'triage' on 1 dump; 1 did not have it\n"
        assert run("unset", "type=core", "triage") == Ran(0, "", said)
        assert document(name)["revision"] == 3

    def test_several_dumps_and_usage(self, run: Run, uploaded: Uploaded) -> None:
        names = [uploaded(pid) for pid in (1, 2)]
        run("set", "type=core", "triage", "x")
        assert run("unset", *names, "triage").said == ["thoth: unset 'triage' on 2 dumps"]
        assert run("unset", names[0]).err == (
            "thoth: unset: name a dump or a specification, then a property; see 'thoth unset --help'\n"
        )
        assert run("unset", names[0], "time").code == 1
        assert run("unset", names[0], "a=b").code == 1
        assert run("unset", "cmd=nope", "triage") == Ran(0, "", "thoth: no dump matches\n")


class TestTicket:
    def test_there_and_back(self, run: Run, uploaded: Uploaded, document: Callable[[str], Any]) -> None:
        name, other = uploaded(1, cmd="svc.startd"), uploaded(2)
        assert run("ticket", "cmd=svc.startd", "OS-2359") == Ran(0, "", "thoth: set ticket OS-2359 on 1 dump\n")
        assert document(name)["ticket"] == "OS-2359"
        assert run("ls", "ticket=OS-2359").lines[1].endswith(" OS-2359")
        assert run("ticket", name, other, "OS-2359").said == ["thoth: set ticket OS-2359 on 1 dump; 1 had it already"]
        assert run("unticket", "ticket=OS-2359") == Ran(0, "", "thoth: removed the ticket of 2 dumps\n")
        assert "ticket" not in document(name)
        assert run("unticket", name).said == ["thoth: removed the ticket of 0 dumps; 1 had none"]

    @pytest.mark.parametrize("ticket", ["OS=1", "", "OS 1", "\x1b[31m", "x" * 300])
    def test_what_is_no_ticket(
        self, run: Run, uploaded: Uploaded, document: Callable[[str], Any], ticket: str
    ) -> None:
        name = uploaded(1)
        for dump in (name, "type=core"):
            ran = run("ticket", dump, ticket)
            assert (ran.code, ran.out, len(ran.said)) == (1, "", 1)
            assert "is not a ticket" in ran.err
        assert "ticket" not in document(name)

    def test_a_ticket_is_needed(self, run: Run) -> None:
        said = "thoth: ticket: name a dump or a specification, then a ticket; see 'thoth ticket --help'\n"
        assert run("ticket", "abc") == Ran(1, "", said)

    def test_a_purged_dump_keeps_taking_notes(
        self, run: Run, uploaded: Uploaded, stored: Thoth, document: Callable[[str], Any]
    ) -> None:
        name = uploaded(1)
        stored.store.delete(document(name)["dump"])
        revise(stored, Identity(name), lambda info: info.changed(purged=1_700_000_000))
        assert run("ticket", name, "OS-1").code == 0
        assert run("set", name, "triage", "bmc").code == 0
        found = document(name)
        assert (found["ticket"], found["properties"], found["purged"]) == ("OS-1", {"triage": "bmc"}, 1_700_000_000)


COMMANDS = [
    ["set", "cmd=bc", "triage", "bmc"],
    ["unset", "cmd=bc", "old"],
    ["ticket", "cmd=bc", "OS-1"],
    ["unticket", "cmd=bc"],
]


class TestAllOfThem:
    @pytest.fixture
    def names(self, run: Run, uploaded: Uploaded) -> list[str]:
        """Three dumps of one command, of which the second is as each command wants it."""
        names = [uploaded(pid, cmd="bc") for pid in (1, 2, 3)]
        run("set", names[1], "triage", "bmc")
        for each in (names[0], names[2]):
            run("set", each, "old", "x")
        return names

    def as_wanted(self, run: Run, names: list[str], command: list[str]) -> None:
        if command[0] == "ticket":
            run("ticket", names[1], "OS-1")
        elif command[0] == "unticket":
            run("ticket", names[0], names[2], "OS-7")

    @pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
    def test_a_dry_run_prints_what_would_change_and_writes_nothing(
        self, run: Run, names: list[str], command: list[str]
    ) -> None:
        self.as_wanted(run, names, command)
        home = Path(os.environ["HOME"])
        before = tree(home)
        ran = run(*command, "--dry-run")
        assert (ran.code, ran.lines) == (0, [names[0], names[2]])
        assert ran.err.startswith("thoth: would ")
        assert " 2 dumps; 1 " in ran.err
        assert run("-q", command[0], "-n", *command[1:]).lines == ran.lines
        assert {path: data for path, data in tree(home).items() if path.suffix not in (".db-shm", ".db-wal")} == {
            path: data for path, data in before.items() if path.suffix not in (".db-shm", ".db-wal")
        }
        assert run(*command).said[0].endswith("; " + ran.said[0].partition("; ")[2])
        assert run(*command, "--dry-run").out == ""

    @pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
    def test_json_lines(self, run: Run, names: list[str], command: list[str]) -> None:
        self.as_wanted(run, names, command)
        expected = [{"id": name, "changed": name != names[1], "reason": None} for name in names]
        for options in (["-n", "--json"], ["--json"]):
            assert [json.loads(line) for line in run("-q", *command, *options).lines] == expected
        assert not any(json.loads(line)["changed"] for line in run(*command, "--json").lines)

    @pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
    def test_one_that_vanished_is_told_and_the_others_go_on(
        self, run: Run, names: list[str], command: list[str], stored: Thoth
    ) -> None:
        self.as_wanted(run, names, command)
        stored.store.delete(f"/thoth/stor/thoth/{names[0]}/info.json")
        planned = run(*command, "-n", "--json")
        ran = run(*command, "--json")
        assert (planned.code, planned.out, ran.code) == (1, ran.out, 1)
        failed = {"id": names[0], "changed": False, "reason": f"no such dump: {names[0]}"}
        assert json.loads(ran.lines[0]) == failed
        assert [json.loads(line)["changed"] for line in ran.lines] == [False, False, True]
        assert ran.said[0] == f"thoth: no such dump: {names[0]}"
        assert ran.said[1].endswith("; 1 failed")

    @pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
    def test_F35_an_index_that_takes_nothing(
        self, run: Run, names: list[str], command: list[str], document: Callable[[str], Any]
    ) -> None:
        self.as_wanted(run, names, command)
        indexed = run("ls", "--json")
        with closing(sqlite3.connect(Path(os.environ["HOME"], ".local/share/thoth/thoth.db"))) as database:
            refuse = "CREATE TRIGGER refuse BEFORE INSERT ON dumps BEGIN SELECT RAISE(ABORT, 'no room'); END"
            database.execute(refuse)
            ran = run(*command)
            assert (ran.code, ran.out, len(ran.said)) == (1, "", 2)
            assert ran.said[0].startswith(f"thoth: {names[0]}: the store has it, the index does not: ")
            assert ran.said[0].endswith("; 'thoth index' heals that")
            assert ran.said[1].endswith(" 1 dump; 2 were not reached")
            database.execute("DROP TRIGGER refuse")
        assert run("ls", "--json") == indexed
        assert run("index").code == 0
        now = [json.loads(line) for line in run("ls", "--json").lines]
        assert now == [document(name) for name in names]
        assert run("ls", "--json") != indexed

    @pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
    def test_a_store_that_is_gone(self, run: Run, names: list[str], command: list[str], tmp_path: Path) -> None:
        Path(os.environ["HOME"], ".local/share/thoth/store").rename(tmp_path / "away")
        ran = run(*command)
        assert (ran.code, ran.out, len(ran.said)) == (1, "", 1)
        assert "no such directory" in ran.said[0]

    @pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
    def test_on_a_fresh_machine_nothing_is_made(self, run: Run, command: list[str]) -> None:
        assert run(*command) == Ran(0, "", "thoth: no dump matches\n")
        assert run(command[0], "abc", *command[2:]) == Ran(2, "", "thoth: no such dump: abc\n")
        assert list(Path(os.environ["HOME"]).iterdir()) == []

    def test_a_bar_on_a_terminal_for_more_than_one(
        self, names: list[str], on_terminal: Callable[..., tuple[int, bytes]]
    ) -> None:
        code, seen = on_terminal("set", "cmd=bc", "triage", "jcl")
        assert code == 0
        assert b"thoth: changing      [=======================>] 100%        3" in seen
        assert b"thoth: set 'triage' on 3 dumps" in seen
        for words in (["set", names[0], "a", "1"], ["-q", "set", "cmd=bc", "a", "2"]):
            assert b"%" not in on_terminal(*words)[1]
        assert b"%" not in on_terminal("set", "--json", "cmd=bc", "a", "3")[1]

    def test_F23_nothing_raw_is_said(self, run: Run, names: list[str], feed: Feed) -> None:
        evil = "\x1b[31m\u202e"
        for words in (["set", names[0], evil, evil], ["unset", "cmd=bc", evil], ["set", evil, "a", "b"]):
            run(*words)  # the fixture looks at every character
        run("set", names[0], "list", "1")
        assert run("set", names[0], f"list.{evil}", "b").code == 1
        feed(f'{{"{evil}'.encode())
        assert run("set", names[0], evil).code == 1
