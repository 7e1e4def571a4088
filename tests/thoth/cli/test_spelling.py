"""Properties that no dump has, comparisons that there are none, and an index that knows of nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.thoth.cli.conftest import Ran, Run

Core = Callable[..., Path]

HEADER = "NAME             TYPE  TIME                NODE/CMD         TICKET"
UNINDEXED = "the index has no dumps and the store has: run 'thoth index'"


@pytest.fixture
def name(run: Run, core: Core) -> str:
    """A dump that somebody wants to keep."""
    name = run("-q", "upload", core(1, cmd="cprog")).out.strip()
    assert run("-q", "set", name, "keepme", "yes").code == 0
    return name


@pytest.fixture
def new_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> str:
    """The store has that dump, and the index is another one."""
    monkeypatch.setenv("THOTH_DB", f"sqlite://{tmp_path}/new.db")
    monkeypatch.setenv("THOTH_STORE", f"file://{os.environ['HOME']}/.local/share/thoth/store")
    return name


class TestPurge:
    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ("--larger 1K --keep keepme=yes --keep tpye=core", "'keepme'; did you mean properties.keepme?"),
            ("--larger 1K --keep tpye=core", "'tpye'; did you mean type?"),
            ("--keep properties.keepmee=yes NAME", "'properties.keepmee'; 'thoth info DUMP' shows what one has"),
            ("tikcet=undefined", "'tikcet'; did you mean ticket?"),
            ("properties.ticket=undefined", "'properties.ticket'; did you mean ticket?"),
            ("keepme=y*", "'keepme'; did you mean properties.keepme?"),
        ],
    )
    def test_it_does_not_begin(self, run: Run, name: str, words: str, said: str) -> None:
        for more in ([], ["--delete"], ["-q"]):
            ran = run("purge", *words.replace("NAME", name).split(), *more)
            assert ran == Ran(1, "", f"thoth: purge: no dump has {said}\n")
        assert run("-q", "ls", "purged=*") == Ran(0, HEADER + "\n", "")

    def test_what_some_dump_has_keeps_it(self, run: Run, name: str) -> None:
        assert run("purge", "--larger", "1K", "--keep", "properties.keepme=yes").said[1:] == [
            "thoth: kept 1 that a keep-rule names"
        ]


class TestOthers:
    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ("ls tikcet=undefined", "'tikcet'; did you mean ticket?"),
            ("ls cdm", "'cdm'; did you mean cmd?"),
            ("ls keepme", "'keepme'; did you mean properties.keepme?"),
            ("ls --json tikcet=undefined", "'tikcet'; did you mean ticket?"),
            ("report signatur", "'signatur'; did you mean signature?"),
            ("report keepme=undefined", "'keepme'; did you mean properties.keepme?"),
            ("info cdm=undefined", "'cdm'; did you mean cmd?"),
            ("top cdm=undefined", "'cdm'; did you mean cmd?"),
            ("set -n cdm=undefined triage x", "'cdm'; did you mean cmd?"),
            ("load cdm=undefined", "'cdm'; did you mean cmd?"),
            ("signature --recompute cdm=undefined", "'cdm'; did you mean cmd?"),
        ],
    )
    def test_a_line_beside_the_result(self, run: Run, name: str, words: str, said: str) -> None:
        ran = run(*words.split())
        assert ran.code == 0
        assert ran.said.count(f"thoth: no dump has {said}") == 1
        assert run("-q", *words.split()) == Ran(0, ran.out, "")
        if "--json" in words or words.startswith(("info", "report s")):
            assert json.loads(ran.out)

    def test_what_is_known_has_none(self, run: Run, name: str) -> None:
        for words in ("ls properties.nope", "ls ticket=undefined panicstring", "report properties.nope"):
            assert run(*words.split()).err == ""

    def test_a_rule_is_refused(self, run: Run, name: str, tmp_path: Path) -> None:
        rule = {"name": "x", "version": 1, "matches": ["type=core", "cdm=foo"], "ticket": "OS-1"}
        (tmp_path / "x.json").write_text(json.dumps(rule))
        said = "thoth: rule x: matches: no dump has 'cdm'; did you mean cmd?\n"
        assert run("autoanalyzers", "upload", tmp_path / "x.json") == Ran(1, "", said)
        assert run("autoanalyzers", "ls", "--json").out == ""
        rule["matches"] = ["cmd=foo", "properties.later=x"]
        (tmp_path / "x.json").write_text(json.dumps(rule))
        assert run("autoanalyzers", "upload", tmp_path / "x.json").code == 0


class TestComparisons:
    @pytest.mark.parametrize("command", ["ls", "info", "report", "purge", "top", "unticket", "scrub"])
    @pytest.mark.parametrize("word", ["cmd!=cpp", "signal>=6", "size<=7", "size>1000", "size<7", "!cmd"])
    def test_there_are_none(self, run: Run, name: str, command: str, word: str) -> None:
        ran = run(command, word)
        assert (ran.code, ran.out, len(ran.said)) == (1, "", 1)
        assert ran.err.startswith(f"thoth: '{word}': no such comparison: there are PROPERTY=VALUE, ")

    def test_values_may_hold_them(self, run: Run, name: str) -> None:
        for word in ("cmd=a!=b", "stack=*std::vector<int>*", "psargs=x>y"):
            assert run("-q", "ls", word) == Ran(0, HEADER + "\n", "")


class TestEmpty:
    @pytest.mark.parametrize(
        "words", ["ls", "ls --json", "ls cmd=cprog", "report", "report cmd", "info cmd=cprog", "top"]
    )
    def test_a_new_index_of_a_store_with_dumps(self, run: Run, new_index: str, words: str) -> None:
        ran = run(*words.split())
        assert (ran.code, ran.said) == (0, [f"thoth: {UNINDEXED}"])
        assert run("-q", *words.split()) == Ran(0, ran.out, "")

    @pytest.mark.parametrize(
        "words",
        ["set cmd=cprog a b", "analyze cmd=cprog x", "purge --larger 1K", "load cmd=cprog", "scrub cmd=cprog"],
    )
    def test_where_dumps_are_looked_up_for_more(self, run: Run, new_index: str, words: str) -> None:
        if words.startswith("analyze"):
            run("init")
            words = words.replace(" x", " fmri")
        assert f"thoth: {UNINDEXED}" in run(*words.split()).said

    def test_a_beginning_of_an_identity(self, run: Run, new_index: str) -> None:
        said = f"thoth: no such dump: {new_index[:5]}; {UNINDEXED}\n"
        assert run("info", new_index[:5]) == Ran(2, "", said)
        assert run("info", new_index).code == 0

    def test_an_index_with_dumps_tells_that_none_matches(self, run: Run, name: str) -> None:
        assert run("ls", "cmd=x") == Ran(0, HEADER + "\n", "thoth: no dump matches\n")
        assert run("ls", "--json", "cmd=x") == Ran(0, "", "thoth: no dump matches\n")
        assert run("info", "cmd=x") == Ran(0, "[]\n", "")
        assert run("report", "cmd=x") == Ran(0, "0\n", "")

    def test_an_index_that_was_made_and_is_empty(self, run: Run, new_index: str) -> None:
        run("init")
        assert run("ls").said == [f"thoth: {UNINDEXED}"]
        assert run("index").code == 0
        assert run("ls").err == ""

    def test_a_store_of_which_only_the_name_is_there(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("THOTH_STORE", f"file://{tmp_path}/typo")
        said = f"thoth: the store {tmp_path}/typo is not there yet; the first upload makes it"
        assert run("ls").said == [said]
        assert run("report", "cmd") == Ran(0, "{}\n", said + "\n")

    def test_a_store_without_dumps(self, run: Run) -> None:
        run("init")  # which brings analyzers
        assert run("ls").said == ["thoth: no dump matches"]
