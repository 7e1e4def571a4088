"""``thoth autoanalyzers run`` and ``dryrun``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.arrivals import CORE, take
from tests.thoth.cli.autoanalyzers.scene import FMRI, TICKET, TRIAGE, Rules, lines
from tests.thoth.cli.conftest import COMMAND, Core, Ran, Run, assert_harmless
from thoth.library import Thoth


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
