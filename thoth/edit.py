"""Changing a dump's document: info.json in the store first, by compare-and-set, then the index."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from json import JSONEncoder
from random import random
from typing import Final

from thoth.errors import (
    BadDocument,
    IndexFailure,
    NoSuchDump,
    PreconditionFailed,
    StoreError,
    StoreUnavailable,
    ThothError,
    UsageError,
)
from thoth.index.documents import MAX_DEPTH, depth_exceeds, stored_text
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity, Json, strict_json
from thoth.pending import AUTOANALYZED
from thoth.query import KeyPath, property_path, shown
from thoth.store.base import MAX_SMALL
from thoth.store.names import info_name

# Each lost race means that another writer's change went in: fifty in a row, with pauses, is a fault and no race.
_ATTEMPTS: Final = 50
_FIRST_PAUSE: Final = 0.001  # seconds; about as long as a change takes
_LONGEST_PAUSE: Final = 0.1

_PIECES: Final = 1000  # words of a document, each with its indent, that are encoded together
# Characters of a compact document, each of which might begin a line of its own, that has room in info.json for sure.
_SURELY: Final = MAX_SMALL // (4 * MAX_DEPTH + 2)

LONGEST_TICKET: Final = 256  # characters

# What Thoth itself says of a dump; the ticket has commands of its own.
SYSTEM: Final = frozenset(
    {"name", "dump", "platform", "node", "version", "type", "time", "stack", "id", "size", "md5", "sha256"}
    | {"complete", "revision", "uploaded", "sources", "purged", "expanded", "autoanalyzed", "stack_by", "properties"}
    | {"threads", "fault_address", "stack_failed", "signature", "signature_rules", "rules_pending"}
    | {"rules_begun"}
)


NOTED: Final = ("ticket", "sources", AUTOANALYZED)  # on a dump, by people, nodes and rules; and its properties


# ---- any change -----------------------------------------------------------------------------------


def revise(
    thoth: Thoth,
    identity: Identity,
    change: Callable[[DumpInfo], DumpInfo | None],
    *,
    sleep: Callable[[float], object] = time.sleep,
    chance: Callable[[], float] = random,
) -> DumpInfo:
    """Apply ``change`` to a dump's document and return the document as it then stands in store and index.

    ``change`` gets the current document and returns the next one (``DumpInfo.changed``), or None to leave it;
    it is called again when another writer was faster, so both changes are kept. Raises NoSuchDump, StoreError,
    BadDocument, with nothing changed, for a document that cannot be kept, and IndexFailure when the store has the
    change and the index could not be told. Where the index is ahead of the store, what it alone knows to be noted on
    the dump comes back. ``sleep`` takes seconds; ``chance`` gives numbers from 0 to 1.
    """
    row, failure = _row(thoth, identity)  # before the store is read, which is written first: so it knows no less

    def joined(stored: DumpInfo) -> DumpInfo | None:
        if row is None or row.revision <= stored.revision:
            return change(stored)
        # The store lost the document that the index has, or was brought back from a backup.
        both = noted(stored, row, stored)
        return DumpInfo({**(change(both) or both).document, "revision": row.revision + 1})

    final = revise_stored(thoth, identity, joined, sleep=sleep, chance=chance)
    if failure:  # what the index alone knows may not be overwritten
        raise failure
    thoth.index.put(final)
    return final


def _row(thoth: Thoth, identity: Identity) -> tuple[DumpInfo | None, IndexFailure | None]:
    """What the index has of a dump, or why it does not say."""
    try:
        return thoth.index.get(identity), None
    except IndexFailure as error:
        return None, error


def noted(info: DumpInfo, *sides: DumpInfo) -> DumpInfo:
    """A document with what was noted on its dump on any of these sides; of two values the later side's."""
    found: dict[str, Json] = {"properties": {}}
    for side in sides:
        properties = {**found["properties"], **side.properties}
        found |= {key: side.document[key] for key in NOTED if key in side.document} | {"properties": properties}
    return DumpInfo({**info.document, **found})


def revise_stored(
    thoth: Thoth,
    identity: Identity,
    change: Callable[[DumpInfo], DumpInfo | None],
    *,
    sleep: Callable[[float], object] = time.sleep,
    chance: Callable[[], float] = random,
) -> DumpInfo:
    """As ``revise``, in the store only: for who tells the index of many dumps at once."""
    for attempt in range(_ATTEMPTS):
        current, etag = _current(thoth, identity)
        revised = change(current)
        if revised is None or _replaced(thoth, revised, etag):
            return current if revised is None else revised
        # Of many writers at once each would lose to all others again and again if all came back together.
        sleep(min(_FIRST_PAUSE * 2**attempt, _LONGEST_PAUSE) * chance())
    raise StoreError(f"{identity}: info.json was changed by others {_ATTEMPTS} times in a row; try again")


