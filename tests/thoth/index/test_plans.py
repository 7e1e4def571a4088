"""How a query runs on SQLite: through which index, in how much memory, and as what statement."""

from __future__ import annotations

import sqlite3
import time
import tracemalloc
from contextlib import closing

import pytest

from tests.thoth.index.rows import dump, named
from thoth.index.sql import where
from thoth.index.sqlite import KEYS, SqliteIndex
from thoth.query import Equals, Glob, Query, parse, property_path


def plan(index: SqliteIndex, *words: str) -> list[str]:
    asked = where(parse(words, now=1e9)[0].constraints)
    with closing(sqlite3.connect(index.path)) as connection:
        rows = connection.execute("EXPLAIN QUERY PLAN " + KEYS.format(condition=asked.sql), (*asked.parameters, -1))
        return [row[3] for row in rows]


@pytest.mark.parametrize(
    ("words", "step"),
    [
        ([], "SCAN dumps USING INDEX dumps_time"),
        (["mtime=6h"], "SEARCH dumps USING INDEX dumps_time (time>?)"),
        (["type=crash"], "SEARCH dumps USING INDEX dumps_type (type=?)"),
        (["type=crash", "mtime=6h"], "SEARCH dumps USING INDEX dumps_type (type=? AND time>?)"),
        (["type=crash", "node=X"], "SEARCH dumps USING INDEX dumps_node (node=? AND type=?)"),
        (["ticket=undefined", "limit=20"], "SEARCH dumps USING INDEX dumps_ticket (ticket=?)"),
    ],
)
def test_index_gives_the_order_too(index: SqliteIndex, words: list[str], step: str) -> None:
    index.create()
    assert plan(index, *words) == [step]


@pytest.mark.parametrize(
    ("words", "step"),
    [
        (["cmd=svc*"], "SEARCH dumps USING INDEX dumps_cmd (cmd>? AND cmd<?)"),
        (["cmd=svc*d?"], "SEARCH dumps USING INDEX dumps_cmd (cmd>? AND cmd<?)"),
        (["cmd=svc\udcff*"], "SEARCH dumps USING INDEX dumps_cmd (cmd>? AND cmd<?)"),
        (["platform=joyent_2013"], "SEARCH dumps USING INDEX dumps_platform (platform=?)"),
        (["pid=19972"], "SEARCH dumps USING INDEX dumps_pid (pid=?)"),
        (["zone=global"], "SEARCH dumps USING INDEX dumps_zone (zone=?)"),
        (["signature=abc"], "SEARCH dumps USING INDEX dumps_signature (signature=?)"),
        (["3e16"], "SEARCH dumps USING INDEX sqlite_autoindex_dumps_1 (id>? AND id<?)"),
        (["3e16", "004a"], "SEARCH dumps USING INDEX sqlite_autoindex_dumps_1 (id=?)"),
    ],
)
def test_index_is_used(index: SqliteIndex, words: list[str], step: str) -> None:
    index.create()
    assert step in plan(index, *words)
    assert not [each for each in plan(index, *words) if each.startswith("SCAN dumps")]


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


def test_find_streams(index: SqliteIndex) -> None:
    index.put_many(dump(number, psargs="a" * 20_000) for number in range(1000))
    tracemalloc.start()
    try:
        assert sum(1 for _ in index.find(Query((Equals(("cmd",), "svcs"),)))) == 1000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_known_reads_no_documents(index: SqliteIndex) -> None:
    index.put_many(dump(number) for number in range(10))
    with closing(sqlite3.connect(index.path, isolation_level=None)) as vandal:
        vandal.execute("UPDATE dumps SET document = '{'")
    assert len(index.known(named(number) for number in range(10))) == 10
