"""Etags, and the times that they are made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.thoth.store.one_upload import DUMP, INFO
from thoth.errors import PreconditionFailed
from thoth.store.directory import DirectoryStore


@pytest.mark.parametrize("tick", [0, -1, -(10**9)], ids=["frozen", "backwards", "a second back"])
def test_F19_etags_differ_whatever_the_clock_does(root: Path, tick: int) -> None:
    times = iter(range(10**18, 10**18 + (tick or 1) * 1000, tick or 1))
    store = DirectoryStore(root, now_ns=lambda: next(times) if tick else 10**18)
    etags = [store.put(INFO, b"%03d" % number) for number in range(100)]
    mtimes = [etag.split("-")[1] for etag in etags]
    assert len(set(mtimes)) == 100  # whichever inodes they got
    assert mtimes == sorted(mtimes)


def test_an_object_has_the_time_of_the_stores_clock(root: Path) -> None:
    # Not the kernel's, which may stand still for milliseconds: long enough to delete and make one again.
    store = DirectoryStore(root, now_ns=lambda: 1_700_000_000_123_456_789)
    etag = store.put(INFO, b"{}")
    assert etag.split("-")[1] == f"{1_700_000_000_123_456_789:x}"
    assert [entry.mtime for entry in store.list(DUMP)] == [pytest.approx(1_700_000_000.1234567)]


def test_a_file_that_was_edited_in_place_has_another_etag(root: Path) -> None:
    store = DirectoryStore(root)
    etag = store.put(INFO, b"one")
    (root / INFO[1:]).write_bytes(b"two")
    assert store.get(INFO)[1] != etag
    with pytest.raises(PreconditionFailed):
        store.put(INFO, b"three", if_match=etag)
