"""In which order a node's dumps come: those that it is about to delete first, then the oldest.

SmartOS' stock crontab deletes each night what lies in /zones/*/cores and is older than seven days. A dump that is
older still, and is there, lies on a node that deletes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from sdc_thoth.listing import Found
from thoth import Identity

_DAY: Final = 86400.0
_KEPT: Final = 7 * _DAY  # seconds that a node keeps its cores
_NEAR: Final = 2 * _DAY  # before their end, within which they go before all others
_NEVER: Final = 2 * _DAY  # behind it: whose crontab has not deleted them by now does not do so
_DUE: Final = 500  # bytes of memory of a dump that waits, beside those of its path
_CORES: Final = re.compile(rb"/zones/[^/]+/cores")


def deletion(found: Found, system: str, now: float) -> float | None:
    """When the node deletes the dump, in seconds since 1970; None: not soon. ``now``: by the node's clock."""
    age = now - found.signature.mtime
    if system != "SunOS" or not _CORES.fullmatch(found.directory) or not _KEPT - _NEAR <= age < _KEPT + _NEVER:
        return None
    return found.signature.mtime + _KEPT


@dataclass(frozen=True, slots=True, order=True)
class Due:
    """A dump that waits for its turn. They sort by the order in which they come."""

    deleted: float  # when; infinity: not soon
    mtime: float
    path: bytes
    found: Found = field(compare=False)
    identity: Identity | None = field(compare=False)  # by the journal; None: it has to be asked for

    @property
    def near(self) -> bool:
        """Whether it is about to be deleted."""
        return self.deleted != float("inf")

    @property
    def memory(self) -> int:
        """Bytes that it takes: the path as a whole, and its parts."""
        return _DUE + 2 * len(self.path)


class Pending:
    """A node's dumps that wait for their turn."""

    def __init__(self) -> None:
        self._due: list[Due] = []  # the last one comes first
        self._sorted = True
        self._memory = 0

    def add(self, found: Found, identity: Identity | None, deleted: float | None) -> Due:
        when = float("inf") if deleted is None else deleted
        due = Due(when, found.signature.mtime, found.path, found, identity)
        self._due.append(due)
        self._memory += due.memory
        self._sorted = False
        return due

    def __len__(self) -> int:
        return len(self._due)

    @property
    def bytes(self) -> int:
        """Of all of them."""
        return sum(due.found.size for due in self._due)

    @property
    def memory(self) -> int:
        """Bytes that they take here."""
        return self._memory

    @property
    def next_deletion(self) -> float | None:
        """When the next one of those that wait is deleted, if that is near."""
        self._sort()
        return self._due[-1].deleted if self._due and self._due[-1].near else None

    def take(self, most: int, size: int) -> Iterator[Due]:
        """The next of them, up to so many, and to so many bytes unless it is one. All of them are near, or none."""
        self._sort()
        first: Due | None = None
        while self._due and most:
            due = self._due[-1]
            if first is not None and (due.near is not first.near or due.found.size > size):
                return
            first = first or due
            most, size = most - 1, size - due.found.size
            self._due.pop()
            self._memory -= due.memory
            yield due

    def clear(self) -> Iterator[Due]:
        """All that are left."""
        self._sort()
        while self._due:
            due = self._due.pop()
            self._memory -= due.memory
            yield due

    def _sort(self) -> None:
        if not self._sorted:
            self._due.sort(reverse=True)
            self._sorted = True


def apart(batch: Sequence[Due], silenced: Callable[[Found], int]) -> Iterator[Sequence[Due]]:
    """The dumps of a batch that are worked on together. Those over which the node has fallen silent so often, and may
    do so again, come behind all others, one by one."""
    sound = [due for due in batch if not silenced(due.found)]
    if sound:
        yield sound
    for due in sorted((due for due in batch if silenced(due.found)), key=lambda due: silenced(due.found)):
        yield [due]
