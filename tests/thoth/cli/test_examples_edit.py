"""The examples of manta-thoth's README that note things on dumps, typed into a shell as they are printed there."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.thoth.cli.conftest import Shell
from thoth.edit import stored_form
from thoth.library import Thoth
from thoth.model import DumpInfo

TRIAGED = "086d664357716ae7" + "0" * 16  # the README tells the first half
OTHER = "0ecc8338c5949ea7" + "0" * 16


@pytest.fixture(autouse=True)
def dumps(stored: Thoth) -> None:
    """The documents of two dumps of svc.configd; what lies beside them is of no matter here."""
    for n, name in enumerate([TRIAGED, OTHER]):
        told = {"name": f"/thoth/stor/thoth/{name}", "cmd": "svc.configd", "type": "core", "time": 1_503_000_000 + n}
        info = DumpInfo({**told, "properties": {}})
        stored.store.put(f"{told['name']}/info.json", stored_form(info))
        stored.index.put(info)


def assert_ran(ran: subprocess.CompletedProcess[str], out: str = "", err: str = "") -> None:
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, out, err)


def test_a_value_that_is_text(shell: Shell) -> None:
    assert_ran(shell("thoth set 086d664357716ae7 triage bmc"), err="thoth: set 'triage' on 1 dump\n")
    assert_ran(shell("thoth info 086d664357716ae7 | json properties.triage"), "bmc\n")


def test_a_json_object_via_stdin(shell: Shell) -> None:
    typed = """\
thoth set cmd=svc.configd triage <<EOF
{
    "category": "SMF",
    "engineer": "bmc"
}
EOF
"""
    assert_ran(shell(typed), err="thoth: set 'triage' on 2 dumps\n")
    assert_ran(shell("thoth info 086d664357716ae7 | json properties.triage.engineer"), "bmc\n")
    assert_ran(shell("thoth info 0ecc8338c5949ea7 | json properties.triage.category"), "SMF\n")


def test_unset_and_then_undefined_finds_it(shell: Shell) -> None:
    shell("thoth set cmd=svc.configd triage bmc")
    assert_ran(shell("thoth ls --json properties.triage=undefined"), err="thoth: no dump matches\n")
    assert_ran(shell("thoth unset 086d664357716ae7 triage"), err="thoth: unset 'triage' on 1 dump\n")
    found = shell("thoth ls --json properties.triage=undefined | json name")
    assert_ran(found, f"/thoth/stor/thoth/{TRIAGED}\n")


def test_a_ticket_and_its_end(shell: Shell) -> None:
    assert_ran(shell("thoth ticket 086d664357716ae7 OS-2359"), err="thoth: set ticket OS-2359 on 1 dump\n")
    assert [each["ticket"] for each in json.loads(shell("thoth info ticket=OS-2359").stdout)] == ["OS-2359"]
    assert shell("thoth ls ticket=OS-2359").stdout.splitlines()[1:] == [
        "086d664357716ae7 core  2017-08-17T20:00:00 svc.configd      OS-2359"
    ]
    assert_ran(shell("thoth unticket 086d664357716ae7"), err="thoth: removed the ticket of 1 dump\n")
    assert_ran(shell("thoth info ticket=OS-2359"), "[]\n")
    assert len(shell("thoth ls ticket=undefined").stdout.splitlines()) == 3
