"""The indexes that the contract holds for; another one is added by a line in ``INDEXES``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from thoth.index.base import Index
from thoth.index.memory import MemoryIndex
from thoth.index.sqlite import SqliteIndex
from thoth.model import Identity

Make = Callable[[Path], Index]

INDEXES: list[Make] = [
    lambda directory: MemoryIndex(),
    lambda directory: SqliteIndex(directory / "index" / "thoth.db"),
]
NAMES = ["memory", "sqlite"]


def named(number: int) -> Identity:
    return Identity(f"{number:032x}")
