"""What the journal notes of nodes, passes and dumps that fail; and a journal of the version before."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from sdc_thoth.journal import NAME, Entry, Journal, open_journal
from sdc_thoth.notes import LONGEST_DELAY, Amount, Begun, Failing, NodeNote, PassNote
from tests.sdc_thoth.test_journal import DAY, ID, NODE, Clock, entry, silent, traces
from thoth import CannotWrite, Outcome, Result

HOUR = 3600.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state"


def opened(directory: Path, clock: Clock, *, read_only: bool = False) -> Journal:
    return open_journal(directory, read_only=read_only, clock=clock, say=silent)


def failing(path: bytes, signature: str = "s", tries: int = 1, since: float = 5.0) -> Failing:
    return Failing(path, signature, tries, since, since + 10, "no\xff good")


# ---- dumps that fail -----------------------------------------------------------------------------------


def test_a_dump_waits_longer_after_each_failure_but_the_first() -> None:
    before, delays = None, []
    for number in range(12):
        now = 1000.0 + number
        before = Failing.of(b"/a", "s", "why", before, now)
        delays.append(before.due - now)
    assert before and (before.tries, before.since) == (12, 1000.0)
    assert delays[:4] == [0, 900, 1800, 3600]
    assert delays == sorted(delays) and delays[-1] == LONGEST_DELAY
    assert sum(delays) < 7 * 86400  # a node keeps its cores for a week


def test_failures_are_kept_by_file(directory: Path, clock: Clock) -> None:
    with opened(directory, clock) as journal:
        journal.record_failing(NODE, [failing(b"/\xff\n"), failing(b"/b", tries=3)])
    with opened(directory, clock) as journal:
        assert journal.failing(NODE, [(b"/\xff\n", "s"), (b"/b", "other"), (b"/c", "s")]) == {
            b"/\xff\n": failing(b"/\xff\n")
        }
        assert journal.failing("cn1", [(b"/b", "s")]) == {}
        assert journal.all_failing() == [(NODE, failing(b"/b", tries=3)), (NODE, failing(b"/\xff\n"))]
        journal.record(NODE, [entry(b"/b")])  # it came after all
        assert journal.all_failing() == [(NODE, failing(b"/\xff\n"))]


def test_failures_of_files_that_are_gone_are_forgotten(directory: Path, clock: Clock) -> None:
    with opened(directory, clock) as journal:
        journal.record_failing(NODE, [failing(b"/a"), failing(b"/b")])
        journal.record_failing("cn1", [failing(b"/b")])
        journal.keep_failing(NODE, lambda path: path == b"/a")
        assert [(node, each.path) for node, each in journal.all_failing()] == [(NODE, b"/a"), ("cn1", b"/b")]
        clock.now += 61 * 86400
        journal.forget()
        assert journal.all_failing() == []


def test_the_oldest_failures_come_first_and_not_more_than_asked_for(directory: Path, clock: Clock) -> None:
    with opened(directory, clock) as journal:
        journal.record_failing(NODE, [failing(b"/%d" % n, since=100.0 - n) for n in range(50)])
        assert [each.path for _, each in journal.all_failing(3)] == [b"/49", b"/48", b"/47"]


# ---- nodes ---------------------------------------------------------------------------------------------


def test_a_node_fails_since_the_first_failure_and_was_reached_before(directory: Path, clock: Clock) -> None:
    started = clock.now
    with opened(directory, clock) as journal:
        for result in (Result.REACHED, Result.UNREACHABLE, Result.DENIED):
            journal.visited([Outcome(result, NODE, reason=f"it is {result.value}")])
            clock.now += HOUR
        assert journal.nodes() == [
            NodeNote(NODE, "denied", "it is denied", reached=started, failing_since=started + HOUR, failures=2)
        ]
        journal.visited([Outcome(Result.REACHED, NODE)])
        assert journal.nodes() == [NodeNote(NODE, "reached", None, clock.now, None, 0)]
        journal.visited([Outcome(Result.FAILED, "new")])
        assert journal.nodes()[1] == NodeNote("new", "failed", None, None, clock.now, 1)


def test_a_node_that_does_not_run_is_as_well_as_it_was(directory: Path, clock: Clock) -> None:
    off = Outcome(Result.NOT_RUNNING, NODE, reason="its status is unknown")
    with opened(directory, clock) as journal:
        journal.visited([off])
        assert journal.nodes() == [NodeNote(NODE, "not-running", off.reason, None, None, 0)]
        started = clock.now
        journal.visited([Outcome(Result.UNREACHABLE, NODE)] * 2)
        clock.now += HOUR
        journal.visited([off])
        assert journal.nodes() == [NodeNote(NODE, "not-running", off.reason, None, started, 2)]
        journal.visited([Outcome(Result.UNREACHABLE, NODE)])
        assert journal.nodes()[0].failures == 3
        journal.visited([Outcome(Result.REACHED, NODE), off])
        assert journal.nodes() == [NodeNote(NODE, "not-running", off.reason, clock.now, None, 0)]


@pytest.mark.parametrize("step", [-DAY, 0.0, DAY])
def test_nodes_that_are_no_more_are_forgotten_with_all_that_is_known_of_them(
    step: float, directory: Path, clock: Clock
) -> None:
    """However the clock was set during the pass."""
    begun = Begun(b"/a", "s", ID, 4096, "0" * 64)
    with opened(directory, clock) as journal:
        for node in ("old", "new"):
            journal.tell(node, failing=True)
            journal.record_begun(node, begun)
            journal.record_failing(node, [failing(b"/b")])
            journal.visited([Outcome(Result.DENIED, node)])
        ended = PassNote(clock.now, 1.0)
        clock.now += step
        journal.visited([Outcome(Result.DENIED, "new")])
        journal.ended(ended, None)
        assert ([each.node for each in journal.nodes()], journal.told()) == (["new", "old"], {"old", "new"})
        journal.ended(ended, ["new", "newer"])
        assert ([each.node for each in journal.nodes()], journal.told()) == (["new"], {"new"})
        assert (journal.begun("old"), journal.begun("new")) == ({}, {b"/a": begun})
        assert journal.all_failing() == [("new", failing(b"/b"))]
        journal.tell("new", failing=False)
        journal.end_begun("new", b"/a")
        assert (journal.told(), journal.begun("new")) == (set(), {})


def test_a_dump_that_a_limit_keeps_out_is_gone_on_with_later(directory: Path, clock: Clock) -> None:
    begun = Begun(b"/a", "s", ID, 4096, "0" * 64)
    with opened(directory, clock) as journal:
        journal.record_begun(NODE, begun)
        journal.record(NODE, [Entry(b"/a", "s", ID, done=False)])
        assert journal.begun(NODE) == {b"/a": begun}
        journal.record(NODE, [Entry(b"/a", "s", None, done=False, reason="not a dump")])
        assert journal.begun(NODE) == {}


def test_a_dump_that_is_stored_is_on_its_way_no_more(directory: Path, clock: Clock) -> None:
    with opened(directory, clock) as journal:
        journal.record_begun(NODE, Begun(b"/a", "s", ID, 4096, "0" * 64))
        journal.record(NODE, [Entry(b"/a", "s", ID, done=True)])
        assert journal.begun(NODE) == {}


def test_all_that_fail_are_counted(directory: Path, clock: Clock) -> None:
    with opened(directory, clock) as journal:
        journal.record_failing(NODE, [failing(b"/%d" % number) for number in range(5)])
        assert (journal.count_failing(), len(journal.all_failing(3))) == (5, 3)


# ---- a clock that was ahead ------------------------------------------------------------------------------


def test_times_that_are_yet_to_come_are_taken_for_now(directory: Path, clock: Clock) -> None:
    today = clock.now
    with opened(directory, clock) as journal:
        clock.now += 3650 * DAY
        journal.visited([Outcome(Result.REACHED, NODE), Outcome(Result.DENIED, NODE)])
        ahead = Failing.of(b"/a", "s", "why", None, clock.now)
        clock.now = today
        journal.visited([Outcome(Result.DENIED, NODE)])
        assert journal.nodes() == [NodeNote(NODE, "denied", None, today, today, 2)]
        assert Failing.of(b"/a", "s", "why", ahead, today).since == today


def test_what_was_seen_then_is_forgotten_in_its_time(directory: Path, clock: Clock) -> None:
    with opened(directory, clock) as journal:
        clock.now += 3650 * DAY
        journal.record(NODE, [entry(b"/a")])
        journal.record_failing(NODE, [failing(b"/b")])
        clock.now -= 3650 * DAY
        assert journal.forget() == 0
        clock.now += 61 * DAY
        assert (journal.forget(), journal.all_failing()) == (1, [])


# ---- passes --------------------------------------------------------------------------------------------


def a_pass(started: float, sent: int = 0, busy: float = 0.0) -> PassNote:
    dumps = {"stored": Amount(1, sent), "present": Amount(9, 900)}
    return PassNote(started, 2.5, busy, sent, dumps, {"reached": 3}, Amount(1, 7), "broke off", None, good=False)


def test_the_last_pass_and_all_of_them_together(directory: Path, clock: Clock) -> None:
    with opened(directory, clock) as journal:
        assert (journal.last_pass(), journal.totals(), journal.rate()) == (None, {}, None)
        journal.ended(a_pass(100.0, 5), [NODE])
        journal.ended(a_pass(200.0, 6), [NODE])
    with opened(directory, clock) as journal:
        assert journal.last_pass() == a_pass(200.0, 6)
        journal.ended(a_pass(150.0), [NODE])  # the clock was set
        assert journal.last_pass() == a_pass(150.0)
        assert journal.totals() == {"stored": Amount(3, 11)}  # what is there is there in each pass


def test_the_rate_is_that_of_the_last_passes_that_brought_something(directory: Path, clock: Clock) -> None:
    with opened(directory, clock) as journal:
        journal.ended(a_pass(1.0, 10**9, 1.0), [NODE])  # long ago, on a faster network
        for number in range(20):
            journal.ended(a_pass(10.0 + number, 1000, 2.0), [NODE])
        for number in range(30):
            journal.ended(a_pass(100.0 + number), [NODE])
        assert journal.rate() == 500.0
        journal.ended(replace(a_pass(200.0, 1, 100.0), stopped="stopped by SIGTERM"), [NODE])
        assert journal.rate() == 500.0  # of a dump that was cut off no byte counts


def test_sizes_that_no_file_has_are_noted_as_the_most_there_is(directory: Path, clock: Clock) -> None:
    most = (1 << 63) - 1  # that a node may claim of a file
    amount = Amount().plus(most).plus(most)
    with opened(directory, clock) as journal:
        for started in (1.0, 2.0):
            journal.ended(replace(a_pass(started), dumps={"failed": amount}), None)
        assert journal.totals() == {"failed": Amount(4, most)}
        last = journal.last_pass()
        assert last is not None and last.dumps == {"failed": Amount(2, most)}


def test_passes_of_long_ago_are_forgotten(directory: Path, clock: Clock) -> None:
    with opened(directory, clock) as journal:
        with journal._db:
            journal._db.executemany(
                "INSERT INTO passes VALUES (NULL, ?, 0, 0, 0, '{}')", [(float(-n),) for n in range(1009)]
            )
        journal.ended(a_pass(1009.0), None)
        assert journal._db.execute(
            "SELECT count(*), max(started), min(started) FROM passes WHERE started < 1"
        ).fetchone() == (999, -10.0, -1008.0)


# ---- a dry run, damage, the version before ---------------------------------------------------------------


def test_F53_a_dry_run_reads_notes_and_writes_none(directory: Path, clock: Clock) -> None:
    with opened(directory, clock) as journal:
        journal.ended(a_pass(1.0, 1000, 2.0), [NODE])
        journal.record_failing(NODE, [failing(b"/a")])
    before = traces(directory)
    with opened(directory, clock, read_only=True) as journal:
        assert journal.rate() == 500.0
        assert journal.failing(NODE, [(b"/a", "s")])
        for write in (
            lambda: journal.record_failing(NODE, []),
            lambda: journal.visited([Outcome(Result.REACHED, NODE)]),
            lambda: journal.ended(a_pass(1.0), [NODE]),
            lambda: journal.keep_failing(NODE, lambda path: True),
            lambda: journal.tell(NODE, failing=True),
            lambda: journal.record_begun(NODE, Begun(b"/a", "s", ID, 1, "")),
            lambda: journal.end_begun(NODE, b"/a"),
        ):
            with pytest.raises(CannotWrite):
                write()
    assert traces(directory) == before


def of_version_1(directory: Path) -> Entry:
    """A journal as the version before left it."""
    directory.mkdir(mode=0o700)
    db = sqlite3.connect(directory / NAME)
    db.executescript("""
        CREATE TABLE seen (
            node TEXT NOT NULL, path BLOB NOT NULL, signature TEXT NOT NULL,
            identity TEXT, done INTEGER NOT NULL, reason TEXT, day INTEGER NOT NULL,
            PRIMARY KEY (node, path)
        ) WITHOUT ROWID;
        CREATE INDEX seen_day ON seen (day);
        PRAGMA user_version = 1;
    """)
    with db:
        db.execute("INSERT INTO seen VALUES (?, ?, ?, ?, 1, NULL, 1000)", (NODE, b"/a", "s", ID))
    db.close()
    return entry(b"/a")


def test_a_journal_of_version_1_keeps_what_it_knows(directory: Path, clock: Clock) -> None:
    known = of_version_1(directory)
    before = traces(directory)
    with opened(directory, clock, read_only=True) as journal:  # a dry run cannot change it, and can do with it
        assert journal.seen(NODE, [(b"/a", "s")]) == {b"/a": known}
        assert (journal.nodes(), journal.rate(), journal.last_pass()) == ([], None, None)
    assert traces(directory) == before
    for _ in range(2):
        with opened(directory, clock) as journal:
            assert journal.seen(NODE, [(b"/a", "s")]) == {b"/a": known}
            journal.visited([Outcome(Result.REACHED, NODE)])
            assert len(journal.nodes()) == 1


@pytest.mark.parametrize("change", ["note = '{}'", "note = 'x'", "note = '[1]'"])
def test_a_note_that_is_not_ours_begins_the_journal_anew(directory: Path, clock: Clock, change: str) -> None:
    said: list[str] = []
    with opened(directory, clock) as journal:
        journal.ended(a_pass(1.0), [NODE])
    with sqlite3.connect(directory / NAME) as db:
        db.execute(f"UPDATE passes SET {change}")
    db.close()
    with open_journal(directory, clock=clock, say=said.append) as journal:
        assert journal.last_pass() is None
        journal.ended(a_pass(2.0), [NODE])
        assert journal.last_pass() == a_pass(2.0)
    assert len(said) == 1 and "damaged (a pass is noted in a way that is not ours" in said[0]


_OF_3 = """
    DROP TABLE nodes; DROP TABLE passes;
    CREATE TABLE nodes (
        node TEXT NOT NULL PRIMARY KEY, result TEXT NOT NULL, reason TEXT,
        reached REAL, failing_since REAL, failures INTEGER NOT NULL, seen REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE passes (
        started REAL NOT NULL PRIMARY KEY, seconds REAL NOT NULL, busy REAL NOT NULL, sent INTEGER NOT NULL,
        note TEXT NOT NULL
    ) WITHOUT ROWID;
    INSERT INTO nodes VALUES ('cn0', 'denied', 'why', 1.0, 2.0, 3, 4.0);
    PRAGMA user_version = 3
"""


def of_version(number: int, directory: Path, clock: Clock) -> None:
    """A journal as version 2 or 3 left it."""
    with opened(directory, clock) as journal:
        journal.record(NODE, [entry(b"/a")])
    with sqlite3.connect(directory / NAME) as db:
        db.executescript(_OF_3)
        for note in (a_pass(2.0, 1000, 2.0), a_pass(1.0, 3000, 2.0)):
            row = (note.started, note.seconds, note.busy, note.sent, note.to_json())
            db.execute("INSERT INTO passes VALUES (?, ?, ?, ?, ?)", row)
        if number == 2:
            db.executescript("DROP TABLE told; DROP TABLE uploads; PRAGMA user_version = 2")
    db.close()


@pytest.mark.parametrize("version", [2, 3])
def test_a_journal_of_version_2_or_3_keeps_what_it_knows(version: int, directory: Path, clock: Clock) -> None:
    of_version(version, directory, clock)
    before = traces(directory)
    node = NodeNote(NODE, "denied", "why", 1.0, 2.0, 3)
    with opened(directory, clock, read_only=True) as journal:
        assert journal.seen(NODE, [(b"/a", "s")]) and journal.begun(NODE) == {} and journal.told() == set()
        assert (journal.nodes(), journal.last_pass(), journal.rate()) == ([node], a_pass(2.0, 1000, 2.0), 1000.0)
    assert traces(directory) == before
    for _ in range(2):
        with opened(directory, clock) as journal:
            assert journal.seen(NODE, [(b"/a", "s")])
            assert (journal.nodes(), journal.last_pass()) == ([node], a_pass(2.0, 1000, 2.0))
            journal.tell(NODE, failing=True)
            assert journal.told() == {NODE}
    with opened(directory, clock) as journal:
        journal.ended(a_pass(1.5), None)
        assert journal.last_pass() == a_pass(1.5)


def test_a_journal_of_version_3_that_is_damaged_is_begun_anew(directory: Path, clock: Clock) -> None:
    of_version(3, directory, clock)
    with sqlite3.connect(directory / NAME) as db:
        db.execute("DROP TABLE passes")
    db.close()
    said: list[str] = []
    with open_journal(directory, clock=clock, say=said.append) as journal:
        assert (journal.nodes(), journal.last_pass()) == ([], None)
    assert len(said) == 1 and "damaged (its table passes is not ours)" in said[0]
