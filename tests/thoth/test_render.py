"""Foreign text, sizes, ages, times, tables and JSON as people see them."""

from __future__ import annotations

import json
import tracemalloc
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from thoth.errors import IndexFailure, UsageError
from thoth.index.base import selected
from thoth.model import DumpInfo, text
from thoth.render import (
    age_text,
    cell,
    escaped,
    json_array,
    json_counts,
    one_line,
    size_text,
    table,
    table_paths,
    time_text,
)

ANY_TEXT = st.text(st.characters(codec=None)) | st.binary().map(text)
HEADER = "NAME             TYPE  TIME                NODE/CMD         TICKET"
ID = "76998f82a450a8914037e4da838ec609"


def acts_on_a_terminal(char: str) -> bool:
    """Whether a character does more than show itself: control, surrogate, format, line separator."""
    return unicodedata.category(char) in {"Cc", "Cs", "Cf", "Zl", "Zp"}


def undone(shown: str) -> str:
    """What ``escaped`` was given: written from its description, not from its code."""
    out, at = [], 0
    while at < len(shown):
        if shown[at] != "\\":
            out.append(shown[at])
            at += 1
            continue
        kind = shown[at + 1]
        if kind in "nrt\\":
            out.append({"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}[kind])
            at += 2
            continue
        digits = {"x": 2, "u": 4, "U": 8}[kind]
        code = int(shown[at + 2 : at + 2 + digits], 16)
        out.append(chr(code + 0xDC00 if kind == "x" and code >= 0x80 else code))
        at += 2 + digits
    return "".join(out)


class TestEscaped:
    @given(ANY_TEXT)
    @example("\x1b[2J\x9b\x7f\x85\u2028\u202e\ufeff\udcff\ud800\U000e0041")
    def test_nothing_that_acts_on_a_terminal_survives(self, value: str) -> None:
        assert not any(acts_on_a_terminal(char) for char in escaped(value))

    @given(ANY_TEXT)
    @example("\x85\udc85\\x85")
    @example("\udc0a\udc7f\udbff\udd00")
    @example("\\n\n")
    @example("\u0130\\u0130")
    def test_what_was_there_can_be_told_from_what_is_shown(self, value: str) -> None:
        assert undone(escaped(value)) == value

    @given(st.binary())
    def test_bytes_are_shown_as_their_text(self, value: bytes) -> None:
        assert escaped(value) == escaped(text(value))

    def test_letters_of_any_script_stay(self) -> None:
        assert escaped("Zürich Ωμέγα 北京 🦉") == "Zürich Ωμέγα 北京 🦉"

    @pytest.mark.parametrize(
        ("raw", "shown"),
        [
            (b"core.\xff\xfe\n;$(x)", "core.\\xff\\xfe\\n;$(x)"),
            (b"\x1b]0;pwned\x07", "\\x1b]0;pwned\\x07"),
            ("\u009b31m".encode(), "\\u009b31m"),
            ("a\u202eb".encode(), "a\\u202eb"),
            (b"C:\\x41", "C:\\\\x41"),
            (b"", ""),
        ],
    )
    def test_F23_named_cases(self, raw: bytes, shown: str) -> None:
        assert escaped(raw) == shown


class TestOneLine:
    @given(ANY_TEXT, st.sampled_from(["utf-8", "ascii", "latin-1", "no-such-codec"]))
    def test_it_is_one_harmless_line_in_the_encoding(self, value: str, encoding: str) -> None:
        shown = one_line(value, encoding)
        assert not any(acts_on_a_terminal(char) for char in shown)
        shown.encode("ascii" if encoding == "no-such-codec" else encoding)

    @given(ANY_TEXT)
    def test_what_was_escaped_is_left_alone(self, value: str) -> None:
        assert one_line(escaped(value)) == escaped(value)

    def test_a_terminal_without_unicode_gets_escapes(self) -> None:
        assert one_line("Zürich 北", "ascii") == "Z\\u00fcrich \\u5317"


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0B"),
        (1023, "1023B"),
        (1024, "1.00KB"),
        (4016046, "3.83MB"),
        ((1 << 20) - 1, "1.00MB"),
        (1 << 40, "1.00TB"),
        (1 << 70, "1048576.00PB"),
    ],
)
def test_size_text(size: int, shown: str) -> None:
    assert size_text(size) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "0s"),
        (0.9, "0s"),
        (59, "59s"),
        (60, "1m0s"),
        (3599, "59m59s"),
        (7500, "2h5m"),
        (86399, "23h59m"),
        (349200, "4d1h"),
    ],
)
def test_age_text(seconds: float, shown: str) -> None:
    assert age_text(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "-"),
        (1449234626, "2015-12-04T13:10:26"),
        (1449234626.999, "2015-12-04T13:10:26"),
        (0, "1970-01-01T00:00:00"),
        (-1, "1969-12-31T23:59:59"),
        (4102444800, "2100-01-01T00:00:00"),
        (1e12, "1e+12"),
        (1e300, "1e+300"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
    ],
)
def test_F19_time_text(seconds: float | None, shown: str) -> None:
    assert time_text(seconds) == shown


