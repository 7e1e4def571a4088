"""Connections to one RethinkDB server: made when they are needed, kept for the next question, made anew once.

A question whose connection is lost is asked once more on another one: each of ours is safe to repeat. So is one on
which a kept connection is silent, since a firewall may have forgotten that: what is sent on it then goes nowhere.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from threading import Lock
from typing import Final, TypeVar

from thoth.errors import IndexFailure
from thoth.index.reql import Term
from thoth.index.rethink_place import RethinkPlace
from thoth.index.rethink_wire import Lost, Silent, Wire, results
from thoth.model import Json

T = TypeVar("T")
Work = Callable[[Wire, float], T]  # with a connection, until then by time.monotonic()

_PLAIN: Final = 8 << 20  # bytes of an answer that are held as they came; what is more is packed


class Held:
    """The parts of an answer that has been read to its end, kept small until somebody wants its rows."""

    def __init__(self, replies: Iterable[bytes], place: RethinkPlace) -> None:
        self._place = place
        self._plain: list[bytes] = []
        self._packed: list[bytes] = []
        size = 0
        for reply in replies:
            size += len(reply)
            if size <= _PLAIN:
                self._plain.append(reply)
            else:
                self._packed.append(zlib.compress(reply, 1))

    def rows(self) -> Iterator[Json]:
        """The rows, in order. Once only: a part that was given is forgotten."""
        for parts, unpacked in ((self._plain, bytes), (self._packed, zlib.decompress)):
            parts.reverse()
            while parts:
                yield from results(unpacked(parts.pop()), self._place)


class _Stale(Silent):
    """Nothing came on a connection that had been kept."""


class Connections:
    """Safe to use from several threads: each connection is used by one of them at a time."""

    def __init__(self, place: RethinkPlace) -> None:
        self.place = place
        self._idle: list[Wire] = []
        self._used: set[Wire] = set()
        self._closed = False
        self._silence = ("", 0.0)  # what a silent server's failure said, and until when it holds by time.monotonic()
        self._lock = Lock()

    def one(self, question: Term) -> Json:
        """The one value that answers a question by name, or a write. Raises IndexFailure, Refused among them."""
        return next(self.all(question), None)

    def all(self, question: Term) -> Iterator[Json]:
        """The rows that answer a question by name, once all are there. Raises as ``one`` does."""
        seconds = self.place.answer_timeout
        return self.ask(lambda wire, end: Held(wire.replies(question, end, seconds), self.place), seconds).rows()

    def held(self, question: Term, each: float | None = None) -> Held:
        """The answer to a question about all dumps, once all of it is there. Raises as ``one`` does.

        ``each``: seconds for a part of it, if not as many as for a question by name.
        """
        seconds = self.place.answer_timeout if each is None else each
        return self.scan(lambda wire, end: Held(wire.replies(question, end, seconds), self.place))

    def streamed(self, question: Term, work: Callable[[Iterator[Json]], T]) -> T:
        """What work makes of the rows that answer a question about all dumps, as they come; it may leave some."""

        def read(wire: Wire, end: float) -> T:
            replies = wire.replies(question, end, self.place.answer_timeout)
            return work(row for reply in replies for row in results(reply, self.place))

        return self.scan(read)

    def scan(self, work: Work[T]) -> T:
        return self.ask(work, self.place.scan_timeout)

    def ask(self, work: Work[T], seconds: float) -> T:
        """Do work with a connection, and once more with another one when it is lost. Raises IndexFailure.

        When a kept one is silent, it is once more in the same time again.
        """
        end = time.monotonic() + seconds
        try:
            return self._done(work, end)
        except _Stale:
            end = time.monotonic() + seconds
        except Lost:
            pass
        for wire in self._take_all():  # the server went away, or was forgotten on the way: so they are lost as well
            wire.close()
        return self._done(work, end)

    def close(self) -> None:
        """Ends all connections now, those of other threads too. Safe to repeat."""
        with self._lock:
            self._closed = True
            used = list(self._used)
        for wire in [*self._take_all(), *used]:
            wire.close()

    def _done(self, work: Work[T], end: float) -> T:
        wire = self._take()
        kept = wire.at_rest
        try:
            if not kept:
                self._open(wire, end)
            return work(wire, end)
        except Silent as error:
            if kept and not wire.heard:
                raise _Stale(str(error)) from error
            raise
        except Lost:
            self._refuse_closed()
            raise
        finally:
            self._give(wire)

    def _open(self, wire: Wire, end: float) -> None:
        said, until = self._silence
        if time.monotonic() < until:
            raise Silent(said)
        try:
            wire.open(end)
        except Silent as error:
            self._silence = str(error), time.monotonic() + self.place.rest
            raise

    def _take(self) -> Wire:
        """A connection, which need not be open."""
        with self._lock:
            self._refuse_closed()
            wire = self._idle.pop() if self._idle else Wire(self.place)
            self._used.add(wire)
            return wire

    def _give(self, wire: Wire) -> None:
        with self._lock:
            self._used.discard(wire)
            keep = wire.at_rest and not self._closed
            if keep:
                self._idle.append(wire)
        if not keep:
            wire.close()

    def _take_all(self) -> list[Wire]:
        with self._lock:
            idle, self._idle = self._idle, []
        return idle

    def _refuse_closed(self) -> None:
        if self._closed:
            raise IndexFailure(f"{self.place}: the index was closed while it was asked")
