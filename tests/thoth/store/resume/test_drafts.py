"""Which drafts an upload takes for its own: not another object's, and none that is hostile."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.thoth.store.large_upload import NAME, content, opened, send, store
from tests.thoth.store.leftovers import LETTERS, OTHER, SIZE, drafts, gone_on_with, killed, object_of
from thoth.store.directory import DirectoryStore


def test_another_object_and_another_size_leave_it_alone(root: Path) -> None:
    left = killed(root)
    before = left.read_bytes()
    for name, size in ((OTHER, SIZE), (NAME, SIZE - 1), (NAME, SIZE + 1), (NAME, None), (NAME, 0)):
        upload = opened(root).begin(name, size)
        upload.part(b"x")
        upload.abort()
    opened(root).put(OTHER, b"{}")
    assert drafts(root) == [left]
    assert left.read_bytes() == before


def test_a_small_upload_leaves_nothing_to_go_on_with(root: Path) -> None:
    upload = DirectoryStore(root).begin(NAME, SIZE)
    send(upload, content("abcdefghi"))
    upload.abort()
    assert drafts(root) == []


def a_link(place: Path, victim: Path) -> None:
    place.symlink_to(victim)


def a_fifo(place: Path, victim: Path) -> None:
    os.mkfifo(place)


def a_directory(place: Path, victim: Path) -> None:
    place.mkdir()


def a_second_name(place: Path, victim: Path) -> None:
    place.hardlink_to(victim)


def a_file_of_somebody_else(place: Path, victim: Path) -> None:
    place.write_bytes(victim.read_bytes())
    os.chown(place, 12345, 12345)


INTRUDERS = [a_link, a_fifo, a_directory, a_second_name, a_file_of_somebody_else]


@pytest.mark.parametrize("intrude", INTRUDERS)
def test_F18_by_the_name_of_a_draft(root: Path, tmp_path: Path, intrude: Callable[[Path, Path], None]) -> None:
    left = killed(root)
    victim = tmp_path / "victim"
    left.rename(victim)
    before = victim.read_bytes()
    intrude(left, victim)
    assert store(root, LETTERS) >= SIZE
    assert object_of(root).read_bytes() == content(LETTERS)
    assert object_of(root).stat().st_uid == os.geteuid()
    assert victim.read_bytes() == before
    assert not os.path.samestat(object_of(root).stat(), victim.stat())


def test_F18_a_mode_that_was_widened_is_narrowed(root: Path) -> None:
    killed(root).chmod(0o4777)
    assert gone_on_with(root) == 4
