"""Holding dumps against the rules of the autoanalyzers: as they arrive, and again on demand.

A dump's document keeps what became of it in ``autoanalyzed``, for each rule that applied:

    {"OS-2359": {"version": 1, "set": "OS-2359", "time": 1700000000.5}}

``set`` is what the rule has set (claims.py), null when it has set nothing; ``failed``, if it is there, says why the
rule failed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from itertools import groupby
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, Final

from thoth.analysis.claims import claims, is_others, permitted, same
from thoth.analysis.parallel import in_order

from thoth.analysis.rules import Rule, RuleSet, RunAnalyzer
from thoth.analysis.stored_rules import read_rules
from thoth.edit import SetProperty, SetTicket, edited, revise
from thoth.errors import BadDocument, IndexFailure, NoSuchDump, StoreUnavailable, ThothError, UsageError
from thoth.index.base import TIME
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity, Json, Result
from thoth.query import Query, label, lookup

if TYPE_CHECKING:
    from thoth.analysis.changes import Changes

AUTOANALYZED: Final = "autoanalyzed"  # key of the document
_ARRIVED: Final = frozenset({Result.STORED, Result.REPLACED, Result.STORED_UNINDEXED})
_TOLD: Final = 10  # rules that cannot run, of which each is told
_LONGEST: Final = 200  # characters of a value that a reason shows, and of a failure that is recorded


class RuleResult(Enum):
    """What became of a rule that applies to a dump; the value is the word that reports and JSON use."""

    SET = "set"  # now, by this rule
    KEPT = "kept"  # what is set was left as it is
    MATCHED = "matched"  # its analyzer has run or, in a dry run, would
    FAILED = "failed"
    SKIPPED = "skipped"  # it was not run


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one rule on one dump. ``reason`` is one line for people, and may hold foreign text."""

    identity: Identity
    rule: str
    action: str  # as Rule.action_text has it
    result: RuleResult
    reason: str | None = None

    @property
    def stands_in_the_way(self) -> bool:
        """Whether rules that depend on this one are not run."""
        return self.result in (RuleResult.FAILED, RuleResult.SKIPPED)


Verdicts = Mapping[str, Verdict]  # of one dump, by rule, in the order in which they were reached


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

    def arrived(self, result: Result, info: DumpInfo) -> Held:
        """Hold a dump that was taken in against the rules that need nothing but its document.

        That is one change of it at most. A dump that was there already is left alone. What goes wrong is a verdict,
        and never an exception: a dump that is stored stays stored.
        """
        return self._prompt(info) if result in _ARRIVED else Held(info.id)

    def finish(self, held: Held) -> tuple[Verdict, ...]:
        """Run what is left for a dump: rules that run analyzers, and those behind them. All verdicts on the dump."""
        before = {verdict.rule: verdict for verdict in held.verdicts}
        try:
            current = self._thoth.stored_info(held.identity)
            if current is None:
                raise NoSuchDump(f"no such dump: {held.identity}")
            return tuple(self._late(current[0], before).values())
        except ThothError as error:
            reason = str(error)
            left = [rule for rule in self._loaded().late if rule.name not in before]
            return (*held.verdicts, *(_verdict(held.identity, rule, RuleResult.FAILED, reason) for rule in left))

    def run(self, identity: Identity) -> tuple[Verdict, ...]:
        """Hold a dump against all the rules. Raises NoSuchDump, StoreError and BadDocument when it cannot be read."""
        current = self._thoth.stored_info(identity)
        if current is None:
            raise NoSuchDump(f"no such dump: {identity}")
        held = self._prompt(current[0])
        return self.finish(held) if held.waiting else held.verdicts

    # ---- the steps -------------------------------------------------------------------------------------------------

    def _prompt(self, info: DumpInfo) -> Held:
        rules = self._loaded()
        info, verdicts = self._settled(rules.prompt, info, {})
        now = self._clock()
        return Held(info.id, tuple(verdicts.values()), any(rule.applies_to(info, now) for rule in rules.late))

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
        except ThothError as error:
            return info, {**verdicts, **_all_failed(rules, info.id, verdicts, error)}

    def _analyzed(self, rule: Rule, info: DumpInfo, before: Verdicts) -> tuple[DumpInfo, Verdicts]:
        """Run a rule's analyzer if the rule applies, and record on the dump that it did."""
        now = self._clock()
        _, verdicts = settled([rule], info, before, now)
        if rule.name not in verdicts or verdicts[rule.name].result is not RuleResult.MATCHED:
            return info, verdicts
        failure = self._failure_of_analyzer(rule, info)
        record = _record(rule, None, now, failure)
        try:
            info = revise(
                self._thoth, info.id, lambda current: _if_changed(current, _recorded(current, rule, record))
            )
        except ThothError as error:
            failure = failure or str(error)
        if failure is None:
            return info, verdicts
        return info, {**verdicts, rule.name: _verdict(info.id, rule, RuleResult.FAILED, failure)}

    def _failure_of_analyzer(self, rule: Rule, info: DumpInfo) -> str | None:
        """Run it; None when it did what it is for."""
        # Most rules run none.
        from thoth.analysis.analyzers import fetch  # noqa: PLC0415
        from thoth.analysis.cache import Cache  # noqa: PLC0415
        from thoth.analysis.run import Analyzer, analyze  # noqa: PLC0415

        if not isinstance(rule.action, RunAnalyzer):
            return None
        name = rule.action.analyzer
        try:
            script, _ = fetch(self._thoth, name)
            task = Analyzer(name, script)
            done = analyze(self._thoth, info, task, cache=Cache(self._cache), environ=self._environ)
        except ThothError as error:
            return str(error)
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


