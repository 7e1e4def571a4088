"""Signed requests to Manta: how names become paths, what each request carries, what an answer has to be."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from thoth.errors import NoSuchObject, PreconditionFailed, ServiceError, StoreError, StoreTransient
from thoth.exchange import Body
from thoth.http import Answer, Download, Limits, Service
from thoth.patience import USUAL, Patience, Tries
from thoth.store.base import ABSENT
from thoth.store.manta_errors import Asker, Headed, Response, code_of, is_mantas, no_answer, refusal
from thoth.store.names import parts

if TYPE_CHECKING:
    from thoth.store.signing import Signer

_UNRESERVED: Final = "-_.!~*'()"  # beside letters and digits: what encodeURIComponent leaves, as the Node client does
_DIRECTORY: Final = "type=directory"
_SLICE: Final = 0.2  # seconds of a pause that a call to end does not cut short
_DIGITS: Final = 19  # of a length: fewer, or it is none
_TOP: Final = 2  # parts of /USER/stor, which always exists


@dataclass(frozen=True, slots=True)
class MantaAccess:
    """Where Manta is and as whom it is used. ``account`` is MANTA_USER, who need not own the names that are used."""

    url: str  # https://HOST[:PORT]
    account: str
    roles: tuple[str, ...] = ()
    tls_insecure: bool = False
    authorities: Path | None = None  # a file of certificates to trust in place of the usual ones
    proxy: str | None = field(default=None, repr=False)  # its URL may hold a password
    copies: int | None = None  # of new objects; None: as many as Manta makes by itself
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Times:
    """Clocks, pauses and chance. ``now``: seconds since 1970; ``clock``: monotonic; ``chance``: from 0 to 1."""

    now: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep
    chance: Callable[[], float] = random.random
    patience: Patience = USUAL


class Manta:
    """Safe to use from several threads. Without a ``signer`` nothing is signed."""

    def __init__(self, access: MantaAccess, signer: Signer | None, times: Times) -> None:
        self.access = access
        self.times = times
        self._signer = signer
        self._service = Service(
            "Manta",
            access.url,
            proxy=access.proxy,
            insecure=access.tls_insecure,
            authorities=access.authorities,
            limits=access.limits,
            clock=times.clock,
        )
        self._asker = Asker(self._service.base, access.account, signer.key_id if signer else "")
        self._server: str | None = None

    @property
    def url(self) -> str:
        return self._service.base

    @property
    def fingerprint(self) -> str:
        """Of the key that signs, in MD5; empty: nothing is signed."""
        return self._asker.key_id.rpartition("/")[2]

    def ask(
        self,
        method: str,
        target: str,
        about: str,
        *due: int,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        most: int = 1 << 20,
        idle: float | None = None,
    ) -> Answer:
        """The answer, whose status is one of ``due``; with none, any. Raises StoreError, about ``about``."""
        try:
            answer = self._service.ask(method, target, self._headers(headers), body, most=most, idle=idle)
        except ServiceError as error:
            raise no_answer(error, about) from error
        self._notice(answer)
        if due:
            self.require(answer, about, *due)
        return answer

    def open(
        self, target: str, about: str, *due: int, headers: Mapping[str, str] | None = None, small: bool = False
    ) -> MantaDownload:
        """The answer to GET, whose status is one of ``due``, and whose body is yet to be read.

        With ``small`` all together may take as long as any question, else only silences are limited.
        """
        try:
            found = self._service.open("GET", target, self._headers(headers), limited=small)
        except ServiceError as error:
            raise no_answer(error, about) from error
        self._notice(found)
        if found.status not in due or not is_mantas(found):
            with found:
                self.require(self._refused(found, about), about)
        return MantaDownload(found, about)

    @staticmethod
    def _refused(found: Download, about: str) -> Answer:
        try:
            return Answer(found.status, found.headers, found.read_all(1 << 16) if found.status >= 300 else b"")
        except ServiceError as error:
            raise no_answer(error, about) from error

    def require(self, answer: Response, about: str, *due: int) -> None:
        """Raises StoreError unless the answer is Manta's and its status one of ``due``."""
        if answer.status not in due or not is_mantas(answer):
            raise refusal(answer, about, self._asker, self.times.now())

    def tries(self, check: Callable[[], None] | None = None, patience: Patience | None = None) -> Tries:
        """The tries of one call. ``check`` is called now and then in pauses, and ends them by what it raises."""
        times = self.times
        pause = partial(_checking, times.sleep, check) if check else times.sleep
        return Tries(patience or times.patience, pause, times.clock, times.chance)

    @property
    def server(self) -> str:
        """What Manta calls itself in its answers; asked for when there was none yet."""
        if self._server is None:
            self.ask("HEAD", target(f"/{self.access.account}/stor"), f"/{self.access.account}/stor")
        return self._server or ""

    def close(self) -> None:
        self._service.close()

    def _notice(self, answer: Headed) -> None:
        if is_mantas(answer):
            self._server = answer.headers.get("Server", "")

    def _headers(self, wanted: Mapping[str, str] | None) -> dict[str, str]:
        # The date is signed, and may be no older than some minutes: each try has its own.
        date = formatdate(self.times.now(), usegmt=True)
        headers = {"Date": date, **(wanted or {})}
        if self._signer:
            headers["Authorization"] = self._signer.authorization(date)
        if self.access.roles:
            headers["Role"] = ",".join(self.access.roles)
        return headers

    # ---- what several others need

    def head(self, name: str) -> Answer:
        """The headers of an object. Raises NoSuchObject, for a directory too."""
        answer = self.ask("HEAD", target(name), name, 200)
        if is_directory(answer.headers):
            raise NoSuchObject(f"{name}: no such object, but a directory")
        length_of(answer.headers, name)
        return answer

    def make_parents(self, name: str) -> None:
        """Make the directories that an object's name needs.

        Each is looked for first: Manta would put a directory into the place of an object.
        """
        above = parts(name)[:-1]
        missing: list[str] = []
        while len(above) > _TOP:
            directory = "/" + "/".join(above)
            answer = self.ask("HEAD", target(directory), directory)
            if answer.status != 404:
                self.require(answer, directory, 200)
                if not is_directory(answer.headers):
                    raise StoreError(f"{name}: {directory} is an object, not a directory")
                break
            self.require(answer, directory, 404)
            missing.append(directory)
            above = above[:-1]
        kind = {"Content-Type": f"application/json; {_DIRECTORY}"}
        for directory in reversed(missing):
            self.ask("PUT", target(directory), directory, 204, headers=kind)

    def delete(self, name: str, if_match: str | None) -> None:
        """As ObjectStore.delete."""
        answer = self.ask("DELETE", target(name), name, headers=match_header(if_match))
        if is_lost_race(answer, if_match):
            raise lost_race(name, if_match)
        self.require(answer, name, 204)


