"""A large upload to Manta in parts, several at a time, that a later run can go on with.

Each part waits in memory until it is there, so it can be sent again; how many do is limited by a budget of bytes,
which all uploads to one Manta share. An object with parts so large that two of them are more than the budget goes
part after part, each as a stream.

What an earlier run has sent is used again only when its length and MD5 are those of the bytes that come now.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from thoth.errors import CorruptTransfer, NoSuchObject, StoreError, StoreTransient
from thoth.store.base import ABSENT, Digests, ObjectStat
from thoth.store.handover import Room
from thoth.store.manta_flights import Carrier, ParallelParts, Run, SerialParts
from thoth.store.manta_multipart import MantaUploads, NotOffered, Stage
from thoth.store.manta_service import Manta, length_of, lost_race, md5_in_base64
from thoth.store.manta_upload import Goal, Sink, Stream, refuse
from thoth.store.unfinished import Claim, Registry, Unfinished

_MOST: Final = 800  # parts of one upload
_LEAST: Final = 5 << 20  # bytes of a part that is not the last
_WEEK: Final = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class PartSizes:
    """Bytes, and how many parts are sent at a time. An object of ``threshold`` bytes or more goes in parts."""

    threshold: int = 256 << 20
    part: int = 16 << 20
    flights: int = 4
    budget: int = 96 << 20  # of all parts in memory, those that are being gathered too

    def part_size(self, size: int) -> int:
        """How large the parts of such an object are: there may be no more than 800."""
        least = -(-size // _MOST)
        return max(self.part, _LEAST, -(-least >> 20) << 20)

    def flights_of(self, part_size: int) -> int:
        """How many parts of this size can be in flight beside the one that is gathered; 0: none can be kept."""
        return min(self.flights, self.budget // part_size - 1)


class Multipart:
    """Opens uploads in parts. ``unfinished`` is a directory of this machine where they are noted; None: nowhere."""

    def __init__(self, manta: Manta, sizes: PartSizes, unfinished: Path | None) -> None:
        self._manta = manta
        self._uploads = MantaUploads(manta)
        self._sizes = sizes
        self._registry = Registry(unfinished) if unfinished else None
        self._room = Room(sizes.budget)
        self._offered = True
        self._swept = False
        self._lock = threading.Lock()

    def takes(self, size: int | None) -> bool:
        """Whether an object of this size goes in parts."""
        return self._offered and size is not None and size >= self._sizes.threshold

    def open(self, goal: Goal, size: int) -> Sink:
        """An upload in parts, or a stream when Manta turns out to have none. Raises StoreError."""
        require_match(goal)
        claim = self._registry.claim(self._manta.url, goal.name, size) if self._registry else None
        try:
            self._sweep()  # with the claim in hand: what is gone on with now is not abandoned, however old
            return self._opened(goal, size, claim)
        except NotOffered:
            self._offered = False
            if claim:
                claim.forget()
            return Stream(goal)
        except BaseException:
            if claim:
                claim.release()
            raise

    def discard(self, name: str, size: int) -> None:
        """End what a process that is gone has begun. Raises StoreError."""
        claim = self._registry.claim(self._manta.url, name, size) if self._registry else None
        if claim is None:
            return
        try:
            if claim.found is not None:
                self._uploads.abort(claim.found.directory, name)
            claim.forget()
        finally:
            claim.release()

    def is_at_work(self, directory: str) -> bool:
        """Whether a process of this machine is at work on the upload whose parts go there."""
        return self._registry is not None and self._registry.is_claimed(self._manta.url, directory)

    def _opened(self, goal: Goal, size: int, claim: Claim | None) -> Sink:
        found = self._found(claim)
        upload = found or self._manta.tries().run(lambda: self._begun(goal.name, size))
        if claim:
            claim.record(replace(upload, begun=self._manta.times.now()))
        run = Run(self._manta, self._uploads, goal, upload, claim, resumed=found is not None)
        flights = self._sizes.flights_of(upload.part_size)
        return Parts(run, ParallelParts(run, flights, self._room) if flights > 0 else SerialParts(run))

    def _found(self, claim: Claim | None) -> Unfinished | None:
        """The upload to go on with."""
        found = claim.found if claim else None
        if claim is None or found is None:
            return None
        directory, name = found.directory, found.name
        stage = self._manta.tries().run(lambda: self._uploads.stage(directory, name))
        if stage is Stage.COMMITTED and self._is_there(name, found.size):
            claim.forget()
            raise StoreTransient(f"{name}: an earlier upload of it has come to its end just now; upload it again")
        return found if stage in (Stage.OPEN, Stage.COMMITTING) else None

    def _is_there(self, name: str, size: int) -> bool:
        try:
            return length_of(self._manta.tries().run(lambda: self._manta.head(name)).headers, name) == size
        except NoSuchObject:
            return False

    def _begun(self, name: str, size: int) -> Unfinished:
        directory = self._uploads.create(name, size)
        now = self._manta.times.now()
        return Unfinished(self._manta.url, name, size, directory, self._sizes.part_size(size), now)

    def _sweep(self) -> None:
        """Abort what was left by processes that are gone, and that nobody has gone on with for a week."""
        with self._lock:
            swept, self._swept = self._swept, True
        if swept or not self._registry:
            return
        for claim in self._registry.abandoned(self._manta.url, self._manta.times.now() - _WEEK):
            if claim.found and self._is_aborted(claim.found):
                claim.forget()

    def _is_aborted(self, upload: Unfinished) -> bool:
        try:
            self._uploads.abort(upload.directory, upload.name)
        except StoreError:
            return False  # the next process tries again; what is to be uploaded now has nothing to do with it
        return True


def require_match(goal: Goal) -> None:
    """Raises PreconditionFailed unless the object is what it has to be: Manta does not compare at a commit."""
    if goal.if_match is None:
        return
    try:
        etag = goal.manta.tries().run(lambda: goal.manta.head(goal.name)).headers["Etag"]
    except NoSuchObject:
        etag = ABSENT
    if etag != goal.if_match:
        raise lost_race(goal.name, goal.if_match)


class Parts:
    """The sink of an upload in parts: cuts what comes into parts, and makes an object of them at the end."""

    def __init__(self, run: Run, carrier: Carrier) -> None:
        self._run = run
        self._carrier = carrier
        self._number = 0
        self._filled = 0  # bytes of the part that is being gathered
        self._done = False

    def feed(self, block: bytes) -> None:
        view, size = memoryview(block), self._run.upload.part_size
        while view:
            piece = view[: size - self._filled]
            self._carrier.feed(self._number, piece)
            view, self._filled = view[len(piece) :], self._filled + len(piece)
            if self._filled == size:
                self._next()

    def _next(self) -> None:
        self._carrier.end(self._number)
        self._number, self._filled = self._number + 1, 0

    def finish(self, digests: Digests) -> ObjectStat:
        if self._filled:
            self._next()
        etags = self._carrier.etags()
        require_match(self._run.goal)
        run, name = self._run, self._run.goal.name
        got = run.uploads.commit(run.upload.directory, etags, name)
        self._done = True  # whatever comes now, nobody can go on with it
        if run.claim:
            run.claim.forget()
        return _checked(run.manta, name, got, digests)

    def drop(self, *, for_good: bool) -> None:
        self._carrier.cancel()
        if self._done:
            return
        claim = self._run.claim
        if for_good or claim is None:
            self._abort()
        elif claim:
            claim.release()

    def _abort(self) -> None:
        try:
            self._run.give_up()
        except StoreError:
            # What went wrong is being raised already. The note stays for the sweep, or scrub finds the upload.
            if self._run.claim:
                self._run.claim.release()


def _checked(manta: Manta, name: str, got: str, digests: Digests) -> ObjectStat:
    """The object that a commit made, once it is what was sent. ``got`` is its MD5 as the commit told it, or empty."""
    digest = md5_in_base64(digests.md5)
    try:
        found = manta.tries().run(lambda: manta.head(name)).headers
    except NoSuchObject as error:
        raise CorruptTransfer(f"{name}: Manta took it and does not have it; upload it again") from error
    size, md5, etag = length_of(found, name), found.get("Content-MD5", ""), found["Etag"]
    if (size, md5) == (digests.size, digest) and got in ("", digest):
        return ObjectStat(size, etag)
    if got not in ("", digest) and md5 == got:
        refuse(manta, name, etag, "the MD5 of what the parts make is not that of what was read")
    # Another writer's, perhaps: a commit does not tell the etag of what it made.
    raise CorruptTransfer(f"{name}: what is stored is not what was sent; upload it again")
