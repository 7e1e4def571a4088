"""Multipart uploads of the Manta test server. Source: muskie's lib/uploads, by way of the specification."""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tests.support import manta_content
from tests.support.manta_auth import authorize, role_tags
from tests.support.manta_content import Content
from tests.support.manta_entries import Entry, parent_of
from tests.support.manta_errors import (
    Refusal,
    invalid_durability,
    no_directory,
    not_allowed,
    not_found,
    not_offered,
    on_directory,
    parent_not_directory,
    upload_argument,
    upload_state,
)
from tests.support.manta_exchange import Exchange
from tests.support.manta_objects import http_date, promised, shown_headers, stored_headers, take
from tests.support.manta_paths import decoded

_ID = "[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}"
_BY_ID = re.compile(rf"/[^/]+/uploads/({_ID})(/([0-9]+))?")
_BELOW = re.compile(rf"(/[^/]+/uploads/([0-9a-f]+)/({_ID}))(/([^/]+))?")
_PART = re.compile(r"0|[1-9][0-9]{0,3}")
# How many characters of an id are its prefix; the last digit of the id says so. It is no interface, and one that is
# not 1 finds the clients that take it for one.
_PREFIX = 2
_CONDITIONS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
_MOST_CREATE = 100_000  # bytes of a body
_MOST_COMMIT = 500_000


def handle(exchange: Exchange) -> bool:
    """Answers a request for /LOGIN/uploads and below; False: list what is there as any directory. Raises Refusal."""
    path, method = exchange.path, exchange.method
    if path.count("/") == 2:
        return _top(exchange)
    if found := _BY_ID.fullmatch(path):
        _redirect(exchange, found[1], found[3])
        return True
    found = _BELOW.fullmatch(path)
    if not found:
        return _plain(exchange)
    _refuse_subuser(exchange)
    entry = exchange.service.entries.get(found[1])
    if entry is None or entry.upload is None or not found[3].startswith(found[2]):
        raise not_found(path)
    if found[5] is None:
        return _plain(exchange)
    actions = {("GET", "state"): _state, ("POST", "commit"): _commit, ("POST", "abort"): _abort}
    if action := actions.get((method, found[5])):
        action(exchange, entry)
    elif found[5] in ("state", "commit", "abort") or method not in ("PUT", "HEAD"):
        raise not_offered(method, path)
    elif method == "PUT":
        _put_part(exchange, entry, found[5])
    else:
        _head_part(exchange)
    return True


def _top(exchange: Exchange) -> bool:
    if exchange.method == "POST":
        _create(exchange)
        return True
    return _plain(exchange, "DELETE")  # which says that this is a top directory


def _plain(exchange: Exchange, *also: str) -> bool:
    if exchange.method in ("GET", "HEAD", *also):
        return False
    raise not_offered(exchange.method, exchange.path)


def _refuse_subuser(exchange: Exchange) -> None:
    if exchange.caller.subuser is not None:
        raise not_allowed(exchange.caller.subuser.login, exchange.path)


def _redirect(exchange: Exchange, identifier: str, part: str | None) -> None:
    _refuse_subuser(exchange)
    entry = exchange.service.entries.get(_directory(exchange, identifier))
    if entry is None:
        raise not_found(exchange.path)
    exchange.send(301, {"Location": entry.path + (f"/{part}" if part is not None else "")})


def _directory(exchange: Exchange, identifier: str) -> str:
    login = exchange.key.split("/")[1]
    return f"/{login}/uploads/{identifier[: int(identifier[-1], 16)]}/{identifier}"


# ---- create -------------------------------------------------------------------------------------------


def _create(exchange: Exchange) -> None:
    _refuse_subuser(exchange)
    authorize(exchange, "createupload", ())
    document = exchange.json(_MOST_CREATE)
    asked = document if isinstance(document, dict) else {}
    path = asked.get("objectPath")
    if not isinstance(path, str) or not path.startswith("/"):
        raise upload_argument("no upload: objectPath has to be a path")
    key = decoded(path)
    if key is None:
        raise Refusal(400, "InvalidResource", f"not a path: {path}")
    headers = _asked_headers(asked.get("headers") or {})
    copies = _copies(exchange, headers)
    exchange.make_room(headers.get("content-length", exchange.options.limits.max_streaming))
    identifier = str(uuid.uuid4())[:-1] + f"{_PREFIX:x}"
    directory = _directory(exchange, identifier)
    record = {
        "id": identifier,
        "state": "created",
        "type": None,
        "objectPath": path,
        "objectKey": key,
        "headers": headers,
        "numCopies": copies,
        "creationTimeMs": exchange.service.now_ms(),
        "objectId": manta_content.new_id(),
    }
    now = exchange.service.now_ms()
    entries = exchange.service.entries
    with entries.change():
        if entries.get(parent_of(directory)) is None:
            entries.put(Entry(parent_of(directory), "directory", now))
        entries.put(Entry(directory, "directory", now, upload=record))
    exchange.send_json(201, {"id": identifier, "partsDirectory": directory})


