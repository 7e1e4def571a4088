"""One node: discover -> identify -> look up -> transfer -> annotate. Each dump seen has exactly one outcome."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

from sdc_thoth.arrivals import Arrivals
from sdc_thoth.ask import Asker
from sdc_thoth.budget import Budget
from sdc_thoth.errors import NodeError, ProtocolError
from sdc_thoth.halt import Halt
from sdc_thoth.identification import Identified, identify_by_ranges, identify_by_thoth
from sdc_thoth.inventory import Node
from sdc_thoth.journal import Entry, Journal
from sdc_thoth.meter import Meter
from sdc_thoth.node import Bad, Found, Odd, Place, System
from sdc_thoth.notes import LONGEST_DELAY, Failing
from sdc_thoth.session import Session
from sdc_thoth.transfer import Intake, failed
from thoth import (
    Binaries,
    Identity,
    IndexFailure,
    Known,
    NotADump,
    Outcome,
    Result,
    SourceError,
    StoreUnavailable,
    Thoth,
    ThothError,
    escaped,
    is_wanted,
    size_text,
)

BATCH = 256  # dumps that are identified and looked up together
_LISTING = 32 << 20  # bytes of memory that a node's listing may take: some 300,000 files
_PER_NAME = 100  # of these bytes
_PER_REMARK = 4096  # of these bytes; there is one for each place that could not be searched
_SEEN_BEFORE = {"seen_before": True}  # the detail of an outcome that the journal knew
WAITING = {"waiting": True}  # of one that is still being written, and comes another time
_TROUBLES = 100  # places that could not be searched, of which more need not be known


@dataclass(frozen=True, slots=True)
class Task:
    """What a pass over the fleet shares between its nodes."""

    thoth: Thoth
    journal: Journal
    places: tuple[Place, ...]
    settle: float  # seconds that a dump must have been still
    max_size: int | None  # bytes; larger dumps stay where they are
    dry_run: bool
    clock: Callable[[], float]  # seconds since 1970
    budget: Budget  # bytes of small dumps that are in memory
    storing: Executor  # stores small dumps while the next ones come
    say: Callable[[str], None]  # takes a line of talk
    progress: Callable[[str], None]  # takes a line on how far the pass is
    arrivals: Arrivals  # takes what was stored, for the autoanalyzers
    halt: Halt  # why nothing new is to be begun, if so
    meter: Meter  # of the time in which dumps are on their way
    binaries: Binaries | None = None  # executables and libraries that nodes have not
    node_stack: str = "native"  # or "mdb": nodes' own debugger is asked, too
    patient: bool = False  # a dump that has failed again and again waits before it is tried once more


@dataclass(frozen=True, slots=True)
class Named:
    """A dump with its identity. ``dump``: what was read of it in this pass, if anything was."""

    found: Found
    identity: Identity
    dump: Identified | None = None
    done: bool = False  # the journal knows that it is in Thoth, with all that is noted on it


class Collection:
    """One node's part of a pass."""

    def __init__(self, session: Session, node: Node, task: Task) -> None:
        self._node = node
        self._task = task
        self._asker = Asker(session, task.places)
        self._intake = Intake(
            self._asker,
            node,
            task.thoth,
            task.arrivals,
            clock=task.clock,
            say=task.say,
            elsewhere=task.binaries,
            node_stack=task.node_stack,
        )
        self._now = task.clock()  # by the node's clock, once it has told
        self._stage = "discover"
        self._listing = _LISTING  # bytes that are left
        self._seen: set[int] = set()  # hashes of paths, which take the same memory however long the paths are
        self._waiting: dict[bytes, Found] = {}  # dumps that were found and have no outcome yet
        self._noted: list[Entry] = []  # for the journal
        self._failed: list[Failing] = []  # likewise
        self._before: dict[bytes, Failing] = {}  # of the batch, by the journal
        self._under_way: Found | None = None  # the dump whose bytes come
        self._trouble: list[Bad] = []
        self._flying: list[Future[Outcome]] = []  # small dumps that are being stored

    def outcomes(self) -> Iterator[Outcome]:
        """An outcome for each dump, then one for the node. What it raises, StoreUnavailable above all, comes after
        those of the dumps."""
        failure: NodeError | None = None
        try:
            yield from self._discover()
        except NodeError as error:
            yield from self._abandon(str(error))
            failure = error
        except Exception as error:
            yield from self._abandon(str(error) or type(error).__name__)
            raise
        yield self._of_node(failure)

    def _abandon(self, reason: str) -> Iterator[Outcome]:
        """Outcomes for what is left of a batch when the node or the store is lost."""
        stored = [flying.result() for flying in self._flying if flying.exception() is None]
        for outcome in self._intake.indexed(stored):
            yield self._settled(outcome)
        if self._under_way is not None and self._task.halt.reason is None:
            # It may be this dump that ends the session each time: then those behind it must get their turn.
            self._note_failure(self._under_way, reason)
        for found in list(self._waiting.values()):
            yield self._outcome(found, Result.FAILED, stage=self._stage, reason=reason)
        self._note_in_journal()

    def _of_node(self, failure: NodeError | None) -> Outcome:
        name = self._node.name
        if failure is not None:
            return Outcome(failure.result, name, stage=self._stage, reason=str(failure))
        if not self._trouble:
            if not self._task.dry_run and self._task.halt.reason is None:
                self._task.journal.keep_failing(name, lambda path: hash(path) in self._seen)
            return Outcome(Result.REACHED, name)
        reason = "; ".join(f"{escaped(bad.directory)}: {escaped(bad.reason)}" for bad in self._trouble[:5])
        denied = all(bad.reason == "permission denied" for bad in self._trouble)
        return Outcome(Result.DENIED if denied else Result.FAILED, name, stage="discover", reason=reason)

    def _outcome(self, found: Found, result: Result, **more: Any) -> Outcome:
        return Outcome(result, self._node.name, found.path, size=found.size, **more)

    # ---- discover --------------------------------------------------------------------------------------------------

    def _discover(self) -> Iterator[Outcome]:
        for item in self._asker.discover():
            self._account_for(item)
            if isinstance(item, System):
                self._now = self._task.clock() if item.now is None else item.now
            elif isinstance(item, Bad):
                self._note_trouble(item)
            elif (path := hash(item.path)) not in self._seen:
                self._seen.add(path)
                refused = self._refused(item)
                if refused is not None:
                    yield refused
                elif isinstance(item, Found):
                    self._waiting[item.path] = item
            if len(self._waiting) == BATCH:
                yield from self._batch()
        yield from self._batch()

    def _account_for(self, item: System | Found | Odd | Bad) -> None:
        """Raises ProtocolError when the listing takes too much: a hostile node's has no end."""
        self._listing -= _PER_NAME if isinstance(item, Found | Odd) else _PER_REMARK
        if self._listing < 0:
            raise ProtocolError("lists more files than one node can have; remove some, or search fewer places")

    def _note_trouble(self, bad: Bad) -> None:
        # Several places can lead through one directory, and a node may complain without end.
        if bad not in self._trouble and len(self._trouble) < _TROUBLES:
            self._trouble.append(bad)

    def _refused(self, item: Found | Odd) -> Outcome | None:
        """The outcome of what is not even looked into."""
        if isinstance(item, Odd):
            result = {"denied": Result.DENIED, "gone": Result.GONE}.get(item.kind, Result.SKIPPED)
            reason = "permission denied" if item.kind == "denied" else item.kind
            return Outcome(result, self._node.name, item.path, stage="discover", reason=reason)
        # A time in the future says that a clock is wrong, not that the dump is being written.
        now = self._now if item.seen is None else item.seen
        if abs(now - item.signature.mtime) < self._task.settle:
            return self._outcome(item, Result.SKIPPED, stage="discover", reason="still changing", detail=WAITING)
        return None

    # ---- identify and look up --------------------------------------------------------------------------------------

    def _batch(self) -> Iterator[Outcome]:
        batch = list(self._waiting.values())
        self._stage = "identify"
        if (why := self._task.halt.reason) is not None:
            for found in batch:
                yield self._settled(self._outcome(found, Result.FAILED, stage=self._stage, reason=why))
            return
        named: list[Named] = []
        for item in self._identified(batch):
            if isinstance(item, Named):
                named.append(item)
            else:
                yield self._settled(item)
        self._stage = "look up"
        for outcome in self._looked_up(named):
            yield self._settled(outcome)
        self._note_in_journal()
        self._stage = "discover"

    def _settled(self, outcome: Outcome) -> Outcome:
        """Take note that a dump has its outcome."""
        found = self._waiting.pop(outcome.path or b"", None)
        stored = outcome.result in (Result.PRESENT, Result.STORED, Result.REPLACED)
        no_dump = outcome.result is Result.SKIPPED and (outcome.reason or "").startswith("not a dump")
        news = outcome.detail is not _SEEN_BEFORE  # what the journal said need not be written into it again
        if found is not None and news and (stored or no_dump):
            signature = found.signature.raw.decode("ascii")
            reason = outcome.reason if no_dump else None
            self._noted.append(Entry(found.path, signature, outcome.identity, done=stored, reason=reason))
        elif found is not None and news and not outcome.result.good and self._task.halt.reason is None:
            self._note_failure(found, outcome.reason or outcome.result.value)
        return outcome

    def _note_failure(self, found: Found, reason: str) -> None:
        before = self._before.get(found.path)
        signature = found.signature.raw.decode("ascii")
        self._failed.append(Failing.of(found.path, signature, reason, before, self._task.clock()))

    def _note_in_journal(self) -> None:
        if self._noted and not self._task.dry_run:
            self._task.journal.record(self._node.name, self._noted)
        if self._failed and not self._task.dry_run:
            self._task.journal.record_failing(self._node.name, self._failed)
        self._noted, self._failed = [], []

    def _identified(self, batch: Sequence[Found]) -> Iterator[Named | Outcome]:
        """Each dump with its identity, from the journal when it was seen as it is now, else from the node."""
        signatures = [(found.path, found.signature.raw.decode("ascii")) for found in batch]
        seen = self._task.journal.seen(self._node.name, signatures)
        self._before = dict(self._task.journal.failing(self._node.name, signatures))
        fresh: list[Found] = []
        for found in batch:
            entry = seen.get(found.path)
            if (waiting := self._put_off(found)) is not None:
                yield waiting
            elif entry is None:
                fresh.append(found)
            elif entry.identity is None:
                yield self._outcome(found, Result.SKIPPED, stage="identify", reason=entry.reason, detail=_SEEN_BEFORE)
            else:
                yield Named(found, entry.identity, done=entry.done)
        yield from self._named_by_thoth(fresh) if self._node.remote_thoth else self._named_by_ranges(fresh)

    def _put_off(self, found: Found) -> Outcome | None:
        """The outcome of a dump that has failed so often that it has to wait for its next try."""
        before = self._before.get(found.path)
        now = self._task.clock()
        # A due time further off than any delay is one of a clock that was wrong.
        if before is None or not self._task.patient or not now < before.due <= now + LONGEST_DELAY:
            return None
        due = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(before.due))
        reason = f"{before.reason} (tried {before.tries} times; next at {due})"
        return self._outcome(found, Result.FAILED, stage="wait", reason=reason, detail=_SEEN_BEFORE)

    def _named_by_ranges(self, found: Sequence[Found]) -> Iterator[Named | Outcome]:
        # A dry run notes nothing on any dump.
        for item in identify_by_ranges(self._asker, found, about=not self._task.dry_run) if found else ():
            if isinstance(item, Identified):
                yield Named(item.found, item.identity, item)
            else:
                yield failed(self._node, *item, "identify")

    def _named_by_thoth(self, found: Sequence[Found]) -> Iterator[Named | Outcome]:
        """By the node's own thoth; what it does not name is asked about in the other way, which tells why."""
        unnamed: list[Found] = []
        answers = identify_by_thoth(self._asker, found, self._node.remote_thoth or "") if found else ()
        for each, identity in answers:
            if identity is None:
                unnamed.append(each)
            else:
                yield Named(each, identity)
        yield from self._named_by_ranges(unnamed)

    def _looked_up(self, named: Sequence[Named]) -> Iterator[Outcome]:
        try:
            known = self._task.thoth.index.known(each.identity for each in named)
        except IndexFailure as error:
            if self._task.dry_run:
                for each in named:
                    yield self._outcome(each.found, Result.FAILED, stage="look up", reason=str(error))
                return
            # The store tells too, dump by dump, what is there: none is lost because the index is down.
            known = {}
        missing: list[Named] = []
        for each in named:
            try:
                outcome = self._without_transfer(each, known)
            except (StoreUnavailable, NodeError):
                raise
            except ThothError as error:  # its document is damaged
                outcome = failed(self._node, each.found, error, "look up", each.identity)
            if outcome is None:
                missing.append(each)
            else:
                yield outcome
        self._stage = "transfer"
        yield from self._transferred(missing)

    def _without_transfer(self, each: Named, known: Mapping[Identity, Known]) -> Outcome | None:
        """The outcome of a dump that need not be sent, or may not; None when it has to be."""
        there = known.get(each.identity)
        if there is not None and not _may_be_better(each.found.size, there):
            outcome = self._of_present(each, there)
            if outcome is not None:
                return outcome
        limit = self._task.max_size
        if limit is not None and each.found.size > limit:
            reason = f"larger than max_size, {limit} bytes"
            return self._of_named(each, Result.SKIPPED, stage="look up", reason=reason)
        return self._of_plan(each) if self._task.dry_run else None

    def _of_present(self, each: Named, there: Known) -> Outcome | None:
        """The outcome of a dump that the index knows; None when the store, which is the truth, has it no more."""
        size = each.found.size
        if there.complete and not there.purged and there.size is not None and size > there.size:
            reason = f"stored whole with {there.size} bytes; this file has {size} and the same headers"
            return self._of_named(each, Result.CONFLICT, stage="look up", reason=reason)
        if each.done:
            return self._of_named(each, Result.PRESENT, detail=_SEEN_BEFORE)
        if self._task.dry_run:
            return None if self._why_sent(each) else self._of_named(each, Result.PRESENT)
        return self._intake.annotate(each.found, each.identity)

    def _of_plan(self, each: Named) -> Outcome:
        # An index that has lost a dump is healed by the real run, which sends nothing then.
        why = self._why_sent(each)
        return self._of_named(each, Result.PLANNED if why else Result.PRESENT, reason=why)

    def _why_sent(self, each: Named) -> str | None:
        """Why a dump has to be sent, by the store; None when that has it."""
        stored = self._task.thoth.stored_info(each.identity)
        if stored is None:
            return "new"
        wanted = is_wanted(self._task.thoth, stored[0], each.found.size)
        return "what is stored was cut short, or is lost" if wanted else None

    def _of_named(self, each: Named, result: Result, **more: Any) -> Outcome:
        return self._outcome(each.found, result, identity=each.identity, **more)

    # ---- transfer --------------------------------------------------------------------------------------------------

    def _transferred(self, missing: Sequence[Named]) -> Iterator[Outcome]:
        dumps: list[Identified] = [each.dump for each in missing if each.dump is not None]
        for item in self._named_by_ranges([each.found for each in missing if each.dump is None]):
            if isinstance(item, Outcome):
                yield item
            elif item.dump is not None:
                dumps.append(item.dump)
        for group, held in self._intake.groups(dumps):
            if (why := self._task.halt.reason) is not None:
                yield from (self._outcome(each.found, Result.FAILED, stage="transfer", reason=why) for each in group)
                continue
            with self._task.budget.taken(held), self._task.meter.busy():
                yield from self._stored(group)

    def _stored(self, group: Sequence[Identified]) -> Iterator[Outcome]:
        for dump, body in zip(group, self._intake.bodies(group), strict=True):
            try:
                arrival = self._intake.arrival(dump, in_memory=isinstance(body, list))
            except (SourceError, NotADump) as error:
                yield failed(self._node, dump.found, error, "transfer", dump.identity)
                continue
            if isinstance(body, SourceError):
                yield failed(self._node, dump.found, body, "transfer", dump.identity)
            elif isinstance(body, list):
                self._flying.append(self._task.storing.submit(self._intake.store, arrival, dump.found, body))
            else:
                what = f"{escaped(dump.found.path)} from {self._node.name} ({size_text(dump.found.size)})"
                self._task.progress(f"uploading {what}")
                self._under_way = dump.found
                outcome = self._intake.store(arrival, dump.found, body)
                self._under_way = None
                yield from self._intake.indexed([outcome])
        stored = [flying.result() for flying in self._flying]  # what one raises leaves all of them to _abandon
        self._flying.clear()
        yield from self._intake.indexed(stored)


def _may_be_better(size: int, there: Known) -> bool:
    """Whether a dump of this size may have more than the one that is there, by the index."""
    return not there.purged and there.complete is False and there.size is not None and size > there.size
