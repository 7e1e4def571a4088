"""A pass over the fleet: some nodes at a time, each within its limits, the whole within its deadline."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from queue import Empty, Queue
from threading import Lock
from types import TracebackType
from typing import Any, Protocol, Self

from sdc_thoth.collect import Collection
from sdc_thoth.errors import NodeError
from sdc_thoth.inventory import Node
from sdc_thoth.ledger import BLAMELESS, LEFT
from sdc_thoth.session import Session
from sdc_thoth.task import Task
from sdc_thoth.turns import Turns
from thoth import Outcome, Result, StoreUnavailable, ThothError

_WAITING = 1000  # outcomes that nodes may be ahead of the report
_GLANCE = 0.5  # seconds between looks at whether nodes that were cut off have ended
_log = logging.getLogger("sdc_thoth.fleet")


@dataclass(frozen=True, slots=True)
class _Done:
    """A node has had all its outcomes."""


class Connections(Protocol):
    """Where sessions come from and go to."""

    def connect(self, node: Node) -> Session:
        """Raises NodeError."""

    def park(self, node: Node, session: Any) -> None:
        """The node will be visited again in this pass."""

    def drop(self, node: Node) -> None:
        """It will not, after all."""

    def release(self, node: Node, session: Any) -> None:
        """The node is done with and was reached; the session may be kept for another pass, or is closed."""


class Fleet:
    """One pass. ``failing``: the names of the nodes that failed the last time."""

    def __init__(
        self,
        nodes: Sequence[Node],
        task: Task,
        connections: Connections,
        *,
        deadline: float,
        failing: frozenset[str] = frozenset(),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._task = task
        self._connections = connections
        self._monotonic = monotonic
        self._end = monotonic() + deadline
        self._queue: Queue[Outcome | _Done] = Queue(_WAITING)
        self._lock = Lock()
        self._sessions: dict[Session, Collection] = {}
        self._stopped: str | None = None
        self._store_refuses = False
        collections = [Collection(node, task) for node in nodes]
        sound = [each for each in collections if each.node.name not in failing]
        self._turns = Turns(sound, [each for each in collections if each.node.name in failing], task.limits.nodes)
        self._pool = ThreadPoolExecutor(task.limits.nodes, thread_name_prefix="node")
        self._jobs: list[Future[None]] = []
        self._left = len(nodes)

    def __enter__(self) -> Self:
        workers = min(self._task.limits.nodes, self._left)
        self._jobs = [self._pool.submit(self._work) for _ in range(workers)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """No session and no thread is left."""
        self.stop("the run was stopped")
        for _outcome in self.outcomes():
            pass
        self._pool.shutdown()

    def outcomes(self) -> Iterator[Outcome]:
        """The outcomes of all nodes as they come. After an interruption another call gives those that are left."""
        while self._left:
            item = self._next()
            if item is None:
                return
            if isinstance(item, _Done):
                self._left -= 1
            else:
                yield item

    def _next(self) -> Outcome | _Done | None:
        while True:
            rest = self._end - self._monotonic()
            if self._stopped is None and rest <= 0:  # also while there is always something in the queue
                self.stop("the pass took longer than --deadman allows")
            try:
                return self._queue.get(timeout=rest if self._stopped is None else _GLANCE)
            except Empty:
                # What an interruption has kept from being counted will not come again.
                if self._stopped is not None and all(job.done() for job in self._jobs):
                    return None

    def stop(self, reason: str) -> None:
        """Start no more nodes and cut off those under way. Safe from any thread; the first reason stays."""
        with self._lock:
            self._stopped = self._stopped or reason
            sessions = list(self._sessions.items())
        self._task.pace.release()
        for session, collection in sessions:
            collection.cut_off()
            session.close()

    # ---- the workers -----------------------------------------------------------------------------------------------

    def _work(self) -> None:
        """One visit after another: whatever happens in it is an outcome."""
        while (collection := self._turns.next()) is not None:
            try:
                for outcome in self._visited(collection):
                    self._queue.put(outcome)
            except Exception as error:  # noqa: BLE001 - a job boundary: one node that fails is one outcome
                _log.exception("%s: the collection failed unexpectedly", collection.node.name)
                self._fail(collection, f"internal error: {type(error).__name__}: {error}")
            finally:
                self._ended(collection)

    def _ended(self, collection: Collection) -> None:
        if collection.over:
            self._queue.put(_Done())
            self._turns.done(collection)
        else:
            self._turns.back(collection)

    def _fail(self, collection: Collection, reason: str) -> None:
        for outcome in collection.abandon(reason):
            self._queue.put(outcome)
        self._queue.put(Outcome(Result.FAILED, collection.node.name, stage="internal", reason=reason))

    def _visited(self, collection: Collection) -> Iterator[Outcome]:
        node = collection.node
        if node.instead is not None:
            collection.over = True
            yield node.instead
        elif (why := self._stopped or self._task.halt.reason) is not None:
            self._connections.drop(node)
            yield from self._left_over(collection, why)
        else:
            yield from self._collected(collection)

    def _left_over(self, collection: Collection, why: str) -> Iterator[Outcome]:
        for outcome in collection.abandon(why):
            yield self._explained(outcome)
        if collection.surveyed:
            yield collection.of_node()  # it was searched to the end all the same
            return
        reason = f"not reached: {why}"
        name = collection.node.name
        yield self._explained(Outcome(Result.FAILED, name, stage="connect", reason=reason, detail=BLAMELESS))

    def _collected(self, collection: Collection) -> Iterator[Outcome]:
        node = collection.node
        if not collection.surveyed:
            self._task.progress(f"discovering dumps on {node.name}")
        try:
            session = self._connections.connect(node)
        except NodeError as error:
            yield from map(self._explained, collection.lost(error))
            return
        reached = False
        try:
            self._enter(session, collection)
            for outcome in collection.visit(session):
                yield self._explained(outcome)
                reached = outcome.path is None and outcome.result is Result.REACHED
        except StoreUnavailable as error:
            self._store_refuses = True
            self.stop(f"the store refuses: {error}")
            yield Outcome(Result.FAILED, node.name, stage="store", reason=str(error), detail=BLAMELESS)
        except ThothError as error:
            yield Outcome(Result.FAILED, node.name, stage="collect", reason=str(error))
        finally:
            self._leave(collection, session, reached)

    def _enter(self, session: Session, collection: Collection) -> None:
        with self._lock:
            self._sessions[session] = collection
            stopped = self._stopped is not None
        if stopped:
            collection.cut_off()
            session.close()

    def _leave(self, collection: Collection, session: Session, reached: bool) -> None:
        with self._lock:
            self._sessions.pop(session, None)
            whole = self._stopped is None
        if whole and not collection.over:
            self._connections.park(collection.node, session)
        elif whole and reached:
            self._connections.release(collection.node, session)
        else:
            session.close()

    def _explained(self, outcome: Outcome) -> Outcome:
        """A connection that we cut ourselves is not the node's fault: say why it was cut. Who tells us to end knows
        that not all is done, so that is no failure."""
        if outcome.result.good or outcome.stage == "store":
            return outcome
        halted = self._task.halt.reason
        if halted is not None and (self._stopped is not None or (outcome.reason or "").endswith(halted)):
            return replace(outcome, result=Result.SKIPPED, reason=f"left for the next pass: {halted}", detail=LEFT)
        if self._stopped is not None and not (outcome.reason or "").endswith(self._stopped):
            # Who was cut off by the deadline had its time.
            detail = BLAMELESS if self._store_refuses and outcome.path is None else outcome.detail
            return replace(outcome, result=Result.FAILED, reason=self._stopped, detail=detail)
        return outcome
