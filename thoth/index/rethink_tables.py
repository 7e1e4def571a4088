"""Database, tables and indexes on a RethinkDB server: what is there, and making what is not.

Two that make them at the same time end with the same: what another was faster to make is simply there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from rethinkdb import r

from thoth.errors import IndexFailure
from thoth.index import reql
from thoth.index.reql import APART, NOT_HELD, SIGNATURE, TABLES, TIME, Term
from thoth.index.rethink_connections import Connections
from thoth.index.rethink_wire import Refused

_SETTLES: Final = 2.0  # seconds until what another one is just making can be used
_PAUSE: Final = 0.05


def is_made(connections: Connections) -> bool:
    """Whether there is a table of dumps."""
    database = connections.place.database
    tables = r.db(database).table_list().contains("dumps")
    return bool(connections.one(r.branch(r.db_list().contains(database), tables, False)))


def wait_for_time(connections: Connections) -> None:
    """Returns when the table of dumps has the index that every list needs. Raises IndexFailure when it gets none."""
    status = reql.dumps(connections.place.database).index_status()
    ready = status.filter({"index": TIME, "ready": True}).is_empty().not_()
    end = time.monotonic() + _SETTLES
    while not connections.one(ready):
        if time.monotonic() > end:
            raise IndexFailure(f"{connections.place}: table 'dumps' has no index '{TIME}'; 'thoth init' makes it")
        time.sleep(_PAUSE)


def make(connections: Connections) -> list[str]:
    """Make what is missing; a line for each thing that was made and that the original makes. Raises IndexFailure."""
    database = connections.place.database
    made = [f"created {what}" for what, there, making in _parts(database) if _make(connections, there, making)]
    dumps = reql.dumps(database)
    ours = {APART: reql.make_apart, NOT_HELD: reql.make_not_held, SIGNATURE: reql.make_signature}
    for name, making_of in ours.items():
        _make(connections, dumps.index_list().contains(name), making_of(database))
    # For a table with many dumps this takes minutes.
    connections.held(dumps.index_wait(TIME, *ours), connections.place.scan_timeout)
    return made


def _parts(database: str) -> Iterator[tuple[str, Term, Term]]:
    """What there has to be: its name, a question whether it is there, and what makes it."""
    yield f"database '{database}'", r.db_list().contains(database), r.db_create(database)
    for table in TABLES:
        there = r.db(database).table_list().contains(table)
        yield f"table '{table}'", there, r.db(database).table_create(table)
    dumps = reql.dumps(database)
    yield f"index '{TIME}'", dumps.index_list().contains(TIME), dumps.index_create(TIME)


def _make(connections: Connections, there: Term, making: Term) -> bool:
    """Whether it was missing and is made."""
    end = time.monotonic() + _SETTLES
    while not connections.one(there):
        try:
            connections.one(making)
        except Refused:
            if time.monotonic() > end:
                raise
            time.sleep(_PAUSE)
        else:
            return True
    return False
