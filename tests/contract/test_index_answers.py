"""What every index promises of its answers, on each implementation.

An index is held to ``thoth.query.matches``, which says what a query means.
"""

from __future__ import annotations

import pytest

from tests.contract.indexes import dump, ids, named
from thoth.index.base import Index, Ranking, Together
from thoth.model import Json
from thoth.query import (
    Arrived,
    Equals,
    Glob,
    KeyPath,
    Newer,
    Older,
    Query,
    Timeless,
    matches,
)


def test_oldest_first(index: Index) -> None:
    times: list[Json] = [5, "4", None, "%s", -3.5, 4.0, 5, "nan", 10**400]
    index.put_many(dump(number, time=at) for number, at in enumerate(times))
    assert ids(index) == [2, 3, 7, 8, 4, 1, 5, 0, 6]
    assert ids(index, Newer(4)) == [0, 6]
    assert ids(index, Older(5)) == [4, 1, 5]
    assert ids(index, Timeless()) == [2, 3, 7, 8]
    assert ids(index, limit=6) == [2, 3, 7, 8, 4, 1]


def test_what_has_arrived_since(index: Index) -> None:
    """By when it was uploaded, whatever its own time is."""
    times: list[Json] = [5, "4", None, True, 4.25, [9], 10**400, 1796040761.4520772, {"a": 9}]
    index.put_many(dump(number, uploaded=at, time=-number) for number, at in enumerate(times))
    assert ids(index, Arrived(4)) == [7, 6, 4, 0]
    assert ids(index, Arrived(4), Newer(-7), limit=1) == [6]
    assert ids(index, Arrived(1796040761.4520772)) == [6]
    assert index.count(Query((Arrived(1796040761.4520769),))) == 2


def test_odd_documents_stand_among_the_others(index: Index) -> None:
    values: list[Json] = ["a", ["a"], "a\0", {"a": 1}, "a", 0.5, ["a", 1.5], 10**30]
    index.put_many(dump(number, cmd=value) for number, value in enumerate(values))
    assert ids(index) == list(range(8))
    assert ids(index, Equals(("cmd",), "a")) == [0, 1, 4, 6]
    assert ids(index, Equals(("cmd",), "a"), limit=3) == [0, 1, 4]
    assert ids(index, Glob(("cmd",), "a?")) == [2]
    assert index.count(Query((Equals(("cmd",), "a"),))) == 4
    assert index.report(Query(), ("cmd",)) == {
        "1" + "0" * 30: 1,
        "0.5": 1,
        '["a",1.5]': 1,
        '["a"]': 1,
        "a\0": 1,
        '{"a":1}': 1,
        "a": 2,
    }


def test_select(index: Index) -> None:
    stack = ["a", ["\udcff"], {"b": None}]
    index.put_many(
        [
            dump(2, cmd="\udcffé", ticket="5", properties={"x": {"y": 0.1}}),
            dump(1, time="7.5", cmd="bc", stack=stack, properties={"x": "text", 'q"': 1}),
            dump(3, cmd=["odd"], ticket=5, properties={"x": 10**30}),
        ]
    )
    everything, x, y = Query(), ("properties", "x"), ("properties", "x", "y")
    assert list(index.select(everything, [("id",)])) == [(named(1),), (named(2),), (named(3),)]
    assert list(index.select(everything, [("time",), ("cmd",)])) == [(7.5, "bc"), (1002, "\udcffé"), (1003, ["odd"])]
    assert list(index.select(everything, [x])) == [("text",), ({"y": 0.1},), (10**30,)]
    assert list(index.select(everything, [y, ("stack",), ("type",)])) == [
        (None, stack, "core"),
        (0.1, None, "core"),
        (None, None, "core"),
    ]
    assert next(index.select(everything, [("properties", 'q"'), ("cmd",)])) == (1, "bc")
    assert [str(row[0]) for row in index.select(everything, [("ticket",)])] == ["None", "5", "5"]
    assert list(index.select(everything, [])) == [(), (), ()]
    assert list(index.select(Query((Equals(x, "text"),), limit=1), [("cmd",), x])) == [("bc", "text")]
    assert list(index.select(Query(limit=2), [("cmd",)])) == [("bc",), ("\udcffé",)]
    assert list(index.select(Query((Newer(1003),)), [x])) == []


