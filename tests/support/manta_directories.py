"""Directories of the Manta test server: making, listing and removing them; links, which only v1 has."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime

from tests.support import manta_conditions as conditions
from tests.support.manta_auth import role_tags
from tests.support.manta_entries import ANY, Changed, Entry, Kind, Page
from tests.support.manta_errors import Refusal, concurrent, not_found, on_root
from tests.support.manta_exchange import Exchange
from tests.support.manta_objects import (
    DIRECTORY_TYPE,
    check_parent,
    commit,
    http_date,
    is_root,
    shown_headers,
    stored_headers,
)
from tests.support.manta_paths import decoded

_BIRTH = "2013-05-22T17:39:43.714Z"  # what the top directories were last changed
_MOST = 1024  # lines of a page
_DEFAULT = 256


# ---- making and removing ------------------------------------------------------------------------------


def make(exchange: Exchange, entry: Entry | None, parent: Entry | None) -> None:
    """PutDirectory. The same again changes nothing; an object of that name gives way. Raises Refusal."""
    check_parent(exchange, parent)
    headers = stored_headers(exchange.headers)
    same = entry and entry.kind == "directory" and entry.serial and dict(entry.headers) == headers
    if not same or exchange.parameter("role-tag"):
        new = Entry(exchange.key, "directory", exchange.service.now_ms(), headers=headers, roles=role_tags(exchange))
        commit(exchange, new, entry)
    exchange.send(204)


def delete(exchange: Exchange, entry: Entry) -> None:
    """DELETE of an object or a directory. Raises Refusal."""
    if is_root(exchange.key, exchange.options):
        raise on_root(exchange.method, exchange.path)
    entries = exchange.service.entries
    seen = entry.serial if conditions.is_conditional(exchange.headers) else ANY
    if entry.kind == "object":
        conditions.check(exchange.method, exchange.headers, entry)
    exchange.moods.meet()
    try:
        with entries.change():
            if entry.kind == "directory" and entries.count(exchange.key):
                raise Refusal(400, "DirectoryNotEmpty", f"{exchange.path} is not empty")
            entries.delete(exchange.key, seen)
    except Changed:
        raise concurrent(exchange.path) from None
    exchange.send(204)


def link(exchange: Exchange, entry: Entry | None, parent: Entry | None) -> None:
    """PutSnapLink. Raises Refusal, in v2 always."""
    if not exchange.options.v1:
        raise Refusal(403, "SnaplinksDisabledError", "this Manta has no SnapLinks")
    check_parent(exchange, parent)
    location = exchange.headers.get("location")
    if not location:
        raise Refusal(400, "LocationRequired", "Location has to name the object")
    source_path = decoded(location)
    if source_path is None or not re.match("/[^/]+/(stor|public)/.", source_path):
        raise Refusal(400, "InvalidLink", f"no link can be made to {location}")
    source = exchange.service.entries.get(source_path)
    if source is None:
        raise Refusal(404, "SourceObjectNotFound", f"there is no {location}")
    if source.kind != "object":
        raise Refusal(400, "LinkNotObject", f"{location} is a directory")
    new = replace(source, path=exchange.key, mtime=exchange.service.now_ms(), roles=role_tags(exchange))
    commit(exchange, new, entry)
    exchange.send(204, {"Etag": new.etag or "", "Last-Modified": http_date(new.mtime)})


# ---- listing ------------------------------------------------------------------------------------------


def tops(exchange: Exchange) -> None:
    """GET and HEAD of /LOGIN; everything else is refused. Raises Refusal."""
    if exchange.method not in ("GET", "HEAD"):
        raise on_root(exchange.method, exchange.path)
    marker = exchange.query.get("marker", "")
    names = [name for name in exchange.options.tops if name > marker]  # here it is exclusive
    lines: list[dict[str, object]] = [{"name": name, "type": "directory", "mtime": _BIRTH} for name in names]
    _send(exchange, lines, {"Result-Set-Size": str(len(names))})


def get(exchange: Exchange, entry: Entry) -> None:
    """A page of a directory's entries. Raises Refusal."""
    entries = exchange.moods.stale or exchange.service.entries
    page = _page(exchange)
    size = {"Result-Set-Size": str(entries.count(exchange.key))}
    found = entries.children(exchange.key, page) if exchange.method == "GET" else []
    _send(exchange, [_line(each) for each in found], {**shown_headers(exchange, entry), **size})


