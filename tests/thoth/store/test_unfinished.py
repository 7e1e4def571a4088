"""How long the directory store keeps what a large upload has left, and for what it has to go."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mishaps import small_disk
from tests.thoth.store.large_upload import MEGABYTE, NAME, content, opened, send
from tests.thoth.store.leftovers import (
    LETTERS,
    OTHER,
    SIZE,
    aged,
    begun,
    drafts,
    gone_on_with,
    killed,
    uploading,
)
from thoth.errors import NoRoom, NoSuchObject, StoreError
from thoth.store.base import ABSENT, Digests, Unfinished
from thoth.store.directory import DirectoryStore

WEEK = 7 * 24 * 3600


# ---- how long it stays ------------------------------------------------------------------------------------


def test_it_is_swept_after_a_week(root: Path) -> None:
    left = killed(root)
    aged(left, WEEK - 60)
    opened(root).put(OTHER, b"{}")
    assert drafts(root) == [left]
    aged(left, WEEK + 60)
    opened(root).put(OTHER, b"{}")
    assert drafts(root) == []


def test_its_week_begins_anew_when_it_is_taken_up(root: Path) -> None:
    left = killed(root)
    aged(left, WEEK - 60)
    opened(root).begin(NAME, SIZE).abort()
    assert drafts(root) == []  # too little to be kept
    left = killed(root, stop=9 * MEGABYTE)
    aged(left, WEEK - 60)
    opened(root).begin(NAME, SIZE).abort()
    assert left.stat().st_mtime > time.time() - 60


def test_what_is_unfinished_is_told_and_forgotten(root: Path) -> None:
    store = opened(root)
    assert [*store.unfinished("/alice/stor/thoth")] == []
    left = killed(root)
    with uploading(root, "klmnopqrst", 5 * MEGABYTE) as process:  # the first goes on with what was left
        assert [*store.unfinished("/alice/stor/thoth")] == []
        process.send_signal(signal.SIGKILL)
        process.communicate()
    (unfinished,) = store.unfinished("/alice/stor/thoth")
    assert unfinished.size == left.stat().st_blocks * 512 >= 5 * MEGABYTE
    assert unfinished.mtime == pytest.approx(left.stat().st_mtime)
    going_on = store.begin(NAME, SIZE)
    with pytest.raises(NoSuchObject, match=r"is gone, or an upload goes on with it"):
        store.forget(unfinished)
    assert drafts(root) == [left]
    going_on.abort()
    opened(root).put(OTHER, b"")
    killed(root)
    (unfinished,) = store.unfinished("/alice/stor/thoth")
    store.forget(unfinished)
    assert drafts(root) == []
    with pytest.raises(NoSuchObject):
        store.forget(unfinished)


def test_F18_nothing_but_a_draft_can_be_forgotten(root: Path, tmp_path: Path) -> None:
    etag = opened(root).put(OTHER, b"{}")
    (tmp_path / "victim").write_bytes(b"theirs")
    for name in (
        OTHER,
        f"/.uploads/..{OTHER}",
        "/.uploads/.lock",
        "/.lock",
        f"{tmp_path}/victim",
        "/.uploads/../../victim",
    ):
        with pytest.raises(NoSuchObject):
            opened(root).forget(Unfinished(name, 0, 0.0))
    assert opened(root).get(OTHER) == (b"{}", etag)
    assert (tmp_path / "victim").exists()
    assert (root / ".lock").exists()


def test_a_store_that_is_not_there_yet_has_nothing_unfinished(tmp_path: Path) -> None:
    assert [*DirectoryStore(tmp_path / "new", create=True).unfinished("/alice/stor/thoth")] == []
    with pytest.raises(StoreError, match="no such directory"):
        [*DirectoryStore(tmp_path / "new").unfinished("/alice/stor/thoth")]


# ---- when room is short -----------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for one object of that size, and two megabytes more."""
    with small_disk(tmp_path / "disk", "12m") as folder:
        yield folder


def test_F10_what_is_gone_on_with_needs_no_second_room(disk: Path) -> None:
    killed(disk)
    assert gone_on_with(disk) == 4


def test_F10_what_is_gone_on_with_needs_nobody_elses_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "14m") as disk:
        killed(disk)
        others = disk / ".uploads" / f".thoth-{'00' * 16}-{'0' * 32}.draft"
        others.write_bytes(b"x" * 2 * MEGABYTE)
        opened(disk).begin(NAME, SIZE).abort()
        assert drafts(disk) == [others]


def test_F10_another_upload_that_finds_room_beside_it_spares_it(disk: Path) -> None:
    left = killed(disk)
    opened(disk).begin(OTHER, 3 * MEGABYTE).abort()
    assert drafts(disk) == [left]


@pytest.mark.parametrize("size", [5 * MEGABYTE + 1, 7 * MEGABYTE])
def test_F10_another_upload_that_finds_none_sweeps_it(disk: Path, size: int) -> None:
    left = killed(disk)
    with begun(disk, OTHER, size) as upload:
        assert left not in drafts(disk)
        upload.part(b"x" * size)
        upload.commit(Digests(size, "", ""))


def test_F10_a_document_for_which_it_leaves_no_room(disk: Path) -> None:
    left = killed(disk)
    with (disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space"):
        while True:
            filler.write(bytes(4096))
    opened(disk).put(OTHER, b"x" * 5000, if_match=ABSENT)
    assert not left.exists()


def test_F10_no_inode_but_its_own_is_left(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "12m,nr_inodes=40") as disk:
        opened(disk).put(OTHER, b"{}")
        left = killed(disk)
        for number in range(os.statvfs(disk).f_favail):
            (disk / f"filler.{number}").touch()
        opened(disk).put(OTHER, b"{}")
        assert not left.exists()


def test_F10_there_is_no_room_for_the_rest(disk: Path) -> None:
    left = killed(disk)
    filler = disk / "filler"
    filler.write_bytes(bytes(3 * MEGABYTE))
    with pytest.raises(NoRoom, match=rf"^store {disk}: {NAME} needs {4 * MEGABYTE} more bytes and [23]\d+ are free"):
        opened(disk).begin(NAME, SIZE)
    assert drafts(disk) == [left]  # somebody may make room
    filler.unlink()
    assert gone_on_with(disk) == 4


def test_F10_what_never_fits_takes_no_room_from_others(disk: Path) -> None:
    left = killed(disk)
    with pytest.raises(NoRoom):
        opened(disk).begin(OTHER, 1 << 60)
    assert drafts(disk) == [left]


def test_F10_a_disk_that_fills_up_while_it_is_gone_on_with(disk: Path) -> None:
    killed(disk)
    with begun(disk, NAME, SIZE) as upload:
        (disk / "filler").write_bytes(bytes(4 * MEGABYTE))
        with pytest.raises(NoRoom, match=f"^store {disk}: no space"):
            send(upload, content(LETTERS))
    assert drafts(disk) == []  # there is room for others
