"""What the collector remembers, and that it leaves no trace of a dry run."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
from pathlib import Path

import pytest

from sdc_thoth.journal import NAME, Entry, Journal, open_journal
from thoth import CannotWrite, Identity, UsageError

ID = Identity("0123456789abcdef" * 2)
NODE = "cn0"
DAY = 86400


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0 * DAY

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state"


def entry(path: bytes, signature: str = "s", done: bool = True) -> Entry:
    return Entry(path, signature, ID, done)


def silent(line: str) -> None:
    pytest.fail(f"said: {line}")


def traces(directory: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file with inode, time of change and content."""
    found = {}
    for path in directory.iterdir():
        status = path.stat()
        found[path.name] = (status.st_ino, status.st_mtime_ns, path.read_bytes())
    return found


def test_what_was_recorded_is_seen_again(directory: Path) -> None:
    entries = [
        entry(b"/cores/core.a.1"),
        entry(b"/cores/\xff\xfe\n'; DROP TABLE seen; --", done=False),
        Entry(b"/cores/text", "s", None, False, "not a dump"),
    ]
    with open_journal(directory, say=silent) as journal:
        journal.record(NODE, entries)
    with open_journal(directory, say=silent) as journal:
        files = [(each.path, each.signature) for each in entries]
        assert journal.seen(NODE, [*files, (b"/cores/new", "s")]) == {each.path: each for each in entries}
        assert journal.seen("cn1", files) == {}


def test_a_file_that_changed_is_not_the_one_that_was_seen(directory: Path) -> None:
    with open_journal(directory, say=silent) as journal:
        journal.record(NODE, [entry(b"/a", "1:2:3")])
        assert journal.seen(NODE, [(b"/a", "1:2:4")]) == {}
        journal.record(NODE, [entry(b"/a", "1:2:4")])
        assert journal.seen(NODE, [(b"/a", "1:2:4")]) == {b"/a": entry(b"/a", "1:2:4")}
        assert journal.seen(NODE, [(b"/a", "1:2:3")]) == {}


def test_file_and_directory_are_for_us_alone(directory: Path) -> None:
    os.umask(0)
    with open_journal(directory, say=silent) as journal:
        journal.record(NODE, [entry(b"/a")])
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()] == [0o600]


def test_ten_thousand_look_ups_take_no_time(directory: Path) -> None:
    files = [(b"/zones/0/cores/core.process.%d" % number, "1:2:3:4:5:6") for number in range(10_000)]
    with open_journal(directory, say=silent) as journal:
        journal.record(NODE, [entry(*file) for file in files])
        start = time.process_time()
        assert len(journal.seen(NODE, files)) == 10_000
        assert time.process_time() - start < 0.5  # 0.05 s; one question each would take seconds


def test_what_no_pass_sees_any_more_is_forgotten(directory: Path, clock: Clock) -> None:
    with open_journal(directory, clock=clock, say=silent) as journal:
        journal.record(NODE, [entry(b"/old"), entry(b"/seen")])
        clock.now += 30 * DAY
        assert journal.seen(NODE, [(b"/seen", "s")])
        clock.now += 40 * DAY
        assert journal.forget(60) == 1
        assert list(journal.seen(NODE, [(b"/old", "s"), (b"/seen", "s")])) == [b"/seen"]


