"""From who pushes to who pulls: the blocks of an upload on their way into the body of a request.

``part`` pushes and a request pulls, so a request has a thread of its own, and a queue of a few MiB before it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

from thoth.errors import StoreError, StoreTransient
from thoth.exchange import Body
from thoth.store.manta_service import Manta

_Answer = TypeVar("_Answer")

_QUEUED: Final = 8 << 20  # bytes that may wait to be sent


class Sender(Generic[_Answer]):
    """A thread in which ``ask`` sends a body, of ``size`` bytes or in chunks, that is fed from outside.

    What fails in a way that passes is tried again, as long as nothing of the body was sent.
    """

    def __init__(self, manta: Manta, ask: Callable[[Body], _Answer], size: int | None) -> None:
        self._manta = manta
        self._ask = ask
        self._queue = HandOver(_QUEUED)
        self._body = Body(self._queue.blocks(), size)
        self._answer: _Answer | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="manta sender", daemon=True)
        self._thread.start()

    @property
    def is_whole(self) -> bool:
        """Whether all of the body was sent."""
        return self._body.whole

    def feed(self, block: bytes | memoryview) -> bool:
        """Send these bytes next. False: the request is over already; ``finish`` says why."""
        return self._queue.put(block)

    def finish(self) -> _Answer:
        """The answer, once all was sent. Raises what ``ask`` raised."""
        self._queue.end()
        self._thread.join()
        if self._answer is None:
            raise self._error or StoreTransient("the upload was called off")
        return self._answer

    def cancel(self) -> None:
        """Break off, unless it is over. No thread is left."""
        self._queue.cancel()
        self._body.cancel()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._answer = self._asked()
        except BaseException as error:  # noqa: BLE001 - whatever it is, ``finish`` raises it
            self._error = error
        finally:
            self._queue.cancel()

    def _asked(self) -> _Answer:
        tries = self._manta.tries(self._check)
        while True:
            try:
                return self._ask(self._body)
            except StoreTransient as error:
                if self._body.sent:
                    raise
                tries.pause(error)

    def _check(self) -> None:
        if self._body.cancelled:
            raise StoreError("the upload was called off")


class Room:
    """So many bytes of memory, for all who share it. Who has none of them need not wait: so nobody waits for ever."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._changed = threading.Condition()

    def take(self, size: int, held: Callable[[], int]) -> None:
        """Have so many bytes, once they are free. ``held`` tells how many the caller has."""
        with self._changed:
            self._changed.wait_for(lambda: self._left >= size or not held())
            self._left -= size

    def give(self, size: int) -> None:
        with self._changed:
            self._left += size
            self._changed.notify_all()


class HandOver:
    """Blocks on their way from one thread to another, no more than ``room`` bytes of them at a time."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._waiting: deque[bytes | memoryview] = deque()
        self._bytes = 0
        self._ended = False
        self._cancelled = False
        self._changed = threading.Condition()

    def put(self, block: bytes | memoryview) -> bool:
        """Hand a block over when there is room. False: nobody takes it any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._cancelled or self._bytes < self._room)
            if block and not self._cancelled:
                self._waiting.append(block)
                self._bytes += len(block)
                self._changed.notify_all()
            return not self._cancelled

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def cancel(self) -> None:
        """Nothing is taken from now on, and nothing given."""
        with self._changed:
            self._cancelled = True
            self._waiting.clear()
            self._changed.notify_all()

    def blocks(self) -> Iterator[bytes | memoryview]:
        """The blocks, until ``end``. Raises StoreTransient after ``cancel``: what came is not all."""
        while (block := self._next()) is not None:
            yield block

    def _next(self) -> bytes | memoryview | None:
        with self._changed:
            self._changed.wait_for(lambda: self._cancelled or self._waiting or self._ended)
            if self._cancelled:
                raise StoreTransient("called off")
            if not self._waiting:
                return None
            block = self._waiting.popleft()
            self._bytes -= len(block)
            self._changed.notify_all()
            return block
