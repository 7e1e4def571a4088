"""Changes of a dump's document: compare-and-set in the store, then the index."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.arrivals import CORE, take, whole
from tests.support.memory_index import MemoryIndex
from tests.support.memory_store import MemoryStore
from thoth.edit import (
    SYSTEM,
    Edited,
    SetProperty,
    SetTicket,
    UnsetProperty,
    Unticket,
    edit_dump,
    edit_each,
    edited,
    plan_each,
    property_value,
    property_value_from,
    revise,
    settable,
    stored_form,
    ticket_text,
)
from thoth.errors import BadDocument, IndexFailure, NoSuchDump, StoreError, StoreUnavailable, UsageError
from thoth.index.documents import MAX_DEPTH
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity, Json
from thoth.store.base import MAX_SMALL

NOBODY = Identity("0" * 32)

keys = st.text(min_size=1, max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3))
paths = st.lists(keys, min_size=1, max_size=4).map(tuple)


@pytest.fixture
def thoth() -> Thoth:
    return Thoth(MemoryStore(), MemoryIndex(), "bmc")


def info_of(**values: Json) -> DumpInfo:
    return DumpInfo({"id": str(NOBODY), **values})


def properties_after(info: DumpInfo, *edits: SetProperty | UnsetProperty) -> Json:
    return (edited(info, edits) or info).document.get("properties")


def nested(depth: int) -> Json:
    value: Json = 1
    for _ in range(depth):
        value = [value]
    return value


class TestRevise:
    def test_F36_two_writers_both_keep_their_change(self, thoth: Thoth) -> None:
        identity = take(thoth, CORE).info.id
        rounds, barrier = 20, threading.Barrier(4)

        def writer(me: str) -> None:
            for n in range(rounds):
                barrier.wait(10)
                edit_dump(thoth, identity, [SetProperty((f"{me}{n}",), n)])

        threads = [threading.Thread(target=writer, args=(me,)) for me in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        info = whole(thoth, identity)
        assert len(info.properties) == 4 * rounds
        assert info.revision == 4 * rounds

    def test_no_change_writes_nothing_to_the_store_and_heals_the_index(self, thoth: Thoth) -> None:
        info = take(thoth, CORE).info
        thoth.index.delete(info.id)
        assert revise(thoth, info.id, lambda stored: None) == info
        assert whole(thoth, info.id).revision == 0

    def test_a_race_that_is_lost_for_ever_ends_and_waits_longer_and_longer(self, thoth: Thoth) -> None:
        identity = take(thoth, CORE).info.id
        pauses: list[float] = []

        def always_too_late(info: DumpInfo) -> DumpInfo:
            thoth.store.put(f"{info.document['name']}/info.json", info.to_json().encode())
            return info.changed(ticket="X")

        with pytest.raises(StoreError, match="50 times in a row"):
            revise(thoth, identity, always_too_late, sleep=pauses.append, chance=lambda: 0.5)
        assert pauses[:3] == [0.0005, 0.001, 0.002]
        assert pauses[-1] == max(pauses) == 0.05
        assert len(pauses) == 50

    def test_no_such_dump(self, thoth: Thoth) -> None:
        with pytest.raises(NoSuchDump):
            revise(thoth, NOBODY, lambda info: info)

    def test_the_document_of_another_dump_is_not_touched(self, thoth: Thoth) -> None:
        info = take(thoth, CORE).info
        name = f"/bmc/stor/thoth/{NOBODY}/info.json"
        thoth.store.put(name, stored_form(info))
        with pytest.raises(BadDocument, match=f"{name}: is the document of another dump, {info.id}"):
            edit_dump(thoth, NOBODY, [SetTicket("X")])
        assert thoth.store.get(name)[0] == stored_form(info)
        assert thoth.stored_info(info.id) == (info, thoth.store.get(f"/bmc/stor/thoth/{info.id}/info.json")[1])

    @pytest.mark.parametrize(
        "value",
        [nested(MAX_DEPTH), float("nan"), float("inf"), {1, 2}, b"bytes", "x" * MAX_SMALL, [nested(150)] * 15_000],
        ids=["deep", "nan", "inf", "set", "bytes", "large", "large with its indents"],
    )
    def test_F37_what_cannot_be_kept_changes_neither_store_nor_index(self, thoth: Thoth, value: Json) -> None:
        info = take(thoth, CORE).info
        with pytest.raises(BadDocument, match=info.id):
            edit_dump(thoth, info.id, [SetTicket("X"), SetProperty(("a",), value)])
        assert whole(thoth, info.id) == info

    def test_F37_a_document_that_contains_itself_is_refused(self, thoth: Thoth) -> None:
        info = take(thoth, CORE).info
        loop: list[Json] = []
        loop.append(loop)
        with pytest.raises(BadDocument, match="nested deeper"):
            edit_dump(thoth, info.id, [SetProperty(("a",), loop)])
        assert whole(thoth, info.id) == info

    def test_the_largest_document_is_kept(self, thoth: Thoth) -> None:
        info = take(thoth, CORE).info
        room = MAX_SMALL - len(stored_form(info.changed(properties={"a": ""})))
        edit_dump(thoth, info.id, [SetProperty(("a",), "x" * room)])
        data = thoth.store.get(f"/bmc/stor/thoth/{info.id}/info.json")[0]
        assert len(data) == MAX_SMALL
        with pytest.raises(BadDocument, match="over 64 MiB"):
            edit_dump(thoth, info.id, [SetProperty(("a",), "x" * (room + 1))])
        assert thoth.store.get(f"/bmc/stor/thoth/{info.id}/info.json")[0] == data


@given(st.dictionaries(keys, values, max_size=4))
def test_info_json_is_the_document(document: dict[str, Json]) -> None:
    info = info_of(properties=document)
    form = stored_form(info)
    assert form == (info.to_json(indent=4) + "\n").encode()
    assert DumpInfo.from_json(form) == info
    assert all(byte == 0x0A or 0x20 <= byte < 0x7F for byte in form)


# ---- names, values, tickets -----------------------------------------------------------------------


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


# ---- edits ----------------------------------------------------------------------------------------


class TestEdited:
    @given(st.dictionaries(keys, values, max_size=3), paths, values)
    def test_what_is_set_is_there_and_unset_again_all_is_as_before(
        self, before: dict[str, Json], path: tuple[str, ...], value: Json
    ) -> None:
        info = info_of(properties={key: old for key, old in before.items() if key != path[0]}, cmd="bc")
        done = edited(info, [SetProperty(path, value)])
        assert done is not None
        found: Json = done.properties
        for key in path:
            found = found[key]
        assert (json.dumps(found), done.revision, done.document["cmd"]) == (json.dumps(value), 1, "bc")
        assert edited(done, [SetProperty(path, value)]) is None
        assert properties_after(done, UnsetProperty(path[:1])) == info.document["properties"]

    @given(st.lists(st.tuples(paths, values), min_size=1, max_size=6))
    def test_the_order_of_edits_of_different_keys_does_not_matter(
        self, wanted: list[tuple[tuple[str, ...], Json]]
    ) -> None:
        edits = [SetProperty(path[:1], value) for path, value in dict(wanted).items()]
        apart = list({edit.path: edit for edit in edits}.values())
        assert properties_after(info_of(), *apart) == properties_after(info_of(), *reversed(apart))

    def test_objects_on_the_way_are_made_and_others_kept(self) -> None:
        info = info_of(properties={"triage": {"engineer": "bmc"}, "x": None})
        assert properties_after(info, SetProperty(("triage", "state", "now"), 1), SetProperty(("x", "y"), 2)) == {
            "triage": {"engineer": "bmc", "state": {"now": 1}},
            "x": {"y": 2},
        }

    @pytest.mark.parametrize("value", ["bmc", 1, [1], False])
    def test_nothing_is_set_inside_what_is_no_object(self, value: Json) -> None:
        info = info_of(properties={"a": {"triage": value}})
        with pytest.raises(UsageError, match=f"{NOBODY}: property 'triage' is no object"):
            edited(info, [SetProperty(("a", "triage", "engineer"), "bmc")])

    @pytest.mark.parametrize(
        ("properties", "path"),
        [
            ({}, ("a",)),
            (None, ("a",)),
            ({"a": 1}, ("a", "b")),
            ({"a": [1]}, ("a", "b")),
            ({"a": {"b": 1}}, ("a", "c")),
        ],
    )
    def test_what_is_not_set_is_unset_already(self, properties: Json, path: tuple[str, ...]) -> None:
        info = info_of() if properties is None else info_of(properties=properties)
        assert edited(info, [UnsetProperty(path)]) is None

    def test_unset_inside_an_object(self) -> None:
        info = info_of(properties={"triage": {"engineer": "bmc", "state": 1}, "x": 1})
        assert properties_after(info, UnsetProperty(("triage", "state"))) == {"triage": {"engineer": "bmc"}, "x": 1}

    @pytest.mark.parametrize(("old", "new"), [(1, True), (True, 1), (0, False), (1, 1.0), ([1], [True]), (0.0, -0.0)])
    def test_values_that_python_takes_for_equal_are_not(self, old: Json, new: Json) -> None:
        done = properties_after(info_of(properties={"a": old}), SetProperty(("a",), new))
        assert json.dumps(done) == json.dumps({"a": new})

    def test_tickets(self) -> None:
        info = info_of()
        assert edited(info, [Unticket()]) is None
        tied = edited(info, [SetTicket("OS-1")])
        assert tied is not None
        assert tied.document["ticket"] == "OS-1"
        assert edited(tied, [SetTicket("OS-1")]) is None
        assert edited(tied, [SetTicket("OS-2", if_none=True)]) is None
        assert edited(info, [SetTicket("OS-1", if_none=True)]) == tied
        untied = edited(tied, [Unticket()])
        assert untied is not None
        assert untied.document == {**info.document, "revision": 2}

    def test_many_edits_are_one_revision_and_the_document_before_stays_as_it_was(self) -> None:
        info = info_of(properties={"a": {"b": 1}}, revision=7)
        before = stored_form(info)
        done = edited(info, [SetProperty(("a", "c"), 2), UnsetProperty(("a", "b")), SetTicket("X")])
        assert done is not None
        assert (done.revision, done.properties, done.document["ticket"]) == (8, {"a": {"c": 2}}, "X")
        assert stored_form(info) == before

    @pytest.mark.parametrize("edit", [SetProperty(("a",), 1), UnsetProperty(("a",))])
    def test_properties_that_are_no_object_are_not_thrown_away(self, edit: SetProperty | UnsetProperty) -> None:
        with pytest.raises(BadDocument, match=r"the properties in its info.json are no object"):
            edited(info_of(properties=["mine"]), [edit])

    def test_a_purged_dump_can_still_be_edited(self) -> None:
        done = edited(info_of(purged=17), [SetTicket("X"), SetProperty(("a",), 1)])
        assert done is not None
        assert done.document["purged"] == 17


# ---- many dumps -----------------------------------------------------------------------------------


class FailingIndex(MemoryIndex):
    """Takes nothing from the n-th document on; ``left`` counts down to it."""

    left = 0

    def put_many(self, infos: Iterable[DumpInfo]) -> int:
        self.left -= 1
        if self.left < 0:
            raise IndexFailure("dumps.db: database is locked")
        return super().put_many(infos)


class FullStore(MemoryStore):
    """Takes nothing any more once it is ``full``."""

    full = False

    def put(self, name: str, data: bytes, *, if_match: str | None = None) -> str:
        if self.full:
            raise StoreUnavailable("store: no space is left; free some")
        return super().put(name, data, if_match=if_match)


def several(thoth: Thoth, count: int) -> list[Identity]:
    identities = [Identity(f"{n:032x}") for n in range(1, count + 1)]
    for identity in identities:
        info = DumpInfo({"id": str(identity), "properties": {}})
        thoth.store.put(f"/bmc/stor/thoth/{identity}/info.json", stored_form(info))
        thoth.index.put(info)
    return identities


class TestEach:
    def test_one_that_fails_does_not_stop_the_others(self, thoth: Thoth) -> None:
        first, gone, broken, done, last = several(thoth, 5)
        thoth.store.delete(f"/bmc/stor/thoth/{gone}/info.json")
        thoth.store.put(f"/bmc/stor/thoth/{broken}/info.json", b"no JSON")
        edit_dump(thoth, done, [SetTicket("X")])
        planned = list(plan_each(thoth, [first, gone, broken, done, last], [SetTicket("X")]))
        assert thoth.index.get(first) == DumpInfo({"id": str(first), "properties": {}})
        result = list(edit_each(thoth, [first, gone, broken, done, last], iter([SetTicket("X")])))
        assert [(each.identity, each.changed, type(each.error)) for each in result] == [
            (first, True, type(None)),
            (gone, False, NoSuchDump),
            (broken, False, BadDocument),
            (done, False, type(None)),
            (last, True, type(None)),
        ]
        assert [(each.changed, str(each.error)) for each in planned] == [
            (each.changed, str(each.error)) for each in result
        ]
        for identity in (first, done, last):
            kept = thoth.index.get(identity)
            assert kept is not None
            assert (kept.document["ticket"], kept.revision) == ("X", 1)

    def test_a_plan_knows_what_would_be_refused(self, thoth: Thoth) -> None:
        (identity,) = several(thoth, 1)
        (told,) = plan_each(thoth, [identity], [SetProperty(("a",), nested(MAX_DEPTH))])
        assert (told.changed, type(told.error)) == (False, BadDocument)

    def test_an_index_that_fails_ends_it_and_the_store_has_what_was_done(self) -> None:
        index = FailingIndex()
        thoth = Thoth(MemoryStore(), index, "bmc")
        index.left = 4 + 1
        first, second, third, _ = several(thoth, 4)
        result = list(edit_each(thoth, [first, second, third], [SetTicket("X")]))
        assert result[0] == Edited(first, True)
        assert (len(result), result[1].changed, type(result[1].error)) == (2, True, IndexFailure)
        assert str(result[1].error) == (
            f"{second}: the store has it, the index does not: dumps.db: database is locked; 'thoth index' heals that"
        )
        kept = thoth.stored_info(second)
        assert kept is not None
        assert kept[0].document["ticket"] == "X"
        untouched = thoth.stored_info(third)
        assert untouched is not None
        assert untouched[0].revision == 0

    def test_a_store_that_is_full_ends_it(self) -> None:
        store = FullStore()
        thoth = Thoth(store, MemoryIndex(), "bmc")
        identities = several(thoth, 2)
        store.full = True
        with pytest.raises(StoreUnavailable):
            list(edit_each(thoth, identities, [SetTicket("X")]))
        assert not any(each.error for each in plan_each(thoth, identities, [SetTicket("X")]))
