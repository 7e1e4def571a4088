"""The directory that holds the store: whose it has to be, and who makes it."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.thoth.store.directory.scene import HERE, every_call
from tests.thoth.store.one_upload import INFO
from thoth.errors import NoSuchObject, StoreUnavailable
from thoth.store.directory import DirectoryStore
from thoth.store.refusals import writing


def assert_refused(root: Path, words: str) -> None:
    for call in every_call(DirectoryStore(root)):
        with pytest.raises(StoreUnavailable, match=f"^store {root}: .*{words}") as caught:
            call()
        assert "\n" not in str(caught.value)


def test_F18_a_root_of_somebody_else(root: Path) -> None:
    os.chown(root, 12345, 0)
    assert_refused(root, "belongs to uid 12345 .*; run as its owner or choose another")


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o1777])
def test_F18_a_root_that_others_may_write_to(root: Path, mode: int) -> None:
    root.chmod(mode)
    assert_refused(root, f"others may write to it .*; chmod go-w {root}")
    root.chmod(0o755)
    DirectoryStore(root).put(INFO, b"{}")


def test_F18_a_root_that_is_a_link(tmp_path: Path, root: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert_refused(tmp_path / "link", "is a symbolic link; name what it points to")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert_refused(tmp_path / "dangling", "is a symbolic link")


def test_a_root_that_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert_refused(tmp_path / "file", "is not a directory")
    assert_refused(tmp_path / "missing", "no such directory; mount it, or make an empty one with 'thoth init'")


def test_a_root_that_may_be_made_is_made_by_the_first_write(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "a" / "b", create=True)
    assert list(store.list(HERE)) == []
    with pytest.raises(NoSuchObject):
        store.get(INFO)
    with pytest.raises(NoSuchObject):
        store.delete(INFO)
    assert list(tmp_path.iterdir()) == []
    store.put(INFO, b"{}")
    assert store.get(INFO)[0] == b"{}"


def test_threads_may_make_the_root_together(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "a" / "b", create=True)
    threads = [threading.Thread(target=store.put, args=(f"/alice/{n}/x", b"x")) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.name for entry in store.list("/alice")] == [str(n) for n in range(8)]


@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_a_store_that_may_not_be_made_names_the_directory_that_refuses(mode: int) -> None:
    with TemporaryDirectory(dir="/var/tmp") as directory:  # whose parents all may look into
        closed = Path(directory)
        closed.chmod(mode)
        root = closed / "dumps/store"
        os.seteuid(65534)
        try:
            with pytest.raises(StoreUnavailable) as caught, writing(root, "/u/stor/x"):
                root.mkdir(parents=True)
        finally:
            os.seteuid(0)
        said = f"cannot be made: access denied in {closed}; let this user write there, or name another store"
        assert str(caught.value) == f"store {root}: {said} (/u/stor/x)"
