"""``thoth index`` and ``load``."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.thoth.cli.conftest import Core, Ran, Run
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity


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
    assert run("ls", "--json") == Ran(0, "", "thoth: the index has no dumps and the store has: run 'thoth index'\n")
    assert run("index") == Ran(0, "", "thoth: indexed 3 dumps\n")
    assert run("ls", "--json") == listed
    assert run("-q", "index") == Ran(0, "", "")


def test_an_upload_whose_document_is_about_to_come_is_no_failure(run: Run, core: Core, stored: Thoth) -> None:
    run("upload", core(1))
    name = f"/{stored.user}/stor/thoth/{'1a' * 16}"
    stored.store.put(f"{name}/core.2", b"its document comes when its stack is known")
    said = "thoth: indexed 1 dump; 1 dump on the way, as it seems: no document yet\n"
    assert run("index") == Ran(0, "", said)
    ran = run("load", "1a" * 16)
    assert (ran.code, "is not there; upload the dump again" in ran.err) == (1, True)


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
    (left,) = documents[names[2]].parent.iterdir()
    os.utime(left, (time.time() - 3601,) * 2)  # no upload takes so long to its document
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


class TestIndexByAge:
    def test_only_what_was_written_to_lately(self, run: Run, core: Core, place: Path) -> None:
        names = run("-q", "upload", *(core(pid) for pid in range(4))).lines
        for days, name in enumerate(names):
            then = time.time() - days * 86400 - 60
            os.utime(place / "store/thoth/stor/thoth" / name, (then, then))
        move_away(place, "")
        assert run("index", "mtime=36h") == Ran(0, "", "thoth: indexed 2 dumps\n")
        assert {json.loads(line)["id"] for line in run("ls", "--json").lines} == {*names[:2]}
        assert run("index", "mtime=1w").said == ["thoth: indexed 4 dumps"]
        assert run("index", "mtime=30").said == ["thoth: indexed 0 dumps"]
        assert len(run("ls").lines) == 1 + 4  # nothing is removed

    def test_a_set_writes_to_a_dump(self, run: Run, core: Core, place: Path, stored: Thoth) -> None:
        names = run("-q", "upload", core(1), core(2)).lines
        for name in names:
            os.utime(place / "store/thoth/stor/thoth" / name, (0, 0))
        assert run("index", "mtime=1h").said == ["thoth: indexed 0 dumps"]
        run("ticket", names[1], "OS-1")
        stored.index.delete(Identity(names[1]))
        assert run("index", "mtime=1h").said == ["thoth: indexed 1 dump"]
        assert [json.loads(line)["id"] for line in run("ls", "--json", "ticket=OS-1").lines] == [names[1]]

    @pytest.mark.parametrize(
        ("words", "what"),
        [
            (["mtime="], "mtime="),
            (["mtime=soon"], "'soon' is not an age"),
            (["type=core"], "type=core"),
            (["0" * 32], "only mtime=AGE"),
            (["mtime=1h", "mtime=2h"], "unrecognized arguments: mtime=2h"),
        ],
    )
    def test_anything_else_is_refused(self, run: Run, place: Path, words: list[str], what: str) -> None:
        ran = run("index", *words)
        assert (ran.code, ran.out, len(ran.said)) == (1, "", 1)
        assert what in ran.err
        assert not place.exists()


class TestLoad:
    @pytest.fixture
    def names(self, run: Run, core: Core, stored: Thoth) -> list[str]:
        """Three dumps, of which the index knows the last."""
        names = run("-q", "upload", *(core(pid) for pid in range(3))).lines
        for name in names[:2]:
            stored.index.delete(Identity(name))
        return names

    def listed(self, run: Run) -> set[str]:
        return {json.loads(line)["id"] for line in run("ls", "--json").lines}

    def test_a_whole_identity_need_not_be_in_the_index(self, run: Run, names: list[str]) -> None:
        assert run("load", names[0], names[0]) == Ran(0, "", "thoth: indexed 1 dump\n")
        assert self.listed(run) == {names[0], names[2]}
        assert run("load", f"/thoth/stor/thoth/{names[1]}").code == 0
        assert self.listed(run) == {*names}

    def test_a_local_dump(self, run: Run, names: list[str], core: Core) -> None:
        assert run("load", core(0)).code == 0
        assert self.listed(run) == {names[0], names[2]}

    def test_names_on_standard_input(self, spawn: Run, run: Run, names: list[str]) -> None:
        ran = spawn("load", "dump=stdin", stdin="\n".join(names).encode())
        assert (ran.code, ran.out, ran.said[-1]) == (0, "", "thoth: indexed 3 dumps")
        assert self.listed(run) == {*names}

    def test_a_limit_holds_for_them_too(self, spawn: Run, run: Run, names: list[str]) -> None:
        ran = spawn("load", "dump=stdin", "limit=2", stdin="\n".join(names).encode())
        assert (ran.code, ran.said[-1]) == (0, "thoth: indexed 2 dumps")

    def test_one_that_is_not_there_does_not_stop_the_rest(self, spawn: Run, run: Run, names: list[str]) -> None:
        ran = spawn("load", "dump=stdin", stdin="\n".join(["0" * 32, *names]).encode())
        assert (ran.code, ran.out, ran.said[-1]) == (1, "", "thoth: indexed 3 dumps")
        assert f"{'0' * 32}/info.json: is not there" in ran.err
        assert self.listed(run) == {*names}

    def test_no_names_on_standard_input_are_an_error(self, spawn: Run, names: list[str]) -> None:
        ran = spawn("load", "dump=stdin", stdin=b"\n")
        assert (ran.code, ran.said[-1]) == (1, "thoth: standard input names no dump; nothing was done")

    def test_a_beginning_and_a_specification_are_looked_up_in_the_index(
        self, run: Run, names: list[str], stored: Thoth
    ) -> None:
        stored.index.put(DumpInfo({"id": names[2], "type": "core"}))
        assert run("load", names[2][:10]) == Ran(0, "", "thoth: indexed 1 dump\n")
        assert "psargs" in json.loads(run("ls", "--json").out)
        assert run("load", "type=core") == Ran(0, "", "thoth: indexed 1 dump\n")
        assert run("load", "type=crash") == Ran(0, "", "thoth: indexed 0 dumps\n")

    def test_a_newer_document_of_the_index_stays(self, run: Run, names: list[str], stored: Thoth) -> None:
        stored.index.put(DumpInfo({"id": names[2], "revision": 5, "ticket": "OS-1"}))
        assert run("load", names[2]).code == 0
        assert len(run("ls", "ticket=OS-1").lines) == 1 + 1

    @pytest.mark.parametrize("word", ["f" * 32, "no-such-file", "0" * 31])
    def test_no_such_dump_is_2(self, run: Run, names: list[str], word: str) -> None:
        ran = run("load", names[0], word)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith("thoth: no such dump")
        assert self.listed(run) == {names[2]}  # nothing was done

    def test_a_word_is_needed(self, run: Run) -> None:
        ran = run("load")
        assert (ran.code, len(ran.said)) == (1, 1)
