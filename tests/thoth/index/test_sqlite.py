"""The SQLite index: its file, what a dry run leaves of it, its damage, its writers."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.analysis import NOBODY, as_user
from tests.thoth.index.looking import LEAVE_WAL, ask_everything, trace
from tests.thoth.index.rows import dump, named
from thoth.errors import CannotWrite, IndexFailure
from thoth.index.schema import SCHEMA
from thoth.index.sqlite import SqliteIndex
from thoth.model import Identity
from thoth.query import Glob, Query


def run(script: str, *arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


# ---- the file -------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_file_is_its_users_alone_whatever_the_umask(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        index = SqliteIndex(path)
        index.put(dump(1))
        files = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
        index.close()
    finally:
        os.umask(before)
    assert files == {"thoth.db": 0o600, "thoth.db-wal": 0o600, "thoth.db-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o700


def test_create_says_what_it_made(index: SqliteIndex, path: Path) -> None:
    assert index.create() == [
        f"created database '{path}'",
        "created table 'dumps'",
        "created table 'analyzers'",
        "created index 'time'",
    ]
    assert index.create() == []


def test_asking_makes_nothing(index: SqliteIndex, tmp_path: Path) -> None:
    assert ask_everything(index) == []
    assert list(tmp_path.iterdir()) == []


def test_create_that_was_cut_short_is_completed(index: SqliteIndex, path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.touch()
    assert ask_everything(index) == []
    assert index.put(dump(1))
    assert ask_everything(index) == [named(1)]


def test_what_keeps_a_user_from_writing_is_named() -> None:
    with as_user() as place:
        path = place / "dumps.db"
        with closing(SqliteIndex(path)) as index:
            index.put(dump(1))
        for refused, mode in ((place, 0o555), (path, 0o444)):
            before = stat.S_IMODE(refused.stat().st_mode)
            refused.chmod(mode)
            said = f"{path}: may not be written to; {refused} is of user {NOBODY} and has mode 0{mode:o}, by which"
            with closing(SqliteIndex(path)) as index, pytest.raises(IndexFailure) as failure:
                index.put(dump(2))
            assert str(failure.value).startswith(f"{said} user {NOBODY} cannot write there: change that")
            refused.chmod(before)


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
@pytest.mark.parametrize("read_only", [False, True])
def test_no_link_is_followed(path: Path, tmp_path: Path, suffix: str, read_only: bool) -> None:
    with closing(SqliteIndex(path)) as index:
        index.put(dump(1))
    target = tmp_path / "target"
    place = path.with_name(path.name + suffix)
    if place.exists():
        place.rename(target)
    place.symlink_to(target)
    before = trace(tmp_path)
    asked = SqliteIndex(path, read_only=read_only)
    asks: list[Callable[[], object]] = [lambda: asked.get(named(1)), lambda: list(asked.find(Query()))]
    if not read_only:
        asks += [lambda: asked.put(dump(2)), asked.create]
    for ask in asks:
        with pytest.raises(IndexFailure, match="not a regular file"):
            ask()
    assert trace(tmp_path) == before


def test_names_that_an_address_would_take_apart(tmp_path: Path) -> None:
    strange = tmp_path / os.fsdecode(b"a?mode=memory#%41 \xff") / "x;y?.db"
    with closing(SqliteIndex(strange)) as index:
        assert index.put(dump(1))
    assert [each.name for each in strange.parent.iterdir()] == ["x;y?.db"]


def test_another_file_in_its_place_is_noticed(index: SqliteIndex, path: Path) -> None:
    index.put(dump(1))
    path.rename(path.with_name("moved"))
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).rename(path.with_name("moved" + suffix))
    assert ask_everything(index) == []
    assert index.put(dump(2))
    assert ask_everything(index) == [named(2)]


def test_closed_index_leaves_one_file(index: SqliteIndex, path: Path) -> None:
    index.put(dump(1))
    half_read = index.find(Query())
    next(half_read)
    index.close()
    del half_read
    assert [each.name for each in path.parent.iterdir()] == ["thoth.db"]


# ---- a dry run ------------------------------------------------------------------------------------

WRITE_ON_DEMAND = """
import sys
from thoth.index.sqlite import SqliteIndex
from thoth.model import DumpInfo
index = SqliteIndex(sys.argv[1])
for number, line in enumerate(sys.stdin):
    index.put(DumpInfo({"id": f"{number:032x}", "time": number, "cmd": "svcs"}))
    print("done", flush=True)