def test_select_shows_text_that_is_not_utf_8_wherever_it_stands(index: Index) -> None:
    cmds = ["a", "b", "\udcff", "c", "\udc80é", "d"]
    index.put_many(dump(number, cmd=cmd) for number, cmd in enumerate(cmds))
    assert [row[0] for row in index.select(Query(), [("cmd",)])] == cmds
    assert [row[0] for row in index.select(Query(limit=4), [("cmd",), ("id",)])] == cmds[:4]
    index.put(dump(9, cmd=["odd"]))
    assert [row[0] for row in index.select(Query(), [("cmd",)])] == [*cmds, ["odd"]]


def test_select_takes_any_number_of_paths(index: Index) -> None:
    index.put(dump(1, properties={str(number): number for number in range(300)}))
    (row,) = index.select(Query(), [("properties", str(number)) for number in range(300)])
    assert row == tuple(range(300))


def test_select_shows_one_moment(index: Index) -> None:
    index.put_many(dump(number, ticket="A") for number in range(50))
    seen = []
    for (identity,) in index.select(Query((Equals(("ticket",), "A"),)), [("id",)]):
        seen.append(int(identity, 16))
        index.put(dump(int(identity, 16), ticket="B"))
        index.put(dump(100 + len(seen), ticket="A"))
    assert seen == list(range(50))


def test_report(index: Index) -> None:
    index.put_many(dump(number, platform="new" if number < 3 else "old", n=number % 2 / 4) for number in range(8))
    assert list(index.report(Query(), ("platform",)).items()) == [("new", 3), ("old", 5)]
    assert index.report(Query((Newer(1004),)), ("platform",)) == {"old": 3}
    assert index.report(Query(limit=4), ("platform",)) == {"old": 1, "new": 3}
    assert index.report(Query(), ("nothing",)) == {"undefined": 8}
    assert index.report(Query(), ("n",)) == {"0.0": 4, "0.25": 4}


def test_find_shows_one_moment(index: Index) -> None:
    index.put_many(dump(number, ticket="A") for number in range(50))
    seen = []
    for info in index.find(Query((Equals(("ticket",), "A"),))):
        seen.append(int(info.id, 16))
        index.put(info.changed(ticket="B", time=9999))
        index.put(dump(100 + len(seen), ticket="A"))
    assert seen == list(range(50))
    assert ids(index, Equals(("ticket",), "A")) == list(range(101, 151))


def test_find_half_read_holds_nothing_back(index: Index) -> None:
    index.put_many(dump(number) for number in range(10))
    first = index.find(Query())
    next(first)
    del first
    assert ids(index, limit=2) == [0, 1]
    index.put(dump(10))
    assert ids(index) == list(range(11))


HARD: list[tuple[Json, str]] = [
    # value of a property, and what is asked of it: '=' text or '~' pattern
    ("a[b", "~a[*"),
    ("a[b]c", "~a[b]?"),
    ("b", "~[ab]"),
    ("aba", "~ab*ba"),
    ("a", "~a*a"),
    ("\udcff", "~\udc80?*"),
    ("\udcffx", "~\udc80*x"),
    ("\ufffdx", "~*\uffffx"),
    ("\udcffx", "~\udcff?"),
    ('say "x"\n\u2028\\', '~*"x"\n*'),
    ("\u00e9t\u00e9\U0001f600", "~\u00e9*\U0001f600"),
    ("a\nb", "~a?b"),
    ({"x": "a", "y": "b"}, "=a"),
    ({"x": "a"}, "~*"),
    ([], "~*"),
    ([["a"]], "=a"),
    ([None, "b", "a"], "=a"),
    ([False, 2], "=2.0"),
    (True, "=true"),
    ("true", "=true"),
    (True, "=1"),
    (1, "=true"),
    (1, "=1.0"),
    ("1", "=1.0"),
    (1.0, "=1"),
    (0.1, "=0.1"),
    (0.1, "=0.10"),
    (0.1, "=0.10000000000000001"),
    (5e-324, "=5e-324"),
    (1.7976931348623157e308, "~1.79*e+308"),
    (-0.0, "=0"),
    (0, "=-0.0"),
    (2**53 + 1, "=9007199254740992"),
    (2.0**53, "=9007199254740993"),
    (2**63, "=9223372036854775808"),
    (-(2**63), "=-9223372036854775808"),
    (10**30, "~1*0"),
    (19972, "~199??"),
    (1.5, "~1.?"),
    (1.5, "~*,*"),
    (None, "=null"),
    ("", "="),
    ("", "~*"),
    ("undefined", "=undefined"),
    ("a\0b", "=a"),
    ("a\0b", "~a*b"),
    ("x" * 3000 + "y", "~*xxy"),
]


