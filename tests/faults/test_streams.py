"""F38: commands that change dumps, with a standard input or output that is not what it should be."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.arrivals import take
from tests.support.elfwriter import illumos_core
from thoth.config import environment, load_config
from thoth.library import Thoth, open_thoth
from thoth.model import DumpInfo, Identity

TOP = Path(__file__).resolve().parents[2]
_PATIENCE = 60  # seconds

Shell = Callable[..., subprocess.CompletedProcess[str]]

NOTING = [
    ["set", "dump=stdin", "triage", "bmc"],
    ["unset", "dump=stdin", "triage"],
    ["ticket", "dump=stdin", "OS-2"],
    ["unticket", "dump=stdin"],
]


@pytest.fixture
def thoth() -> Iterator[Thoth]:
    """The store and index of this test's user."""
    with open_thoth(load_config(environment())) as thoth:
        yield thoth


@pytest.fixture
def dumps(thoth: Thoth) -> list[Identity]:
    """Three dumps with a long text each, a ticket and a property."""
    properties = {"triage": "jcl", "long": "x" * 100_000}
    cores = [illumos_core(pid=pid, psargs="x" * 79) for pid in range(1, 4)]
    return [take(thoth, core, properties=properties).info.id for core in cores]


def child_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "PYTHONPATH": str(TOP), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def shell() -> Shell:
    """``shell('"$@" | head -1', "ls")``: bash runs the line with the command's words as its arguments."""

    def shell(line: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", line, "bash", sys.executable, "-m", "thoth", *words],
            env=child_environment(),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE, check=False,
        )  # fmt: skip

    return shell


def documents(thoth: Thoth, dumps: list[Identity]) -> list[DumpInfo | None]:
    """What the index has of them, once it is sure that the store has the same."""
    found = [thoth.stored_info(each) for each in dumps]
    indexed = [thoth.index.get(each) for each in dumps]
    assert [each and each[0] for each in found] == indexed
    return indexed


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('"$@" < /dev/null', "standard input is empty; JSON for 'triage' is read from it"),
        (': | "$@"', "standard input is empty; JSON for 'triage' is read from it"),
        ('false | "$@"', "standard input is empty; JSON for 'triage' is read from it"),
        ('echo | "$@"', "standard input is empty; JSON for 'triage' is read from it"),
        ('"$@" <&-', "stdin is closed; JSON for 'triage' is read from it"),
        ('printf \'{"a": 1\' | "$@"', "standard input is not JSON: Expecting ',' delimiter"),
        ("printf 'bmc\\n' | \"$@\"", "standard input is not JSON: Expecting value"),
        ('printf \'"\\377"\' | "$@"', "standard input is not JSON: 'utf-8' codec can't decode"),
    ],
)
def test_F38_a_value_that_does_not_come_overwrites_nothing(
    thoth: Thoth, dumps: list[Identity], shell: Shell, line: str, said: str
) -> None:
    before = documents(thoth, dumps)
    ran = shell(line, "set", "type=core", "triage")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert said in ran.stderr
    assert documents(thoth, dumps) == before


@pytest.mark.parametrize("words", NOTING, ids=" ".join)
@pytest.mark.parametrize(
    "names",
    [
        ('"$@" < /dev/null', "standard input names no dump; nothing was done"),
        ('"$@" <&-', "stdin is closed; there is nothing to read"),
        ('echo no-dump | "$@"', "which names no dump"),
    ],
)
def test_F38_names_that_do_not_come_are_not_all_dumps(
    thoth: Thoth, dumps: list[Identity], shell: Shell, names: tuple[str, str], words: list[str]
) -> None:
    line, said = names
    before = documents(thoth, dumps)
    ran = shell(line, "-q", *words)
    assert (ran.returncode, ran.stdout, len(ran.stderr.splitlines())) == (1, "", 1)
    assert said in ran.stderr
    assert documents(thoth, dumps) == before


def test_F38_names_that_come_are_those_dumps(thoth: Thoth, dumps: list[Identity], shell: Shell) -> None:
    line = f'printf "%s\\n" {dumps[2]} {dumps[0][:16]} {"0" * 32} | "$@"'
    ran = shell(line, "ticket", "dump=stdin", "OS-1")
    assert (ran.returncode, ran.stdout) == (0, "")
    assert ran.stderr == "thoth: reading dump identifiers from stdin\nthoth: set ticket OS-1 on 2 dumps\n"
    assert [info and info.document.get("ticket") for info in documents(thoth, dumps)] == ["OS-1", None, "OS-1"]


@pytest.mark.parametrize(
    "words",
    [
        ["ls", *["psargs"] * 400],
        ["ls", "--json"],
        ["info", "type=core"],
        ["info", "pid=1"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_F38_head_ends_it_quietly(dumps: list[Identity], shell: Shell, words: list[str]) -> None:
    ran = shell('"$@" | head -c 10; exit "${PIPESTATUS[0]}"', "-q", *words)
    assert (ran.returncode, len(ran.stdout), ran.stderr) == (141, 10, "")


@pytest.mark.parametrize(
    "words",
    [
        ["report", "properties.long"],
        ["set", "--json", "type=core", "triage", "bmc"],
        ["set", "-n", "type=core", "triage", "bmc"],
        ["ticket", "--json", "type=core", "OS-1"],
    ],
    ids=" ".join,
)
def test_F38_a_reader_that_has_gone(thoth: Thoth, dumps: list[Identity], words: list[str]) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "thoth", "-q", *words],
            env=child_environment(), stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.PIPE,
            timeout=_PATIENCE, check=False,
        )  # fmt: skip
    finally:
        os.close(theirs)
    assert (ran.returncode, ran.stderr) == (141, b"")
    documents(thoth, dumps)


@pytest.mark.parametrize("redirection", [">&-", "> /dev/full"])
def test_F38_without_results_stdout_does_not_matter(dumps: list[Identity], shell: Shell, redirection: str) -> None:
    ran = shell(f'"$@" {redirection}', "set", "type=core", "triage", "bmc")
    assert (ran.returncode, ran.stderr) == (0, "thoth: set 'triage' on 3 dumps\n")


@pytest.mark.parametrize(
    ("redirection", "said"),
    [
        (">&-", "thoth: stdout is closed; there is nowhere to write the result\n"),
        ("> /dev/full", "thoth: stdout: No space left on device\n"),
    ],
)
def test_F38_results_without_a_stdout_are_an_error(
    thoth: Thoth, dumps: list[Identity], shell: Shell, redirection: str, said: str
) -> None:
    ran = shell(f'"$@" {redirection}', "-q", "set", "--json", "type=core", "triage", "bmc")
    assert (ran.returncode, ran.stderr) == (1, said)
    documents(thoth, dumps)
