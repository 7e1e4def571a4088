"""A run's directory, and how it goes, whatever is in it by then."""

from __future__ import annotations

import os
import re
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.support.analysis import NOBODY, as_user, common_ground, mode, names
from tests.support.mishaps import small_disk
from thoth.analysis.cache import Cache
from thoth.analysis.removal import remove_tree
from thoth.errors import CacheError


def test_a_run_s_directory_is_private_and_goes(root: Path) -> None:
    with Cache(root).work() as work:
        assert re.fullmatch(r"\.run-[0-9a-f]{32}", work.name)
        assert (work.parent, mode(work), list(work.iterdir())) == (root, 0o700, [])
        (work / "file").write_text("x")
    assert names(root) == []


def test_it_goes_when_the_run_fails(root: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Cache(root).work():
        raise KeyboardInterrupt
    assert names(root) == []


def test_it_may_be_gone_already(root: Path) -> None:
    with Cache(root).work() as work:
        work.rmdir()
    assert names(root) == []


def fill(top: Path) -> None:
    """What is hard to remove: very deep, very wide, links out, and directories that let nobody in."""
    for number in range(1500):
        (top / f"{number}").touch()
    (top / "link").symlink_to(top.parent)
    (top / "closed" / "inner").mkdir(parents=True)
    (top / "closed" / "inner" / "file").touch()
    (top / "closed" / "inner").chmod(0)
    (top / "closed").chmod(0)
    here = os.open(top, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        there = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = there
    os.close(here)


@pytest.mark.parametrize("user", [0, NOBODY])
def test_whatever_is_in_a_directory_is_removed(user: int) -> None:
    # In memory, where thousands of directories are made in no time.
    with common_ground() as ground, small_disk(ground / "disk", "64m") as disk:
        outside = disk / "outside"
        outside.touch(0o600)
        top = disk / "top"
        top.mkdir()
        for each in (disk, outside, top):
            os.chown(each, user, user)
        with as_user() if user else nullcontext():
            fill(top)
            remove_tree(top)
            assert names(disk) == ["outside"]
        assert mode(outside) == 0o600


def test_a_link_in_its_place_goes_and_what_it_points_to_stays() -> None:
    with as_user() as place:
        other = place / "other"
        other.mkdir(mode=0o755)
        (other / "file").touch()
        with Cache(place / "cache").work() as work:
            work.rmdir()
            work.symlink_to(other)
        assert names(place) == ["cache", "other", "other/file"]
        assert mode(other) == 0o755


def test_a_disk_without_inodes_keeps_no_lock(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m,nr_inodes=3") as disk:
        with pytest.raises(CacheError, match="no room; make some"):
            Cache(disk / "cache").work().__enter__()
        assert names(disk) == ["cache"]
