"""Paths of requests: what they are cleaned to, and what they mean once decoded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote

LOGIN = re.compile(r"[a-zA-Z][a-zA-Z0-9_\-.@%]+")


def split(target: str) -> tuple[str, Mapping[str, str]] | None:
    """A request's target as path and query; None when it is not of that form. A repeated name keeps all values."""
    path, _, query = target.partition("?")
    if not path.startswith("/"):
        return None
    pairs: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        pairs[name] = f"{pairs[name]},{value}" if name in pairs else value
    return path, pairs


def cleaned(path: str) -> str:
    """Without doubled slashes and those at the end; still encoded."""
    return re.sub("/{2,}", "/", path).rstrip("/")


def decoded(path: str) -> str | None:
    """The key of a cleaned path, each segment decoded; None when that is not UTF-8.

    A slash that was encoded becomes one of the key, as with the real server.
    """
    if re.search("%(?![0-9A-Fa-f]{2})", path):
        return None
    try:
        return "/".join(unquote(segment, errors="strict") for segment in cleaned(path).split("/"))
    except UnicodeDecodeError:
        return None
