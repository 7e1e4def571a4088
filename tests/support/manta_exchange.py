"""One request to the Manta test server and its answer, and what all of them share."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, BinaryIO

from tests.support.manta_accounts import NOBODY, Account, Accounts, Caller
from tests.support.manta_entries import Entries
from tests.support.manta_errors import Refusal, no_space
from tests.support.manta_moods import (
    Answer,
    Befallen,
    CloseAfter,
    Full,
    Moods,
    NeverReply,
    Page,
    Reset,
    Slow,
    Truncate,
    WrongDigest,
)
from tests.support.manta_wire import Body, Gone, Head, Wire

if TYPE_CHECKING:
    from tests.support.manta_jobs import Jobs

MIB = 1 << 20
_WRONG_MD5 = "AAAAAAAAAAAAAAAAAAAAAA=="
_DIGESTS = ("computed-md5", "content-md5")
_SECRETS = ("authorization", "x-auth-token")
_UNSENT = (204, 304)  # answers that never have a body


class AnsweredInstead(Exception):
    """A mood has given another answer than the one that was to be given."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, bytes and numbers that the real server has in its configuration; the defaults are its own."""

    idle: float = 120.0  # until a silent connection is closed
    data: float = 45.0  # until a silent upload is given up
    max_request_age: float = 600.0
    clock_skew: float = 300.0
    max_streaming: int = 5120 * MIB
    max_copies: int = 6
    max_entries: int = 1_000_000  # of a directory
    min_part: int = 5 * MIB


@dataclass(frozen=True, slots=True)
class Options:
    """``v1``: jobs and SnapLinks, and 10,000 parts. ``mpu``: multipart uploads. ``now``: the server's clock."""

    v1: bool = False
    mpu: bool = True
    require_tls: bool = False
    tls: bool = False
    limits: Limits = Limits()
    now: Callable[[], float] = time.time

    @property
    def tops(self) -> tuple[str, ...]:
        """The directories that every account has."""
        return tuple(sorted(["public", "reports", "stor", *(["uploads"] * self.mpu), *(["jobs"] * self.v1)]))

    @property
    def parts(self) -> int:
        """How many parts an upload may have."""
        return 10_000 if self.v1 else 800


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as the server saw it; no secret is in it. ``status`` is None when there was no answer.

    ``path`` is as it was sent, ``query`` without signature. ``received``: bytes of the body read before the answer
    began. ``connection`` numbers the connections from 1 on.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    status: int | None
    code: str | None
    caller: str
    received: int
    continued: bool
    connection: int


@dataclass(slots=True)
class Service:
    """What all requests share."""

    options: Options
    accounts: Accounts
    entries: Entries
    folder: Path  # of the contents
    moods: Moods
    closing: Event = field(default_factory=Event)
    requests: list[Seen] = field(default_factory=list)
    tokens: dict[str, Caller] = field(default_factory=dict)
    name: str = field(default_factory=lambda: str(uuid.uuid4()))
    programs: tuple[Path, ...] = ()  # folders that the tasks of jobs have in their PATH, before the system's
    jobs: Jobs | None = None

    def now_ms(self) -> int:
        return int(self.options.now() * 1000)


