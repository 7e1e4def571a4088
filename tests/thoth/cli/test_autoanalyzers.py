"""``thoth autoanalyzers``, and the rules that ``thoth upload`` holds dumps against."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.analysis import common_ground
from tests.support.arrivals import CORE, take
from tests.thoth.cli.conftest import COMMAND, Ran, Run, assert_harmless
from thoth.library import Thoth

Core = Callable[..., Path]
Rules = Callable[..., Path]

TICKET = {"name": "OS-2359", "version": 1, "matches": ["type=core", "cmd=svc.startd"], "ticket": "OS-2359"}
TRIAGE = {
    "name": "triage",
    "version": 2,
    "matches": ["ticket=OS-2359"],
    "depends": ["OS-2359"],
    "property": {"name": "triage.engineer", "value": "bmc"},
}
FMRI = {"name": "fmri", "version": 1, "matches": ["type=core"], "analyzer": "fmri"}


@pytest.fixture
def rules(tmp_path: Path) -> Rules:
    """``rules(TICKET, TRIAGE)`` writes a file of rules and gives its path; one rule is no array."""

    def rules(*documents: Any, name: str = "rules.json") -> Path:
        path = tmp_path / name
        path.write_text(json.dumps(documents if len(documents) != 1 else documents[0]))
        return path

    return rules


@pytest.fixture
def ground(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place that analyzers can reach, with the cache in it."""
    with common_ground() as ground:
        monkeypatch.setenv("THOTH_CACHE", str(ground / "cache"))
        yield ground


@pytest.fixture
def svc_startd(core: Core) -> Path:
    return core(19972, cmd="svc.startd")


def lines(ran: Ran) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ran.lines]


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


