"""A disk that is full, or read-only."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.thoth.store.directory.scene import drafts
from tests.thoth.store.one_upload import CORE, INFO, store_dump
from thoth.errors import NoRoom, StoreError, StoreUnavailable
from thoth.index.of_store import OfStore
from thoth.index.sqlite import SqliteIndex
from thoth.model import DumpInfo
from thoth.store.base import Digests
from thoth.store.directory import DirectoryStore
from thoth.tie import Tie, TiedIndex, TiedStore


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB and 40 inodes.

    It is mounted in a namespace of its own, which a process holds and which is reached through /proc: nobody
    else sees the mount, and it goes with the process, however this one ends.
    """
    place = tmp_path / "disk"
    place.mkdir()
    script = 'mount -t tmpfs -o size=1m,nr_inodes=40,mode=0700 tmpfs "$1" && echo mounted && read -r _'
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(place)],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as holder:
        assert holder.stdout
        said = holder.stdout.readline()
        assert said == "mounted\n", f"these tests mount a small tmpfs, which needs root: {said}"
        yield Path(f"/proc/{holder.pid}/root{place}")
        holder.communicate()


def make_read_only(disk: Path) -> None:
    _, _, holder, _, *place = disk.parts
    inside = ["nsenter", "--mount", "--target", holder]
    subprocess.run([*inside, "mount", "-o", "remount,ro", f"/{'/'.join(place)}"], check=True)


def test_F10_free_space_is_looked_at_first(disk: Path) -> None:
    store = DirectoryStore(disk)
    with pytest.raises(NoRoom, match=rf"^store {disk}: {CORE} needs 1099511627776 bytes and 10\d+ are free"):
        store.begin(CORE, 1 << 40)
    assert list(disk.iterdir()) == []


def test_F10_what_is_free_is_told_also_before_the_first_dump(disk: Path) -> None:
    store = DirectoryStore(disk / "store", create=True)
    before = store.free()
    assert before == os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    store_dump(store, "first")
    after = store.free()
    assert after is not None and after < before


def test_F10_what_a_dead_upload_left_is_swept_when_room_is_short(disk: Path) -> None:
    """A draft that nobody holds, large enough that the next upload finds no room beside it."""
    store_dump(DirectoryStore(disk), "first")
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    left = disk / ".uploads" / f".thoth-{'0' * 32}.draft"
    left.write_bytes(bytes(free - (64 << 10)))
    DirectoryStore(disk).begin(CORE, 128 << 10).abort()
    assert not left.exists()


def test_F10_a_disk_that_fills_up(disk: Path) -> None:
    store = DirectoryStore(disk)
    store.put("/alice/kept", b"kept")
    upload = store.begin(CORE, 0)
    with pytest.raises(NoRoom, match=f"^store {disk}: no space") as caught:
        for _ in range(40):
            upload.part(bytes(1 << 15))
    assert "\n" not in str(caught.value)
    assert drafts(disk) == []  # the space is free again
    with pytest.raises(StoreError, match="over"):
        upload.commit(Digests(0, "", ""))
    upload.abort()
    store_dump(store, "x")  # and a smaller one goes in
    assert store.get("/alice/kept")[0] == b"kept"


def test_F10_one_part_that_does_not_fit(disk: Path) -> None:
    upload = DirectoryStore(disk).begin(CORE, 0)
    with pytest.raises(NoRoom, match=f"^store {disk}: no space"):
        upload.part(b"x" * (2 << 20))  # some of it is written before the disk is full
    assert drafts(disk) == []


def test_F10_a_full_disk_takes_no_document_and_loses_none(disk: Path) -> None:
    store = DirectoryStore(disk)
    etag = store.put(INFO, b"{}")
    with (disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space"):
        while True:
            filler.write(bytes(4096))
    with pytest.raises(StoreUnavailable, match=f"^store {disk}: no space") as caught:
        store.put(INFO, b"x" * 5000, if_match=etag)
    assert not isinstance(caught.value, NoRoom)
    assert store.get(INFO) == (b"{}", etag)
    assert drafts(disk) == []


def test_F10_no_inode_is_left(disk: Path) -> None:
    store = DirectoryStore(disk)
    with pytest.raises(StoreUnavailable, match="no space or no inode"):
        for number in range(40):
            store.put(f"/alice/{number}", b"")
    assert drafts(disk) == []
    (disk / "alice" / "0").unlink()
    store.put("/alice/0", b"")


def test_F10_a_read_only_disk(disk: Path) -> None:
    store = DirectoryStore(disk)
    store.put(INFO, b"{}")
    make_read_only(disk)
    assert store.get(INFO)[0] == b"{}"
    for write in (lambda: store.put(INFO, b"x"), lambda: store.begin(CORE, 1), lambda: store.delete(INFO)):
        with pytest.raises(StoreUnavailable, match=f"^store {disk}: it is mounted read-only; remount it"):
            write()


def test_a_store_that_can_only_be_read_has_no_mark_and_is_indexed(disk: Path, tmp_path: Path) -> None:
    store = DirectoryStore(disk)
    store.put(INFO, b"{}")
    make_read_only(disk)
    assert (store.make_mark(), store.mark()) == (None, None)
    with closing(SqliteIndex(tmp_path / "index.db")) as index:
        index.speak_of(OfStore("0" * 32, tmp_path), instead_of=None)
        tie = Tie(store, index, "alice", named=True)
        assert tie.renew()
        assert TiedIndex(index, tie).put(DumpInfo({"id": "0f" * 16}))
        assert index.store() is None
        with pytest.raises(StoreUnavailable, match=f"^store {disk}: it is mounted read-only; remount it"):
            TiedStore(store, tie).put(INFO, b"x")