def _page(exchange: Exchange) -> Page:
    query = exchange.query
    limit = query.get("limit") or str(_DEFAULT)
    if not re.fullmatch("[0-9]{1,9}", limit) or not 1 <= int(limit) <= _MOST:
        raise Refusal(400, "InvalidArgumentError", f"limit is 1 to {_MOST}, not {limit}")
    _refuse_what_operators_may(exchange)
    by_time = query.get("sort") == "mtime"
    marker: str | int | None = query.get("marker") or None
    if isinstance(marker, str) and by_time:
        marker = _milliseconds(marker)
    reverse = query.get("sort_order") == "reverse"
    return Page(int(limit), marker, by_time, reverse, _kind(exchange))


def _refuse_what_operators_may(exchange: Exchange) -> None:
    account = exchange.caller.account
    asked = [
        name for name, value in (("sort", "none"), ("skip_owner_check", "true")) if exchange.query.get(name) == value
    ]
    if asked and not (account and account.operator and exchange.caller.subuser is None):
        message = f"only operators may ask for {', '.join(asked)}"
        raise Refusal(403, "QueryParameterForbidden", message)


def _kind(exchange: Exchange) -> Kind | None:
    # v2 has this in its code, but the query's parameters no longer come there.
    wants_directories = "dir" in exchange.query or "directory" in exchange.query
    wants_objects = "obj" in exchange.query or "object" in exchange.query
    if not exchange.options.v1 or wants_directories == wants_objects:
        return None
    return "directory" if wants_directories else "object"


def _milliseconds(marker: str) -> int:
    try:
        return round(datetime.fromisoformat(marker).timestamp() * 1000)
    except ValueError:
        raise Refusal(400, "InvalidParameter", f"marker is not a time: {marker}") from None


def _line(entry: Entry) -> dict[str, object]:
    line: dict[str, object] = {"name": entry.name, "type": entry.kind, "mtime": iso(entry.mtime)}
    if entry.content:
        line |= {
            "etag": entry.etag,
            "size": entry.size,
            "contentType": entry.content_type,
            "contentMD5": entry.content.md5,
            "durability": entry.copies,
        }
        if "Content-Disposition" in entry.headers:
            line["contentDisposition"] = entry.headers["Content-Disposition"]
    return line


def iso(milliseconds: int) -> str:
    """As JavaScript writes it: ``2013-05-22T17:39:43.714Z``."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"


def _send(exchange: Exchange, lines: list[dict[str, object]], headers: dict[str, str]) -> None:
    send_lines(exchange, [json.dumps(line, separators=(",", ":")) for line in lines], DIRECTORY_TYPE, headers)


def send_lines(exchange: Exchange, lines: list[str], kind: str, headers: dict[str, str]) -> None:
    """Lines of text in chunks, some lines each."""
    exchange.start(200, {**headers, "Content-Type": kind, "Transfer-Encoding": "chunked"})
    if exchange.method == "HEAD":
        return
    for start in range(0, len(lines), 64):
        block = "".join(line + "\n" for line in lines[start : start + 64]).encode()
        exchange.write(b"%x\r\n%b\r\n" % (len(block), block))
    exchange.write(b"0\r\n\r\n")


def ensure_found(exchange: Exchange, entry: Entry | None) -> Entry:
    """Raises Refusal (404)."""
    if entry is None:
        raise not_found(exchange.path)
    return entry
