"""How a query runs on SQLite: through which index, in how much memory, and as what statement."""

from __future__ import annotations

import sqlite3
import time
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import closing

import pytest

from tests.thoth.index.rows import dump, named
from thoth.index import plain
from thoth.index.plain import listing
from thoth.index.sql import Parameter, values, where
from thoth.index.sqlite import SqliteIndex
from thoth.index.tallies import TALLIED
from thoth.query import Equals, Glob, KeyPath, Query, parse, property_path
from thoth.render import table_paths


def plan(index: SqliteIndex, *words: str) -> list[str]:
    """How ``ls`` with these words reads the file."""
    index.create()
    asked, shown = where(parse(words, now=1e9)[0].constraints), values(table_paths())
    assert shown is not None
    return explained(index, listing(asked, shown.sql), (*asked.parameters, -1))


def explained(index: SqliteIndex, statement: str, parameters: Sequence[Parameter] = ()) -> list[str]:
    with closing(sqlite3.connect(index.path)) as connection:
        return [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + statement, parameters)]


@pytest.mark.parametrize(
    ("words", "step"),
    [
        ([], "SCAN dumps USING COVERING INDEX dumps_time"),
        (["mtime=6h"], "SEARCH dumps USING COVERING INDEX dumps_time (time>?)"),
        (["mtime=undefined"], "SEARCH dumps USING COVERING INDEX dumps_time (time=?)"),
        (["cmd=*d"], "SCAN dumps USING COVERING INDEX dumps_time"),
        (["mtime=3d", "cmd=*svc*"], "SEARCH dumps USING COVERING INDEX dumps_time (time>?)"),
        (["type=crash"], "SEARCH dumps USING COVERING INDEX dumps_type (type=?)"),
        (["type=crash", "mtime=6h"], "SEARCH dumps USING COVERING INDEX dumps_type (type=? AND time>?)"),
        (["type=crash", "node=X"], "SEARCH dumps USING COVERING INDEX dumps_node (node=? AND type=?)"),
        (["cmd=pg_prefaulter", "mtime=3d"], "SEARCH dumps USING COVERING INDEX dumps_cmd (cmd=? AND time>?)"),
        (["ticket=OS-2359"], "SEARCH dumps USING COVERING INDEX dumps_ticket (ticket=?)"),
        (["ticket=undefined", "limit=20"], "SEARCH dumps USING COVERING INDEX dumps_ticket (ticket=?)"),
        (["stack=*a*", "limit=20"], "SCAN dumps USING INDEX dumps_time"),
    ],
)
def test_an_index_gives_the_order_too(index: SqliteIndex, words: list[str], step: str) -> None:
    first, *others = plan(index, *words)
    assert first == step
    assert "USE TEMP B-TREE FOR ORDER BY" not in others


@pytest.mark.parametrize(
    ("words", "step"),
    [
        (["cmd=svc*"], "SEARCH dumps USING COVERING INDEX dumps_cmd (cmd>? AND cmd<?)"),
        (["cmd=svc*d?"], "SEARCH dumps USING COVERING INDEX dumps_cmd (cmd>? AND cmd<?)"),
        (["cmd=svc\udcff*"], "SEARCH dumps USING COVERING INDEX dumps_cmd (cmd>? AND cmd<?)"),
        (["platform=joyent_2013"], "SEARCH dumps USING INDEX dumps_platform (platform=? AND odd=?)"),
        (["pid=19972"], "SEARCH dumps USING INDEX dumps_pid (pid=? AND odd=?)"),
        (["zone=global"], "SEARCH dumps USING INDEX dumps_zone (zone=? AND odd=?)"),
        (["signature=abc"], "SEARCH dumps USING COVERING INDEX dumps_signature (signature=?)"),
        (["3e16"], "SEARCH dumps USING INDEX sqlite_autoindex_dumps_1 (id>? AND id<?)"),
        (["3e16", "004a"], "SEARCH dumps USING INDEX sqlite_autoindex_dumps_1 (id=?)"),
    ],
)
def test_an_index_is_searched(index: SqliteIndex, words: list[str], step: str) -> None:
    steps = plan(index, *words)
    assert step in steps
    assert not [each for each in steps if each.startswith("SCAN dumps")]


