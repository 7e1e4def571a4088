"""Objects of the Manta test server: PUT, GET, HEAD, and changes of their headers."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import BinaryIO

from tests.support import manta_conditions as conditions
from tests.support import manta_content
from tests.support.manta_auth import is_public, role_tags
from tests.support.manta_content import Content, TooLong
from tests.support.manta_entries import ANY, NOTHING, Changed, Entry, parent_of
from tests.support.manta_errors import (
    Refusal,
    bad_request,
    concurrent,
    invalid_durability,
    invalid_update,
    no_directory,
    not_found,
    on_directory,
    on_root,
    parent_not_directory,
    too_long,
    upload_timeout,
)
from tests.support.manta_exchange import Exchange, Options
from tests.support.manta_moods import StoreTruncated
from tests.support.manta_wire import Stalled

DIRECTORY_TYPE = "application/x-json-stream; type=directory"
MKDIR_TYPE = "application/json; type=directory"
_MOST_HEADERS = 4096  # bytes of all m-* headers
_CORS = (
    "access-control-allow-headers",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
    "access-control-allow-methods",
)
_KEPT = {"cache-control": "Cache-Control", "surrogate-key": "Surrogate-Key"}
_DISPOSITION = re.compile(
    r"""[!#$%&'*+.^`|~\w-]+(\s*;\s*[!#$%&'*+.^`|~\w-]+\s*=\s*("[^"]*"|[^\s";]+))*\s*;?""", re.ASCII
)
_FORBIDDEN_IN_UPDATES = ("content-length", "content-md5", "durability-level")


@dataclass(frozen=True, slots=True)
class Promise:
    """What the head of a PUT says of the body: at most how many bytes, and how often they are to be kept."""

    most: int
    copies: int
    empty: bool


# ---- writing ------------------------------------------------------------------------------------------


def put(exchange: Exchange, entry: Entry | None, parent: Entry | None) -> None:
    """PutObject, and with ``?metadata=true`` the change of an object's or directory's headers. Raises Refusal."""
    updates = bool(exchange.query.get("metadata"))
    conditions.check(exchange.method, exchange.headers, entry)
    if (
        is_root(exchange.key, exchange.options)
        and exchange.headers.get("content-type", DIRECTORY_TYPE) != DIRECTORY_TYPE
    ):
        raise on_root(exchange.method, exchange.path)
    if updates or (entry and entry.kind == "directory"):
        _check_update(exchange, entry)
    promise = None if updates else promised(exchange)
    if entry and entry.kind == "directory" and not updates:
        raise on_directory(exchange.method, exchange.path)
    check_parent(exchange, parent)
    if promise is None:
        update(exchange, entry)
    else:
        _store(exchange, entry, promise)


def _check_update(exchange: Exchange, entry: Entry | None) -> None:
    rest = " on a directory" if entry and entry.kind == "directory" else ""
    for name in _FORBIDDEN_IN_UPDATES:
        if exchange.headers.get(name):
            raise invalid_update(name, rest)
    if entry is None:
        raise not_found(exchange.path)


def promised(exchange: Exchange) -> Promise:
    """Raises Refusal where the head cannot be taken at its word."""
    limits = exchange.options.limits
    if exchange.headers.get("content-length", "").startswith("-"):
        raise Refusal(411, "ContentLengthRequired", "a length cannot be negative")
    most = exchange.body.length
    if most is None:
        most = _max_content_length(exchange.headers.get("max-content-length"), limits.max_streaming)
    wish = exchange.headers.get("durability-level") or exchange.headers.get("x-durability-level") or "2"
    if not re.fullmatch("[0-9]{1,3}", wish) or not 1 <= int(wish) <= limits.max_copies:
        raise invalid_durability(limits.max_copies)
    disposition = exchange.headers.get("content-disposition")
    if disposition and not _DISPOSITION.fullmatch(disposition):
        raise bad_request(f"not a Content-Disposition: {disposition}")
    return Promise(most, int(wish), exchange.body.length == 0)


def _max_content_length(stated: str | None, default: int) -> int:
    if stated is None:
        return default
    if not re.fullmatch("[0-9]{1,18}", stated):
        raise Refusal(400, "InvalidMaxContentLength", f"max-content-length is not a number of bytes: {stated}")
    return int(stated)


