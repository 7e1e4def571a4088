"""Which store an index speaks of, kept in the index: a table that is made when it is needed.

It is no part of the tables' version: an index without it is whole, and older programs do not mind it.
"""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MAKE: Final = (
    "CREATE TABLE IF NOT EXISTS store"
    " (one INTEGER PRIMARY KEY CHECK (one = 1), mark TEXT NOT NULL, root BLOB NOT NULL)"
)


@dataclass(frozen=True, slots=True)
class OfStore:
    """The mark of a store, and where its directory was when it was written to last."""

    mark: str
    root: Path


def read_store(connection: sqlite3.Connection) -> OfStore | None:
    """The store that the index speaks of; None when it does not say."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'store'").fetchone() is None:
        return None
    row = connection.execute("SELECT mark, root FROM store").fetchone()
    return None if row is None else OfStore(row[0], Path(os.fsdecode(row[1])))


def write_store(connection: sqlite3.Connection, store: OfStore | None) -> None:
    """Have the index speak of this store, or of no certain one, in the caller's transaction."""
    connection.execute(_MAKE)
    connection.execute("DELETE FROM store")
    if store is not None:
        row = (store.mark, os.fsencode(store.root))
        connection.execute("INSERT INTO store (one, mark, root) VALUES (1, ?, ?)", row)