def fault_lines(rules: RuleSet) -> list[str]:
    """What is told of rules that cannot run: a line for each of the first ones, and how many more there are."""
    lines = [f"autoanalyzer {name}: cannot run: {fault}" for name, fault in rules.faults.items()]
    return lines[:_TOLD] + ([f"autoanalyzers: {len(lines) - _TOLD} more cannot run"] if len(lines) > _TOLD else [])


# ---- what rules make of a document ----------------------------------------------------------------


def settled(rules: Iterable[Rule], info: DumpInfo, before: Verdicts, now: float) -> tuple[DumpInfo, Verdicts]:
    """The document after these rules, and the verdicts ``before`` with theirs. No analyzer is run.

    Each rule sees the document as those before it left it. Where none changes anything it is ``info`` itself, else a
    document of the next revision. ``now``: seconds since 1970.
    """
    current, verdicts = info, dict(before)
    for rule in rules:
        if rule.applies_to(current, now):
            current, verdicts[rule.name] = _settled(rule, current, verdicts, now)
    if current is info:
        return info, verdicts
    return DumpInfo({**current.document, "revision": info.revision + 1}), verdicts


def _settled(rule: Rule, info: DumpInfo, verdicts: Verdicts, now: float) -> tuple[DumpInfo, Verdict]:
    obstacle = next((name for name in rule.depends if name in verdicts and verdicts[name].stands_in_the_way), None)
    if obstacle is not None:
        reason = f"depends on {obstacle}, which {'failed' if _failed(verdicts[obstacle]) else 'was not run'}"
        return info, _verdict(info.id, rule, RuleResult.SKIPPED, reason)
    match rule.action:
        case RunAnalyzer():
            if info.document.get("purged"):
                return info, _verdict(info.id, rule, RuleResult.SKIPPED, "the dump was purged")
            return info, _verdict(info.id, rule, RuleResult.MATCHED)
        case SetTicket() | SetProperty():
            return _set(rule, rule.action, info, now)


def _set(rule: Rule, action: SetTicket | SetProperty, info: DumpInfo, now: float) -> tuple[DumpInfo, Verdict]:
    """Set what the rule sets, unless somebody else has set it."""
    present, wanted = _present_and_wanted(action, info)
    ours = _records(info).get(rule.name, {}).get("set")
    if present not in (None, "") and not _same(present, ours):
        reason = f"has {_shown(present)}" + (" already" if _same(present, wanted) else "")
        return _recorded(info, rule, _record(rule, None, now)), _verdict(info.id, rule, RuleResult.KEPT, reason)
    try:
        changed = edited(info, [action])
    except (UsageError, BadDocument) as error:
        record = _record(rule, ours, now, str(error))
        return _recorded(info, rule, record), _verdict(info.id, rule, RuleResult.FAILED, str(error))
    record = _record(rule, wanted, now)
    if changed is None:
        reason = "was set by this rule before"
        return _recorded(info, rule, record), _verdict(info.id, rule, RuleResult.KEPT, reason)
    return _recorded(changed, rule, record), _verdict(info.id, rule, RuleResult.SET)


def _present_and_wanted(action: SetTicket | SetProperty, info: DumpInfo) -> tuple[Json, Json]:
    match action:
        case SetTicket(ticket):
            return info.document.get("ticket"), ticket
        case SetProperty(path, value):
            return lookup(info.document, ("properties", *path)), value


def _record(rule: Rule, value: Json, now: float, failure: str | None = None) -> dict[str, Json]:
    record = {"version": rule.version, "set": value, "time": now}
    return record if failure is None else {**record, "failed": failure[:_LONGEST]}


def _recorded(info: DumpInfo, rule: Rule, record: Mapping[str, Json]) -> DumpInfo:
    """The document with this record of a rule; itself when the record says so already, but for the time."""
    records = _records(info)
    there = records.get(rule.name)
    if there is not None and _same({**there, "time": None}, {**record, "time": None}):
        return info
    return info.changed(**{AUTOANALYZED: {**records, rule.name: dict(record)}})


def _records(info: DumpInfo) -> Mapping[str, Mapping[str, Json]]:
    """The records of a document, those left out that are none."""
    value = info.document.get(AUTOANALYZED)
    records = value if isinstance(value, dict) else {}
    return {name: record for name, record in records.items() if isinstance(record, dict)}


def _if_changed(before: DumpInfo, after: DumpInfo) -> DumpInfo | None:
    return None if after is before else after


def _same(one: Json, other: Json) -> bool:
    """Whether two values are the same JSON; in Python 1, 1.0 and true are equal."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _shown(value: Json) -> str:
    text = label(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _verdict(identity: Identity, rule: Rule, result: RuleResult, reason: str | None = None) -> Verdict:
    return Verdict(identity, rule.name, rule.action_text, result, reason)


def _failed(verdict: Verdict) -> bool:
    return verdict.result is RuleResult.FAILED


def _all_failed(rules: Iterable[Rule], identity: Identity, verdicts: Verdicts, error: ThothError) -> Verdicts:
    """Verdicts for those rules that wanted to change the document, or record something in it."""
    touched = (rule for rule in rules if rule.name in verdicts and not verdicts[rule.name].stands_in_the_way)
    unindexed = isinstance(error, IndexFailure)
    reason = f"is stored, but not indexed: {error}; 'thoth index' does it" if unindexed else str(error)
    return {rule.name: _verdict(identity, rule, RuleResult.FAILED, reason) for rule in touched}
