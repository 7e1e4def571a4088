"""Gone on with behind what is proved to be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.thoth.store.large_upload import MEGABYTE, NAME, PIECE, content, opened, send, written
from tests.thoth.store.leftovers import LETTERS, OTHER, assert_stored, drafts
from thoth.store.base import Digests


def begun_with(root: Path, size: int) -> bytes:
    """An upload that ended early when so many bytes had come."""
    data = content(LETTERS)
    earlier = opened(root).begin(NAME, len(data))
    send(earlier, data[:size], PIECE)
    earlier.abort()
    return data


@pytest.mark.parametrize("length", [1, PIECE, 9 * MEGABYTE - 1, 9 * MEGABYTE])
def test_what_an_earlier_upload_has_left_is_given_and_gone_on_behind(root: Path, length: int) -> None:
    data = begun_with(root, 9 * MEGABYTE)
    before, upload = written(), opened(root).begin(NAME, len(data))
    kept = upload.kept(length)
    assert kept is not None and b"".join(kept) == data[:length]
    upload.go_on(length)
    send(upload, data[length:], PIECE)
    upload.commit(Digests(len(data), "", ""))
    assert written() - before <= len(data) - 9 * MEGABYTE + 2 * PIECE
    assert_stored(root)


def test_more_than_there_is_is_not_given(root: Path) -> None:
    data = begun_with(root, 9 * MEGABYTE)
    upload = opened(root).begin(NAME, len(data))
    assert upload.kept(9 * MEGABYTE + 1) is None
    upload.abort()


def test_what_is_not_gone_on_with_is_discarded(root: Path) -> None:
    data = begun_with(root, 9 * MEGABYTE)
    store = opened(root)
    store.discard(NAME, len(data) + 1)
    store.discard(OTHER, len(data))
    assert len(drafts(root)) == 1
    upload = store.begin(NAME, len(data))  # who goes on with it is not disturbed
    opened(root).discard(NAME, len(data))
    assert len(drafts(root)) == 1
    send(upload, data, PIECE)
    upload.abort()
    store.discard(NAME, len(data))
    assert drafts(root) == []