"""


def test_F53_read_only_leaves_no_trace(path: Path, tmp_path: Path) -> None:
    with closing(SqliteIndex(path)) as index:
        index.put_many(dump(number) for number in range(3))
    before = trace(tmp_path)
    with closing(SqliteIndex(path, read_only=True)) as asked:
        assert ask_everything(asked) == [named(number) for number in range(3)]
        assert trace(tmp_path) == before
    assert trace(tmp_path) == before


def test_F53_read_only_leaves_no_trace_beside_a_writer(path: Path, tmp_path: Path) -> None:
    with closing(SqliteIndex(path)) as index:
        index.create()
    with run(WRITE_ON_DEMAND, path) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        asked = SqliteIndex(path, read_only=True)
        for count in (1, 2, 3):
            writer.stdin.write(b"\n")
            writer.stdin.flush()
            assert writer.stdout.readline() == b"done\n"
            before = trace(tmp_path)
            assert path.with_name("thoth.db-wal").stat().st_size > 0
            assert ask_everything(asked) == [named(number) for number in range(count)]
            assert trace(tmp_path) == before
        assert writer.communicate() == (b"", b"")


def test_F53_read_only_leaves_no_trace_of_what_a_killed_writer_left(path: Path, tmp_path: Path) -> None:
    assert run(LEAVE_WAL, path).communicate() == (b"", b"")
    before = trace(tmp_path)
    assert path.with_name("thoth.db-wal").stat().st_size > 0
    assert ask_everything(SqliteIndex(path, read_only=True)) == [named(number) for number in range(3)]
    assert trace(tmp_path) == before
    path.with_name("thoth.db-shm").unlink()
    with pytest.raises(IndexFailure, match="copied while in use"):
        ask_everything(SqliteIndex(path, read_only=True))
    with closing(SqliteIndex(path)) as index:
        assert len(ask_everything(index)) == 3


def test_F53_read_only_of_nothing_makes_nothing(path: Path, tmp_path: Path) -> None:
    assert ask_everything(SqliteIndex(path, read_only=True)) == []
    assert list(tmp_path.iterdir()) == []


def test_F53_read_only_cannot_write(path: Path, tmp_path: Path) -> None:
    asked = SqliteIndex(path, read_only=True)
    writes: list[Callable[[], object]] = [
        asked.create,
        lambda: asked.put(dump(1)),
        lambda: asked.put_many([]),
        lambda: asked.delete(named(1)),
    ]
    for write in writes:
        with pytest.raises(CannotWrite):
            write()
    assert list(tmp_path.iterdir()) == []


def test_read_only_says_when_it_was_overtaken(path: Path) -> None:
    with closing(SqliteIndex(path)) as index:
        index.put_many(dump(number) for number in range(3))
    asked = SqliteIndex(path, read_only=True).find(Query())
    next(asked)
    with closing(SqliteIndex(path)) as index:
        index.put(dump(3))
    with pytest.raises(IndexFailure, match="another process wrote"):
        list(asked)


# ---- damage ---------------------------------------------------------------------------------------


def refusal(path: Path) -> str:
    """What is said when the index is asked, and again when it is written to."""
    with closing(SqliteIndex(path, timeout=0.1)) as index:
        with pytest.raises(IndexFailure) as asked:
            list(index.find(Query()))
        with pytest.raises(IndexFailure) as written:
            index.put(dump(1))
    assert str(asked.value) == str(written.value)
    assert "\n" not in str(asked.value)
    return str(asked.value)


@pytest.mark.parametrize("content", [b"x", b"no database at all\n" * 400, b"SQLite format 3\0" + b"\xff" * 4080])
def test_what_is_no_database_is_said_to_be_rebuilt(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert "run 'thoth index' to rebuild it" in refusal(path)
    assert path.read_bytes() == content


def test_database_of_another_program_is_left_alone(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE theirs (a)")
    before = path.read_bytes()
    assert "another program" in refusal(path)
    assert path.read_bytes() == before


def test_newer_tables_are_refused(index: SqliteIndex, path: Path) -> None:
    index.put(dump(1))
    index.close()
    with closing(sqlite3.connect(path)) as newer:
        newer.execute(f"PRAGMA user_version={SCHEMA + 1}")
    assert "update this thoth" in refusal(path)


def test_damaged_document_is_said_to_be_rebuilt(index: SqliteIndex, path: Path) -> None:
    index.put(dump(1))
    with closing(sqlite3.connect(path, isolation_level=None)) as vandal:
        vandal.execute("UPDATE dumps SET document = '{'")
    asks: list[Callable[[], object]] = [
        lambda: index.get(named(1)),
        lambda: list(index.find(Query())),
        lambda: list(index.select(Query(), [("stack",)])),
        lambda: index.report(Query(), ("stack",)),
        lambda: index.count(Query((Glob(("stack",), "*"),))),
    ]
    for ask in asks:
        with pytest.raises(IndexFailure, match="run 'thoth index'"):
            ask()


def test_each_page_damaged_gives_no_other_error(path: Path, tmp_path: Path) -> None:
    with closing(SqliteIndex(path)) as index:
        index.put_many(dump(number, stack=["a" * 50] * 3, ticket=str(number)) for number in range(60))
    whole = path.read_bytes()
    hurt, failed = tmp_path / "hurt.db", 0
    for page in range(0, len(whole), 4096):
        hurt.write_bytes(whole[:page] + b"\xa5" * 4096 + whole[page + 4096 :])
        for ask in (ask_everything, lambda index: index.put(dump(7, ticket="new"))):
            with closing(SqliteIndex(hurt)) as index:
                try:
                    ask(index)
                except IndexFailure as error:
                    failed += 1
                    assert "\n" not in str(error)
                except AssertionError:
                    failed += 1  # the indexes of the file contradict its table
        for each in tmp_path.glob("hurt.db*"):
            each.unlink()
    assert failed > 10


@pytest.mark.parametrize("length", [0, 100, 4096, 20_000])
def test_cut_file_gives_no_other_error(path: Path, length: int) -> None:
    with closing(SqliteIndex(path)) as index:
        index.put_many(dump(number, psargs="a" * 500) for number in range(60))
    path.write_bytes(path.read_bytes()[:length])
    with closing(SqliteIndex(path)) as index:
        if length:
            with pytest.raises(IndexFailure, match="run 'thoth index'"):
                ask_everything(index)
        else:
            assert ask_everything(index) == []


def test_busy_says_so(index: SqliteIndex, path: Path) -> None:
    index.create()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with closing(SqliteIndex(path, timeout=0.05)) as waiting:
            assert ask_everything(waiting) == []  # readers don't wait
            with pytest.raises(IndexFailure, match="another process is writing"):
                waiting.put(dump(1))


# ---- several processes ----------------------------------------------------------------------------

WRITE = """
import sys
from thoth.index.sqlite import SqliteIndex
from thoth.model import DumpInfo
index, worker = SqliteIndex(sys.argv[1]), int(sys.argv[2])
for number in range(40):
    index.put(DumpInfo({"id": f"{worker * 100 + number:032x}", "time": number}))
    index.put(DumpInfo({"id": "f" * 32, "revision": worker * 40 + number, "cmd": str(worker)}))