@dataclass(slots=True)
class Exchange:
    """A request on its way. What authentication finds out is filled in by it."""

    service: Service
    wire: Wire
    head: Head
    body: Body
    moods: Befallen
    path_sent: str  # before anything was done to it
    path: str  # without doubled and trailing slashes, still encoded
    query: Mapping[str, str]
    connection: int = 0
    as_caller: Caller | None = None  # a request from within a job needs no signature
    key: str = ""  # the path, decoded
    caller: Caller = NOBODY
    owner: Account | None = None
    presigned: bool = False
    answered: bool = False
    stays: bool = True  # whether the connection is kept
    hurries: bool = False  # whether it is closed at once, with no look at the rest of the body
    _code: str | None = None
    _started: float = field(default_factory=time.monotonic)
    _budget: int | None = None  # bytes of the answer's body that may still go
    _base: Mapping[str, str] = field(default_factory=dict)

    # ---- asking -----------------------------------------------------------------------------------

    @property
    def method(self) -> str:
        return self.head.method

    @property
    def headers(self) -> Mapping[str, str]:
        return self.head.headers

    @property
    def options(self) -> Options:
        return self.service.options

    @property
    def reads(self) -> bool:
        return self.method in ("GET", "HEAD", "OPTIONS")

    def parameter(self, name: str) -> str | None:
        """A header, or in a signed URL the parameter of that name."""
        return self.query.get(name) if self.presigned else self.headers.get(name)

    def json(self, most: int) -> object:
        """The body. Raises Refusal when it is too long, not JSON, or not what its digest says."""
        data = self.body.all(most)
        if data is None:
            raise Refusal(413, "RequestEntityTooLarge", f"the body is longer than {most} bytes")
        if self.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise Refusal(415, "UnsupportedMediaType", "application/json is wanted")
        stated = self.headers.get("content-md5")
        if stated and stated != md5_of(data):
            raise Refusal(400, "BadDigest", f"the body has the MD5 {md5_of(data)}, not {stated}")
        try:
            return json.loads(data or b"{}")
        except ValueError:
            raise Refusal(400, "InvalidContent", "the body is not JSON") from None

    def make_room(self, size: int) -> None:
        """Raises Refusal when a full store has no room for what is promised."""
        full = self.moods.get(Full)
        if full and self.service.entries.used() + size > full.capacity:
            raise no_space(size)

    # ---- answering --------------------------------------------------------------------------------

    def state(self, headers: Mapping[str, str]) -> None:
        """Headers that the answer has, whatever becomes of the request."""
        self._base = dict(headers)

    def send(self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> None:
        """A whole answer."""
        length = {} if status in _UNSENT else {"Content-Length": str(len(body))}
        self.start(status, {**length, **(headers or {})})
        if body and self.method != "HEAD" and status not in _UNSENT:
            self.write(body)

    def send_json(self, status: int, document: object, headers: Mapping[str, str] | None = None) -> None:
        data = json.dumps(document, separators=(",", ":")).encode()
        self.send(status, {"Content-Type": "application/json", "Content-MD5": md5_of(data), **(headers or {})}, data)

    def refuse(self, refusal: Refusal) -> None:
        self._code = refusal.code
        self.hurries = refusal.close
        self.stays &= not refusal.close
        document = {"code": refusal.code, "message": refusal.message}
        self.send_json(refusal.status, document, refusal.headers)

    def start(self, status: int, headers: Mapping[str, str]) -> None:
        """The head of an answer, whose body is written piece by piece. Raises Gone, Stalled, AnsweredInstead."""
        self._suffer_before_answer()
        if self.answered:
            raise AnsweredInstead
        self.answered = True
        self._set_budget()
        fields = {**self._base, **self._common(), **headers}
        if self.moods.get(WrongDigest):
            fields = {name: _WRONG_MD5 if name.lower() in _DIGESTS else value for name, value in fields.items()}
        self._log(status)
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.wire.send(f"HTTP/1.1 {status} {_phrase(status)}\r\n{lines}\r\n".encode("latin-1"))

    def write(self, data: bytes) -> None:
        """Some of the body. Raises Gone, Stalled."""
        allowed = len(data) if self._budget is None else min(len(data), self._budget)
        self.wire.send(data[:allowed])
        self._spend(len(data), allowed)

    def write_file(self, file: BinaryIO, offset: int, count: int) -> None:
        """A part of a file as some of the body. Raises Gone, Stalled."""
        allowed = count if self._budget is None else min(count, self._budget)
        self.wire.send_file(file, offset, allowed)
        self._spend(count, allowed)

    def give_up(self) -> None:
        """There will be no answer; the request is seen all the same."""
        if not self.answered:
            self.answered = True
            self._log(None)
        self.stays = False

    # ---- moods ------------------------------------------------------------------------------------

    def suffer_first(self) -> bool:
        """What moods do before the request is looked at; False when they have answered it."""
        for slow in self.moods.get_all(Slow):
            up = slow.bytes_per_second if slow.direction == "up" else None
            self.wire.slow_down(up, slow.bytes_per_second if slow.direction == "down" else None)
        reset = self.moods.get(Reset)
        if reset and reset.direction == "up":
            self.body.stop_at = reset.after
            if self.body.done:
                raise Gone("as a mood wants it")
        silent = self.moods.get(NeverReply)
        if silent and not silent.stored:
            self._throw_away()
            self._never_reply()
        for answer in self._answers():
            if answer.when != "done":
                if answer.when == "body":
                    self._throw_away()
                self._answer_instead(answer)
                return False
        return True

    def _answers(self) -> list[Answer | Page]:
        return [*self.moods.get_all(Answer), *self.moods.get_all(Page)]

    def _throw_away(self) -> None:
        self.body.accept()
        self.body.drain()

    def _suffer_before_answer(self) -> None:
        silent = self.moods.get(NeverReply)
        if silent and silent.stored:
            self._never_reply()
        late = [each for each in self._answers() if each.when == "done"]
        if late:
            self.moods = Befallen()  # this answer is the last thing that befalls it
            self._answer_instead(late[0])

    def _answer_instead(self, answer: Answer | Page) -> None:
        if isinstance(answer, Page):
            self.send(answer.status, {"Content-Type": "text/html", "Server": "proxy"}, answer.text.encode())
            return
        wait = {"Retry-After": str(answer.retry_after)} if answer.retry_after is not None else {}
        self.refuse(Refusal(answer.status, answer.code, answer.message, wait))

    def _never_reply(self) -> None:
        self.give_up()
        self.wire.wait_for_end()
        raise Gone("as a mood wants it")

    def _set_budget(self) -> None:
        truncate, reset = self.moods.get(Truncate), self.moods.get(Reset)
        if truncate:
            self._budget = truncate.after
        if reset and reset.direction == "down":
            self._budget = reset.after

    def _spend(self, wanted: int, gone: int) -> None:
        if self._budget is None:
            return
        self._budget -= gone
        if gone < wanted:
            raise Gone("as a mood wants it")

    # ---- within -----------------------------------------------------------------------------------

    def _common(self) -> dict[str, str]:
        closing = self.moods.get(CloseAfter)
        self.stays &= self.head.keeps and not self.headers.get("user-agent", "").startswith("curl")
        said = "keep-alive" if self.stays and not (closing and closing.said) else "close"
        self.stays &= closing is None
        return {
            "Date": formatdate(self.options.now(), usegmt=True),
            "Server": "Manta" if self.options.v1 else "Manta/2",
            "x-request-id": str(uuid.uuid4()),
            "x-response-time": str(int((time.monotonic() - self._started) * 1000)),
            "x-server-name": self.service.name,
            "Connection": said,
        }

    def _log(self, status: int | None) -> None:
        headers = {name: value for name, value in self.headers.items() if name not in _SECRETS}
        query = {name: value for name, value in self.query.items() if name != "signature"}
        self.service.requests.append(
            Seen(
                self.method,
                self.path_sent,
                query,
                headers,
                status,
                self._code,
                self.caller.login,
                self.body.read,
                self.body.continued,
                self.connection,
            )
        )


def md5_of(data: bytes) -> str:
    """As in the headers: base64."""
    return b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
