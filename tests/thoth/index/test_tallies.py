"""What is counted as dumps are written is what there is, whatever is written, by whom, and whatever ends it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.thoth.index.looking import ask_everything, tallies
from tests.thoth.index.rows import dump, named
from thoth.errors import BadDocument
from thoth.index.sqlite import SqliteIndex
from thoth.index.tallies import TALLIED
from thoth.model import DumpInfo, Json
from thoth.query import Query, label


def recounted(index: SqliteIndex) -> dict[tuple[str, str], int]:
    """The tallies as they ought to be: of the documents themselves, but for those that SQL cannot judge."""
    with index._database.reading() as connection:
        assert connection is not None
        plain = {row[0] for row in connection.execute("SELECT id FROM dumps WHERE odd = 0")}
    documents = [info.document for info in index.find(Query()) if info.id in plain]
    return dict(Counter((name, label(document.get(name))) for document in documents for name in TALLIED))


def assert_exact(index: SqliteIndex) -> None:
    assert tallies(index.path) == recounted(index)
    for name in TALLIED:
        expected = Counter(label(info.document.get(name)) for info in index.find(Query()))
        assert index.report(Query(), (name,)) == expected


# ---- each kind of write ---------------------------------------------------------------------------

Write = Callable[[SqliteIndex], object]
WRITES: dict[str, tuple[Write, dict[str, int]]] = {  # and how many there are of each ticket then
    "a new dump": (lambda index: index.put(dump(9, ticket="B")), {"A": 2, "B": 2, "undefined": 1}),
    "another value": (lambda index: index.put(dump(1, ticket="C")), {"A": 1, "B": 1, "C": 1, "undefined": 1}),
    "the same again": (lambda index: index.put(dump(1, ticket="A")), {"A": 2, "B": 1, "undefined": 1}),
    "the last of a value": (lambda index: index.put(dump(3, ticket="A")), {"A": 3, "undefined": 1}),
    "a value unset": (lambda index: index.put(dump(1, ticket=None)), {"A": 1, "B": 1, "undefined": 2}),
    "the text that unset looks like": (
        lambda index: index.put(dump(1, ticket="undefined")),
        {"A": 1, "B": 1, "undefined": 2},
    ),
    "a lower revision": (
        lambda index: [index.put(dump(1, ticket="Z", revision=3)), index.put(dump(1, ticket="A", revision=2))],
        {"A": 1, "B": 1, "Z": 1, "undefined": 1},
    ),
    "one twice at once": (
        lambda index: index.put_many([dump(9, ticket="X"), dump(9, ticket="Y"), dump(1, ticket="Y")]),
        {"A": 1, "B": 1, "Y": 2, "undefined": 1},
    ),
    "an odd one": (lambda index: index.put(dump(1, ticket=["A"])), {"A": 1, "B": 1, '["A"]': 1, "undefined": 1}),
    "an odd one, and plain again": (
        lambda index: [index.put(dump(1, ticket=["A"])), index.put(dump(1, ticket="B"))],
        {"A": 1, "B": 2, "undefined": 1},
    ),
    "a purged one": (lambda index: index.put(dump(1, ticket="A", purged=1)), {"A": 2, "B": 1, "undefined": 1}),
    "one deleted": (lambda index: index.delete(named(1)), {"A": 1, "B": 1, "undefined": 1}),
    "the last of a value deleted": (lambda index: index.delete(named(3)), {"A": 2, "undefined": 1}),
    "an odd one deleted": (
        lambda index: [index.put(dump(1, ticket=["A"])), index.delete(named(1))],
        {"A": 1, "B": 1, "undefined": 1},
    ),
    "one deleted that is not there": (lambda index: index.delete(named(9)), {"A": 2, "B": 1, "undefined": 1}),
    "nothing": (lambda index: index.put_many([]), {"A": 2, "B": 1, "undefined": 1}),
}


@pytest.mark.parametrize("kind", WRITES)
def test_tallies_are_exact_after(index: SqliteIndex, kind: str) -> None:
    index.put_many(dump(number, ticket=ticket) for number, ticket in enumerate(["A", "B", None, "A"], start=10))
    index.put_many([dump(1, ticket="A"), dump(2, ticket="A"), dump(3, ticket="B"), dump(4)])
    for number in range(10, 14):
        index.delete(named(number))
    write, tickets = WRITES[kind]
    write(index)
    assert index.report(Query(), ("ticket",)) == tickets
    assert_exact(index)


def test_many_at_once(index: SqliteIndex) -> None:
    index.put_many(dump(number, node=str(number % 7)) for number in range(2001))
    index.put_many(dump(number, node=str(number % 5), ticket="T") for number in range(500, 3000))
    assert index.report(Query(), ("ticket",)) == {"undefined": 500, "T": 2500}
    assert_exact(index)


def test_a_refused_batch_counts_for_nothing(index: SqliteIndex) -> None:
    index.put(dump(1))
    before = tallies(index.path)
    with pytest.raises(BadDocument):
        index.put_many([dump(2), DumpInfo({"id": named(3), "a": {1}})])
    assert tallies(index.path) == before


# ---- any writes -----------------------------------------------------------------------------------

VALUES: st.SearchStrategy[Json] = st.none() | st.sampled_from(
    ["a", "undefined", "", "A", "a ", "5", 5, 5.0, True, "é", "\udcff", "\ufffd", "\0", ["a"], {}, 10**30]
)
INFOS = st.builds(
    lambda number, revision, fields: DumpInfo({"id": named(number), "revision": revision, **fields}),
    st.integers(0, 3),
    st.integers(0, 3),
    st.dictionaries(st.sampled_from([*TALLIED, "pid", "time"]), VALUES, max_size=4),
)


@pytest.mark.timeout(600)  # the soak has many examples
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(writes=st.lists(st.lists(INFOS, min_size=1, max_size=5) | st.integers(0, 3), max_size=8))
def test_tallies_are_exact_after_any_writes(index: SqliteIndex, writes: list[list[DumpInfo] | int]) -> None:
    for number in range(4):
        index.delete(named(number))
    assert not index.path.exists() or tallies(index.path) == {}
    for write in writes:
        if isinstance(write, int):
            index.delete(named(write))
        else:
            index.put_many(write)
        assert_exact(index)


# ---- several writers, and killed ones -------------------------------------------------------------


def test_tallies_are_exact_after_several_writers(index: SqliteIndex) -> None:
    def write(worker: int) -> None:
        for turn in range(20):
            infos = [dump(number, ticket=f"{worker} {turn % 3}", revision=turn) for number in range(10)]
            index.put_many(infos)
            index.delete(named((worker + turn) % 10))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert_exact(index)


WRITE = """
import sys
from thoth.index.sqlite import SqliteIndex
from thoth.model import DumpInfo
index = SqliteIndex(sys.argv[1])
for turn in range(10_000):
    index.put_many(DumpInfo({"id": f"{number:032x}", "cmd": str(turn), "node": str(number)}) for number in range(300))
    index.delete(f"{turn % 300:032x}")
    print(turn, flush=True)
