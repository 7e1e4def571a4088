"""One dump held against its document, and that against the index.

Others may write meanwhile, so a dump that looks wrong is looked at again before it is told; and what an upload on its
way looks like is no finding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Final, TypeVar

from thoth.dumps.identity import identify
from thoth.dumps.source import ReadAt
from thoth.errors import BadDocument, IndexFailure, NoSuchObject, NotADump, StoreError, StoreUnavailable
from thoth.library import Thoth
from thoth.maintain import UPLOADING
from thoth.model import DumpInfo, Identity
from thoth.objects import KeptObject, kept_objects
from thoth.scrub.findings import Clock, Finding, Kind, Scrubbed
from thoth.store.base import Entry, StoredObject
from thoth.store.names import INFO, dump_dir

PATIENCE: Final = 2.0  # seconds that a writer takes at most between its steps: object, document, index
_BLOCK: Final = 1 << 20  # bytes per read
_TRIES: Final = 5  # of a question that another process' write to the index may spoil

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class State:
    """What there is of a dump."""

    entries: tuple[Entry, ...]
    info: DumpInfo | None = field(compare=False)  # which may be too deep to be compared; the etag does
    etag: str  # of info.json; "" without
    fault: str  # why info.json cannot be used; "" when it can, or is not there
    row: DumpInfo | None  # of the index

    @property
    def is_empty(self) -> bool:
        return not self.entries and self.row is None

    @property
    def newest(self) -> float:
        """When something of it was written last, in seconds since 1970."""
        return max((entry.mtime for entry in self.entries), default=0.0)


@dataclass(frozen=True, slots=True)
class Examined:
    """A dump, as it was at one time."""

    scrubbed: Scrubbed
    state: State
    due: float  # by the clock that never jumps: when it can be told whether the findings stand

    @property
    def identity(self) -> Identity:
        return self.scrubbed.identity

    @property
    def findings(self) -> tuple[Finding, ...]:
        return self.scrubbed.findings


class Stopped(Exception):
    """Nobody waits for the result any more."""


class Examiner:
    """Looks at dumps, several at a time."""

    __slots__ = ("_clock", "_quick", "_stop", "_thoth")

    def __init__(self, thoth: Thoth, clock: Clock, quick: bool, stop: Event) -> None:
        self._thoth = thoth
        self._clock = clock
        self._quick = quick
        self._stop = stop

    def examine(self, identity: Identity) -> Examined:
        """The dump as it is now. Raises StoreUnavailable and IndexFailure, and Stopped."""
        state = self._state(identity)
        size, findings = self._judged(identity, state)
        recent = state.newest > self._clock.now() - PATIENCE or any(each.kind is Kind.LOST for each in findings)
        due = self._clock.monotonic() + (PATIENCE if recent else 0.0)
        return Examined(Scrubbed(identity, size, tuple(findings)), state, due)

    def confirmed(self, suspect: Examined) -> Scrubbed:
        """The dump with those findings that are no passing state of a writer's work."""
        if self._state(suspect.identity) == suspect.state:
            return suspect.scrubbed
        again = self.examine(suspect.identity)
        return replace(again.scrubbed, findings=tuple(each for each in again.findings if each in suspect.findings))

    def _state(self, identity: Identity) -> State:
        entries = tuple(self._thoth.store.list(dump_dir(self._thoth.user, identity)))
        info, etag, fault = None, "", ""
        try:
            info, etag = self._thoth.stored_info(identity) or (None, "")
        except StoreUnavailable:
            raise
        except (StoreError, BadDocument) as error:
            fault = str(error.__cause__ if isinstance(error.__cause__, BadDocument) else error)  # the advice is ours
        row = answered(self._clock, self._thoth.index.get, identity)
        return State(entries, info, etag, fault, row)

    def _judged(self, identity: Identity, state: State) -> tuple[int, list[Finding]]:
        """How many bytes were checked, and what was found."""
        if state.fault:
            return 0, [_unusable(identity, state.fault)]
        if state.info is None:
            return 0, list(self._undocumented(identity, state))
        try:
            kept = kept_objects(self._thoth.user, state.info)
        except BadDocument as error:
            return 0, [_unusable(identity, str(error))]
        size, findings = self._objects(state.info, kept, {entry.name: entry for entry in state.entries})
        findings += self._others(identity, kept, state.entries)
        findings += _index_findings(state.info, state.row)
        return size, findings

    def _undocumented(self, identity: Identity, state: State) -> Iterator[Finding]:
        if not state.entries and state.row is not None:
            yield ghost(identity)
        elif state.entries and (state.row is not None or not self._uploading(state.newest)):
            # One that the index knows had its document: it is not on its way.
            names = [entry.name for entry in state.entries]
            some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            whole = f"{dump_dir(self._thoth.user, identity)}/{names[0]}" if len(names) == 1 else None
            yield Finding(Kind.ORPHAN, f"{some}: without a document", identity, whole)

    def _objects(
        self, info: DumpInfo, kept: Iterable[KeptObject], entries: Mapping[str, Entry]
    ) -> tuple[int, list[Finding]]:
        size = 0
        findings: list[Finding] = []
        for number, each in enumerate(kept):
            entry = entries.get(each.filename)
            if info.document.get("purged"):
                findings += self._unpurged(info.id, each, entry)
                continue
            kind, fault = self._fault(each, entry, None if number else info.id)  # the dump itself comes first
            if kind is not None:
                findings.append(Finding(kind, f"{each.filename}: {fault}", info.id, each.name))
            size += entry.size if entry else 0
        return size, findings

    def _unpurged(self, identity: Identity, kept: KeptObject, entry: Entry | None) -> Iterator[Finding]:
        if entry is not None and not self._uploading(entry.mtime):
            what = f"{kept.filename}: is still there, {entry.size} bytes, though the dump was purged; delete it"
            yield Finding(Kind.UNPURGED, what, identity, kept.name)

    def _fault(self, kept: KeptObject, entry: Entry | None, identity: Identity | None) -> tuple[Kind | None, str]:
        """What is wrong with an object; ``identity``: the dump that it is, None for what a dump was expanded to."""
        if entry is None or entry.directory:
            return _lost(kept, identity)
        if kept.size is not None and entry.size != kept.size:
            return _corrupt(f"has {entry.size} bytes where {kept.size} are recorded", identity)
        kind, fault = (None, "") if self._quick else self._content_fault(kept, identity)
        if kind is None and (kept.size is None or kept.sha256 is None):
            return Kind.UNRECORDED, "size or SHA-256 is not recorded"
        return kind, fault

    def _content_fault(self, kept: KeptObject, identity: Identity | None) -> tuple[Kind | None, str]:
        try:
            with self._thoth.store.open(kept.name) as found:
                fault = self._read_fault(kept, found, identity)
        except StoreUnavailable:
            raise
        except NoSuchObject:
            return _lost(kept, identity)
        except StoreError as error:
            fault = f"cannot be read: {error}"
        return _corrupt(fault, identity) if fault else (None, "")

    def _read_fault(self, kept: KeptObject, found: StoredObject, identity: Identity | None) -> str:
        size, sha256 = self._digested(found)
        if size != found.size:
            return f"ends after {size} of its {found.size} bytes"
        if kept.sha256 is not None and sha256 != kept.sha256.lower():
            return f"has SHA-256 {sha256} where {kept.sha256:.64} is recorded"
        return wrong_dump(found, identity) if identity else ""

    def _digested(self, found: StoredObject) -> tuple[int, str]:
        at, digest = 0, hashlib.sha256()
        while block := found.read_at(at, _BLOCK):
            if self._stop.is_set():
                raise Stopped
            digest.update(block)
            at += len(block)
        return at, digest.hexdigest()

    def _others(self, identity: Identity, kept: Iterable[KeptObject], entries: Iterable[Entry]) -> Iterator[Finding]:
        """What lies in a dump's directory and its document does not speak of."""
        known = {INFO, *(each.filename for each in kept)}
        for entry in entries:
            if entry.name not in known and not self._uploading(entry.mtime):
                what = f"{entry.name}: {noun(entry)} that its document does not speak of"
                name = f"{dump_dir(self._thoth.user, identity)}/{entry.name}"
                yield Finding(Kind.STRAY, what, identity, name)

    def _uploading(self, mtime: float) -> bool:
        return mtime > self._clock.now() - UPLOADING


