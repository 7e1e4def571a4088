"""Asking one node: what lies there, and the bytes of it. The requests of ``node`` over a ``Session``."""

from __future__ import annotations

import re
import secrets
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import takewhile
from threading import Event, Timer

from sdc_thoth import images as image_protocol
from sdc_thoth import protocol
from sdc_thoth.errors import Desynchronized, NodeError, NodeLost, OpenHung, ProtocolError
from sdc_thoth.expand import BLOCK, expanded
from sdc_thoth.images import Ask, Told
from sdc_thoth.listing import Bad, Found, Odd, Place, Placeless, Signature, System
from sdc_thoth.protocol import GROUP, UNIT, About, Get
from sdc_thoth.session import Channel, Session
from thoth import SourceChanged, SourceDenied, SourceError, SourceGone, escaped, raw_bytes

_BEGINNINGS = (b"system\0", b"bad\0")  # of a reply to discover
_LINE = re.compile(rb"\S[^\n\0]*[\n\0]")
_QUOTED = 200  # bytes of what a login shell says
_HANGS = 2  # opens of one directory's files that do not come back, each of which takes seconds
_NOT_TRIED = "not tried: opening other files of its directory did not come back"
_DEBUGGING = 90.0  # seconds that a node's debugger may take; its script allows it 60 of the processor


class StillChanging(SourceChanged):
    """The file has grown: it is still being written. The next pass will find it whole."""


class NotAFile(SourceError):
    """A link, a directory, a device: nothing that is read."""


class Hangs(SourceError):
    """Opening it does not come back, or that of others in its directory did not: most become FIFOs just then."""


def _random_mark() -> str:
    return secrets.token_hex(16)


def _uncounted(_count: int) -> None:
    """Nobody wants to know."""


def _counted(blocks: Iterator[bytes], came: Callable[[int], None]) -> Iterator[bytes]:
    for block in blocks:
        came(len(block))
        yield block


class ShellTalks(ProtocolError):
    """The login shell says something before it runs what we ask for, or does not run it."""


class CannotPress(SourceError):
    """The node does not have that program for compressing."""


