"""Where objects lie, with which modes, and whole."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.processes import open_descriptors
from tests.thoth.store.directory.scene import HERE, every_call
from tests.thoth.store.one_upload import CORE, INFO, store_dump
from thoth.errors import StoreError
from thoth.store.base import Digests
from thoth.store.directory import DirectoryStore


@contextmanager
def umask(bits: int) -> Iterator[None]:
    before = os.umask(bits)
    try:
        yield
    finally:
        os.umask(before)


def test_the_layout_is_mantas(root: Path) -> None:
    store_dump(DirectoryStore(root), "x")
    files = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    assert files == [".lock", CORE[1:], INFO[1:]]


@pytest.mark.parametrize("bits", [0o000, 0o022, 0o277])
def test_F18_modes_whatever_the_umask(tmp_path: Path, bits: int) -> None:
    with umask(bits):
        store_dump(DirectoryStore(tmp_path / "a" / "store", create=True), "x")
    modes = {
        (path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in tmp_path.rglob("*") if path.name != ".lock"
    }
    assert modes == {(True, 0o700), (False, 0o600)}
    assert not (tmp_path / "a/store/.lock").stat().st_mode & 0o077


def test_objects_of_others_tools_are_listed_but_not_their_dot_files(root: Path) -> None:
    (root / "alice").mkdir()
    (root / "alice" / ".zfs").mkdir()
    (root / "alice" / "x").write_bytes(b"abc")
    os.utime(root / "alice" / "x", (-5.0, -5.0))
    (entry,) = DirectoryStore(root).list("/alice")
    assert (entry.name, entry.size, entry.mtime) == ("x", 3, -5.0)


def test_F56_no_descriptor_is_left_open(root: Path) -> None:
    store = DirectoryStore(root)
    before = open_descriptors()
    store_dump(store, "x")
    for call in every_call(store):
        call()
    for name in ("/alice/none", f"{INFO}/x", HERE, "/a/../b"):
        for ask in (
            store.stat,
            store.get,
            store.open,
            store.delete,
            lambda name: store.put(name, b"", if_match="x"),
        ):
            with pytest.raises(StoreError):
                ask(name)
    next(store.list(HERE))
    upload = store.begin(CORE, 1)
    with pytest.raises(StoreError):
        upload.commit(Digests(1, "", ""))
    del upload
    assert open_descriptors() == before


def test_a_large_upload_is_whole(root: Path) -> None:
    store = DirectoryStore(root)
    upload = store.begin(CORE, 0)
    blocks = [bytes([number]) * (1 << 20) for number in range(20)]
    for block in blocks:
        upload.part(block)
    upload.commit(Digests(20 << 20, "", ""))
    assert store.get(CORE)[0] == b"".join(blocks)
