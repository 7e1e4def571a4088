"""One node: discover -> identify -> look up -> transfer -> annotate. Each dump seen has exactly one outcome.

A node is visited several times in a pass. The first visit is the survey: what lies there, and what is known of it.
Each later one is a turn, in which some of the dumps that wait are brought in.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import Any

from sdc_thoth.ask import Asker
from sdc_thoth.errors import NodeError, NodeLost, NodeTimeout
from sdc_thoth.identification import Identified, identify_by_ranges, identify_by_thoth
from sdc_thoth.inventory import Node
from sdc_thoth.ledger import SEEN_BEFORE, WAITING, Ledger
from sdc_thoth.listing import Bad, Found, Odd, Placeless, System
from sdc_thoth.lookup import Lookup, Named
from sdc_thoth.notes import LONGEST_DELAY
from sdc_thoth.order import Due, Pending, apart, deletion
from sdc_thoth.paced import PacedSession
from sdc_thoth.places import is_searched
from sdc_thoth.press import Press
from sdc_thoth.searched import Searched
from sdc_thoth.session import Session
from sdc_thoth.task import Task
from sdc_thoth.transfer import SMALL, Intake, failed
from thoth import (
    Identity,
    NotADump,
    Outcome,
    Result,
    SourceError,
    StoreError,
    StoreUnavailable,
    escaped,
    size_text,
)

BATCH = 256  # dumps that are identified and looked up together
_AHEAD = 16  # small dumps of one node that wait for being stored, or are
_TURN = 64 << 20  # bytes of dumps that a node may send before it is another's turn, unless it is one dump
_PENDING = 10 << 20  # bytes of memory that a node's dumps take which wait for their turn: some 18,000
_FEW = 128 << 10  # of these bytes, which a node has in any case: some 200 dumps
_SILENT = "the node fell silent over it"


class Collection:
    """One node's part of a pass. ``over``: it has had all its outcomes."""

    def __init__(self, node: Node, task: Task) -> None:
        self.node = node
        self.over = False
        self.surveyed = False
        self._cut_off = False
        self._task = task
        self._pace = task.pace.of_node()
        self._asker = Asker(None, task.places, user=node.user)
        self._ledger = Ledger(node.name, task.journal, task.halt, task.clock, dry_run=task.dry_run)
        press = Press(task.limits.compress, lambda line: task.progress(f"{node.name}: {line}"))
        self._intake = Intake(
            self._asker,
            node,
            task.thoth,
            task.arrivals,
            self._ledger,
            press=press,
            clock=task.clock,
            say=task.say,
            elsewhere=task.binaries,
            node_stack=task.node_stack,
        )
        self._lookup = Lookup(node, task, self._intake)
        self._now = task.clock()  # by the node's clock, where it tells
        self._stage = "discover"
        self._searched = Searched()
        self._seen: set[int] = set()  # hashes of paths, which take the same memory however long the paths are
        self._pending = Pending()
        self._batch: dict[bytes, Found] = {}  # dumps that are worked on and have no outcome yet
        self._under_way: Found | None = None  # the dump whose bytes come
        self._flying: list[Future[Outcome]] = []  # small dumps that are being stored
        self._served = 0  # bytes of dumps that it was asked to send

    @property
    def claim(self) -> tuple[int, float]:  # the smallest has the next turn
        deleted = self._pending.next_deletion
        return (1, self._served) if deleted is None else (0, deleted)

    # ---- visits ----------------------------------------------------------------------------------------------------

    def visit(self, session: Session) -> Iterator[Outcome]:
        """The outcomes of dumps, and when it is over that of the node. What it raises, StoreUnavailable above all,
        comes after those of the dumps, and ends it without that of the node."""
        failure: NodeError | None = None
        try:
            with self._asker.by(PacedSession(session, self._pace)):
                yield from self._turn() if self.surveyed else self._survey()
        except NodeError as error:
            if isinstance(error, NodeTimeout) and self._task.halt.reason is None:
                for found in self._asker.awaited:  # it may be one of these each time
                    self._ledger.fail(found, f"{_SILENT}: {error}", self._ledger.failing(found))
            yield from self._abandon(str(error))
            failure = error
        except Exception as error:
            yield from self._abandon(str(error) or type(error).__name__)
            self.over = True
            raise
        if failure is not None or not self._pending:
            self.over = True
            yield self.of_node(failure)

    def cut_off(self) -> None:
        """End the visit under way, whose session is closed: what has come of a listing is not gone through any more.
        Safe from any thread."""
        self._cut_off = True

    def lost(self, error: NodeError) -> Iterator[Outcome]:
        """The outcomes of a node that cannot be reached, or not again."""
        yield from self._abandon(str(error))
        self.over = True
        yield Outcome(error.result, self.node.name, stage="connect", reason=str(error))

    def abandon(self, reason: str) -> Iterator[Outcome]:
        """The outcomes of the dumps that have none yet, when the pass ends before they have had a turn."""
        self.over = True
        yield from self._abandon(reason)

    def _abandon(self, reason: str) -> Iterator[Outcome]:
        """Outcomes for all dumps that have none yet when the node, the store or the pass is lost."""
        stored = [flying.result() for flying in self._flying if flying.exception() is None]
        self._flying.clear()
        with suppress(StoreUnavailable):  # the outcomes say it
            for outcome in self._intake.indexed(stored):
                yield self._settled(outcome)
        if self._under_way is not None and self._task.halt.reason is None:
            # It may be this dump that ends the session each time: then those behind it must get their turn.
            self._ledger.fail(self._under_way, reason, self._ledger.failing(self._under_way))
        for found in list(self._batch.values()):
            yield self._outcome(found, Result.FAILED, stage=self._stage, reason=reason)
        self._batch.clear()
        for due in self._taken(self._pending.clear()):
            yield self._outcome(due.found, Result.FAILED, stage=self._stage, reason=reason)
        self._ledger.write()

    def _silenced(self, found: Found) -> int:
        """How often the node has fallen silent over a file."""
        before = self._ledger.failing(found)
        return before.tries if before is not None and before.reason.startswith(_SILENT) else 0

    def of_node(self, failure: NodeError | None = None) -> Outcome:
        """The outcome of the node itself."""
        name = self.node.name
        if failure is not None:
            return Outcome(failure.result, name, stage=self._stage, reason=str(failure))
        searched = self._searched
        if not searched.troubles:
            self._ledger.keep_failing(lambda path: hash(path) in self._seen or not self._is_looked_at(path))
            remarks = [remark for remark in (*searched.remarks, self._ledger.remark) if remark]
            return Outcome(Result.REACHED, name, reason="; ".join(remarks) or None)
        result = Result.DENIED if searched.is_denied else Result.FAILED
        return Outcome(result, name, stage="discover", reason=searched.reason)

    def _is_looked_at(self, path: bytes) -> bool:
        """Whether this pass knows what lies there now, once all its places were searched to their end."""
        task = self._task
        searched = self._searched
        return hash(path) in self._seen or (
            searched.is_whole(path) and is_searched(path, searched.system, task.places, task.known_places)
        )

    def _outcome(self, found: Found, result: Result, **more: Any) -> Outcome:
        return Outcome(result, self.node.name, found.path, size=found.size, **more)

    def _settled(self, outcome: Outcome) -> Outcome:
        """Take note that a dump has its outcome."""
        found = self._batch.pop(outcome.path or b"", None)
        if found is not None:
            self._ledger.take(found, outcome)
        return outcome

    # ---- the survey ------------------------------------------------------------------------------------------------

    def _survey(self) -> Iterator[Outcome]:
        for item in self._asker.discover():
            if self._cut_off:
                raise NodeLost("the session was closed")
            yield from self._listed(item)
            if len(self._batch) == BATCH:
                yield from self._looked_into()
        yield from self._looked_into()
        self.surveyed = True
        self._give_up()
        # What is little is brought in at once, and a plan takes nobody's time.
        while self._pending and (self._task.dry_run or self._pending.bytes <= SMALL):
            if self._task.halt.reason is not None:
                return
            yield from self._turn()

    def _listed(self, item: System | Placeless | Found | Odd | Bad) -> Iterator[Outcome]:
        if isinstance(item, System | Placeless | Bad):
            yield from map(self._of_directory, self._searched.take(item))
        elif not self._searched.fits(item):
            yield from map(self._of_directory, self._searched.crowded(item.directory))
        elif (path := hash(item.path)) not in self._seen:
            self._seen.add(path)
            if (refused := self._refused(item)) is not None:
                yield refused
            elif isinstance(item, Found):
                self._batch[item.path] = item

    def _of_directory(self, bad: Bad) -> Outcome:
        return Outcome(Result.FAILED, self.node.name, bad.directory, stage="discover", reason=bad.reason)

    def _give_up(self) -> None:
        """Throw away what came in part of dumps that are no more: now it is known what lies there."""
        try:
            if not self._searched.troubles:
                self._ledger.give_up(self._task.thoth, self._is_looked_at)
        except StoreUnavailable:
            raise
        except StoreError as error:  # it is swept in a week
            self._task.say(str(error))

    def _refused(self, item: Found | Odd) -> Outcome | None:
        """The outcome of what is not even looked into."""
        if isinstance(item, Odd):
            usual = Result.FAILED if item.failed else Result.SKIPPED
            result = {"denied": Result.DENIED, "gone": Result.GONE}.get(item.kind, usual)
            reason = "permission denied" if item.kind == "denied" else item.kind
            return Outcome(result, self.node.name, item.path, stage="discover", reason=reason)
        self._ledger.saw(item)
        # A time in the future says that a clock is wrong, not that the dump is being written.
        self._now = self._task.clock() if item.seen is None else item.seen
        if abs(self._now - item.signature.mtime) < self._task.limits.settle:
            return self._outcome(item, Result.SKIPPED, stage="discover", reason="still changing", detail=WAITING)
        return None

    def _looked_into(self) -> Iterator[Outcome]:
        """What is known of a batch; the rest of it waits for its turn."""
        batch = list(self._batch.values())
        entries = self._ledger.look_up(batch)
        known: list[Named] = []
        for found in batch:
            entry = entries.get(found.path)
            if (put_off := self._put_off(found)) is not None:
                yield self._settled(put_off)
            elif entry is None:
                self._wait(found, None)
            elif entry.identity is None:
                told = self._outcome(found, Result.SKIPPED, stage="identify", reason=entry.reason, detail=SEEN_BEFORE)
                yield self._settled(told)
            else:
                known.append(Named(found, entry.identity, done=entry.done))
        self._stage = "look up"
        for item in self._lookup.of(known):
            if isinstance(item, Named):
                self._wait(item.found, item.identity)
            else:
                yield self._settled(item)
        self._ledger.write()
        self._stage = "discover"
        while self._pending.memory >= _PENDING or (self._pending.memory >= _FEW and self._task.backlog.full):
            yield from self._turn()  # there are so many that not all can wait

    def _put_off(self, found: Found) -> Outcome | None:
        """The outcome of a dump that has failed so often that it has to wait for its next try."""
        before = self._ledger.failing(found)
        now = self._task.clock()
        # A due time further off than any delay is one of a clock that was wrong.
        if before is None or not self._task.patient or not now < before.due <= now + LONGEST_DELAY:
            return None
        due = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(before.due))
        reason = f"{before.reason} (tried {before.tries} times; next at {due})"
        return self._outcome(found, Result.FAILED, stage="wait", reason=reason, detail=SEEN_BEFORE)

    def _wait(self, found: Found, identity: Identity | None) -> None:
        self._batch.pop(found.path, None)
        due = self._pending.add(found, identity, deletion(found, self._searched.system, self._now))
        self._task.backlog.add(due.memory)

    def _taken(self, dues: Iterator[Due]) -> list[Due]:
        taken = list(dues)
        self._task.backlog.add(-sum(due.memory for due in taken))
        return taken

    # ---- a turn: identify and look up ------------------------------------------------------------------------------

    def _turn(self) -> Iterator[Outcome]:
        before = self._stage
        batch = self._taken(self._pending.take(BATCH, _TURN))
        self._batch = {due.found.path: due.found for due in batch}
        for part in apart(batch, self._silenced):
            yield from self._worked_on(part)
        self._ledger.write()
        self._stage = before

    def _worked_on(self, batch: Sequence[Due]) -> Iterator[Outcome]:
        self._stage = "identify"
        named = [Named(due.found, due.identity) for due in batch if due.identity is not None]
        fresh: list[Named] = []
        for item in self._identified([due.found for due in batch if due.identity is None]):
            if isinstance(item, Named):
                fresh.append(item)
            else:
                yield self._settled(item)
        self._stage = "look up"
        for answer in self._lookup.of(fresh):
            if isinstance(answer, Named):
                named.append(answer)
            else:
                yield self._settled(answer)
        self._stage = "transfer"
        for outcome in self._transferred(sorted(named, key=lambda each: each.found.signature.mtime)):
            yield self._settled(outcome)

    def _identified(self, found: Sequence[Found]) -> Iterator[Named | Outcome]:
        yield from self._named_by_thoth(found) if self.node.remote_thoth else self._named_by_ranges(found)

    def _named_by_ranges(self, found: Sequence[Found]) -> Iterator[Named | Outcome]:
        # A dry run notes nothing on any dump.
        for item in identify_by_ranges(self._asker, found, about=not self._task.dry_run) if found else ():
            if isinstance(item, Identified):
                yield Named(item.found, item.identity, item)
            else:
                yield failed(self.node, *item, "identify")

    def _named_by_thoth(self, found: Sequence[Found]) -> Iterator[Named | Outcome]:
        """By the node's own thoth; what it does not name is asked about in the other way, which tells why."""
        unnamed: list[Found] = []
        answers = identify_by_thoth(self._asker, found, self.node.remote_thoth or "") if found else ()
        for each, identity in answers:
            if identity is None:
                unnamed.append(each)
            else:
                yield Named(each, identity)
        yield from self._named_by_ranges(unnamed)

    # ---- a turn: transfer ------------------------------------------------------------------------------------------

    def _transferred(self, missing: Sequence[Named]) -> Iterator[Outcome]:
        dumps: list[Identified] = [each.dump for each in missing if each.dump is not None]
        for item in self._named_by_ranges([each.found for each in missing if each.dump is None]):
            if isinstance(item, Outcome):
                yield item
            elif item.dump is not None:
                dumps.append(item.dump)
        dumps.sort(key=lambda dump: dump.found.signature.mtime)
        for group, held in self._intake.groups(dumps, self._task.limits.dumps):
            if (why := self._task.halt.reason) is not None:
                yield from (self._outcome(each.found, Result.FAILED, stage="transfer", reason=why) for each in group)
                continue
            with self._task.flights.taken(len(group)), self._task.budget.taken(held), self._task.meter.busy():
                yield from self._within_space(group)

    def _within_space(self, group: Sequence[Identified]) -> Iterator[Outcome]:
        """The dumps for which the store has room to spare."""
        taken: list[Identified] = []
        try:
            for dump in group:
                if self._task.space.hold(dump.found.size):
                    taken.append(dump)
                else:
                    yield self._lookup.no_space(dump.found, dump.identity)
            if taken:
                yield from self._stored(taken)
        finally:
            self._task.space.give(sum(dump.found.size for dump in taken))

    def _stored(self, group: Sequence[Identified]) -> Iterator[Outcome]:
        self._served += sum(dump.found.size for dump in group)
        for dump, body in zip(group, self._intake.bodies(group), strict=True):
            try:
                arrival = self._intake.arrival(dump, in_memory=isinstance(body, list))
            except (SourceError, NotADump) as error:
                yield failed(self.node, dump.found, error, "transfer", dump.identity)
                continue
            if isinstance(body, SourceError):
                yield failed(self.node, dump.found, body, "transfer", dump.identity)
            elif isinstance(body, list):
                self._flying.append(self._task.storing.submit(self._intake.store, arrival, dump.found, body))
                wait(self._flying[:-_AHEAD][-1:])
                if self._intake.is_full:
                    yield from self._landed()
            else:
                what = f"{escaped(dump.found.path)} from {self.node.name} ({size_text(dump.found.size)})"
                self._task.progress(f"uploading {what}")
                self._under_way = dump.found
                outcome = self._intake.store(arrival, dump.found, body)
                self._under_way = None
                yield from self._intake.indexed([outcome])
        yield from self._landed()

    def _landed(self) -> Iterator[Outcome]:
        """The outcomes of the small dumps, once all of them are stored."""
        stored = [flying.result() for flying in self._flying]  # what one raises leaves all of them to _abandon
        self._flying.clear()
        yield from self._intake.indexed(stored)
