"""A query as conditions in ReQL, and what of it is left to ``thoth.query``.

What ReQL can only narrow down, and not decide, stays in ``residual`` for ``thoth.query.holds``. Of a row with fields
that RethinkDB cannot hold, the conditions on these are *unsure* and those on others decided; a row that stands apart
is judged by ``thoth.query.matches`` in the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeGuard

from rethinkdb import r

from thoth.glob import glob_matches
from thoth.index.reql import (
    Condition,
    Term,
    bound,
    is_askable,
    is_between,
    is_of,
    number_term,
    value_at,
)
from thoth.index.rethink_rows import EXACT, FIELD, POINTS
from thoth.index.rethink_values import MAX_WHOLE, is_text
from thoth.query import (
    MAX_PATTERN,
    Arrived,
    Constraint,
    Equals,
    Glob,
    KeyPath,
    Named,
    Newer,
    Older,
    Timeless,
    Undefined,
    number,
)

_NUMERIC: Final = frozenset("0123456789+-.e")
_SPECIAL: Final = re.compile(r"[\\^$.|?*+()\[\]{}]")
_MOST_PREFIXES: Final = 100  # in one condition


@dataclass(frozen=True, slots=True)
class Asked:
    """What a query asks of rows.

    ``conditions`` hold for each row that it means, but for its time: that lies after ``low`` and before ``high``, and
    there is none when ``timeless``. They are enough, ``residual`` aside, for a timed row in these bounds that is not
    unsure. Each has the field that it is about; None: the identity.
    """

    conditions: tuple[tuple[str | None, Condition], ...]
    residual: tuple[Constraint, ...]
    low: float | None
    high: float | None
    timeless: bool
    signature: str | None  # which each row has that is meant, as text; None: any

    @property
    def fields(self) -> frozenset[str]:
        """The fields that the conditions are about."""
        return frozenset(field for field, _ in self.conditions if field is not None)

    def of_timed(self, rows: Term) -> Term:
        """Those of timed rows for which the conditions hold for sure."""
        return rows.filter(self._surely()) if self.conditions else rows

    def of_unsure(self, rows: Term) -> Term:
        """Those of rows that are timed, in the bounds, and unsure, and for which the other conditions hold."""
        bounded = rows.filter(lambda row: is_between(row, self.low, self.high) & _is_unsure(row, self.fields))
        return self.of_apart(bounded)

    def of_apart(self, rows: Term) -> Term:
        """Those of rows for which the conditions hold, or are unsure."""
        return rows.filter(self._perhaps()) if self.conditions else rows

    def _surely(self) -> Condition:
        def all_hold(row: Term) -> Term:
            sure = row.has_fields(FIELD).not_() | _is_unsure(row, self.fields).not_()  # most have none
            return r.and_(*(holds(row) for _, holds in self.conditions), sure)

        return all_hold

    def _perhaps(self) -> Condition:
        def may_hold(row: Term) -> Term:
            each = ((_is_unsure(row, [field] if field else []), holds(row)) for field, holds in self.conditions)
            return r.and_(*(r.or_(held, unsure) for unsure, held in each))

        return may_hold


def _is_unsure(row: Term, fields: Iterable[str]) -> Term:
    """Whether a row has one of these as text beside it, or all of its document."""

    def among(exact: Term) -> Term:
        of_fields = r.or_(False, *(exact[field].default(None).ne(None) for field in sorted(fields) if is_text(field)))
        return r.branch(is_of(exact, "OBJECT"), of_fields, exact.ne(None))

    return value_at(row, (FIELD, EXACT)).do(among) if fields else r.expr(False)


def asked_of(constraints: Iterable[Constraint]) -> Asked:
    """What constraints ask."""
    every = tuple(constraints)
    compiled = [(each, _compiled(each)) for each in every if not isinstance(each, Newer | Older | Timeless)]
    return Asked(
        tuple((_field(each), condition) for each, (condition, _) in compiled if condition is not None),
        tuple(constraint for _, (_, constraint) in compiled if constraint is not None),
        max((each.than for each in every if isinstance(each, Newer)), default=None),
        min((each.than for each in every if isinstance(each, Older)), default=None),
        any(isinstance(each, Timeless) for each in every),
        next((each.text for each in every if _is_signature(each)), None),
    )


def _field(constraint: Equals | Glob | Undefined | Arrived | Named) -> str | None:
    return None if isinstance(constraint, Named) else constraint.path[0]


def _is_signature(constraint: Constraint) -> TypeGuard[Equals]:
    """Whether a constraint asks for one signature, which is text that writes nothing else."""
    if not isinstance(constraint, Equals) or constraint.path != ("signature",):
        return False
    text = constraint.text
    return is_text(text) and number(text) is None and text not in ("true", "false")


def _compiled(  # noqa: PLR0911 - one for each case
    constraint: Equals | Glob | Undefined | Arrived | Named,
) -> tuple[Condition | None, Constraint | None]:
    """The condition, and the constraint again when the condition is not enough."""
    match constraint:
        case Named(prefixes):
            return (None, constraint) if len(prefixes) > _MOST_PREFIXES else (_begins(prefixes), None)
        case Equals(path) | Glob(path) | Undefined(path) if not is_askable(path):
            return _always if isinstance(constraint, Undefined) else _never, None
        case Equals(_, text) | Glob(_, text) if not is_text(text):
            return _never, None
        case Undefined(path):
            return lambda row: value_at(row, path).eq(None), None
        case Arrived(than):
            return _arrived(constraint.path, than), None
        case Equals():
            return _equals(constraint)
        case Glob(_, pattern) if len(pattern) > MAX_PATTERN:
            return None, constraint
        case Glob():
            return _matches(constraint)


def _arrived(path: KeyPath, than: float) -> Condition:
    return lambda row: value_at(row, path).do(lambda at: r.branch(is_of(at, "NUMBER"), at.gt(bound(than)), False))


def _always(row: Term) -> Term:
    return r.expr(True)


def _never(row: Term) -> Term:
    return r.expr(False)


def _begins(prefixes: frozenset[str]) -> Condition:
    told = sorted(prefix for prefix in prefixes if is_text(prefix))
    return lambda row: r.or_(False, *(row["id"].ge(each) & row["id"].lt(each + "g") for each in told))


def _equals(constraint: Equals) -> tuple[Condition, Constraint | None]:
    text, wanted = constraint.text, number(constraint.text)
    same: list[Term] = [text]
    if text in ("true", "false"):
        same.append(text == "true")
    exact = None if wanted is None else number_term(wanted)
    if exact is not None:
        same.append(exact)
    unsure = wanted is not None and exact is None

    def holds(item: Term) -> Term:
        tests = [item.eq(each) for each in same]
        return r.or_(*tests, _is_odd(item)) if unsure else r.or_(*tests)

    return _any_item(constraint.path, holds), constraint if unsure else None


def _matches(constraint: Glob) -> tuple[Condition, Constraint | None]:
    pattern = constraint.pattern
    everything, numeric = set(pattern) == {"*"}, _NUMERIC.issuperset(pattern.replace("*", "").replace("?", ""))
    words = [word == "true" for word in ("true", "false") if glob_matches(pattern, word)]
    regex = _regex(pattern)

    def of_number(item: Term) -> Term:
        if everything or not numeric:
            return r.expr(everything)
        return r.branch(_is_odd(item), True, item.coerce_to("string").match(regex).ne(None))

    def holds(item: Term) -> Term:
        of_others = r.branch(is_of(item, "NUMBER"), of_number(item), r.or_(False, *(item.eq(word) for word in words)))
        return r.branch(is_of(item, "STRING"), item.match(regex).ne(None), of_others)

    found = _any_item(constraint.path, holds)
    if everything or not numeric:
        return found, None
    # A whole number with a point has other digits in its document than in its row.
    return lambda row: value_at(row, (FIELD, POINTS)).ne(None) | found(row), constraint


def _any_item(path: KeyPath, holds: Condition) -> Condition:
    """That the value at a path, or an item of it when it is a list, satisfies a condition."""

    def any_holds(value: Term) -> Term:
        return r.branch(is_of(value, "ARRAY"), value.contains(holds), holds(value))

    return lambda row: value_at(row, path).do(any_holds)


def _is_odd(item: Term) -> Term:
    """That an item is a number whose digits RethinkDB and Python may write differently."""
    whole = item.ge(-MAX_WHOLE) & item.le(MAX_WHOLE) & item.floor().eq(item)
    return r.branch(is_of(item, "NUMBER"), whole.not_(), False)


def _regex(pattern: str) -> str:
    """A glob as a regular expression of RE2."""
    pieces = re.sub(r"\*+", "*", pattern)
    translated = _SPECIAL.sub(lambda found: {"*": ".*", "?": "."}.get(found[0], "\\" + found[0]), pieces)
    return f"(?s)^{translated}$"
