"""Autoanalyzers: rules that dumps are held against. What a rule is, as JSON and as a value, and the order of rules.

A rule is a JSON object with the keys

    name      1 to 100 letters, digits, '-' and '_', a letter or digit first
    version   a whole number from 1 up
    matches   constraints as in a dump specification, all of which hold for a dump that the rule applies to
    depends   optional: names of rules that have to be done before
    comment   optional: a text for people
    ticket | property | analyzer
              just one of them: a ticket, {"name": ..., "value": ...}, or the name of a stored analyzer
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from math import isfinite
from typing import Any, Final, NoReturn

from thoth.edit import SetProperty, SetTicket, settable, ticket_text
from thoth.errors import UsageError
from thoth.model import DumpInfo, Json
from thoth.query import Arrived, Constraint, Newer, Older, Query, holds, parse, shown
from thoth.store.names import analyzer_name

MAX_RULES: Final = 1000
MAX_RULE: Final = 1 << 20  # bytes of one rule
MAX_VERSION: Final = (1 << 31) - 1
_MAX_DEPTH: Final = 64  # of a value; an index keeps documents of 200
_MAX_COMMENT: Final = 10_000  # characters
_SHOWN: Final = 10  # rules of a circle that are named
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")  # no dot: autoanalyzed.NAME reaches its record
_KEYS: Final = ("name", "version", "comment", "matches", "depends", "ticket", "property", "analyzer")
_ACTIONS: Final = ("ticket", "property", "analyzer")


@dataclass(frozen=True, slots=True)
class RunAnalyzer:
    """Run the stored analyzer of this name."""

    analyzer: str


Action = SetTicket | SetProperty | RunAnalyzer


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. ``query`` is what ``matches`` says with ages as they are at time 0."""

    name: str
    version: int
    matches: tuple[str, ...]
    action: Action
    depends: tuple[str, ...] = ()
    comment: str | None = None
    query: Query = field(default=Query(), compare=False, repr=False)

    def applies_to(self, info: DumpInfo, now: float) -> bool:
        """Whether all that it asks for holds for a document. ``now``: seconds since 1970, for ages."""
        return all(holds(constraint, info.document) for constraint in self.constraints(now))

    def constraints(self, now: float) -> tuple[Constraint, ...]:
        """What it asks for. ``now``: seconds since 1970, for ages."""
        return tuple(_at(constraint, now) for constraint in self.query.constraints)

    @property
    def action_text(self) -> str:
        """What it does, for people: ``ticket OS-2359``, ``property triage``, ``analyzer fmri``."""
        match self.action:
            case SetTicket(ticket):
                return f"ticket {ticket}"
            case SetProperty(path, _):
                return f"property {'.'.join(path)}"
            case RunAnalyzer(analyzer):
                return f"analyzer {analyzer}"

    @property
    def document(self) -> dict[str, Json]:
        """The rule as a JSON object, every key in its place."""
        match self.action:
            case SetTicket(ticket):
                action: dict[str, Json] = {"ticket": ticket}
            case SetProperty(path, value):
                action = {"property": {"name": ".".join(path), "value": value}}
            case RunAnalyzer(analyzer):
                action = {"analyzer": analyzer}
        comment = {} if self.comment is None else {"comment": self.comment}
        depends = {"depends": list(self.depends)} if self.depends else {}
        head = {"name": self.name, "version": self.version, **comment}
        return {**head, "matches": list(self.matches), **depends, **action}


def _at(constraint: Constraint, now: float) -> Constraint:
    match constraint:
        case Newer(than):
            return Newer(than + now)
        case Older(than):
            return Older(than + now)
        case Arrived(than):
            return Arrived(than + now)
    return constraint


def is_rule_name(text: str) -> bool:
    """Whether a rule can be called so."""
    return _NAME.fullmatch(text) is not None


# ---- from JSON ------------------------------------------------------------------------------------


