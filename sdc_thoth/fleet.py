"""A pass over the fleet: some nodes at a time, each within its limits, the whole within its deadline."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, Queue
from threading import Lock

from sdc_thoth.collect import Collection, Task
from sdc_thoth.errors import NodeError
from sdc_thoth.inventory import Node
from sdc_thoth.session import Session
from thoth import Outcome, Result, StoreUnavailable, ThothError

_WAITING = 1000  # outcomes that nodes may be ahead of the report
_log = logging.getLogger("sdc_thoth.fleet")


@dataclass(frozen=True, slots=True)
class _Done:
    """A node has had all its outcomes."""


class Fleet:
    """One pass. ``connect`` opens a session to a node or raises NodeError."""

    def __init__(
        self,
        nodes: Sequence[Node],
        task: Task,
        connect: Callable[[Node], Session],
        *,
        parallelism: int,
        deadline: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._nodes = nodes
        self._task = task
        self._connect = connect
        self._parallelism = parallelism
        self._monotonic = monotonic
        self._end = monotonic() + deadline
        self._queue: Queue[Outcome | _Done] = Queue(_WAITING)
        self._lock = Lock()
        self._sessions: set[Session] = set()
        self._stopped: str | None = None

    def outcomes(self) -> Iterator[Outcome]:
        """The outcomes of all nodes as they come. When it ends, for whatever reason, no session is left open."""
        pool = ThreadPoolExecutor(self._parallelism, thread_name_prefix="node")
        left = len(self._nodes)
        try:
            for node in self._nodes:
                pool.submit(self._node, node)
            while left:
                item = self._next()
                if isinstance(item, _Done):
                    left -= 1
                else:
                    yield item
        finally:
            self.stop("the run was stopped")
            while left:
                left -= isinstance(self._queue.get(), _Done)
            pool.shutdown()

    def _next(self) -> Outcome | _Done:
        while True:
            rest = self._end - self._monotonic() if self._stopped is None else None
            try:
                return self._queue.get(timeout=None if rest is None else max(0.0, rest))
            except Empty:
                self.stop("the pass took longer than --deadman allows")

    def stop(self, reason: str) -> None:
        """Start no more nodes and cut off those under way. Safe from any thread; the first reason stays."""
        with self._lock:
            self._stopped = self._stopped or reason
            sessions = list(self._sessions)
        for session in sessions:
            session.close()

    def _node(self, node: Node) -> None:
        """One node's job: whatever happens in it is an outcome."""
        try:
            for outcome in self._collected(node):
                self._queue.put(outcome)
        except Exception as error:  # noqa: BLE001 - a job boundary: one node that fails is one outcome
            _log.exception("%s: the collection failed unexpectedly", node.name)
            reason = f"internal error: {type(error).__name__}: {error}"
            self._queue.put(Outcome(Result.FAILED, node.name, stage="internal", reason=reason))
        finally:
            self._queue.put(_Done())

    def _collected(self, node: Node) -> Iterator[Outcome]:
        if self._stopped is not None:
            yield Outcome(Result.FAILED, node.name, stage="connect", reason=f"not reached: {self._stopped}")
            return
        self._task.say(f"discovering dumps on {node.name}")
        try:
            session = self._connect(node)
        except NodeError as error:
            yield Outcome(error.result, node.name, stage="connect", reason=str(error))
            return
        try:
            self._enter(session)
            for outcome in Collection(session, node, self._task).outcomes():
                yield self._explained(outcome)
        except StoreUnavailable as error:
            self.stop(f"the store refuses: {error}")
            yield Outcome(Result.FAILED, node.name, stage="store", reason=str(error))
        except ThothError as error:
            yield Outcome(Result.FAILED, node.name, stage="collect", reason=str(error))
        finally:
            self._leave(session)

    def _enter(self, session: Session) -> None:
        with self._lock:
            self._sessions.add(session)
            stopped = self._stopped is not None
        if stopped:
            session.close()

    def _leave(self, session: Session) -> None:
        with self._lock:
            self._sessions.discard(session)
        session.close()

    def _explained(self, outcome: Outcome) -> Outcome:
        """A connection that we cut ourselves is not the node's fault: say why it was cut."""
        if self._stopped is None or outcome.result.good or outcome.stage == "store":
            return outcome
        return Outcome(
            Result.FAILED,
            outcome.node,
            outcome.path,
            outcome.identity,
            outcome.size,
            outcome.sent,
            outcome.stage,
            self._stopped,
        )
