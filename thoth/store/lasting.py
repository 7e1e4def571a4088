"""Names that last: the directories in which objects got them are synced, at once or for many objects together.

What the two do is how a directory store is durable; it says what one dump costs in each way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

Parts = tuple[str, ...]  # of a directory's name
SyncOne = Callable[[Parts], None]  # syncs a directory; raises StoreError


class AtOnce:
    """Each name lasts when its object is there."""

    def of_dump(self, above: Parts, directory: int, changed: Sequence[int], sync_one: SyncOne) -> None:
        """A dump got its name in ``directory``, which is ``above``; ``changed`` got new directories on the way there.

        Both as file descriptors. Raises OSError, and what ``sync_one`` raises.
        """
        if changed:
            sync(directory, *changed)
        else:
            self.of_found(above, sync_one)  # who made the directory may have been killed before it lasted

    def of_document(self, above: Parts, directory: int, changed: Sequence[int], sync_one: SyncOne) -> None:
        """As ``of_dump``. What was there before its dump has made durable."""
        sync(directory, *changed)

    def of_found(self, above: Parts, sync_one: SyncOne) -> None:
        """An object is there, in the directory ``above``, and nobody knows whether its name lasts."""
        for place in _way_to(above):
            sync_one(place)

    def flush(self, sync_one: SyncOne) -> None:
        """Have ``sync_one`` sync what is due: nothing is."""


class Together:
    """A document's name lasts at once, and with it that of the dump beside it; what lies above is left to a flush.

    Several threads may store at a time. One of them flushes.
    """

    def __init__(self) -> None:
        self._due: set[Parts] = set()

    def of_dump(self, above: Parts, directory: int, changed: Sequence[int], sync_one: SyncOne) -> None:
        """As AtOnce.of_dump, but all of it is due."""
        self._due.update(_way_to(above))

    def of_document(self, above: Parts, directory: int, changed: Sequence[int], sync_one: SyncOne) -> None:
        """As AtOnce.of_document; what is above is due."""
        self._due.discard(above)  # first: what gets a name from here on comes back into it
        sync(directory)
        if changed:
            self._due.update(_way_to(above)[:-1])

    def of_found(self, above: Parts, sync_one: SyncOne) -> None:
        """As AtOnce.of_found, but all of it is due."""
        self._due.update(_way_to(above))

    def flush(self, sync_one: SyncOne) -> None:
        """Have ``sync_one`` sync each directory that is due; where it fails that stays due. Raises what it raises."""
        while self._due:
            place = self._due.pop()  # first: what gets a name from here on comes back
            try:
                sync_one(place)
            except BaseException:
                self._due.add(place)
                raise


def _way_to(place: Parts) -> list[Parts]:
    """A directory and all above it, the root first."""
    return [place[:length] for length in range(len(place) + 1)]


def sync(*directories: int) -> None:
    """Raises OSError."""
    for each in directories:
        os.fsync(each)
