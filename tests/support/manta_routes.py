"""Which of the Manta test server's handlers a request belongs to, and what is checked before, in muskie's order."""

from __future__ import annotations

import secrets

from tests.support import manta_directories as directories
from tests.support import manta_objects as objects
from tests.support import manta_uploads as uploads
from tests.support.manta_auth import authenticate, authorize, check_date
from tests.support.manta_conditions import NotModified
from tests.support.manta_entries import Entry, parent_of
from tests.support.manta_errors import Refusal, no_directory, not_found, not_offered
from tests.support.manta_exchange import AnsweredInstead, Exchange
from tests.support.manta_paths import LOGIN, decoded

_LINK_TYPE = "application/json; type=link"


def handle(exchange: Exchange) -> None:
    """Answers the request, whatever it is. Raises Gone, Stalled, Garbled where nobody listens any more."""
    try:
        if exchange.suffer_first():
            _route(exchange)
    except Refusal as refusal:
        _say(exchange, refusal)
    except NotModified:
        _quietly(exchange, 304)
    except AnsweredInstead:
        return


def _say(exchange: Exchange, refusal: Refusal) -> None:
    try:
        exchange.refuse(refusal)
    except AnsweredInstead:
        return


def _quietly(exchange: Exchange, status: int) -> None:
    try:
        exchange.send(status)
    except AnsweredInstead:
        return


def _route(exchange: Exchange) -> None:
    if exchange.path == "/ping" and exchange.method == "GET":
        exchange.send(200)
        return
    check_date(exchange)
    key = decoded(exchange.path)
    if key is None:
        raise Refusal(400, "InvalidResource", f'"{exchange.path}" is invalid')
    exchange.key = key
    login, _, rest = exchange.path[1:].partition("/")
    if not LOGIN.fullmatch(login):
        raise not_found(exchange.path_sent)
    authenticate(exchange)
    top = rest.partition("/")[0]
    if rest == "tokens" and exchange.method == "POST":
        _make_token(exchange)
    elif not rest:
        authorize(exchange, "getdirectory", ())
        directories.tops(exchange)
    elif top not in exchange.options.tops:
        raise not_found(exchange.path)
    elif not (top == "uploads" and uploads.handle(exchange)) and not (top == "jobs" and _job(exchange)):
        _store(exchange)


def _job(exchange: Exchange) -> bool:
    return exchange.service.jobs is not None and exchange.service.jobs.handle(exchange)


def _make_token(exchange: Exchange) -> None:
    authorize(exchange, "createtoken", ())
    token = secrets.token_urlsafe(32)
    exchange.service.tokens[token] = exchange.caller
    exchange.send_json(201, {"token": token})


def _store(exchange: Exchange) -> None:
    """Objects, directories and links below a top directory."""
    entry = load(exchange, exchange.key)
    writes = exchange.method in ("PUT", "POST") and not objects.is_root(exchange.key, exchange.options)
    parent = load(exchange, parent_of(exchange.key)) if writes else None
    if entry is None and parent is None:
        raise no_directory(parent_of(exchange.key)) if writes else not_found(exchange.path)
    authorize(exchange, _action(exchange, entry), (entry or parent or Entry("", "directory", 0)).roles)
    if exchange.method == "PUT":
        _put(exchange, entry, parent)
    elif exchange.method in ("GET", "HEAD"):
        found = directories.ensure_found(exchange, entry)
        (objects if found.kind == "object" else directories).get(exchange, found)
    elif exchange.method == "DELETE":
        directories.delete(exchange, directories.ensure_found(exchange, entry))
    else:
        raise not_offered(exchange.method, exchange.path)


def _put(exchange: Exchange, entry: Entry | None, parent: Entry | None) -> None:
    kind = _content_type(exchange)
    if kind == objects.MKDIR_TYPE:
        directories.make(exchange, entry, parent)
    elif kind == _LINK_TYPE:
        directories.link(exchange, entry, parent)
    else:
        objects.put(exchange, entry, parent)


def _content_type(exchange: Exchange) -> str:
    stated = exchange.headers.get("content-type", "")
    return "; ".join(piece.strip() for piece in stated.lower().split(";"))


def _action(exchange: Exchange, entry: Entry | None) -> str:
    if exchange.method == "PUT":
        kinds = {objects.MKDIR_TYPE: "putdirectory", _LINK_TYPE: "putlink"}
        return kinds.get(_content_type(exchange), "putobject")
    verb = "delete" if exchange.method == "DELETE" else "get"
    return verb + (entry.kind if entry else "object")


def load(exchange: Exchange, path: str) -> Entry | None:
    """What is there by that name; the top directories are there though nobody made them.

    The answer's Etag and Last-Modified come from the request's own entry, also those of a refusal.
    """
    entry = exchange.service.entries.get(path)
    if entry is None and objects.is_root(path, exchange.options):
        return Entry(path, "directory", 0)
    if entry and path == exchange.key:
        etag = {"Etag": entry.etag} if entry.etag else {}
        exchange.state({**etag, "Last-Modified": objects.http_date(entry.mtime)})
    return entry
