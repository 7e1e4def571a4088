from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from thoth.errors import (
    CannotWrite,
    NoSuchObject,
)
from thoth.store.base import ABSENT, Digests, ObjectStat, ObjectStore, Unfinished
from thoth.store.directory import DirectoryStore
from thoth.store.wrappers import DryRun, read_back

NAME = "/alice/stor/x"


def digests(data: bytes) -> Digests:
    return Digests(len(data), hashlib.md5(data).hexdigest(), hashlib.sha256(data).hexdigest())


def upload(store: ObjectStore, name: str, data: bytes, announced: Digests | None = None) -> ObjectStat:
    incoming = store.begin(name, len(data))
    incoming.part(data)
    return incoming.commit(announced or digests(data))


def tree(root: Path) -> list[tuple[str, int, bytes]]:
    paths = sorted(root.rglob("*"))
    return [(str(p), p.lstat().st_mtime_ns, p.read_bytes() if p.is_file() else b"") for p in paths]


# ---- DryRun ---------------------------------------------------------------------------------------


def test_F53_a_dry_run_reads_and_writes_nothing(root: Path) -> None:
    real = DirectoryStore(root)
    etag = real.put(NAME, b"{}")
    before = tree(root)
    store = DryRun(real)
    writes: list[Callable[[], object]] = [
        lambda: store.put(NAME, b""),
        lambda: store.put("/alice/new", b"", if_match=ABSENT),
        lambda: store.delete(NAME),
        lambda: store.begin(NAME, 0),
        lambda: store.forget(Unfinished("/alice/uploads/1", 0, 0.0)),
    ]
    for write in writes:
        with pytest.raises(CannotWrite, match="/alice/"):
            write()
    assert store.get(NAME) == (b"{}", etag)
    assert store.stat(NAME) == ObjectStat(2, etag)
    assert [entry.name for entry in store.list("/alice/stor")] == ["x"]
    with store.open(NAME) as found:
        assert found.read_at(0, 9) == b"{}"
    store.close()
    assert tree(root) == before


def test_F53_a_dry_run_does_not_make_the_store(tmp_path: Path) -> None:
    store = DryRun(DirectoryStore(tmp_path / "new", create=True))
    assert list(store.list("/alice")) == []
    with pytest.raises(NoSuchObject):
        store.stat(NAME)
    assert list(tmp_path.iterdir()) == []


def test_read_back_of_a_large_object(root: Path) -> None:
    store = DirectoryStore(root)
    data = bytes(range(256)) * (40 << 10)
    upload(store, NAME, data)
    assert read_back(store, NAME) == digests(data)
