"""A dump on its way in: one stream into the store, then info.json, then the index.

Each step can be repeated: a run that is killed anywhere leaves what the next run completes. An object without
an info.json is not a dump yet; an info.json that the index does not know is put there by who meets it next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from thoth.dumps.binaries import Binaries
from thoth.dumps.describe import facts_of
from thoth.dumps.identity import identify
from thoth.dumps.source import KnownRanges, MissingRange, Range, in_memory
from thoth.edit import require_storable, revise, stored_form
from thoth.errors import (
    BadDocument,
    IndexFailure,
    NoSuchDump,
    NoSuchObject,
    NotADump,
    PreconditionFailed,
    SourceChanged,
    StoreTransient,
)
from thoth.library import Thoth
from thoth.model import DumpFacts, DumpInfo, Identity, Json, Result, text
from thoth.objects import EXPANDED, KeptObject, kept_objects
from thoth.patience import Tries, usual_tries
from thoth.signatures.signature import SIGNATURE_KEYS, signed
from thoth.stacks import STACK_KEYS, FindStacks, stacks_in, stored_stacks
from thoth.store.base import ABSENT, Digests, Upload
from thoth.store.names import dump_dir, dump_name, info_name
from thoth.transit import Prefix, Seekable, Transit

_SOURCES_KEPT = 64  # places where one dump was seen; a core copied about without end must not grow its document
_LASTING = ("ticket", "properties", "sources", "revision")  # what a dump keeps when a better one takes its place


@dataclass(frozen=True, slots=True)
class Arrival:
    """A dump that was identified and may have to be sent."""

    identity: Identity
    size: int  # bytes, as discovered
    mtime: float  # seconds since 1970
    filename: bytes  # last part of its path
    # What identify and describe look at: thoth.dumps.describe.fact_ranges. Not needed for a dump that is in memory.
    ranges: tuple[Range, ...]
    node: str  # the node of a dump that does not name its own
    source: Mapping[str, Json] = field(default_factory=dict)  # where it was found; an item of ``sources``
    properties: Mapping[str, Json] = field(default_factory=dict)
    earlier: Prefix | None = None  # what came of it before, while it was the same file


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of an arrival. ``reason`` says why when the result is not a good one."""

    result: Result
    info: DumpInfo
    sent: int = 0  # bytes written to the store
    reason: str | None = None


class Reopened:
    """A stream that can be read again from its beginning: ``start`` begins it anew each time."""

    def __init__(self, start: Callable[[], Iterator[bytes]]) -> None:
        self._start = start

    def __iter__(self) -> Iterator[bytes]:
        return self._start()


def receive(
    thoth: Thoth,
    arrival: Arrival,
    stream: Iterable[bytes],
    *,
    now: float,
    tries: Callable[[], Tries] = usual_tries,
    stacks: FindStacks | None = None,
    binaries: Binaries | None = None,
) -> Receipt:
    """Take a dump in: PRESENT, STORED, REPLACED, STORED_UNINDEXED or CONFLICT.

    The stream is not read at all when the dump turns out to be there; a list of blocks that are in memory costs
    nothing to read, and is. Where the store fails in a way that passes, the stream is begun anew and sent again; an
    iterator, which cannot be, is sent once. What it raises goes through, after the upload was abandoned. Raises
    SourceChanged when the bytes that came are not those that were identified, and StoreError. ``now``: seconds since
    1970. ``stacks`` finds the keys of thoth.stacks for a dump that came whole; without it what was stored is read for
    them, in small parts, together with ``binaries`` where there are some.
    """
    found = stacks or (lambda: _stacks_in(thoth, _name(thoth, arrival), stream, binaries))
    if isinstance(stream, Iterator):
        return _received(thoth, arrival, stream, now, found)
    return tries().run(lambda: _received(thoth, arrival, stream, now, found))


def _name(thoth: Thoth, arrival: Arrival) -> str:
    return dump_name(thoth.user, arrival.identity, arrival.filename)


