"""Nothing in a directory store is reached through a link."""

from __future__ import annotations

import ctypes
import os
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.thoth.store.one_upload import CORE, DUMP, INFO, store_dump
from thoth.errors import StoreError
from thoth.store.directory import DirectoryStore


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir(mode=0o700)
    return tmp_path / "store"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """What no write into the store may touch."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "victim").write_bytes(b"theirs")
    return tmp_path / "outside"


PLACES = ["alice", "alice/stor", "alice/stor/thoth", DUMP[1:], ".uploads"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("target", ["outside", "inside", "dangling"])
def test_F18_a_link_in_place_of_a_directory(root: Path, outside: Path, place: str, target: str) -> None:
    link = root / place
    link.parent.mkdir(parents=True, exist_ok=True)
    (root / "inside").mkdir()
    (outside / "stor/thoth" / Path(DUMP).name).mkdir(parents=True)
    link.symlink_to({"outside": outside, "inside": root / "inside", "dangling": outside / "new"}[target])
    store = DirectoryStore(root)
    calls: list[Callable[[], object]] = [lambda: store.put(INFO, b"{}"), lambda: store_dump(store, "x")]
    if place != ".uploads":
        calls += [lambda: store.get(INFO), lambda: store.delete(INFO), lambda: list(store.list(DUMP))]
    for call in calls:
        with pytest.raises(StoreError, match="neither a file nor a directory"):
            call()
    assert (outside / "victim").read_bytes() == b"theirs"
    assert sorted(str(p.relative_to(outside)) for p in outside.rglob("*") if p.is_file()) == ["victim"]
    assert list((root / "inside").iterdir()) == []


@pytest.mark.parametrize("name", [CORE, INFO, "/.lock"])
def test_F18_a_link_in_place_of_a_file(root: Path, outside: Path, name: str) -> None:
    link = root / name[1:]
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside / "victim")
    store = DirectoryStore(root)
    with pytest.raises(StoreError, match="neither a file nor a directory"):
        store_dump(store, "x")
    assert (outside / "victim").read_bytes() == b"theirs"
    assert link.is_symlink()
    assert list((root / ".uploads").iterdir()) == []


def test_F18_a_link_in_place_of_a_file_is_not_read(root: Path, outside: Path) -> None:
    (root / "alice").mkdir()
    (root / "alice" / "x").symlink_to(outside / "victim")
    store = DirectoryStore(root)
    for ask in (store.stat, store.get, store.open, store.delete):
        with pytest.raises(StoreError, match="'x' in the store is neither"):
            ask("/alice/x")
    assert [entry.directory for entry in store.list("/alice")] == [False]


def test_F16_a_fifo_or_device_is_not_opened(root: Path) -> None:
    (root / "alice").mkdir()
    os.mkfifo(root / "alice" / "fifo")
    os.mknod(root / "alice" / "zero", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    store = DirectoryStore(root)
    for name in ("/alice/fifo", "/alice/zero"):
        for ask in (store.stat, store.get, store.open, store.delete, lambda name: store.put(name, b"")):
            with pytest.raises(StoreError, match="neither a file nor a directory"):
                ask(name)


def exchange(one: Path, two: Path) -> None:
    """Swap two names at once: renameat2(2) with RENAME_EXCHANGE, which Python does not have."""
    here, swap = -100, 2
    assert ctypes.CDLL(None).renameat2(here, bytes(one), here, bytes(two), swap) == 0


def test_F18_a_directory_swapped_for_a_link_while_we_write(root: Path, outside: Path) -> None:
    store = DirectoryStore(root)
    store.put("/alice/stor/x", b"0")
    real, link = root / "alice" / "stor", root / "alice" / "link"
    link.symlink_to(outside)
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            exchange(real, link)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for number in range(200):
            with suppress(StoreError):
                store.put(f"/alice/stor/{number}", b"ours")
    finally:
        done.set()
        swapper.join()
    assert [path.name for path in outside.iterdir()] == ["victim"]
