"""What is a rule's on a dump and what is others'."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from thoth.analysis.claims import claims, is_others, permitted, replaced_by_others
from thoth.edit import Edit, SetProperty, SetTicket, UnsetProperty, Unticket, edited
from thoth.model import DumpInfo, Json

LONG = "x" * 100_000


def info(**document: Any) -> DumpInfo:
    return DumpInfo({"id": "0" * 32, **document})


@pytest.mark.parametrize(
    ("present", "wanted", "ours", "others"),
    [
        (None, 1, None, False),  # nothing is set
        (None, 1, 1, True),  # what we had set was removed
        (None, 2, 1, False),  # that was another value
        (1, 2, None, True),
        (1, 1, None, True),
        (1, 2, 1, False),  # ours
        (True, 2, 1, True),  # in Python the same
        (1.0, 2, 1, True),
        (0, 2, None, True),
        ("", 2, None, True),
        ({"a": [1]}, 2, {"a": [1]}, False),
    ],
)
def test_is_others(present: Json, wanted: Json, ours: Json, others: bool) -> None:
    assert is_others(present, wanted, ours) is others


def run(document: DumpInfo, ours: dict[str, Json], *edits: Edit) -> tuple[DumpInfo, dict[str, Json], Sequence[str]]:
    """A run of an analyzer: the document, what is its rule's after it, and what stayed."""
    made, stays = permitted(document, edits, ours, {})
    after = edited(document, made) or document
    return after, claims(after, made, ours), stays


@pytest.mark.parametrize("value", [1, LONG, [LONG], {"a": {"b": LONG}}], ids=["short", "long", "list", "object"])
def test_what_was_set_can_be_set_again_and_unset(value: Json) -> None:
    first, ours, stays = run(info(), {}, SetProperty(("p",), value), SetTicket("OS-1"))
    assert not stays
    assert len(json.dumps(ours)) < 500
    second, ours, stays = run(first, ours, SetProperty(("p",), [value]), SetTicket("OS-2"))
    assert (second.properties, second.document["ticket"], stays) == ({"p": [value]}, "OS-2", ())
    third, ours, stays = run(second, ours, UnsetProperty(("p",)), Unticket())
    assert (third.properties, third.document.get("ticket"), stays, ours) == ({}, None, (), {})


def test_a_long_value_that_others_have_changed() -> None:
    first, ours, _ = run(info(), {}, SetProperty(("p",), LONG))
    changed = edited(first, [SetProperty(("p",), LONG + "y")])
    assert changed is not None
    assert run(changed, ours, SetProperty(("p",), 1)) == (changed, {}, ("properties.p",))


def test_a_property_inside_of_one_that_is_set_too() -> None:
    edits = SetProperty(("p",), {"a": 1}), SetProperty(("p", "b"), 2)
    first, ours, _ = run(info(), {}, *edits)
    assert run(first, ours, *edits) == (first, ours, ())
    changed = edited(first, [SetProperty(("p", "b"), 3)])
    assert changed is not None
    assert run(changed, ours, *edits) == (changed, {}, ("properties.p", "properties.p.b"))


def test_what_others_have_replaced_is_remembered_until_the_rule_sets_it() -> None:
    first, ours, _ = run(info(), {}, SetProperty(("p",), 1), SetProperty(("q",), 1))
    changed = edited(first, [SetProperty(("p",), 2)])
    assert changed is not None
    assert replaced_by_others(changed, [], ours, {}) == {"properties.p": 1}
    assert replaced_by_others(changed, [SetProperty(("p",), 3)], ours, {"properties.x": 7}) == {"properties.x": 7}
    removed = edited(changed, [UnsetProperty(("p",))])
    assert removed is not None
    again = permitted(removed, [SetProperty(("p",), 1)], {}, {"properties.p": 1})
    assert again == ((), ("properties.p",))
    assert permitted(removed, [SetProperty(("p",), 3)], {}, {"properties.p": 1})[1] == ()


def test_a_property_called_ticket_is_not_the_ticket() -> None:
    after, ours, stays = run(info(ticket="OS-1"), {}, SetProperty(("ticket",), 1))
    assert (after.properties, ours, stays) == ({"ticket": 1}, {"properties.ticket": 1}, ())


def test_what_another_run_does_not_speak_of_stays_the_rule_s() -> None:
    first, ours, _ = run(info(), {}, SetProperty(("p",), 1))
    _, ours, _ = run(first, ours, SetProperty(("q",), 2))
    assert ours == {"properties.p": 1, "properties.q": 2}