@pytest.mark.parametrize("name", ["zone", "signature", "pid"])
def test_report_of_a_column_reads_its_index_and_sorts_nothing(index: SqliteIndex, name: str) -> None:
    index.create()
    assert statements(index, lambda: index.report(Query(), (name,)), expected="GROUP BY") == [
        f"SCAN dumps USING COVERING INDEX dumps_{name}"
    ]


@pytest.mark.parametrize("name", TALLIED)
def test_report_of_a_column_that_is_tallied_reads_no_dumps(index: SqliteIndex, name: str) -> None:
    index.create()
    asked = statements(index, lambda: index.report(Query(), (name,)), expected="tallies")
    assert asked == ["SEARCH tallies USING PRIMARY KEY (property=?)"]


@pytest.mark.parametrize(
    ("words", "step"),
    [
        ([], "SCAN dumps USING COVERING INDEX dumps_signature"),
        (
            ["mtime=7d", "type=core", "cmd=svc*", "ticket=undefined"],
            "SCAN dumps USING COVERING INDEX dumps_signature",
        ),
        (["signature=a"], "SEARCH dumps USING COVERING INDEX dumps_signature (signature=?)"),
        (["pid=5"], "SEARCH dumps USING INDEX dumps_pid (pid=? AND odd=?)"),
        (["3e16"], "SEARCH dumps USING INDEX sqlite_autoindex_dumps_1 (id>? AND id<?)"),
    ],
)
def test_rank_reads_one_index(index: SqliteIndex, words: list[str], step: str) -> None:
    index.create()
    query = parse(words, now=1e9)[0]
    first, *others = statements(index, lambda: index.rank(query, 5), expected="GROUP BY signature")
    assert first == step
    assert not others or step.startswith("SEARCH dumps USING INDEX")  # few rows may be sorted


def test_rank_looks_into_the_largest_only(index: SqliteIndex) -> None:
    index.put_many(dump(number, signature=each, node=str(number)) for number, each in enumerate("aab"))
    with closing(sqlite3.connect(index.path, isolation_level=None)) as vandal:
        vandal.execute("UPDATE dumps SET document = '{'")
    (plan,) = {*statements(index, lambda: index.rank(Query(), 1), expected="SELECT node")}
    assert plan == "SEARCH dumps USING COVERING INDEX dumps_signature (signature=? AND node>?)"
    assert [each.dumps for each in index.rank(Query(), 2).groups] == [2, 1]


def test_count_reads_an_index(index: SqliteIndex) -> None:
    index.create()
    query = parse(["cmd=svc*"], now=1e9)[0]
    assert statements(index, lambda: index.count(query), expected="count(*)") == [
        "SEARCH dumps USING COVERING INDEX dumps_cmd (cmd>? AND cmd<?)"
    ]


@pytest.mark.parametrize("words", [["stack=*utmpx_postfork*"], ["type=core", "os=illumos"], ["complete=false"]])
def test_what_no_index_tells_is_read_in_the_order_of_the_file(index: SqliteIndex, words: list[str]) -> None:
    index.create()
    query = parse(words, now=1e9)[0]
    assert where(query.constraints).scans
    asks = [
        lambda: list(index.find(query)),
        lambda: list(index.select(query, table_paths())),
        lambda: index.count(query),
        lambda: index.report(query, ("platform",)),
    ]
    for ask in asks:
        assert "SCAN dumps" in statements(index, ask, expected="NOT INDEXED")


@pytest.mark.parametrize("word", ["stack=*a*", "properties.é=a", "complete=false"])
def test_with_a_limit_it_can_end_when_enough_are_found(index: SqliteIndex, word: str) -> None:
    index.put_many(dump(number) for number in range(5))
    query = parse([word, "limit=2"], now=1e9)[0]
    for ask in (lambda: list(index.find(query)), lambda: list(index.select(query, [("stack",)]))):
        first, *others = statements(index, ask, expected="LIMIT")
        assert first.endswith("INDEX dumps_time")
        assert "USE TEMP B-TREE FOR ORDER BY" not in others


@pytest.mark.parametrize("words", [["mtime=3d"], ["cmd=a"], ["cmd=a*"], ["ticket=OS-1"], ["3e16"]])
def test_what_an_index_tells_first_is_read_through_it(words: list[str]) -> None:
    assert not where(parse([*words, "stack=*a*"], now=1e9)[0].constraints).scans