def parse_rules(data: bytes, origin: str) -> tuple[Rule, ...]:
    """The rules of a JSON text: one, or an array of them. Raises UsageError, naming ``origin``, rule and key."""
    try:
        value = json.loads(data, object_pairs_hook=_object, parse_constant=_refused, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{origin}: not JSON: {error}") from error
    items = value if isinstance(value, list) else [value]
    if not items or len(items) > MAX_RULES:
        raise UsageError(f"{origin}: {len(items)} rules; 1 to {MAX_RULES} are taken at a time")
    rules = tuple(_rule(item, f"{origin}: {_called(item, index)}") for index, item in enumerate(items, 1))
    names = [rule.name for rule in rules]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{origin}: rule {twice}: name: is there twice")
    return rules


def _called(item: Json, index: int) -> str:
    name = item.get("name") if isinstance(item, dict) else None
    return f"rule {name if is_rule_name(name) else shown(name)}" if isinstance(name, str) else f"rule {index}"


def _object(pairs: Sequence[tuple[str, Json]]) -> dict[str, Json]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("an object has a key twice")
    return members


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    return number if isfinite(number) else _refused(digits)


def _rule(item: Json, where: str) -> Rule:
    if not isinstance(item, dict):
        raise UsageError(f"{where}: a rule is a JSON object")
    unknown = next((key for key in item if key not in _KEYS), None)
    if unknown is not None:
        raise UsageError(f"{where}: {shown(unknown)}: no such key; known are {', '.join(_KEYS)}")
    matches = _taken(item, where, "matches", _matches)
    return Rule(
        name=_taken(item, where, "name", _name),
        version=_taken(item, where, "version", _version),
        matches=matches,
        action=_action(item, where),
        depends=_taken(item, where, "depends", _depends) if "depends" in item else (),
        comment=_taken(item, where, "comment", _comment) if "comment" in item else None,
        query=parse(matches, now=0.0)[0],
    )


def _taken(item: Mapping[str, Json], where: str, key: str, read: Callable[[Json], Any]) -> Any:
    """What ``read`` makes of the value of a key. Raises UsageError, naming both."""
    if key not in item:
        raise UsageError(f"{where}: {key}: is missing")
    try:
        return read(item[key])
    except UsageError as error:
        raise UsageError(f"{where}: {key}: {error}") from None


def _name(value: Json) -> str:
    if not isinstance(value, str) or not is_rule_name(value):
        raise UsageError("must be 1 to 100 letters, digits, '-' and '_', a letter or digit first")
    return value


def _version(value: Json) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_VERSION:
        raise UsageError(f"must be a whole number from 1 to {MAX_VERSION}")
    return value


def _comment(value: Json) -> str:
    if not isinstance(value, str) or len(value) > _MAX_COMMENT:
        raise UsageError(f"must be a text of at most {_MAX_COMMENT} characters")
    return value


def _texts(value: Json) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise UsageError("must be an array of texts")
    return tuple(value)


def _matches(value: Json) -> tuple[str, ...]:
    words = _texts(value)
    if not words:
        raise UsageError("must name a constraint; 'id=*' holds for every dump")
    for word in words:
        key, equals, wanted = word.partition("=")
        if not equals:
            raise UsageError(f"{shown(word)}: not a constraint: PROPERTY=VALUE is one")
        if key == "limit":
            raise UsageError(f"{shown(word)}: a rule is held against one dump; there is nothing to limit")
        if key in ("dump", "dumps", "name") and wanted == "stdin":
            raise UsageError(f"{shown(word)}: a rule has no standard input")
    parse(words, now=0.0)
    return words


def _depends(value: Json) -> tuple[str, ...]:
    names = _texts(value)
    wrong = next((name for name in names if not is_rule_name(name)), None)
    if wrong is not None:
        raise UsageError(f"{shown(wrong)} is not a rule's name")
    if len(set(names)) < len(names) or len(names) > MAX_RULES:
        raise UsageError(f"must be at most {MAX_RULES} names, each of them once")
    return names


def _action(item: Mapping[str, Json], where: str) -> Action:
    given = [key for key in _ACTIONS if key in item]
    if len(given) != 1:
        raise UsageError(f"{where}: {' and '.join(given) or 'ticket'}: there must be one of {', '.join(_ACTIONS)}")
    readers: dict[str, Callable[[Json], Action]] = {
        "ticket": _ticket,
        "property": _property,
        "analyzer": _analyzer,
    }
    action: Action = _taken(item, where, given[0], readers[given[0]])
    return action


def _ticket(value: Json) -> SetTicket:
    if not isinstance(value, str):
        raise UsageError("must be a text")
    return SetTicket(ticket_text(value))


def _property(value: Json) -> SetProperty:
    if not isinstance(value, dict) or set(value) != {"name", "value"}:
        raise UsageError('must be {"name": ..., "value": ...}')
    if not isinstance(value["name"], str):
        raise UsageError("name: must be a text")
    if value["value"] is None:
        raise UsageError("value: null is what a property has that is not set")
    if _is_deeper(value["value"], _MAX_DEPTH):
        raise UsageError(f"value: nested more than {_MAX_DEPTH} deep")
    return SetProperty(settable(value["name"]), value["value"])


def _is_deeper(value: Json, levels: int) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(_is_deeper(each, levels - 1) for each in inside)


def _analyzer(value: Json) -> RunAnalyzer:
    if not isinstance(value, str):
        raise UsageError("must be the name of an analyzer")
    analyzer_name("thoth", value)  # what cannot be a name raises
    return RunAnalyzer(value)


# ---- the order ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Rules in the order in which they run, each behind those that it depends on.

    ``prompt`` are those that need nothing but the document. ``late`` run an analyzer, or depend on one that does.
    ``faults``: name -> why a rule cannot run: what it depends on is not there, or a circle. ``whole``: these are all
    rules that there are; not so when some were chosen, or they could not be read.
    """

    prompt: tuple[Rule, ...] = ()
    late: tuple[Rule, ...] = ()
    faults: Mapping[str, str] = field(default_factory=dict)
    whole: bool = True

    @classmethod
    def of(cls, rules: Iterable[Rule]) -> RuleSet:
        """These rules in order: behind what they depend on, the prompt ones first, then by name."""
        named = {rule.name: rule for rule in rules}
        order = _sorted(named)
        late: set[str] = set()
        for rule in order:
            if isinstance(rule.action, RunAnalyzer) or not late.isdisjoint(rule.depends):
                late.add(rule.name)
        return cls(
            tuple(rule for rule in order if rule.name not in late),
            tuple(rule for rule in order if rule.name in late),
            _faults(named, {rule.name for rule in order}),
        )

    @property
    def rules(self) -> tuple[Rule, ...]:
        """All that can run."""
        return self.prompt + self.late

    def only(self, names: Iterable[str]) -> RuleSet:
        """These rules and those that they depend on. Raises UsageError for one that is not there."""
        there = {rule.name: rule for rule in self.rules}
        wanted: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in there:
                raise UsageError(f"rule {shown(name)}: {self.faults.get(name) or no_such_rule()}")
            if name not in wanted:
                wanted.add(name)
                waiting += there[name].depends
        return RuleSet(
            tuple(rule for rule in self.prompt if rule.name in wanted),
            tuple(rule for rule in self.late if rule.name in wanted),
            whole=self.whole and len(wanted) == len(there),
        )


def no_such_rule() -> str:
    """What is said of a rule that is not there."""
    return "there is no such rule; 'thoth autoanalyzers ls' lists them"


def _sorted(named: Mapping[str, Rule]) -> list[Rule]:
    """The rules behind those that they depend on, else by name; without those for which that cannot be."""
    needed = {name: len(rule.depends) for name, rule in named.items()}
    behind: dict[str, list[str]] = {name: [] for name in named}
    for rule in named.values():
        for name in rule.depends:
            if name in behind:
                behind[name].append(rule.name)
    free = [name for name, count in needed.items() if not count]
    heapify(free)
    order: list[Rule] = []
    while free:
        name = heappop(free)
        order.append(named[name])
        for each in behind[name]:
            needed[each] -= 1
            if not needed[each]:
                heappush(free, each)
    return order


def _faults(named: Mapping[str, Rule], sound: set[str]) -> dict[str, str]:
    """Why each rule that is not sound cannot run, in time proportional to the dependencies."""
    found: dict[str, str] = {}
    next_one: dict[str, str] = {}  # a rule -> the first of those that keep it from running
    for name in sorted(named.keys() - sound):
        missing = [each for each in named[name].depends if each not in named]
        if missing:
            found[name] = f"depends on {min(missing)}, which is not there"
        else:
            next_one[name] = min(each for each in named[name].depends if each not in sound)
    for circle in _circles(next_one):
        shown_ones = [*circle[:_SHOWN], *(["..."] if len(circle) > _SHOWN else []), circle[0]]
        found.update(dict.fromkeys(circle, f"depends on itself: {' -> '.join(shown_ones)}"))
    return {name: f"depends on {each}, which cannot run" for name, each in next_one.items()} | found


def _circles(next_one: Mapping[str, str]) -> Iterator[list[str]]:
    """The circles that going on from one to the next leads into."""
    seen: dict[str, str] = {}  # name -> where the walk that came by first had begun
    for start in next_one:
        way: list[str] = []
        current = start
        while current in next_one and current not in seen:
            seen[current] = start
            way.append(current)
            current = next_one[current]
        if seen.get(current) == start and current in way:
            yield way[way.index(current) :]
