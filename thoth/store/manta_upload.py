"""An upload to Manta: a small one is gathered and sent at once, a larger one goes as one stream.

Manta makes an object of what came as soon as its last byte is there: the last block is held back until ``commit``.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Never, Protocol

from thoth.errors import CorruptTransfer, NoSuchObject, PreconditionFailed, StoreError, StoreTransient
from thoth.exchange import Body
from thoth.http import Answer
from thoth.store.base import Digests, ObjectStat
from thoth.store.handover import Sender
from thoth.store.manta_service import (
    Manta,
    bytes_body,
    content_type,
    is_lost_race,
    is_missing_parent,
    length_of,
    lost_race,
    match_header,
    md5_header,
    md5_in_base64,
    target,
)
from thoth.store.uploads import over

SMALL: Final = 4 << 20  # bytes of an object that is gathered, so that it can be sent twice
_UNKNOWN: Final = 5 << 30  # bytes announced of a stream whose length nobody knows: what Manta takes for granted, too


@dataclass(frozen=True, slots=True)
class Goal:
    """What an upload is to become: ``size`` None if nobody knows it, ``if_match`` None if nothing has to be there."""

    manta: Manta
    name: str
    size: int | None
    if_match: str | None


class Sink(Protocol):
    """Where the bytes of an upload go once they are too many to be gathered."""

    def feed(self, block: bytes) -> None: ...

    def finish(self, digests: Digests) -> ObjectStat:
        """The object, which is there now, and is what was sent."""
        ...

    def drop(self, *, for_good: bool) -> None:
        """Leave no thread, and nothing under the name. What is ``for_good`` nobody will go on with."""
        ...


class Opener(Protocol):
    """Makes the sink of an upload."""

    def __call__(self) -> Sink: ...


class MantaUpload:
    """An upload into a MantaStore. After an error it is over."""

    def __init__(self, goal: Goal, opener: Opener, *, gather: int) -> None:
        self._manta = goal.manta
        self._name = goal.name
        self._size = goal.size
        self._if_match = goal.if_match
        self._opener = opener
        self._gather = gather  # bytes that are gathered before there is a sink; negative: none
        self._blocks: list[bytes] = []
        self._sink: Sink | None = None
        self._received = 0
        self._over = False

    def kept(self, length: int) -> None:
        """Manta does not give parts back: what an earlier upload has sent is compared by MD5, part by part."""

    def go_on(self, length: int) -> None:
        raise StoreError(f"{self._name}: Manta has to see all of it")

    def part(self, data: bytes) -> None:
        self._going_on()
        self._received += len(data)
        if not data or self._is_too_long():
            return
        try:
            self._take(data)
        except BaseException as error:
            self._end(for_good=_is_for_good(error))
            raise

    def _take(self, data: bytes) -> None:
        if self._sink is None and self._received <= self._gather:
            self._blocks.append(data)
            return
        if self._sink is None:
            self._sink = self._opener()
        blocks, self._blocks = [*self._blocks, data], []
        for block in blocks:
            self._sink.feed(block)

    def commit(self, digests: Digests) -> ObjectStat:
        self._going_on()
        for_good = False
        try:
            self._compare(digests)
            return self._committed(digests)
        except StoreError as error:
            for_good = _is_for_good(error)
            raise
        finally:
            self._end(for_good=for_good)

    def _committed(self, digests: Digests) -> ObjectStat:
        if self._sink is None and self._gather < 0:
            self._sink = self._opener()
        if self._sink is not None:
            return self._sink.finish(digests)
        return verified(self._manta, self._name, self._put_gathered(digests), digests)

    def abort(self) -> None:
        self._end(for_good=False)

    def _end(self, *, for_good: bool) -> None:
        self._over = True
        self._blocks = []
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.drop(for_good=for_good)

    def _going_on(self) -> None:
        if self._over:
            raise over(self._name)

    def _is_too_long(self) -> bool:
        return self._size is not None and self._received > self._size

    def _compare(self, digests: Digests) -> None:
        wanted = digests.size if self._size is None else self._size
        if not self._received == digests.size == wanted:
            raise CorruptTransfer(
                f"{self._name}: {self._received} bytes came where {digests.size} were read"
                f" and {wanted} announced; upload it again"
            )

    def _put_gathered(self, digests: Digests) -> str:
        """Send it, again when that fails: the answer may be all that was lost."""
        tries = self._manta.tries()

        def once() -> str:
            try:
                return put(self._manta, self._name, self._blocks, self._if_match)
            except PreconditionFailed:
                if tries.failed and (etag := arrived(self._manta, self._name, digests)):
                    return etag
                raise

        return tries.run(once)


def _is_for_good(error: BaseException) -> bool:
    """Whether the bytes are at fault, or come too late: nobody would go on with them."""
    return isinstance(error, CorruptTransfer | PreconditionFailed)


def put(manta: Manta, name: str, blocks: list[bytes], if_match: str | None) -> str:
    """Write an object of what is in memory, in one request, and the directories that it needs. Its etag."""
    size = sum(len(block) for block in blocks)
    digest = md5_header(blocks)
    headers = {"Content-MD5": digest, "Content-Type": content_type(name), **copies(manta), **match_header(if_match)}
    if size > SMALL:
        headers["Expect"] = "100-continue"
    answer = manta.ask("PUT", target(name), name, headers=headers, body=bytes_body(*blocks))
    if is_missing_parent(answer) and not is_lost_race(answer, if_match):
        manta.make_parents(name)
        answer = manta.ask("PUT", target(name), name, headers=headers, body=bytes_body(*blocks))
    return written(manta, name, answer, if_match, digest)


def written(manta: Manta, name: str, answer: Answer, if_match: str | None, digest: str) -> str:
    """The etag in the answer to a PUT. Raises StoreError, and CorruptTransfer when Manta got other bytes."""
    if is_lost_race(answer, if_match):
        raise lost_race(name, if_match)
    if is_missing_parent(answer):
        raise StoreTransient(f"{name}: its directory was not there, or was removed meanwhile; try again")
    manta.require(answer, name, 204)
    etag = answer.headers.get("Etag", "")
    if not etag:
        raise StoreTransient(f"{name}: Manta's answer has no etag")
    if answer.headers.get("Computed-MD5", digest) != digest:
        refuse(manta, name, etag, "the MD5 of what Manta got is not that of what was sent")
    return etag


def refuse(manta: Manta, name: str, etag: str, fault: str) -> Never:
    """Delete what is stored wrong, unless it is another writer's by now. Raises CorruptTransfer."""
    try:
        with suppress(NoSuchObject, PreconditionFailed):
            manta.delete(name, etag)
    except StoreError as error:
        raise CorruptTransfer(f"{name}: {fault}, and it cannot be deleted: {error}") from error
    raise CorruptTransfer(f"{name}: {fault}; it was deleted, upload it again")


