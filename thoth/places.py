"""What the URLs of a store and an index name: a directory or Manta, a file or a RethinkDB."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from thoth.config import MANTA, Config, without_credentials
from thoth.errors import UsageError
from thoth.index.rethink_place import RethinkPlace, TlsPlace
from thoth.settings_file import database_name


def store_directory(config: Config) -> Path | None:
    """The directory that is the store; None: Manta is. Raises UsageError for a URL that names nothing we know."""
    if config.store == MANTA:
        return None
    return local_path(config.store, "store", config.origins.get("store", "store"), "file", "or 'manta'")


def index_place(url: str, origin: str, user: str) -> Path | RethinkPlace:
    """The SQLite file or the RethinkDB that a URL names. Raises UsageError for one that names nothing we know.

    ``origin`` says who gave the URL, and ``user`` is whose dumps these are.
    """
    if url.startswith("rethinkdb:"):
        return _rethink_place(url, f"{origin}: db {without_credentials(url)!r}", user)
    return local_path(url, "db", origin, "sqlite", "and rethinkdb://HOST[:PORT][/DATABASE]")


def _rethink_place(url: str, shown: str, user: str) -> RethinkPlace:
    try:
        url.encode()  # what is not UTF-8 no server is told
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # not shown: it may hold a piece of the password
        raise UsageError(
            f"{shown}: not a URL such as rethinkdb://HOST:28015/DATABASE; what is odd in a password is written"
            " %40 for @, %2F for /, %3A for : and %23 for #"
        ) from None
    if not host or parts.fragment:
        raise UsageError(f"{shown}: names no host; write rethinkdb://HOST[:PORT][/DATABASE]")
    # What is empty is not dropped: nobody who writes ?tls means a connection that everybody can read.
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if options.keys() - {"tls", "ca"} or options.get("tls", "1") not in ("0", "1") or options.get("ca") == "":
        raise UsageError(f"{shown}: after ? stand tls=1 and ca=FILE only")
    place = RethinkPlace(
        host,
        unquote(parts.path.strip("/")) or database_name(user),
        user=unquote(parts.username or "") or "admin",
        password=unquote(parts.password or ""),
        tls=TlsPlace(options.get("ca")) if options and options.get("tls") != "0" else None,
    )
    return replace(place, port=port) if port else place


def local_path(url: str, setting: str, origin: str, scheme: str, others: str) -> Path:
    """The path in the URL of a setting. Raises UsageError, which says who gave it and what to write."""
    shown = f"{origin}: {setting} {without_credentials(url)!r}"
    known = f"this version knows {scheme}:///ABSOLUTE/PATH {others}"
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UsageError(f"{shown}: not a URL; {known}") from error
    # sqlite:////file, as others write it, too; POSIX gives // a meaning of its own
    path = "/" + unquote(parts.path, errors="surrogateescape").lstrip("/")
    if parts.scheme != scheme or parts.netloc or not parts.path.startswith("/"):
        fault = known
    elif parts.query or parts.fragment or any(char in url for char in "?#\t\r\n"):
        fault = "in a URL ? is written %3F, # %23, a tab %09, and a line's end %0A"
    elif "\0" in path:
        fault = "no file name holds a NUL"
    elif path.startswith("/~"):
        fault = "a path in a URL is absolute, and ~ in it is nobody's home"
    else:
        return Path(path)
    meant = _meant(parts, scheme)
    raise UsageError(f"{shown}: {fault}{meant and f'; write {meant}'}")


def _meant(parts: SplitResult, scheme: str) -> str:
    """What to write for a path without the scheme, or one that begins with ~; empty when nobody can tell."""
    path = unquote(parts.path, errors="surrogateescape")
    if parts.netloc.startswith("~"):
        path = parts.netloc + path
    elif parts.netloc or parts.query or parts.fragment or parts.scheme not in ("", scheme) or "\0" in path:
        return ""
    elif path.lstrip("/").startswith("~"):
        path = path.lstrip("/")
    with suppress(RuntimeError):  # a user who is not there, or has no home
        path = str(Path(path).expanduser())
    return f"{scheme}://{quote(os.fsencode(path))}" if path.startswith("/") else ""
