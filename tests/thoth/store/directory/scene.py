"""What the tests of the directory store have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.thoth.store.one_upload import CORE, INFO
from thoth.store.directory import DirectoryStore

HERE = "/alice/stor/thoth"


def drafts(root: Path) -> list[str]:
    return [path.name for path in (root / ".uploads").iterdir()]


def every_call(store: DirectoryStore) -> list[Callable[[], object]]:
    return [
        lambda: store.stat(INFO),
        lambda: store.get(INFO),
        lambda: store.open(INFO).close(),
        lambda: list(store.list(HERE)),
        lambda: store.put(INFO, b"{}"),
        lambda: store.begin(CORE, 0).abort(),
        lambda: store.delete(INFO),
    ]
