"""The daemon's desk: what it says of itself, kept in the status file, on the metrics port and in the textfile."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Self

from sdc_thoth.config import Settings
from sdc_thoth.events import Log
from sdc_thoth.journal import open_journal
from sdc_thoth.notes import PassNote
from sdc_thoth.publish import publish
from sdc_thoth.schedule import Schedule
from sdc_thoth.status import DaemonNote, State, Status, gathered
from thoth import ThothError

if TYPE_CHECKING:
    from sdc_thoth.metrics import MetricsPort


class Desk:
    """Any thread may call. What cannot be written is told in the log, and written at the next change."""

    def __init__(self, settings: Settings, log: Log, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._log = log
        self._clock = clock
        self._lock = Lock()
        self._next_due: Callable[[], float | None] = lambda: None
        now = clock()
        self._daemon = DaemonNote(os.getpid(), now, State.WAITING, now, "", 0.0, None)
        self._status: Status | None = None
        self._port: MetricsPort | None = None

    def __enter__(self) -> Self:
        self._port = self._open_port(self._settings.metrics.port)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._port is not None:
            self._port.close()

    def opened(self, schedule: Schedule, next_due: Callable[[], float | None]) -> None:
        """The daemon is about to begin."""
        self._next_due = next_due
        self._say(schedule=schedule.shown, late=schedule.jitter, limits=self._settings.limits.shown)

    def next_due(self) -> float | None:
        """When the next pass is due; None: not known, or never."""
        return self._next_due()

    def state(self, state: State, *, most: float | None = None) -> None:
        """The daemon does something else now, for ``most`` seconds at most; None: nobody knows."""
        now = self._clock()
        self._say(state=state, since=now, until=None if most is None else now + most)

    def changed(self) -> None:
        """Something else is different: when the next pass is due, what became of a pass."""
        self._say()

    def passed_over(self, count: int, reason: str) -> None:
        """So many times a pass was due and was not begun."""
        with self._lock:
            total = self._daemon.passed_over + count
            self._daemon = replace(self._daemon, passed_over=total, passed_over_because=reason)
        self._say()

    def refused(self, reason: str) -> None:
        """A configuration was not taken."""
        self._say(refused_configuration=reason)

    def reloaded(self, settings: Settings) -> None:
        """Another configuration holds. A port that cannot be had is told; the rest holds."""
        before, self._settings = self._settings, settings
        if settings.metrics.port != before.metrics.port:
            if self._port is not None:
                self._port.close()
                self._port = None
            try:
                self._port = self._open_port(settings.metrics.port)
            except ThothError as error:
                self._log.error("no metrics port", reason=str(error))
        self._say(
            refused_configuration=None,
            schedule=settings.schedule.shown,
            late=settings.schedule.jitter,
            limits=settings.limits.shown,
        )

    def broken(self, note: PassNote) -> None:
        """A pass could not begin, or broke off: nobody else has noted it."""
        try:
            with open_journal(self._settings.directory, say=self._told) as journal:
                journal.ended(note, None)
        except ThothError as error:
            self._log.error("not noted", reason=str(error))
        self._say()

    def _open_port(self, port: int | None) -> MetricsPort | None:
        if port is None:
            return None
        from sdc_thoth.metrics import MetricsPort  # noqa: PLC0415 - prometheus_client takes its time to import

        return MetricsPort(port, lambda: self._status)

    def _told(self, line: str) -> None:
        self._log.warning(line)

    def _say(self, **changes: object) -> None:
        with self._lock:
            self._daemon = replace(self._daemon, **{"next_pass": self._next_due(), **changes})  # type: ignore[arg-type]
            try:
                with open_journal(self._settings.directory, say=self._told) as journal:
                    self._status = gathered(journal, self._daemon, self._clock())
                publish(self._settings, self._status)
            except ThothError as error:
                self._log.error("status or metrics cannot be written", reason=str(error))