def stored_form(info: DumpInfo) -> bytes:
    """A document as the bytes of info.json.

    Raises BadDocument for one that the store or the index could not keep or give back. To be asked before
    anything is written: what only one of them takes would have them disagree for good.
    """
    stored_text(info)
    form = bytearray()
    # Some at a time: a small document of deep lists is a thousand times its size with the indents.
    pieces = JSONEncoder(indent=4).iterencode(info.document)
    while some := "".join(islice(pieces, _PIECES)):
        form += some.replace("\x7f", "\\u007f").encode("ascii")
        if len(form) >= MAX_SMALL:
            raise BadDocument(f"{info.id}: the document would be over {MAX_SMALL >> 20} MiB; set less on the dump")
    return bytes(form + b"\n")


def require_storable(info: DumpInfo) -> None:
    """Raises BadDocument as ``stored_form`` does. Of a document of ordinary size it takes a fifth of the time."""
    if len(stored_text(info)) > _SURELY:
        stored_form(info)


def _current(thoth: Thoth, identity: Identity) -> tuple[DumpInfo, str]:
    found = thoth.stored_info(identity)
    if found is None:
        raise NoSuchDump(f"no such dump: {identity}")
    return found


def _replaced(thoth: Thoth, revised: DumpInfo, etag: str) -> bool:
    """Put the document in the place of the one that had this etag; False when that one is not there any more."""
    try:
        thoth.store.put(info_name(thoth.user, revised.id), stored_form(revised), if_match=etag)
    except PreconditionFailed:
        return False
    return True


# ---- what people and analyzers change -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SetProperty:
    """Set the user property at a path below ``properties``; objects on the way are made."""

    path: KeyPath
    value: Json


@dataclass(frozen=True, slots=True)
class UnsetProperty:
    """Remove the user property at a path below ``properties``; one that is not set is no error."""

    path: KeyPath


@dataclass(frozen=True, slots=True)
class SetTicket:
    """Tie the dump to this ticket, in place of another; with ``if_none`` only a dump that has none."""

    ticket: str
    if_none: bool = False


@dataclass(frozen=True, slots=True)
class Unticket:
    """Remove the ticket; a dump without one is no error."""


Edit = SetProperty | UnsetProperty | SetTicket | Unticket


def settable(name: str) -> KeyPath:
    """The path below ``properties`` of a user property: ``triage``, ``triage.engineer``, ``properties.triage``.

    Raises UsageError for what is no property's name, and for a name that the system sets.
    """
    path = property_path(name)
    if "=" in name:
        raise UsageError(f"{shown(name)} is not a property: no specification could ask for a name with '='")
    if path[0] == "properties" and len(path) > 1:
        return path[1:]
    if path[0] == "ticket":
        raise UsageError(f"{shown(name)} is not a user property; 'thoth ticket' and 'thoth unticket' change it")
    if path[0] in SYSTEM:
        raise UsageError(f"{shown(name)} is set by Thoth itself; choose another name")
    return path


def property_value(given: str) -> Json:
    """The value that a word writes: JSON when it is JSON, else the text that it is.

    Raises UsageError for JSON that is nested too deep to be kept.
    """
    try:
        return _shallow(given)
    except ValueError:
        return given


def property_value_from(data: bytes, origin: str) -> Json:
    """The value that a JSON text in UTF-8 writes. Raises UsageError, naming ``origin``."""
    try:
        return _shallow(data.decode("utf-8-sig"))  # editors on Windows begin a file with a byte order mark
    except ValueError as error:
        raise UsageError(f"{origin} is not JSON: {error}") from error


def _shallow(given: str) -> Json:
    try:
        value = strict_json(given)
    except RecursionError:
        pass
    else:
        if not depth_exceeds({"properties": {"value": value}}, MAX_DEPTH):
            return value
    raise UsageError(f"the value is nested too deep: a whole document has at most {MAX_DEPTH} levels")


def ticket_text(given: str) -> str:
    """A ticket as it may be set: printable, without blanks and ``=``. Raises UsageError."""
    if not given or len(given) > LONGEST_TICKET or "=" in given or not given.isprintable() or " " in given:
        raise UsageError(
            f"{shown(given)} is not a ticket: 1 to {LONGEST_TICKET} printable characters, without blanks and '='"
        )
    return given