class TestArrival:
    def test_every_dump_that_is_uploaded_is_held_against_the_rules(
        self, spawn: Run, rules: Rules, core: Core, svc_startd: Path
    ) -> None:
        spawn("autoanalyzers", "upload", str(rules(TICKET, TRIAGE)))
        ran = spawn("upload", svc_startd, core(2, cmd="bc"))
        name, other = ran.lines
        assert ran.code == 0
        assert [line for line in ran.said if "autoanalyzer" in line] == [
            f"thoth: {name}: autoanalyzer OS-2359: set: ticket OS-2359",
            f"thoth: {name}: autoanalyzer triage: set: property triage.engineer",
        ]
        document = json.loads(spawn("info", name).out)
        assert (document["ticket"], document["properties"]) == ("OS-2359", {"triage": {"engineer": "bmc"}})
        assert document["autoanalyzed"].keys() == {"OS-2359", "triage"}
        assert "autoanalyzed" not in json.loads(spawn("info", other).out)
        assert spawn("ls", "autoanalyzed.OS-2359=undefined").lines[1].split()[0] == other[:16]

    def test_F34_one_that_is_there_already_is_left_alone(self, run: Run, rules: Rules, svc_startd: Path) -> None:
        name = run("-q", "upload", svc_startd).out.strip()
        run("autoanalyzers", "upload", rules(TICKET))
        ran = run("upload", svc_startd)
        assert ran.said == [f"thoth: {svc_startd} is there already: {name}"]
        assert "ticket" not in json.loads(run("info", name).out)

    def test_an_analyzer(self, spawn: Run, rules: Rules, svc_startd: Path, ground: Path) -> None:
        spawn("analyzer", "fmri", stdin=b'thoth_set fmri "svc:/$THOTH_TYPE"\n')
        assert spawn("autoanalyzers", "upload", str(rules(FMRI))).code == 0
        ran = spawn("upload", svc_startd)
        assert ran.code == 0
        assert ran.said[-1] == f"thoth: {ran.out.strip()}: autoanalyzer fmri: matched: analyzer fmri"
        assert json.loads(spawn("info", ran.out.strip()).out)["properties"] == {"fmri": "svc:/core"}

    def test_an_analyzer_that_is_removed_leaves_a_fault(self, spawn: Run, rules: Rules) -> None:
        spawn("analyzer", "fmri", stdin=b"true\n")
        spawn("autoanalyzers", "upload", str(rules(FMRI)))
        assert spawn("analyzer", "fmri", "--remove").said[-1] == (
            "thoth: rule 'fmri' runs it; 'thoth autoanalyzers remove fmri' removes that too"
        )
        ran = spawn("autoanalyzers", "ls")
        assert (ran.code, len(ran.lines), len(ran.said)) == (1, 2, 1)
        assert "there is no analyzer 'fmri'" in ran.err
        assert json.loads(spawn("autoanalyzers", "ls", "--json").lines[0])["fault"] == "there is no analyzer 'fmri'"

    def test_a_rule_that_fails_is_told_and_the_upload_is_good(
        self, spawn: Run, rules: Rules, svc_startd: Path, ground: Path
    ) -> None:
        spawn("analyzer", "fmri", stdin=b"exit 7\n")
        spawn("autoanalyzers", "upload", str(rules(FMRI, {**TICKET, "depends": ["fmri"]})))
        ran = spawn("-q", "upload", svc_startd)
        name = ran.out.strip()
        assert (ran.code, ran.said) == (0, [
            f"thoth: {name}: autoanalyzer fmri: failed: analyzer fmri: fmri: exit status 7",
            f"thoth: {name}: autoanalyzer OS-2359: skipped: ticket OS-2359: depends on fmri, which failed",
        ])  # fmt: skip
        spawn("analyzer", "fmri", stdin=b"exit 0\n")
        again = spawn("-q", "autoanalyzers", "run", "autoanalyzed.fmri.failed=*")
        assert (again.code, again.lines) == (0, [
            f"{name} fmri: matched: analyzer fmri", f"{name} OS-2359: set: ticket OS-2359",
        ])  # fmt: skip

    def test_a_broken_rule_is_told_once_and_stops_nothing(
        self, spawn: Run, rules: Rules, core: Core, svc_startd: Path, stored: Thoth
    ) -> None:
        spawn("autoanalyzers", "upload", str(rules(TICKET)))
        stored.store.put("/thoth/stor/thoth/autoanalyzers/broken.json", b"{")
        ran = spawn("-q", "upload", core(2), svc_startd, core(3))
        assert (ran.code, len(ran.lines)) == (0, 3)
        (line,) = ran.said
        assert line.startswith("thoth: autoanalyzer broken: cannot run: in the store: not JSON: ")
        assert json.loads(spawn("info", ran.lines[1]).out)["ticket"] == "OS-2359"
        listed = spawn("autoanalyzers", "ls", "--json")
        assert (listed.code, [line["name"] for line in lines(listed)]) == (1, ["OS-2359", "broken"])
        assert "fault" in lines(listed)[1]
        shown = spawn("autoanalyzers", "show", "broken")
        assert shown.code == 1 and "upload it again, or remove it" in shown.err


