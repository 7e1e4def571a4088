"""What is noted of nodes, of dumps that fail, and of passes: the values that journal, status and metrics share.

Times are seconds since 1970.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Self

_FIRST_DELAY: Final = 15 * 60.0  # seconds that a dump waits after it has failed for the second time
LONGEST_DELAY: Final = 6 * 3600.0  # a node keeps its cores for a week: there must be many tries left
MOST_BYTES: Final = (1 << 63) - 1  # that an SQLite database can hold as a number; nodes may claim more
PUT_OFF: Final = "put-off"  # what becomes of a dump that has failed and waits for its next try
# What becomes of the same dump in each pass: a sum over passes would say nothing.
SEEN_AGAIN: Final = frozenset({"present", "skipped", PUT_OFF})


@dataclass(frozen=True, slots=True)
class NodeNote:
    """What became of a node, and for how long that has been so."""

    node: str
    result: str  # of the last pass: the word of a thoth.Result
    reason: str | None
    reached: float | None  # when it was last searched to the end; None: never
    failing_since: float | None  # when it first failed without having been reached since
    failures: int  # without having been reached between them

    @property
    def is_running(self) -> bool:
        """False: the inventory says that it does not run, so that nobody has tried to reach it."""
        return self.result != "not-running"

    @property
    def remark(self) -> str | None:
        """What keeps dumps of a node from being taken with which nothing is wrong."""
        return self.reason if self.result == "reached" else None


@dataclass(frozen=True, slots=True)
class Failing:
    """A dump that could not be had."""

    path: bytes
    signature: str  # of the file that was tried: another file by that name is another dump
    tries: int
    since: float  # the first of them
    due: float  # before that it is not tried again by itself
    reason: str

    @classmethod
    def of(cls, path: bytes, signature: str, reason: str, before: Failing | None, now: float) -> Self:
        """A failure, with those before it of the same file. The first costs no time; then each doubles the delay."""
        tries = before.tries + 1 if before else 1
        delay = 0.0 if tries == 1 else min(_FIRST_DELAY * 2.0 ** min(tries - 2, 30), LONGEST_DELAY)
        since = min(before.since, now) if before else now  # by a clock that was ahead it is yet to come
        return cls(path, signature, tries, since, now + delay, reason)


@dataclass(frozen=True, slots=True)
class Begun:
    """A large dump that was on its way: its first ``length`` bytes came, and had that digest."""

    path: bytes
    signature: str
    identity: str
    length: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Amount:
    """Dumps, and the bytes of them."""

    dumps: int = 0
    bytes: int = 0

    def plus(self, size: int) -> Amount:
        return Amount(self.dumps + 1, min(self.bytes + size, MOST_BYTES))


@dataclass(frozen=True, slots=True)
class PassNote:
    """A pass that has ended, or that could not begin."""

    started: float
    seconds: float
    busy: float = 0.0  # seconds in which at least one dump was on its way
    sent: int = 0  # bytes that went into the store
    dumps: Mapping[str, Amount] = field(default_factory=dict)  # by the word of a thoth.Result, or PUT_OFF
    nodes: Mapping[str, int] = field(default_factory=dict)
    waiting: Amount = Amount()  # dumps that are still being written
    error: str | None = None  # why it could not begin, or broke off
    stopped: str | None = None  # by whom it was told to end before its time: "stopped by SIGTERM"
    good: bool = True  # every outcome was a good one, and there was no error
    limited: Mapping[str, Amount] = field(default_factory=dict)  # dumps that a limit has kept out, by its name

    @property
    def news(self) -> Mapping[str, Amount]:
        """The dumps that count in the sum over all passes."""
        return {result: amount for result, amount in self.dumps.items() if result not in SEEN_AGAIN}

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_document(cls, told: Mapping[str, Any]) -> Self:
        """Raises KeyError, TypeError and ValueError for what is none."""
        nodes = {str(name): int(count) for name, count in told["nodes"].items()}
        return cls(
            started=float(told["started"]),
            seconds=float(told["seconds"]),
            busy=float(told["busy"]),
            sent=int(told["sent"]),
            dumps=_amounts(told["dumps"]),
            nodes=nodes,
            waiting=_amount(told["waiting"]),
            limited=_amounts(told.get("limited", {})),  # not noted by older versions
            error=_text(told["error"]),
            stopped=_text(told["stopped"]),
            good=bool(told["good"]),
        )


def _amount(told: Mapping[str, Any]) -> Amount:
    return Amount(int(told["dumps"]), int(told["bytes"]))


def _amounts(told: Mapping[str, Any]) -> Mapping[str, Amount]:
    return {str(name): _amount(each) for name, each in told.items()}


def _text(value: object) -> str | None:
    return None if value is None else str(value)