def edited(info: DumpInfo, edits: Iterable[Edit]) -> DumpInfo | None:
    """The document after all these, as one revision; None when nothing is different then.

    Raises UsageError for a property inside of one that is no object, and BadDocument.
    """
    document = dict(info.document)
    for edit in edits:
        _edit(info.id, document, edit)
    # To Python 1, 1.0 and True are the same; in a document they are not.
    if document == info.document and stored_text(DumpInfo(document)) == stored_text(info):
        return None
    return DumpInfo({**document, "revision": info.revision + 1})


def edit_dump(thoth: Thoth, identity: Identity, edits: Iterable[Edit]) -> DumpInfo:
    """Make these changes to one dump, all or none. Raises as ``revise`` and ``edited`` do."""
    wanted = tuple(edits)
    return revise(thoth, identity, lambda info: edited(info, wanted))


def _edit(identity: Identity, document: dict[str, Json], edit: Edit) -> None:
    match edit:
        case SetProperty(path, value):
            document["properties"] = _with(_members(identity, document), path, value, identity)
        case UnsetProperty(path) if "properties" in document:
            document["properties"] = _without(_members(identity, document), path)
        case SetTicket(ticket, if_none) if not (if_none and document.get("ticket") is not None):
            document["ticket"] = ticket
        case Unticket():
            document.pop("ticket", None)


def _members(identity: Identity, document: dict[str, Json]) -> dict[str, Json]:
    properties = document.get("properties")
    if properties is None:
        return {}
    if not isinstance(properties, dict):
        raise BadDocument(f"{identity}: the properties in its info.json are no object; nothing can be set there")
    return properties


def _with(members: dict[str, Json], path: KeyPath, value: Json, identity: Identity) -> dict[str, Json]:
    key, *rest = path
    if not rest:
        return {**members, key: value}
    inner = members.get(key)
    if not isinstance(inner, dict | None):
        raise UsageError(f"{identity}: property {shown(key)} is no object, so nothing fits into it; unset it first")
    return {**members, key: _with(inner or {}, tuple(rest), value, identity)}


def _without(members: dict[str, Json], path: KeyPath) -> dict[str, Json]:
    key, *rest = path
    if key not in members:
        return members
    if not rest:
        return {name: value for name, value in members.items() if name != key}
    inner = members[key]
    return {**members, key: _without(inner, tuple(rest))} if isinstance(inner, dict) else members


# ---- the same change to many dumps ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Edited:
    """What became of one dump. ``error`` says why it is not as it was to be.

    With an IndexFailure the store has what was wanted, and the index may not know of it.
    """

    identity: Identity
    changed: bool  # False: it was so already, or nothing could be changed
    error: ThothError | None = None


def edit_each(thoth: Thoth, identities: Iterable[Identity], edits: Iterable[Edit]) -> Iterator[Edited]:
    """Make these changes to each of the dumps, in one step a dump; one that fails does not stop the others.

    An IndexFailure is the last that comes, whatever is left: each other change would be one more that the index
    does not know of. Raises StoreUnavailable, since no other dump would fare better.
    """
    wanted = tuple(edits)
    for identity in identities:
        done = _edit_one(thoth, identity, wanted)
        yield done
        if isinstance(done.error, IndexFailure):
            return


def plan_each(thoth: Thoth, identities: Iterable[Identity], edits: Iterable[Edit]) -> Iterator[Edited]:
    """What ``edit_each`` would do; nothing is written. Raises StoreUnavailable."""
    wanted = tuple(edits)
    for identity in identities:
        try:
            revised = edited(_current(thoth, identity)[0], wanted)
            if revised is not None:
                require_storable(revised)
            yield Edited(identity, changed=revised is not None)
        except StoreUnavailable:
            raise
        except ThothError as error:
            yield Edited(identity, False, error)


def _edit_one(thoth: Thoth, identity: Identity, wanted: tuple[Edit, ...]) -> Edited:
    changed = False

    def change(info: DumpInfo) -> DumpInfo | None:
        nonlocal changed
        revised = edited(info, wanted)
        changed = revised is not None
        return revised

    try:
        revise(thoth, identity, change)
    except StoreUnavailable:
        raise
    except IndexFailure as error:
        reason = f"{identity}: the store has it, the index does not: {error}; 'thoth index' heals that"
        return Edited(identity, changed, IndexFailure(reason))
    except ThothError as error:
        return Edited(identity, False, error)
    return Edited(identity, changed)
