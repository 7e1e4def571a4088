"""How the tables of an older version become today's."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.thoth.index.looking import ask_everything, tallies, trace
from tests.thoth.index.rows import dump, named
from thoth.errors import IndexFailure
from thoth.index.sqlite import SqliteIndex
from thoth.index.tallies import TALLIED
from thoth.query import Query

# The tables as the first version made them.
FIRST = """
CREATE TABLE dumps (id TEXT NOT NULL PRIMARY KEY, revision INTEGER NOT NULL, size INTEGER, odd INTEGER NOT NULL,
    time REAL, type TEXT, node TEXT, cmd TEXT, platform TEXT, ticket TEXT, pid TEXT, zone TEXT, signature TEXT,
    sha256 TEXT, complete TEXT, document TEXT NOT NULL);
CREATE TABLE analyzers (id TEXT NOT NULL PRIMARY KEY, document TEXT NOT NULL);
CREATE INDEX dumps_time ON dumps(time, id) WHERE odd = 0;
CREATE INDEX dumps_odd ON dumps(time, id) WHERE odd = 1;
CREATE INDEX dumps_type ON dumps(type, time, id) WHERE odd = 0;
CREATE INDEX dumps_node ON dumps(node, type, time, id) WHERE odd = 0;
CREATE INDEX dumps_cmd ON dumps(cmd, time, id) WHERE odd = 0;
CREATE INDEX dumps_ticket ON dumps(ticket, time, id) WHERE odd = 0;
CREATE INDEX dumps_platform ON dumps(platform) WHERE odd = 0;
CREATE INDEX dumps_zone ON dumps(zone) WHERE odd = 0;
CREATE INDEX dumps_signature ON dumps(signature) WHERE odd = 0;
CREATE INDEX dumps_pid ON dumps(pid) WHERE odd = 0;
PRAGMA application_id=1416130420;
PRAGMA user_version=1;
PRAGMA journal_mode=WAL;
"""
# And as the second one did.
SECOND = """
CREATE TABLE dumps (id TEXT NOT NULL PRIMARY KEY, revision INTEGER NOT NULL, size INTEGER, odd INTEGER NOT NULL,
    purged INTEGER NOT NULL, time REAL, type TEXT, node TEXT, cmd TEXT, platform TEXT, ticket TEXT, pid TEXT,
    zone TEXT, signature TEXT, sha256 TEXT, complete TEXT, document TEXT NOT NULL);
CREATE TABLE analyzers (id TEXT NOT NULL PRIMARY KEY, document TEXT NOT NULL);
CREATE INDEX dumps_time ON dumps(time, id, type, node, cmd, ticket, odd) WHERE odd = 0;
CREATE INDEX dumps_odd ON dumps(time, id) WHERE odd = 1;
CREATE INDEX dumps_type ON dumps(type, time, id, node, cmd, ticket, odd) WHERE odd = 0;
CREATE INDEX dumps_node ON dumps(node, type, time, id, cmd, ticket, odd) WHERE odd = 0;
CREATE INDEX dumps_cmd ON dumps(cmd, time, id, type, node, ticket, odd) WHERE odd = 0;
CREATE INDEX dumps_ticket ON dumps(ticket, time, id, type, node, cmd, odd) WHERE odd = 0;
CREATE INDEX dumps_platform ON dumps(platform, odd) WHERE odd = 0;
CREATE INDEX dumps_zone ON dumps(zone, odd) WHERE odd = 0;
CREATE INDEX dumps_signature ON dumps(signature, odd) WHERE odd = 0;
CREATE INDEX dumps_pid ON dumps(pid, odd) WHERE odd = 0;
PRAGMA application_id=1416130420;
PRAGMA user_version=2;
PRAGMA journal_mode=WAL;
"""
# And as the third one did.
THIRD = (
    SECOND.replace("user_version=2", "user_version=3")
    + """
CREATE TABLE tallies (property TEXT NOT NULL, label TEXT NOT NULL, dumps INTEGER NOT NULL,
    PRIMARY KEY (property, label)) WITHOUT ROWID;
