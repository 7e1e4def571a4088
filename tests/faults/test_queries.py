"""Row F24: what is asked of ``ls``, ``info`` and ``report`` is data, and none of it takes long."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from thoth.cli import main
from thoth.config import environment, load_config
from thoth.library import open_thoth
from thoth.model import DumpInfo

BUDGET = 1.0  # seconds
NOW = 1_700_000_000
DEEP = 30
LONG = "a" * 65536


def nested(depth: int) -> object:
    value: object = "bottom"
    for _ in range(depth):
        value = {"a": value}
    return value


DUMPS: dict[str, dict[str, object]] = {
    "plain": {"cmd": "svc.startd", "psargs": LONG, "stack": [LONG, "main+0x1"]},
    "brackets": {"cmd": "a[b]c", "psargs": "(b+)+"},
    "equals": {"cmd": "k=v", "psargs": "--name=a=b"},
    "class": {"cmd": "x", "__class__": "Dump", "properties": {"__class__": {"__name__": "Dump"}}},
    "deep": {"cmd": "y", "properties": nested(DEEP)},
    "odd": {"cmd": ["list"], "psargs": LONG},
}
Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """``ask("ls", "cmd=x")`` gives code, stdout and stderr of a command over these dumps, which took no second."""
    with open_thoth(load_config(environment())) as thoth:
        for number, document in enumerate(DUMPS.values()):
            thoth.index.put(DumpInfo({"id": f"{number:016x}" * 2, "type": "core", "time": NOW + number, **document}))

    def ask(*words: str) -> tuple[int, str, str]:
        with at_most(BUDGET):
            code = main([*words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return ask


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    started = time.perf_counter()
    yield
    assert time.perf_counter() - started < seconds


def found(ask: Ask, *words: str) -> list[str]:
    """The dumps that ``ls`` lists, by their names in ``DUMPS``."""
    code, out, err = ask("ls", *words)
    assert (code, err) == (0, "" if len(out.splitlines()) > 1 else "thoth: no dump matches\n")
    return [list(DUMPS)[int(line.split()[0], 16)] for line in out.splitlines()[1:] if line]


@pytest.fixture(autouse=True)
def _nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    assert list(tmp_path.iterdir()) == []


# ---- names of properties --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["__class__", "__dict__", "constructor", "toString", "0", "$", "-1", "a b", "'; DROP"]
)
def test_F24_a_property_is_looked_up_in_the_document_and_nowhere_else(ask: Ask, name: str) -> None:
    code, out, _ = ask("ls", "--", name)
    shown = [line.split()[-1] for line in out.splitlines()[1:]]
    assert (code, shown) == (0, ["Dump" if name == "__class__" and key == "class" else "-" for key in DUMPS])


def test_F24_an_attribute_of_python_is_a_key_like_any_other(ask: Ask) -> None:
    assert found(ask, "__class__=Dump") == ["class"]
    assert found(ask, "properties.__class__.__name__=D*") == ["class"]
    assert found(ask, "stack.__len__=undefined") == list(DUMPS)
    assert json.loads(ask("report", "__class__")[1]) == {"Dump": 1, "undefined": 5}
    assert json.loads(ask("report", "properties.__class__.__name__")[1]) == {"Dump": 1, "undefined": 5}


@pytest.mark.parametrize(
    "word", [".".join("a" * 1000), ".".join("a" * 1000) + "=x", "a" * 100_000, "a..b", ".", "a.=1"]
)
@pytest.mark.parametrize("command", ["ls", "report"])
def test_F24_a_name_that_is_too_deep_or_empty_is_refused_in_one_short_line(ask: Ask, command: str, word: str) -> None:
    code, out, err = ask(command, word)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("thoth: ")
    assert len(err) < 300


def test_F24_a_name_as_deep_as_documents_are_is_followed(ask: Ask) -> None:
    assert found(ask, f"properties.{'.'.join('a' * DEEP)}=bottom") == ["deep"]
    assert found(ask, f"properties.{'.'.join('a' * DEEP)}=b?tt*m") == ["deep"]


# ---- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("cmd=a[b]c", ["brackets"]),
        ("cmd=a[b*", ["brackets"]),
        ("cmd=[a]*", []),
        ("cmd=a[!x]c", []),
        ("psargs=(b+)+", ["brackets"]),
        ("psargs=(b+)?", ["brackets"]),
        ("cmd=k=v", ["equals"]),
        ("psargs=--name=*=b", ["equals"]),
        ("cmd=s%", []),
        ("cmd=s_c.startd", []),
        ("cmd=svc.start\\d", []),
        ("cmd=' OR 1=1 --", []),
        ("cmd=*", ["plain", "brackets", "equals", "class", "deep", "odd"]),
    ],
)
def test_F24_only_two_characters_of_a_value_mean_more_than_themselves(ask: Ask, word: str, names: list[str]) -> None:
    assert found(ask, word) == names


BOMBS = [
    "(a+)+",
    "(a+)+$",
    "*a" * 500 + "b",
    "*" + "?a" * 400 + "b*",
    "*?" * 500 + "b",
    "a*" * 500 + "c",
    "[" * 1000 + "*",
]


@pytest.mark.parametrize("bomb", BOMBS, ids=range(len(BOMBS)))
@pytest.mark.parametrize("name", ["psargs", "stack", "cmd"])
def test_F24_no_pattern_takes_long(ask: Ask, name: str, bomb: str) -> None:
    assert found(ask, f"{name}={bomb}") == []


def test_F24_a_pattern_without_end_is_refused(ask: Ask) -> None:
    code, out, err = ask("ls", "cmd=" + "*a" * 10_000)
    assert (code, out) == (1, "")
    assert err.endswith("a pattern has at most 1024 characters\n")


def test_F24_more_constraints_than_a_database_takes_are_refused(ask: Ask) -> None:
    code, out, err = ask("ls", *["cmd=x"] * 5000)
    assert (code, out, err) == (1, "", "thoth: 5000 constraints are too many: 100 at most\n")
    assert found(ask, *["cmd=x"] * 100) == ["class"]


# ---- numbers and ages -----------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["-1", "0", "", "1.5", "1e3", "0x10", "five", "9" * 30, "٣", "+1", " 1"])
def test_F24_a_limit_that_is_none_is_refused(ask: Ask, limit: str) -> None:
    code, out, err = ask("ls", f"limit={limit}")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.endswith("the limit is a whole number of dumps, 1 or more\n")


def test_F24_a_limit_of_any_size_is_one(ask: Ask) -> None:
    assert len(found(ask, "limit=" + "9" * 18)) == len(DUMPS)
    assert len(found(ask, "limit=2")) == 2


@pytest.mark.parametrize(
    "age", ["1e99y", "-1h", "", "h", "6 h", "6H", "6mo", "1.5d", "inf", "nan", "9" * 40 + "y", "٣h"]
)
@pytest.mark.parametrize("name", ["mtime", "time", "otime"])
def test_F24_an_age_that_is_none_is_refused(ask: Ask, name: str, age: str) -> None:
    code, out, err = ask("ls", f"{name}={age}")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert " is not an age: " in err


UNITS = {
    "": 1,
    "s": 1,
    "second": 1,
    "min": 60,
    "minute": 60,
    "h": 3600,
    "hour": 3600,
    "d": 86400,
    "day": 86400,
    "w": 604800,
    "week": 604800,
    "fortnight": 1209600,
    "m": 2678400,
    "month": 2678400,
    "y": 31536000,
    "year": 31536000,
}


@pytest.mark.parametrize(("unit", "seconds"), UNITS.items())
def test_F24_each_unit_is_as_long_as_it_says(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, unit: str, seconds: int
) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW + 2 * seconds)
    assert found(ask, f"mtime=2{unit}") == ["brackets", "equals", "class", "deep", "odd"]
    assert found(ask, f"otime=2{unit}") == []
    monkeypatch.setattr(time, "time", lambda: NOW + 2 * seconds + 1)
    assert found(ask, f"otime=2{unit}") == ["plain"]


def test_F24_an_age_older_than_any_clock_is_one(ask: Ask) -> None:
    assert len(found(ask, "mtime=999999999999y")) == len(DUMPS)
    assert found(ask, "otime=999999999999y") == []
