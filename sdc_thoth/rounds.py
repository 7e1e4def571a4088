"""The daemon's passes: each with the nodes and keys of the moment, none while another run is under way."""

from __future__ import annotations

import time
from collections.abc import Sequence
from threading import Event, Lock
from types import TracebackType
from typing import Final, Self

from sdc_thoth.cnapi import nodes_of
from sdc_thoth.config import Settings
from sdc_thoth.connections import Connections
from sdc_thoth.desk import Desk
from sdc_thoth.errors import AlreadyRunning
from sdc_thoth.event_report import EventReport
from sdc_thoth.events import Log
from sdc_thoth.halt import Halt
from sdc_thoth.inventory import Node
from sdc_thoth.lock import run_lock
from sdc_thoth.pace import Pace
from sdc_thoth.passes import Voices, broken, check_types, run_pass
from sdc_thoth.plan import Plan
from sdc_thoth.service import PassedOver
from sdc_thoth.session import read_credentials
from sdc_thoth.status import State
from thoth import ThothError, escaped

_OVERDUE: Final = 600.0  # seconds after its deadline by which a pass has to be at its end


class Rounds:
    """``go`` runs a pass, in whatever thread calls it; the other methods are for the main thread."""

    def __init__(self, plan: Plan, settings: Settings, desk: Desk, log: Log) -> None:
        self._plan = plan
        self._settings = settings
        self._desk = desk
        self._log = log
        self._lock = Lock()
        self._halt = Halt()
        self._pace: Pace | None = None  # of the pass under way
        self._idle = Event()
        self._idle.set()
        self._began = 0.0
        self._last_nodes: Sequence[Node] = ()
        self._remarks: dict[str, str] = {}  # on nodes, as the log has them
        orders = plan.orders
        self._connections = Connections(
            timeout=orders.timeout, idle=orders.idle, hostkeys=plan.hostkeys, until_next=self._until_next
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connections.close()

    @property
    def settings(self) -> Settings:
        """What holds from the next pass on."""
        return self._settings

    @property
    def overdue(self) -> bool:
        """Whether a pass is under way that should have ended long ago."""
        late = time.monotonic() - self._began - self._plan.orders.deadline
        return not self._idle.is_set() and late > _OVERDUE

    def check(self) -> None:
        """Raises UsageError for what would make every pass fail."""
        self.take(self._settings)

    def take(self, settings: Settings) -> None:
        """Use these settings from the next pass on, and their limits of rate at once. Raises UsageError when they
        cannot be used, and keeps the old."""
        check_types(self._plan.orders, settings)
        read_credentials(settings.ssh, hostkeys=self._plan.hostkeys)
        if not settings.from_cnapi:
            nodes_of(settings, self._plan.orders.names, self._plan.orders.exclude)
        if (settings.from_cnapi, settings.cnapi) != (self._settings.from_cnapi, self._settings.cnapi):
            self._last_nodes = ()  # they are those of another inventory
        self._settings = settings
        if (pace := self._pace) is not None:
            pace.adopt(settings.limits)  # a pass may take hours, and the link be needed now

    # ---- a pass ------------------------------------------------------------------------------------

    def go(self) -> None:
        """Run a pass, to its end. Its failure is told; only what nobody has foreseen is raised."""
        with self._lock:
            if self._halt.reason is not None:
                return
            self._idle.clear()
        began = time.time()
        self._began = time.monotonic()
        try:
            self._desk.state(State.COLLECTING, most=self._plan.orders.deadline + _OVERDUE)
            self._collect()
        except AlreadyRunning as error:
            self.passed_over(PassedOver(1, str(error)))
        except ThothError as error:
            self._log.error("the pass failed", reason=str(error))
            self._desk.broken(broken(began, self._began, str(error)))
        except Exception as error:
            self._desk.broken(broken(began, self._began, f"internal error: {type(error).__name__}: {error}"))
            raise
        finally:
            self._ended()

    def _ended(self) -> None:
        try:
            if self._halt.reason is None:  # else it is the end of the daemon, too
                self._desk.state(State.WAITING)
        finally:
            self._idle.set()

    def _collect(self) -> None:
        settings, orders = self._settings, self._plan.orders
        with run_lock(settings.directory, self._plan.lockfile):
            nodes = self._nodes(settings)
            self._connections.begin(settings.ssh, nodes)
            self._log.info("pass begins", nodes=len(nodes))
            voices = Voices(self._log.info, self._log.debug, self._log.warning)
            self._pace = Pace(settings.limits)
            run_pass(
                orders,
                settings,
                nodes,
                self._connections,
                EventReport(self._log, self._remarks),
                voices=voices,
                halt=self._halt,
                pace=self._pace,
            )

    def _until_next(self) -> float | None:
        """Seconds to the next pass."""
        due = self._desk.next_due()
        return None if due is None else due - time.time()

    def _nodes(self, settings: Settings) -> Sequence[Node]:
        """The nodes of the moment. While CNAPI does not answer, those that it named last."""
        orders = self._plan.orders
        try:
            self._last_nodes = nodes_of(settings, orders.names, orders.exclude)
        except ThothError as error:
            if not (settings.from_cnapi and self._last_nodes):
                raise
            self._log.error("the inventory cannot be had, the last one is used", reason=str(error))
        return self._last_nodes

    # ---- what the timetable has to say -------------------------------------------------------------

    def passed_over(self, times: PassedOver) -> None:
        self._log.warning("passed over", times=times.count, reason=escaped(times.reason))
        self._desk.passed_over(times.count, times.reason)

    def raised(self, error: BaseException) -> None:
        self._log.error("the pass failed unexpectedly", reason=f"{type(error).__name__}: {error}")

    # ---- the end -----------------------------------------------------------------------------------

    def ended(self, reason: str, grace: float, last: float) -> bool:
        """Have the pass under way end, within ``grace`` seconds by itself, then cut off within ``last`` more. Returns
        whether it has."""
        with self._lock:
            self._halt.ask(reason)
        if self._idle.wait(grace):
            return True
        self._log.warning("what is under way is cut off", after=grace)
        self._halt.cut(reason)
        return self._idle.wait(last)