def _asked_headers(asked: object) -> dict[str, Any]:
    if not isinstance(asked, dict):
        raise upload_argument("no upload: headers has to be an object")
    headers = {name.lower(): value for name, value in asked.items()}
    if any(name in headers for name in _CONDITIONS):
        raise upload_argument("no upload: conditions cannot be kept for it")
    size = headers.get("content-length", 0)
    if type(size) is not int or size < 0:
        raise upload_argument("no upload: content-length has to be a number, 0 or more")
    return headers


def _copies(exchange: Exchange, headers: Mapping[str, Any]) -> int:
    copies = headers.get("durability-level", headers.get("x-durability-level", 2))
    most = exchange.options.limits.max_copies
    if type(copies) is not int or not 1 <= copies <= most:
        raise invalid_durability(most)
    return copies


# ---- parts --------------------------------------------------------------------------------------------


def _put_part(exchange: Exchange, upload: Entry, number: str) -> None:
    _check_part(exchange, upload, number)
    content = take(exchange, promised(exchange))
    exchange.moods.meet()
    entries = exchange.service.entries
    part = Entry(exchange.key, "object", exchange.service.now_ms(), content.id, content, "application/octet-stream")
    try:
        with entries.change():
            _check_part(exchange, _current(exchange, upload), number)  # a commit may have come in between
            entries.put(part)
    except Refusal:
        entries.discard(content)
        raise
    facts = {"Etag": content.id, "Last-Modified": http_date(part.mtime), "Computed-MD5": content.md5}
    exchange.send(204, facts)


def _check_part(exchange: Exchange, upload: Entry, number: str) -> None:
    most = exchange.options.parts - 1
    record = _record(upload)
    if not _PART.fullmatch(number) or int(number) > most:
        raise upload_argument(f"upload {record['id']}: {number} is not a part number between 0 and {most}")
    if record["state"] != "created":
        raise upload_state(f"upload {record['id']}: it is finalized")
    if "durability-level" in exchange.headers or "x-durability-level" in exchange.headers:
        raise upload_argument(f"upload {record['id']}: a part has no durability of its own")


def _head_part(exchange: Exchange) -> None:
    part = exchange.service.entries.get(exchange.key)
    if part is None or part.content is None:
        raise not_found(exchange.path)
    facts = {"Etag": part.etag or "", "Content-MD5": part.content.md5, "Content-Length": str(part.size)}
    exchange.send(200, {**shown_headers(exchange, part), **facts, "Last-Modified": http_date(part.mtime)})


def _record(upload: Entry) -> Mapping[str, Any]:
    return upload.upload or {}


def _current(exchange: Exchange, upload: Entry) -> Entry:
    """The upload as it is now, not when the request came."""
    return exchange.service.entries.get(upload.path) or upload


# ---- state, abort -------------------------------------------------------------------------------------


def _state(exchange: Exchange, upload: Entry) -> None:
    record = _record(upload)
    shown: dict[str, object] = {
        "id": record["id"],
        "state": record["state"],
        "partsDirectory": upload.path,
        "targetObject": record["objectPath"],
        "headers": record["headers"],
        "numCopies": record["numCopies"],
        "creationTimeMs": record["creationTimeMs"],
    }
    if record["state"] == "finalizing":
        shown["type"] = record["type"]
    if record["state"] == "done":
        del shown["partsDirectory"]
        shown["result"] = "committed" if record["type"] == "commit" else "aborted"
        if record["type"] == "commit":
            shown["partsMD5Summary"] = record["partsMD5"]
    exchange.send_json(200, shown)


def _abort(exchange: Exchange, upload: Entry) -> None:
    entries = exchange.service.entries
    exchange.body.drain()
    with entries.change():
        record = _record(_current(exchange, upload))
        if record["type"] == "commit":
            raise upload_state(f"upload {record['id']}: already committed")
        entries.put(replace(upload, upload={**record, "state": "done", "type": "abort"}))
    exchange.send(204)


# ---- commit -------------------------------------------------------------------------------------------


