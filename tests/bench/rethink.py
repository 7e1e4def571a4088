"""Asking the shared index, against the bare driver with the same question, on a real RethinkDB.

THOTH_TEST_RETHINKDB=HOST:PORT python -m tests.bench rethink
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

from rethinkdb import r

from tests.bench.documents import NODE, documents, identity
from tests.bench.table import Row, best, show
from tests.support.reqlite import REAL, reql_server
from thoth.index.rethink import RethinkIndex
from thoth.query import KeyPath, parse

_DUMPS = int(os.environ.get("THOTH_BENCH_DUMPS", "100000"))
_SHOWN: tuple[KeyPath, ...] = (("id",), ("type",), ("time",), ("node",), ("cmd",), ("ticket",))  # by ls
_NAMES = [path[0] for path in _SHOWN]
_MONTH = 31 * 86400


def measure() -> None:
    if not REAL:
        print("\nShared index\n  not measured: it takes a RethinkDB: THOTH_TEST_RETHINKDB=HOST:PORT")
        return
    now = time.time()
    with reql_server() as server, closing(RethinkIndex(server.new_place())) as index:
        place = index.place
        try:
            with r.connect(place.host, place.port, db=place.database) as driver:
                rows = [_loading(index, now), *_questions(index, lambda term: term.run(driver), now)]
            show(f"Shared index of {_DUMPS:,} dumps", rows)
        finally:
            server.drop_all()


def _loading(index: RethinkIndex, now: float) -> Row:
    started = time.perf_counter()
    for start in range(0, _DUMPS, 2000):
        index.put_many(documents(range(start, min(start + 2000, _DUMPS)), _DUMPS, now))
    rate = _DUMPS / (time.perf_counter() - started)
    return Row("documents put a second", f"{rate:,.0f}", "none", True)


def _questions(index: RethinkIndex, run: Callable[[Any], Any], now: float) -> list[Row]:
    table, one = r.table("dumps"), identity(_DUMPS // 2, _DUMPS)
    in_time = table.order_by(index="time")
    newer = table.between(now - _MONTH, r.maxval, left_bound="open", index="time").order_by(index="time")
    return [
        _row("ls mtime=1month", lambda: run(newer.pluck(*_NAMES)), lambda: _ls(index, ["mtime=1month"], now)),
        _row(
            f"ls node={NODE}", lambda: run(in_time.filter({"node": NODE})), lambda: _ls(index, [f"node={NODE}"], now)
        ),
        _row("ls", lambda: run(in_time.pluck(*_NAMES)), lambda: _ls(index, [], now)),
        _row("info DUMP", lambda: [run(table.get(one))], lambda: [index.get(one)]),
    ]


def _ls(index: RethinkIndex, words: list[str], now: float) -> Any:
    return index.select(parse(words, now=now)[0], _SHOWN)


def _row(what: str, bare: Callable[[], Any], ours: Callable[[], Any]) -> Row:
    count = sum(1 for _ in bare())
    if sum(1 for _ in ours()) != count:
        raise SystemExit(f"bench: {what}: the driver and the index do not give the same number of dumps")
    mine, theirs = best(5, lambda: _seconds(ours)), best(5, lambda: _seconds(bare))
    figure = f"{mine / theirs:.2f} x ({mine * 1000:.0f} ms)"
    return Row(f"{what}, {count:,} dumps, against the driver", figure, "at most 1.2 x", mine <= 1.2 * theirs)


def _seconds(ask: Callable[[], Any]) -> float:
    started = time.perf_counter()
    for _ in ask():
        pass
    return time.perf_counter() - started