class TestRun:
    @pytest.fixture
    def names(self, run: Run, core: Core, rules: Rules) -> list[str]:
        """Two dumps that came before the rules did; the first one matches them."""
        found = run("-q", "upload", core(1, cmd="svc.startd"), core(2, cmd="bc")).lines
        run("autoanalyzers", "upload", rules(TICKET, TRIAGE))
        return found

    def test_dryrun_tells_and_writes_nothing(self, run: Run, names: list[str]) -> None:
        before = run("info", names[0]).out
        ran = run("autoanalyzers", "dryrun", "type=core")
        assert ran == Ran(
            0,
            f"{names[0]} OS-2359: would set: ticket OS-2359\n"
            f"{names[0]} triage: would set: property triage.engineer\n",
            "thoth: 2 dumps would be held against 2 rules: 2 set\n",
        )
        assert run("info", names[0]).out == before

    def test_run_and_run_again(self, run: Run, names: list[str]) -> None:
        assert run("autoanalyzers", "run", "type=core") == Ran(
            0,
            f"{names[0]} OS-2359: set: ticket OS-2359\n{names[0]} triage: set: property triage.engineer\n",
            "thoth: 2 dumps held against 2 rules: 2 set\n",
        )
        before = run("info", names[0]).out
        again = run("autoanalyzers", "run", "--json", "type=core")
        reason = "was set by this rule before"
        assert lines(again) == [
            {"id": names[0], "rule": rule, "action": action, "result": "kept", "reason": reason}
            for rule, action in (("OS-2359", "ticket OS-2359"), ("triage", "property triage.engineer"))
        ]
        assert run("info", names[0]).out == before

    def test_one_rule_with_what_it_depends_on(self, run: Run, rules: Rules, names: list[str]) -> None:
        run("autoanalyzers", "upload", rules({**TICKET, "name": "other", "matches": ["cmd=bc"]}))
        ran = run("autoanalyzers", "run", "--rule", "triage", *names)
        assert [line.split()[1] for line in ran.lines] == ["OS-2359:", "triage:"]
        unknown = run("autoanalyzers", "run", "--rule", "nope", *names)
        assert unknown.err == "thoth: rule 'nope': there is no such rule; 'thoth autoanalyzers ls' lists them\n"

    def test_people_s_ticket_stays(self, run: Run, names: list[str]) -> None:
        run("ticket", names[0], "OS-7")
        ran = run("autoanalyzers", "run", names[0])
        assert (ran.code, ran.lines) == (0, [f"{names[0]} OS-2359: kept: ticket OS-2359: has OS-7"])
        assert json.loads(run("info", names[0]).out)["ticket"] == "OS-7"

    def test_one_dump_that_fails_does_not_stop_the_rest(self, run: Run, rules: Rules, core: Core) -> None:
        names = run("-q", "upload", *(core(pid, cmd="svc.startd") for pid in range(1, 4))).lines
        run("set", names[1], "triage", "a text")
        run("autoanalyzers", "upload", rules(TICKET, TRIAGE))
        ran = run("autoanalyzers", "run", "--json", "type=core")
        assert ran.code == 1
        told = {(line["id"], line["rule"]): line for line in lines(ran)}
        assert {key: line["result"] for key, line in told.items()} == {
            (name, rule): "failed" if (name, rule) == (names[1], "triage") else "set"
            for name in names
            for rule in ("OS-2359", "triage")
        }
        assert "is no object" in told[names[1], "triage"]["reason"]
        assert ran.said[-1] == "thoth: 3 dumps held against 2 rules: 5 set, 1 failed"

    def test_a_document_that_cannot_be_read(self, run: Run, rules: Rules, names: list[str], stored: Thoth) -> None:
        run("autoanalyzers", "upload", rules({**TICKET, "name": "z", "matches": ["cmd=bc"]}))
        stored.store.put(f"/thoth/stor/thoth/{names[1]}/info.json", b"{")
        ran = run("autoanalyzers", "run", "--json", "type=core")
        assert ran.code == 1
        (bad,) = [line for line in lines(ran) if line["result"] == "failed"]
        assert (bad["id"], bad["rule"]) == (names[1], None)
        assert "not JSON" in bad["reason"]
        assert [line["result"] for line in lines(ran) if line["id"] == names[0]] == ["set", "set"]

    def test_of_a_specification_s_dumps_those_that_match_are_read(
        self, run: Run, names: list[str], stored: Thoth
    ) -> None:
        """So that a rule for a few of a million dumps does not take hours."""
        stored.store.put(f"/thoth/stor/thoth/{names[1]}/info.json", b"{")
        ran = run("autoanalyzers", "run", "type=core")
        assert (ran.code, len(ran.lines), ran.err) == (0, 2, "thoth: 2 dumps held against 2 rules: 2 set\n")

    def test_in_portions(self, run: Run, rules: Rules, core: Core) -> None:
        """The dumps that a rule does not apply to are in nobody's way, though they have no record of it."""
        names = run("-q", "upload", *(core(pid, cmd="bc" if pid < 5 else "svc.startd") for pid in range(9))).lines
        run("autoanalyzers", "upload", rules(TICKET))
        portion = ("-q", "autoanalyzers", "run", "-p", "3", "autoanalyzed.OS-2359=undefined", "limit=3")
        told = [[line.split()[0] for line in run(*portion).lines] for _ in range(3)]
        assert told == [names[5:8], names[8:], []]

    def test_interrupted_it_tells_how_far_it_came(
        self, spawn: Run, child_environment: dict[str, str], rules: Rules, names: list[str], ground: Path
    ) -> None:
        """And the dump that was under way is not recorded as done."""
        started = ground / "started"
        os.mkfifo(started)
        started.chmod(0o666)
        script = f"[[ $(json pid <$THOTH_INFO) == 1 ]] || {{ echo >{started}; read -r _ <{started}; }}"
        spawn("analyzer", "fmri", stdin=script.encode())
        spawn("autoanalyzers", "upload", rules(FMRI))
        process = subprocess.Popen(
            [*COMMAND, "autoanalyzers", "run", "-p", "1", "--rule", "fmri", "type=core"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**child_environment, "THOTH_CACHE": str(ground / "cache")},
            text=True,
        )
        with process:
            with started.open():  # returns when the second analyzer runs
                process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        assert out == f"{names[0]} fmri: matched: analyzer fmri\n"
        assert "thoth: 2 dumps held against 1 rule: 1 matched\n" in err
        assert process.returncode == 130
        left = spawn("info", "autoanalyzed.fmri=undefined")
        assert [document["id"] for document in json.loads(left.out)] == [names[1]]

    @pytest.mark.parametrize("given", ["0", "x", "-1", "1000"])
    def test_so_many_at_a_time_is_a_number(self, run: Run, given: str) -> None:
        ran = run("autoanalyzers", "run", f"--parallel={given}", "id=*")
        assert (ran.code, ran.out) == (1, "")
        assert ran.err == f"thoth: --parallel: '{given}' is not a number from 1 to 256\n"

    @pytest.mark.parametrize("given", [[], [{**TICKET, "matches": ["cmd=nginx"]}]], ids=["no rule", "none applies"])
    def test_what_a_killed_upload_has_left(self, run: Run, rules: Rules, stored: Thoth, given: list[Any]) -> None:
        """It is found by a specification, and is nothing that anybody may set."""
        if given:
            run("autoanalyzers", "upload", rules(*given))
        name = take(stored, CORE, rules=lambda: True).info.id
        assert [each["id"] for each in json.loads(run("info", "rules_pending=*").out)] == [name]
        assert run("set", name, "rules_pending", "1").code == 1
        ran = run("autoanalyzers", "run", "rules_pending=*")
        said = "1 dump held against 1 rule: none applies" if given else "there are no rules"
        assert ran == Ran(0, "", f"thoth: {said}\n")
        assert "rules_pending" not in json.loads(run("info", name).out)

    def test_no_dump_and_no_rule(self, run: Run, core: Core) -> None:
        assert run("autoanalyzers", "run", "type=core") == Ran(0, "", "thoth: no dump matches\n")
        name = run("-q", "upload", core(1)).out.strip()
        assert run("autoanalyzers", "run", name) == Ran(0, "", "thoth: there are no rules\n")
        assert run("autoanalyzers", "run", "0" * 32).code == 2

    def test_F23_hostile_text_reaches_no_terminal(
        self, run: Run, rules: Rules, names: list[str], on_terminal: Callable[..., tuple[int, bytes]]
    ) -> None:
        hostile = {**TICKET, "name": "x", "matches": ["cmd=\x1b[31m*", "properties.\x9b=?"], "ticket": None}
        del hostile["ticket"]
        hostile["property"] = {"name": "\x1b]0;x\x07", "value": "\x1b[2J"}
        assert run("autoanalyzers", "upload", rules(hostile)).code == 0
        for words in (["ls"], ["ls", "--json"], ["show", "x"], ["run", "id=*"]):
            code, seen = on_terminal("autoanalyzers", *words)
            assert code == 0
            if words[0] != "run":
                assert_harmless(seen.decode().replace("\r\n", "\n"))