def _commit(exchange: Exchange, upload: Entry) -> None:
    document = exchange.json(_MOST_COMMIT)
    parts = document.get("parts", []) if isinstance(document, dict) else None
    if not isinstance(parts, list) or not all(isinstance(etag, str) for etag in parts):
        raise upload_argument('a commit needs "parts", an array of etags')
    digest = hashlib.md5("".join(parts).encode(), usedforsecurity=False).digest()
    summary = base64.b64encode(digest).decode()
    record = _record(upload)
    _check_state(record, summary)
    if record["state"] != "done":
        record = _assemble(exchange, upload, parts, summary)
    exchange.send(201, {"Location": record["objectPath"], "Computed-MD5": record["md5"]})


def _check_state(record: Mapping[str, Any], summary: str) -> None:
    if record["type"] == "abort":
        raise upload_state(f"upload {record['id']}: already aborted")
    if record["type"] == "commit" and record["partsMD5"] != summary:
        raise upload_state(f"upload {record['id']}: a commit with other parts was there before")


def _assemble(exchange: Exchange, upload: Entry, parts: Sequence[str], summary: str) -> Mapping[str, Any]:
    entries, folder = exchange.service.entries, exchange.service.folder
    record = _record(upload)
    _check_target(exchange, record)
    contents = _parts(exchange, upload, parts)
    size = sum(content.size for content in contents)
    stated = record["headers"].get("content-length")
    if stated is not None and stated != size:
        message = f"upload {record['id']}: content-length {stated} was promised, the parts have {size}"
        raise upload_argument(message)
    record = {**record, "state": "finalizing", "type": "commit", "partsMD5": summary}
    entries.put(replace(upload, upload=record))  # as muskie does, before it knows the digest
    content = manta_content.joined(contents, folder) if size else manta_content.empty()
    wanted = record["headers"].get("content-md5")
    if wanted and wanted != content.md5:
        message = f"upload {record['id']}: content-md5 {wanted} was promised, the parts have {content.md5}"
        raise upload_argument(message)
    exchange.moods.meet()
    return _finish(exchange, upload, record, content)


def _finish(exchange: Exchange, upload: Entry, record: Mapping[str, Any], content: Content) -> Mapping[str, Any]:
    entries = exchange.service.entries
    headers = {name: str(value) for name, value in record["headers"].items()}
    identifier = record["objectId"]
    target = Entry(
        record["objectKey"],
        "object",
        exchange.service.now_ms(),
        identifier,
        replace(content, id=identifier),
        headers.get("content-type", "application/octet-stream"),
        record["numCopies"] if content.size else 0,
        stored_headers(headers),
        role_tags(exchange),
    )
    done = {**record, "state": "done", "md5": content.md5}
    with entries.change():
        now = _record(_current(exchange, upload))
        if now["state"] == "done":  # the same commit, sent twice at once
            return now
        entries.put(target)
        entries.put(replace(upload, upload=done))
    return done


def _check_target(exchange: Exchange, record: Mapping[str, Any]) -> None:
    key = str(record["objectKey"])
    entries = exchange.service.entries
    old, above = entries.get(key), entries.get(parent_of(key))
    pieces = key.split("/")
    if len(pieces) < 4 or pieces[2] not in exchange.options.tops:
        raise Refusal(400, "InvalidResource", f"not a place for an object: {record['objectPath']}")
    login = exchange.owner.login if exchange.owner else ""
    if pieces[1] != login:
        raise not_allowed(exchange.caller.login, key)
    authorize(exchange, "putobject", (old or above or Entry(key, "directory", 0)).roles)
    if old and old.kind == "directory":
        raise on_directory("PUT", key)
    if above is None and len(pieces) > 4:
        raise no_directory(parent_of(key))
    if above is not None and above.kind != "directory":
        raise parent_not_directory(parent_of(key))


def _parts(exchange: Exchange, upload: Entry, parts: Sequence[str]) -> list[Content]:
    """The contents that the etags name. Raises Refusal."""
    name = _record(upload)["id"]
    most, least = exchange.options.parts, exchange.options.limits.min_part
    if len(parts) > most:
        raise upload_argument(f"upload {name}: too many parts: {len(parts)}, of {most} at most")
    found = []
    for number, etag in enumerate(parts):
        part = exchange.service.entries.get(f"{upload.path}/{number}")
        if etag == "":
            raise upload_argument(f"upload {name}: part {number} has no etag in the list")
        if part is None or part.content is None:
            raise upload_argument(f"upload {name}: there is no part {number}")
        if part.etag != etag:
            raise upload_argument(f"upload {name}: part {number} has another etag than {etag}")
        if part.size < least and number < len(parts) - 1:
            raise upload_argument(f"upload {name}: part {number} is too small, with {part.size} bytes")
        found.append(part.content)
    return found
