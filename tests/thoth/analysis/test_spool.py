"""A dump that comes as a stream is spooled: all of it, without a name, and not at others' expense."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.analysis import names
from tests.support.arrivals import CORE
from tests.support.mishaps import small_disk
from thoth.analysis.spool import spool
from thoth.errors import CacheError, NotADump, SourceError

WHAT = "standard input"


def test_it_can_be_read_anywhere_and_has_holes(root: Path) -> None:
    blocks = [CORE, bytes(4 << 20), b"end", bytes(1 << 20)]
    with spool(root, iter(blocks), WHAT) as source:
        assert b"".join(source.stream()) == b"".join(blocks)
        assert source.size == sum(map(len, blocks))
        assert source.read_at(len(CORE) + (4 << 20), 3) == b"end"
        assert source.stat.st_blocks * 512 < 1 << 20
        assert names(root) == []


def test_with_it_goes_what_it_took(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "8m") as disk:
        before = os.statvfs(disk / ".").f_bfree
        for _ in range(4):
            with spool(disk / "cache", [CORE, os.urandom(4 << 20)], WHAT):
                pass
        assert os.statvfs(disk).f_bfree >= before - 4  # the directory stays


def test_some_room_is_left_to_others(tmp_path: Path) -> None:
    free = []

    def endless(disk: Path) -> Iterator[bytes]:
        yield CORE
        while True:
            free.append(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize)
            yield os.urandom(1 << 18)

    with small_disk(tmp_path / "disk", "40m") as disk:
        said = f"^cache {re.escape(str(disk))}/cache: no room for all of {WHAT}; make some, or .* THOTH_CACHE$"
        with pytest.raises(CacheError, match=said):
            spool(disk / "cache", endless(disk), WHAT)
        assert 2 << 20 <= min(free) < 3 << 20
        assert names(disk / "cache") == []
        assert os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize > 39 << 20


def test_what_is_no_dump_is_told_by_its_first_bytes(root: Path) -> None:
    def blocks() -> Iterator[bytes]:
        yield bytes(1 << 20)
        raise AssertionError("nobody needs more")

    with pytest.raises(NotADump, match="neither a core nor a crash dump"):
        spool(root, blocks(), WHAT)
    with pytest.raises(NotADump, match=r"^is empty: nothing was sent$"):
        spool(root, [], WHAT)
    assert names(root) == []


def test_a_dump_whose_headers_come_later_is_waited_for(root: Path) -> None:
    blocks = [CORE[:7], CORE[7:100], CORE[100:]]
    with spool(root, blocks, WHAT) as source:
        assert source.read_at(0, len(CORE)) == CORE


def test_a_stream_that_breaks_leaves_nothing(root: Path) -> None:
    def blocks() -> Iterator[bytes]:
        yield CORE
        raise SourceError("Input/output error")

    with pytest.raises(SourceError, match=r"^Input/output error$"):
        spool(root, blocks(), WHAT)
    assert names(root) == []
