"""How the parts of an upload get to Manta: several at a time out of memory, or one after the other as a stream.

What an earlier run has sent is used again only when its length and MD5 are those of the bytes that come now.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Protocol

from thoth.errors import StoreError, StoreTransient
from thoth.exchange import Body
from thoth.store.handover import Room, Sender
from thoth.store.manta_multipart import MantaUploads, Part, UploadEnded
from thoth.store.manta_service import Manta, bytes_body, md5_header, md5_in_base64
from thoth.store.manta_upload import Goal
from thoth.store.unfinished import Claim, Unfinished


@dataclass(frozen=True, slots=True)
class Run:
    """One process's work on an upload. ``resumed``: Manta may have some of the parts."""

    manta: Manta
    uploads: MantaUploads
    goal: Goal
    upload: Unfinished
    claim: Claim | None
    resumed: bool

    def known(self, number: int, *, again: bool = False) -> Part | None:
        """What Manta has of a part that an earlier run may have sent, or with ``again`` this one."""
        asks = self.resumed or again
        return self.uploads.part(self.upload.directory, number, self.goal.name) if asks else None

    def send(self, number: int, body: Body, md5: str | None) -> Part:
        """Raises StoreTransient; UploadEnded when Manta takes no parts any more: then nobody goes on with them."""
        try:
            return self.uploads.put_part(self.upload.directory, number, self.goal.name, body, md5)
        except UploadEnded:
            self._forget()
            raise

    def give_up(self) -> None:
        """Have nobody go on with it. Raises StoreError."""
        self.uploads.abort(self.upload.directory, self.goal.name)
        self._forget()

    def _forget(self) -> None:
        if self.claim:
            self.claim.forget()


class Carrier(Protocol):
    """Brings parts to Manta, in the order in which they begin."""

    def feed(self, number: int, piece: memoryview) -> None: ...

    def end(self, number: int) -> None:
        """This part has all its bytes."""
        ...

    def etags(self) -> list[str]:
        """Those of all parts, once they are there. Raises StoreError."""
        ...

    def cancel(self) -> None:
        """Leave no thread. Safe to repeat."""
        ...


class ParallelParts:
    """Whole parts in memory, each sent by one of some threads."""

    def __init__(self, run: Run, flights: int, room: Room) -> None:
        self._run = run
        self._room = room
        self._held = 0  # bytes of the room that are ours
        self._pieces: list[memoryview] = []
        self._slots = threading.BoundedSemaphore(flights)
        self._threads = ThreadPoolExecutor(flights, thread_name_prefix="manta part")
        self._parts: list[Future[str]] = []
        self._failed = threading.Event()
        self._cancelled = threading.Event()
        self._bodies: dict[int, Body] = {}
        self._lock = threading.Lock()

    def feed(self, number: int, piece: memoryview) -> None:
        if not self._pieces:
            self._take(self._run.upload.part_size)
        self._pieces.append(piece)

    def _take(self, size: int) -> None:
        self._room.take(size, lambda: self._held)
        with self._lock:
            self._held += size

    def _give(self, size: int) -> None:
        with self._lock:
            self._held -= size
        self._room.give(size)

    def end(self, number: int) -> None:
        pieces, self._pieces = self._pieces, []
        self._slots.acquire()
        if self._failed.is_set():
            self._slots.release()
            self.etags()
        self._parts.append(self._threads.submit(self._carried, number, pieces))

    def etags(self) -> list[str]:
        done, _ = wait(self._parts, return_when=FIRST_EXCEPTION)
        for part in done:
            part.result()  # raises why it failed, without waiting for what is still on its way
        return [part.result() for part in self._parts]

    def cancel(self) -> None:
        self._cancelled.set()
        with self._lock:
            bodies = list(self._bodies.values())
        for body in bodies:
            body.cancel()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._pieces.clear()
        self._give(self._held)

    def _carried(self, number: int, pieces: list[memoryview]) -> str:
        try:
            tries = self._run.manta.tries(self._check)
            return tries.run(lambda: self._once(number, pieces, again=tries.failed > 0))
        except BaseException:
            self._failed.set()
            raise
        finally:
            pieces.clear()  # the traceback of a failure would keep them
            self._give(self._run.upload.part_size)
            self._slots.release()

    def _once(self, number: int, pieces: list[memoryview], *, again: bool) -> str:
        md5, size = md5_header(pieces), sum(len(piece) for piece in pieces)
        known = self._run.known(number, again=again)
        if known and (known.size, known.md5) == (size, md5):
            return known.etag
        body = bytes_body(*pieces)
        with self._lock:
            self._bodies[number] = body
        self._check()
        try:
            return self._run.send(number, body, md5).etag
        finally:
            with self._lock:
                del self._bodies[number]

    def _check(self) -> None:
        if self._cancelled.is_set():
            raise StoreError(f"{self._run.goal.name}: the upload was called off")


class SerialParts:
    """One part after the other, each as a stream. A part that is there already is only compared."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._digest = hashlib.md5(usedforsecurity=False)
        self._known: Part | None = None
        self._sender: Sender[Part] | None = None
        self._begun = False
        self._etags: list[str] = []

    def feed(self, number: int, piece: memoryview) -> None:
        if not self._begun:
            self._begin(number)
        self._digest.update(piece)
        if self._sender and not self._sender.feed(piece):
            self._sender.finish()  # raises why
            raise StoreTransient(f"{self._run.goal.name}: Manta answered before it had got everything")

    def _begin(self, number: int) -> None:
        upload = self._run.upload
        size = min(upload.part_size, upload.size - number * upload.part_size)
        known = self._run.manta.tries().run(lambda: self._run.known(number))
        self._known = known if known and known.size == size else None
        self._digest = hashlib.md5(usedforsecurity=False)
        if self._known is None:
            self._sender = Sender(self._run.manta, self._sending(number), size)
        self._begun = True

    def _sending(self, number: int) -> Callable[[Body], Part]:
        return lambda body: self._run.send(number, body, None)

    def end(self, number: int) -> None:
        md5 = md5_in_base64(self._digest.hexdigest())
        part = self._known if self._sender is None else self._sender.finish()
        self._sender, self._begun = None, False  # not before: who is interrupted here has a thread to end
        if part is None or part.md5 != md5:
            self._run.give_up()  # what has passed by cannot be sent again
            raise StoreTransient(
                f"{self._run.goal.name}: part {number} in Manta is not what was read; upload it again"
            )
        self._etags.append(part.etag)

    def etags(self) -> list[str]:
        return self._etags

    def cancel(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.cancel()