class TestTable:
    def lines(self, infos: Iterable[DumpInfo], properties: Sequence[str] = ()) -> list[str]:
        paths = table_paths(properties)
        return list(table((selected(info, paths) for info in infos), properties))

    def info(self, **values: object) -> DumpInfo:
        return DumpInfo({"id": ID, "type": "core", "time": 1449234626, **values})

    def test_header_and_row_are_the_original_s(self) -> None:
        assert self.lines([self.info(cmd="bc")]) == [
            HEADER,
            "76998f82a450a891 core  2015-12-04T13:10:26 bc               -",
        ]

    def test_a_crash_dump_shows_its_node(self) -> None:
        line = self.lines([self.info(type="crash", node="95SY9R1", cmd="x")])[1]
        assert line == "76998f82a450a891 crash 2015-12-04T13:10:26 95SY9R1          -"

    def test_properties_follow(self) -> None:
        info = self.info(cmd="bc", ticket="OS-2359", stack=["a"], properties={"k": "bmc"})
        lines = self.lines([info, self.info(cmd="dc", time=None)], ["stack", "properties.k", "nope"])
        assert lines == [
            HEADER + "       STACK        PROPERTIES.K NOPE",
            f'{ID[:16]} core  2015-12-04T13:10:26 bc               OS-2359      ["a"]        bmc          -',
            f"{ID[:16]} core  -                   dc               -            -            -            -",
        ]

    def test_a_long_value_is_shown_whole(self) -> None:
        assert f" {'n' * 300} -" in self.lines([self.info(cmd="n" * 300)])[1]

    def test_wide_letters_keep_the_columns(self) -> None:
        line = self.lines([self.info(cmd="北京e\u0301")])[1]
        assert line.endswith(" 北京e\u0301" + " " * (16 - 5) + " -")

    def test_the_header_waits_for_the_first_dump_and_for_no_other(self) -> None:
        def one() -> Iterator[tuple[object, ...]]:
            yield selected(self.info(), table_paths())
            raise AssertionError("a second dump was asked for before the first one was shown")

        lines = table(one())
        assert next(lines).startswith("NAME")
        assert next(lines).startswith(ID[:16])

    def test_there_is_no_header_where_no_dump_can_be_read(self) -> None:
        def broken() -> Iterator[tuple[object, ...]]:
            raise IndexFailure("damaged")
            yield

        with pytest.raises(IndexFailure):
            next(table(broken()))

    def test_what_cannot_be_a_property_is_refused(self) -> None:
        with pytest.raises(UsageError):
            table_paths(["a..b"])

    def test_times_that_are_none_do_not_stop_the_list(self) -> None:
        times: list[object] = [None, "soon", 10**400, float("nan"), [], "1449234626"]
        lines = self.lines([self.info(time=time) for time in times])
        assert [line.split()[2] for line in lines[1:]] == ["-"] * 5 + ["2015-12-04T13:10:26"]

    @given(st.lists(st.none() | st.floats(-1e6, 1e12) | st.sampled_from([-1e-20, 86399.999, 86400, 253402300799.9])))
    def test_F19_each_time_is_shown_as_if_it_were_the_only_one(self, times: list[float | None]) -> None:
        lines = self.lines([self.info(time=time) for time in times])
        assert [line[23:].split()[0] for line in lines[1:]] == [time_text(time) for time in times]

    @given(st.lists(st.sampled_from(["a", "1", 1, True, 1.0, None, "", "x" * 70, ["a"], {}, "true", 0, False])))
    def test_each_value_is_shown_as_if_it_were_the_only_one(self, values: list[object]) -> None:
        lines = self.lines([self.info(cmd=value, ticket=value) for value in values])
        assert lines[1:] == [self.lines([self.info(cmd=value, ticket=value)])[1] for value in values]
        assert [line.split()[-1] for line in lines[1:]] == [cell(value) for value in values]

    def test_memory_is_not_for_what_was_shown(self) -> None:
        infos = (self.info(cmd=f"{'c' * 50}{number}", ticket="t" * 10_000 + str(number)) for number in range(20_000))
        paths = table_paths()
        tracemalloc.start()
        try:
            for _ in table(selected(info, paths) for info in infos):
                pass
            assert tracemalloc.get_traced_memory()[1] < 4 << 20
        finally:
            tracemalloc.stop()

    @given(
        st.dictionaries(
            st.sampled_from(["type", "cmd", "node", "ticket", "x"]),
            st.recursive(
                ANY_TEXT | st.none() | st.integers() | st.floats(),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
                max_leaves=4,
            ),
        )
    )
    def test_F23_no_document_gets_anything_raw_through(self, document: dict[str, object]) -> None:
        info = self.info(**document)
        for line in (*self.lines([info]), *self.lines([info], ["x", "x.y", "\x1b[0m"])):
            assert not any(acts_on_a_terminal(char) for char in line)


