"""What a scrub has found, mended where no byte that is the only one of its kind is lost.

A finding only says where to look: everything is looked at again, and changed only as long as it still is so.
"""

from __future__ import annotations

from collections.abc import Mapping

from thoth.dumps.describe import describe
from thoth.edit import noted, revise, stored_form
from thoth.errors import IndexFailure, StoreUnavailable, ThothError
from thoth.ingest.arrival import Arrival, compose
from thoth.library import Thoth
from thoth.maintain import UPLOADING, reindex
from thoth.model import DumpFacts, DumpInfo, Identity, Json, raw_bytes
from thoth.naming import is_identity
from thoth.objects import EXPANDED, KeptObject, dump_object, kept_objects
from thoth.pending import marked
from thoth.scrub.dump import wrong_dump
from thoth.scrub.findings import Clock, Finding, Kind
from thoth.signatures.signature import signed
from thoth.stacks import stored_stacks
from thoth.store.base import ABSENT, Digests
from thoth.store.names import INFO, autoanalyzers_dir, dump_dir, home, info_name
from thoth.store.wrappers import read_back, sha256_of_beginning


class _CannotMend(ThothError):
    """It would cost something, or is no more as it was found."""


def mend(thoth: Thoth, finding: Finding, clock: Clock) -> Finding:
    """The finding after what could be done about it; what is not repaired says why and what to do.

    Raises StoreUnavailable and IndexFailure, since nothing else could be mended either.
    """
    try:
        done = _mended(thoth, finding, clock)
    except (StoreUnavailable, IndexFailure):
        raise
    except ThothError as error:
        return _told(finding, f"; not repaired: {error}")
    return _told(finding, f" (repaired: {done})", repaired=True) if done else finding


def _told(finding: Finding, more: str, *, repaired: bool = False) -> Finding:
    return Finding(finding.kind, finding.what + more, finding.identity, finding.name, repaired)


def _mended(thoth: Thoth, finding: Finding, clock: Clock) -> str:
    """What was done; empty for what only people can do."""
    match finding.kind, finding.identity, finding.name:
        case Kind.UNINDEXED, Identity() as identity, _:
            return _index(thoth, identity)
        case Kind.GHOST, Identity() as identity, _:
            return _lay_ghost(thoth, identity)
        case Kind.UNRECORDED, Identity() as identity, str(name):
            return _record(thoth, identity, name)
        case Kind.ORPHAN, Identity() as identity, _:
            return _adopt(thoth, identity, clock)
        case (Kind.STRAY | Kind.UNFINISHED) as kind, identity, str(name):
            return _tidy(thoth, identity, name, clock) if kind is Kind.STRAY else _forget(thoth, name, clock)
    return ""


# ---- the index ------------------------------------------------------------------------------------


def _index(thoth: Thoth, identity: Identity) -> str:
    done = reindex(thoth, [identity])
    for failure in done.failures:
        raise failure
    stored, row = thoth.stored_info(identity), thoth.index.get(identity)
    if stored and row and row.revision > stored[0].revision:
        return _rejoin(thoth, row)
    return "indexed again"


def _rejoin(thoth: Thoth, row: DumpInfo) -> str:
    """Have the store go on from the index, which has what was noted on a dump before its document was lost or was
    brought back from a backup."""

    def change(stored: DumpInfo) -> DumpInfo | None:
        if stored.revision >= row.revision:
            return None
        if apart := _apart(stored, row):
            raise _CannotMend(f"store and index have other values of {', '.join(apart)}; set what is right")
        return DumpInfo({**noted(stored, row, stored).document, "revision": row.revision + 1})

    revise(thoth, row.id, change)
    return "the store has the ticket and the properties of both now"


def _apart(stored: DumpInfo, row: DumpInfo) -> list[str]:
    """The ticket and properties that both have, with other values."""
    ours, theirs = stored.document.get("ticket"), row.document.get("ticket")
    both = stored.properties.keys() & row.properties.keys()
    apart = [f"properties.{key}" for key in sorted(both) if stored.properties[key] != row.properties[key]]
    return apart if ours == theirs or None in (ours, theirs) else ["ticket", *apart]