index.close()
"""


def test_processes_that_start_at_once_lose_nothing(index: SqliteIndex, path: Path) -> None:
    writers = [run(WRITE, path, worker) for worker in range(4)]
    assert [writer.communicate() for writer in writers] == [(b"", b"")] * 4
    assert index.count(Query()) == 161
    last = index.get(Identity("f" * 32))
    assert last is not None
    assert last.document["revision"] == 159
    assert [each.name for each in path.parent.iterdir() if not each.name.startswith("thoth.db-")] == ["thoth.db"]


def test_threads_that_start_at_once_make_one_index(tmp_path: Path) -> None:
    for attempt in range(20):
        index = SqliteIndex(tmp_path / str(attempt) / "thoth.db")
        start = threading.Barrier(4)

        def write(worker: int, index: SqliteIndex = index, start: threading.Barrier = start) -> bool:
            start.wait()
            return index.put(dump(worker))

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(write, range(4)))
        assert index.count(Query()) == 4
        index.close()


def test_what_a_killed_maker_left_is_swept(index: SqliteIndex, path: Path) -> None:
    path.parent.mkdir(parents=True)
    for suffix in (".new", ".new-wal", ".new-shm", ".new-journal"):
        path.with_name(path.name + suffix).write_bytes(b"half")
    assert index.put(dump(1))
    index.close()
    assert [each.name for each in path.parent.iterdir()] == ["thoth.db"]
