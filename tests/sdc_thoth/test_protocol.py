"""What a node replies is hostile until it is parsed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdc_thoth import protocol
from sdc_thoth.errors import Desynchronized, NodeError, ProtocolError
from sdc_thoth.listing import Found, Odd, Place, Signature
from sdc_thoth.protocol import Get
from tests.sdc_thoth.shells import Pipe

PLACES = [Place("core", "-", "/zones/*/cores", "core.*"), Place("kernel", "Linux", "@core_pattern", "*")]
SIGNATURE = b"1:2:300:1700000000.5:1700000001:1"
MARK = "m"
FOUND = Found("core", b"/zones/z/cores", b"core.1", Signature.parse(SIGNATURE))

# Pieces of real replies, so that random ones get past the first field.
_WORDS = b"found odd bad system end group about ok core /zones/z/cores core.1 1 2 -1 99999999999999999999".split()
_PIECES = st.sampled_from(
    [*_WORDS, b"group m", b"after m", b"end m", b"", SIGNATURE, SIGNATURE + b"\n" + SIGNATURE, b"changed 1:2"]
)
_REPLIES = st.lists(_PIECES | st.binary(max_size=20), max_size=30).map(lambda pieces: b"\0".join(pieces) + b"\0")

PARSERS: list[Callable[[Pipe], object]] = [
    lambda reply: list(protocol.discovered(reply, PLACES)),
    lambda reply: protocol.statuses(reply, [Get(FOUND), Get(FOUND)], MARK),
    lambda reply: protocol.afterwards(reply, [Get(FOUND)], MARK),
    lambda reply: list(protocol.hashes(reply, 2)),
    protocol.about,
    protocol.ended,
]


@pytest.mark.parametrize("parser", PARSERS)
@given(data=_REPLIES | st.binary(max_size=300))
def test_F21_any_reply_is_parsed_or_refused(parser: Callable[[Pipe], object], data: bytes) -> None:
    try:
        parser(Pipe(data))
    except NodeError:
        return


def listing(*fields: bytes) -> list[object]:
    return list(protocol.discovered(Pipe(b"\0".join(fields) + b"\0"), PLACES))


def test_a_listing() -> None:
    two = SIGNATURE + b"\n" + SIGNATURE
    items = listing(b"found", b"core", b"/zones/z/cores", b"", b"2", b"core.1", b"core.\n", two, b"end")
    assert items == [FOUND, Found("core", b"/zones/z/cores", b"core.\n", Signature.parse(SIGNATURE))]


@pytest.mark.parametrize("times", [b":", b"nan:inf", b"1e9:2", b"x:1", b"1.:2", b"--1:2", b"1:"])
def test_F19_a_file_without_times_costs_no_other(times: bytes) -> None:
    line = b"1:2:300:" + times + b":1"
    signatures = SIGNATURE + b"\n" + line + b"\n" + SIGNATURE
    names = (b"core.1", b"core.2", b"core.3")
    first, second, third = listing(b"found", b"core", b"/zones/z/cores", b"", b"3", *names, signatures, b"end")
    assert (first, third) == (FOUND, replace(FOUND, name=b"core.3"))
    kind = f"not a file's times: {line!r}; 'touch' it"
    assert second == Odd("core", b"/zones/z/cores", b"core.2", kind, failed=True)


@pytest.mark.parametrize(
    "line", [b"1:2:-3:::1", b"1:2:9999999999999999999:::1", b"1:2:3::", b":2:3:::1", b"1:2:3:::", b"1:2:3:::1:5"]
)
def test_F21_without_times_all_else_has_to_be_right(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        listing(b"found", b"core", b"/zones/z/cores", b"", b"1", b"core.1", line, b"end")


@pytest.mark.parametrize(
    "fields",
    [
        (b"found", b"core", b"/etc", b"", b"1", b"core.1", SIGNATURE, b"end"),
        (b"found", b"core", b"/zones/a/b/cores", b"", b"1", b"core.1", SIGNATURE, b"end"),
        (b"found", b"crash", b"/zones/z/cores", b"", b"1", b"core.1", SIGNATURE, b"end"),
        (b"found", b"core", b"/zones/z/cores", b"", b"1", b"passwd", SIGNATURE, b"end"),
        (b"found", b"core", b"/zones/z/cores", b"", b"1", b"core.a/../../x", SIGNATURE, b"end"),
        (b"found", b"kernel", b"/anywhere", b"", b"1", b"..", SIGNATURE, b"end"),
        (b"odd", b"core", b"/etc", b"passwd", b"a link", b"end"),
    ],
)
def test_F21_a_path_that_was_not_asked_for(fields: tuple[bytes, ...]) -> None:
    with pytest.raises(ProtocolError, match=r"not asked for|not a file name"):
        listing(*fields)


@pytest.mark.parametrize(
    "fields",
    [
        (b"found", b"core", b"/zones/z/cores", b"", b"2", b"core.1", b"core.2", SIGNATURE, b"end"),
        (b"found", b"core", b"/zones/z/cores", b"", b"0", b"", b"end"),
        (b"found", b"core", b"/zones/z/cores", b"", b"-1", b"", b"end"),
        (b"found", b"core", b"/zones/z/cores", b"", b"100000", b"core.1", SIGNATURE, b"end"),
        (b"found", b"core", b"/zones/z/cores", b"", b"1", b"core.1", b"", b"end"),
        (b"surprise",),
        (b"found", b"core"),
    ],
)
def test_F21_bad_framing(fields: tuple[bytes, ...]) -> None:
    with pytest.raises(ProtocolError):
        listing(*fields)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"1:2:3",
        b"1:2:-3:4:5:1",
        b"1:2:" + b"9" * 31 + b":4:5:1",
        b"1:2:9999999999999999999:4:5:1",
        b"1:2:3:nan:5:1",
        b"1:2:3:4:5:1:6",
        b"a:b:c:d:e:f",
        b"1:2:3:4:1e9:1",
    ],
)
def test_F21_bad_signatures(raw: bytes) -> None:
    with pytest.raises(ProtocolError):
        Signature.parse(raw)


def test_F13_bytes_that_do_not_add_up() -> None:
    for data in (
        b"more bytes\0after m\0",
        b"\0after m\0" + SIGNATURE,
        b"after m\0\0",
        b"after m\0" + SIGNATURE + b"\0",
        b"after\0" + SIGNATURE + b"\n\0",  # another's mark, or none: what a file holds
        b"after x\0" + SIGNATURE + b"\n\0",
        b"x" * 100,
    ):
        with pytest.raises(Desynchronized):
            protocol.afterwards(Pipe(data), [Get(FOUND)], MARK)
    assert protocol.afterwards(Pipe(b"after m\0" + SIGNATURE + b"\n\0"), [Get(FOUND)], MARK) == [None]
    (now,) = protocol.afterwards(Pipe(b"after m\0" + SIGNATURE[:-1] + b"2\n\0"), [Get(FOUND)], MARK)
    assert now is not None and now.raw == SIGNATURE[:-1] + b"2"


@given(st.binary(min_size=1, max_size=40).filter(lambda raw: b"\0" not in raw))
def test_a_word_is_one_plain_word(raw: bytes) -> None:
    word = protocol.word(raw)
    assert all(0x21 <= byte < 0x7F for byte in word)
    if word.startswith(b"%"):
        plain = word[1:].decode("ascii").replace("\\0", "\\").encode("ascii")
        assert plain.decode("unicode_escape").encode("latin-1") == raw
    else:
        assert word == b"=" + raw


def test_the_script_travels_without_comments() -> None:
    text = protocol.script()
    assert not any(line.startswith(b"#") for line in text.splitlines())
    assert b"discover()" in text
    assert text.isascii()  # a shell counts characters where dd counts bytes
