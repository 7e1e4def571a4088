"""A store that is not the one that the index speaks of: not mounted, or another one. Nothing is written then."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier

import pytest

from tests.thoth.cli.conftest import Ran, Run
from thoth.errors import IndexFailure, StoreUnavailable
from thoth.index.sqlite import SqliteIndex
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity
from thoth.store.directory import DirectoryStore
from thoth.tie import Tie, TiedIndex

Core = Callable[..., Path]

# What needs both. NAME is a dump of the store, CORE a file, RULE a rule.
REFUSED = [
    "upload CORE",
    "upload --json CORE",
    "ticket NAME OS-1",
    "set cmd=bc triage bmc",
    "set -n cmd=bc triage bmc",
    "unset NAME triage",
    "analyze NAME fmri",
    "analyze -n NAME fmri",
    "purge --older 1d",
    "purge --older 1d --delete",
    "scrub",
    "scrub --quick",
    "scrub --repair",
    "load NAME",
    "index mtime=1d",
    "index",
    "init",
    "autoanalyzers upload RULE",
    "autoanalyzers run NAME",
    "autoanalyzers dryrun NAME",
    "autoanalyzers ls",
    "signature --recompute --write NAME",
    "logs --put a-log",
    "analyzers",
    "info NAME",
    "debug NAME",
]


@pytest.fixture
def place() -> Path:
    """Where store and index of a user who has configured nothing are."""
    return Path(os.environ["HOME"], ".local/share/thoth")


@pytest.fixture
def name(run: Run, core: Core) -> str:
    """A dump in a store that ``init`` has made."""
    run("init")
    return run("-q", "upload", core(1)).out.strip()


@pytest.fixture
def words(name: str, core: Core, tmp_path: Path) -> Callable[[str], list[str]]:
    rule = tmp_path / "rule.json"
    rule.write_text(json.dumps({"name": "bc", "version": 1, "matches": ["cmd=bc"], "ticket": "OS-9"}))
    told = {"NAME": name, "CORE": str(core(2)), "RULE": str(rule)}
    return lambda command: [told.get(word, word) for word in command.split()]


def seen(folder: Path) -> dict[str, bytes]:
    """All files and directories with their content."""
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(folder.rglob("*"))}


def untied(place: Path) -> None:
    """Make store and index what an older Thoth has made."""
    (place / "store/.id").unlink()
    with closing(sqlite3.connect(place / "thoth.db")) as index:
        index.execute("DROP TABLE store")


def remembered(index: Path) -> list[tuple[str, bytes]]:
    with closing(sqlite3.connect(index)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'store'").fetchone():
            return []
        return connection.execute("SELECT mark, root FROM store").fetchall()


def assert_refused(ran: Ran, said: str) -> None:
    assert ran.code == 1, ran
    assert [json.loads(line)["result"] for line in ran.out.splitlines()] in ([], ["not-tried"]), ran
    told = [line for line in ran.said if not line.startswith(("thoth: using ", "thoth: reading rules"))]
    assert len(told) == 1 and said in told[0], ran.err


# ---- the store is not mounted -----------------------------------------------------------------------


@pytest.mark.parametrize("command", REFUSED)
def test_a_store_that_is_not_mounted(
    run: Run, name: str, words: Callable[[str], list[str]], place: Path, command: str
) -> None:
    before, stored = run("ls", "--json"), seen(place / "store")
    (place / "store").rename(place / "unmounted")
    (place / "store").mkdir(mode=0o700)
    ran = run(*words(command))
    assert_refused(ran, f"store {place}/store: has no dump, and the index {place}/thoth.db speaks of some; mount it,")
    assert list((place / "store").iterdir()) == []
    assert run("ls", "--json") == before
    (place / "store").rmdir()
    (place / "unmounted").rename(place / "store")
    assert seen(place / "store") == stored
    assert "0 problems" in run("scrub").err
    assert run("ticket", name, "OS-1").code == 0


def test_a_store_that_goes_while_it_is_written_to(stored: Thoth, name: str, place: Path) -> None:
    stored.store.put("/thoth/stor/thoth/logs/a", b"1")
    stored.index.put(DumpInfo({"id": "0" * 32}))
    (place / "store").rename(place / "unmounted")
    (place / "store").mkdir(mode=0o700)
    for store in (stored.store, stored.store.gathering()):
        for write in (
            lambda store=store: store.put("/thoth/stor/thoth/logs/b", b"2"),
            lambda store=store: store.begin("/thoth/stor/thoth/logs/b", 1),
            lambda store=store: store.delete("/thoth/stor/thoth/logs/a"),
            lambda store=store: store.discard("/thoth/stor/thoth/logs/a", 1),
        ):
            with pytest.raises(StoreUnavailable, match="mount it"):
                write()
    for write in (
        lambda: stored.index.put(DumpInfo({"id": "1" * 32})),
        lambda: stored.index.put_many([DumpInfo({"id": "1" * 32})]),
        lambda: stored.index.delete(Identity(name)),
    ):
        with pytest.raises(IndexFailure, match="mount it"):
            write()
    assert list((place / "store").iterdir()) == []
    assert sorted(stored.index.named("")) == sorted([name, "0" * 32])


# ---- another store ----------------------------------------------------------------------------------


@pytest.fixture
def other(run: Run, core: Core, tmp_path: Path) -> Path:
    """Another store, with a dump and an index of its own."""
    where = tmp_path / "other"
    places = ("--store", f"file://{where}/store", "--db", f"sqlite://{where}/dumps.db")
    assert run("-q", "upload", *places, core(7, "core.other")).code == 0
    return where / "store"


@pytest.mark.parametrize("command", [each for each in REFUSED if each != "index"] + ["ls", "report", "top"])
def test_a_store_that_is_named_without_its_index(
    run: Run, words: Callable[[str], list[str]], place: Path, other: Path, command: str
) -> None:
    before, stored = run("ls", "--json"), seen(other)
    said = f"store {other}: not the one that the index {place}/thoth.db speaks of, which was at {place}/store; "
    with pytest.MonkeyPatch.context() as only_the_store:
        only_the_store.setenv("THOTH_STORE", f"file://{other}")
        assert_refused(run(*words(command)), said)
    assert seen(other) == stored
    assert run("ls", "--json") == before
    assert "0 problems" in run("scrub").err


def test_a_new_store_for_an_old_index_is_not_made(run: Run, name: str, tmp_path: Path) -> None:
    for command in ("init", "upload"):
        ran = run(
            "-q", command, "--store", f"file://{tmp_path}/new", *([tmp_path / "core.1"] * (command == "upload"))
        )
        assert_refused(ran, f"store {tmp_path}/new: no such directory")
    assert not (tmp_path / "new").exists()


def test_a_list_is_not_of_another_store(run: Run, name: str, place: Path) -> None:
    assert_refused(run("ls", "--store", "file:///nosuch/dir"), "store /nosuch/dir: no such directory; mount it")
    assert len(run("ls", "--store", f"file://{place}/store").lines) == 2
    (place / "store").rename(place / "away")
    assert len(run("ls", "--store", f"file://{place}/store").lines) == 2  # it is away, and is no other one


def test_another_index_for_the_store_is_no_other_store_s(run: Run, name: str, place: Path) -> None:
    assert run("index", "--db", f"sqlite://{place}/second.db").said == ["thoth: indexed 1 dump"]
    assert run("ticket", "--db", f"sqlite://{place}/second.db", name, "OS-1").code == 0
    assert remembered(place / "second.db") == remembered(place / "thoth.db") != []


# ---- thoth index heals ------------------------------------------------------------------------------


def test_the_index_is_made_to_speak_of_another_store(
    run: Run, name: str, core: Core, other: Path, place: Path
) -> None:
    places = ("--store", f"file://{other}")
    ran = run("index", *places)
    assert (ran.code, ran.said) == (
        0,
        [
            "thoth: indexed 1 dump",
            "thoth: the index spoke of another store, and speaks of this one now; what is not there (1 dump)"
            " 'thoth scrub --repair' takes out",
        ],
    )
    assert run("upload", *places, core(2)).code == 0
    assert run("scrub", "--repair", *places).code == 0
    assert len(run("ls", *places).lines) == 1 + 2
    assert_refused(run("upload", core(3)), f"which was at {other}")
    assert run("-q", "index").code == 0
    assert run("info", name).code == 0


def test_an_index_is_not_made_to_speak_of_nothing(run: Run, name: str, place: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir(mode=0o700)
    assert_refused(
        run("index", "--store", f"file://{tmp_path}/empty"), "name store and index both, or move the index away"
    )
    assert list((tmp_path / "empty").iterdir()) == []
    (place / "thoth.db").rename(place / "away.db")
    assert run("index", "--store", f"file://{tmp_path}/empty").code == 0


def test_a_store_without_its_mark_is_told_and_taken(
    run: Run, name: str, core: Core, place: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(place / "store", copy, ignore=shutil.ignore_patterns(".*"))
    copy.chmod(0o700)
    assert_refused(run("upload", "--store", f"file://{copy}", core(2)), "'thoth index'")
    ran = run("index", "--store", f"file://{copy}")
    assert (ran.code, ran.said[1]) == (0, "thoth: the index spoke of another store, and speaks of this one now")
    assert run("upload", "--store", f"file://{copy}", core(2)).code == 0


def test_an_empty_index_forgets_a_store_that_is_gone(run: Run, core: Core, place: Path) -> None:
    run("init")
    shutil.rmtree(place / "store")
    assert run("init").code == 0
    assert run("upload", core(1)).code == 0


# ---- the mark ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["init", "upload", "autoanalyzers"])
def test_the_first_write_makes_the_mark(run: Run, core: Core, place: Path, first: str, tmp_path: Path) -> None:
    (tmp_path / "rule").write_text(json.dumps({"name": "bc", "version": 1, "matches": ["cmd=bc"], "ticket": "OS-9"}))
    run(*{"init": ["init"], "upload": ["upload", core(1)]}.get(first, [first, "upload", tmp_path / "rule"]))
    mark = place / "store/.id"
    assert stat.S_IMODE(mark.stat().st_mode) == 0o600
    written = mark.read_text()
    run("upload", core(2))
    assert mark.read_text() == written
    assert remembered(place / "thoth.db") == [(written.strip(), os.fsencode(place / "store"))]


def test_what_an_older_thoth_made_goes_on_without_a_step(run: Run, name: str, core: Core, place: Path) -> None:
    untied(place)
    for command in ("ls", "scrub", "scrub --quick", f"info {name}", f"set -n {name} a 1", "purge --older 90d"):
        assert run(*command.split()).code == 0
    assert not (place / "store/.id").exists()
    assert remembered(place / "thoth.db") == []
    assert run("ticket", name, "OS-1").code == 0
    assert remembered(place / "thoth.db") == [
        ((place / "store/.id").read_text().strip(), os.fsencode(place / "store"))
    ]


@pytest.mark.usefixtures("name")
def test_what_an_older_thoth_made_is_not_tied_to_what_is_not_its_own(
    run: Run, core: Core, place: Path, other: Path
) -> None:
    untied(place)
    empty = other.with_name("empty")
    empty.mkdir(mode=0o700)
    for where in (other, empty):
        stored = seen(where)
        for command in (["upload", core(2)], ["scrub", "--repair"], ["init"], ["set", "cmd=bc", "a", "1"]):
            assert_refused(run(*command, "--store", f"file://{where}"), f"store {where}: ")
        assert seen(where) == stored
    assert remembered(place / "thoth.db") == []


def test_a_store_may_move(run: Run, name: str, core: Core, place: Path, tmp_path: Path) -> None:
    (place / "store").rename(tmp_path / "moved")
    places = ("--store", f"file://{tmp_path}/moved")
    assert len(run("ls", *places).lines) == 2
    assert run("upload", *places, core(2)).code == 0
    assert remembered(place / "thoth.db")[0][1] == os.fsencode(tmp_path / "moved")


def test_first_writers_make_one_mark(core: Core, place: Path, spawn: Run) -> None:
    cores = [core(pid) for pid in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert [(ran.code, ran.err) for ran in pool.map(lambda each: spawn("-q", "upload", each), cores)] == [
            (0, "")
        ] * 4
    assert [mark for mark, _ in remembered(place / "thoth.db")] == [(place / "store/.id").read_text().strip()]


def test_marks_made_at_once_are_one(tmp_path: Path) -> None:
    start = Barrier(8)

    def make(number: int) -> str | None:
        start.wait()
        return DirectoryStore(tmp_path / "store", create=True).make_mark()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(make, range(8)))) == 1
    assert list((tmp_path / "store/.uploads").iterdir()) == []


def test_an_index_is_tied_to_one_of_two_stores(tmp_path: Path) -> None:
    start = Barrier(2)

    def tied(which: str) -> bool:
        with closing(SqliteIndex(tmp_path / "index.db")) as index:
            tie = Tie(DirectoryStore(tmp_path / which, create=True), index, "bc", named=True)
            start.wait()
            try:
                return TiedIndex(index, tie).put(DumpInfo({"id": "0" * 32}))
            except IndexFailure as error:
                assert "another" in str(error) or "not the one" in str(error)
                return False

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(tied, "ab")) == [False, True]


def test_a_damaged_mark_is_one_line(run: Run, name: str, core: Core, place: Path) -> None:
    (place / "store/.id").write_text("\x1b[2J")
    assert_refused(
        run("upload", core(2)), ".id in the store is damaged; bring it back, or remove it and run 'thoth index'"
    )
    assert len(run("ls").lines) == 2
    (place / "store/.id").unlink()
    assert_refused(run("upload", core(2)), "'thoth index'")
    assert run("index").code == 0
    assert run("upload", core(2)).code == 0


def test_an_index_that_fails_does_not_keep_dumps_away(run: Run, name: str, core: Core, place: Path) -> None:
    (place / "thoth.db").write_bytes(b"no database" * 100)
    ran = run("upload", "--json", core(2))
    assert json.loads(ran.out)["result"] == "stored-unindexed"