class TestJsonCounts:
    def test_it_is_laid_out_as_the_original_s(self) -> None:
        counts = {"joyent_20130625T221319Z": 47, "a\x7f\n": 57}
        written = "".join(json_counts(counts))
        assert written == '{\n  "joyent_20130625T221319Z": 47,\n  "a\\u007f\\n": 57\n}\n'
        assert json.loads(written) == counts

    def test_none_is_an_empty_object(self) -> None:
        assert "".join(json_counts({})) == "{}\n"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        ("", "-"),
        (0, "0"),
        (False, "false"),
        ("a b", "a b"),
        ("a\nb", "a\\nb"),
        (["\x7f\x1b"], '["\\u007f\\u001b"]'),
    ],
)
def test_cell(value: object, shown: str) -> None:
    assert cell(value) == shown


class TestJsonArray:
    def test_it_reads_back_and_is_laid_out_as_json_is(self) -> None:
        infos = [
            DumpInfo({"id": ID, "psargs": "a\nb\x7f"}),
            DumpInfo({"id": ID, "stack": ["x"], "properties": {}}),
        ]
        written = "".join(json_array(infos))
        assert json.loads(written) == [info.document for info in infos]
        assert written == json.dumps([info.document for info in infos], indent=4).replace("\x7f", "\\u007f") + "\n"

    def test_none_is_an_empty_array(self) -> None:
        assert "".join(json_array([])) == "[]\n"


def test_a_vmcore_in_the_form_of_a_core_is_told_by_its_node() -> None:
    rows = [("a" * 32, "core", 0.0, "db1", None, None), ("b" * 32, "core", 0.0, "db1", "bc", None)]
    assert [line.split()[3] for line in list(table(rows))[1:]] == ["db1", "bc"]
    assert [line.split()[3] for line in list(table([(*row, "x") for row in rows], ["pid"]))[1:]] == ["db1", "bc"]