def check_parent(exchange: Exchange, parent: Entry | None) -> None:
    """Raises Refusal where nothing can be made below what is there."""
    if is_root(exchange.key, exchange.options):
        return
    above = parent_of(exchange.key)
    if parent is None:
        raise no_directory(above)
    if parent.kind != "directory":
        raise parent_not_directory(above)
    most = exchange.options.limits.max_entries
    if exchange.service.entries.count(above) > most:
        raise Refusal(409, "DirectoryLimitExceeded", f"{above} is full: {most} entries")


def is_root(key: str, options: Options) -> bool:
    """Whether the path is one of those that always exist."""
    pieces = key.split("/")[1:]
    job = len(pieces) == 4 and pieces[1] == "jobs" and pieces[3] == "stor"
    return job or len(pieces) == 1 or (len(pieces) == 2 and pieces[1] in options.tops)


def _store(exchange: Exchange, entry: Entry | None, promise: Promise) -> None:
    content = take(exchange, promise)
    exchange.moods.meet()
    kept = _kept(exchange, content)
    headers = stored_headers(exchange.headers)
    if is_public(exchange.path):
        headers.setdefault("access-control-allow-origin", "*")
    new = Entry(
        exchange.key,
        "object",
        exchange.service.now_ms(),
        kept.id,
        kept,
        exchange.headers.get("content-type") or "application/octet-stream",
        0 if promise.empty else promise.copies,
        headers,
        role_tags(exchange),
    )
    commit(exchange, new, entry)
    facts = {"Etag": kept.id, "Last-Modified": http_date(new.mtime), "Computed-MD5": content.md5}
    exchange.send(204, facts)


def take(exchange: Exchange, promise: Promise) -> Content:
    """Receives the body. Raises Refusal where it is not what was promised; then nothing is kept."""
    wanted = exchange.headers.get("content-md5")
    if promise.empty:
        return manta_content.empty()  # muskie does not look at the digest of one either
    if wanted and not _is_digest(wanted):
        raise bad_request("Content-MD5 is not the base64 of 16 bytes")
    exchange.make_room(promise.most)
    exchange.body.accept()
    service = exchange.service
    try:
        content = manta_content.receive(exchange.body, service.folder, promise.most)
    except TooLong:
        raise too_long(promise.most) from None
    except Stalled:
        raise upload_timeout() from None
    if wanted and wanted != content.md5:
        service.entries.discard(content)
        raise Refusal(400, "ContentMD5Mismatch", f"the body has the MD5 {content.md5}, not {wanted}")
    return content


