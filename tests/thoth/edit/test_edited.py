"""What edits make of a document."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.thoth.edit.scene import NOBODY, info_of, keys, paths, values
from thoth.edit import SetProperty, SetTicket, UnsetProperty, Unticket, edited, stored_form
from thoth.errors import BadDocument, UsageError
from thoth.model import DumpInfo, Json


def properties_after(info: DumpInfo, *edits: SetProperty | UnsetProperty) -> Json:
    return (edited(info, edits) or info).document.get("properties")


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
