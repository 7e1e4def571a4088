"""Changing a dump's document: info.json in the store first, by compare-and-set, then the index."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from thoth.errors import NoSuchDump, PreconditionFailed, StoreError, UsageError
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity, Json
from thoth.query import KeyPath, property_path, shown
from thoth.store.names import info_name

_ATTEMPTS = 50  # each lost race means that another writer's change went in: fifty in a row is a fault, not a race

LONGEST_TICKET: Final = 256  # characters

# What Thoth itself says of a dump; the ticket has commands of its own.
SYSTEM: Final = frozenset(
    {"name", "dump", "platform", "node", "version", "type", "time", "stack", "id", "size", "md5", "sha256"}
    | {"complete", "revision", "uploaded", "sources", "purged", "expanded", "autoanalyzed", "properties"}
)


def revise(thoth: Thoth, identity: Identity, change: Callable[[DumpInfo], DumpInfo | None]) -> DumpInfo:
    """Apply ``change`` to a dump's document and return the document as it then stands in store and index.

    ``change`` gets the current document and returns the next one (``DumpInfo.changed``), or None to leave it;
    it is called again when another writer was faster, so both changes are kept. Raises NoSuchDump,
    StoreError, and IndexFailure when the store has the change and the index could not be told.
    """
    for _ in range(_ATTEMPTS):
        current = thoth.stored_info(identity)
        if current is None:
            raise NoSuchDump(f"no such dump: {identity}")
        info, etag = current
        revised = change(info)
        if revised is not None:
            try:
                thoth.store.put(info_name(thoth.user, identity), stored_form(revised), if_match=etag)
            except PreconditionFailed:
                continue
            info = revised
        thoth.index.put(info)
        return info
    raise StoreError(f"{identity}: info.json was changed by others {_ATTEMPTS} times in a row; try again")


def stored_form(info: DumpInfo) -> bytes:
    """A document as the bytes of info.json."""
    return (info.to_json(indent=4) + "\n").encode("ascii")


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
    """Tie the dump to this ticket, in place of another."""

    ticket: str


@dataclass(frozen=True, slots=True)
class Unticket:
    """Remove the ticket; a dump without one is no error."""


Edit = SetProperty | UnsetProperty | SetTicket | Unticket


def settable(name: str) -> KeyPath:
    """The path below ``properties`` of a user property: ``triage``, ``triage.engineer``, ``properties.triage``.

    Raises UsageError for what is no property's name, and for a name that the system sets.
    """
    path = property_path(name)
    if path[0] == "properties" and len(path) > 1:
        return path[1:]
    if path[0] == "ticket":
        raise UsageError(f"{shown(name)} is not a user property; 'thoth ticket' and 'thoth unticket' change it")
    if path[0] in SYSTEM:
        raise UsageError(f"{shown(name)} is set by Thoth itself; choose another name")
    return path


def ticket_text(text: str) -> str:
    """A ticket as it may be set: printable, without blanks and ``=``. Raises UsageError."""
    if not text or len(text) > LONGEST_TICKET or "=" in text or not text.isprintable() or " " in text:
        raise UsageError(
            f"{shown(text)} is not a ticket: 1 to {LONGEST_TICKET} printable characters, without blanks and '='"
        )
    return text


def edited(info: DumpInfo, edits: Iterable[Edit]) -> DumpInfo | None:
    """The document after all these, as one revision; None when nothing is different then. Raises UsageError."""
    document = dict(info.document)
    for edit in edits:
        _edit(document, edit)
    return None if document == info.document else DumpInfo({**document, "revision": info.revision + 1})


def edit_dump(thoth: Thoth, identity: Identity, edits: Iterable[Edit]) -> DumpInfo:
    """Make these changes to one dump, all or none. Raises as ``revise`` and ``edited`` do."""
    wanted = tuple(edits)
    return revise(thoth, identity, lambda info: edited(info, wanted))


def _edit(document: dict[str, Json], edit: Edit) -> None:
    properties = document.get("properties")
    kept = properties if isinstance(properties, dict) else {}
    match edit:
        case SetProperty(path, value):
            document["properties"] = _with(kept, path, value)
        case UnsetProperty(path):
            document["properties"] = _without(kept, path)
        case SetTicket(ticket):
            document["ticket"] = ticket
        case Unticket():
            document.pop("ticket", None)


def _with(members: dict[str, Json], path: KeyPath, value: Json) -> dict[str, Json]:
    key, *rest = path
    if not rest:
        return {**members, key: value}
    inner = members.get(key, {})
    if not isinstance(inner, dict):
        raise UsageError(f"property {shown(key)} is not an object, so nothing can be set inside it; unset it first")
    return {**members, key: _with(inner, tuple(rest), value)}


def _without(members: dict[str, Json], path: KeyPath) -> dict[str, Json]:
    key, *rest = path
    if key not in members:
        return members
    if not rest:
        return {name: value for name, value in members.items() if name != key}
    inner = members[key]
    return {**members, key: _without(inner, tuple(rest))} if isinstance(inner, dict) else members