def _is_digest(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 16
    except binascii.Error:
        return False


def _kept(exchange: Exchange, content: Content) -> Content:
    mood = exchange.moods.get(StoreTruncated)
    return manta_content.cut(content, mood.keep, exchange.service.folder) if mood and content.pieces else content


def commit(exchange: Exchange, new: Entry, old: Entry | None) -> None:
    """Writes an entry. A conditional request does not overtake another. Raises Refusal (409)."""
    entries = exchange.service.entries
    seen = old.serial if old else NOTHING
    try:
        entries.put(new, seen if conditions.is_conditional(exchange.headers) else ANY)
    except Changed:
        if new.content:
            entries.discard(new.content)
        raise concurrent(exchange.path) from None


def stored_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """What is kept of a request's headers. ``m-*`` beyond 4 KB together are dropped without a word."""
    kept = {name: headers[name] for name in _CORS if headers.get(name)}
    kept |= {said: headers[name] for name, said in _KEPT.items() if headers.get(name)}
    if headers.get("content-disposition"):
        kept["Content-Disposition"] = headers["content-disposition"]
    size = 0
    for name, value in headers.items():
        if re.match(r"m-\w", name, re.ASCII):
            size += len(value)
            if size < _MOST_HEADERS:
                kept[name] = value
    return kept


def update(exchange: Exchange, entry: Entry | None) -> None:
    """Replaces the headers and role tags of an entry. An object keeps its bytes and its etag's. Raises Refusal."""
    if entry is None:
        raise not_found(exchange.path)
    kind = exchange.headers.get("content-type") if entry.kind == "object" else None
    new = replace(
        entry,
        mtime=exchange.service.now_ms(),
        content_type=kind or entry.content_type,
        headers=stored_headers(exchange.headers),
        roles=role_tags(exchange),
    )
    commit(exchange, new, entry)
    facts = {"Last-Modified": http_date(new.mtime)}
    if new.content:
        facts |= {"Etag": new.etag or "", "Computed-MD5": new.content.md5}
    exchange.send(204, facts)


# ---- reading ------------------------------------------------------------------------------------------


def get(exchange: Exchange, entry: Entry) -> None:
    """GetObject and HeadObject. Raises Refusal, NotModified."""
    kind = entry.content_type or "application/octet-stream"
    if not _accepts(exchange.headers.get("accept"), kind):
        raise Refusal(406, "NotAcceptable", f"{exchange.path} is {kind}, which is not accepted")
    conditions.check(exchange.method, exchange.headers, entry)
    if "," in exchange.headers.get("range", ""):
        raise Refusal(501, "NotImplemented", "one range at a time")
    opened = exchange.service.entries.open(exchange.key)
    if opened is None:
        raise not_found(exchange.path)
    entry, files = opened
    with ExitStack() as undo:
        for file, _ in files:
            undo.enter_context(file)
        _send(exchange, entry, files)


def _send(exchange: Exchange, entry: Entry, files: list[tuple[BinaryIO, int]]) -> None:
    size = entry.size
    first, last = 0, size
    headers = {
        **shown_headers(exchange, entry),
        "Etag": entry.etag or "",
        "Content-Type": entry.content_type or "application/octet-stream",
    }
    stated = exchange.headers.get("range")
    ranged = exchange.method == "GET" and stated is not None and size > 0
    if ranged and stated is not None:
        first, last = _range(stated, size)
        headers["Content-Range"] = f"bytes {first}-{last - 1}/{size}"
    elif entry.content:
        headers["Content-MD5"] = entry.content.md5
        headers |= {"Accept-Ranges": "bytes"} if exchange.method == "GET" else {}
    headers |= {"Content-Length": str(last - first), "Durability-Level": str(entry.copies)}
    exchange.start(206 if ranged else 200, headers)
    if exchange.method == "GET":
        _write(exchange, files, first, last)


def _write(exchange: Exchange, files: list[tuple[BinaryIO, int]], first: int, last: int) -> None:
    start = 0
    for file, size in files:
        begin, end = max(first, start), min(last, start + size)
        if begin < end:
            exchange.write_file(file, begin - start, end - begin)
        start += size


def _range(stated: str, size: int) -> tuple[int, int]:
    """First byte and the one behind the last. Raises Refusal (416)."""
    found = re.fullmatch(r"bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))", stated)
    if found and found[3]:
        first, last = max(0, size - int(found[3])), size
    elif found:
        first, last = int(found[1]), min(size, int(found[2]) + 1) if found[2] else size
    if not found or first >= last:
        message = f"no such bytes: {stated}"
        raise Refusal(416, "RequestedRangeNotSatisfiable", message, {"Content-Range": f"bytes */{size}"})
    return first, last


def _accepts(accept: str | None, kind: str) -> bool:
    if not accept:
        return True
    main, _, sub = kind.partition(";")[0].strip().lower().partition("/")
    ranges = [each.partition(";")[0].strip().lower() for each in accept.split(",")]
    return any(each in ("*/*", f"{main}/*", f"{main}/{sub}") for each in ranges)


def shown_headers(exchange: Exchange, entry: Entry) -> dict[str, str]:
    """The kept headers and role tags. Those for other origins are shown as the rules for such requests have it."""
    kept = dict(entry.headers)
    origin = exchange.headers.get("origin")
    if origin:
        allowed = re.split(r"\s*,\s*", kept.pop("access-control-allow-origin", ""))
        kept = {name: value for name, value in kept.items() if name not in _CORS or "expose" in name}
        if origin in allowed or "*" in allowed:
            kept["access-control-allow-origin"] = origin
    if entry.roles:
        kept["role-tag"] = ", ".join(entry.roles)
    return kept


def http_date(milliseconds: int) -> str:
    return formatdate(milliseconds // 1000, usegmt=True)
