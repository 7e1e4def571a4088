"""A dump is received: streamed into the store while it is looked at, then published."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from thoth.digest import digests_of
from thoth.dumps.binaries import Binaries
from thoth.dumps.describe import facts_of
from thoth.dumps.identity import identify
from thoth.dumps.source import KnownRanges, MissingRange, in_memory
from thoth.edit import require_storable
from thoth.errors import (
    NoSuchObject,
    NotADump,
    OtherBytes,
    PreconditionFailed,
    SourceChanged,
    StoreError,
    StoreTransient,
    StoreUnavailable,
)
from thoth.ingest.annotate import annotate, settle
from thoth.ingest.arrival import Arrival, Receipt, compose
from thoth.ingest.compare import Damaged, compared, may_mend
from thoth.ingest.publish import Committed, kept, publish
from thoth.ingest.wanted import is_lost, is_wanted, may_replace, other_dump, with_size
from thoth.library import Thoth
from thoth.model import DumpFacts, DumpInfo, Identity, Json, Result
from thoth.patience import Tries, usual_tries
from thoth.pending import marked
from thoth.signatures.signature import signed
from thoth.stacks import FindStacks, stacks_in, stored_stacks
from thoth.store.base import ABSENT, Digests, ObjectStat, Upload
from thoth.store.names import dump_dir, dump_name
from thoth.transit import Seekable, Transit


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
    rules: Callable[[], bool] | None = None,
    verify: Iterable[bytes] | None = None,
) -> Receipt:
    """Take a dump in: PRESENT, STORED, REPLACED, STORED_UNINDEXED or CONFLICT.

    The stream is not read at all when the dump turns out to be there; a list of blocks that are in memory costs
    nothing to read, and is. What is there is then taken for the same dump unless the sizes say otherwise; with
    ``verify``, a stream of the same bytes, it is compared with them: a stored object that is not what its document
    says gives way to bytes that are (STORED, with a reason), and other bytes are a CONFLICT. Where the store fails in
    a way that passes, the stream is begun anew and sent again; an iterator, which cannot be, is sent once. What it
    raises goes through, after the upload was abandoned. Raises SourceChanged when the bytes that came are not those
    that were identified, StoreError and, with ``verify``, BadDocument. ``now``: seconds since 1970. ``stacks`` finds
    the keys of thoth.stacks for a dump that came whole; without it what was stored is read for them, in small parts,
    together with ``binaries`` where there are some. ``rules`` tells, once the dump is stored, whether there are any
    that it is to be held against: then its document says that they are pending.
    """
    found = stacks or (lambda: _stacks_in(thoth, _name(thoth, arrival), stream, binaries))
    if isinstance(stream, Iterator):
        return _received(thoth, arrival, stream, now, found, rules=rules, verify=verify)
    repeats = True  # at first: who was killed may have left the dump without its document

    def once() -> Receipt:
        nonlocal repeats
        try:
            return _received(thoth, arrival, stream, now, found, rules=rules, verify=verify, repeats=repeats)
        except OtherBytes:
            repeats = False
            raise

    return tries().run(once)


def _name(thoth: Thoth, arrival: Arrival) -> str:
    return dump_name(thoth.user, arrival.identity, arrival.filename)


def _received(
    thoth: Thoth,
    arrival: Arrival,
    stream: Iterable[bytes],
    now: float,
    stacks: FindStacks,
    *,
    rules: Callable[[], bool] | None,
    verify: Iterable[bytes] | None,
    repeats: bool = False,
) -> Receipt:
    new = isinstance(stream, list) and _is_new(thoth, arrival.identity)
    current = None if isinstance(stream, list) else thoth.stored_info(arrival.identity)
    damaged = None
    if current is not None and not is_wanted(thoth, current[0], arrival.size):
        found = _present(thoth, arrival, current[0], verify)
        if isinstance(found, Receipt):
            # An upload of it under this name may have ended early before another one came through.
            _clear_away(thoth, arrival)
            return found
        damaged = found
    name = damaged.name if damaged else _name(thoth, arrival)
    there = damaged.there if damaged else None if new else _displaced(thoth, arrival, name)
    is_there = there is not None and repeats and not damaged and there.size == arrival.size
    if there is not None and is_there:
        upload = thoth.store.repeat(name, there)
        settle(thoth, arrival.identity)
    else:
        upload = thoth.store.begin(name, arrival.size, if_match=there.etag if there else ABSENT)
    try:
        facts, digests, came = _streamed(arrival, stream, upload)
        info = compose(arrival, facts, digests, name, now)
        require_storable(info)  # refused now, or the object would be there without its document
        # The stream took its time: was somebody faster? In memory there was none.
        current = None if new else thoth.stored_info(arrival.identity)
        if damaged and (current is None or not may_mend(current[0], digests)):
            raise _came_between(name)
        lost = damaged is not None or (current is not None and is_lost(thoth, current[0]))
        if current is not None and not (lost or may_replace(current[0], digests.size)):
            upload.abort()
            _clear_away(thoth, arrival)
            return kept(thoth, arrival, info)
        try:
            etag = upload.commit(digests).etag
        except PreconditionFailed:
            return _overtaken(thoth, arrival, info)
    finally:
        upload.abort()
    if info.document["type"] == "core":
        info = DumpInfo({**info.document, **stacks()})
    info = signed(info)
    info = marked(info, now) if rules and rules() else info
    receipt = publish(thoth, Committed(arrival, info, name, etag, lost, sent=0 if is_there else came))
    if damaged and receipt.result is Result.STORED:
        return replace(receipt, reason="took the place of what was stored, which was damaged")
    return receipt


def _present(thoth: Thoth, arrival: Arrival, stored: DumpInfo, verify: Iterable[bytes] | None) -> Receipt | Damaged:
    """What becomes of a dump that is there, as far as can be told without sending it."""
    is_kept = not stored.document.get("purged")
    fault = other_dump(with_size(thoth, stored), arrival.size, whole=arrival.whole) if is_kept else None
    # Where no size is recorded, that of a damaged object speaks against no file.
    if verify is not None and is_kept and (fault is None or stored.size is None):
        came = digests_of(verify)
        _require_announced(arrival, came)
        found = compared(thoth, stored, came)
        if isinstance(found, Damaged):
            return found
        fault = fault or found
    if fault is not None:
        return Receipt(Result.CONFLICT, stored, reason=fault)
    settle(thoth, arrival.identity)
    return annotate(thoth, arrival)


def _stacks_in(thoth: Thoth, name: str, stream: Iterable[bytes], binaries: Binaries | None) -> Mapping[str, Json]:
    """The stacks in a dump that has just been stored; out of memory, when that is where it came from."""
    if isinstance(stream, list):
        return stacks_in(in_memory(stream), binaries)
    return stored_stacks(thoth.store, name, binaries)


def _is_new(thoth: Thoth, identity: Identity) -> bool:
    """Whether the store lists nothing at all of a dump: one look in place of several. Where listings are late, what
    is there after all refuses to be written to."""
    return next(thoth.store.list(dump_dir(thoth.user, identity)), None) is None


def _displaced(thoth: Thoth, arrival: Arrival, name: str) -> ObjectStat | None:
    """The object whose place an upload may take, if there is one.

    A longer one that has no document may be a better dump that is about to get one.
    """
    try:
        found = thoth.store.stat(name)
    except NoSuchObject:
        return None
    if found.size > arrival.size and thoth.stored_info(arrival.identity) is None:
        raise StoreTransient(f"{name}: a longer upload has no document yet; 'thoth scrub --repair' gives it one")
    return found


def _overtaken(thoth: Thoth, arrival: Arrival, info: DumpInfo) -> Receipt:
    """Another upload put an object in the place of ours: it stays unless ours turns out to be the better one."""
    current = thoth.stored_info(info.id)
    if current is None or is_wanted(thoth, current[0], info.size or 0):
        raise _came_between(str(info.document["dump"]))
    return kept(thoth, arrival, info)


def _came_between(what: str) -> StoreTransient:
    return StoreTransient(f"{what}: another upload of it came between; upload it again")


def give_up(thoth: Thoth, identity: Identity, filename: bytes, size: int) -> None:
    """Throw away what an upload of such a dump has left in the store: none will go on with it. Raises StoreError."""
    thoth.store.discard(dump_name(thoth.user, identity, filename), size)


def _clear_away(thoth: Thoth, arrival: Arrival) -> None:
    try:
        give_up(thoth, arrival.identity, arrival.filename, arrival.size)
    except StoreUnavailable:
        raise
    except StoreError:
        pass  # it is swept in a week, and the dump is there: that is what was asked for


def _streamed(arrival: Arrival, stream: Iterable[bytes], upload: Upload) -> tuple[DumpFacts, Digests, int]:
    """Send the stream and look at it as it passes: what the dump tells, the digests of its bytes, and how many of
    them came now, and not before."""
    transit = Transit(arrival.ranges)
    before = 0
    try:
        if isinstance(stream, Seekable):
            if not (arrival.earlier and transit.resume(upload, arrival.earlier)):
                transit.close()
                transit = Transit(arrival.ranges)
            before = transit.size
            transit.pump(stream.start(before), upload, stream.came)
        else:
            transit.pump(stream, upload)
        digests = transit.digests()
    except PreconditionFailed as error:  # a store may compare before it has everything
        raise _came_between(str(arrival.identity)) from error
    finally:
        transit.close()
    known = in_memory(stream) if isinstance(stream, list) else transit.recorder.known()
    return _verified(arrival, digests, known), digests, digests.size - before


def _require_announced(arrival: Arrival, digests: Digests) -> None:
    if digests.size != arrival.size:
        raise SourceChanged(f"{digests.size} bytes came where {arrival.size} were announced")


def _verified(arrival: Arrival, digests: Digests, known: KnownRanges) -> DumpFacts:
    """What the dump tells, once it is sure that the bytes which came are those that were identified."""
    _require_announced(arrival, digests)
    try:
        if identify(known) == arrival.identity:
            return facts_of(known)
    except (MissingRange, NotADump):
        pass  # other headers lead to other ranges, or to none
    raise SourceChanged("its headers changed between identification and transfer")
