"""One pass over the fleet: what it needs is opened, the nodes are gone through, each outcome goes into a report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from sdc_thoth.arrivals import Arrivals
from sdc_thoth.budget import Budget
from sdc_thoth.config import Settings
from sdc_thoth.connections import Connections
from sdc_thoth.fleet import Fleet
from sdc_thoth.halt import Halt, Interrupted
from sdc_thoth.inventory import Node
from sdc_thoth.journal import Journal, open_journal
from sdc_thoth.limits import Limits
from sdc_thoth.meter import Meter
from sdc_thoth.notes import PassNote
from sdc_thoth.pace import Pace
from sdc_thoth.places import ALL, places
from sdc_thoth.publish import publish
from sdc_thoth.report import Speed, Tally
from sdc_thoth.space import Space
from sdc_thoth.status import beside_a_daemon, gathered
from sdc_thoth.task import Backlog, Task
from sdc_thoth.webhook import tell
from thoth import (
    Autoanalyzer,
    Binaries,
    Config,
    Debuggers,
    IndexFailure,
    Outcome,
    Result,
    Thoth,
    ThothError,
    environment,
    load_config,
    one_line,
    open_thoth,
)

_IN_MEMORY: Final = 48 << 20  # bytes of small dumps on their way into the store
_STORING: Final = 4  # dumps written to the store at a time: a disk takes several at once faster than one by one
_NO_LIMIT: Final = 1 << 62
_NOTING: Final = 5.0  # seconds between two times that what became of nodes is noted


@dataclass(frozen=True, slots=True)
class Orders:
    """What the command line asks of a pass."""

    types: tuple[str, ...] = ("all",)
    names: tuple[str, ...] | None = None  # of nodes; None: all
    exclude: bool = False
    timeout: float = 10.0  # seconds to connect, and for each step of logging in
    idle: float = 600.0  # seconds without a byte from a node
    deadline: float = 360 * 60.0  # seconds for the whole pass
    dry_run: bool = False
    patient: bool = False  # dumps that fail again and again wait before their next try


class Report(Protocol):
    """Takes each outcome as it comes, and at the end how long the pass took."""

    @property
    def tally(self) -> Tally: ...

    def take(self, outcome: Outcome) -> None: ...

    def end(self, seconds: float, speed: Speed) -> None: ...


@dataclass(frozen=True, slots=True)
class Voices:
    """Where a pass says what. Each takes a line."""

    say: Callable[[str], None]  # of the pass, among the lines of the report
    progress: Callable[[str], None]  # of how far it is, likewise
    talk: Callable[[str], None]  # of the collector itself


def run_pass(
    orders: Orders,
    settings: Settings,
    nodes: Sequence[Node],
    connections: Connections,
    report: Report,
    *,
    voices: Voices,
    halt: Halt,
    pace: Pace | None = None,
) -> PassNote:
    """Go through the nodes. The caller holds the run's lock, unless it is a dry run; ``connections`` have begun.
    ``pace`` is for who wants to change it meanwhile; else it is that of the settings.

    Raises UsageError, StoreUnavailable, and in a dry run IndexFailure, when a pass cannot begin, and lets Interrupted
    through once everything that is under way has its outcome, and all is noted.
    """
    began, started = time.time(), time.monotonic()
    with _task(orders, settings, voices, halt, pace or Pace(settings.limits)) as task:
        failing = frozenset(each.node for each in task.journal.nodes() if each.failing_since is not None)
        fleet = Fleet(nodes, task, connections, deadline=orders.deadline, failing=failing)
        noting = _Noting(report, task)
        interruption = _gone_through(fleet, task, noting, started + orders.deadline)
        task.arrivals.tell_left()
        speed = Speed(task.journal.rate(), settings.limits)
        note = _note(began, time.monotonic() - started, report.tally, task, interruption)
        if not orders.dry_run:
            noting.write()
            task.journal.forget()
            names = [node.name for node in nodes]
            task.journal.ended(note, names if orders.names is None else None)
            _publish(settings, task.journal, voices)
        report.end(note.seconds, speed)
        # Last of all: a webhook may be silent for long, and who loses patience with it has the report.
        if not orders.dry_run and note.stopped is None:
            tell(settings.webhook, task.journal, voices.talk)
    if interruption is not None:
        raise interruption
    return note


def broken(began: float, started: float, reason: str) -> PassNote:
    """Of a pass that broke off just now; it began at ``began`` by time.time, ``started`` by time.monotonic."""
    return PassNote(started=began, seconds=time.monotonic() - started, error=reason, good=False)


def note_broken(settings: Settings, note: PassNote, talk: Callable[[str], None]) -> None:
    """Take note of a pass that broke off. Raises ThothError when there is no journal to be had."""
    with open_journal(settings.directory, say=talk) as journal:
        journal.ended(note, None)
        _publish(settings, journal, Voices(talk, talk, talk))


def _publish(settings: Settings, journal: Journal, voices: Voices) -> None:
    """A status that cannot be written is told; the dumps are stored all the same."""
    try:
        publish(settings, beside_a_daemon(settings.directory, gathered(journal, None, time.time())))
    except ThothError as error:
        voices.talk(str(error))


class _Noting:
    """A report that notes on the side what became of nodes: every few seconds, since each time waits for the disk."""

    def __init__(self, report: Report, task: Task) -> None:
        self._report = report
        self._task = task
        self._visited: list[Outcome] = []
        self._written = time.monotonic()

    def take(self, outcome: Outcome) -> None:
        self._report.take(outcome)
        cut_short = self._task.halt.reason is not None and outcome.result is not Result.REACHED
        known = outcome.path is None and not outcome.detail.get("blameless")
        if known and not self._task.dry_run and not cut_short:
            self._visited.append(outcome)
            if time.monotonic() - self._written > _NOTING:
                self.write()

    def write(self) -> None:
        """Into the journal with it."""
        if self._visited:
            self._task.journal.visited(self._visited)
        self._visited, self._written = [], time.monotonic()


def _note(began: float, seconds: float, tally: Tally, task: Task, interruption: Interrupted | None) -> PassNote:
    why = interruption.reason if interruption else task.halt.reason
    return PassNote(
        started=began,
        seconds=seconds,
        busy=task.meter.seconds,
        sent=tally.sent,
        dumps=tally.amounts,
        nodes=tally.node_counts,
        waiting=tally.waiting,
        limited=tally.limited,
        stopped=why,
        good=tally.exit_code == 0 and why is None,
    )


def _gone_through(fleet: Fleet, task: Task, noting: _Noting, deadline: float) -> Interrupted | None:
    """All nodes, then the analyzers; the signal that has cut it short, if any. ``deadline``: by time.monotonic."""
    with fleet, task.halt.cutting(fleet.stop):
        interruption = _reported(fleet, noting, task.halt)
    if interruption is not None:
        return interruption
    return _analyzed(task.arrivals, task.halt, lambda: time.monotonic() < deadline)


def check_types(orders: Orders, settings: Settings) -> None:
    """Raises UsageError for a type of dumps that there is not."""
    places(orders.types, settings.core, settings.crash)


def _check(thoth: Thoth, orders: Orders, talk: Callable[[str], None]) -> None:
    """A dry run asks the index what is new. A real one stores dumps, which cannot wait, without it as well."""
    thoth.check_store()
    try:
        thoth.index.known([])
    except IndexFailure as error:
        if orders.dry_run:
            raise
        talk(f"{error}; dumps are stored all the same; 'thoth index' puts them into the index later")


@contextmanager
def _task(orders: Orders, settings: Settings, voices: Voices, halt: Halt, pace: Pace) -> Iterator[Task]:
    """What the nodes share in a pass, opened and known to work."""
    config = load_config(environment())
    with ExitStack() as stack:
        thoth = stack.enter_context(open_thoth(config, dry_run=orders.dry_run))
        _check(thoth, orders, voices.talk)
        journal = stack.enter_context(_journal(orders, settings, voices))
        if journal.has_stored():
            thoth.check_begun()
        limits = settings.limits
        _say_if_unknown(thoth, limits, voices.talk)
        yield Task(
            thoth=thoth,
            journal=journal,
            places=places(orders.types, settings.core, settings.crash),
            known_places=places([ALL], settings.core, settings.crash),
            limits=limits,
            dry_run=orders.dry_run,
            clock=time.time,
            budget=Budget(_IN_MEMORY),
            flights=Budget(limits.dumps or _NO_LIMIT),
            space=Space(thoth.store.free, limits.min_free),
            pace=pace,
            backlog=Backlog(),
            storing=stack.enter_context(ThreadPoolExecutor(_STORING, thread_name_prefix="store")),
            say=voices.say,
            progress=voices.progress,
            arrivals=_arrivals(thoth, config, voices),
            halt=halt,
            meter=Meter(),
            binaries=_binaries(config, voices, stack),
            node_stack=settings.node_stack,
            patient=orders.patient,
        )


def _binaries(config: Config, voices: Voices, stack: ExitStack) -> Binaries | None:
    if not config.debuginfod:
        return None
    from thoth import Debuginfod  # noqa: PLC0415 - requests takes its time to import, and opens a socket for that

    return stack.enter_context(Debuginfod.of(config, voices.talk))


def _say_if_unknown(thoth: Thoth, limits: Limits, talk: Callable[[str], None]) -> None:
    if limits.min_free is not None and thoth.store.free() is None:
        talk("min_free: this store does not tell how much room it has; the limit cannot hold")


def _journal(orders: Orders, settings: Settings, voices: Voices) -> Journal:
    return open_journal(settings.directory, read_only=orders.dry_run, say=voices.talk)


def _reported(fleet: Fleet, noting: _Noting, halt: Halt) -> Interrupted | None:
    """Take all outcomes into the report. A signal cuts the nodes off: what became of them by then is told too."""
    try:
        for outcome in fleet.outcomes():
            noting.take(outcome)
    except Interrupted as error:
        halt.cut(error.reason)
        for outcome in fleet.outcomes():
            noting.take(outcome)
        return error
    return None


def _arrivals(thoth: Thoth, config: Config, voices: Voices) -> Arrivals:
    debuggers = Debuggers(thoth, config, environment()) if Debuggers.asked_for(config) else None
    return Arrivals(_autoanalyzer(thoth, config, voices.say), voices.say, debuggers)


def _autoanalyzer(thoth: Thoth, config: Config, say: Callable[[str], None]) -> Autoanalyzer:
    return Autoanalyzer(
        thoth,
        cache=Path(config.cache),
        environ=environment(),
        clock=time.time,
        say=lambda line: say(one_line(line)),
    )


def _analyzed(arrivals: Arrivals, halt: Halt, in_time: Callable[[], bool]) -> Interrupted | None:
    """Run the analyzers that rules ask for on what has arrived."""
    try:
        with halt.cutting(lambda _reason: arrivals.cancel()):
            arrivals.finish(lambda: halt.reason is None and in_time())
    except Interrupted as error:
        return error
    return None
