"""``thoth report``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.thoth.cli.conftest import Ran, Run
from thoth.library import Thoth
from thoth.model import DumpInfo


@pytest.fixture
def some(stored: Thoth) -> None:
    triage = {"who": "bmc"}
    kinds: list[dict[str, object]] = [
        {"cmd": "bc", "platform": "new", "properties": {"triage": triage}},
        {"cmd": "bc", "platform": "old", "ticket": "OS-1"},
        {"cmd": "dc", "platform": "old"},
        {"cmd": "dc", "platform": "older", "ticket": 5},
        {"cmd": "undefined", "platform": "\x7f\n\udcff"},
    ]
    stored.index.put_many(
        DumpInfo({"id": f"{number:032x}", "time": number, **kind}) for number, kind in enumerate(kinds)
    )


@pytest.mark.parametrize(
    ("words", "counts"),
    [
        (["cmd"], {"undefined": 1, "bc": 2, "dc": 2}),
        (["cmd=bc", "platform"], {"new": 1, "old": 1}),
        (["platform", "cmd=bc"], {"new": 1, "old": 1}),
        (["ticket"], {"5": 1, "OS-1": 1, "undefined": 3}),
        (["properties.triage"], {'{"who":"bmc"}': 1, "undefined": 4}),
        (["properties.triage.who", "properties.triage=*"], {}),
        (["properties.triage.who"], {"bmc": 1, "undefined": 4}),
        (["limit=2", "cmd"], {"bc": 2}),
        (["cmd=nope", "cmd"], {}),
        (["panicstring"], {"undefined": 5}),
        (["time"], {"0": 1, "1": 1, "2": 1, "3": 1, "4": 1}),
        (["0" * 31, "cmd"], {"undefined": 1, "bc": 2, "dc": 2}),
        (["0" * 32, "--json", "cmd"], {"bc": 1}),
    ],
)
def test_counts_rarest_first(run: Run, some: None, words: list[str], counts: dict[str, int]) -> None:
    ran = run("report", *words)
    assert (ran.code, ran.err) == (0, "")
    assert list(json.loads(ran.out).items()) == list(counts.items())


def test_it_is_laid_out_as_the_original_s(run: Run, some: None) -> None:
    assert run("report", "cmd").out == '{\n  "undefined": 1,\n  "bc": 2,\n  "dc": 2\n}\n'
    assert run("report", "cmd=nope", "cmd").out == "{}\n"


def test_F23_labels_are_harmless_and_read_back(run: Run, some: None) -> None:
    assert "\x7f\n\udcff" in json.loads(run("report", "platform").out)


@pytest.mark.parametrize(
    ("words", "count"), [([], 5), (["cmd=bc"], 2), (["cmd=nope"], 0), (["limit=3"], 3), (["0" * 32], 1)]
)
def test_without_a_property_it_is_how_many(run: Run, some: None, words: list[str], count: int) -> None:
    assert run("report", *words) == Ran(0, f"{count}\n", "")


def test_of_nothing(run: Run) -> None:
    assert run("report") == Ran(0, "0\n", "")
    assert run("report", "cmd") == Ran(0, "{}\n", "")
    assert list(Path(os.environ["HOME"]).iterdir()) == []


def test_two_properties_are_refused(run: Run) -> None:
    said = "thoth: report: cmd and x\\ny are two properties; name one, and constraints as PROPERTY=VALUE\n"
    assert run("report", "type=core", "cmd", "x\ny") == Ran(1, "", said)


def test_F38_names_from_stdin(spawn: Run, some: None) -> None:
    ran = spawn("-q", "report", "dump=stdin", "cmd", stdin=b"0" * 32 + b"\n")
    assert ran == Ran(0, '{\n  "bc": 1\n}\n', "")
    assert spawn("-q", "report", "dump=stdin") == Ran(0, "0\n", "")


def test_a_local_dump(run: Run, core: Callable[..., Path]) -> None:
    path = core(1, cmd="mine")
    run("upload", path, core(2, cmd="other"))
    assert json.loads(run("report", path, "cmd").out) == {"mine": 1}