class Asker:
    """One node's answers about the files that lie in ``places``, by a ``session``."""

    def __init__(
        self,
        session: Session | None,
        places: Sequence[Place],
        *,
        user: str = "root",
        mark: Callable[[], str] = _random_mark,
    ) -> None:
        self.session = session
        self._user = user  # who we are there
        self._places = places
        self._mark = mark
        self._script = protocol.script()
        self._told: About | None = None
        self._suspect: set[bytes] = set()  # directories that get groups of their own: a file there may keep the shell
        self._hangs: Counter[bytes] = Counter()  # by directory
        self.awaited: Sequence[Found] = ()  # whose bytes are to come next
        self._waiting: deque[Channel] = deque()  # of shells that wait for another request; any thread may take one

    @contextmanager
    def by(self, session: Session) -> Iterator[None]:
        """Ask by this session; no shell waits for a request when the ``with`` is over."""
        self.session = session  # it stays: who still stores a dump then, and asks, is told that the session has ended
        try:
            yield
        finally:
            while self._waiting:
                with self._waiting.pop() as channel, suppress(NodeError):
                    channel.feed(protocol.END)

    def discover(self) -> Iterator[System | Placeless | Found | Odd | Bad]:
        """What lies in the places, as it is found. Raises NodeError; ShellTalks when our shell does not answer."""
        with self._ask(protocol.discover_request(), last=False) as reply:
            _begun(reply, self._user)
            yield from protocol.discovered(reply, self._places)

    def about(self) -> About:
        """What the node says of itself; it is asked once. Raises NodeError."""
        if self._told is None:
            with self._ask(protocol.about_request(), last=False) as reply:
                self._told = protocol.about(reply)
        return self._told

    def hashes(self, found: Sequence[Found], thoth: str) -> Iterator[tuple[bool, str]]:
        """What the node's own thoth says of each file: whether it succeeded, and its output. Raises NodeError."""
        with self._ask(protocol.hash_request(found, thoth)) as reply:
            yield from protocol.hashes(reply, len(found))

    def debugged(self, found: Found) -> tuple[bool, str]:
        """Whether the node's own debugger was asked about a dump, and what it said. Raises NodeError."""
        with self._ask(protocol.debug_request([found])) as reply, _within(_DEBUGGING, reply):
            (told,) = protocol.debugged(reply, 1)
        return told

    def images(self, asks: Sequence[Ask], seconds: float) -> list[Told]:
        """Parts of executables and libraries, wherever these are, if they come within so many seconds.

        Raises NodeError, also when one changes meanwhile.
        """
        mark = self._mark()
        request = image_protocol.image_request(asks, mark)
        with self._ask(request, last=False) as reply, _within(seconds, reply):
            return list(image_protocol.images(reply, asks, mark))

    def fetch(self, gets: Sequence[Get], *, about: bool = False) -> Iterator[bytes | SourceError]:
        """The bytes of each part, in order, or why they cannot be had. Each comes from a file that is, before and
        after, the one that was discovered. They are held in memory: ask for small parts. Raises NodeError.

        With ``about`` the node is asked what it is along with that: each question costs it more than its answer.
        """
        done = 0
        while done < len(gets):
            # One file that hangs, and any tenant can have one, must not cost those that would be in its group.
            if self._hangs[gets[done].found.directory] >= _HANGS:
                yield Hangs(_NOT_TRIED)
                done += 1
                continue
            for answer in self._fetch_in_groups(self._together(gets[done:]), about and self._told is None):
                yield answer
                done += 1

    def _together(self, gets: Sequence[Get]) -> list[Get]:
        """Those, from the first on, that may be in one request: of no suspect directory, or all of the same one."""
        first = gets[0].found.directory
        if first in self._suspect:
            return list(takewhile(lambda get: get.found.directory == first, gets))
        return list(takewhile(lambda get: get.found.directory not in self._suspect, gets))

    def _fetch_in_groups(self, gets: Sequence[Get], about: bool) -> Iterator[bytes | SourceError]:
        """Answers for gets from the first on. When a file changes under the reading, the bytes of its group cannot be
        told apart: that group is asked for one by one, and the rest is left for another call."""
        mark, hung = self._mark(), False
        with self._ask(protocol.read_request(gets, mark, skim=True, about=about)) as reply:
            if about:
                self._told = protocol.about(reply)
            for start in range(0, len(gets), GROUP):
                group = gets[start : start + GROUP]
                try:
                    answers = self._group(reply, group, mark)
                except Desynchronized:
                    break
                except OpenHung:
                    hung = True
                    break
                yield from answers
            else:
                protocol.ended(reply, mark)
                return
        directories = {get.found.directory for get in group} if hung else set()
        before = self._hangs.copy()
        self._suspect |= directories  # until it is known whose file it was
        for get in group:
            yield self._fetch_one(get)
        if any(self._hangs[each] > before[each] for each in directories):
            self._suspect -= {each for each in directories if not self._hangs[each]}
        elif len(directories) == 1:  # alone none of them hangs: it is the directory's doing all the same
            self._hangs.update(directories)

    def _group(self, reply: Channel, group: Sequence[Get], mark: str) -> list[bytes | SourceError]:
        """Answers for a group of which no file has changed. Raises Desynchronized when one has: where one has shrunk
        by what another has grown, those between them would get bytes that are not theirs."""
        self.awaited = [get.found for get in group]
        statuses = protocol.statuses(reply, group, mark)
        ok = [get for get, status in zip(group, statuses, strict=True) if status == "ok"]
        bodies = iter([reply.read_exactly(get.length) for get in ok])
        if any(now is not None for now in protocol.afterwards(reply, ok, mark)):
            raise Desynchronized("a file changed while it was read")
        self.awaited = ()
        return [
            next(bodies) if status == "ok" else _problem_of(get.found, status)
            for get, status in zip(group, statuses, strict=True)
        ]

    def _fetch_one(self, get: Get) -> bytes | SourceError:
        mark = self._mark()
        if self._hangs[get.found.directory] >= _HANGS:
            return Hangs(_NOT_TRIED)
        try:
            with self._ask(protocol.read_request([get], mark)) as reply:
                return self._group(reply, [get], mark)[0]
        except Desynchronized:
            return self._what_happened(get.found)
        except OpenHung as error:
            self.awaited = ()
            return self._hung(get.found, error)

    def _hung(self, found: Found, error: OpenHung) -> Hangs:
        """Take note of it: this costs the node seconds, so only a few files of a directory may do it."""
        self._suspect.add(found.directory)
        self._hangs[found.directory] += 1
        return Hangs(str(error))

    def stream(
        self, found: Found, start: int = 0, press: str | None = None, came: Callable[[int], None] = _uncounted
    ) -> Iterator[bytes]:
        """The file from ``start`` on, a multiple of UNIT, in blocks of BLOCK bytes; compressed on its way by that
        program of the node. ``came`` is told how many bytes have come each time.

        Raises SourceError, at the end too when the file is not what was discovered, and NodeError.
        """
        get, mark = Get(found, start // UNIT), self._mark()
        if self._hangs[found.directory] >= _HANGS:
            raise Hangs(_NOT_TRIED)
        try:
            with self._ask(protocol.read_request([get], mark, press=press)) as reply:
                (status,) = protocol.statuses(reply, [get], mark)
                if status != "ok":
                    raise _problem_of(found, status)
                if press is None:
                    yield from _counted(reply.blocks(get.length, BLOCK), came)
                else:
                    yield from expanded(reply, get.length, press, came)
                (now,) = protocol.afterwards(reply, [get], mark)
        except Desynchronized:
            raise self._what_happened(found) from None
        except OpenHung as error:
            raise self._hung(found, error) from error
        if now is not None:
            raise self._what_happened(found)

    def _what_happened(self, found: Found) -> SourceError:
        """Why reading a file went wrong: what it is now tells."""
        get, mark = Get(found, units=1), self._mark()
        try:
            with self._ask(protocol.read_request([get], mark)) as reply:
                (status,) = protocol.statuses(reply, [get], mark)
        except OpenHung as error:
            return self._hung(found, error)
        return SourceChanged("changed while it was read") if status == "ok" else _problem_of(found, status)

    @contextmanager
    def _ask(self, request: bytes, *, last: bool = True) -> Iterator[Channel]:
        """Where the reply comes from. A shell whose ``last`` request it was not gets the next one too, once the reply
        was read to its end: to start a shell costs a node as much as most of what it is asked."""
        with ExitStack() as held:
            channel = held.enter_context(self._shell(request, last))
            yield channel
            if not last:
                held.pop_all()
                self._waiting.append(channel)

    def _shell(self, request: bytes, last: bool) -> Channel:
        try:
            channel = self._waiting.pop()
        except IndexError:
            assert self.session is not None, "the node is being visited"  # noqa: S101 - to the type checker
            stdin = self._script + protocol.places_request(self._places) + request
            return self.session.run(protocol.command(len(self._script)), stdin, last=last)
        channel.feed(request, last=last)
        return channel


@contextmanager
def _within(seconds: float, reply: Channel) -> Iterator[None]:
    """After that time the command is given up, and who reads from it gets NodeLost; so does who has just read all."""
    late = Event()

    def give_up() -> None:
        late.set()
        reply.close()

    timer = Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join(1.0)
    if late.is_set():  # nothing more can be asked through it
        raise NodeLost("answered too late")


def _begun(reply: Channel, user: str) -> None:
    """The reply to discover begins, and nothing comes before it. Raises ShellTalks."""
    said = b""
    while not said.startswith(_BEGINNINGS) and len(said) < _QUOTED and not _LINE.search(said):
        more = reply.recv()
        if not more:
            break
        said += more
    if said.startswith(_BEGINNINGS):
        reply.unread(said)
        return
    advice = f"in place of a reply: the login shell of {escaped(user)} has to run commands and print nothing"
    if said:
        line = (said.strip().splitlines() or [said])[0]
        raise ShellTalks(f"says '{escaped(line[:_QUOTED])}' {advice}")
    status, stderr = reply.finish()
    # Who says something on stderr only, as the command does that confines our key, is quoted by who reads next.
    if status is not None and not stderr.strip():
        raise ShellTalks(f"says nothing and ends with status {status} {advice}")


def _problem_of(found: Found, status: str) -> SourceError:
    """A status of the node as an exception."""
    if status == "gone":
        return SourceGone("is no more")
    if status in ("denied", "permission denied"):
        return SourceDenied("permission denied")
    if status.startswith("changed "):
        return _change(found, Signature.parse(raw_bytes(status.removeprefix("changed "))))
    if status in ("a link", "not a regular file"):
        return NotAFile(status)
    if status == "cannot compress":
        return CannotPress(status)
    if status == "the path leads through a link":
        return SourceError(status)
    raise ProtocolError(f"a status that this version does not know: {status[:80]!r}")


def _change(found: Found, now: Signature) -> SourceError:
    """What a file's new signature says about it."""
    if not now.same_file(found.signature):
        return SourceChanged("was replaced")
    if now.size > found.size:
        return StillChanging(f"still growing: {now.size} bytes now, {found.size} when it was found")
    return SourceChanged("changed since it was found")
