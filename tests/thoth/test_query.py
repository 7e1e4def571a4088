"""Dump specifications: what words mean, and which are refused."""

from __future__ import annotations

import pytest

from thoth.errors import UsageError
from thoth.model import text
from thoth.query import (
    MAX_CONSTRAINTS,
    MAX_PARTS,
    MAX_PATTERN,
    Arrived,
    Equals,
    Glob,
    Named,
    Newer,
    Older,
    Query,
    Timeless,
    Undefined,
    lookup,
    matches,
    parse,
    property_path,
    shown,
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
        (["uploaded=1h"], Query((Arrived(NOW - 3600),))),
        (["uploaded=undefined"], Query((Undefined(("uploaded",)),))),
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
    "uploaded=yesterday",
    "uploaded=1*",
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
    assert repr(word)[1:10].rstrip("'") in message
    assert message.isprintable()
    assert len(message) < 250


def test_letters_of_any_script_are_shown_as_they_are() -> None:
    assert [shown(each) for each in ("naïve-ключ", "a\u202eb\x1b", "x" * 90)] == [
        "'naïve-ключ'",
        r"'a\u202eb\x1b'",
        f"'{'x' * 77}...'",
    ]


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
