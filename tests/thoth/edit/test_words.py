"""Names of properties, values and tickets as people write them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given

from tests.support.arrivals import CORE, take, whole
from tests.thoth.edit.scene import values
from thoth.edit import SYSTEM, SetProperty, edit_dump, property_value, property_value_from, settable, ticket_text
from thoth.errors import UsageError
from thoth.index.documents import MAX_DEPTH
from thoth.library import Thoth
from thoth.model import Json


class TestSettable:
    @pytest.mark.parametrize(
        ("name", "path"),
        [
            ("triage", ("triage",)),
            ("triage.engineer", ("triage", "engineer")),
            ("properties.triage", ("triage",)),
            ("properties.name", ("name",)),
            ("cmd", ("cmd",)),
            ("a b", ("a b",)),
            ("$x", ("$x",)),
            ("triage.name", ("triage", "name")),
            ("__class__", ("__class__",)),
        ],
    )
    def test_paths(self, name: str, path: tuple[str, ...]) -> None:
        assert settable(name) == path

    @pytest.mark.parametrize(
        "name",
        # those that cli.md names, then what later parts of a document are
        [
            "name",
            "dump",
            "platform",
            "node",
            "version",
            "type",
            "time",
            "stack",
            "id",
            "size",
            "sha256",
            "complete",
            "md5",
            "revision",
            "uploaded",
            "sources",
            "purged",
            "expanded",
            "autoanalyzed",
            "properties",
        ],
    )
    def test_F24_what_the_system_sets(self, name: str) -> None:
        assert name in SYSTEM
        for written in (name, f"{name}.a"):
            if written != "properties.a":
                with pytest.raises(UsageError, match=f"'{written}' is set by Thoth itself"):
                    settable(written)

    def test_the_ticket_has_its_own_commands(self) -> None:
        with pytest.raises(UsageError, match="'thoth ticket'"):
            settable("ticket")

    @pytest.mark.parametrize("name", ["", ".", "a.", ".a", "a..b", "a\0b", "a=b", "x" * 1025, ".".join("a" * 33)])
    def test_F24_what_is_no_name(self, name: str) -> None:
        with pytest.raises(UsageError):
            settable(name)


class TestValues:
    @pytest.mark.parametrize(
        ("given", "value"),
        [
            ("bmc", "bmc"), ("17", 17), ("1.5", 1.5), ("true", True), ("null", None), ('"17"', "17"), ("", ""),
            ('{"a": [1]}', {"a": [1]}), ("NaN", "NaN"), ("-Infinity", "-Infinity"), ("1e999", "1e999"),
            ("a=b", "a=b"), ("'17'", "'17'"), ("{", "{"), ("\udcff", "\udcff"), ("[[", "[["), ("0x1f", "0x1f"),
            ("9" * 5000, "9" * 5000),
        ],
    )  # fmt: skip
    def test_json_when_it_is_json_else_text(self, given: str, value: Json) -> None:
        assert (property_value(given), type(property_value(given))) == (value, type(value))

    @given(values)
    def test_every_json_value(self, value: Json) -> None:
        written = json.dumps(value)
        assert property_value(written) == value
        assert property_value_from(written.encode(), "x") == value

    def test_standard_input_is_utf_8_with_or_without_a_mark(self) -> None:
        assert property_value_from('{"é": "北"}\n'.encode("utf-8-sig"), "x") == {"é": "北"}

    @pytest.mark.parametrize("data", [b"bmc", b"{", b"NaN", b"[1e999]", b"\xff\xfe", b'{"a": 1} {"b": 2}', b"[01]"])
    def test_standard_input_that_is_no_json(self, data: bytes) -> None:
        with pytest.raises(UsageError, match=r"^the pipe is not JSON: "):
            property_value_from(data, "the pipe")

    @pytest.mark.parametrize("depth", [MAX_DEPTH, 900, 100_000])
    def test_F37_what_is_nested_too_deep_is_refused_at_once(self, depth: int) -> None:
        written = "[" * depth + "]" * depth
        with pytest.raises(UsageError, match="nested too deep"):
            property_value(written)
        with pytest.raises(UsageError, match="nested too deep"):
            property_value_from(written.encode(), "x")

    def test_F37_what_is_nested_as_deep_as_can_be_is_kept(self, thoth: Thoth) -> None:
        identity = take(thoth, CORE).info.id
        value = property_value("[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1))
        edit_dump(thoth, identity, [SetProperty(("a",), value)])
        assert whole(thoth, identity).properties == {"a": value}

    @pytest.mark.parametrize("ticket", ["OS-2359", "#17", "TRITON-1", "é", "x" * 256, "https://x/y"])
    def test_tickets(self, ticket: str) -> None:
        assert ticket_text(ticket) == ticket

    @pytest.mark.parametrize("ticket", ["", "OS=1", "OS 1", "a\nb", "\x1b[2J", "\u202e", "\udcff", "x" * 257, "a\0"])
    def test_what_is_no_ticket(self, ticket: str) -> None:
        with pytest.raises(UsageError, match="is not a ticket"):
            ticket_text(ticket)
