"""Holding dumps against the rules of the autoanalyzers: as they arrive, and again on demand."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, Final

from thoth.analysis.parallel import in_order
from thoth.analysis.rule_run import ELSEWHERE, RuleRun, failure_of, under_way
from thoth.analysis.rules import Rule, RuleSet, RunAnalyzer
from thoth.analysis.stored_rules import read_rules
from thoth.analysis.verdicts import (
    RuleResult,
    Verdict,
    Verdicts,
    all_failed,
    next_revision,
    reason_of,
    run_since,
    settled,
    verdict_on,
)
from thoth.edit import revise
from thoth.errors import IndexFailure, NoSuchDump, StoreUnavailable, ThothError
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity, Result
from thoth.pending import RULES_PENDING, pending_since, unmarked
from thoth.query import Glob, Query

if TYPE_CHECKING:
    from thoth.analysis.run import ByStatus

_ARRIVED: Final = frozenset({Result.STORED, Result.REPLACED, Result.STORED_UNINDEXED})
_TOLD: Final = 10  # rules that cannot run, of which each is told


@dataclass(frozen=True, slots=True)
class Held:
    """How far a dump that arrived was held against the rules. ``waiting``: for ``Autoanalyzer.finish``.

    ``pending``: its document says, since that time (thoth.pending), that something is left to be done, or may say so.
    """

    identity: Identity
    verdicts: tuple[Verdict, ...] = ()
    waiting: bool = False
    pending: float | None = None


@dataclass(frozen=True, slots=True)
class _End:
    """When a dump's rules are pending no more: none is under way, and none of those ``behind`` applies.

    A mark of another time stays.
    """

    since: float | None
    behind: Sequence[Rule] = ()

    def comes(self, info: DumpInfo, now: float) -> bool:
        since = pending_since(info)
        if since is None or since != self.since or under_way(info, now):
            return False
        return not any(rule.applies_to(info, now) for rule in self.behind)


class Autoanalyzer:
    """Holds dumps against ``rules``; None: those of the store, read once, when the first dump comes.

    ``cache`` (a directory) and ``environ`` are for the analyzers that rules name. ``clock`` gives seconds since 1970.
    ``say`` takes a line on what is wrong with the rules, once. Safe to share between threads.
    """

    def __init__(
        self,
        thoth: Thoth,
        *,
        cache: Path,
        environ: Mapping[str, str],
        clock: Callable[[], float],
        say: Callable[[str], None],
        rules: RuleSet | None = None,
    ) -> None:
        self._thoth = thoth
        self._cache = cache
        self._environ = environ
        self._clock = clock
        self._say = say
        self._rules = rules
        self._loading = Lock()
        self._cancelled = Event()

    def any_rules(self) -> bool:
        """Whether what arrives is to be marked, as ``receive`` asks: there are rules, or nobody can tell."""
        rules = self._loaded()
        return bool(rules.rules) or not rules.whole

    def arrived(self, result: Result, info: DumpInfo, by: Thoth | None = None) -> Held:
        """Hold a dump that was taken in, or whose rules are pending, against those that need only its document.

        That is one change of it at most. Any other dump that was there already is left alone. What goes wrong is a
        verdict, and never an exception: a dump that is stored stays stored. ``by`` makes the change: the same Thoth
        with an index that gathers.
        """
        since = pending_since(info)
        if result not in _ARRIVED and since is None:
            return Held(info.id)
        rules, now = self._loaded(), self._clock()
        try:
            info, verdicts = self._settled(rules.prompt, info, {}, _End(since, rules.late), by)
        except ThothError as error:
            wanted = settled(rules.prompt, info, {}, now)[1]
            failed = self._failed(rules.prompt, info.id, wanted, error)
            return Held(info.id, tuple(failed.values()), pending=since)
        waiting = any(rule.applies_to(info, now) for rule in rules.late)
        return Held(info.id, tuple(verdicts.values()), waiting, pending_since(info))

    def finish(self, held: Held) -> tuple[Verdict, ...]:
        """Run what is left for a dump: rules that run analyzers, and those behind them. Their verdicts.

        There are none when somebody else has done it meanwhile, or does, since the dump was replaced.
        """
        before = {verdict.rule: verdict for verdict in held.verdicts}
        try:
            info = self._current(held.identity)
            if pending_since(info) != held.pending:
                return ()
            verdicts = self._late(info, before, held.pending, anew=held.pending is None)
        except ThothError as error:
            reason = reason_of(error)
            return tuple(verdict_on(held.identity, rule, RuleResult.FAILED, reason) for rule in self._loaded().late)
        return tuple(verdict for verdict in verdicts.values() if verdict.rule not in before)

    def finish_each(
        self, held: Iterable[Held], workers: int, go_on: Callable[[], bool]
    ) -> Generator[tuple[Verdict, ...] | None]:
        """Finish dumps, so many at a time; None for each that was not begun, since ``go_on`` said no.

        Closed before its end, or interrupted, it stops what is under way.
        """
        return in_order(lambda each: self.finish(each) if go_on() else None, held, workers=workers, stop=self.cancel)

    def run(self, identity: Identity) -> tuple[Verdict, ...]:
        """Hold a dump against all the rules. Raises NoSuchDump, StoreError and BadDocument when it cannot be read.

        Raises StoreUnavailable and IndexFailure also when it cannot be changed: no other dump would fare better.
        """
        try:
            rules, info = self._loaded(), self._current(identity)
            since = pending_since(info)
            info, verdicts = self._settled(rules.prompt, info, {}, _End(since, rules.late))
            return tuple(self._late(info, verdicts, since, anew=True).values())
        except IndexFailure as error:
            raise IndexFailure(f"{identity}: {reason_of(error)}") from error

    def cancel(self) -> None:
        """Stop the analyzers that are under way, from another thread; on no dump is one recorded as run."""
        self._cancelled.set()

    # ---- the steps -------------------------------------------------------------------------------------------------

    def _current(self, identity: Identity) -> DumpInfo:
        current = self._thoth.stored_info(identity)
        if current is None:
            raise NoSuchDump(f"no such dump: {identity}")
        return current[0]

    def _late(self, info: DumpInfo, verdicts: Verdicts, since: float | None, *, anew: bool) -> Verdicts:
        """Run the late rules; unless ``anew``, without the analyzers that were run after ``since``."""
        late = self._loaded().late
        done = 0
        for runs_analyzer, group in groupby(late, key=lambda rule: isinstance(rule.action, RunAnalyzer)):
            rules = tuple(group)
            if not runs_analyzer:
                done += len(rules)
                info, verdicts = self._settled(rules, info, verdicts, _End(since, late[done:]))
                continue
            for rule in rules:
                done += 1
                before = None if anew or since is None else run_since(info, rule, since)
                if before is not None:
                    verdicts = {**verdicts, rule.name: before}
                    continue
                analyzed = self._analyzed(rule, info, verdicts, _End(since, late[done:]))
                if analyzed is None:
                    return {**verdicts, **self._left(late[done - 1 :], info)}
                info, verdicts = analyzed
        # Rules that are not run are not recorded: then the mark is still there.
        return self._settled((), info, verdicts, _End(since))[1]

    def _settled(
        self, rules: tuple[Rule, ...], info: DumpInfo, before: Verdicts, end: _End, by: Thoth | None = None
    ) -> tuple[DumpInfo, Verdicts]:
        """The document after these rules, none of which runs an analyzer, and the verdicts. One change, or none."""
        now = self._clock()
        revised, verdicts = settled(rules, info, before, now)
        if self._next(info, revised, end, now) is None:
            return info, verdicts

        def change(current: DumpInfo) -> DumpInfo | None:
            nonlocal verdicts
            revised, verdicts = settled(rules, current, before, now)
            return self._next(current, revised, end, now)

        try:
            return revise(by or self._thoth, info.id, change), verdicts
        except (StoreUnavailable, IndexFailure):
            raise
        except ThothError as error:
            return info, {**verdicts, **self._failed(rules, info.id, verdicts, error)}

    def _next(self, before: DumpInfo, after: DumpInfo, end: _End, now: float) -> DumpInfo | None:
        """A document's next revision, without the mark when nothing is left to be run; None: nothing changes."""
        all_run = self._loaded().whole and not self._cancelled.is_set() and end.comes(after, now)
        return next_revision(before, unmarked(after) if all_run else after)

    def _failed(self, rules: Iterable[Rule], identity: Identity, verdicts: Verdicts, error: ThothError) -> Verdicts:
        """The verdicts on rules that could not change a document; when it was only to lose its mark, that is told."""
        failed = all_failed(rules, identity, verdicts, error)
        if not failed:
            self._say(f"{identity}: autoanalyzers: {reason_of(error)}")
        return failed

    def _left(self, rules: Iterable[Rule], info: DumpInfo) -> Verdicts:
        """The verdicts on late rules that others are about to run, or have run."""
        applying = [rule for rule in rules if rule.applies_to(info, self._clock())]
        return {rule.name: verdict_on(info.id, rule, RuleResult.SKIPPED, ELSEWHERE) for rule in applying}

    def _analyzed(self, rule: Rule, info: DumpInfo, before: Verdicts, end: _End) -> tuple[DumpInfo, Verdicts] | None:
        """Run a rule's analyzer if the rule applies, and record what came of it. None: it is left to others."""
        now = self._clock()
        _, verdicts = settled([rule], info, before, now)
        if rule.name not in verdicts or verdicts[rule.name].result is not RuleResult.MATCHED:
            return info, verdicts
        run = RuleRun(self._thoth, rule, now, lambda current, after: self._next(current, after, end, now))
        failure: str | None = None
        try:
            with run.begun(info) as begun:
                if begun is None:
                    return None
                failure = self._failure_of_analyzer(rule, begun, run.change)
                if failure is not None and self._cancelled.is_set():
                    return info, {**verdicts, rule.name: verdict_on(info.id, rule, RuleResult.SKIPPED, failure)}
                info = run.end(failure)
        except (StoreUnavailable, IndexFailure):
            raise
        except ThothError as error:
            failure = failure or str(error)
        return info, {**verdicts, rule.name: _verdict_on_run(info.id, rule, run, failure)}

    def _failure_of_analyzer(self, rule: Rule, info: DumpInfo, change: ByStatus) -> str | None:
        """Run it; None when it did what it is for. Raises StoreUnavailable."""
        # Most rules run none.
        from thoth.analysis.analyzers import fetch  # noqa: PLC0415
        from thoth.analysis.cache import Cache  # noqa: PLC0415
        from thoth.analysis.run import Analyzer, analyze  # noqa: PLC0415

        name = rule.action.analyzer if isinstance(rule.action, RunAnalyzer) else ""
        try:
            done = analyze(
                self._thoth,
                info,
                Analyzer(name, fetch(self._thoth, name)[0]),
                cache=Cache(self._cache),
                environ=self._environ,
                change=change,
                cancelled=self._cancelled,
            )
        except StoreUnavailable:
            raise
        except ThothError as error:
            return str(error)
        except OSError as error:  # the disk of the cache is full
            return f"{name}: {error.strerror}"
        return done.reason or failure_of(name, done.status)

    # ---- the rules -------------------------------------------------------------------------------------------------

    def _loaded(self) -> RuleSet:
        rules = self._rules
        return self._load() if rules is None else rules

    def _load(self) -> RuleSet:
        with self._loading:
            if self._rules is None:
                self._rules = self._read()
            return self._rules

    def _read(self) -> RuleSet:
        try:
            rules = read_rules(self._thoth)
        except ThothError as error:
            self._say(f"autoanalyzers: {error}; what arrives is held against the rules when it is met again")
            return RuleSet(whole=False)
        for line in fault_lines(rules):
            self._say(line)
        return rules


