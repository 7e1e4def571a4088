"""When passes are due: what ``[schedule]`` may say, and that the timetable keeps to it as cron would."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from sdc_thoth.config import load_settings
from sdc_thoth.schedule import Cron, Schedule, parse_cron
from sdc_thoth.service import PassedOver, Timetable, Trigger
from tests.support.processes import wait_until
from thoth import UsageError

NODE = '[[node]]\nname = "cn0"\n'
EVERY_MINUTE = tuple(range(60))


def schedule(tmp_path: Path, lines: str) -> Schedule:
    file = tmp_path / "fleet.toml"
    file.write_text(f"[schedule]\n{lines}\n{NODE}")
    return load_settings(config=file, home=tmp_path).schedule


# ---- what may be said ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "shown"),
    [
        ("", "44 * * * * (UTC)"),
        ('cron = "*/15 2-4 * * MON-FRI"', "*/15 2-4 * * mon-fri (UTC)"),
        ('cron = "0 3 * * *"\ntimezone = "Europe/Berlin"', "0 3 * * * (Europe/Berlin)"),
        ("every = 900", "every 900 s"),
        ('every = "15min"\njitter = 30', "every 900 s, up to 30 s late"),
        ('every = "1.5 h"', "every 5400 s"),
        ('every = "1d"', "every 86400 s"),
        ('every = "900"', "every 900 s"),
    ],
)
def test_schedules(tmp_path: Path, lines: str, shown: str) -> None:
    assert schedule(tmp_path, lines).shown == shown


def test_the_rest_of_the_table(tmp_path: Path) -> None:
    told = schedule(tmp_path, "at_start = false\ngrace = 5\njitter = 7\nevery = 60")
    assert (told.at_start, told.grace, told.jitter, told.every, told.cron) == (False, 5, 7, 60, None)
    assert schedule(tmp_path, "") == Schedule()


def test_a_later_file_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[schedule]\ncron = "1 * * * *"\njitter = 9\n')
    (tmp_path / "fleet.toml").write_text(f"[schedule]\nevery = 60\n{NODE}")
    both = load_settings(config=tmp_path / "config.toml", inventory=str(tmp_path / "fleet.toml"), home=tmp_path)
    assert (both.schedule.cron, both.schedule.every, both.schedule.jitter) == (None, 60, 9)
    (tmp_path / "config.toml").write_text("[schedule]\nevery = 60\n")
    (tmp_path / "fleet.toml").write_text(f'[schedule]\ncron = "1 * * * *"\n{NODE}')
    both = load_settings(config=tmp_path / "config.toml", inventory=str(tmp_path / "fleet.toml"), home=tmp_path)
    assert both.schedule.cron == parse_cron("1 * * * *") and both.schedule.every is None


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("every = 0", ":2: [schedule] every: not a time from 0.1 s to a year"),
        ('every = "0"', ":2: [schedule] every: not a time from 0.1 s to a year"),
        ("every = -5", ":2: [schedule] every: not a time"),
        ("every = nan", ":2: [schedule] every: not a time"),
        ("every = inf", ":2: [schedule] every: not a time"),
        ("every = true", ":2: [schedule] every: expected seconds, or text like 15min, not true or false"),
        ('every = "5m"', ":2: [schedule] every: not a time"),
        ('every = "soon"', ":2: [schedule] every: not a time"),
        ('cron = "* * * * *"\nevery = 5', ":3: [schedule] every: there is a cron expression too"),
        ("cron = 5", ":2: [schedule] cron: expected text in quotes, not a number"),
        ('cron = "* * * *"', ":2: [schedule] cron: '* * * *': not five fields"),
        ('cron = "@hourly"', ":2: [schedule] cron: '@hourly': not five fields"),
        ('cron = "60 * * * *"', ":2: [schedule] cron: '60 * * * *': minute: '60' is not from 0 to 59"),
        ('cron = "* 24 * * *"', "hour: '24' is not from 0 to 23"),
        ('cron = "* * 0 * *"', "day of month: '0' is not from 1 to 31"),
        ('cron = "* * * 13 *"', "month: '13' is not from 1 to 12"),
        ('cron = "* * * * 8"', "day of week: '8' is not from 0 to 7"),
        ('cron = "* * * * mo"', "day of week: 'mo' is not from 0 to 7"),
        ('cron = "5-1 * * * *"', "minute: '5-1' ends before it begins"),
        ('cron = "*/0 * * * *"', "minute: '*/0': a step of 0"),
        ('cron = "1,,2 * * * *"', "minute: '' is neither a number"),
        ('cron = "1-2-3 * * * *"', "minute: '1-2-3' is neither a number"),
        ('cron = "0 0 30 2 *"', "there is no such day"),
        ('cron = "0 0 31 4,6,9,11 *"', "there is no such day"),
        ("jitter = -1", ":2: [schedule] jitter: not between 0 and 86400: -1"),
        ("grace = 3601", ":2: [schedule] grace: not between 0 and 3600: 3601"),
        ('at_start = "yes"', ":2: [schedule] at_start: expected true or false, not text"),
        ('timezone = "Mars/Olympus"', ":2: [schedule] timezone: this system knows no time zone 'Mars/Olympus'"),
        ('timezone = "../../etc/passwd"', ":2: [schedule] timezone: this system knows no time zone"),
        ('corn = "* * * * *"', ":2: [schedule] corn: unknown; known are cron, every, jitter, grace, at_start"),
    ],
)
def test_F57_errors_of_the_schedule(tmp_path: Path, lines: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        schedule(tmp_path, lines)
    assert message in str(caught.value) and "\n" not in str(caught.value)


# ---- cron expressions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "minutes"),
    [
        ("*", EVERY_MINUTE),
        ("5", (5,)),
        ("5,7,5", (5, 7)),
        ("5-7", (5, 6, 7)),
        ("5-10/2", (5, 7, 9)),
        ("*/20", (0, 20, 40)),
        ("50/3", (50, 53, 56, 59)),
        ("1,10-12,*/30", (0, 1, 10, 11, 12, 30)),
    ],
)
def test_fields(field: str, minutes: tuple[int, ...]) -> None:
    assert parse_cron(f"{field} * * * *").minutes == minutes


def test_names_and_both_sundays() -> None:
    cron = parse_cron("0 0 * JAN,mar-May sun,Wed-FRI,7")
    assert (cron.months, cron.weekdays) == ((1, 3, 4, 5), (0, 3, 4, 5))
    assert parse_cron("0 0 * * 5-7").weekdays == (0, 5, 6)
    assert parse_cron("0 0 * * *").weekdays == tuple(range(7))


def fits(cron: Cron, at: datetime) -> bool:
    """Whether cron itself would run then: written down once more, as crontab(5) says it."""
    day = at.day in cron.days
    weekday = (at.weekday() + 1) % 7 in cron.weekdays
    on_day = (day or weekday) if cron.either_day else (day and weekday)
    return at.minute in cron.minutes and at.hour in cron.hours and at.month in cron.months and on_day


@pytest.mark.parametrize(
    "text",
    [
        "44 * * * *",
        "*/7 3,15 * * *",
        "0 12 13 * 5",
        "30 6 * * 0",
        "30 6 * * 7",
        "15 0 1,15 */2 *",
        "0 0 29 2 *",
        "5 4 * * 1-5",
    ],
)
def test_the_timetable_keeps_to_an_expression_as_cron_would(text: str) -> None:
    cron = parse_cron(text)
    at = datetime(2027, 12, 30, 23, 50, tzinfo=UTC)
    for _ in range(12):
        due = cron.after(at, UTC)
        assert fits(cron, due) and due > at
        between = at.replace(second=0) + timedelta(minutes=1)
        step = timedelta(minutes=1) if due - at < timedelta(days=3) else timedelta(minutes=61)
        while between < due:
            assert not fits(cron, between), f"passed over {between}"
            between += step
        at = due


BERLIN = ZoneInfo("Europe/Berlin")
SPRING = datetime(2027, 3, 27, 12, tzinfo=UTC)  # the night after, 2:00 to 3:00 is left out
AUTUMN = datetime(2027, 10, 30, 12, tzinfo=UTC)  # the night after, 2:00 to 3:00 comes twice


def times(text: str, at: datetime, count: int) -> list[str]:
    cron, found = parse_cron(text), []
    for _ in range(count):
        due = cron.after(at, BERLIN)
        assert due > at
        found.append(f"{due:%dT%H:%M}")
        at = due
    return found


def test_a_time_zone_and_its_summer_time() -> None:
    assert times("30 8 * * *", SPRING, 2) == ["28T06:30", "29T06:30"]
    assert times("30 8 * * *", AUTUMN, 2) == ["31T07:30", "01T07:30"]
    assert times("30 2 * * *", SPRING, 2) == ["28T01:30", "29T00:30"]
    assert times("30 2 * * *", AUTUMN, 2) == ["31T00:30", "01T01:30"]
    night = SPRING.replace(day=28, hour=0)
    assert times("*/30 * * * *", night, 4) == ["28T00:30", "28T01:00", "28T01:30", "28T02:00"]
    night = AUTUMN.replace(day=30, hour=23, minute=40)
    assert times("0 * * * *", night, 4) == ["31T00:00", "31T01:00", "31T02:00", "31T03:00"]


def test_intervals_keep_to_their_beginning() -> None:
    hourly, anchor = Schedule(every=3600), datetime(2027, 1, 1, 0, 7, tzinfo=UTC)
    assert hourly.after(anchor, anchor) == anchor + timedelta(hours=1)
    assert hourly.after(anchor + timedelta(minutes=150), anchor) == anchor + timedelta(hours=3)
    assert hourly.after(anchor - timedelta(minutes=30), anchor) == anchor


# ---- the timetable -------------------------------------------------------------------------------------


class Work:
    """Notes when it was done, and that it was never done twice at once."""

    def __init__(self, seconds: float = 0.0, fails: bool = False) -> None:
        self.begun: list[float] = []
        self.passed_over: list[PassedOver] = []
        self.raised: list[BaseException] = []
        self._seconds = seconds
        self._fails = fails
        self._lock = threading.Lock()

    def __call__(self) -> None:
        assert self._lock.acquire(blocking=False), "twice at once"
        with_lock = self._lock
        try:
            self.begun.append(time.monotonic())
            time.sleep(self._seconds)
            if self._fails:
                raise ZeroDivisionError("of the work")
        finally:
            with_lock.release()


@pytest.fixture
def timetable() -> Callable[[Schedule, Work], Timetable]:
    def make(schedule: Schedule, work: Work) -> Timetable:
        return Timetable(schedule, work, passed_over=work.passed_over.append, raised=work.raised.append)

    return make


def test_F55_work_that_overruns_is_told_and_done_next_time(timetable: Callable[[Schedule, Work], Timetable]) -> None:
    work = Work(0.5)
    table = timetable(Schedule(every=0.2), work)
    table.start()
    assert wait_until(lambda: len(work.begun) >= 3, 10)
    table.stop()
    assert {each.reason for each in work.passed_over} == {"the one before was still running"}
    assert len(work.passed_over) >= 2


def test_F55_work_that_raises_is_told_and_done_again(
    timetable: Callable[[Schedule, Work], Timetable], caplog: pytest.LogCaptureFixture
) -> None:
    work = Work(fails=True)
    table = timetable(Schedule(every=0.1), work)
    with caplog.at_level(logging.ERROR, "apscheduler"):
        table.start()
        assert wait_until(lambda: len(work.raised) >= 3, 10)
        table.stop()
    assert all(isinstance(each, ZeroDivisionError) for each in work.raised)
    assert "ZeroDivisionError: of the work" in caplog.text  # with its traceback


def test_no_work_at_the_start_unless_it_is_wanted(timetable: Callable[[Schedule, Work], Timetable]) -> None:
    work = Work()
    table = timetable(Schedule(every=3600, at_start=False), work)
    table.start()
    assert table.next_due is not None and 3590 < table.next_due - time.time() <= 3600
    time.sleep(0.2)
    assert not work.begun
    table.follow(Schedule(every=0.1))
    assert wait_until(lambda: len(work.begun) >= 2, 10)
    table.stop()


def test_jitter_makes_it_later_never_earlier() -> None:
    """By the times that are due: on a busy machine a pass may begin late, and the next one in time."""
    anchor = datetime(2027, 1, 1, tzinfo=UTC)
    trigger, at, late = Trigger(Schedule(every=10, jitter=4), anchor), anchor, []
    for number in range(1, 101):
        at = trigger.get_next_fire_time(at, at)
        late.append((at - anchor).total_seconds() - 10 * number)
    assert 0 <= min(late) < 1 and 3 < max(late) <= 4


def test_years_that_were_slept_through_cost_no_time() -> None:
    """A clock that began in 1970 is set: the work is due once, at once, and nobody counts every second between."""
    schedule, then = Schedule(every=1), datetime(1970, 1, 1, tzinfo=UTC)
    trigger, now = Trigger(schedule, then), datetime(2027, 1, 1, 0, 0, 0, 500000, tzinfo=UTC)
    started, at, count = time.process_time(), then, 0
    while (due := trigger.get_next_fire_time(at, now)) <= now:
        at, count = due, count + 1
    assert count <= 3601 and now - at < timedelta(seconds=1)
    assert time.process_time() - started < 1
    weekly = Trigger(Schedule(parse_cron("0 0 * * 0")), then)
    sunday = weekly.get_next_fire_time(now - timedelta(days=9), now)
    assert now - timedelta(days=9) < sunday < now  # it is late, and is not left out
