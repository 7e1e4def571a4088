"""The rules of the autoanalyzers in the store: ``/USER/stor/thoth/autoanalyzers/NAME.json``, a rule each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from thoth.analysis.rules import (
    MAX_RULE,
    MAX_RULES,
    Rule,
    RuleSet,
    RunAnalyzer,
    is_rule_name,
    no_such_rule,
    parse_rules,
)
from thoth.errors import NoSuchObject, PreconditionFailed, StoreError, StoreUnavailable, UsageError
from thoth.library import Thoth
from thoth.model import Json
from thoth.query import shown
from thoth.store.base import ABSENT, Entry
from thoth.store.names import autoanalyzer_name, autoanalyzers_dir

MAX_TOTAL: Final = 16 << 20  # bytes of all rules: every arrival of a dump has them in memory


@dataclass(frozen=True, slots=True)
class StoredRule:
    """A rule's object. ``rule`` is None when it cannot be read: ``fault`` says why. ``name`` can be shown."""

    name: str
    etag: str
    size: int  # bytes
    rule: Rule | None = None
    fault: str = ""


class Uploaded(NamedTuple):
    """What became of a rule: ``added``, ``replaced``, or ``unchanged``."""

    rule: Rule
    result: str


def stored_rules(thoth: Thoth) -> list[StoredRule]:
    """All rules of the store, by name; where there are none it is asked once. Raises StoreError.

    What cannot be read is among them. Those over the limits of number and size are not read.
    """
    found: list[StoredRule] = []
    left = MAX_TOTAL
    for entry in _entries(thoth):
        rule = _read(thoth, entry, left, full=len(found) >= MAX_RULES)
        if rule is None:
            continue
        left -= rule.size if rule.rule else 0
        found.append(rule)
        if len(found) > MAX_RULES:
            break
    return found


def read_rules(thoth: Thoth) -> RuleSet:
    """The rules of the store in their order; why some of them cannot run is among its faults. Raises StoreError."""
    return in_order(stored_rules(thoth))


def in_order(stored: Sequence[StoredRule]) -> RuleSet:
    """These rules in their order; those that cannot be read are among its faults."""
    rules = RuleSet.of(each.rule for each in stored if each.rule)
    return replace(rules, faults={**{each.name: each.fault for each in stored if not each.rule}, **rules.faults})


def _entries(thoth: Thoth) -> Iterator[Entry]:
    return iter(thoth.store.list(autoanalyzers_dir(thoth.user)))


def _read(thoth: Thoth, entry: Entry, left: int, *, full: bool) -> StoredRule | None:
    """A rule as the store has it; None for one that was removed since it was listed."""
    name = entry.name.removesuffix(".json")
    if entry.directory or name == entry.name or not is_rule_name(name):
        return StoredRule(shown(entry.name), "", entry.size, fault="is not called as a rule is, NAME.json")
    if full or entry.size > min(MAX_RULE, left):
        fault = f"there are more than {MAX_RULES} rules" if full else _too_large(entry.size)
        return StoredRule(name, "", entry.size, fault=fault)
    try:
        data, etag = thoth.store.get(autoanalyzer_name(thoth.user, name))
    except NoSuchObject:
        return None
    except StoreUnavailable:
        raise
    except StoreError as error:
        return StoredRule(name, "", entry.size, fault=str(error))
    return _parsed(name, data, etag)


def _parsed(name: str, data: bytes, etag: str) -> StoredRule:
    try:
        rules = parse_rules(data, "in the store")
    except UsageError as error:
        return StoredRule(name, etag, len(data), fault=str(error))
    if len(rules) != 1 or rules[0].name != name:
        return StoredRule(name, etag, len(data), fault="in the store: is not one rule of this name")
    return StoredRule(name, etag, len(data), rules[0])


def _too_large(size: int) -> str:
    return f"has {size} bytes; a rule has up to {MAX_RULE}, and all of them together {MAX_TOTAL}"


# ---- changing them --------------------------------------------------------------------------------


def upload_rules(thoth: Thoth, rules: Sequence[Rule], *, force: bool = False) -> list[Uploaded]:
    """Store rules; all of them or, when one is refused, none. In the order in which they run.

    A higher version takes the place of a lower one, with ``force`` also the other way round. Raises UsageError, which
    names the rule and the key, and StoreError; when the store fails in between, what it has is a set that can run.
    """
    there = {each.name: each for each in stored_rules(thoth)}
    changed = [rule for rule in rules if _is_news(rule, there.get(rule.name), force=force)]
    _check_set(there, changed)
    for rule in changed:
        _check_names(thoth, rule)
        _check_analyzer(thoth, rule)
    unchanged = [Uploaded(rule, "unchanged") for rule in rules if rule not in changed]
    return unchanged + [_put(thoth, rule, there.get(rule.name)) for rule in _in_order(there, changed)]


