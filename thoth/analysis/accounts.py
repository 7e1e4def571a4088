"""Users and groups that belong to nobody, for programs that root runs and doesn't trust.

The numbers lie where no distribution, directory service or container runtime hands any out: systemd's table of
ids (systemd.io/UIDS-GIDS) has 1879048192 to 2147483647 as unused, and 2147483647 is the largest of illumos. In
a user namespace, where few ids exist, they are taken from the end of what there is.
"""

from __future__ import annotations

import grp
import os
import pwd
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from thoth.errors import ThothError

_FIRST: Final = 0x7000_0000
_UIDS: Final = 0x0800_0000  # so many users to draw from: two runs at once get the same one once in 10^8
_GROUPS: Final = range(0x7FFF_0000, 0x7FFF_0100)
_RESERVED: Final = 1024  # ids at the beginning of a namespace that are never taken: the system's own
_MAPS: Final = Path("/proc/self")


class Draw(Protocol):
    """A number from 0 to below ``limit``."""

    def __call__(self, limit: int, /) -> int: ...


def reading_group(maps: Path = _MAPS) -> int:
    """The group that may read dumps in a cache of root's: the same one each time. Raises ThothError."""
    last = _last_id(maps / "gid_map")
    numbers = _GROUPS if last is None or last >= _GROUPS.stop else range(last - 1, _RESERVED, -1)
    for gid in numbers[: len(_GROUPS)]:
        if _is_free(grp.getgrgid, gid):
            return gid
    raise _nobody_left()


def draw_user(draw: Draw = secrets.randbelow, maps: Path = _MAPS) -> int:
    """A user for one run, another one each time. Raises ThothError where there are no users but ourselves."""
    last = _last_id(maps / "uid_map")
    whole = last is None or last >= _FIRST + _UIDS
    first, count = (_FIRST, _UIDS) if whole or last is None else (_RESERVED, last - _RESERVED)
    for _ in range(100 if count > 0 else 0):
        uid = first + draw(count)
        if _is_free(pwd.getpwuid, uid):
            return uid
    raise _nobody_left()


def is_root() -> bool:
    """Whether limits and mode bits mean little to us."""
    return os.geteuid() == 0


def _is_free(look_up: Callable[[int], object], number: int) -> bool:
    try:
        look_up(number)
    except KeyError:
        return True
    return False


def _last_id(table: Path) -> int | None:
    """The largest id that this user namespace maps; None: all are there. Source: user_namespaces(7)."""
    try:
        rows = [line.split() for line in table.read_text().splitlines()]
    except OSError:  # not Linux
        return None
    ends = [int(first) + int(count) for first, _, count in rows]
    return max(ends) - 1 if ends else None


def _nobody_left() -> ThothError:
    return ThothError(
        "analyzers of root run as a user that belongs to nobody, and none can be had here; run thoth as another user"
    )
