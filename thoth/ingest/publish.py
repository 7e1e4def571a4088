"""The document of an object that was committed: a new one, or one held against what is there already."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from thoth.edit import noted, revise, stored_form
from thoth.errors import IndexFailure, NoSuchDump, NoSuchObject, PreconditionFailed, StoreTransient
from thoth.ingest.annotate import annotate, annotated, settle
from thoth.ingest.arrival import Arrival, Receipt
from thoth.ingest.compare import other_bytes
from thoth.ingest.wanted import is_wanted, objects_of
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity, Json, Result
from thoth.objects import EXPANDED
from thoth.pending import marked, pending_since
from thoth.signatures.signature import SIGNATURE_KEYS
from thoth.stacks import STACK_KEYS
from thoth.store.base import ABSENT
from thoth.store.names import info_name

_LASTING = ("ticket", "properties", "sources", "revision")  # what a dump keeps when a better one takes its place


@dataclass(frozen=True, slots=True)
class Committed:
    """An object that is in the store and has to get its document."""

    arrival: Arrival
    info: DumpInfo
    name: str
    etag: str
    lost: bool  # there was a document, of a dump that was not there
    sent: int  # bytes that were written for it now; an earlier upload may have written others


def publish(thoth: Thoth, sent: Committed) -> Receipt:
    """Give the object its document."""
    info = _with_notes(thoth, sent)
    try:
        thoth.store.put(info_name(thoth.user, info.id), stored_form(info), if_match=ABSENT)
    except PreconditionFailed as error:
        if thoth.stored_info(info.id) is None:  # some stores say so of a change that came to nothing, too
            raise StoreTransient(f"{info.id}: its document was written by two at once; try again") from error
        return _reconcile(thoth, sent)
    return _indexed(thoth, Receipt(Result.STORED, info, sent.sent))


def _with_notes(thoth: Thoth, sent: Committed) -> DumpInfo:
    """The document with what the index has noted on the dump: if it knows it, the document in the store was lost."""
    try:
        row = thoth.index.get(sent.info.id) if sent.arrival.in_index else None
    except IndexFailure:
        return sent.info  # it is told when the document is put
    if row is None:
        return sent.info
    again = DumpInfo({**noted(sent.info, sent.info, row).document, "revision": row.revision + 1})
    return annotated(again, sent.arrival) or again


def _reconcile(thoth: Thoth, sent: Committed) -> Receipt:
    """There is a document already: of a dump that was cut short or lost, or was stored while ours was.

    The document has to be that of the object that is there. Of several uploads at the same time the last to
    commit is here after all commits, and sees whose bytes are in the store.
    """
    replaced: DumpInfo | None = None
    stale: Mapping[str, str] = {}

    def choose(stored: DumpInfo) -> DumpInfo | None:
        nonlocal replaced, stale
        replaced = stored if _prevails(thoth, sent, stored) else None
        stale = _of_the_document(thoth, stored) if replaced else {sent.name: sent.etag}
        return _merged(stored, sent) if replaced else None

    failure = None
    try:
        final = revise(thoth, sent.info.id, choose)
    except IndexFailure as error:
        final, failure = _document(thoth, sent.info.id), error
    _drop(thoth, sent.info.id, stale)
    if replaced is None:
        return kept(thoth, sent.arrival, sent.info)
    return _replacing(replaced, final, sent, failure)


def _replacing(replaced: DumpInfo, final: DumpInfo, sent: Committed, failure: IndexFailure | None) -> Receipt:
    if failure:
        return Receipt(Result.STORED_UNINDEXED, final, sent.sent, str(failure))
    if replaced.sha256 in (None, sent.info.sha256):
        return Receipt(Result.STORED, final, sent.sent)
    if replaced.complete:
        reason = f"took the place of another dump with this identity, sha256 {replaced.sha256}; keep its file"
        return Receipt(Result.CONFLICT, final, sent.sent, reason)
    return Receipt(Result.REPLACED, final, sent.sent)


def _prevails(thoth: Thoth, sent: Committed, stored: DumpInfo) -> bool:
    """Whether the document has to become ours."""
    if stored.document.get("purged"):
        return False
    if sent.name not in {each.name for each in objects_of(thoth, stored)[:1]}:
        return is_wanted(thoth, stored, sent.info.size or 0)
    if stored.sha256 == sent.info.sha256:
        # Nothing in it changes. But who took the dump for lost, or threw it away, and is about to say so has to
        # lose the race for the document.
        return sent.lost
    try:
        return thoth.store.stat(sent.name).etag == sent.etag
    except NoSuchObject:
        return False


def _merged(stored: DumpInfo, sent: Committed) -> DumpInfo:
    """Our document in place of another's, with what people set on that.

    What was made of the other's bytes, expansion, stack and signature, is not ours; unless they are the same.
    """
    document: dict[str, Json] = {**stored.document, "dump": sent.name}
    if stored.sha256 != sent.info.sha256:
        of_bytes = (EXPANDED, "stack_by", *STACK_KEYS, *SIGNATURE_KEYS)
        kept = {key: value for key, value in document.items() if key not in of_bytes}
        lasting = {key: value for key, value in kept.items() if key in _LASTING}
        document = {**kept, **sent.info.document, **lasting}
    merged = DumpInfo(document)
    since = pending_since(sent.info)
    if since is not None:
        merged = marked(merged, since)  # anew: it is held against the rules again
    return annotated(merged, sent.arrival) or merged.changed()


def _of_the_document(thoth: Thoth, stored: DumpInfo) -> dict[str, str]:
    """The etags of a document's objects, by name, as far as they are there. A longer one is not the document's."""
    found = {}
    for each in objects_of(thoth, stored):
        with suppress(NoSuchObject):
            there = thoth.store.stat(each.name)
            if each.size is None or there.size <= each.size:
                found[each.name] = there.etag
    return found


def _drop(thoth: Thoth, identity: Identity, stale: Mapping[str, str]) -> None:
    """Remove objects that still have these etags, unless the document speaks of them: others store dumps, too."""
    kept = _document(thoth, identity)
    spoken_of = () if kept.document.get("purged") else [each.name for each in objects_of(thoth, kept)]
    for name, etag in stale.items():
        if name not in spoken_of:
            with suppress(NoSuchObject, PreconditionFailed):
                thoth.store.delete(name, if_match=etag)


def kept(thoth: Thoth, arrival: Arrival, info: DumpInfo) -> Receipt:
    """What is stored stays; ours is noted on it, unless it is another dump."""
    stored = _document(thoth, info.id)
    comparable = info.complete and not stored.document.get("purged")
    if comparable and stored.sha256 not in (None, info.sha256):
        return Receipt(Result.CONFLICT, stored, reason=other_bytes(stored, str(info.sha256)))
    settle(thoth, info.id)
    return annotate(thoth, arrival)


def _document(thoth: Thoth, identity: Identity) -> DumpInfo:
    found = thoth.stored_info(identity)
    if found is None:
        raise NoSuchDump(f"{identity}: was removed while it was stored; try again")
    return found[0]


def _indexed(thoth: Thoth, receipt: Receipt) -> Receipt:
    try:
        thoth.index.put(receipt.info)
    except IndexFailure as error:
        return Receipt(Result.STORED_UNINDEXED, receipt.info, receipt.sent, str(error))
    return receipt