def _received(thoth: Thoth, arrival: Arrival, stream: Iterable[bytes], now: float, stacks: FindStacks) -> Receipt:
    new = isinstance(stream, list) and _is_new(thoth, arrival.identity)
    current = None if isinstance(stream, list) else thoth.stored_info(arrival.identity)
    if current is not None and not is_wanted(thoth, current[0], arrival.size):
        return annotate(thoth, arrival)
    name = _name(thoth, arrival)
    upload = thoth.store.begin(name, arrival.size, if_match=ABSENT if new else _displaced(thoth, arrival, name))
    try:
        facts, digests = _streamed(arrival, stream, upload)
        info = compose(arrival, facts, digests, name, now)
        require_storable(info)  # refused now, or the object would be there without its document
        # The stream took its time: was somebody faster? In memory there was none.
        current = None if new else thoth.stored_info(arrival.identity)
        lost = current is not None and _is_lost(thoth, current[0])
        if current is not None and not (lost or may_replace(current[0], digests.size)):
            return _kept(thoth, arrival, info)
        try:
            etag = upload.commit(digests).etag
        except PreconditionFailed:
            return _overtaken(thoth, arrival, info)
    finally:
        upload.abort()
    if info.document["type"] == "core":
        info = DumpInfo({**info.document, **stacks()})
    return _publish(thoth, _Committed(arrival, signed(info), name, etag, lost))


def _stacks_in(thoth: Thoth, name: str, stream: Iterable[bytes], binaries: Binaries | None) -> Mapping[str, Json]:
    """The stacks in a dump that has just been stored; out of memory, when that is where it came from."""
    if isinstance(stream, list):
        return stacks_in(in_memory(stream), binaries)
    return stored_stacks(thoth.store, name, binaries)


def _is_new(thoth: Thoth, identity: Identity) -> bool:
    """Whether the store lists nothing at all of a dump: one look in place of several. Where listings are late, what
    is there after all refuses to be written to."""
    return next(thoth.store.list(dump_dir(thoth.user, identity)), None) is None


def _displaced(thoth: Thoth, arrival: Arrival, name: str) -> str:
    """The etag of the object whose place an upload may take.

    A longer one that has no document may be a better dump that is about to get one.
    """
    try:
        found = thoth.store.stat(name)
    except NoSuchObject:
        return ABSENT
    if found.size > arrival.size and thoth.stored_info(arrival.identity) is None:
        raise StoreTransient(f"{name}: a longer upload has no document yet; 'thoth scrub --repair' gives it one")
    return found.etag


def _overtaken(thoth: Thoth, arrival: Arrival, info: DumpInfo) -> Receipt:
    """Another upload put an object in the place of ours: it stays unless ours turns out to be the better one."""
    current = thoth.stored_info(info.id)
    if current is None or is_wanted(thoth, current[0], info.size or 0):
        raise _came_between(str(info.document["dump"]))
    return _kept(thoth, arrival, info)


def _came_between(what: str) -> StoreTransient:
    return StoreTransient(f"{what}: another upload of it came between; upload it again")


@dataclass(frozen=True, slots=True)
class _Committed:
    """An object that is in the store and has to get its document."""

    arrival: Arrival
    info: DumpInfo
    name: str
    etag: str
    lost: bool  # there was a document, of a dump that was not there


def give_up(thoth: Thoth, identity: Identity, filename: bytes, size: int) -> None:
    """Throw away what an upload of such a dump has left in the store: none will go on with it. Raises StoreError."""
    thoth.store.discard(dump_name(thoth.user, identity, filename), size)


def may_replace(stored: DumpInfo, size: int) -> bool:
    """Whether a dump of this size could be a better one than what is stored under its identity.

    A dump that is whole stays. So does a purged one: what was thrown away on purpose is not fetched again.
    """
    if stored.document.get("purged"):
        return False
    return stored.complete is False and stored.size is not None and size > stored.size


def is_wanted(thoth: Thoth, stored: DumpInfo, size: int) -> bool:
    """Whether the bytes have to be stored although there is a document: for a better dump, or a lost one."""
    return may_replace(stored, size) or _is_lost(thoth, stored)


def _is_lost(thoth: Thoth, stored: DumpInfo) -> bool:
    """Whether the store has the document of a dump but not the dump, or only a part of it, and nobody has purged it.

    One that is longer than it should be may be a better one, whose document is on its way.
    """
    if stored.document.get("purged"):
        return False
    try:
        return any(thoth.store.stat(dump.name).size < (dump.size or 0) for dump in _objects(thoth, stored)[:1])
    except NoSuchObject:
        return True


def _objects(thoth: Thoth, info: DumpInfo) -> tuple[KeptObject, ...]:
    """The objects of a document, the dump's own first; none for a document that names things that are not its own."""
    try:
        return kept_objects(thoth.user, info)
    except BadDocument:
        return ()


