"""What a rule may change on a dump: what is not set, and what it has set itself. All else is others', and stays.

A rule's record has in ``set`` what it has set: the ticket, the value of the property or, when it runs an analyzer, an
object of all that this has set, by name. What a rule has set and is not there any more was removed by somebody, who
will have had a reason: the same value is not set again. What others have put in its place is theirs, whatever it is;
``replaced`` has what the rule had set until then, for when theirs is removed, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Final

from thoth.edit import Edit, SetProperty, SetTicket, UnsetProperty, Unticket
from thoth.model import DumpInfo, Json, same_json
from thoth.query import lookup

_LONGEST: Final = 200  # characters of JSON: a longer value is recorded by its digest


def is_others(present: Json, wanted: Json, ours: Json, replaced: Json = None) -> bool:
    """Whether others set what is present or, where that is None, removed what is wanted.

    ``ours`` is what we set, ``replaced`` what we had set before others put something else in its place.
    """
    if present is None:
        return any(each is not None and same_json(each, wanted) for each in (ours, replaced))
    return not same_json(ours, present)


def permitted(
    info: DumpInfo, edits: Iterable[Edit], ours: Mapping[str, Json], replaced: Mapping[str, Json]
) -> tuple[tuple[Edit, ...], tuple[str, ...]]:
    """Which edits of an analyzer may be made, and the names of what stays. ``ours`` is what its rule has set,
    ``replaced`` what of it others have replaced."""
    made: list[Edit] = []
    stays: dict[str, None] = {}
    for edit in edits:
        name, wanted = _meant(edit)
        if is_others(_mark_at(info, name), _mark(wanted), ours.get(name), replaced.get(name)):
            stays[name] = None
        else:
            made.append(edit)
    return tuple(made), tuple(stays)


def claims(info: DumpInfo, edits: Iterable[Edit], ours: Mapping[str, Json]) -> dict[str, Json]:
    """What its rule has set on a document on which these edits were made, and ``ours`` before."""
    names = {_meant(edit)[0] for edit in edits}
    marks = {name: _mark_at(info, name) for name in sorted(names)}
    now = {name: mark for name, mark in marks.items() if mark is not None}
    # What others have removed is remembered, what they have changed is theirs.
    before = {name: mark for name, mark in ours.items() if not is_others(_mark_at(info, name), None, mark)}
    return {name: mark for name, mark in before.items() if name not in names} | now


def replaced_by_others(
    info: DumpInfo, edits: Iterable[Edit], ours: Mapping[str, Json], before: Mapping[str, Json]
) -> dict[str, Json]:
    """What others have replaced of what a rule had set, on a document on which these edits were made.

    ``before``: what they had replaced by then.
    """
    names = {_meant(edit)[0] for edit in edits}
    now = {name: mark for name, mark in ours.items() if is_others(_mark_at(info, name), None, mark)}
    return {name: mark for name, mark in {**before, **now}.items() if name not in names}


def _meant(edit: Edit) -> tuple[str, Json]:
    """The name of what an edit changes, as ``thoth info`` has it, and the value that it gives it."""
    match edit:
        case SetProperty(path, value):
            return ".".join(("properties", *path)), value
        case UnsetProperty(path):
            return ".".join(("properties", *path)), None
        case SetTicket(ticket):
            return "ticket", ticket
        case Unticket():
            return "ticket", None


def _mark_at(info: DumpInfo, name: str) -> Json:
    return _mark(lookup(info.document, tuple(name.split("."))))


def _mark(value: Json) -> Json:
    """What stands for a value in a record, where there may be ten thousand."""
    text = json.dumps(value, sort_keys=True)
    return value if len(text) <= _LONGEST else {"sha256": sha256(text.encode()).hexdigest()}
