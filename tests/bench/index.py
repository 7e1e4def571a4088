"""Asking an index of a million dumps, against the sqlite3 shell on the same file; and making one from a store."""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pool, get_context
from pathlib import Path

from tests.bench.documents import NODE, RARE, documents, identity
from tests.bench.table import Row, Run, run, show
from thoth.index.sql import Parameter, where
from thoth.index.sqlite import SqliteIndex, put_rows, row_of
from thoth.query import parse

_DUMPS = int(os.environ.get("THOTH_BENCH_DUMPS", "1000000"))
_STORED = min(_DUMPS, 100_000)  # info.json objects that are read back
_CHUNK = 10_000
_ENOUGH = 0.25  # seconds that a short answer may take in any case
_MEMORY = 200  # MiB


@dataclass(frozen=True, slots=True)
class Question:
    """A command and what it is held against: the same asked by the shell, times ``factor``, or ``enough`` seconds.

    Without a factor the shell is asked for the rows only, and ours is held against the seconds.
    """

    words: tuple[str, ...]
    sql: str
    factor: float
    enough: float = 0.0
    rounds: int = 5


def measure() -> None:
    # /tmp may be memory.
    with tempfile.TemporaryDirectory(prefix="thoth-bench-", dir="/var/tmp") as folder:
        home, now = Path(folder), time.time()
        database = home / "thoth.db"
        _in_another_process(_fill, database, now)
        prefix = _store(home / "store", range(_DUMPS // 2, _DUMPS // 2 + 1), now)[:9]
        size = database.stat().st_size / _DUMPS
        title = f"An index of {_DUMPS:,} dumps ({size:,.0f} bytes each), and the sqlite3 shell"
        # As of now: an age on a command line counts from when it is asked, and not from when the index was begun.
        show(title, [_asked(home, each) for each in _questions(prefix, time.time())])
    with tempfile.TemporaryDirectory(prefix="thoth-bench-", dir="/var/tmp") as folder:
        show("The index made again from a directory store", [_made_again(Path(folder), now)])


def _questions(prefix: str, now: float) -> list[Question]:
    short = [["mtime=6h"], ["cmd=svc*"], ["type=crash", f"node={NODE}"], ["ticket=undefined", "limit=20"]]
    named = f"SELECT document FROM dumps WHERE id >= '{prefix}' AND id < '{prefix}g'"
    platforms = "SELECT platform, count(*) FROM dumps WHERE odd = 0 GROUP BY platform"
    return [
        *(Question(("ls", *words), _listing(words, now), 1.5, _ENOUGH) for words in short),
        Question(("info", prefix), named, 1.5, _ENOUGH),
        # The shell reads one index from end to end in less time than Python takes to start.
        Question(("report", "platform"), platforms, 2),
        *(
            Question(("top", "-q", *words), _ranking(words, now), 0, 1.0)
            for words in ([], ["type=core"], ["mtime=30d"])
        ),
        Question(("ls", f"stack=*{RARE[:14]}*"), _listing([f"stack=*{RARE[:14]}*"], now), 2, rounds=3),
        Question(("ls", "type=core"), _listing(["type=core"], now), 2, rounds=3),
        Question(("ls",), _listing([], now), 2, rounds=3),
    ]


def _asked(home: Path, question: Question) -> Row:
    shell_s: list[str | Path] = ["sqlite3", home / "thoth.db", question.sql]
    ours: list[str | Path] = [Path(sys.executable).parent / "thoth", *question.words]
    pairs = [(_counted(shell_s, home), _counted(ours, home)) for _ in range(question.rounds)]
    shell, seconds = (min(pair[at].seconds for pair in pairs) for at in (0, 1))
    rss = max(asked.rss for _, asked in pairs)
    _check_rows(question, *(int(each.output) for each in pairs[0]))
    figure = f"{seconds:.2f} s, {seconds / shell:.2f} x, {rss:.0f} MiB"
    times = [f"{question.factor:g} x"] * bool(question.factor) + [f"{question.enough} s"] * bool(question.enough)
    goal = f"{' or '.join(times)}, {_MEMORY} MiB"
    allowed = max(question.factor * shell, question.enough)
    return Row(f"thoth {' '.join(question.words)}", figure, goal, seconds <= allowed and rss < _MEMORY)


def _counted(command: Sequence[str | Path], home: Path) -> Run:
    """A run with its lines counted, not kept: a process begins with the memory of the one that makes it."""
    return run(["bash", "-c", 'set -o pipefail; "$@" | wc -l', "bash", *command], _environment(home))


def _check_rows(question: Question, shell: int, ours: int) -> None:
    """A fast answer that is not the answer counts for nothing."""
    more = {"ls": 1, "top": 1, "report": 2, "info": ours - 1}[question.words[0]]  # the header, the braces
    assert ours - more == shell > 0, f"{question.words}: {ours - more} rows, and {shell} from the shell"


def _environment(home: Path) -> dict[str, str]:
    places = {"THOTH_STORE": f"file://{home}/store", "THOTH_DB": f"sqlite://{home}/thoth.db"}
    return {"HOME": str(home), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", **places}


# ---- the shell's question -------------------------------------------------------------------------


def _listing(words: Sequence[str], now: float) -> str:
    """The SQL of what ``ls`` shows with these words, values included."""
    query, _ = parse(words, now=now)
    asked = where(query.constraints)
    shown = (
        "substr(id, 1, 16), type, strftime('%Y-%m-%dT%H:%M:%S', time, 'unixepoch'),"
        " CASE type WHEN 'crash' THEN node ELSE cmd END, coalesce(ticket, '-')"
    )
    how = "NOT INDEXED" if asked.scans else ""
    limit = -1 if query.limit is None else query.limit
    condition = _with_values(asked.sql, asked.parameters)
    return f"SELECT {shown} FROM dumps {how} WHERE {condition} ORDER BY time, id LIMIT {limit}"


def _ranking(words: Sequence[str], now: float) -> str:
    """The SQL of the signatures that ``top`` shows with these words, with how many dumps they have."""
    query, _ = parse(words, now=now)
    asked = where(query.constraints)
    condition = _with_values(asked.sql, asked.parameters)
    counted = f"SELECT signature, count(*) AS dumps FROM dumps WHERE {condition} AND signature IS NOT NULL"
    return f"{counted} GROUP BY signature ORDER BY dumps DESC, signature LIMIT 20"


def _with_values(sql: str, parameters: Sequence[Parameter]) -> str:
    with closing(sqlite3.connect(":memory:")) as connection:
        quoted = [connection.execute("SELECT quote(?)", (each,)).fetchone()[0] for each in parameters]
    first, *others = sql.split("?")
    return first + "".join(value + piece for value, piece in zip(quoted, others, strict=True))


# ---- an index and a store -------------------------------------------------------------------------


def _in_another_process(work: Callable[..., None], *arguments: object) -> None:
    """What takes much memory is done elsewhere, for the reason that ``_counted`` has."""
    process = get_context("spawn").Process(target=work, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0


def _fill(database: Path, now: float) -> None:
    """Make an index with rows as they are put. Its indexes are made when all rows are there, which is faster."""
    with closing(SqliteIndex(database)) as index:
        index.create()
    with closing(sqlite3.connect(database, isolation_level=None)) as connection, Pool(2) as pool:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA cache_size=-262144")
        indexes = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        removed = connection.execute(indexes).fetchall()
        for name, _ in removed:
            connection.execute(f"DROP INDEX {name}")
        for rows in pool.imap(partial(_rows, now=now), range(0, _DUMPS, _CHUNK)):
            connection.execute("BEGIN")
            put_rows(connection, rows)
            connection.execute("COMMIT")
        for _, sql in removed:
            connection.execute(sql)


def _rows(start: int, now: float) -> list[tuple[Parameter, ...]]:
    numbers = range(start, min(start + _CHUNK, _DUMPS))
    return [row_of(info) for info in documents(numbers, _DUMPS, now)]


def _store(root: Path, numbers: range, now: float) -> str:
    """Write the documents of these dumps as a directory store has them; the identity of the first."""
    for number, info in zip(numbers, documents(numbers, _DUMPS, now), strict=True):
        place = Path(f"{root}{info.document['name']}")
        place.mkdir(mode=0o700, parents=True)
        (place / "info.json").write_text(info.to_json())
        assert info.id == identity(number, _DUMPS)
    root.chmod(0o700)
    return identity(numbers.start, _DUMPS)


def _made_again(home: Path, now: float) -> Row:
    _store(home / "store", range(_STORED), now)
    done = run([Path(sys.executable).parent / "thoth", "index"], _environment(home))
    with closing(sqlite3.connect(home / "thoth.db")) as connection:
        assert connection.execute("SELECT count(*) FROM dumps").fetchone() == (_STORED,)
    rate = _STORED / done.seconds
    figure = f"{rate:,.0f} a second, {done.rss:.0f} MiB"
    return Row(f"thoth index, {_STORED:,} dumps", figure, "3,000 a second", rate >= 3000)
