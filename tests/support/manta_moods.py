"""How the Manta test server misbehaves when a test wants it: moods, and which requests they befall.

    server.moods.add(Answer(503, "ServiceUnavailable", retry_after=1), method="PUT", path="*/info.json", nth=2)

The second PUT of an info.json is answered so, once. ``count=None``: and all further ones. Several moods may befall
one request.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, TypeVar

from tests.support.manta_entries import Entries

When = Literal["first", "body", "done"]
"""Before the request is looked at; when its body is read and thrown away; when it is done, in place of its answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An error, as Manta words it."""

    status: int
    code: str = "InternalError"
    message: str = "as a mood wants it"
    retry_after: int | None = None  # seconds
    when: When = "first"


@dataclass(frozen=True, slots=True)
class Page:
    """A page from something between the client and Manta."""

    status: int = 502
    text: str = "<html><body><h1>Bad Gateway</h1></body></html>\n"
    when: When = "first"


@dataclass(frozen=True, slots=True)
class Slow:
    """So many bytes a second: of the body that the client sends (``up``), or of all that it gets (``down``)."""

    bytes_per_second: int
    direction: Literal["up", "down"] = "up"


@dataclass(frozen=True, slots=True)
class Truncate:
    """The answer's body ends after so many bytes, and the connection with it, in order."""

    after: int


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is reset when so many bytes of the body have passed: of the request (``up``) or the answer."""

    after: int = 0
    direction: Literal["up", "down"] = "up"


@dataclass(frozen=True, slots=True)
class WrongDigest:
    """Computed-MD5 or Content-MD5 of the answer is another object's."""


@dataclass(frozen=True, slots=True)
class StoreTruncated:
    """Only the first bytes of the body are kept, and the answer is as if all were. HEAD and GET tell the truth."""

    keep: int = 0


@dataclass(frozen=True, slots=True)
class NeverReply:
    """The body is read, the request done (``stored``) or thrown away, and no answer comes. The connection stays."""

    stored: bool = True


@dataclass(frozen=True, slots=True)
class CloseAfter:
    """The connection is closed behind the answer; the answer says so (``said``), or claims to keep it open."""

    said: bool = False


@dataclass(frozen=True, slots=True)
class StaleListing:
    """Directories are listed as they were when the mood was added."""


@dataclass(frozen=True, slots=True)
class Barrier:
    """Requests wait for each other before they change anything, all checks and the body behind them.

    As many as ``parties`` are befallen, whatever count says. Who waits ``patience`` seconds in vain goes on alone.
    """

    parties: int = 2
    patience: float = 10.0


@dataclass(frozen=True, slots=True)
class Full:
    """The store has room for ``capacity`` bytes in all. A promise (a length, or max-content-length) must fit."""

    capacity: int


Mood = (
    Answer
    | Page
    | Slow
    | Truncate
    | Reset
    | WrongDigest
    | StoreTruncated
    | NeverReply
    | CloseAfter
    | StaleListing
    | Barrier
    | Full
)
_Kind = TypeVar("_Kind")


class Placed:
    """A mood and the requests that it waits for. ``hits``: how many it has befallen."""

    def __init__(
        self, mood: Mood, method: str | None, path: str | None, *, nth: int, count: int | None, before: Entries | None
    ) -> None:
        self.mood = mood
        self.seen = 0
        self.hits = 0
        self.before = before  # the entries as they were, for StaleListing
        self.barrier = threading.Barrier(mood.parties) if isinstance(mood, Barrier) else None
        self._method = method
        self._path = path
        self._nth = nth
        self._count = mood.parties if isinstance(mood, Barrier) else count

    @property
    def waiting(self) -> int:
        """How many requests wait at its barrier."""
        return self.barrier.n_waiting if self.barrier else 0

    def befalls(self, method: str, path: str) -> bool:
        """Whether this request is one of them; counts it."""
        if self._method not in (None, method) or not fnmatchcase(path, self._path or "*"):
            return False
        self.seen += 1
        due = self.seen >= self._nth and (self._count is None or self.hits < self._count)
        self.hits += due
        return due

    def end(self) -> None:
        """Lets go of what waits, and of what it holds."""
        if self.barrier:
            self.barrier.abort()
        if self.before:
            self.before.close()


class Moods:
    """The moods of a running server. From any thread."""

    def __init__(self, entries: Entries) -> None:
        self._entries = entries
        self._lock = threading.Lock()
        self._placed: list[Placed] = []

    def add(
        self,
        mood: Mood,
        *,
        method: str | None = None,
        path: str | None = None,
        nth: int = 1,
        count: int | None = 1,
    ) -> Placed:
        """Befalls ``count`` requests from the ``nth`` on that have this method and a path (decoded) like this one.

        ``path`` is a glob, whose star takes slashes too. ``count=None``: no end.
        """
        before = self._entries.snapshot() if isinstance(mood, StaleListing) else None
        placed = Placed(mood, method, path, nth=nth, count=count, before=before)
        with self._lock:
            self._placed.append(placed)
        return placed

    def clear(self) -> None:
        """The server is itself again, for requests that come from now on."""
        with self._lock:
            placed, self._placed = self._placed, []
        for each in placed:
            each.end()

    def of(self, method: str, path: str) -> Befallen:
        """What befalls this request, which counts."""
        with self._lock:
            return Befallen(tuple(placed for placed in self._placed if placed.befalls(method, path)))


@dataclass(frozen=True, slots=True)
class Befallen:
    """The moods of one request."""

    placed: tuple[Placed, ...] = ()

    def get(self, kind: type[_Kind]) -> _Kind | None:
        """The first mood of this kind."""
        return next((each.mood for each in self.placed if isinstance(each.mood, kind)), None)

    def get_all(self, kind: type[_Kind]) -> list[_Kind]:
        return [each.mood for each in self.placed if isinstance(each.mood, kind)]

    @property
    def stale(self) -> Entries | None:
        """The entries to list from, when not those of now."""
        return next((each.before for each in self.placed if each.before), None)

    def meet(self) -> None:
        """Waits for the others at a barrier, if there is one."""
        for each in self.placed:
            if each.barrier and isinstance(each.mood, Barrier):
                try:
                    each.barrier.wait(each.mood.patience)
                except threading.BrokenBarrierError:
                    continue  # they did not come, or the server ends
