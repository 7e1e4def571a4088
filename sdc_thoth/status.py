"""The status file: what the collector has reached, waits for and fails at, for those who ask at any time.

A pass writes it at its end, the daemon at every change. Times are seconds since 1970.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, Final, Self

from sdc_thoth.journal import Journal
from sdc_thoth.notes import Amount, NodeNote, PassNote
from sdc_thoth.state import shown
from thoth import ThothError, text, write_durably

NAME: Final = "status.json"
_VERSION: Final = 1
_SIZE_MAX: Final = 256 << 20  # bytes


class State(Enum):
    """What the daemon does."""

    WAITING = "waiting"
    COLLECTING = "collecting"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class DaemonNote:
    """What the daemon says of itself."""

    pid: int
    started: float
    state: State
    since: float  # when it got into that state
    schedule: str
    late: float  # seconds that a pass may be late at random
    next_pass: float | None
    passed_over: int = 0  # times at which a pass was due and was not begun
    passed_over_because: str | None = None  # the last of them
    limits: str = ""  # of a pass, in words
    refused_configuration: str | None = None  # why the last reload was not taken; None: it was
    until: float | None = None  # when what it does should be over


@dataclass(frozen=True, slots=True)
class FailingNote:
    """A dump that fails, as the status tells it."""

    node: str
    path: str
    tries: int
    since: float
    due: float
    reason: str


@dataclass(frozen=True, slots=True)
class Status:
    """All of it. ``totals`` are of all passes together."""

    written: float
    daemon: DaemonNote | None
    last_pass: PassNote | None
    totals: Mapping[str, Amount]
    rate: float | None  # bytes a second
    nodes: Sequence[NodeNote]
    failing: Sequence[FailingNote]  # those that have failed the longest
    failing_dumps: int  # how many fail

    def to_json(self) -> str:
        document = {"version": _VERSION, **asdict(self)}
        if self.daemon is not None:
            document["daemon"]["state"] = self.daemon.state.value
        return json.dumps(document, indent=1).replace("\x7f", "\\u007f") + "\n"

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Raises ValueError for what is no status of this version."""
        try:
            told = json.loads(data)
            if told["version"] != _VERSION:
                raise ValueError(f"version {told['version']}, not {_VERSION}")
            return cls(
                written=float(told["written"]),
                daemon=None if told["daemon"] is None else _daemon(told["daemon"]),
                last_pass=None if told["last_pass"] is None else PassNote.from_document(told["last_pass"]),
                totals={name: Amount(**amount) for name, amount in told["totals"].items()},
                rate=None if told["rate"] is None else float(told["rate"]),
                nodes=tuple(NodeNote(**each) for each in told["nodes"]),
                failing=tuple(FailingNote(**each) for each in told["failing"]),
                failing_dumps=int(told.get("failing_dumps", len(told["failing"]))),  # older versions told all
            )
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"not a status: {error!r}") from error


def _daemon(told: Mapping[str, Any]) -> DaemonNote:
    return DaemonNote(**{**told, "state": State(told["state"])})


def gathered(journal: Journal, daemon: DaemonNote | None, now: float) -> Status:
    """The status by the journal, and by what the daemon says of itself."""
    failing = tuple(
        FailingNote(node, text(each.path), each.tries, each.since, each.due, each.reason)
        for node, each in journal.all_failing()
    )
    return Status(
        now,
        daemon,
        journal.last_pass(),
        journal.totals(),
        journal.rate(),
        tuple(journal.nodes()),
        failing,
        journal.count_failing(),
    )


def write_status(directory: Path, status: Status) -> None:
    """Raises ThothError."""
    path = directory / NAME
    try:
        write_durably(path, status.to_json().encode())
    except OSError as error:
        raise ThothError(f"status {shown(path)}: {error.strerror or error}") from error


def read_status(directory: Path) -> Status | None:
    """What was written last; None: nothing was. Raises ThothError for what cannot be read."""
    path = directory / NAME
    try:
        with path.open("rb") as file:
            return Status.from_json(file.read(_SIZE_MAX))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ThothError(f"status {shown(path)}: {why}; the next pass writes it anew") from error


def is_alive(pid: int) -> bool:
    """Whether there is a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def beside_a_daemon(directory: Path, status: Status) -> Status:
    """The status after a pass that was run by hand: what a daemon that is alive has said of itself stays."""
    try:
        before = read_status(directory)
    except ThothError:  # damaged: it is about to be replaced
        return status
    if before is None or before.daemon is None or not is_alive(before.daemon.pid):
        return status
    return replace(status, daemon=before.daemon)
