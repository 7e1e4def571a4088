"""The indexes that the contract holds for; another one is added by a line in ``INDEXES``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.memory_index import MemoryIndex
from tests.support.reqlite import ReqlServer
from thoth.index.base import Index
from thoth.index.rethink import RethinkIndex
from thoth.index.sqlite import SqliteIndex
from thoth.model import DumpInfo, Identity, Json
from thoth.query import Constraint, Query

Make = Callable[[Path, ReqlServer], Index]

INDEXES: list[Make] = [
    lambda directory, server: MemoryIndex(),
    lambda directory, server: SqliteIndex(directory / "index" / "thoth.db"),
    lambda directory, server: RethinkIndex(server.new_place()),
]
NAMES = ["memory", "sqlite", "rethink"]


def named(number: int) -> Identity:
    return Identity(f"{number:032x}")


def dump(number: int, **values: Json) -> DumpInfo:
    return DumpInfo({"id": named(number), "time": 1000 + number, "type": "core", "properties": {}, **values})


def ids(index: Index, *constraints: Constraint, limit: int | None = None) -> list[int]:
    return [int(info.id, 16) for info in index.find(Query(constraints, limit))]