def verified(manta: Manta, name: str, etag: str, digests: Digests) -> ObjectStat:
    """What has just been written as this etag, once Manta says the same of it as who sent it."""
    try:
        found = manta.tries().run(lambda: manta.head(name))
    except NoSuchObject as error:
        raise CorruptTransfer(f"{name}: Manta took it and does not have it; upload it again") from error
    if found.headers["Etag"] == etag:  # else another writer has replaced it, and answers for it
        if length_of(found.headers, name) != digests.size:
            refuse(manta, name, etag, "the size of what is stored is not that of what was sent")
        if found.headers.get("Content-MD5") != md5_in_base64(digests.md5):
            refuse(manta, name, etag, "the MD5 of what is stored is not that of what was sent")
    return ObjectStat(digests.size, etag)


def arrived(manta: Manta, name: str, digests: Digests) -> str:
    """The etag of the object if it holds just these bytes, else empty: for a request whose answer was lost."""
    try:
        headers = manta.tries().run(lambda: manta.head(name)).headers
    except NoSuchObject:
        return ""
    same = length_of(headers, name) == digests.size and headers.get("Content-MD5") == md5_in_base64(digests.md5)
    return headers["Etag"] if same else ""


def copies(manta: Manta) -> dict[str, str]:
    return {} if manta.access.copies is None else {"Durability-Level": str(manta.access.copies)}


class Stream:
    """One request whose body comes block by block; in chunks when nobody knows its size."""

    def __init__(self, goal: Goal) -> None:
        self._goal = goal
        self._headers = {"Expect": "100-continue", "Content-Type": content_type(goal.name)}
        self._headers |= copies(goal.manta) | match_header(goal.if_match)
        if goal.size is None:
            self._headers["max-content-length"] = str(_UNKNOWN)
        self._held: bytes = b""
        self._sender = Sender(goal.manta, self._sent, goal.size)

    def feed(self, block: bytes) -> None:
        held, self._held = self._held, block
        if held and not self._sender.feed(held):
            goal = self._goal
            etag = written(goal.manta, goal.name, self._sender.finish(), goal.if_match, "")  # raises what came of it
            refuse(goal.manta, goal.name, etag, "Manta took it for whole before it had got everything")

    def finish(self, digests: Digests) -> ObjectStat:
        goal, digest = self._goal, md5_in_base64(digests.md5)
        self._sender.feed(self._held)
        try:
            etag = written(goal.manta, goal.name, self._sender.finish(), goal.if_match, digest)
        except StoreTransient:
            # It may be all there, and only the answer lost.
            etag = arrived(goal.manta, goal.name, digests) if self._sender.is_whole else ""
            if not etag:
                raise
        return verified(goal.manta, goal.name, etag, digests)

    def drop(self, *, for_good: bool) -> None:
        self._sender.cancel()

    def _sent(self, body: Body) -> Answer:
        goal = self._goal
        answer = self._asked(body)
        if is_missing_parent(answer) and not is_lost_race(answer, goal.if_match):
            goal.manta.make_parents(goal.name)
            answer = answer if body.sent else self._asked(body)  # what was sent to who did not wait for it is gone
        if not (is_lost_race(answer, goal.if_match) or is_missing_parent(answer)):
            goal.manta.require(answer, goal.name, 204)
        return answer

    def _asked(self, body: Body) -> Answer:
        goal = self._goal
        return goal.manta.ask("PUT", target(goal.name), goal.name, headers=self._headers, body=body)
