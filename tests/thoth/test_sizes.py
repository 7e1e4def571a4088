"""Sizes as people write them, for both commands."""

from __future__ import annotations

import pytest

from thoth.sizes import parsed_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("7", 7), ("1K", 1024), ("1 k", 1024), ("20G", 20 << 30), ("20 GiB", 20 << 30), ("3TB", 3 << 40)],
)
def test_a_unit_is_1024_of_the_one_before(text: str, size: int) -> None:
    assert parsed_size(text) == size


@pytest.mark.parametrize("text", ["", " 1", "1  K", "K", "-1", "1.5G", "1E", "1Ki", "٣K", "1" * 16])
def test_what_is_no_size(text: str) -> None:
    assert parsed_size(text) is None
