"""The rules by which stacks become signatures: data, in ``rules.toml`` beside this, which says what each is for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from thoth.errors import UsageError
from thoth.model import Json

USUAL: Final = 2  # rank of a group that tells none


@dataclass(frozen=True, slots=True)
class Replacement:
    """What matches is replaced."""

    why: str
    pattern: re.Pattern[str]
    by: str

    def of(self, text: str) -> str:
        """The text without what this is about."""
        return self.pattern.sub(self.by, text)


@dataclass(frozen=True, slots=True)
class Group:
    """Functions that one rule is about. Where nothing else is left of a stack, those of the lowest ``rank`` stay."""

    why: str
    exact: frozenset[str]
    pattern: re.Pattern[str]  # for names that are written with ``*`` and ``?``
    rank: int

    def has(self, name: str) -> bool:
        """Whether the rule is about a function of this name."""
        return name in self.exact or self.pattern.fullmatch(name) is not None


@dataclass(frozen=True, slots=True, eq=False)  # so that it is quickly told whether they are the same
class Rules:
    """All rules of one version. ``significant``: frames that make a signature; ``longest``: characters of a name."""

    version: int
    significant: int
    longest: int
    trims: tuple[Replacement, ...]
    skips: tuple[Group, ...]
    joins: tuple[Group, ...]
    panics: tuple[Replacement, ...]
    vague: tuple[Replacement, ...]


@cache
def current_rules() -> Rules:
    """The rules of this thoth."""
    return parse_rules((files("thoth.signatures") / "rules.toml").read_text("utf-8"), "rules.toml")


def parse_rules(text: str, origin: str) -> Rules:
    """The rules that a TOML text writes. Raises UsageError, naming ``origin``, for what are none."""
    import tomllib  # noqa: PLC0415 - many commands sign nothing

    try:
        told = tomllib.loads(text)
        return Rules(
            version=_positive(told, "version"),
            significant=_positive(told, "significant"),
            longest=_positive(told, "longest"),
            trims=_replacements(told.get("trim", ())),
            skips=_groups(told.get("skip", ())),
            joins=_groups(told.get("join", ())),
            panics=_replacements(told.get("panic", ())),
            vague=_replacements(told.get("vague", ())),
        )
    except (tomllib.TOMLDecodeError, re.error, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{origin}: not rules for signatures: {error}") from error


def group_of(name: str, groups: Iterable[Group]) -> Group | None:
    """The first of the rules that is about a function of this name."""
    return next((group for group in groups if group.has(name)), None)


def _positive(told: Mapping[str, Json], key: str) -> int:
    value = told[key]
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{key} is a whole number, 1 or more")
    return value


def _replacements(told: Sequence[Mapping[str, Json]]) -> tuple[Replacement, ...]:
    return tuple(Replacement(each["why"], re.compile(each["pattern"]), each.get("with", "")) for each in told)


def _groups(told: Sequence[Mapping[str, Json]]) -> tuple[Group, ...]:
    return tuple(
        Group(
            each["why"],
            frozenset(name for name in each["names"] if not _is_glob(name)),
            re.compile("|".join(_regex(name) for name in each["names"] if _is_glob(name)) or "(?!)", re.DOTALL),
            each.get("rank", USUAL),
        )
        for each in told
    )


def _is_glob(name: str) -> bool:
    return "*" in name or "?" in name


def _regex(glob: str) -> str:
    # Names are short, and a glob of ours has two stars at most: what a match costs is bounded.
    return re.escape(glob).replace(r"\*", ".*").replace(r"\?", ".")