def _lay_ghost(thoth: Thoth, identity: Identity) -> str:
    """Remove a row of the index, unless the store looks as if it were another one.

    What people noted on the dump is nowhere else: such a document goes back into the store instead.
    """
    if not any(each.directory and is_identity(each.name) for each in thoth.store.list(home(thoth.user))):
        raise _CannotMend("the store has no dump at all; is it the right one?")
    if next(iter(thoth.store.list(dump_dir(thoth.user, identity))), None) is not None:
        raise _CannotMend("the store has something of it now")
    row = thoth.index.get(identity)
    if row is not None and (row.properties or row.document.get("ticket")):
        thoth.store.put(info_name(thoth.user, identity), stored_form(row), if_match=ABSENT)
        return "its document is in the store again, for its ticket or properties; the dump itself is lost"
    thoth.index.delete(identity)
    if thoth.stored_info(identity) is not None:
        return _index(thoth, identity)  # an upload came between the look and the deletion
    return "removed from the index"


# ---- documents ------------------------------------------------------------------------------------


def _record(thoth: Thoth, identity: Identity, name: str) -> str:
    """Note size and digests of an object in a document that lacks them, as the original's do."""
    before = thoth.store.stat(name)
    digests = read_back(thoth.store, name)
    complete = _described(thoth, identity, name).complete if _is_dump(thoth, identity, name) else None
    if thoth.store.stat(name) != before:
        raise _CannotMend("it was replaced meanwhile; scrub again")

    def change(info: DumpInfo) -> DumpInfo | None:
        dump, *expanded = kept_objects(thoth.user, info)
        if name == dump.name:
            return info.changed(**_lacking(dump, info.document, digests, complete))
        if expanded and name == expanded[0].name:
            told = info.document[EXPANDED]
            return info.changed(**{EXPANDED: {**told, **_lacking(expanded[0], told, digests, None)}})
        return None

    revise(thoth, identity, change)
    return f"recorded {digests.size} bytes, SHA-256 {digests.sha256}"


def _is_dump(thoth: Thoth, identity: Identity, name: str) -> bool:
    """Whether an object is the dump itself, and not what it was expanded to."""
    found = thoth.stored_info(identity)
    return found is not None and dump_object(thoth.user, found[0]).name == name


def _lacking(kept: KeptObject, told: Mapping[str, Json], digests: Digests, complete: bool | None) -> dict[str, Json]:
    """What a document does not say of an object yet. Raises _CannotMend when what it says is not so."""
    if kept.size not in (None, digests.size) or kept.sha256 not in (None, digests.sha256):
        raise _CannotMend("it is not what is recorded; scrub again")
    values = {"size": digests.size, "md5": digests.md5, "sha256": digests.sha256, "complete": complete}
    if isinstance(told.get("complete"), bool):
        values["complete"] = None
    return {key: value for key, value in values.items() if value is not None}


# ---- an object without a document -------------------------------------------------------------------


def _adopt(thoth: Thoth, identity: Identity, clock: Clock) -> str:
    """Give an object its document: that of the index if it describes just these bytes, or else a new one."""
    entries = list(thoth.store.list(dump_dir(thoth.user, identity)))
    if not entries or any(each.name == INFO for each in entries):
        raise _CannotMend("it has changed meanwhile; scrub again")
    entry = entries[0]
    if len(entries) > 1 or entry.directory:
        raise _CannotMend("several things lie there; leave only the dump's own object and scrub again")
    row = thoth.index.get(identity)
    if row is None and entry.mtime > clock.now() - UPLOADING:
        raise _CannotMend("it is new, and may be an upload on its way; scrub again in an hour")
    name = f"{dump_dir(thoth.user, identity)}/{entry.name}"
    facts, digests = _described(thoth, identity, name), read_back(thoth.store, name)
    if row is not None and row.sha256 == digests.sha256 and dump_object(thoth.user, row).name == name:
        info, done = row, "its document came from the index"
    else:
        arrival = Arrival(identity, entry.size, entry.mtime, raw_bytes(entry.name), (), node="")
        made = compose(arrival, facts, digests, name, entry.mtime)
        found = signed(DumpInfo({**made.document, **stored_stacks(thoth.store, name)}))
        info, done = _anew(found, row), "its document was made anew"
        if next(iter(thoth.store.list(autoanalyzers_dir(thoth.user))), None) is not None:
            info = marked(info, clock.now())  # whoever stored it was killed before the rules were run
    thoth.store.put(info_name(thoth.user, identity), stored_form(info), if_match=ABSENT)
    _index(thoth, identity)
    return done