def remove_rules(thoth: Thoth, names: Iterable[str]) -> list[str]:
    """Remove rules, all or none; those that depend on others go first. Returns the names in that order.

    Raises UsageError for one that is not there or that another one depends on, and StoreError. What the rules have
    set on dumps, and the records of that, stay.
    """
    there = {each.name: each for each in stored_rules(thoth)}
    gone = dict.fromkeys(names)
    for name in gone:
        if name not in there or not is_rule_name(name):
            raise UsageError(f"rule {shown(name)}: {no_such_rule()}")
    kept = [each.rule for each in there.values() if each.rule and each.name not in gone]
    for rule in kept:
        needed = [name for name in rule.depends if name in gone]
        if needed:
            raise UsageError(f"rule {needed[0]}: {rule.name} depends on it; remove that too, or upload it without")
    order = [rule.name for rule in _runnable(there, ()).rules if rule.name in gone]
    order = [name for name in gone if name not in order] + order[::-1]
    for name in order:
        _delete(thoth, name)
    return order


def _is_news(rule: Rule, there: StoredRule | None, *, force: bool) -> bool:
    """Whether a rule differs from the stored one. Raises UsageError when it may not take its place."""
    if there is None or there.rule is None:
        return True
    if rule.version > there.rule.version:
        return True
    if _text(rule.document) == _text(there.rule.document):
        return False
    version = f"rule {rule.name}: version: {there.rule.version} is stored"
    if rule.version == there.rule.version:
        raise UsageError(f"{version} with other content; raise the version")
    if not force:
        raise UsageError(f"{version}, and {rule.version} is lower; raise it, or use --force")
    return True


def _text(value: Json) -> str:
    return json.dumps(value, sort_keys=True)  # in Python 1, 1.0 and true are equal


def _check_set(there: dict[str, StoredRule], changed: Sequence[Rule]) -> None:
    """Raises UsageError when the rules, as they would be, could not run."""
    names = there.keys() | {rule.name for rule in changed}
    if changed and len(names) > MAX_RULES:
        raise UsageError(f"there would be {len(names)} rules; {MAX_RULES} at most")
    sizes = {each.name: each.size for each in there.values() if each.rule} | {
        rule.name: len(_stored_form(rule)) for rule in changed
    }
    for rule in changed:
        if sizes[rule.name] > MAX_RULE:
            raise UsageError(f"rule {rule.name}: {_too_large(sizes[rule.name])}")
    if changed and sum(sizes.values()) > MAX_TOTAL:
        raise UsageError(f"all rules together would have {sum(sizes.values())} bytes; {MAX_TOTAL} at most")
    faults = _runnable(there, changed).faults
    for rule in changed:
        if rule.name in faults:
            raise UsageError(f"rule {rule.name}: depends: {faults[rule.name]}")


def with_analyzers(thoth: Thoth, rules: RuleSet) -> RuleSet:
    """The same rules, and as a fault each that runs an analyzer which has been removed since."""
    from thoth.analysis.analyzers import listed  # noqa: PLC0415 - as below

    there = {name.rpartition("/")[2] for name in listed(thoth)}
    gone = {
        rule.name: f"there is no analyzer {rule.action.analyzer!r}"
        for rule in rules.late
        if isinstance(rule.action, RunAnalyzer) and rule.action.analyzer not in there
    }
    return replace(rules, faults={**rules.faults, **gone})


def _check_names(thoth: Thoth, rule: Rule) -> None:
    from thoth.spelling import names, unknown  # noqa: PLC0415 - as below

    for line in unknown(thoth.index, names(rule.query)):
        raise UsageError(f"rule {rule.name}: matches: {line}")


def _check_analyzer(thoth: Thoth, rule: Rule) -> None:
    from thoth.analysis.analyzers import fetch  # noqa: PLC0415 - what holds arriving dumps against rules needs none

    if isinstance(rule.action, RunAnalyzer):
        try:
            fetch(thoth, rule.action.analyzer)
        except UsageError as error:
            raise UsageError(f"rule {rule.name}: analyzer: {error}") from error


def _runnable(there: dict[str, StoredRule], changed: Iterable[Rule]) -> RuleSet:
    stored = {each.name: each.rule for each in there.values() if each.rule}
    return RuleSet.of((stored | {rule.name: rule for rule in changed}).values())


def _in_order(there: dict[str, StoredRule], changed: Sequence[Rule]) -> list[Rule]:
    """As they will run: each is stored after those that it depends on, so the set can run at every moment."""
    names = {rule.name for rule in changed}
    return [rule for rule in _runnable(there, changed).rules if rule.name in names]


def _put(thoth: Thoth, rule: Rule, there: StoredRule | None) -> Uploaded:
    place = autoanalyzer_name(thoth.user, rule.name)
    etag = there.etag or None if there else ABSENT
    try:
        thoth.store.put(place, _stored_form(rule), if_match=etag)
    except PreconditionFailed as error:
        raise StoreError(f"rule {rule.name}: was changed by somebody else meanwhile; upload it again") from error
    return Uploaded(rule, "replaced" if there else "added")


def _stored_form(rule: Rule) -> bytes:
    return (json.dumps(rule.document, indent=4) + "\n").encode("ascii")


def _delete(thoth: Thoth, name: str) -> None:
    try:
        thoth.store.delete(autoanalyzer_name(thoth.user, name))
    except NoSuchObject:
        return  # somebody else was faster
