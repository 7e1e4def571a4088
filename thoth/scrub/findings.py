"""What a scrub finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from thoth.model import Identity


class Kind(Enum):
    """What is wrong; the value is the word that lines and JSON use."""

    CORRUPT = "corrupt"  # an object or document is not what is recorded, or cannot be read
    LOST = "lost"  # a document speaks of an object that is not there
    ORPHAN = "orphan"  # an object without a document
    UNPURGED = "unpurged"  # the dump was thrown away and its object is still there
    STRAY = "stray"  # an object or directory that no document speaks of
    UNINDEXED = "unindexed"  # the index lacks the document, or has another version of it
    GHOST = "ghost"  # the index has a dump of which the store has nothing
    UNRECORDED = "unrecorded"  # a document without size or SHA-256, as the original writes them: no problem
    UNFINISHED = "unfinished"  # what is left of an upload that ended early, for the next of it: no problem


# Problems of a dump that a repair mends, unless it finds on looking closer that this would cost a byte.
MENDABLE: Final = frozenset({Kind.ORPHAN, Kind.STRAY, Kind.UNINDEXED, Kind.GHOST})
NO_PROBLEM: Final = frozenset({Kind.UNRECORDED, Kind.UNFINISHED})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a dump, or with the store when ``identity`` is None."""

    kind: Kind
    what: str  # one line; foreign names in it are as they are
    identity: Identity | None
    name: str | None = None  # the object or directory of the store that it is about
    repaired: bool = False

    @property
    def place(self) -> str:
        """What the finding is about, in one word: the dump, or a name in the store."""
        return self.identity or self.name or ""


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """A dump that was checked, the bytes of its objects that were, and what was found."""

    identity: Identity
    size: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Clock:
    """The times that a scrub goes by: seconds since 1970, seconds that never jump, and how to wait for them."""

    now: Callable[[], float]
    monotonic: Callable[[], float]
    sleep: Callable[[float], object]