@pytest.mark.parametrize(
    "path", [("cmd",), ("properties", "x"), ("properties", 'q"')], ids=["column", "json", "odd-key"]
)
def test_each_hard_value_is_judged_as_matches_says(index: Index, path: KeyPath) -> None:
    infos = []
    for number, (value, _) in enumerate(HARD):
        document = {path[-1]: value} if len(path) == 1 else {path[0]: {path[-1]: value}}
        infos.append(dump(number, **document))
    index.put_many(infos)
    for _, asked in HARD:
        constraint = (Equals if asked[0] == "=" else Glob)(path, asked[1:])
        wanted = [int(info.id, 16) for info in infos if matches(Query((constraint,)), info.document)]
        assert ids(index, constraint) == wanted, asked
        assert ids(index, constraint, limit=1) == wanted[:1], asked
        assert index.count(Query((constraint,))) == len(wanted), asked


def test_rank(index: Index) -> None:
    assert index.rank(Query(), 10) == Ranking((), 0, 0, 0)
    index.put_many(
        [
            dump(1, signature="a | b", node="n1", platform="p1", ticket="T"),
            dump(2, signature="a | b", node="n2", platform="p1"),
            dump(3, signature="a | b", node="n1", platform="p2", type="crash"),
            dump(4, signature="c", node="n1", time=None),
            dump(5, signature="c\udcff", node=7, ticket=True, time="5.5"),
            dump(6, node="n9"),
            dump(7, signature=None),
            dump(8, signature="c", node=["odd"], ticket="T"),
        ]
    )
    ab = Together("a | b", 3, 1001, 1003, {"n1": 2, "n2": 1}, {"p1": 2, "p2": 1}, {"T": 1})
    c = Together("c", 2, 1008, 1008, {"n1": 1, '["odd"]': 1}, {}, {"T": 1})
    other = Together("c\udcff", 1, 5.5, 5.5, {"7": 1}, {}, {"true": 1})
    assert index.rank(Query(), 10) == Ranking((ab, c, other), 3, 6, 2)
    assert index.rank(Query(), 1) == Ranking((ab,), 3, 6, 2)
    assert index.rank(Query(), 0) == Ranking((), 3, 6, 2)
    of_core = Together("a | b", 2, 1001, 1002, {"n1": 1, "n2": 1}, {"p1": 2}, {"T": 1})
    assert index.rank(Query((Equals(("type",), "core"), Newer(1000))), 1) == Ranking((of_core,), 2, 3, 2)
    assert index.rank(Query((Equals(("ticket",), "T"),)), 9).signatures == 2
    assert index.rank(Query((Glob(("signature",), "c*"), Timeless())), 9).dumps == 1
    assert index.rank(Query(limit=3), 9).dumps == 3  # of the first: dumps 4, 5 and 1


def test_rank_orders_equal_counts_by_signature(index: Index) -> None:
    index.put_many(dump(number, signature=signature) for number, signature in enumerate("cabbde"))
    told = index.rank(Query(), 4).groups
    assert [(each.signature, each.dumps) for each in told] == [("b", 2), ("a", 1), ("c", 1), ("d", 1)]