def annotate(thoth: Thoth, arrival: Arrival) -> Receipt:
    """Note on a dump that is there where else it was seen and the properties that it lacks; heal the index.

    What is set is never touched: ticket, properties, a dump that is seen again as it was. Raises NoSuchDump.
    """
    try:
        info = revise(thoth, arrival.identity, lambda stored: _annotated(stored, arrival))
    except IndexFailure as error:
        found = thoth.stored_info(arrival.identity)
        if found is None:
            raise
        return Receipt(Result.STORED_UNINDEXED, found[0], reason=str(error))
    return Receipt(Result.PRESENT, info)


def _annotated(stored: DumpInfo, arrival: Arrival) -> DumpInfo | None:
    changes: dict[str, Json] = {}
    sources = stored.document.get("sources")
    listed = sources if isinstance(sources, list) else []
    if arrival.source and not _listed(arrival.source, listed) and len(listed) < _SOURCES_KEPT:
        changes["sources"] = [*listed, dict(arrival.source)]
    lacking = {key: value for key, value in arrival.properties.items() if key not in stored.properties}
    if lacking:
        changes["properties"] = {**stored.properties, **lacking}
    return stored.changed(**changes) if changes else None


def _listed(source: Mapping[str, Json], listed: Iterable[Json]) -> bool:
    where = (source.get("node"), source.get("path"))
    return any(isinstance(each, dict) and (each.get("node"), each.get("path")) == where for each in listed)


def _streamed(arrival: Arrival, stream: Iterable[bytes], upload: Upload) -> tuple[DumpFacts, Digests]:
    """Send the stream and look at it as it passes: what the dump tells, and the digests of its bytes."""
    transit = Transit(arrival.ranges)
    try:
        if isinstance(stream, Seekable):
            if not (arrival.earlier and transit.resume(upload, arrival.earlier)):
                transit.close()
                transit = Transit(arrival.ranges)
            transit.pump(stream.start(transit.size), upload, stream.came)
        else:
            transit.pump(stream, upload)
        digests = transit.digests()
    except PreconditionFailed as error:  # a store may compare before it has everything
        raise _came_between(str(arrival.identity)) from error
    finally:
        transit.close()
    known = in_memory(stream) if isinstance(stream, list) else transit.recorder.known()
    return _verified(arrival, digests, known), digests


def _verified(arrival: Arrival, digests: Digests, known: KnownRanges) -> DumpFacts:
    """What the dump tells, once it is sure that the bytes which came are those that were identified."""
    if digests.size != arrival.size:
        raise SourceChanged(f"{digests.size} bytes came where {arrival.size} were announced")
    try:
        if identify(known) == arrival.identity:
            return facts_of(known)
    except (MissingRange, NotADump):
        pass  # other headers lead to other ranges, or to none
    raise SourceChanged("its headers changed between identification and transfer")


def _publish(thoth: Thoth, sent: _Committed) -> Receipt:
    """Give the object its document."""
    try:
        thoth.store.put(info_name(thoth.user, sent.info.id), stored_form(sent.info), if_match=ABSENT)
    except PreconditionFailed:
        return _reconcile(thoth, sent)
    return _indexed(thoth, Receipt(Result.STORED, sent.info, sent=sent.info.size or 0))


def _reconcile(thoth: Thoth, sent: _Committed) -> Receipt:
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
        return _kept(thoth, sent.arrival, sent.info)
    return _replacing(replaced, final, sent.info, failure)


def _replacing(replaced: DumpInfo, final: DumpInfo, info: DumpInfo, failure: IndexFailure | None) -> Receipt:
    sent = info.size or 0
    if failure:
        return Receipt(Result.STORED_UNINDEXED, final, sent, str(failure))
    if replaced.sha256 in (None, info.sha256):
        return Receipt(Result.STORED, final, sent)
    if replaced.complete:
        reason = f"took the place of another dump with this identity, sha256 {replaced.sha256}"
        return Receipt(Result.CONFLICT, final, sent, reason)
    return Receipt(Result.REPLACED, final, sent)


def _prevails(thoth: Thoth, sent: _Committed, stored: DumpInfo) -> bool:
    """Whether the document has to become ours."""
    if stored.document.get("purged"):
        return False
    if sent.name not in {each.name for each in _objects(thoth, stored)[:1]}:
        return is_wanted(thoth, stored, sent.info.size or 0)
    if stored.sha256 == sent.info.sha256:
        # Nothing in it changes. But who took the dump for lost, or threw it away, and is about to say so has to
        # lose the race for the document.
        return sent.lost
    try:
        return thoth.store.stat(sent.name).etag == sent.etag
    except NoSuchObject:
        return False


