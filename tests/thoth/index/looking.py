"""A look at an index from outside and from inside: what lies in its directory, what it answers."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.thoth.index.rows import named
from thoth.index.base import Index
from thoth.index.database import ANY_TEXT
from thoth.query import Glob, Query

# A process that writes three dumps and is killed: they are in the log.
LEAVE_WAL = """
import os, sys
from thoth.index.sqlite import SqliteIndex
from thoth.model import DumpInfo
index = SqliteIndex(sys.argv[1])
for number in range(3):
    index.put(DumpInfo({"id": f"{number:032x}", "time": number, "cmd": "svcs"}))
os._exit(0)
"""


def trace(directory: Path) -> dict[str, tuple[int, int, bytes]]:
    """What a directory holds: of each file mode, time of the last change and bytes.

    Not the time of the last change of its inode: for root SQLite sets a -shm's owner, to what it is.
    """
    seen = {}
    for each in [directory, *directory.rglob("*")]:
        found = each.lstat()
        content = each.read_bytes() if each.is_file() else b""
        seen[str(each)] = (found.st_mode, found.st_mtime_ns, content)
    return seen


def ask_everything(index: Index) -> list[str]:
    """Ask in each way there is; the identities of all documents."""
    everything = [str(info.id) for info in index.find(Query())]
    assert index.count(Query()) == len(everything)
    assert sum(index.report(Query(), ("cmd",)).values()) == len(everything)
    assert len(index.known([named(1)])) == (index.get(named(1)) is not None)
    assert index.named("") == sorted(everything)[:10]
    assert sum(1 for _ in index.find(Query((Glob(("stack",), "*a*"),)))) <= len(everything)
    return everything


def tallies(path: Path) -> dict[tuple[str, str], int]:
    """What an SQLite index has counted: how many dumps there are of each property and label."""
    with closing(sqlite3.connect(path)) as connection:
        connection.text_factory = ANY_TEXT
        return {(name, told): dumps for name, told, dumps in connection.execute("SELECT * FROM tallies")}
