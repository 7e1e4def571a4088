"""If-Match and its kin, as restify 6.4 judges them, which is not as RFC 9110 has it.

An etag is compared letter for letter. Quotes are taken off only around letters, digits and underscores: a UUID has
hyphens, so a quoted one never matches. ``If-None-Match: *`` matches the absent object too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime

from tests.support.manta_entries import Entry
from tests.support.manta_errors import bad_request, precondition_failed


class NotModified(Exception):
    """A reader has what there is: 304."""


def is_conditional(headers: Mapping[str, str]) -> bool:
    """Whether a change must not overtake another one; dates do not make it so."""
    return "if-match" in headers or "if-none-match" in headers


def check(method: str, headers: Mapping[str, str], entry: Entry | None) -> None:
    """Raises Refusal (412) or NotModified where a condition does not hold for the entry, None: there is none."""
    etag = (entry.etag if entry else None) or ""
    reads = method in ("GET", "HEAD")
    wanted, unwanted = headers.get("if-match"), headers.get("if-none-match")
    if wanted and not _names(wanted, etag):
        raise precondition_failed(f"If-Match names {wanted}, the etag is {etag or 'that of nothing'}")
    if unwanted and _names(unwanted, etag):
        if reads:
            raise NotModified
        raise precondition_failed(f"If-None-Match names {unwanted}, and that is there")
    if entry is not None:
        _check_dates(headers, entry.mtime // 1000, reads=reads)


def _names(header: str, etag: str) -> bool:
    for each in re.split(r"\s*,\s*", header):
        bare = re.sub(r'^"(\w*)"$', r"\1", each.removeprefix("W/"), flags=re.ASCII)
        if bare in ("*", etag):
            return True
    return False


def _check_dates(headers: Mapping[str, str], changed: int, *, reads: bool) -> None:
    since, until = headers.get("if-modified-since"), headers.get("if-unmodified-since")
    said = formatdate(changed, usegmt=True)
    if since and changed <= _seconds(since):
        if reads:
            raise NotModified
        raise precondition_failed(f"not changed since {since}, but on {said}")
    if until and changed > _seconds(until):
        raise precondition_failed(f"changed on {said}, after {until}")


def _seconds(date: str) -> float:
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        raise bad_request(f"not a date: {date}") from None
