"""What this collector has already seen, so that a dump that lies on a node for days is looked at once.

A cache and nothing more: whatever is in it can be found out again from nodes and index. So a damaged journal
is begun anew. It is SQLite without a write-ahead log: a reader then leaves nothing behind, and one run writes
at a time.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Final, Self

from sdc_thoth import journal_file
from sdc_thoth.notes import MOST_BYTES, SEEN_AGAIN, Amount, Begun, Failing, NodeNote, PassNote
from sdc_thoth.state import own_directory, shown
from thoth import CannotWrite, Identity, Outcome, Result, ThothError, UsageError

NAME: Final = "journal.sqlite"
KEEP_DAYS: Final = 60  # a path that was not seen for so long is forgotten
KEEP_PASSES: Final = 1000
_RATED: Final = 20  # passes that brought something, by which the rate goes
_ASK: Final = "SELECT path, signature, identity, done, reason, day FROM seen WHERE node = ?"
_ASK_FAILING: Final = "SELECT path, signature, tries, since, due, reason FROM failing WHERE node = ?"
_CHUNK: Final = 500  # paths in a question; SQLite takes 999 in old versions
_DAY: Final = 86400


@dataclass(frozen=True, slots=True)
class Entry:
    """What became of a file while its stat was ``signature``."""

    path: bytes
    signature: str
    identity: Identity | None  # None: it is no dump, and ``reason`` says why
    done: bool  # it is in Thoth, with everything that belongs to it
    reason: str | None = None


_Row = tuple[bytes, str, str | None, int, str | None, int]


def _entry(row: _Row) -> Entry:
    path, signature, identity, done, reason, _day = row
    try:
        return Entry(path, signature, Identity(identity) if identity else None, bool(done), reason)
    except UsageError as error:
        raise sqlite3.DatabaseError(str(error)) from error


def _note(document: str) -> PassNote:
    try:
        return PassNote.from_document(json.loads(document))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise sqlite3.DatabaseError(f"a pass is noted in a way that is not ours: {error}") from error


class Journal:
    """Made by ``open_journal``. Any thread may call."""

    def __init__(self, path: Path, read_only: bool, clock: Callable[[], float], say: Callable[[str], None]) -> None:
        self._path = path
        self._read_only = read_only
        self._clock = clock
        self._say = say
        self._lock = Lock()
        self._db = self._opened()

    # ---- asking and noting ---------------------------------------------------------------------------

    def seen(self, node: str, files: Sequence[tuple[bytes, str]]) -> Mapping[bytes, Entry]:
        """What is known of these (path, signature) of a node; nothing of one whose signature has changed."""
        wanted = dict(files)
        with self._lock, self._healed():
            rows: list[_Row] = list(self._rows(_ASK, node, list(wanted)))
            self._touch(node, [row[0] for row in rows if row[-1] != self._today()])
            return {path: _entry(row) for row in rows if wanted[path := row[0]] == row[1]}
        return {}

    def has_stored(self) -> bool:
        """Whether any dump is known to be in Thoth."""
        with self._lock, self._healed():
            return (
                self._db.execute("SELECT 1 FROM seen WHERE identity IS NOT NULL AND done LIMIT 1").fetchone()
                is not None
            )
        return False

    def record(self, node: str, entries: Sequence[Entry]) -> None:
        """Note what became of files, in one transaction. Raises CannotWrite on a journal for a dry run."""
        self._require_writable()
        day = self._today()
        rows = [(node, e.path, e.signature, e.identity, e.done, e.reason, day) for e in entries]
        with self._lock, self._healed(), self._db:
            self._db.executemany("REPLACE INTO seen VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            self._db.executemany("DELETE FROM failing WHERE node = ? AND path = ?", (row[:2] for row in rows))
            # One that a limit keeps out is gone on with when there is room for it.
            over = [row[:2] for row, entry in zip(rows, entries, strict=True) if entry.done or entry.identity is None]
            self._db.executemany("DELETE FROM uploads WHERE node = ? AND path = ?", over)

    def forget(self, days: int = KEEP_DAYS) -> int:
        """Drop the paths that no pass has seen for so many days; returns how many."""
        self._require_writable()
        with self._lock, self._healed(), self._db:
            today = self._today()
            for table in ("seen", "failing"):  # what a clock that was ahead has noted grows old from today on
                self._db.execute(f"UPDATE {table} SET day = ? WHERE day > ?", (today, today))  # noqa: S608
            old = (today - days,)
            self._db.execute("DELETE FROM failing WHERE day < ?", old)
            return self._db.execute("DELETE FROM seen WHERE day < ?", old).rowcount
        return 0

    # ---- dumps that fail -----------------------------------------------------------------------------

    def failing(self, node: str, files: Sequence[tuple[bytes, str]]) -> Mapping[bytes, Failing]:
        """Those of these (path, signature) of a node that could not be had before."""
        wanted = dict(files)
        with self._lock, self._healed():
            rows = self._rows(_ASK_FAILING, node, list(wanted))
            return {row[0]: Failing(*row) for row in rows if wanted[row[0]] == row[1]}
        return {}

    def record_failing(self, node: str, failing: Iterable[Failing]) -> None:
        """Note failures, in one transaction. Raises CannotWrite on a journal for a dry run."""
        self._require_writable()
        day = self._today()
        rows = [(node, f.path, f.signature, f.tries, f.since, f.due, f.reason, day) for f in failing]
        with self._lock, self._healed(), self._db:
            self._db.executemany("REPLACE INTO failing VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def keep_failing(self, node: str, still_there: Callable[[bytes], bool]) -> None:
        """Forget the failures of files that are no more."""
        self._require_writable()
        with self._lock, self._healed(), self._db:
            paths = [row[0] for row in self._db.execute("SELECT path FROM failing WHERE node = ?", (node,))]
            gone = [(node, path) for path in paths if not still_there(path)]
            self._db.executemany("DELETE FROM failing WHERE node = ? AND path = ?", gone)

    def count_failing(self) -> int:
        """How many dumps fail."""
        with self._lock, self._healed():
            return int(self._db.execute("SELECT count(*) FROM failing").fetchone()[0])
        return 0

    def all_failing(self, limit: int = 1000) -> list[tuple[str, Failing]]:
        """The dumps that fail, each with its node; those that have failed the longest first, up to so many."""
        question = "SELECT node, path, signature, tries, since, due, reason FROM failing ORDER BY since LIMIT ?"
        with self._lock, self._healed():
            return [(row[0], Failing(*row[1:])) for row in self._db.execute(question, (limit,))]
        return []

    # ---- dumps on their way --------------------------------------------------------------------------

    def begun(self, node: str) -> Mapping[bytes, Begun]:
        """The large dumps of a node that came in part, by path."""
        question = "SELECT path, signature, identity, length, sha256 FROM uploads WHERE node = ?"
        with self._lock, self._healed():
            return {row[0]: Begun(*row) for row in self._db.execute(question, (node,))}
        return {}

    def record_begun(self, node: str, begun: Begun) -> None:
        """Note how much of a dump has come."""
        self._require_writable()
        row = (node, begun.path, begun.signature, begun.identity, begun.length, begun.sha256)
        with self._lock, self._healed(), self._db:
            self._db.execute("REPLACE INTO uploads VALUES (?, ?, ?, ?, ?, ?)", row)

    def end_begun(self, node: str, path: bytes) -> None:
        """Nobody will go on with it."""
        self._require_writable()
        with self._lock, self._healed(), self._db:
            self._db.execute("DELETE FROM uploads WHERE node = ? AND path = ?", (node, path))

    # ---- nodes and passes ----------------------------------------------------------------------------

    def visited(self, outcomes: Iterable[Outcome]) -> None:
        """Note what became of nodes, in one transaction."""
        self._require_writable()
        with self._lock, self._healed(), self._db:
            for outcome in outcomes:
                self._visited(outcome, outcome.node or "?", self._clock())

    def _visited(self, outcome: Outcome, node: str, now: float) -> None:
        before = self._db.execute("SELECT reached, failing_since, failures FROM nodes WHERE node = ?", (node,))
        reached, since, failures = before.fetchone() or (None, None, 0)
        # A clock that was ahead has noted times that are yet to come.
        reached, since = (None if at is None else min(at, now) for at in (reached, since))
        if outcome.result is Result.REACHED:
            reached, since, failures = now, None, 0
        elif not outcome.result.good:  # one that does not run was not tried: it is as well as it was
            since, failures = now if since is None else since, failures + 1
        row = (node, outcome.result.value, outcome.reason, reached, since, failures)
        self._db.execute("REPLACE INTO nodes VALUES (?, ?, ?, ?, ?, ?)", row)

    def ended(self, note: PassNote, fleet: Collection[str] | None) -> None:
        """Note a pass. ``fleet``: the names of all nodes that there are, so that what is known of others goes; None:
        the pass does not know them all."""
        self._require_writable()
        with self._lock, self._healed(), self._db:
            # What was cut off took its time and counts no byte: the rate does not go by such a pass.
            busy = note.busy if note.stopped is None else 0.0
            row = (note.started, note.seconds, busy, note.sent, note.to_json())
            self._db.execute("INSERT INTO passes VALUES (NULL, ?, ?, ?, ?, ?)", row)
            self._db.execute(
                "DELETE FROM passes WHERE number <= (SELECT max(number) FROM passes) - ?", (KEEP_PASSES,)
            )
            if fleet is not None:
                self._forget_nodes_beyond(fleet)
            for result, amount in note.news.items():
                self._db.execute(
                    "INSERT INTO totals VALUES (?, ?, ?) ON CONFLICT (result)"
                    " DO UPDATE SET dumps = dumps + excluded.dumps, bytes = min(bytes + excluded.bytes, ?)",
                    (result, amount.dumps, amount.bytes, MOST_BYTES),
                )

    def _forget_nodes_beyond(self, fleet: Collection[str]) -> None:
        for table in ("nodes", "told", "uploads", "failing"):
            known = {node for (node,) in self._db.execute(f"SELECT DISTINCT node FROM {table}")}  # noqa: S608
            gone = ((node,) for node in known.difference(fleet))
            self._db.executemany(f"DELETE FROM {table} WHERE node = ?", gone)  # noqa: S608

    def nodes(self) -> list[NodeNote]:
        """What is known of each node, by name."""
        question = "SELECT node, result, reason, reached, failing_since, failures FROM nodes ORDER BY node"
        with self._lock, self._healed():
            return [NodeNote(*row) for row in self._db.execute(question)]
        return []

    def told(self) -> set[str]:
        """The nodes of which the webhook has been told that they are not reached."""
        with self._lock, self._healed():
            return {node for (node,) in self._db.execute("SELECT node FROM told")}
        return set()

    def tell(self, node: str, *, failing: bool) -> None:
        """The webhook has been told how this node is."""
        self._require_writable()
        question = "REPLACE INTO told VALUES (?)" if failing else "DELETE FROM told WHERE node = ?"
        with self._lock, self._healed(), self._db:
            self._db.execute(question, (node,))

    def last_pass(self) -> PassNote | None:
        """The pass that ended last."""
        with self._lock, self._healed():
            row = self._db.execute("SELECT note FROM passes ORDER BY number DESC LIMIT 1").fetchone()
            return None if row is None else _note(row[0])
        return None

    def totals(self) -> Mapping[str, Amount]:
        """What all passes have done, by the word of a Result. What each pass sees again is counted by none."""
        with self._lock, self._healed():
            rows = self._db.execute("SELECT result, dumps, bytes FROM totals")
            # A journal of an older version has counted those too.
            return {result: Amount(dumps, size) for result, dumps, size in rows if result not in SEEN_AGAIN}
        return {}

    def rate(self) -> float | None:
        """Bytes a second, by the last passes that brought something; None when there were none."""
        question = (
            "SELECT sum(sent), sum(busy) FROM"
            " (SELECT sent, busy FROM passes WHERE sent > 0 AND busy > 0 ORDER BY number DESC LIMIT ?)"
        )
        with self._lock, self._healed():
            sent, busy = self._db.execute(question, (_RATED,)).fetchone()
            return sent / busy if sent and busy else None
        return None

    def _require_writable(self) -> None:
        if self._read_only:
            raise CannotWrite("the journal is open for a dry run")

    def close(self) -> None:
        """Safe to repeat."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _today(self) -> int:
        return int(self._clock() // _DAY)

    def _rows(self, question: str, node: str, paths: list[bytes]) -> Iterator[Any]:
        for start in range(0, len(paths), _CHUNK):
            part = paths[start : start + _CHUNK]
            marks = ",".join("?" * len(part))
            yield from self._db.execute(f"{question} AND path IN ({marks})", (node, *part))

    def _touch(self, node: str, paths: list[bytes]) -> None:
        if paths and not self._read_only:
            with self._db:
                day = self._today()
                self._db.executemany(
                    "UPDATE seen SET day = ? WHERE node = ? AND path = ?", ((day, node, p) for p in paths)
                )

    # ---- opening, and beginning anew -------------------------------------------------------------------

    def _opened(self) -> sqlite3.Connection:
        if self._read_only:
            return self._opened_to_read()
        try:
            return journal_file.connect(self._path, read_only=False)
        except sqlite3.OperationalError as error:
            raise ThothError(f"journal {shown(self._path)}: {error}") from error
        except sqlite3.DatabaseError as error:
            return self._begun_anew(error)

    def _opened_to_read(self) -> sqlite3.Connection:
        if not journal_file.is_file(self._path):
            return journal_file.in_memory()
        try:
            return journal_file.connect(self._path, read_only=True)
        except sqlite3.Error as error:  # also half-written by a killed run: only a writer can undo that
            return self._done_without(error)

    def _done_without(self, error: sqlite3.Error) -> sqlite3.Connection:
        self._say(f"journal {shown(self._path)}: cannot be read ({error}); dumps are looked at again")
        return journal_file.in_memory()

    def _begun_anew(self, error: sqlite3.Error) -> sqlite3.Connection:
        self._say(f"journal {shown(self._path)}: damaged ({error}); begun anew, dumps are looked at again")
        for suffix in ("", "-journal"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        journal_file.prepare(self._path)
        return journal_file.connect(self._path, read_only=False)

    @contextlib.contextmanager
    def _healed(self) -> Iterator[None]:
        """A journal that fails costs time, not dumps: what it knew or would note is then not known."""
        try:
            yield
        except sqlite3.OperationalError as error:
            self._say(f"journal {shown(self._path)}: {error}; dumps will be looked at again")
        except sqlite3.DatabaseError as error:
            self._db.close()
            self._db = self._done_without(error) if self._read_only else self._begun_anew(error)


def open_journal(
    directory: Path,
    *,
    read_only: bool = False,
    clock: Callable[[], float] = time.time,
    say: Callable[[str], None],
) -> Journal:
    """The journal of the collector's directory. ``say`` takes a line of talk when it has to be begun anew.

    ``read_only`` is for a dry run: nothing is written or created, and where there is no journal, it is an
    empty one. Raises UsageError when directory or file are not ours, ThothError when the file cannot be
    opened.
    """
    path = directory / NAME
    if read_only:
        return Journal(path, True, clock, say)
    own_directory(directory)
    journal_file.prepare(path)
    return Journal(path, False, clock, say)