def _verdict_on_run(identity: Identity, rule: Rule, run: RuleRun, failure: str | None) -> Verdict:
    if run.lost:
        return verdict_on(identity, rule, RuleResult.SKIPPED, ELSEWHERE)
    if failure is not None:
        return verdict_on(identity, rule, RuleResult.FAILED, failure)
    reason = f"others have changed {', '.join(run.stays)}" if run.stays else None
    return verdict_on(identity, rule, RuleResult.MATCHED, reason)


def fault_lines(rules: RuleSet) -> list[str]:
    """What is told of rules that cannot run: a line for each of the first ones, and how many more there are."""
    lines = [f"autoanalyzer {name}: cannot run: {fault}" for name, fault in rules.faults.items()]
    return lines[:_TOLD] + ([f"autoanalyzers: {len(lines) - _TOLD} more cannot run"] if len(lines) > _TOLD else [])


def concerned(thoth: Thoth, query: Query, rules: RuleSet, now: float) -> list[Identity]:
    """Those of a query's dumps that a rule applies to or, if these are all rules, whose rules are pending.

    They are as the index has them, oldest first. The first rule that applies to a dump sees it as it was, so no rule
    applies to the others. ``now``: seconds since 1970. A limit of the query is one of these dumps.
    """
    found: dict[Identity, tuple[bool, float, Identity]] = {}
    wanted = [rule.constraints(now) for rule in rules.rules]
    if rules.whole:
        wanted.append((Glob((RULES_PENDING,), "*"),))
    for constraints in wanted:
        asked = replace(query, constraints=query.constraints + constraints)
        for time, name in thoth.index.select(asked, [("time",), ("id",)]):
            identity = Identity(name)
            found[identity] = (time is not None, time or 0.0, identity)
    return sorted(found, key=found.__getitem__)[: query.limit]
