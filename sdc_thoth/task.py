"""What a pass over the fleet shares between its nodes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from threading import Lock

from sdc_thoth.arrivals import Arrivals
from sdc_thoth.budget import Budget
from sdc_thoth.halt import Halt
from sdc_thoth.journal import Journal
from sdc_thoth.limits import Limits
from sdc_thoth.listing import Place
from sdc_thoth.meter import Meter
from sdc_thoth.pace import Pace
from sdc_thoth.space import Space
from thoth import Binaries, Thoth

_BACKLOG = 50 << 20  # bytes of memory that dumps of all nodes take which wait for their turn: some 90,000


class Backlog:
    """The memory that dumps take which wait for their turn. Any thread may call."""

    def __init__(self, most: int = _BACKLOG) -> None:
        self._most = most
        self._lock = Lock()
        self._waiting = 0

    def add(self, memory: int) -> None:
        with self._lock:
            self._waiting += memory

    @property
    def full(self) -> bool:
        """Whether dumps have to be fetched out of their turn before more can wait."""
        return self._waiting >= self._most


@dataclass(frozen=True, slots=True)
class Task:
    """A pass."""

    thoth: Thoth
    journal: Journal
    places: tuple[Place, ...]
    known_places: tuple[Place, ...]  # all that the configuration knows: a pass may be told to search some of them
    limits: Limits
    dry_run: bool
    clock: Callable[[], float]  # seconds since 1970
    budget: Budget  # bytes of small dumps that are in memory
    flights: Budget  # dumps that are on their way
    space: Space
    pace: Pace
    backlog: Backlog
    storing: Executor  # stores small dumps while the next ones come
    say: Callable[[str], None]  # takes a line of talk
    progress: Callable[[str], None]  # takes a line on how far the pass is
    arrivals: Arrivals  # takes what was stored, for the autoanalyzers
    halt: Halt  # why nothing new is to be begun, if so
    meter: Meter  # of the time in which dumps are on their way
    binaries: Binaries | None = None  # executables and libraries that nodes have not
    node_stack: str = "native"  # or "mdb": nodes' own debugger is asked, too
    patient: bool = False  # a dump that has failed again and again waits before it is tried once more
