"""The rules that ``thoth upload`` holds dumps against."""

from __future__ import annotations

import json
from pathlib import Path

from tests.thoth.cli.autoanalyzers.scene import FMRI, TICKET, TRIAGE, Rules, lines
from tests.thoth.cli.conftest import Core, Run
from thoth.library import Thoth


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
