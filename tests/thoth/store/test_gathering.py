"""A directory store for dumps that are written together: what it syncs, and when."""

from __future__ import annotations

import errno
import os
from collections import Counter
from pathlib import Path

import pytest

from thoth.digest import digests_of
from thoth.errors import StoreUnavailable
from thoth.store.base import ABSENT, ObjectStore
from thoth.store.directory import DirectoryStore

HOME = "/alice/stor/thoth"


class Syncs:
    """The real fsync, and what it was called for: names below the root, of drafts none."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._fsync = os.fsync
        self.counted: Counter[str] = Counter()
        self.refused: str | None = None

    def __call__(self, fd: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        name = str(path.relative_to(self._root)) if ".uploads" not in path.parts else "file"
        if name == self.refused:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._fsync(fd)
        self.counted[name] += 1


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "store"
    place.mkdir(mode=0o700)
    return place


@pytest.fixture
def syncs(root: Path, monkeypatch: pytest.MonkeyPatch) -> Syncs:
    syncs = Syncs(root)
    monkeypatch.setattr(os, "fsync", syncs)
    return syncs


def put_dump(store: ObjectStore, name: str, data: bytes = b"core" * 100) -> None:
    upload = store.begin(f"{HOME}/{name}/core.1", len(data), if_match=ABSENT)
    upload.part(data)
    upload.commit(digests_of([data]))
    store.put(f"{HOME}/{name}/info.json", b"{}", if_match=ABSENT)


def test_by_itself_each_dump_is_durable_at_once(root: Path, syncs: Syncs) -> None:
    store = DirectoryStore(root)
    put_dump(store, "a")
    assert syncs.counted == {
        "file": 2, "alice/stor/thoth/a": 2, "alice/stor/thoth": 1, "alice/stor": 1, "alice": 1, ".": 1
    }  # fmt: skip
    store.flush()
    put_dump(store, "b")
    assert syncs.counted["alice/stor/thoth/b"] == 2 and syncs.counted["alice/stor/thoth"] == 2


def test_together_they_are_durable_after_a_flush(root: Path, syncs: Syncs) -> None:
    store = DirectoryStore(root).gathering()
    for name in "abc":
        put_dump(store, name)
    dumps = {f"alice/stor/thoth/{name}": 1 for name in "abc"}
    assert syncs.counted == {"file": 6, **dumps}
    store.flush()
    assert syncs.counted == {"file": 6, **dumps, "alice/stor/thoth": 1, "alice/stor": 1, "alice": 1, ".": 1}
    store.flush()
    assert syncs.counted.total() == 13
    assert [entry.name for entry in DirectoryStore(root).list(HOME)] == ["a", "b", "c"]


def test_a_dump_whose_document_did_not_come(root: Path, syncs: Syncs) -> None:
    store = DirectoryStore(root).gathering()
    put_dump(store, "a")
    store.flush()
    syncs.counted.clear()
    data = b"a better one"
    upload = store.begin(f"{HOME}/a/core.1", len(data))
    upload.part(data)
    upload.commit(digests_of([data]))
    assert syncs.counted == {"file": 1}
    store.flush()
    above = {"alice/stor/thoth": 1, "alice/stor": 1, "alice": 1, ".": 1}
    assert syncs.counted == {"file": 1, "alice/stor/thoth/a": 1, **above}


def test_what_another_has_left_without_a_flush_is_settled(root: Path, syncs: Syncs) -> None:
    put_dump(DirectoryStore(root).gathering(), "a")  # by one who was killed then
    above = {"alice/stor/thoth/a": 1, "alice/stor/thoth": 1, "alice/stor": 1, "alice": 1, ".": 1}
    syncs.counted.clear()
    DirectoryStore(root).settle(f"{HOME}/a/info.json")
    assert syncs.counted == above
    gathering = DirectoryStore(root).gathering()
    gathering.settle(f"{HOME}/a/info.json")
    assert syncs.counted == above
    gathering.flush()
    assert syncs.counted == Counter({name: 2 for name in above})


def test_a_directory_that_was_there_before_its_dump_may_not_last(root: Path, syncs: Syncs) -> None:
    above = {"alice/stor/thoth/a": 1, "alice/stor/thoth": 1, "alice/stor": 1, "alice": 1, ".": 1}
    (root / "alice/stor/thoth/a").mkdir(parents=True)  # by one who was killed then
    put_dump(DirectoryStore(root), "a")
    assert syncs.counted == {"file": 2, **above, "alice/stor/thoth/a": 2}
    syncs.counted.clear()
    (root / "alice/stor/thoth/b").mkdir()
    store = DirectoryStore(root).gathering()
    put_dump(store, "b")
    store.flush()
    assert syncs.counted == {"file": 2, **{name.replace("/a", "/b"): count for name, count in above.items()}}


def test_what_was_removed_meanwhile_needs_no_flush(root: Path) -> None:
    store = DirectoryStore(root).gathering()
    upload = store.begin(f"{HOME}/a/core.1", 1)
    upload.part(b"x")
    upload.commit(digests_of([b"x"]))
    store.delete(f"{HOME}/a/core.1")
    store.delete(f"{HOME}/a")
    store.flush()
    assert list(store.list(HOME)) == []


def test_a_disk_that_fails_is_told(root: Path, syncs: Syncs) -> None:
    store = DirectoryStore(root).gathering()
    put_dump(store, "a")
    syncs.refused = "alice/stor/thoth"
    with pytest.raises(StoreUnavailable, match=r"I/O error; check the disk \(/alice/stor/thoth\)"):
        store.flush()
    syncs.refused = None
    store.flush()  # what could not be synced still waits for it
    assert syncs.counted["alice/stor/thoth"] == 1


def test_two_gatherings_do_not_wait_for_each_other(root: Path, syncs: Syncs) -> None:
    one, other = DirectoryStore(root).gathering(), DirectoryStore(root).gathering()
    put_dump(one, "a")
    other.flush()
    assert "alice/stor/thoth" not in syncs.counted
    one.flush()
    assert syncs.counted["alice/stor/thoth"] == 1
