"""Names of properties, held against the dumps that there are: what no dump has was most likely meant otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from thoth.index.base import Index
from thoth.model import KEYS
from thoth.query import Equals, Glob, KeyPath, Query, Undefined, shown

_ALIKE: Final = 0.65  # cdm and cmd are, triage and time are not


def names(query: Query) -> tuple[KeyPath, ...]:
    """The properties that a specification asks about."""
    return tuple(each.path for each in query.constraints if isinstance(each, Equals | Glob | Undefined))


def unknown(index: Index, paths: Iterable[KeyPath], *, inner: bool = False) -> Iterator[str]:
    """Of each name that no dump has, a line that says so and what may be meant.

    A name is known by its first key; with ``inner`` one below ``properties`` has to be there as a whole. The index is
    asked about those names only that are not among ``KEYS``. Raises IndexFailure.
    """
    for path in dict.fromkeys(paths):
        looked_for = path if inner and path[0] == "properties" else path[:1]
        if (len(looked_for) > 1 or path[0] not in KEYS) and not _is_there(index, looked_for):
            yield f"no dump has {shown('.'.join(path))}; {_meant(index, path)}"


def _is_there(index: Index, path: KeyPath) -> bool:
    everything = index.count(Query())  # first: a dump that arrives in between has no say
    return index.count(Query((Undefined(path),))) < everything


def _meant(index: Index, path: KeyPath) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only for a name that is wrong

    first, *rest = path
    if first == "properties":
        meant = rest if rest[0] in KEYS else []
    elif _is_there(index, ("properties", *path)):
        meant = ["properties", *path]
    else:
        close = get_close_matches(first, sorted(KEYS), n=1, cutoff=_ALIKE)
        meant = [*close, *rest] if close else []
    return f"did you mean {'.'.join(meant)}?" if meant else "'thoth info DUMP' shows what one has"
