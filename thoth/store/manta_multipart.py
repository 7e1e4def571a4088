"""Manta's multipart uploads: the requests, and which uploads of ours are not finished. Source: muskie, lib/uploads.

``POST /USER/uploads`` makes one, ``PUT`` below its directory a part, ``POST .../commit`` an object of the parts. What
an upload is to become is a path as it stands in a URL, percent-encoded: Manta decodes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from thoth.errors import CorruptTransfer, NoSuchObject, NotAllowed, StoreError, StoreTransient
from thoth.exchange import Body
from thoth.http import Answer
from thoth.store.base import Unfinished
from thoth.store.manta_errors import code_of, is_mantas, json_object
from thoth.store.manta_listing import entries
from thoth.store.manta_service import (
    Manta,
    content_type,
    is_missing_parent,
    json_body,
    length_of,
    target,
)
from thoth.store.names import parts

_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_JSON: Final = {"Content-Type": "application/json"}
_COMMIT: Final = 10.0  # times as long as usual Manta may be silent while it puts the parts together
_DEPTH: Final = 8  # directories between that of all uploads and one of them: muskie makes one
_REFUSED: Final = "AuthorizationFailed"


class NotOffered(StoreError):
    """This Manta has no multipart uploads, or not for us."""


class UploadEnded(StoreTransient):
    """An upload takes nothing any more, since somebody has ended it: to send the part again would change nothing."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.tried = True


class Stage(Enum):
    """How far an upload in parts has come."""

    OPEN = "it takes parts"
    COMMITTING = "Manta makes an object of the parts; the commit may be asked for again"
    COMMITTED = "there is an object of it, or was"
    ENDED = "it was aborted, or there is none"


@dataclass(frozen=True, slots=True)
class Part:
    """A part that Manta has. ``md5`` is in base64."""

    size: int
    md5: str
    etag: str


