"""Any documents, any query: each index answers as ``thoth.query.matches`` says."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.indexes import named
from thoth.index import ranking
from thoth.index.base import TIME, Index, selected
from thoth.model import DumpInfo, Json
from thoth.query import (
    Arrived,
    Constraint,
    Equals,
    Glob,
    KeyPath,
    Named,
    Newer,
    Older,
    Query,
    Timeless,
    Undefined,
    label,
    lookup,
    matches,
    sort_key,
)

# Few characters, so that texts meet; among them those that JSON, SQL, globs and UTF-8 treat in their own way.
LETTERS = st.sampled_from(
    [*"ab01.-e", *"*?[]\"\\'%", "\0", "\n", "\x7f", "é", "\ufffd", "\uffff", "\U0001f600", "\udc80", "\udcff"]
)
TEXTS = st.text(LETTERS, max_size=4) | st.sampled_from(
    ["true", "1.0", "1e2", "-0", "0.1", "100", "svc.startd", "undefined"]
)
NUMBERS = (
    st.integers(-3, 101)
    | st.sampled_from([2**53 + 1, 2**63 - 1, 2**63, -(2**63), 10**30])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0.1, -0.0, 1.0, 100.0, 1e22, float(2**53), 1.7976931348623157e308])
)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
KEYS = st.sampled_from(["cmd", "ticket", "x", "y z", 'q"', "\\", "é", "\udcff", "d.t", "0", "[0]"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
TOP = [
    ("cmd",),
    ("ticket",),
    ("signature",),
    ("node",),
    ("sha256",),
    ("complete",),
    ("pid",),
    ("stack",),
    ("x",),
    ("size",),
    ("uploaded",),
    ("time",),
    ("id",),
]
PATHS = st.sampled_from(TOP) | st.lists(KEYS, min_size=1, max_size=2).map(lambda keys: ("properties", *keys))


@st.composite
def documents(draw: st.DrawFn) -> list[DumpInfo]:
    infos = []
    for number in range(draw(st.integers(0, 6))):
        fields = draw(st.dictionaries(st.sampled_from([path[0] for path in TOP[:-1]]), VALUES, max_size=5))
        document = {
            **fields,
            "id": named(number << 120),
            "properties": draw(st.dictionaries(KEYS, VALUES, max_size=3)),
        }
        # As they come from JSON: a pair of surrogates is one character there.
        infos.append(DumpInfo.from_json(json.dumps(document)))
    return infos


@st.composite
def constraints(draw: st.DrawFn, infos: list[DumpInfo]) -> Constraint:
    kind = draw(st.sampled_from(["equals", "glob", "glob", "undefined", "time", "name"]))
    if kind == "time":
        at = draw(st.floats(allow_nan=False, allow_infinity=False))
        times: list[Constraint] = [Newer(at), Older(at), Timeless(), Arrived(at)]
        return draw(st.sampled_from(times))
    if kind == "name":
        return Named(frozenset(draw(st.lists(st.text("0123", min_size=1, max_size=3), min_size=1, max_size=3))))
    # Mostly a path that leads somewhere, and a text that stands there.
    leaves = [leaf for info in infos for leaf in scalars(info.document, ())]
    path, text = draw(PATHS), draw(TEXTS)
    if leaves and not draw(st.sampled_from([False, False, True])):
        path, value = draw(st.sampled_from(leaves))
        text = label(value)
    if kind == "undefined":
        return Undefined(path)
    if kind == "equals":
        return Equals(path, text)
    kept = [draw(st.booleans()) for _ in text]
    wild = draw(st.sampled_from("*?"))
    return Glob(path, "".join(each if keep else wild for each, keep in zip(text, kept, strict=True)))


def scalars(value: Json, path: KeyPath) -> Iterator[tuple[KeyPath, Json]]:
    """All that is no object and no list, with the path by which it is asked for."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from scalars(inner, (*path, key))
    elif isinstance(value, list):
        for item in value:
            yield from scalars(item, path)
    else:
        yield path, value


def as_text(paths: list[KeyPath], row: tuple[Json, ...]) -> list[str]:
    """A row so that a number or boolean and its text, either of which ``select`` may give, are the same."""
    assert len(row) == len(paths)
    return [_told(path, value) for path, value in zip(paths, row, strict=True)]


def _told(path: KeyPath, value: Json) -> str:
    if path == TIME:
        return f"time {value!r}"
    return f"text {label(value)}" if isinstance(value, str | int | float) else f"JSON {json.dumps(value)}"


@pytest.mark.timeout(600)  # the soak has many examples
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_index_means_what_matches_says(index: Index, data: st.DataObject) -> None:
    infos = data.draw(documents())
    asked = data.draw(st.lists(st.lists(constraints(infos), max_size=3), min_size=1, max_size=5))
    limit = data.draw(st.none() | st.integers(1, 4))
    path, paths = data.draw(PATHS), data.draw(st.lists(PATHS, max_size=4))
    for old in list(index.find(Query())):
        index.delete(old.id)
    assert index.put_many(infos) == len(infos)
    for each in asked:
        query = Query(tuple(each), limit)
        wanted = [info for info in sorted(infos, key=sort_key) if matches(query, info.document)][:limit]
        assert [info.to_json() for info in index.find(query)] == [info.to_json() for info in wanted]
        rows = [as_text(paths, row) for row in index.select(query, paths)]
        assert rows == [as_text(paths, selected(info, paths)) for info in wanted]
        assert index.count(query) == len(wanted)
        assert index.rank(query, 2) == ranking.ranked((selected(info, ranking.PATHS) for info in wanted), 2)
        assert index.report(query, path) == Counter(label(lookup(info.document, path)) for info in wanted)
