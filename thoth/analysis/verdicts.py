"""What rules make of a dump's document, and what is recorded of it there.

``autoanalyzed`` keeps for each rule that applied what became of it:

    {"OS-2359": {"version": 1, "set": "OS-2359", "time": 1700000000.5}}

``set`` is what the rule has set (claims.py), null when it has set nothing; ``replaced``, if it is there, what it had
set until others put something else in its place; ``failed``, if it is there, says why the rule failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from thoth.analysis.claims import is_others
from thoth.analysis.rules import Rule, RunAnalyzer
from thoth.edit import SetProperty, SetTicket, edited
from thoth.errors import BadDocument, IndexFailure, ThothError, UsageError
from thoth.model import DumpInfo, Identity, Json, same_json
from thoth.pending import AUTOANALYZED, record_time, rule_records
from thoth.query import label, lookup

REPLACED: Final = "replaced"  # key of a record
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


def settled(rules: Iterable[Rule], info: DumpInfo, before: Verdicts, now: float) -> tuple[DumpInfo, Verdicts]:
    """The document after these rules, and the verdicts ``before`` with theirs. No analyzer is run.

    Each rule sees the document as those before it left it. Where none changes anything it is ``info`` itself, else a
    document of the next revision. ``now``: seconds since 1970.
    """
    current, verdicts = info, dict(before)
    for rule in rules:
        if rule.applies_to(current, now):
            current, verdicts[rule.name] = _settled(rule, current, verdicts, now)
    return next_revision(info, current) or info, verdicts


def _settled(rule: Rule, info: DumpInfo, verdicts: Verdicts, now: float) -> tuple[DumpInfo, Verdict]:
    obstacle = next((name for name in rule.depends if name in verdicts and verdicts[name].stands_in_the_way), None)
    if obstacle is not None:
        reason = f"depends on {obstacle}, which {'failed' if _failed(verdicts[obstacle]) else 'was not run'}"
        return info, verdict_on(info.id, rule, RuleResult.SKIPPED, reason)
    match rule.action:
        case RunAnalyzer():
            if info.document.get("purged"):
                return info, verdict_on(info.id, rule, RuleResult.SKIPPED, "the dump was purged")
            return info, verdict_on(info.id, rule, RuleResult.MATCHED)
        case SetTicket() | SetProperty():
            return _set(rule, rule.action, info, now)


def _set(rule: Rule, action: SetTicket | SetProperty, info: DumpInfo, now: float) -> tuple[DumpInfo, Verdict]:
    """Set what the rule sets, unless somebody else has set it, or removed what the rule had set."""
    present, wanted = _present_and_wanted(action, info)
    record = rule_records(info).get(rule.name, {})
    ours, replaced = record.get("set"), record.get(REPLACED)
    if is_others(present, wanted, ours, replaced):
        if present is None:
            return info, verdict_on(info.id, rule, RuleResult.KEPT, "what this rule had set was removed")
        reason = f"has {_shown(present)}" + (" already" if same_json(present, wanted) else "")
        replaced = replaced if ours is None else ours
        kept = recorded(info, rule, None, now, replaced=replaced)
        return kept, verdict_on(info.id, rule, RuleResult.KEPT, reason)
    try:
        changed = edited(info, [action])
    except (UsageError, BadDocument) as error:
        failure = str(error)
        kept = recorded(info, rule, ours, now, failure, replaced=replaced)
        return kept, verdict_on(info.id, rule, RuleResult.FAILED, failure)
    if changed is None:
        reason = "was set by this rule before"
        return recorded(info, rule, wanted, now), verdict_on(info.id, rule, RuleResult.KEPT, reason)
    return recorded(changed, rule, wanted, now), verdict_on(info.id, rule, RuleResult.SET)


def _present_and_wanted(action: SetTicket | SetProperty, info: DumpInfo) -> tuple[Json, Json]:
    match action:
        case SetTicket(ticket):
            return info.document.get("ticket"), ticket
        case SetProperty(path, value):
            return lookup(info.document, ("properties", *path)), value


def recorded(
    info: DumpInfo, rule: Rule, value: Json, now: float, failure: str | None = None, *, replaced: Json = None
) -> DumpInfo:
    """The document with a record of a rule: what it has set, why it failed, what of it others have replaced.

    It is ``info`` itself when that says so already, but for the time.
    """
    record = {"version": rule.version, "set": value, "time": now}
    if failure is not None:
        record["failed"] = failure[:_LONGEST]
    if replaced is not None:
        record[REPLACED] = replaced
    records = rule_records(info)
    there = records.get(rule.name)
    if there is not None and same_json({**there, "time": None}, {**record, "time": None}):
        return info
    return info.changed(**{AUTOANALYZED: {**records, rule.name: record}})


def claimed(info: DumpInfo, rule: Rule, key: str = "set") -> dict[str, Json]:
    """What the analyzer of a rule has set on a dump, by the rule's record, or what of it others have replaced; empty
    for nothing."""
    ours = rule_records(info).get(rule.name, {}).get(key)
    return dict(ours) if isinstance(ours, dict) else {}


def run_since(info: DumpInfo, rule: Rule, since: float) -> Verdict | None:
    """What became of a rule whose analyzer was run after that time, by its record.

    None: it was not run, or the rule is another one now. ``since``: seconds since 1970.
    """
    record = rule_records(info).get(rule.name, {})
    time, failure = record_time(record), record.get("failed")
    if time is None or time <= since or record.get("version") != rule.version:
        return None
    if failure is not None:
        return verdict_on(info.id, rule, RuleResult.FAILED, str(failure))
    return verdict_on(info.id, rule, RuleResult.MATCHED, "was run before")


def next_revision(before: DumpInfo, after: DumpInfo) -> DumpInfo | None:
    """What has become of a document, as its next revision; None when it is the same one."""
    return None if after is before else DumpInfo({**after.document, "revision": before.revision + 1})


def _shown(value: Json) -> str:
    text = label(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def verdict_on(identity: Identity, rule: Rule, result: RuleResult, reason: str | None = None) -> Verdict:
    """What became of a rule."""
    return Verdict(identity, rule.name, rule.action_text, result, reason)


def _failed(verdict: Verdict) -> bool:
    return verdict.result is RuleResult.FAILED


def all_failed(rules: Iterable[Rule], identity: Identity, verdicts: Verdicts, error: ThothError) -> Verdicts:
    """Verdicts for those rules that wanted to change the document, or record something in it."""
    touched = (rule for rule in rules if rule.name in verdicts and not verdicts[rule.name].stands_in_the_way)
    return {rule.name: verdict_on(identity, rule, RuleResult.FAILED, reason_of(error)) for rule in touched}


def reason_of(error: ThothError) -> str:
    """Why a rule could not change a document, and what to do."""
    if isinstance(error, IndexFailure):
        return f"is stored, but not indexed: {error}; 'thoth index' does it"
    return str(error)
