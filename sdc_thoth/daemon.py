"""The daemon: passes by a schedule until it is told to stop. It heeds signals, reloads, and tells how it is.

SIGTERM and SIGINT: nothing new is begun, what is under way has ``grace`` seconds to end; the second one ends it at
once. SIGHUP: the configuration is read again; one that is wrong is told, and the old one stays.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Final

from sdc_thoth.desk import Desk
from sdc_thoth.events import Log, close_log, is_json, open_log
from sdc_thoth.heap import one_heap
from sdc_thoth.journal import open_journal
from sdc_thoth.lock import run_lock
from sdc_thoth.notify import Notifier
from sdc_thoth.plan import Plan
from sdc_thoth.process import Parent, detached, no_core
from sdc_thoth.rounds import Rounds
from sdc_thoth.schedule import Schedule
from sdc_thoth.service import Timetable
from sdc_thoth.state import own_directory
from sdc_thoth.status import State
from thoth import ThothError, UsageError, environment

_GLANCE: Final = 15.0  # seconds between looks at the clock
_CLOCK_SET: Final = 5.0  # seconds backwards, from which on a clock has been set, and not only adjusted
_LAST: Final = 5.0  # seconds after the grace within which what was cut off has to be gone
_FATAL, _CONFIG = 95, 96  # SMF_EXIT_ERR_FATAL, SMF_EXIT_ERR_CONFIG: do not start it again, look at it


def run_daemon(plan: Plan) -> int:
    """Run until a signal ends it; returns the exit status: 0 after SIGTERM or SIGINT.

    Under SMF or systemd what is wrong at the start is 96 when it is the configuration and 95 when it is something
    else: then the service is not started again and again. Elsewhere it is what the error says.
    """
    no_core()
    one_heap()
    parent = detached() if plan.detach else Parent()
    log = open_log(as_json=is_json(plan.log, environment(), terminal=sys.stderr.isatty()), debug=plan.debug)
    try:
        with ExitStack() as stack:
            daemon = _prepared(plan, log, stack)
            return daemon.run(parent)
    except ThothError as error:
        log.error("cannot run", reason=str(error), exc_info=plan.debug)  # noqa: TRY400 - its text is the one line
        status = _exit_status(error)
        parent.release(status)
        return status
    finally:
        parent.release(1)
        close_log()


def _exit_status(error: ThothError) -> int:
    if not any(name in environment() for name in ("SMF_FMRI", "NOTIFY_SOCKET")):
        return error.exit_code
    return _CONFIG if isinstance(error, UsageError) else _FATAL


def _prepared(plan: Plan, log: Log, stack: ExitStack) -> Daemon:
    """Everything that can be wrong at the start is found out here."""
    settings = plan.settings()
    own_directory(settings.directory)
    open_journal(settings.directory, say=log.warning).close()
    stack.enter_context(run_lock(settings.directory, f"{plan.lockfile}.daemon"))
    notifier = Notifier(environment())
    desk = stack.enter_context(Desk(settings, log))
    rounds = stack.enter_context(Rounds(plan, settings, desk, log))
    rounds.check()
    return Daemon(plan, rounds, desk, notifier, log)


class Daemon:
    """The main thread: it waits for signals, and for the time to look at the clock."""

    def __init__(self, plan: Plan, rounds: Rounds, desk: Desk, notifier: Notifier, log: Log) -> None:
        self._plan = plan
        self._rounds = rounds
        self._desk = desk
        self._notifier = notifier
        self._log = log
        self._signals: SimpleQueue[int] = SimpleQueue()
        self._offset = _offset()
        self._timetable = Timetable(
            rounds.settings.schedule, rounds.go, passed_over=rounds.passed_over, raised=rounds.raised
        )

    def run(self, parent: Parent) -> int:
        schedule = self._rounds.settings.schedule
        with self._heeding():
            self._desk.opened(schedule, lambda: self._timetable.next_due)
            self._timetable.start()
            self._log.info("started", pid=os.getpid(), schedule=schedule.shown)
            self._notifier.ready(f"passes {schedule.shown}")
            parent.release(0)
            number = self._watch()
            self._stop(number, self._rounds.settings.schedule)
        return 0

    # ---- signals -----------------------------------------------------------------------------------

    @contextmanager
    def _heeding(self) -> Iterator[None]:
        handled = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        before = {number: signal.signal(number, self._take) for number in handled}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGHUP:
            for each in (signal.SIGTERM, signal.SIGINT):  # the second one does not ask
                signal.signal(each, signal.SIG_DFL)
        self._signals.put(number)

    def _watch(self) -> int:
        """Until a signal says that it is over, which is returned."""
        glance = min(_GLANCE, (self._notifier.watchdog or 2 * _GLANCE) / 2)
        while True:
            try:
                number = self._signals.get(timeout=glance)
            except Empty:
                self._look()
                continue
            if number != signal.SIGHUP:
                return number
            self._reload()

    def _look(self) -> None:
        if not (self._rounds.overdue or self._timetable.overdue):  # what hangs is what the watchdog is for
            self._notifier.alive()
        offset = _offset()
        if offset < self._offset - _CLOCK_SET:
            self._log.warning("the clock was set back", seconds=round(self._offset - offset))
            self._timetable.follow(self._rounds.settings.schedule)
            self._desk.changed()
        self._offset = offset
        self._timetable.look()

    # ---- reload ------------------------------------------------------------------------------------

    def _reload(self) -> None:
        self._notifier.reloading()
        before = self._rounds.settings
        try:
            settings = self._plan.settings()
            self._rounds.take(settings)
        except ThothError as error:
            self._log.error("the configuration is not taken, the old one stays", reason=str(error))
            self._desk.refused(str(error))
        else:
            if settings.schedule != before.schedule:
                self._timetable.follow(settings.schedule)
            self._log.info("the configuration was read again", schedule=settings.schedule.shown)
            self._desk.reloaded(settings)
        self._notifier.ready(f"passes {self._rounds.settings.schedule.shown}")

    # ---- the end -----------------------------------------------------------------------------------

    def _stop(self, number: int, schedule: Schedule) -> None:
        reason = f"stopped by {signal.Signals(number).name}"
        self._notifier.stopping()
        self._log.info("stopping", reason=reason, grace=schedule.grace)
        self._timetable.stop()
        self._desk.state(State.STOPPING)
        if not self._rounds.ended(reason, schedule.grace, _LAST):
            # A node that is slow to answer, for instance, before it has a session that could be cut off. Whatever is
            # written is whole or absent at any time.
            self._log.warning("a pass does not end; it is left")
            self._desk.state(State.STOPPED)
            os._exit(0)
        self._desk.state(State.STOPPED)
        self._log.info("stopped")


def _offset() -> float:
    """The clock against one that nobody sets."""
    return time.time() - time.monotonic()