def _unusable(identity: Identity, fault: str) -> Finding:
    advice = f"move its {INFO} away, and 'thoth scrub --repair' makes it anew"
    return Finding(Kind.CORRUPT, f"{fault}; {advice}", identity)


def _lost(kept: KeptObject, identity: Identity | None) -> tuple[Kind, str]:
    return Kind.LOST, f"is not in the store; {_again(identity)}, as {kept.name}"


def _corrupt(fault: str, identity: Identity | None) -> tuple[Kind, str]:
    first = "'thoth upload --verify' the dump's file, or " if identity else ""
    return Kind.CORRUPT, f"{fault}; {first}move it away and {_again(identity)}"


def _again(identity: Identity | None) -> str:
    """How to get the bytes of an object again: an upload stores a dump that is lost."""
    source = "upload the dump again" if identity else "run the analyzer that made it again"
    return f"{source}, or bring it back from a backup"


def wrong_dump(found: ReadAt, identity: Identity) -> str:
    """Why an object is not the dump of this identity, by its own headers; empty when it is."""
    try:
        told = identify(found)
    except NotADump as error:
        return f"is no dump: {error}"
    return "" if told == identity else f"is another dump, {told}"


def _index_findings(info: DumpInfo, row: DumpInfo | None) -> Iterator[Finding]:
    if row is None:
        yield Finding(Kind.UNINDEXED, "is not in the index", info.id)
    elif row.revision > info.revision:
        what = f"the index has revision {row.revision}, which is newer than the store's, {info.revision}"
        advice = "to go by the store alone, move the index away and run 'thoth index'"
        yield Finding(Kind.UNINDEXED, f"{what}; {advice}", info.id)
    elif row.revision < info.revision:
        what = f"the index has revision {row.revision}, which is older than the store's, {info.revision}"
        yield Finding(Kind.UNINDEXED, what, info.id)
    elif row.document != info.document:
        what = f"the index has other content for the store's revision {info.revision}"
        yield Finding(Kind.UNINDEXED, what, info.id)


def ghost(identity: Identity) -> Finding:
    """What is told of a dump that only the index has."""
    return Finding(Kind.GHOST, "is in the index, and the store has nothing of it", identity)


def noun(entry: Entry) -> str:
    """What a name in the store is, in words."""
    return "a directory" if entry.directory else f"an object of {entry.size} bytes"


def answered(clock: Clock, ask: Callable[..., _Answer], *about: object) -> _Answer:
    """What the index answers. One that is read without leaving a trace may be written to in the middle of it."""
    for _ in range(_TRIES - 1):
        try:
            return ask(*about)
        except IndexFailure:
            clock.sleep(0.05)
    return ask(*about)
