"""What an earlier upload has left is held against what comes."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from tests.thoth.store.large_upload import MEGABYTE, NAME, PIECE, content, opened, send, store
from tests.thoth.store.leftovers import (
    LETTERS,
    SIZE,
    assert_stored,
    break_off,
    drafts,
    gone_on_with,
    killed,
    object_of,
)
from thoth.errors import CorruptTransfer
from thoth.store.base import Digests


@pytest.mark.parametrize(
    ("earlier", "letters", "expected"),
    [
        ("abcdefghij", "abcdexyzuv", 5),  # from the middle on
        ("abcdefghij", "abcdeXghij", 5),  # in the middle only: what is behind it is not looked at
        ("abcdefghij", "Zbcdefghij", 10),
        ("abcdefghij", "abcdefghi.", 0),
        ("abc.......", "abc.......", 0),
        ("...defghij", "abcdefghij", 10),
        ("abcdefghij", "...defghij", 7),
        ("ab..ef..ij", "ab..ef..ij", 0),
        ("..........", "..........", 0),
    ],
)
def test_other_content(root: Path, earlier: str, letters: str, expected: int) -> None:
    killed(root, earlier, SIZE)
    assert gone_on_with(root, letters) == expected


@pytest.mark.parametrize("letters", ["ab..ef..ij", "abcdef....", "....efghij", ".........."])
def test_holes_stay_holes(tmp_path: Path, root: Path, letters: str) -> None:
    plain = tmp_path / "plain"
    plain.mkdir(mode=0o700)
    store(plain, letters)
    for stop in (5 * MEGABYTE, SIZE):
        killed(root, letters, stop) if letters[0] != "." else break_off(root, content(letters)[:stop])
        store(root, letters)
        assert_stored(root, letters)
        assert object_of(root).stat().st_blocks == object_of(plain).stat().st_blocks


def test_a_draft_that_is_longer_than_the_object(root: Path) -> None:
    left = killed(root, stop=SIZE)
    with left.open("ab") as file:
        file.write(b"x" * MEGABYTE)
    assert gone_on_with(root) == 0


@pytest.mark.parametrize("at", [0, 3 * MEGABYTE + 17, 6 * MEGABYTE - 1])
def test_a_byte_that_went_wrong(root: Path, at: int) -> None:
    left = killed(root)
    with left.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))
    count = store(root, LETTERS)
    assert SIZE - at <= count <= SIZE - at + PIECE
    assert_stored(root)


@pytest.mark.parametrize("by", ["pread", "preadv"])
def test_a_block_that_the_disk_cannot_read(root: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    """Neither when its digest is made nor when it is compared; the upload goes on as if nothing were there."""
    killed(root)
    real = getattr(os, by)

    def read(fd: int, what: Any, at: int) -> Any:
        if at >= 3 * MEGABYTE and ".uploads" in Path(f"/proc/self/fd/{fd}").readlink().parts:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(fd, what, at)

    monkeypatch.setattr(os, by, read)
    upload = opened(root).begin(NAME, SIZE)
    kept = b"".join(upload.kept(5 * MEGABYTE) or ())
    assert len(kept) == {"pread": 3 * MEGABYTE, "preadv": 5 * MEGABYTE}[by]
    send(upload, content(LETTERS))
    upload.commit(Digests(SIZE, "", ""))
    assert_stored(root)


def test_zeros_that_a_power_cut_left(root: Path) -> None:
    left = killed(root)
    os.truncate(left, 4 * MEGABYTE)
    os.truncate(left, 6 * MEGABYTE)
    assert gone_on_with(root) == 6


def test_a_commit_before_all_that_is_there_was_compared(root: Path) -> None:
    killed(root)
    upload = opened(root).begin(NAME, SIZE)
    send(upload, content("ab"))
    upload.commit(Digests(2 * MEGABYTE, "", ""))
    assert_stored(root, "ab")


def test_a_size_that_is_wrong_at_the_commit_leaves_nothing(root: Path) -> None:
    killed(root)
    upload = opened(root).begin(NAME, SIZE)
    send(upload, content(LETTERS)[:-1])
    with pytest.raises(CorruptTransfer):
        upload.commit(Digests(SIZE, "", ""))
    upload.abort()
    assert drafts(root) == []
    assert not object_of(root).exists()


def test_it_takes_the_place_of_an_older_object_with_another_etag(root: Path) -> None:
    old = opened(root).put(NAME, b"old")
    killed(root)
    assert opened(root).get(NAME) == (b"old", old)
    upload = opened(root).begin(NAME, SIZE, if_match=old)
    send(upload, content(LETTERS))
    assert upload.commit(Digests(SIZE, "", "")) == opened(root).stat(NAME)
    assert_stored(root)
