"""Directories of Manta: page by page, each of which begins with the last entry of the one before.

An error in the middle ends a listing as if that were all, so the entries are counted against what Manta says there
are. What is added and removed meanwhile changes that number: the smallest that was told is the one to be reached.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from thoth.errors import NoSuchObject, StoreError, StoreTransient
from thoth.store.base import Entry
from thoth.store.manta_errors import json_object
from thoth.store.manta_service import Manta, MantaDownload, is_directory, quoted, target

_PAGE: Final = 1024  # entries that Manta gives at once
_BYTES: Final = 16 << 20  # of one page
_MOST: Final = 1_100_000  # entries: Manta takes a million into a directory, and when several come at once a few more


def entries(manta: Manta, name: str, *, most: int = _MOST) -> Iterator[Entry]:
    """A directory's entries, sorted; none for one that is not there. Dot files, as everywhere, are the store's own.

    Raises StoreTransient when they cannot be all, and StoreError for more than ``most``.
    """
    target(name)
    # Sorted here, once all are known: nobody says by which rules Manta does it.
    found = {entry.name: entry for page in _pages(manta, name, most) for entry in page}
    yield from (found[each] for each in sorted(found) if not each.startswith("."))


def first_entries(manta: Manta, name: str, most: int) -> Iterator[Entry]:
    """As ``entries``, but no more than the ``most`` that Manta tells first, in one request."""
    target(name)
    page, _ = _page(manta, name, "", limit=most)
    yield from sorted((each for each in page if not each.name.startswith(".")), key=lambda each: each.name)


def _pages(manta: Manta, name: str, most: int) -> Iterator[list[Entry]]:
    seen: set[str] = set()
    least, marker = None, ""
    while True:
        page, total = _page(manta, name, marker)
        yield page
        before = len(seen)
        seen.update(entry.name for entry in page)
        least = total if least is None else min(least, total)
        if len(page) < _PAGE:
            break
        if len(seen) == before:
            raise StoreTransient(f"{name}: the listing does not go on after {marker!r}")
        if len(seen) > most:
            raise StoreError(f"{name}: the listing does not end; Manta has no directory of so many entries")
        marker = page[-1].name
    if len(seen) < least:
        raise StoreTransient(f"{name}: the listing broke off, after {len(seen)} of {least} entries")


def _page(manta: Manta, name: str, marker: str, limit: int = _PAGE) -> tuple[list[Entry], int]:
    """Entries from ``marker`` on, it among them, and how many there are in all."""
    query = f"?limit={limit}" + (f"&marker={quoted(marker)}" if marker else "")
    try:
        found = manta.open(target(name) + query, name, 200, small=True)
    except NoSuchObject:
        return [], 0
    try:
        if not is_directory(found.headers):
            return [], 0
        lines = _body(found, name).splitlines()
    finally:
        found.close()
    total = found.headers.get("Result-Set-Size", "")
    if not (total.isascii() and total.isdigit()):
        raise StoreTransient(f"{name}: Manta's listing does not say how many entries there are")
    return [_entry(line, name) for line in lines], int(total)


def _body(found: MantaDownload, name: str) -> bytes:
    data = found.read(_BYTES)
    if len(data) == _BYTES:
        raise StoreError(f"{name}: a page of its listing is longer than {_BYTES} bytes")
    return data


def _entry(line: bytes, name: str) -> Entry:
    try:
        return _told(json_object(line))
    except (ValueError, KeyError, TypeError) as error:
        raise StoreTransient(f"{name}: the listing broke off in the middle of an entry") from error


def _told(told: dict[str, Any]) -> Entry:
    name, directory = str(told["name"]), told["type"] == "directory"
    size = 0 if directory else int(told["size"])
    name.encode()  # or nobody could ask for it
    if size < 0:
        raise ValueError("less than nothing")
    return Entry(name, directory, size, datetime.fromisoformat(told["mtime"]).timestamp())