"""
BREAK_OFF = """
import os, sys
from thoth.index.sqlite import SqliteIndex, put_rows, row_of
from thoth.model import DumpInfo
index = SqliteIndex(sys.argv[1])
with index._database.writing() as connection:
    connection.execute("PRAGMA cache_size=1")  # so that it is written before it is committed
    put_rows(connection, [row_of(DumpInfo({"id": f"{number:032x}", "cmd": "lost"})) for number in range(500)])
    os._exit(9)
"""


@pytest.mark.parametrize("turns", [1, 3, 5])
def test_tallies_are_exact_after_a_writer_is_killed(index: SqliteIndex, turns: int) -> None:
    index.create()
    command = [sys.executable, "-c", WRITE, str(index.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        for _ in range(turns):
            assert writer.stdout.readline()
        os.kill(writer.pid, signal.SIGKILL)
    assert writer.returncode == -signal.SIGKILL
    assert len(ask_everything(index)) >= 299
    assert_exact(index)


def test_what_was_not_committed_is_not_counted(index: SqliteIndex, path: Path) -> None:
    index.put_many(dump(number) for number in range(100))
    before = tallies(path)
    assert subprocess.run([sys.executable, "-c", BREAK_OFF, str(path)], check=False).returncode == 9
    assert tallies(path) == before
    assert_exact(index)


# ---- what a tally is good for ---------------------------------------------------------------------


def test_report_with_a_constraint_does_not_ask_them(index: SqliteIndex) -> None:
    index.put_many(dump(number, ticket="A" if number else None) for number in range(3))
    with closing(sqlite3.connect(index.path, isolation_level=None)) as vandal:
        vandal.execute("UPDATE tallies SET dumps = 77")
    assert index.report(Query(), ("ticket",)) == {"A": 77, "undefined": 77}
    assert index.report(Query(limit=3), ("ticket",)) == {"undefined": 1, "A": 2}
