"""A dump on its way in: one stream into the store, then info.json, then the index.

Each step can be repeated: a run that is killed anywhere leaves what the next run completes. An object without
an info.json is not a dump yet; an info.json that the index does not know is put there by whoever meets it next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from thoth.digest import Digester
from thoth.dumps.describe import describe
from thoth.dumps.identity import identify
from thoth.dumps.source import KnownRanges, Range, Recorder
from thoth.edit import revise, stored_form
from thoth.errors import IndexFailure, NoSuchObject, PreconditionFailed, SourceChanged
from thoth.library import Thoth
from thoth.model import DumpFacts, DumpInfo, Identity, Json, Result, text
from thoth.store.base import ABSENT, Digests
from thoth.store.names import dump_dir, info_name, safe_filename

_SOURCES_KEPT = 64  # places where one dump was seen; a core copied about without end must not grow its document


@dataclass(frozen=True, slots=True)
class Arrival:
    """A dump that was identified and may have to be sent."""

    identity: Identity
    size: int  # bytes, as discovered
    mtime: float  # seconds since 1970
    filename: bytes  # last part of its path
    ranges: tuple[Range, ...]  # what identify and describe look at: thoth.dumps.describe.fact_ranges
    node: str  # the node of a dump that does not name its own
    source: Mapping[str, Json] = field(default_factory=dict)  # where it was found; an item of ``sources``
    properties: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of an arrival. ``reason`` says why when the result is not a good one."""

    result: Result
    info: DumpInfo
    sent: int = 0  # bytes written to the store
    reason: str | None = None


def receive(thoth: Thoth, arrival: Arrival, stream: Iterable[bytes], *, now: float) -> Receipt:
    """Take a dump in: PRESENT, STORED, REPLACED, STORED_UNINDEXED or CONFLICT.

    The stream is read once, and not at all when the dump turns out to be there. What it raises goes through, after
    the upload was abandoned. Raises SourceChanged when the bytes that came are not those that were identified,
    and StoreError. ``now``: seconds since 1970.
    """
    current = thoth.stored_info(arrival.identity)
    if current is not None and not may_replace(current[0], arrival.size):
        return annotate(thoth, arrival)
    name = f"{dump_dir(thoth.user, arrival.identity)}/{safe_filename(arrival.filename)}"
    facts, digests, outdone = _send(thoth, arrival, stream, name, current and current[0])
    if outdone:
        return annotate(thoth, arrival)
    info = compose(arrival, facts, digests, name, now)
    if current is None:
        return _publish(thoth, arrival, info)
    return _publish_replacement(thoth, arrival, info, *current)


def may_replace(stored: DumpInfo, size: int) -> bool:
    """Whether a dump of this size could be a better one than what is stored under its identity.

    A dump that is whole stays. So does a purged one: what was thrown away on purpose is not fetched again.
    """
    if stored.document.get("purged"):
        return False
    return stored.complete is False and stored.size is not None and size > stored.size


def annotate(thoth: Thoth, arrival: Arrival) -> Receipt:
    """Note on a dump that is there where else it was seen and the properties that it lacks; heal the index.

    What is set is never touched: ticket, properties, and a dump that is seen again as it was. Raises NoSuchDump.
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


def _send(
    thoth: Thoth, arrival: Arrival, stream: Iterable[bytes], name: str, stored: DumpInfo | None
) -> tuple[DumpFacts, Digests, bool]:
    """Stream the dump into the store. The last value is True when what is stored is as good, and was kept."""
    upload = thoth.store.begin(name, arrival.size)
    try:
        recorder = Recorder(arrival.ranges)
        digests = _pump(stream, recorder.feed, upload.part)
        facts = _verified(arrival, digests, recorder.known())
        outdone = stored is not None and not (facts.complete or digests.size > (stored.size or 0))
        if not outdone:
            upload.commit(digests)
    finally:
        upload.abort()
    return facts, digests, outdone


def _pump(stream: Iterable[bytes], *sinks: Callable[[bytes], None]) -> Digests:
    digester = Digester()
    try:
        for block in stream:
            digester.feed(block)
            for sink in sinks:
                sink(block)
        return digester.result()
    finally:
        digester.close()


def _verified(arrival: Arrival, digests: Digests, known: KnownRanges) -> DumpFacts:
    """What the dump tells, once it is sure that the bytes which came are those that were identified."""
    if digests.size != arrival.size:
        raise SourceChanged(f"{digests.size} bytes came where {arrival.size} were announced")
    if identify(known) != arrival.identity:
        raise SourceChanged("its headers changed between identification and transfer")
    return describe(known)


def _publish(thoth: Thoth, arrival: Arrival, info: DumpInfo) -> Receipt:
    size = info.size or 0
    try:
        thoth.store.put(info_name(thoth.user, info.id), stored_form(info), if_match=ABSENT)
    except PreconditionFailed:
        return _met_another(thoth, arrival, info)
    return _indexed(thoth, Receipt(Result.STORED, info, sent=size))


def _publish_replacement(thoth: Thoth, arrival: Arrival, info: DumpInfo, old: DumpInfo, etag: str) -> Receipt:
    """A better copy took the place of a cut one: keep what people set on it, drop the cut object."""
    kept = {key: old.document[key] for key in ("ticket", "properties", "sources") if key in old.document}
    merged = DumpInfo({**old.document, **info.document, **kept, "revision": old.revision + 1})
    merged = _annotated(merged, arrival) or merged
    try:
        thoth.store.put(info_name(thoth.user, info.id), stored_form(merged), if_match=etag)
    except PreconditionFailed:
        return _met_another(thoth, arrival, info)
    if old.document.get("dump") not in (None, info.document["dump"]):
        _delete_if_there(thoth, str(old.document["dump"]))
    return _indexed(thoth, Receipt(Result.REPLACED, merged, sent=info.size or 0))


def _met_another(thoth: Thoth, arrival: Arrival, info: DumpInfo) -> Receipt:
    """Somebody else stored a dump of the same identity while we did. The first info.json is the truth."""
    found = thoth.stored_info(info.id)
    if found is not None and found[0].sha256 != info.sha256 and found[0].complete and info.complete:
        reason = f"another dump with this identity is stored: sha256 {found[0].sha256}, this one has {info.sha256}"
        return Receipt(Result.CONFLICT, found[0], reason=reason)
    return annotate(thoth, arrival)


def _delete_if_there(thoth: Thoth, name: str) -> None:
    try:
        thoth.store.delete(name)
    except NoSuchObject:
        return


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
    told = {
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
    document: dict[str, Json] = {"name": name.rpartition("/")[0], "dump": name}
    for key, value in told.items():
        if value is not None:
            document[key] = text(value) if isinstance(value, bytes) else value
    return DumpInfo(document)


def _whole(seconds: float) -> float:
    """Whole seconds as an integer, as the original has them."""
    return int(seconds) if float(seconds).is_integer() else seconds
