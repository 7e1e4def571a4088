"""Dump specifications: what words mean, and which are refused."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thoth.errors import UsageError
from thoth.glob import glob_matches
from thoth.model import DumpInfo, text
from thoth.query import (
    MAX_CONSTRAINTS,
    MAX_PARTS,
    MAX_PATTERN,
    Equals,
    Glob,
    Named,
    Newer,
    Older,
    Query,
    Timeless,
    Undefined,
    age_seconds,
    dump_name,
    dump_time,
    label,
    lookup,
    matches,
    number,
    parse,
    property_path,
    sort_key,
    split_words,
)

ID = "3e166b93871e7747c799008f58bd30b9"
OTHER = "004a8bf33b2cd204903e46830a4f3b23"
NOW = 1_500_000_000.0

UTMPD = {
    "name": f"/bcantrill/stor/thoth/{ID}",
    "dump": f"/bcantrill/stor/thoth/{ID}/core.19972",
    "pid": "19972",
    "cmd": "utmpd",
    "psargs": "/usr/lib/utmpd -x=1\n",
    "platform": "joyent_20130418T192128Z",
    "node": "headnode",
    "time": NOW - 3600,
    "stack": ["libc.so.1`__pollsys+0x15()", "wait_for_pids+0xe3()", "main+0x379()"],
    "type": "core",
    "signal": 11,
    "load": 1.0,
    "complete": True,
    "ticket": None,
    "exec": text(b"/opt/\xff\xfe/bin"),
    "lwps": [1, 2, [3], {"id": 4}],
    "properties": {"triage": {"engineer": "bmc", "n": 7}, "a[b]": "x", "tags": ["smf", "boot"]},
}


def found(*words: str) -> bool:
    query, rest = parse(words, now=NOW)
    assert not rest
    return matches(query, UTMPD)


@pytest.mark.parametrize(
    "word",
    [
        "cmd=utmpd",
        "cmd=utm*",
        "cmd=*",
        "cmd=*mp*",
        "cmd=?tmp?",
        "psargs=*x=1?",  # '=' is part of the value, a newline a character
        "psargs=*utmpd*",
        "pid=19972",
        "pid=199*",
        "signal=11",
        "signal=11.0",
        "signal=1.1e1",
        "signal=1?",
        "load=1",
        "load=1.0",
        "load=1.*",
        "complete=true",
        "complete=t*",
        "ticket=undefined",
        "nothing=undefined",
        "properties.triage.nothing=undefined",
        "cmd.deeper=undefined",
        "stack=main+0x379()",
        "stack=*wait_for_pids*",
        "lwps=2",
        "properties.triage.engineer=bmc",
        "properties.triage.n=7",
        "properties.a[b]=x",
        "properties.tags=b*",
        text(b"exec=/opt/\xff\xfe/bin"),
        text(b"exec=/opt/\xff?/*"),
        "mtime=2h",
        "time=3601",
        "otime=59min",
        f"dump={ID}",
        f"dumps={ID[:8]}",
        f"name=/bcantrill/stor/thoth/{ID}",
        f"name=/bcantrill/stor/thoth/{ID}/",
        "name=/bcantrill/*",
        f"dump=/bcantrill/stor/thoth/{ID}/core.19972",
        "dump=*/core.19972",
        f"id={ID}",
        f"id={ID[:5]}*",
        ID,
        ID[:1],
        f"/bcantrill/stor/thoth/{ID}",
        "limit=1",
    ],
)
def test_matches(word: str) -> None:
    assert found(word)


@pytest.mark.parametrize(
    "word",
    [
        "cmd=utmp",
        "cmd=UTMPD",
        "cmd=",
        "cmd=?",
        "cmd=undefined",
        "pid=19972.0",  # the text of a number is text
        "pid=019972",
        "signal=011",
        "signal=true",
        "complete=1",
        "complete=True",
        "ticket=null",
        "ticket=*",
        "nothing=*",
        "properties=*",
        "properties.triage=*",
        "properties.triage.engineer.first=*",
        "triage=*",
        "stack=main",
        "lwps=3",
        "lwps=4",
        "lwps.id=4",
        "stack.0=*",
        text(b"exec=/opt/\xfe\xff/bin"),
        "mtime=1h",
        "otime=1h",
        "time=undefined",
        f"dump={OTHER}",
        OTHER[:4],
        "0",
    ],
)
def test_matches_not(word: str) -> None:
    assert not found(word)


def test_all_constraints_have_to_hold() -> None:
    assert found("cmd=utmpd", "type=core")
    assert not found("cmd=utmpd", "type=crash")
    assert found(OTHER, ID)  # several dumps are several dumps
    assert not found(f"dump={OTHER}", ID)


@pytest.mark.parametrize(
    ("words", "query"),
    [
        ([], Query()),
        (["a=b=c"], Query((Equals(("a",), "b=c"),))),
        (["a.b=*"], Query((Glob(("a", "b"), "*"),))),
        (["a=undefined"], Query((Undefined(("a",)),))),
        (["mtime=60", "otime=1d"], Query((Newer(NOW - 60), Older(NOW - 86400)))),
        (["mtime=undefined"], Query((Timeless(),))),
        (["limit=7", "limit=5"], Query(limit=5)),
        ([ID, "ab"], Query((Named(frozenset([ID, "ab"])),))),
        (["name=undefined"], Query((Undefined(("name",)),))),
        (["dumps=undefined"], Query((Undefined(("dump",)),))),
    ],
)
def test_parse(words: list[str], query: Query) -> None:
    assert parse(words, now=NOW) == (query, ())


def test_other_words_come_back_in_order() -> None:
    query, rest = parse(["stack", "cmd=a", "properties.triage", ID[:6], "Abc", "--x"], now=NOW)
    assert rest == ("stack", "properties.triage", "Abc", "--x")
    assert query == Query((Equals(("cmd",), "a"), Named(frozenset([ID[:6]]))))


@pytest.mark.parametrize(
    ("words", "split"),
    [
        ("086d triage bmc", "086d | triage bmc"),
        ("086d cafe dead=beef", "086d | cafe dead=beef"),
        ("cmd=a type=core triage x=y", "cmd=a type=core | triage x=y"),
        ("cmd=a", "cmd=a | "),
        ("086d", "086d | "),
    ],
)
def test_split_words(words: str, split: str) -> None:
    assert " | ".join(" ".join(part) for part in split_words(words.split())) == split


def test_split_words_of_none() -> None:
    assert split_words([]) == ((), ())


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


BAD = [
    "=x",
    "limit=-1",
    "limit=0",
    "limit=1.5",
    "limit=",
    "limit=\u0663",
    "limit=9999999999999999999",
    "mtime=1e99y",
    "mtime=-1d",
    "mtime=nan",
    "mtime=inf",
    "mtime=1 d",
    "mtime=",
    "mtime=d",
    "mtime=1Y",
    "mtime=9999999999999y",
    "time=15*",
    "otime=\u0661d",
    "a..b=x",
    ".=x",
    "a.=x",
    ".".join(["a.b.c"] * 1000) + "=x",
    "x" * 2000 + "=x",
    "a\0=x",
    "a=x\0",
    "dump=",
    "dump=core.123",
    "name=3E16",
    f"dump={ID}0",
    "cmd=" + "*" * (MAX_PATTERN + 1),
    "dump=stdin",
]


@pytest.mark.parametrize("word", BAD, ids=range(len(BAD)))
def test_F24_bad_word_is_named_in_one_line(word: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse([word], now=NOW)
    message = str(raised.value)
    assert ascii(word)[1:10].rstrip("'") in message
    assert message.isprintable()
    assert len(message) < 250


@pytest.mark.parametrize("name", ["", "a..b", ".", "a" * 1025, ".".join(["a"] * (MAX_PARTS + 1)), "a\0"])
def test_F24_bad_property(name: str) -> None:
    with pytest.raises(UsageError):
        property_path(name)


@pytest.mark.parametrize("name", ["__class__", "__dict__", "properties.__class__.__init__", "constructor"])
def test_F24_property_is_a_key_and_nothing_else(name: str) -> None:
    assert lookup(UTMPD, property_path(name)) is None
    assert found(f"{name}=undefined")


@pytest.mark.parametrize("value", ["[", "[a-z]*", "(a+)+", "^utmpd$", "utmpd|x", "{a,b}", "\\*", "%", "_*"])
def test_F24_other_characters_are_themselves(value: str) -> None:
    query, _ = parse([f"cmd={value}"], now=NOW)
    assert not matches(query, UTMPD)
    assert matches(query, {**UTMPD, "cmd": value})


@pytest.mark.parametrize(
    ("pattern", "whole", "fits"),
    [
        ("", "", True),
        ("", "a", False),
        ("*", "", True),
        ("**", "", True),
        ("?", "", False),
        ("?", "\udcff", True),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("ab*ba", "aba", False),
        ("*ab", "aab", True),
        ("*a?c*", "abbabcb", True),
        ("*a?c*", "abbabb", False),
        ("*?b*?b", "abab", True),
        ("*?b*?b", "abb", False),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "a-c-b", False),
        ("*??*", "ab", True),
        ("*??*", "a", False),
        ("?a*", "?a", True),
    ],
)
def test_glob(pattern: str, whole: str, fits: bool) -> None:
    assert glob_matches(pattern, whole) is fits


@given(st.text("ab?*", max_size=8), st.text("ab?", max_size=10))
def test_glob_is_what_a_regular_expression_says(pattern: str, whole: str) -> None:
    signs = {"*": "(?s:.*)", "?": "(?s:.)"}
    expression = "".join(signs.get(each, re.escape(each)) for each in pattern)
    assert glob_matches(pattern, whole) is (re.fullmatch(expression, whole) is not None)


@pytest.mark.parametrize(
    ("pattern", "long_text"),
    [
        ("*a" * 500 + "*b", "a" * 65536),
        ("(a+)+*b*c", "a" * 65536),
        ("*" + "a" * 500 + "b*", "a" * 65536),
        ("*" + "?a" * 500 + "b*", "a" * 65536),
        ("*?" * 500 + "b*a", "a" * 65536),
        ("*" + "?" * 900 + "b*", "a" * 65536),
    ],
)
def test_F24_no_pattern_is_a_bomb(pattern: str, long_text: str) -> None:
    query = Query((Glob(("cmd",), pattern),))
    started = time.monotonic()
    assert not matches(query, {"cmd": long_text})
    assert time.monotonic() - started < 1


def test_too_many_constraints() -> None:
    parse(["a=b"] * MAX_CONSTRAINTS, now=NOW)
    with pytest.raises(UsageError, match="too many"):
        parse(["a=b"] * (MAX_CONSTRAINTS + 1), now=NOW)


def test_dumps_from_standard_input() -> None:
    lines = [f"{ID}\n", "\n", f"  {OTHER[:16]} core  2017-11\n".split("core")[0], f"/x/stor/thoth/{OTHER}"]
    for word in ("dump=stdin", "dumps=stdin", "name=stdin"):
        query, _ = parse([word], now=NOW, stdin=lambda: lines)
        assert query == Query((Named(frozenset([ID, OTHER[:16], OTHER])),))


@pytest.mark.parametrize("lines", [[], ["\n", "  "], [ID, "no-dump"], ["\udcff"]])
def test_F38_standard_input_that_names_no_dump(lines: list[str]) -> None:
    with pytest.raises(UsageError, match="standard input"):
        parse(["dump=stdin"], now=NOW, stdin=lambda: lines)


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
