"""A document comes back from a row of RethinkDB as it was, down to the order of its keys."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.indexes import named
from tests.support.arrivals import CORE, NOW, arrival
from thoth.dumps.describe import describe
from thoth.dumps.source import KnownRanges
from thoth.errors import BadDocument, IndexFailure
from thoth.index import reql
from thoth.index.rethink_rows import EXACT, FIELD, arranged, info_of, row_of
from thoth.index.rethink_values import MAX_WHOLE, is_short, ratio
from thoth.ingest.arrival import compose
from thoth.model import DumpInfo, Json
from thoth.store.base import Digests

LETTERS = st.sampled_from([*"ab0.", "\0", "é", "\udc80", "\U0001f600"])
KEYS = st.text(LETTERS, max_size=2) | st.sampled_from(
    ["id", "name", "time", "ticket", FIELD, "$reql_type$", "revision"]
)
FRACTIONS = st.floats(1e9, 2e9) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | st.integers() | FRACTIONS | st.text(LETTERS, max_size=3)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))


def stored(info: DumpInfo) -> dict[str, Json]:
    """The row that RethinkDB gives back: doubles for numbers, a whole one without a point, keys by their bytes."""
    row = row_of(info)
    sent = json.loads(json.dumps(row.fields), parse_float=_read, parse_int=_read)
    for path, value in row.fractions.items():
        inner: Any = sent
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = _divided(value)
    json.dumps(sent, ensure_ascii=False).encode()  # else RethinkDB would not take it
    return json.loads(json.dumps(_whole(sent), sort_keys=True))  # type: ignore[no-any-return]  # an object stays one


def _divided(value: Json) -> Json:
    """What is sent as terms, where a fraction is a division of numbers that are read as they are."""
    if isinstance(value, dict):
        return {key: _divided(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_divided(item) for item in value]
    if not isinstance(value, float) or value.is_integer() or is_short(value):
        return value
    parts = ratio(value)
    assert parts is not None
    assert max(map(abs, parts)) <= MAX_WHOLE
    return parts[0] / parts[1]


def _read(digits: str) -> float:
    """A number as it is read by who is sure of 2**53 only: the last bit is off when there are more digits."""
    value = float(digits)
    exact = value.is_integer() and abs(value) <= MAX_WHOLE
    return value if exact or is_short(value) else value * (1 + 2**-52)


def _whole(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@given(st.dictionaries(KEYS, VALUES, max_size=5), st.booleans(), st.booleans())
def test_any_document_comes_back(fields: dict[str, Json], with_id: bool, id_first: bool) -> None:
    own = {"id": named(7)} if with_id else {"name": f"/bmc/stor/thoth/{named(7)}"}
    without = {key: value for key, value in fields.items() if key not in ("id", "name")}
    given = DumpInfo.from_json(json.dumps({**own, **without} if id_first else {**without, **own}))
    row = stored(given)
    assert row["id"] == named(7)
    assert info_of(row, "x").to_json() == given.to_json()


def test_a_dump_as_it_is_taken_in_needs_nothing_beside_its_row() -> None:
    facts = describe(KnownRanges(len(CORE), [(0, CORE)]))
    digests = Digests(len(CORE), "0" * 32, "0" * 64)
    came = arrival(CORE, properties={"a": 1})
    info = compose(came, facts, digests, f"/bmc/stor/thoth/{came.identity}/core.19972", NOW)
    for each in (info, info.changed(ticket="OS-2359"), DumpInfo({**info.document, "uploaded": 1795985267.4809973})):
        row = stored(each)
        assert FIELD not in row
        assert info_of(row, "x").to_json() == each.to_json()


@pytest.mark.parametrize("mtime", [1796040761.4520772, 1796040761.0, 1796040761.452077], ids=repr)
def test_a_dump_whose_file_has_any_time_is_held(mtime: float) -> None:
    sources = [{"node": "cn7", "path": "/cores/core.1", "mtime": mtime}, {"node": "cn8", "path": "/x", "mtime": 5.25}]
    info = DumpInfo({"id": named(1), "time": mtime, "properties": {"seen": mtime}, "sources": sources})
    row = stored(info)
    assert {**row, FIELD: None} == {**info.document, FIELD: None}
    assert EXACT not in row.get(FIELD, {})
    assert info_of(row, "x").to_json() == info.to_json()


def test_a_field_that_cannot_be_held_stands_beside_a_row_that_can() -> None:
    info = DumpInfo(
        {"id": named(1), "revision": 10**30, "cmd": "a\0\udcff", "n": [0.1, 2.0, 10**30], "time": 5, "pid": "7"}
    )
    row = stored(info)
    assert row == {
        "id": named(1),
        "revision": MAX_WHOLE,
        "cmd": "a\ufffd\ufffd",
        "n": [0.1, 2, "1" + "0" * 30],
        "time": 5,
        "pid": "7",
        FIELD: {
            EXACT: {"revision": str(10**30), "cmd": '"a\\u0000\\udcff"', "n": f"[0.1,2.0,{10**30}]"},
            "order": [[[], ["id", "revision", "cmd", "n", "time", "pid"]]],
        },
    }
    row |= {"ticket": "OS-1", "n": [3]}  # by the original
    assert info_of(row, "x").document == {**info.document, "n": [3], "ticket": "OS-1"}


def test_a_time_that_cannot_be_held_is_no_other_number() -> None:
    for time in (2**60, -0.0, 1e300, 2.0**70):
        assert stored(DumpInfo({"id": named(1), "time": time}))["time"] == repr(time)


def test_the_row_of_a_document_with_odd_keys_shows_what_it_can() -> None:
    info = DumpInfo(
        {"id": named(1), "revision": 10**30, "cmd": "a\0\udcff", "n": [0.1, 2.0, 10**30], "time": 5, FIELD: 1}
    )
    row = stored(info)
    assert json.loads(row.pop(FIELD)[EXACT]) == info.document
    assert row == {
        "id": named(1),
        "revision": MAX_WHOLE,
        "cmd": "a\ufffd\ufffd",
        "n": [0.1, 2, "1" + "0" * 30],
        "time": "5",
    }


def test_the_row_of_an_older_version_is_read() -> None:
    document = {"id": named(1), "time": 5.5, "n": [0.1, 2.0], "x": 0.30000000000000004, "revision": 3}
    row = {"id": named(1), "time": "5.5", "n": [0.1, 2], "x": "0.30000000000000004", "revision": 3}
    assert info_of({**row, FIELD: {EXACT: json.dumps(document)}}, "x").document == document


@pytest.mark.parametrize("every", [1, 2, 30], ids=["lists", "both", "objects"])
@pytest.mark.parametrize("deep", range(12, 22))
def test_deep_fractions_can_be_sent(deep: int, every: int) -> None:
    value: Json = 0.30000000000000004
    for level in range(1, deep + 1):
        value = {"a": value} if level % every else [value]
    info = DumpInfo({"id": named(1), "x": value})
    reql.written("db", [row_of(info)]).build()
    assert info_of(stored(info), "x").to_json() == info.to_json()


def test_more_than_can_be_noted_stands_beside_the_row() -> None:
    for items in ([2.0] * 1001, [0.30000000000000004] * 1001, ["x" * 300_000, 0.30000000000000004]):
        info = DumpInfo({"id": named(1), "x": items})
        row = row_of(info)
        assert list(row.fields[FIELD]) == [EXACT]
        assert not row.fractions
        assert info_of(stored(info), "x").to_json() == info.to_json()


@pytest.mark.parametrize("change", [{"ticket": "OS-1"}, {"cmd": "b"}], ids=["set", "changed"])
def test_what_the_original_changes_in_a_row_prevails_over_our_text(change: dict[str, Json]) -> None:
    row = {**stored(DumpInfo({"id": named(1), "cmd": "a", "n": 2.0})), **change}
    assert info_of(row, "x").document == {"id": named(1), "cmd": "a", "n": 2, **change}


@pytest.mark.parametrize(("was", "is_now"), [(1, True), (False, 0), ([{"a": 0}], [{"a": False}])], ids=repr)
def test_a_number_that_the_original_makes_true_or_false_does_so(was: Json, is_now: Json) -> None:
    """In Python they are equal."""
    field = stored(DumpInfo({"id": named(1), "n": [10**30, was]}))
    field["n"][1] = is_now
    assert json.dumps(info_of(field, "x").document["n"]) == json.dumps([repr(10**30), is_now])
    whole = {**stored(DumpInfo({"id": named(1), "n": was, FIELD: 1})), "n": is_now}
    assert json.dumps(info_of(whole, "x").document["n"]) == json.dumps(is_now)


def test_a_row_of_the_original_is_its_document() -> None:
    row = {"id": named(1), "time": "%s", "cmd": "a", "name": f"/bmc/stor/thoth/{named(1)}"}
    assert info_of(dict(row), "x").document == row
    assert list(info_of(dict(row), "x").document) == ["name", "cmd", "time", "id"]


@pytest.mark.parametrize(
    "own",
    [
        *(None, 5, {EXACT: 5}, {EXACT: "{"}, {EXACT: "[]"}, {EXACT: {"x": "{", "y": "1", "z": 5}}),
        *({"order": 7}, {"order": [[["x", 5], ["a"]], [[], [1]], 3]}),
        *({"points": 7}, {"points": [[], ["x", 5], ["x", "a"], [["x"]], ["y", 0], 3]}),
    ],
)
def test_what_others_write_in_our_field_does_no_harm(own: Json) -> None:
    assert info_of({"id": named(1), "x": [1], FIELD: own}, "x").document == {"id": named(1), "x": [1]}


def test_a_row_of_no_dump_is_named() -> None:
    for row in ({"id": "configuration"}, {"id": 5}):
        with pytest.raises(IndexFailure, match=f"^rethinkdb://x: row '{row['id']}' of table 'dumps' is no dump"):
            info_of(dict(row), "rethinkdb://x")


def test_arranged_takes_the_part_of_a_path() -> None:
    own = {"order": [[["b", 0], ["z", "a"]], [[], ["b", "a"]]], "points": [["b", 0, "z"], ["a"]]}
    (value,) = arranged([{"a": 1, "z": 2}], ("b",), own)
    assert json.dumps(value) == '{"z": 2.0, "a": 1}'
    assert repr(arranged(5, ("a",), own)) == "5.0"


def test_what_no_index_keeps_is_refused() -> None:
    with pytest.raises(BadDocument):
        row_of(DumpInfo({"id": named(1), "a": {1, 2}}))