def test_named_prefix(index: SqliteIndex) -> None:
    index.create()
    assert statements(index, lambda: index.named("3e16"), expected="SELECT id") == [
        "SEARCH dumps USING COVERING INDEX sqlite_autoindex_dumps_1 (id>? AND id<?)"
    ]


def test_many_that_no_index_tells_come_in_order(index: SqliteIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    index.put_many(dump(number, time=number * 7919 % 101, ps="a" if number % 2 else None) for number in range(100))
    query = parse(["ps=a"], now=0)[0]
    few = [info.id for info in index.find(query)]
    monkeypatch.setattr(plain, "SORTED", 10)
    assert [info.id for info in index.find(query)] == few
    assert [row[0] for row in index.select(query, [("id",)])] == few
    assert len(few) == 50


def test_odd_documents_are_found_through_an_index(index: SqliteIndex) -> None:
    index.create()
    with closing(sqlite3.connect(index.path)) as connection:
        odd = "EXPLAIN QUERY PLAN SELECT document FROM dumps WHERE odd = 1 ORDER BY time, id"
        assert [row[3] for row in connection.execute(odd)] == ["SCAN dumps USING INDEX dumps_odd"]


HOSTILE = ["'", '"', "';--", "\\", "%", "?1", ":a", "[", "]", "*'", "\udcff'", "x' OR '1'='1", "$.a", '"."']


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_F24_what_is_asked_is_never_part_of_the_statement(value: str) -> None:
    tame = "".join(each if each in "*?1" else "v" for each in value)
    asked, same = (
        where(parse([f"cmd={each}", f"properties.x={each}"], now=0)[0].constraints) for each in (value, tame)
    )
    assert asked.sql == same.sql
    assert asked.sql.count("?") == len(asked.parameters)


@pytest.mark.parametrize(
    "pattern",
    ["*a" * 500 + "*b", "*" + "a" * 500 + "b*", "*" + "?a" * 500 + "b*", "*?" * 500 + "b*a", "(a+)+*b*c"],
)
@pytest.mark.parametrize("name", ["cmd", "properties.x"])
def test_F24_no_pattern_is_a_bomb(index: SqliteIndex, pattern: str, name: str) -> None:
    index.put(dump(1, cmd="a" * 65536, properties={"x": "a" * 65536}))
    started = time.monotonic()
    assert index.count(Query((Glob(property_path(name), pattern),))) == 0
    assert time.monotonic() - started < 1


def statements(index: SqliteIndex, ask: Callable[[], object], *, expected: str) -> list[str]:
    """The plan of the one statement with ``expected`` in it that is run for ``ask``."""
    seen: list[str] = []
    with index._database.reading() as connection:
        assert connection is not None
        connection.set_trace_callback(seen.append)
    try:
        ask()
    finally:
        with index._database.reading() as connection:
            assert connection is not None
            connection.set_trace_callback(None)
    (statement,) = {each for each in seen if expected in each}
    return explained(index, statement)


def test_find_streams(index: SqliteIndex) -> None:
    index.put_many(dump(number, psargs="a" * 20_000) for number in range(1000))
    tracemalloc.start()
    try:
        assert sum(1 for _ in index.find(Query((Equals(("cmd",), "svcs"),)))) == 1000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("paths", [table_paths(), table_paths(["psargs"])], ids=["columns", "documents"])
def test_select_streams(index: SqliteIndex, paths: Sequence[KeyPath]) -> None:
    index.put_many(dump(number, psargs="a" * 20_000) for number in range(1000))
    tracemalloc.start()
    try:
        assert sum(1 for _ in index.select(Query((Equals(("type",), "core"),)), paths)) == 1000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_select_of_columns_reads_no_documents(index: SqliteIndex) -> None:
    index.put_many(dump(number) for number in range(10))
    with closing(sqlite3.connect(index.path, isolation_level=None)) as vandal:
        vandal.execute("UPDATE dumps SET document = '{'")
    assert len(list(index.select(Query(), table_paths()))) == 10


def test_known_reads_no_documents(index: SqliteIndex) -> None:
    index.put_many(dump(number) for number in range(10))
    with closing(sqlite3.connect(index.path, isolation_level=None)) as vandal:
        vandal.execute("UPDATE dumps SET document = '{'")
    assert len(index.known(named(number) for number in range(10))) == 10
