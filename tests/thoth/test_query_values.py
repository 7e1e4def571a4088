"""Single values of dump specifications: ages, names, numbers, times, labels; and the order of dumps."""

from __future__ import annotations

import pytest

from thoth.model import DumpInfo
from thoth.query import (
    age_seconds,
    dump_name,
    dump_time,
    label,
    matches,
    number,
    parse,
    sort_key,
)

ID = "3e166b93871e7747c799008f58bd30b9"
NOW = 1_500_000_000.0


@pytest.mark.parametrize(
    ("age", "seconds"),
    [
        ("60", 60),
        ("0", 0),
        ("6s", 6),
        ("2min", 120),
        ("2minute", 120),
        ("1h", 3600),
        ("3d", 3 * 86400),
        ("2w", 14 * 86400),
        ("1fortnight", 14 * 86400),
        ("1m", 31 * 86400),
        ("1month", 31 * 86400),
        ("100y", 36500 * 86400),
    ],
)
def test_age(age: str, seconds: int) -> None:
    assert age_seconds(age) == seconds


@pytest.mark.parametrize(
    ("word", "name"),
    [
        (ID, ID),
        ("0", "0"),
        (ID + "0", None),
        ("", None),
        ("ABC", None),
        ("stack", None),
        (f"/u/stor/thoth/{ID}", ID),
        (f"/u/stor/thoth/{ID[:31]}", None),
        (f"{ID}/info.json", None),
    ],
)
def test_dump_name(word: str, name: str | None) -> None:
    assert dump_name(word) == name


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("0", 0),
        ("-7", -7),
        ("1.50", 1.5),
        ("1e3", 1000.0),
        ("9" * 40, int("9" * 40)),
        *((bad, None) for bad in ["", "+1", "01", "1.", ".5", "0x10", "1_0", "nan", "Infinity", "1e999", " 1"]),
        ("9" * 101, None),
        ("\u0661", None),
    ],
)
def test_number(written: str, value: float | None) -> None:
    assert number(written) == value


@pytest.mark.parametrize(
    ("stands", "seconds"),
    [
        (NOW, NOW),
        (str(NOW), NOW),
        (0, 0.0),
        (None, None),
        ("%s", None),
        (True, None),
        ([], None),
        ("nan", None),
        (float("inf"), None),
        (10**400, None),
    ],
)
def test_dump_time(stands: object, seconds: float | None) -> None:
    assert dump_time({"time": stands}) == seconds


def test_unknown_time_is_neither_newer_nor_older() -> None:
    for words in (["mtime=999y"], ["otime=0"]):
        assert not matches(parse(words, now=NOW)[0], {"id": ID, "time": "%s"})


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, "undefined"),
        ("a", "a"),
        (1, "1"),
        (1.0, "1.0"),
        (True, "true"),
        ([1, {"a": "é"}], '[1,{"a":"\\u00e9"}]'),
    ],
)
def test_label(value: object, written: str) -> None:
    assert label(value) == written


def test_oldest_first_unknown_before_all() -> None:
    infos = [
        DumpInfo({"id": digit * 32, "time": at})
        for digit, at in [("c", 5), ("b", 5), ("a", 9), ("d", "?"), ("e", -1)]
    ]
    assert [info.id[0] for info in sorted(infos, key=sort_key)] == ["d", "e", "b", "c", "a"]
