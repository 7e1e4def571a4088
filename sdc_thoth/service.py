"""Work that is done by a schedule, in a thread of its own, never twice at once. Only this module knows apscheduler.

apscheduler drops what it cannot do in time without a word. Here nothing is dropped: what is late is done once, and
each time that was passed over is told.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, EVENT_JOB_SUBMITTED
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from sdc_thoth.schedule import DEFAULT, Cron, Schedule

_JOB: Final = "pass"
_COUNTED: Final = 10_000  # times that were passed over, of which more need not be counted


@dataclass(frozen=True, slots=True)
class PassedOver:
    """Times at which the work was due and was not begun."""

    count: int
    reason: str


class Timetable:
    """Does ``work`` by a schedule, from ``start`` to ``stop``. Both callbacks run in threads of its own."""

    def __init__(
        self,
        schedule: Schedule,
        work: Callable[[], None],
        *,
        passed_over: Callable[[PassedOver], None],
        raised: Callable[[BaseException], None],
    ) -> None:
        self._schedule = schedule
        self._work = work
        self._passed_over = passed_over
        self._raised = raised
        self._expected: datetime | None = None
        self._scheduler = BackgroundScheduler(
            timezone=schedule.timezone, executors={"default": ThreadPoolExecutor(1)}
        )
        # Beginnings, ends and what is passed over are told by us; tracebacks by apscheduler.
        logging.getLogger("apscheduler").setLevel(logging.ERROR)

    @property
    def next_due(self) -> float | None:
        """When the work is due next, in seconds since 1970."""
        job = self._scheduler.get_job(_JOB)
        return job.next_run_time.timestamp() if job and job.next_run_time else None

    def start(self) -> None:
        """Begin; with the work itself where the schedule wants that."""
        listened = EVENT_JOB_SUBMITTED | EVENT_JOB_MAX_INSTANCES | EVENT_JOB_MISSED | EVENT_JOB_ERROR
        self._scheduler.add_listener(self._hear, listened)
        self._scheduler.start()
        self._set(self._schedule, at_once=self._schedule.at_start)

    def follow(self, schedule: Schedule) -> None:
        """Keep to another schedule from now on; also to the same one, after the clock was set."""
        self._set(schedule, at_once=False)

    def look(self) -> None:
        """See whether work is due by the clock, which may have been set, or have gone on while nothing ran."""
        self._scheduler.wakeup()

    def stop(self) -> None:
        """Begin nothing any more. Work under way goes on; ``stop`` does not wait for it."""
        self._scheduler.shutdown(wait=False)

    # ---- within ------------------------------------------------------------------------------------

    def _set(self, schedule: Schedule, *, at_once: bool) -> None:
        self._schedule = schedule
        trigger = _trigger(schedule, schedule.jitter)
        now = datetime.now(schedule.timezone)
        first = now if at_once else trigger.get_next_fire_time(None, now)
        self._expected = first
        self._scheduler.add_job(
            self._work,
            trigger,
            id=_JOB,
            next_run_time=first,
            misfire_grace_time=None,  # however late, it is done: once for all times that were missed
            coalesce=True,
            max_instances=1,
            replace_existing=True,
        )

    def _hear(self, event: Any) -> None:
        if event.code == EVENT_JOB_ERROR:
            self._raised(event.exception)
            return
        if event.code == EVENT_JOB_MISSED:  # with no limit to being late there is none; if there were, it is told
            self._passed_over(PassedOver(1, "missed"))
            return
        due = event.scheduled_run_times[-1]
        slept = self._between(self._expected, due)
        if slept:
            self._passed_over(PassedOver(slept, "nothing ran when it was due: stopped, asleep, or the clock was set"))
        if event.code == EVENT_JOB_MAX_INSTANCES:
            self._passed_over(PassedOver(1, "the one before was still running"))
        job = self._scheduler.get_job(_JOB)
        self._expected = job.next_run_time if job else None

    def _between(self, expected: datetime | None, due: datetime) -> int:
        """How many times of the schedule lie between the one that was expected next and the one that came."""
        if expected is None or due <= expected:
            return 0
        trigger, count, at = _trigger(self._schedule, 0.0), 0, expected
        while count < _COUNTED:
            at = trigger.get_next_fire_time(at, at)
            if at is None or at > due:
                break
            count += 1
        return count


def first_after(schedule: Schedule, at: datetime) -> datetime:
    """When the work is due next after a time, without jitter."""
    due: datetime = _trigger(schedule, 0.0).get_next_fire_time(at, at)
    return due


def _trigger(schedule: Schedule, jitter: float) -> Any:
    late = jitter or None
    if schedule.every is not None:
        return IntervalTrigger(seconds=schedule.every, timezone=schedule.timezone, jitter=late)
    cron = schedule.cron or DEFAULT
    if not cron.either_day:
        return _cron_trigger(schedule, cron, day=cron.days, day_of_week=cron.weekdays, jitter=late)
    either = [_cron_trigger(schedule, cron, day=cron.days), _cron_trigger(schedule, cron, day_of_week=cron.weekdays)]
    return OrTrigger(either, jitter=late)


def _cron_trigger(schedule: Schedule, cron: Cron, *, jitter: float | None = None, **days: tuple[int, ...]) -> Any:
    # apscheduler counts weekdays from Monday.
    if "day_of_week" in days:
        days["day_of_week"] = tuple((day - 1) % 7 for day in days["day_of_week"])
    fields = {"minute": cron.minutes, "hour": cron.hours, "month": cron.months, **days}
    written = {name: ",".join(map(str, numbers)) for name, numbers in fields.items()}
    return CronTrigger(**written, timezone=schedule.timezone, jitter=jitter)