def test_threads_share_it(directory: Path) -> None:
    with open_journal(directory, say=silent) as journal:

        def work(node: str) -> None:
            for number in range(10):
                journal.record(node, [entry(b"/%d" % number)])
                assert journal.seen(node, [(b"/%d" % number, "s")])

        threads = [threading.Thread(target=work, args=(f"cn{number}",)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        paths = [(b"/%d" % number, "s") for number in range(10)]
        assert [len(journal.seen(f"cn{number}", paths)) for number in range(4)] == [10] * 4


# ---- a dry run -------------------------------------------------------------------------------------


def test_F53_a_dry_run_reads_and_leaves_no_trace(directory: Path) -> None:
    with open_journal(directory, say=silent) as journal:
        journal.record(NODE, [entry(b"/a")])
    before = traces(directory)
    with open_journal(directory, read_only=True, clock=lambda: 9e9, say=silent) as journal:
        assert journal.seen(NODE, [(b"/a", "s")]) == {b"/a": entry(b"/a")}
        assert traces(directory) == before
        with pytest.raises(CannotWrite):
            journal.record(NODE, [entry(b"/b")])
        with pytest.raises(CannotWrite):
            journal.forget()
    assert traces(directory) == before


def test_F53_a_dry_run_without_a_journal_makes_none(directory: Path) -> None:
    with open_journal(directory, read_only=True, say=silent) as journal:
        assert journal.seen(NODE, [(b"/a", "s")]) == {}
    assert not directory.exists()


def test_F53_a_dry_run_beside_a_run_that_writes(directory: Path) -> None:
    with (
        open_journal(directory, say=silent) as running,
        open_journal(directory, read_only=True, say=silent) as dry,
    ):
        running.record(NODE, [entry(b"/a")])
        assert dry.seen(NODE, [(b"/a", "s")])
        running.record(NODE, [entry(b"/b")])
        assert dry.seen(NODE, [(b"/b", "s")])


# ---- damage ----------------------------------------------------------------------------------------


def damaged(directory: Path, how: str) -> None:
    with open_journal(directory, say=silent) as journal:
        journal.record(NODE, [entry(b"/%05d" % number) for number in range(5000)])
    path = directory / NAME
    data = bytearray(path.read_bytes())
    if how == "empty":
        data.clear()
    elif how == "text":
        data[:] = b"this is no database\n" * 1000
    elif how == "cut":
        del data[len(data) // 2 :]
    elif how == "middle":
        data[4096:] = b"\x55" * (len(data) - 4096)
    elif how == "version":
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 99")
        db.close()
        return
    elif how == "table":
        with sqlite3.connect(path) as db:
            db.execute("ALTER TABLE seen RENAME TO saw")
        db.close()
        return
    elif how == "identity":
        with sqlite3.connect(path) as db:
            db.execute("UPDATE seen SET identity = 'x'")
        db.close()
        return
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["text", "cut", "middle", "version", "table", "identity"])
def test_a_damaged_journal_is_begun_anew_and_says_so(directory: Path, said: list[str], how: str) -> None:
    damaged(directory, how)
    files = [(b"/%05d" % number, "s") for number in range(5000)]
    with open_journal(directory, say=said.append) as journal:
        journal.seen(NODE, files)
        journal.record(NODE, [entry(b"/new")])
        assert journal.seen(NODE, [(b"/new", "s")]) == {b"/new": entry(b"/new")}
    assert len(said) == 1
    assert said[0].startswith(f"journal {directory / NAME}: damaged (")
    with open_journal(directory, say=silent) as journal:
        assert journal.seen(NODE, [(b"/new", "s")])


@pytest.mark.parametrize("how", ["empty", "text", "cut", "middle", "version"])
def test_F53_a_dry_run_does_not_touch_a_damaged_journal(directory: Path, said: list[str], how: str) -> None:
    damaged(directory, how)
    before = traces(directory)
    with open_journal(directory, read_only=True, say=said.append) as journal:
        journal.seen(NODE, [(b"/%05d" % number, "s") for number in range(5000)])
    assert traces(directory) == before
    assert len(said) == 1
    assert "cannot be read" in said[0]


def test_a_link_is_not_followed(tmp_path: Path, directory: Path) -> None:
    directory.mkdir(0o700)
    (tmp_path / "victim").write_text("")
    (directory / NAME).symlink_to(tmp_path / "victim")
    with pytest.raises(UsageError, match="a link, which is not followed; remove it"):
        open_journal(directory, say=silent)
    with open_journal(directory, read_only=True, say=silent) as journal:
        assert journal.seen(NODE, [(b"/a", "s")]) == {}
    assert (tmp_path / "victim").read_text() == ""


def test_a_journal_that_cannot_be_kept_costs_no_dump(directory: Path, said: list[str]) -> None:
    with open_journal(directory, say=said.append) as journal:
        other = sqlite3.connect(directory / NAME)
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        journal._db.execute("PRAGMA busy_timeout = 10")  # or it waits for five seconds
        journal.record(NODE, [entry(b"/a")])
        other.rollback()
        other.close()
        assert said == [f"journal {directory / NAME}: database is locked; dumps will be looked at again"]
        journal.record(NODE, [entry(b"/a")])
        assert journal.seen(NODE, [(b"/a", "s")])


def test_closing_twice(directory: Path) -> None:
    journal: Journal = open_journal(directory, say=silent)
    journal.close()
    journal.close()