class MantaUploads:
    """The uploads in parts of one Manta."""

    def __init__(self, manta: Manta) -> None:
        self._manta = manta

    def create(self, name: str, size: int) -> str:
        """The directory of a new upload. Raises NotOffered."""
        headers: dict[str, Any] = {"content-length": size, "content-type": content_type(name)}
        if self._manta.access.copies is not None:
            headers["durability-level"] = self._manta.access.copies
        document = {"objectPath": target(name), "headers": headers}
        place = f"/{parts(name)[0]}/uploads"
        answer = self._manta.ask("POST", target(place), name, headers=_JSON, body=json_body(document))
        if answer.status in (404, 405) or (answer.status == 403 and code_of(answer) == _REFUSED):
            raise NotOffered(f"{place}: Manta has no multipart uploads for us")
        self._manta.require(answer, name, 201)
        return _directory(answer, name)

    def stage(self, directory: str, name: str) -> Stage:
        """How far an upload has come."""
        try:
            return _stage(self._state(directory, name))
        except NoSuchObject:
            return Stage.ENDED

    def part(self, directory: str, number: int, name: str) -> Part | None:
        """What Manta has of a part; None: nothing."""
        try:
            headers = self._manta.ask("HEAD", target(f"{directory}/{number}"), name, 200).headers
        except NoSuchObject:
            return None
        return Part(length_of(headers, name), headers.get("Content-MD5", ""), headers["Etag"])

    def put_part(self, directory: str, number: int, name: str, body: Body, md5: str | None) -> Part:
        """Send a part; ``md5``, in base64, if it is known before. Raises StoreTransient for one that came to harm."""
        headers = {"Content-MD5": md5} if md5 else {"Expect": "100-continue"}  # what passes by is sent once
        answer = self._manta.ask("PUT", target(f"{directory}/{number}"), name, headers=headers, body=body)
        if answer.status == 404 or code_of(answer) == "InvalidMultipartUploadState":
            raise _ended(name)
        self._manta.require(answer, name, 204)
        got, etag = answer.headers.get("Computed-MD5", ""), answer.headers.get("Etag", "")
        if not etag or (md5 and got != md5):
            raise StoreTransient(f"{name}: the MD5 of what Manta got of part {number} is not that of what was sent")
        return Part(body.sent, got, etag)

    def commit(self, directory: str, etags: Sequence[str], name: str) -> str:
        """Make the object. Returns its MD5, in base64; empty when Manta did not say. Safe to repeat."""
        tries = self._manta.tries()

        def once() -> str:
            answer = self._asked_to_commit(directory, etags, name)
            if is_missing_parent(answer):
                self._manta.make_parents(name)
                answer = self._asked_to_commit(directory, etags, name)
            if answer.status == 409 and tries.failed and self.stage(directory, name) is Stage.COMMITTED:
                return ""  # a try whose answer was lost
            if answer.status == 409 and code_of(answer).startswith(("MultipartUpload", "InvalidMultipartUpload")):
                raise CorruptTransfer(f"{name}: Manta does not take the parts for a whole: {code_of(answer)}")
            if answer.status == 404 and is_mantas(answer):
                raise _ended(name)
            self._manta.require(answer, name, 201)
            return answer.headers.get("Computed-MD5", "")

        return tries.run(once)

    def abort(self, directory: str, name: str) -> None:
        """End an upload; one that has an end already is left as it is. Raises StoreError."""
        answer = self._manta.ask("POST", target(f"{directory}/abort"), name, headers=_JSON, body=json_body({}))
        if answer.status not in (404, 409):
            self._manta.require(answer, name, 204)

    def pending(self, home: str) -> Iterator[Unfinished]:
        """The uploads of what was to lie below ``home`` that have no end yet, by their directories.

        None where the account does not let us see them: then we have begun none. Raises StoreError.
        """
        place = f"/{parts(home)[0]}/uploads"
        try:
            found = list(self._directories(place))
        except NotAllowed:
            return
        for directory in found:
            try:
                told = self._state(directory, directory)
            except NoSuchObject:
                continue  # cleared away meanwhile
            if _stage(told) is Stage.OPEN and str(told.get("targetObject", "")).startswith(f"{home}/"):
                sent = list(entries(self._manta, directory))
                begun = _seconds(told.get("creationTimeMs"))
                yield Unfinished(
                    directory, sum(part.size for part in sent), max((part.mtime for part in sent), default=begun)
                )

    def is_pending(self, directory: str) -> bool:
        """Whether this is the directory of an upload that has no end yet. Raises StoreError."""
        _, _, top, *below = [*directory.split("/"), "", ""]
        named = top == "uploads" and any(_ID.fullmatch(each) for each in below)
        return named and self.stage(directory, directory) is Stage.OPEN

    def _directories(self, place: str, depth: int = _DEPTH) -> Iterator[str]:
        """All uploads, each in a directory named by its id, which lies below a few others."""
        for entry in entries(self._manta, place):
            below = f"{place}/{entry.name}"
            if _ID.fullmatch(entry.name):
                yield below
            elif entry.directory and depth:
                yield from self._directories(below, depth - 1)

    def _asked_to_commit(self, directory: str, etags: Sequence[str], name: str) -> Answer:
        body = json_body({"parts": list(etags)})
        idle = _COMMIT * self._manta.access.limits.idle
        return self._manta.ask("POST", target(f"{directory}/commit"), name, headers=_JSON, body=body, idle=idle)

    def _state(self, directory: str, name: str) -> dict[str, Any]:
        answer = self._manta.ask("GET", target(f"{directory}/state"), name, 200)
        return _document(answer, name)


def _stage(told: dict[str, Any]) -> Stage:
    # muskie's words: created, finalizing with the type of its end, done with its result.
    match told.get("state"), told.get("type"), told.get("result"):
        case "created", _, _:
            return Stage.OPEN
        case "finalizing", "commit", _:
            return Stage.COMMITTING
        case "done", _, "committed":
            return Stage.COMMITTED
    return Stage.ENDED


def _ended(name: str) -> UploadEnded:
    return UploadEnded(f"{name}: its upload was ended by somebody else; begin another")


def _directory(answer: Answer, name: str) -> str:
    directory = _document(answer, name).get("partsDirectory")
    if not isinstance(directory, str):
        raise StoreTransient(f"{name}: Manta does not say where the parts of its upload go")
    target(directory)
    return directory


def _document(answer: Answer, name: str) -> dict[str, Any]:
    try:
        return json_object(answer.body)
    except ValueError as error:
        raise StoreTransient(f"{name}: Manta's answer about its upload is not what it should be") from error


def _seconds(milliseconds: object) -> float:
    return milliseconds / 1000 if isinstance(milliseconds, int | float) else float("inf")
