"""When the daemon's passes are due: the ``[schedule]`` table as a value. ``service`` keeps to it.

cron = "44 * * * *"    five fields as cron has them, or
every = "15min"        from one pass's beginning to the next one's: seconds, or text with s, min, h, d
jitter = 60            seconds that a pass may be late at random, so that not all collectors begin at once
timezone = "UTC"       of the cron expression
at_start = true        a first pass when the daemon starts
grace = 20             seconds that a pass gets to end in when the daemon is told to stop
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sdc_thoth.toml import TomlTable

_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?) ?(s|min|h|d)")
_SECONDS: Final = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_SHORTEST, _LONGEST = 0.1, 366 * 86400.0
_MONTHS: Final = ("", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
# Of each field of a cron expression: its name, the lowest and highest number, the names that stand for numbers.
_FIELDS: Final = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _DAYS),
)
_ITEM: Final = re.compile(r"(?:\*|([0-9a-z]{1,3})(?:-([0-9a-z]{1,3}))?)(?:/([0-9]{1,2}))?")


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression: the numbers that each field allows. A day fits when its month fits and, where both days are
    restricted, either of them; that is how cron has it."""

    text: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]  # 0 is Sunday
    either_day: bool  # both the days of the month and those of the week are restricted

    def after(self, at: datetime, zone: tzinfo) -> datetime:
        """The first time after ``at`` by the clock of that zone, in UTC.

        A time that the clock leaves out in spring is due right after; of an hour that comes twice in autumn the first
        one counts, and the second one too where the hour does not matter.
        """
        day = at.astimezone(zone).date() - timedelta(days=1)
        while True:
            if self._has_day(day):
                times = [time for time in self._times(day, zone) if time > at]
                if times:
                    return min(times)
            day += timedelta(days=1)

    def _has_day(self, day: date) -> bool:
        of_month, of_week = day.day in self.days, (day.weekday() + 1) % 7 in self.weekdays
        on_day = (of_month or of_week) if self.either_day else (of_month and of_week)
        return on_day and day.month in self.months

    def _times(self, day: date, zone: tzinfo) -> Iterator[datetime]:
        folds = (0, 1) if len(self.hours) == 24 else (0,)
        for hour in self.hours:
            for minute in self.minutes:
                for fold in folds:
                    yield datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone, fold=fold).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When passes begin: by ``cron``, or every ``every`` seconds."""

    cron: Cron | None = None
    every: float | None = None
    jitter: float = 0.0
    timezone: tzinfo = UTC
    at_start: bool = True
    grace: float = 20.0

    def after(self, at: datetime, anchor: datetime) -> datetime:
        """When a pass is due next after ``at``, in UTC and without jitter; ``anchor``: when counting began."""
        if self.every is None:
            return (self.cron or DEFAULT).after(at, self.timezone)
        every = timedelta(seconds=self.every)
        return anchor + ((at - anchor) // every + 1) * every

    @property
    def shown(self) -> str:
        """For people: ``44 * * * * (UTC)``, ``every 900 s``."""
        late = f", up to {self.jitter:g} s late" if self.jitter else ""
        if self.every is not None:
            return f"every {self.every:g} s{late}"
        return f"{(self.cron or DEFAULT).text} ({self.timezone}){late}"


def schedule_from(before: Schedule, table: TomlTable) -> Schedule:
    """The schedule with what a table says in the place of what was said before. Raises UsageError."""
    text = table.text("cron")
    every = _every(table)
    if text is not None and every is not None:
        raise table.error("every", "there is a cron expression too; keep one of the two")
    cron = before.cron if text is None else _cron(text, table)
    jitter, grace = table.number_in("jitter", 0, 86400), table.number_in("grace", 0, 3600)
    at_start = table.flag("at_start")
    schedule = Schedule(
        cron=None if every is not None else cron,
        every=before.every if every is None and text is None else every,
        jitter=before.jitter if jitter is None else jitter,
        timezone=_timezone(table) or before.timezone,
        at_start=before.at_start if at_start is None else at_start,
        grace=before.grace if grace is None else grace,
    )
    table.done()
    return schedule


def _every(table: TomlTable) -> float | None:
    value: int | float | str | None = table.take("every", (int, float, str), "seconds, or text like 15min")
    if value is None:
        return None
    seconds = float(value) if not isinstance(value, str) else _seconds(value)
    if not _SHORTEST <= seconds <= _LONGEST:  # not a number neither
        raise table.error("every", f"not a time from {_SHORTEST:g} s to a year, like 900, 15min, 1h: {value!r}")
    return seconds


def _seconds(text: str) -> float:
    if text.isascii() and text.isdecimal():
        return float(text)
    parsed = _DURATION.fullmatch(text)
    return float(parsed[1]) * _SECONDS[parsed[2]] if parsed else -1.0


def _timezone(table: TomlTable) -> tzinfo | None:
    name = table.text("timezone")
    if name is None:
        return None
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise table.error("timezone", f"this system knows no time zone {name[:80]!r}") from error


# ---- cron expressions ------------------------------------------------------------------------------


def _cron(text: str, table: TomlTable) -> Cron:
    try:
        return parse_cron(text)
    except ValueError as error:
        raise table.error("cron", f"{text[:80]!r}: {error}") from error


def parse_cron(text: str) -> Cron:
    """Five fields of numbers, ranges, lists, steps and names, as in crontab(5). Raises ValueError."""
    fields = text.lower().split()
    if len(fields) != len(_FIELDS):
        raise ValueError("not five fields: minute, hour, day of month, month, day of week")
    parsed = [tuple(sorted(set(_numbers(field, *of)))) for field, of in zip(fields, _FIELDS, strict=True)]
    minutes, hours, days, months, weekdays = parsed
    weekdays = tuple(sorted({day % 7 for day in weekdays}))
    either = not (fields[2].startswith("*") or fields[4].startswith("*"))
    if not either and not any(day <= _longest(month) for month in months for day in days):
        raise ValueError("there is no such day")
    return Cron(" ".join(fields), minutes, hours, days, months, weekdays, either)


def _longest(month: int) -> int:
    return 29 if month == 2 else 30 if month in (4, 6, 9, 11) else 31


def _numbers(field: str, name: str, low: int, high: int, names: tuple[str, ...]) -> Iterator[int]:
    for item in field.split(","):
        parsed = _ITEM.fullmatch(item)
        if not parsed:
            raise ValueError(f"{name}: {item[:20]!r} is neither a number, a range, * nor one of these with a step")
        first, last, step = parsed.groups()
        start = low if first is None else _number(first, name, low, high, names)
        if first is None or (step and last is None):
            end = high if names != _DAYS else 6
        else:
            end = start if last is None else _number(last, name, low, high, names)
        if end < start:
            raise ValueError(f"{name}: {item!r} ends before it begins")
        if step == "0" or (step and int(step) == 0):
            raise ValueError(f"{name}: {item!r}: a step of 0")
        yield from range(start, end + 1, int(step or 1))


def _number(text: str, name: str, low: int, high: int, names: tuple[str, ...]) -> int:
    if text in names and text:
        return names.index(text)
    if not text.isdecimal() or not low <= int(text) <= high:
        raise ValueError(f"{name}: {text!r} is not from {low} to {high}")
    return int(text)


DEFAULT: Final = parse_cron("44 * * * *")
