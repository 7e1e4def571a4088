"""A dump that arrives, what becomes of it, and the document that it gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from thoth.dumps.source import Range
from thoth.model import DumpFacts, DumpInfo, Identity, Json, Result, text
from thoth.store.base import Digests
from thoth.transit import Prefix


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
    whole: bool | None = None  # every extent that its headers promise lies inside the file; None: not looked at
    in_index: bool = True  # as far as is known; the index has no word on a dump that was looked up in vain


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of an arrival. ``reason`` says why when the result is not a good one, or was not to be expected."""

    result: Result
    info: DumpInfo
    sent: int = 0  # bytes written to the store, by this upload
    reason: str | None = None


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
