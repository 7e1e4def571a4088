"""A pass over the fleet: some nodes at a time, each within its limits, the whole within its deadline."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, Queue
from threading import Lock
from types import TracebackType
from typing import Any, Protocol, Self

from sdc_thoth.collect import Collection, Task
from sdc_thoth.errors import NodeError
from sdc_thoth.inventory import Node
from sdc_thoth.session import Session
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

    def release(self, node: Node, session: Any) -> None:
        """The node is done with and was reached; the session may be kept for another pass, or is closed."""


class Fleet:
    """One pass."""

    def __init__(
        self,
        nodes: Sequence[Node],
        task: Task,
        connections: Connections,
        *,
        parallelism: int,
        deadline: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._nodes = nodes
        self._task = task
        self._connections = connections
        self._monotonic = monotonic
        self._end = monotonic() + deadline
        self._queue: Queue[Outcome | _Done] = Queue(_WAITING)
        self._lock = Lock()
        self._sessions: set[Session] = set()
        self._stopped: str | None = None
        self._pool = ThreadPoolExecutor(parallelism, thread_name_prefix="node")
        self._jobs: list[Future[None]] = []
        self._left = len(nodes)

    def __enter__(self) -> Self:
        self._jobs = [self._pool.submit(self._node, node) for node in self._nodes]
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
            rest = max(0.0, self._end - self._monotonic()) if self._stopped is None else _GLANCE
            try:
                return self._queue.get(timeout=rest)
            except Empty:
                # What an interruption has kept from being counted will not come again.
                if self._stopped is not None and all(job.done() for job in self._jobs):
                    return None
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
        if node.instead is not None:
            yield node.instead
            return
        if (why := self._stopped or self._task.halt.reason) is not None:
            yield Outcome(Result.FAILED, node.name, stage="connect", reason=f"not reached: {why}")
            return
        self._task.progress(f"discovering dumps on {node.name}")
        try:
            session = self._connections.connect(node)
        except NodeError as error:
            yield Outcome(error.result, node.name, stage="connect", reason=str(error))
            return
        reached = False
        try:
            self._enter(session)
            for outcome in Collection(session, node, self._task).outcomes():
                yield self._explained(outcome)
                reached = outcome.path is None and outcome.result is Result.REACHED
        except StoreUnavailable as error:
            self.stop(f"the store refuses: {error}")
            yield Outcome(Result.FAILED, node.name, stage="store", reason=str(error))
        except ThothError as error:
            yield Outcome(Result.FAILED, node.name, stage="collect", reason=str(error))
        finally:
            self._leave(node, session, reached)

    def _enter(self, session: Session) -> None:
        with self._lock:
            self._sessions.add(session)
            stopped = self._stopped is not None
        if stopped:
            session.close()

    def _leave(self, node: Node, session: Session, reached: bool) -> None:
        with self._lock:
            self._sessions.discard(session)
            whole = reached and self._stopped is None
        if whole:
            self._connections.release(node, session)
        else:
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
