"""Holding dumps against the rules of the autoanalyzers: as they arrive, and again on demand."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, Final

from thoth.analysis.claims import claims, permitted
from thoth.analysis.parallel import in_order
from thoth.analysis.rules import Rule, RuleSet, RunAnalyzer
from thoth.analysis.stored_rules import read_rules
from thoth.analysis.verdicts import (
    RuleResult,
    Verdict,
    Verdicts,
    all_failed,
    claimed,
    next_revision,
    reason_of,
    recorded,
    settled,
    verdict_on,
)
from thoth.edit import revise
from thoth.errors import IndexFailure, NoSuchDump, StoreUnavailable, ThothError
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity, Json, Result
from thoth.query import Query

if TYPE_CHECKING:
    from thoth.analysis.changes import Changes
    from thoth.analysis.run import Change

_ARRIVED: Final = frozenset({Result.STORED, Result.REPLACED, Result.STORED_UNINDEXED})
_TOLD: Final = 10  # rules that cannot run, of which each is told
_UNFINISHED: Final = "was killed when it had changed the dump"


@dataclass(frozen=True, slots=True)
class Held:
    """How far a dump that arrived was held against the rules. ``waiting``: for ``Autoanalyzer.finish``."""

    identity: Identity
    verdicts: tuple[Verdict, ...] = ()
    waiting: bool = False


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

    def arrived(self, result: Result, info: DumpInfo) -> Held:
        """Hold a dump that was taken in against the rules that need nothing but its document.

        That is one change of it at most. A dump that was there already is left alone. What goes wrong is a verdict,
        and never an exception: a dump that is stored stays stored.
        """
        if result not in _ARRIVED:
            return Held(info.id)
        rules, now = self._loaded(), self._clock()
        try:
            info, verdicts = self._settled(rules.prompt, info, {})
        except ThothError as error:
            wanted = settled(rules.prompt, info, {}, now)[1]
            return Held(info.id, tuple(all_failed(rules.prompt, info.id, wanted, error).values()))
        return Held(info.id, tuple(verdicts.values()), any(rule.applies_to(info, now) for rule in rules.late))

    def finish(self, held: Held) -> tuple[Verdict, ...]:
        """Run what is left for a dump: rules that run analyzers, and those behind them. Their verdicts."""
        before = {verdict.rule: verdict for verdict in held.verdicts}
        try:
            verdicts = self._late(self._current(held.identity), before)
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
            info, verdicts = self._settled(self._loaded().prompt, self._current(identity), {})
            return tuple(self._late(info, verdicts).values())
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

    def _late(self, info: DumpInfo, verdicts: Verdicts) -> Verdicts:
        for runs_analyzer, rules in groupby(
            self._loaded().late, key=lambda rule: isinstance(rule.action, RunAnalyzer)
        ):
            if not runs_analyzer:
                info, verdicts = self._settled(tuple(rules), info, verdicts)
                continue
            for rule in rules:
                info, verdicts = self._analyzed(rule, info, verdicts)
        return verdicts

    def _settled(self, rules: tuple[Rule, ...], info: DumpInfo, before: Verdicts) -> tuple[DumpInfo, Verdicts]:
        """The document after these rules, none of which runs an analyzer, and the verdicts. One change, or none."""
        now = self._clock()
        revised, verdicts = settled(rules, info, before, now)
        if revised is info:
            return info, verdicts

        def change(current: DumpInfo) -> DumpInfo | None:
            nonlocal verdicts
            revised, verdicts = settled(rules, current, before, now)
            return None if revised is current else revised

        try:
            return revise(self._thoth, info.id, change), verdicts
        except (StoreUnavailable, IndexFailure):
            raise
        except ThothError as error:
            return info, {**verdicts, **all_failed(rules, info.id, verdicts, error)}

    def _analyzed(self, rule: Rule, info: DumpInfo, before: Verdicts) -> tuple[DumpInfo, Verdicts]:
        """Run a rule's analyzer if the rule applies, and record on the dump that it did."""
        now = self._clock()
        _, verdicts = settled([rule], info, before, now)
        if rule.name not in verdicts or verdicts[rule.name].result is not RuleResult.MATCHED:
            return info, verdicts
        stays: list[str] = []
        failure = self._failure_of_analyzer(rule, info, _within_claims(rule, now, stays))
        if failure is not None and self._cancelled.is_set():
            return info, {**verdicts, rule.name: verdict_on(info.id, rule, RuleResult.SKIPPED, failure)}

        def done(current: DumpInfo) -> DumpInfo | None:
            return next_revision(current, recorded(current, rule, claimed(current, rule) or None, now, failure))

        try:
            info = revise(self._thoth, info.id, done)
        except (StoreUnavailable, IndexFailure):
            raise
        except ThothError as error:
            failure = failure or str(error)
        if failure is not None:
            return info, {**verdicts, rule.name: verdict_on(info.id, rule, RuleResult.FAILED, failure)}
        reason = f"others have changed {', '.join(stays)}" if stays else None
        return info, {**verdicts, rule.name: verdict_on(info.id, rule, RuleResult.MATCHED, reason)}

    def _failure_of_analyzer(self, rule: Rule, info: DumpInfo, change: Change) -> str | None:
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
        return (done.reason or f"{name}: exit status {done.status}") if done.failed else None

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
            self._say(f"autoanalyzers: {error}; no rule is held against what arrives")
            return RuleSet()
        for line in fault_lines(rules):
            self._say(line)
        return rules


def _within_claims(rule: Rule, now: float, stays: list[str]) -> Change:
    """How the changes of a rule's analyzer are made; the names of what others have set go into ``stays``."""
    from thoth.analysis.changes import changed  # noqa: PLC0415 - as above

    def change(stored: DumpInfo, changes: Changes, by: str, expanded: Mapping[str, Json] | None) -> DumpInfo | None:
        ours = claimed(stored, rule)
        edits, stays[:] = permitted(stored, changes.edits, ours)
        after = changed(stored, replace(changes, edits=edits), by, expanded) or stored
        # When we are killed after this, the rule counts as failed, and what it has set as its own.
        after = recorded(after, rule, claims(after, edits, ours) or None, now, _UNFINISHED)
        return next_revision(stored, after)

    return change


def fault_lines(rules: RuleSet) -> list[str]:
    """What is told of rules that cannot run: a line for each of the first ones, and how many more there are."""
    lines = [f"autoanalyzer {name}: cannot run: {fault}" for name, fault in rules.faults.items()]
    return lines[:_TOLD] + ([f"autoanalyzers: {len(lines) - _TOLD} more cannot run"] if len(lines) > _TOLD else [])


def concerned(thoth: Thoth, query: Query, rules: Iterable[Rule], now: float) -> list[Identity]:
    """Those of a query's dumps that a rule applies to, as the index has them, oldest first.

    The first rule that applies to a dump sees it as it was, so no rule applies to the others. ``now``: seconds since
    1970. A limit of the query is one of these dumps.
    """
    found: dict[Identity, tuple[bool, float, Identity]] = {}
    for rule in rules:
        asked = replace(query, constraints=query.constraints + rule.constraints(now))
        for time, name in thoth.index.select(asked, [("time",), ("id",)]):
            identity = Identity(name)
            found[identity] = (time is not None, time or 0.0, identity)
    return sorted(found, key=found.__getitem__)[: query.limit]