def _merged(stored: DumpInfo, sent: _Committed) -> DumpInfo:
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
    return _annotated(merged, sent.arrival) or merged.changed()


def _kept(thoth: Thoth, arrival: Arrival, info: DumpInfo) -> Receipt:
    """What is stored stays; ours is noted on it, unless it is another dump."""
    stored = _document(thoth, info.id)
    comparable = info.complete and not stored.document.get("purged")
    if comparable and stored.sha256 not in (None, info.sha256):
        what = "another dump with this identity" if stored.complete else "a copy of it that was cut short"
        reason = f"{what} is stored: sha256 {stored.sha256}, this one has {info.sha256}"
        return Receipt(Result.CONFLICT, stored, reason=reason)
    return annotate(thoth, arrival)


def _document(thoth: Thoth, identity: Identity) -> DumpInfo:
    found = thoth.stored_info(identity)
    if found is None:
        raise NoSuchDump(f"{identity}: was removed while it was stored; try again")
    return found[0]


def _of_the_document(thoth: Thoth, stored: DumpInfo) -> dict[str, str]:
    """The etags of a document's objects, by name, as far as they are there. A longer one is not the document's."""
    found = {}
    for each in _objects(thoth, stored):
        with suppress(NoSuchObject):
            there = thoth.store.stat(each.name)
            if each.size is None or there.size <= each.size:
                found[each.name] = there.etag
    return found


def _drop(thoth: Thoth, identity: Identity, stale: Mapping[str, str]) -> None:
    """Remove objects that still have these etags, unless the document speaks of them: others store dumps, too."""
    kept = _document(thoth, identity)
    spoken_of = () if kept.document.get("purged") else [each.name for each in _objects(thoth, kept)]
    for name, etag in stale.items():
        with suppress(NoSuchObject):
            if name not in spoken_of and thoth.store.stat(name).etag == etag:
                thoth.store.delete(name)


def _indexed(thoth: Thoth, receipt: Receipt) -> Receipt:
    try:
        thoth.index.put(receipt.info)
    except IndexFailure as error:
        return Receipt(Result.STORED_UNINDEXED, receipt.info, receipt.sent, str(error))
    return receipt


def compose(arrival: Arrival, facts: DumpFacts, digests: Digests, name: str, now: float) -> DumpInfo:
    """The document of a dump that has just been stored as ``name``: the original's keys, then ours.

    What the dump does not tell is left out. ``time`` is that of the crash, for a core its file's mtime.
    """
    document: dict[str, Json] = {"name": name.rpartition("/")[0], "dump": name}
    for key, value in _told(arrival, facts, digests, now).items():
        if value is not None:
            document[key] = text(value) if isinstance(value, bytes) else value
    return DumpInfo(document)


def _told(arrival: Arrival, facts: DumpFacts, digests: Digests, now: float) -> dict[str, Json]:
    """What is known of a dump, by the keys of its document; None: it is not."""
    return {
        "pid": None if facts.pid is None else str(facts.pid),
        "cmd": facts.cmd,
        "psargs": facts.psargs,
        "platform": facts.platform,
        "node": facts.node or arrival.node,
        "version": "1",
        "time": _whole(facts.time if facts.time is not None else arrival.mtime),
        "type": facts.type,
        "properties": dict(arrival.properties),
        "id": str(arrival.identity),
        "revision": 0,
        "size": digests.size,
        "md5": digests.md5,
        "sha256": digests.sha256,
        "complete": facts.complete,
        "uploaded": now,
        "sources": [dict(arrival.source)] if arrival.source else None,
        "os": facts.os,
        "arch": facts.arch,
        "release": facts.release,
        "zone": facts.zone,
        "zoneid": facts.zoneid,
        "exec": facts.exec,
        "ppid": facts.ppid,
        "uid": facts.uid,
        "signal": facts.signal,
        "lwp": facts.lwp,
        "lwps": facts.lwps,
        "panicstring": facts.panic,
        "uuid": facts.uuid,
        "truncated": list(facts.truncated) or None,
    }


def _whole(seconds: float) -> float:
    """Whole seconds as an integer, as the original has them."""
    return int(seconds) if float(seconds).is_integer() else seconds
