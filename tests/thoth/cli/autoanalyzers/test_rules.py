"""``thoth autoanalyzers``: rules are uploaded, listed and removed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.thoth.cli.autoanalyzers.scene import TICKET, TRIAGE, Rules, lines
from tests.thoth.cli.conftest import Ran, Run


class TestUpload:
    def test_a_file_and_then_ls(self, run: Run, rules: Rules) -> None:
        assert run("autoanalyzers", "upload", rules(TRIAGE, TICKET)) == Ran(
            0, "", "thoth: added rule 'OS-2359', version 1\nthoth: added rule 'triage', version 2\n"
        )
        assert run("autoanalyzers", "ls") == Ran(
            0,
            "NAME    VERSION DEPENDS ACTION                   MATCHES\n"
            "OS-2359 1       -       ticket OS-2359           type=core cmd=svc.startd\n"
            "triage  2       OS-2359 property triage.engineer ticket=OS-2359\n",
            "",
        )
        assert lines(run("autoanalyzers", "ls", "--json")) == [TICKET, TRIAGE]

    def test_standard_input(self, spawn: Run) -> None:
        ran = spawn("autoanalyzers", "upload", "--json", stdin=json.dumps(TICKET).encode())
        assert (ran.code, lines(ran)) == (0, [{"rule": "OS-2359", "version": 1, "result": "added"}])
        assert ran.said == ["thoth: reading rules from stdin", "thoth: added rule 'OS-2359', version 1"]

    @pytest.mark.parametrize("stdin", [b"", b" \n\t\n"])
    def test_F38_empty_standard_input_is_refused(self, spawn: Run, rules: Rules, stdin: bytes) -> None:
        spawn("autoanalyzers", "upload", str(rules(TICKET)))
        ran = spawn("-q", "autoanalyzers", "upload", stdin=stdin)
        assert ran == Ran(1, "", "thoth: standard input is empty; an autoanalyzer is read from it\n")
        assert lines(spawn("autoanalyzers", "ls", "--json")) == [TICKET]

    def test_several_files_are_all_accepted_or_none(self, run: Run, rules: Rules) -> None:
        good, bad = rules(TICKET, name="a.json"), rules({**TRIAGE, "depends": ["nobody"]}, name="b.json")
        ran = run("autoanalyzers", "upload", good, bad)
        assert ran == Ran(1, "", "thoth: rule triage: depends: depends on nobody, which is not there\n")
        assert run("autoanalyzers", "ls", "--json").out == ""
        assert run("autoanalyzers", "upload", good, rules(TICKET, name="c.json")).err == (
            "thoth: rule OS-2359: name: is in two of the files\n"
        )

    def test_what_is_wrong_is_one_line_with_file_rule_and_key(self, run: Run, rules: Rules) -> None:
        path = rules(TRIAGE, {**TICKET, "matches": ["limit=5"]})
        ran = run("autoanalyzers", "upload", path)
        assert ran.code == 1
        assert ran.said == [
            f"thoth: {path}: rule OS-2359: matches: 'limit=5': a rule is held against one dump; there is nothing to"
            " limit"
        ]

    @pytest.mark.parametrize("content", ["", " \n", "{", "[]", '"x"'])
    def test_files_that_are_no_rules(self, run: Run, tmp_path: Path, content: str) -> None:
        (tmp_path / "x").write_text(content)
        ran = run("autoanalyzers", "upload", tmp_path / "x")
        assert (ran.code, ran.out, len(ran.said)) == (1, "", 1)
        assert ran.err.startswith(f"thoth: {tmp_path / 'x'}: ")

    def test_a_file_that_is_not_there(self, run: Run) -> None:
        assert run("autoanalyzers", "upload", "nope") == Ran(1, "", "thoth: nope: No such file or directory\n")

    def test_versions(self, run: Run, rules: Rules) -> None:
        path = rules(TICKET)
        run("autoanalyzers", "upload", path)
        assert run("autoanalyzers", "upload", path).err == ("thoth: is there already: rule 'OS-2359', version 1\n")
        same = run("autoanalyzers", "upload", rules({**TICKET, "ticket": "OS-1"}))
        assert same == Ran(1, "", "thoth: rule OS-2359: version: 1 is stored with other content; raise the version\n")
        assert run("autoanalyzers", "upload", rules({**TICKET, "version": 3})).said == [
            "thoth: replaced rule 'OS-2359', version 3"
        ]
        lower = run("autoanalyzers", "upload", rules(TICKET))
        assert lower.said == ["thoth: rule OS-2359: version: 3 is stored, and 1 is lower; raise it, or use --force"]
        assert run("autoanalyzers", "upload", "--force", path).code == 0
        assert json.loads(run("autoanalyzers", "show", "OS-2359").out) == TICKET


class TestWords:
    @pytest.mark.parametrize(
        ("words", "error"),
        [
            ((), "name one of upload, ls, show, run, dryrun, remove"),
            (("list",), "there is no 'list'; it is one of upload, ls, show, run, dryrun, remove"),
            (("\x1b[2J",), "there is no '\\x1b[2J'; it is one of"),
            (("run",), "run: name a dump or a specification"),
            (("dryrun", "--rule", "x"), "dryrun: name a dump or a specification"),
            (("remove",), "remove: name a rule"),
            (("show",), "show: name a rule"),
            (("show", "a", "b"), "show: name one rule"),
            (("ls", "--rule", "x"), "ls takes no --rule"),
            (("run", "--force", "id=*"), "run takes no --force"),
            (("dryrun", "-p", "2", "id=*"), "dryrun takes no --parallel"),
        ],
    )
    def test_misuse_says_what_to_do(self, run: Run, words: tuple[str, ...], error: str) -> None:
        ran = run("autoanalyzers", *words)
        assert (ran.code, ran.out) == (1, "")
        assert ran.err.startswith(f"thoth: autoanalyzers: {error}")
        assert ran.err.endswith("; see 'thoth autoanalyzers --help'\n")

    def test_help_teaches(self, run: Run) -> None:
        out = run("autoanalyzers", "--help").out
        for word in ("upload", "dryrun", '"matches"', "examples:", "exit status:", "autoanalyzed.OS-2359=undefined"):
            assert word in out

    def test_ls_and_show_of_a_thoth_that_has_nothing_write_nothing(self, run: Run, tmp_path: Path) -> None:
        ran = run("autoanalyzers", "ls", "--store", f"file://{tmp_path}/s", "--db", f"sqlite://{tmp_path}/i.db")
        assert ran == Ran(0, "NAME VERSION DEPENDS ACTION MATCHES\n", "")
        assert not list(tmp_path.iterdir())
        assert run("autoanalyzers", "show", "x").err == (
            "thoth: rule 'x': there is no such rule; 'thoth autoanalyzers ls' lists them\n"
        )


class TestRemove:
    def test_what_it_set_stays(self, run: Run, rules: Rules, svc_startd: Path) -> None:
        run("autoanalyzers", "upload", rules(TICKET))
        name = run("-q", "upload", svc_startd).out.strip()
        assert run("autoanalyzers", "remove", "OS-2359") == Ran(0, "", "thoth: removed rule 'OS-2359'\n")
        assert json.loads(run("info", name).out)["ticket"] == "OS-2359"
        assert run("autoanalyzers", "ls", "--json").out == ""

    def test_one_that_others_depend_on(self, run: Run, rules: Rules) -> None:
        run("autoanalyzers", "upload", rules(TICKET, TRIAGE))
        assert run("autoanalyzers", "remove", "OS-2359") == Ran(
            1, "", "thoth: rule OS-2359: triage depends on it; remove that too, or upload it without\n"
        )
        ran = run("autoanalyzers", "remove", "--json", "OS-2359", "triage")
        assert lines(ran) == [{"rule": "triage", "result": "removed"}, {"rule": "OS-2359", "result": "removed"}]