"""
)
KINDS: list[dict[str, object]] = [
    {},
    {"purged": 1_700_000_000},
    {"purged": None},
    {"properties": {"purged": 1}},
    {"ticket": ["odd"]},
]


@pytest.fixture
def first_version(path: Path) -> Path:
    """An index of the first version with some dumps in it."""
    path.parent.mkdir(parents=True, mode=0o700)
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.executescript(FIRST)
        for number, kind in enumerate(KINDS):
            info = dump(number, **kind)
            row = (info.id, number, "ticket" in kind, info.to_json())
            old.execute(
                "INSERT INTO dumps (id, revision, odd, time, type, cmd, document)"
                " VALUES (?1, 0, ?3, ?2, 'core', 'svcs', ?4)",
                row,
            )
    return path


ROWS = [dump(number, ticket=each) for number, each in enumerate([None, "A", "A", "undefined", "é\udcff", ["A"], 5])]


@pytest.fixture
def second_version(path: Path) -> Path:
    """An index of the second version with ``ROWS`` in it, as they were put."""
    path.parent.mkdir(parents=True, mode=0o700)
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.executescript(SECOND)
        for number, info in enumerate(ROWS):
            # revision, size, odd, purged, time, type to signature, sha256 and complete, document
            ticket = info.document["ticket"]
            odd = isinstance(ticket, list)
            told = [None if odd else "core", None, None if odd else "svcs", None]
            text = None if odd or ticket is None else str(ticket).encode("utf-8", "surrogatepass")
            row = [info.id, 0, None, odd, 0, number, *told, text, *[None] * 5, info.to_json()]
            casts = ["CAST(? AS TEXT)" if at == 10 else "?" for at in range(len(row))]
            old.execute(f"INSERT INTO dumps VALUES ({', '.join(casts)})", row)
    return path


def schema(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        return sorted(connection.execute("SELECT type, name FROM sqlite_master"))


@pytest.mark.parametrize("writing", [False, True])
def test_tables_of_the_first_version_are_brought_up_to_date(
    first_version: Path, tmp_path: Path, writing: bool
) -> None:
    with closing(SqliteIndex(first_version)) as index:
        if writing:
            assert index.put(dump(9))
            index.delete(named(9))
        assert ask_everything(index) == [named(number) for number in range(len(KINDS))]
        known = index.known(named(number) for number in range(len(KINDS)))
        assert [known[named(number)].purged for number in range(len(KINDS))] == [False, True, False, False, False]
        assert index.create() == []
        assert index.report(Query(), ("type",)) == {"core": len(KINDS)}
    with closing(SqliteIndex(tmp_path / "new.db")) as new:
        new.create()
    assert schema(first_version) == schema(tmp_path / "new.db")


@pytest.mark.parametrize("writing", [False, True])
def test_tables_of_the_second_version_are_counted(second_version: Path, tmp_path: Path, writing: bool) -> None:
    with closing(SqliteIndex(second_version)) as index, closing(SqliteIndex(tmp_path / "new.db")) as new:
        new.put_many(ROWS)
        if writing:
            for each in (index, new):
                each.put(dump(1, ticket="B"))
                each.delete(named(2))
        assert ask_everything(index) == ask_everything(new)
        assert tallies(second_version) == tallies(tmp_path / "new.db")
        for name in TALLIED:
            assert index.report(Query(), (name,)) == new.report(Query(), (name,))
    assert schema(second_version) == schema(tmp_path / "new.db")


def test_tables_of_the_third_version_rank_signatures(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir(parents=True, mode=0o700)
    signed = [dump(number, signature=each, node="n") for number, each in enumerate("aab")]
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.executescript(THIRD)
        for number, info in enumerate(signed):
            row = (info.id, number, info.document["signature"], info.to_json())
            old.execute(
                "INSERT INTO dumps (id, revision, odd, purged, time, type, cmd, node, signature, document)"
                " VALUES (?1, 0, 0, 0, ?2, 'core', 'svcs', 'n', ?3, ?4)",
                row,
            )
        for name, label in [("type", "core"), ("cmd", "svcs"), ("node", "n"), ("platform", None), ("ticket", None)]:
            old.execute("INSERT INTO tallies VALUES (?, coalesce(?, 'undefined'), 3)", (name, label))
    with closing(SqliteIndex(path)) as index, closing(SqliteIndex(tmp_path / "new.db")) as new:
        new.put_many(signed)
        assert index.rank(Query(), 9) == new.rank(Query(), 9)
        assert ask_everything(index) == ask_everything(new)
    assert tallies(path) == tallies(tmp_path / "new.db")
    assert schema(path) == schema(tmp_path / "new.db")


def test_a_dry_run_says_who_brings_old_tables_up_to_date(first_version: Path, tmp_path: Path) -> None:
    before = trace(tmp_path)
    with pytest.raises(IndexFailure, match="any command but a dry run brings it up to date"):
        ask_everything(SqliteIndex(first_version, read_only=True))
    assert trace(tmp_path) == before


def test_several_bring_old_tables_up_to_date_at_once(first_version: Path) -> None:
    start = threading.Barrier(4)

    def ask(_: int) -> list[str]:
        with closing(SqliteIndex(first_version)) as index:
            start.wait()
            return ask_everything(index)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == [[named(number) for number in range(len(KINDS))]] * 4
