"""``thoth index``."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.thoth.cli.conftest import Ran, Run

Core = Callable[..., Path]


@pytest.fixture
def place() -> Path:
    """Where store and index of a user who has configured nothing are."""
    return Path(os.environ["HOME"], ".local/share/thoth")


def move_away(place: Path, *endings: str) -> None:
    for ending in endings:
        (place / f"thoth.db{ending}").rename(place / f"away{ending}")


def test_an_index_that_is_gone_is_made_again(run: Run, core: Core, place: Path) -> None:
    run("upload", *(core(pid) for pid in range(3)))
    listed = run("ls", "--json")
    move_away(place, "")
    assert run("ls", "--json") == Ran(0, "", "")
    assert run("index") == Ran(0, "", "thoth: indexed 3 dumps\n")
    assert run("ls", "--json") == listed
    assert run("-q", "index") == Ran(0, "", "")


def test_F35_a_damaged_one_is_moved_away_as_the_message_says(run: Run, core: Core, place: Path) -> None:
    run("upload", core(1), core(2))
    listed = run("ls")
    size = (place / "thoth.db").stat().st_size
    (place / "thoth.db").write_bytes(b"\xff" * size)
    for command in ("ls", "index"):
        ran = run(command)
        assert (ran.code, ran.out, len(ran.said)) == (1, "", 1)
        assert "move it away and run 'thoth index'" in ran.err
    move_away(place, "")
    assert run("index").code == 0
    assert run("ls") == listed


def test_F35_what_a_killed_writer_left_does_not_get_into_the_new_one(run: Run, core: Core, place: Path) -> None:
    run("upload", core(1))
    with closing(sqlite3.connect(place / "thoth.db", isolation_level=None)) as killed:
        killed.execute("UPDATE dumps SET ticket = 'not in the file yet'")
        left = {ending: (place / f"thoth.db{ending}").read_bytes() for ending in ("-wal", "-shm")}
    move_away(place, "")
    for ending, data in left.items():
        (place / f"thoth.db{ending}").write_bytes(data)
    assert run("index").said == ["thoth: indexed 1 dump"]
    assert len(run("ls", "ticket=undefined").lines) == 2
    with closing(sqlite3.connect(place / "thoth.db")) as index:
        assert index.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_broken_document_is_one_line_and_the_rest_goes_on(run: Run, core: Core, place: Path) -> None:
    names = run("-q", "upload", *(core(pid) for pid in range(4))).lines
    documents = {name: place / "store/thoth/stor/thoth" / name / "info.json" for name in names}
    documents[names[1]].write_text("{")
    documents[names[2]].unlink()
    move_away(place, "")
    ran = run("index")
    assert (ran.code, ran.out, len(ran.said)) == (1, "", 3)
    assert ran.said[-1] == "thoth: indexed 2 dumps"
    for name, line in zip(sorted(names[1:3]), ran.said, strict=False):
        assert line.startswith(f"thoth: /thoth/stor/thoth/{name}/info.json: ")
    assert len(run("ls").lines) == 1 + 2


def test_a_store_that_is_not_mounted_is_not_an_empty_one(run: Run, core: Core, place: Path) -> None:
    run("upload", core(1))
    move_away(place, "")
    (place / "store").rename(place / "not-mounted")
    ran = run("index")
    assert (ran.code, ran.out, len(ran.said)) == (1, "", 1)
    assert f"store {place}/store: no such directory" in ran.err
    assert not (place / "thoth.db").exists()


def test_an_empty_store_gets_an_index(run: Run, place: Path) -> None:
    run("init")
    move_away(place, "")
    assert run("index") == Ran(0, "", "thoth: indexed 0 dumps\n")
    assert (place / "thoth.db").is_file()


def test_a_terminal_shows_a_bar(run: Run, core: Core, on_terminal: Callable[..., tuple[int, bytes]]) -> None:
    run("upload", core(1), core(2))
    code, seen = on_terminal("index")
    assert code == 0
    assert b"thoth: indexing      [=======================>] 100%        2" in seen
    assert on_terminal("-q", "index") == (0, b"")
