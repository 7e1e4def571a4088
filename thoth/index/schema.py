"""The tables of the SQLite index, and how those of an older version become these."""

from __future__ import annotations

import sqlite3
from typing import Final

from thoth.index.sql import COLUMNS
from thoth.index.tallies import FILL_TALLIES, MAKE_TALLIES

SCHEMA: Final = 4  # user_version; a change of the tables or of what a column holds raises it

# Plain documents are found through these; ``odd`` ones are few and read whole. Those that have time and id give
# dumps in the order in which they are listed, and hold all that a list shows: its rows, which are long, since a
# document is, and lie in another order, are not read then. SQLite knows that only where ``odd`` is there too.
_INDEXES: Final = {
    "dumps_time": "(time, id, type, node, cmd, ticket, odd) WHERE odd = 0",
    "dumps_odd": "(time, id) WHERE odd = 1",
    "dumps_type": "(type, time, id, node, cmd, ticket, odd) WHERE odd = 0",
    "dumps_node": "(node, type, time, id, cmd, ticket, odd) WHERE odd = 0",
    "dumps_cmd": "(cmd, time, id, type, node, ticket, odd) WHERE odd = 0",
    "dumps_ticket": "(ticket, time, id, type, node, cmd, odd) WHERE odd = 0",
    "dumps_platform": "(platform, odd) WHERE odd = 0",
    "dumps_zone": "(zone, odd) WHERE odd = 0",
    # What crashes together is counted from this one alone, and of each signature in the order of what is counted.
    "dumps_signature": "(signature, node, platform, ticket, time, id, type, cmd, odd) WHERE odd = 0",
    "dumps_pid": "(pid, odd) WHERE odd = 0",
}
_MAKE_INDEXES: Final = tuple(f"CREATE INDEX {name} ON dumps{what}" for name, what in _INDEXES.items())

_NEW: Final = (
    f"""CREATE TABLE dumps (
        id TEXT NOT NULL PRIMARY KEY,
        revision INTEGER NOT NULL,
        size INTEGER,
        odd INTEGER NOT NULL,
        purged INTEGER NOT NULL,
        time REAL,
        {", ".join(f"{name} TEXT" for name in COLUMNS)},
        document TEXT NOT NULL
    )""",
    "CREATE TABLE analyzers (id TEXT NOT NULL PRIMARY KEY, document TEXT NOT NULL)",
    *_MAKE_INDEXES,
    MAKE_TALLIES,
)

# From the version before each: 2 has ``purged``, and lists without reading rows; 3 has ``tallies``; 4 tells what
# crashes together without reading rows.
_STEPS: Final = {
    2: (
        "ALTER TABLE dumps ADD COLUMN purged INTEGER NOT NULL DEFAULT 0",
        "UPDATE dumps SET purged = 1 WHERE instr(document, '\"purged\":')"
        " AND coalesce(json_extract(document, '$.purged'), 0) <> 0",
        *(f"DROP INDEX IF EXISTS {name}" for name in _INDEXES),
        *_MAKE_INDEXES,
    ),
    3: (MAKE_TALLIES, *FILL_TALLIES),
    4: (
        "DROP INDEX IF EXISTS dumps_signature",
        f"CREATE INDEX dumps_signature ON dumps{_INDEXES['dumps_signature']}",
    ),
}


def make_tables(connection: sqlite3.Connection) -> None:
    """Make the tables of this version, in the caller's transaction."""
    for statement in _NEW:
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version={SCHEMA}")


def bring_up_to_date(connection: sqlite3.Connection, version: int) -> None:
    """Make tables of an older version into those of this one, in the caller's transaction.

    For a million dumps it takes a minute from the first version, and some seconds from a later one.
    """
    for each in range(version + 1, SCHEMA + 1):
        for statement in _STEPS[each]:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version={SCHEMA}")