def _checking(sleep: Callable[[float], object], check: Callable[[], None], seconds: float) -> None:
    while seconds > 0:
        check()
        sleep(min(seconds, _SLICE))
        seconds -= _SLICE
    check()


class MantaDownload:
    """The body of an answer, read piece by piece."""

    def __init__(self, found: Download, about: str) -> None:
        self.status = found.status
        self.headers = found.headers
        self._found = found
        self._about = about

    def read(self, length: int) -> bytes:
        """As many bytes as asked for until the end. Raises StoreTransient when the connection breaks."""
        try:
            return self._found.read(length)
        except ServiceError as error:
            raise no_answer(error, self._about) from error

    def close(self) -> None:
        self._found.close()


# ---- names and headers ------------------------------------------------------------------------------


def target(name: str) -> str:
    """A name as the path of a request. Raises StoreError for one that cannot be an object's."""
    try:
        return "/" + "/".join(quoted(part) for part in parts(name))
    except UnicodeEncodeError as error:
        raise StoreError(f"not a name in the store, Manta's are UTF-8: {name[:200]!r}") from error


def quoted(part: str) -> str:
    """One part of a name as it stands in a path or a query. Raises UnicodeEncodeError."""
    return quote(part.encode(), safe=_UNRESERVED)


def bytes_body(*blocks: bytes | memoryview) -> Body:
    """A body of what is in memory."""
    return Body(blocks, sum(len(block) for block in blocks))


def json_body(document: object) -> Body:
    return bytes_body(json.dumps(document).encode())


def md5_header(blocks: Iterable[bytes | memoryview]) -> str:
    """``Content-MD5`` of these bytes: the digest, in base64."""
    digest = hashlib.md5(usedforsecurity=False)
    for block in blocks:
        digest.update(block)
    return base64.b64encode(digest.digest()).decode()


def md5_in_base64(digest: str) -> str:
    """A digest in hex as Manta's headers have it."""
    return base64.b64encode(binascii.unhexlify(digest)).decode()


def md5_in_hex(header: str) -> str:
    """A digest as Manta's headers have it, in hex; empty when it is none."""
    try:
        return base64.b64decode(header, validate=True).hex()
    except ValueError:
        return ""


def match_header(if_match: str | None) -> dict[str, str]:
    """The header of a compare-and-set: a bare etag, or two quotes for an object that must not be there."""
    if if_match is None:
        return {}
    return {"If-Match": if_match if if_match != ABSENT else '""'}


def is_directory(headers: Mapping[str, str]) -> bool:
    return _DIRECTORY in headers.get("Content-Type", "")


def length_of(headers: Mapping[str, str], about: str) -> int:
    """``Content-Length``. Raises StoreTransient for an answer without it, or without an etag."""
    value = headers.get("Content-Length", "")
    if not (value.isascii() and value.isdigit() and len(value) < _DIGITS and headers.get("Etag")):
        raise StoreTransient(f"{about}: Manta's answer has no length or no etag")
    return int(value)


def content_type(name: str) -> str:
    return "application/json" if name.endswith(".json") else "application/octet-stream"


def is_missing_parent(answer: Response) -> bool:
    return answer.status == 404 and code_of(answer) == "DirectoryDoesNotExist"


def is_lost_race(answer: Response, if_match: str | None) -> bool:
    """Whether a compare-and-set failed: before the body was sent, after it, or since the directory is not there."""
    if if_match is None:
        return False
    if is_missing_parent(answer):
        return if_match != ABSENT
    return answer.status == 412 or (answer.status == 409 and code_of(answer) == "ConcurrentRequest")


def lost_race(name: str, if_match: str | None) -> PreconditionFailed:
    what = "exists already" if if_match == ABSENT else "has changed, or is gone"
    return PreconditionFailed(f"{name}: {what}; read it again")
