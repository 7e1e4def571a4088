"""Sizes as people write them: ``256M``, ``10G``, or bytes; a unit is 1,024 of the one before."""

from __future__ import annotations

import re
from typing import Final

_UNITS: Final = ("", "K", "M", "G", "T", "P")
_WRITTEN: Final = re.compile(r"([0-9]{1,15}) ?([KMGTP]?)(?:i?B)?", re.IGNORECASE)


def parsed_size(text: str) -> int | None:
    """The bytes that a size writes; None for what is none."""
    written = _WRITTEN.fullmatch(text)
    return None if written is None else int(written[1]) << 10 * _UNITS.index(written[2].upper())
