"""Work that is done by a schedule, in a thread of its own, never twice at once. Only this module knows apscheduler.

apscheduler drops what it cannot do in time without a word. Here nothing is dropped: what is late is done once, and
each time that was passed over is told.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, EVENT_JOB_SUBMITTED
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from sdc_thoth.schedule import Schedule

_JOB: Final = "pass"
_LEAP: Final = timedelta(hours=1)
_OVERDUE: Final = 600.0  # seconds
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
        self._anchor = datetime.now(UTC)
        self._expected: datetime | None = None
        self._scheduler = BackgroundScheduler(timezone=UTC, executors={"default": ThreadPoolExecutor(1)})

    @property
    def next_due(self) -> float | None:
        """When the work is due next, in seconds since 1970."""
        job = self._scheduler.get_job(_JOB)
        return job.next_run_time.timestamp() if job and job.next_run_time else None

    @property
    def overdue(self) -> bool:
        """Whether the work was due long ago and nobody has even said that it was passed over."""
        due = self.next_due
        return due is not None and time.time() - due > _OVERDUE

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
        now = datetime.now(UTC)
        self._anchor = now
        trigger = Trigger(schedule, now)
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
        count, at = 0, self._schedule.after(expected, self._anchor)
        while at <= due and count < _COUNTED:
            count, at = count + 1, self._schedule.after(at, self._anchor)
        return count


class Trigger(BaseTrigger):  # type: ignore[misc]  # apscheduler has no types
    """The schedule as apscheduler asks for it. Its own triggers go back and forth in the hour that comes twice when
    summer time ends, would work without a pause then, and count weekdays from Monday."""

    def __init__(self, schedule: Schedule, anchor: datetime) -> None:
        self._schedule = schedule
        self._anchor = anchor

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        due = self._schedule.after(previous_fire_time or now, self._anchor)
        if due < now - _LEAP:  # the clock was set, or nothing ran for long: not every time between is asked for
            late = self._schedule.after(now - _LEAP, self._anchor)
            due = late if late <= now else due
        return due + timedelta(seconds=random.uniform(0, self._schedule.jitter))  # noqa: S311 - no secret