def _described(thoth: Thoth, identity: Identity, name: str) -> DumpFacts:
    """What an object tells, once it is sure that it is this dump."""
    with thoth.store.open(name) as found:
        if fault := wrong_dump(found, identity):
            raise _CannotMend(f"it {fault}; find out whose it is, move it away")
        return describe(found)


def _anew(info: DumpInfo, row: DumpInfo | None) -> DumpInfo:
    """A document that was made from its object, with what people set on the dump as far as the index knows it."""
    made = DumpInfo({key: value for key, value in info.document.items() if (key, value) != ("node", "")})
    return made if row is None else DumpInfo({**noted(made, made, row).document, "revision": row.revision + 1})


# ---- what lies about --------------------------------------------------------------------------------


def _tidy(thoth: Thoth, identity: Identity | None, name: str, clock: Clock) -> str:
    """Remove a directory that is empty and old, or an object whose bytes are all in the dump beside it."""
    directory, _, last = name.rpartition("/")
    entry = next((each for each in thoth.store.list(directory) if each.name == last), None)
    if entry is None:
        raise _CannotMend("it is gone meanwhile")
    if entry.mtime > clock.now() - UPLOADING:
        raise _CannotMend("it is new; scrub again in an hour")
    if entry.directory:
        thoth.store.delete(name)  # which refuses one that is not empty
        return "removed"
    if identity is None:
        raise _CannotMend("nothing tells what it is")
    etag = thoth.store.stat(name).etag
    _require_copy(thoth, identity, name)
    thoth.store.delete(name, if_match=etag)
    return "its bytes are in the dump too; removed"


def _require_copy(thoth: Thoth, identity: Identity, name: str) -> None:
    """Raises _CannotMend unless an object is the beginning of the dump beside it, which is as it is recorded.

    All of the dump is its beginning too. Of a dump that was cut short a part may be left when a run was killed.
    """
    info, _ = thoth.stored_info(identity) or (None, "")
    # A dump that is not whole may be replaced at any time, also by an object of this name.
    if info is None or not info.complete or info.document.get("purged"):
        raise _CannotMend("there is no whole dump beside it to compare it with; find out what it is, move it away")
    dump, *expanded = kept_objects(thoth.user, info)
    if name in (dump.name, *(each.name for each in expanded)):
        raise _CannotMend("its document speaks of it now")
    copy, kept = read_back(thoth.store, name), read_back(thoth.store, dump.name)
    is_copy = copy == kept or copy.sha256 == sha256_of_beginning(thoth.store, dump.name, copy.size)
    if not is_copy or (kept.size, kept.sha256) != (dump.size, dump.sha256):
        raise _CannotMend("it is no copy of the dump; find out what it is, move it away")


def _forget(thoth: Thoth, name: str, clock: Clock) -> str:
    """Remove what an upload has left that ended early, unless the next one may be about to go on with it."""
    left = next((each for each in thoth.store.unfinished(home(thoth.user)) if each.name == name), None)
    if left is None:
        raise _CannotMend("it is gone meanwhile, or an upload goes on with it")
    if left.mtime > clock.now() - UPLOADING:
        raise _CannotMend("it is new, and may be gone on with soon; scrub again in an hour")
    thoth.store.forget(left)
    return "removed"
