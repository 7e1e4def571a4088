"""Logs in the store: what collectors and their scripts keep below ``/USER/stor/thoth/logs``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from math import inf
from typing import Final

from thoth.digest import Digester
from thoth.errors import NoSuchObject, PreconditionFailed, StoreError, UsageError
from thoth.library import Thoth
from thoth.store.base import ABSENT
from thoth.store.names import logs_dir, parts

_DEEPEST: Final = 16  # directories inside of one another; logs of an hour lie in YYYY/MM/DD/HH
_BLOCK: Final = 1 << 20  # bytes per read


@dataclass(frozen=True, slots=True)
class Log:
    """A log that is in the store."""

    name: str  # below the directory of all logs, with the directories that it lies in
    size: int  # bytes
    mtime: float  # seconds since 1970, by the store's clock


def logs_since(thoth: Thoth, since: float = -inf) -> list[Log]:
    """The logs that were stored after a time, in seconds since 1970; newest last. Raises StoreError."""
    found = (log for log in _below(thoth, logs_dir(thoth.user), "", _DEEPEST) if log.mtime > since)
    return sorted(found, key=lambda log: (log.mtime, log.name))


def _below(thoth: Thoth, directory: str, path: str, depth: int) -> Iterator[Log]:
    for entry in thoth.store.list(directory):
        name = f"{path}{entry.name}"
        if not entry.directory:
            yield Log(name, entry.size, entry.mtime)
        elif depth > 1:
            yield from _below(thoth, f"{directory}/{entry.name}", f"{name}/", depth - 1)


def log_object(user: str, name: str) -> str:
    """The object that holds a log, by its name below the directory of logs, or by the whole name in the store.

    Raises UsageError for a name that no log can have.
    """
    place = logs_dir(user)
    below = name.removeprefix(f"{place}/")
    try:
        if len(parts(f"/{below}")) > _DEEPEST:
            raise UsageError(f"not a log's name, it has more than {_DEEPEST} parts: {name[:200]!r}")
    except StoreError as error:
        raise UsageError(f"not a log's name: {error}") from error
    return f"{place}/{below}"


def read_log(thoth: Thoth, name: str) -> Iterator[bytes]:
    """The bytes of a log, block by block. Raises UsageError, NoSuchObject and StoreError."""
    try:
        opened = thoth.store.open(log_object(thoth.user, name))
    except NoSuchObject as error:
        raise NoSuchObject(f"there is no log {name[:200]!r}; 'thoth logs --all' lists them") from error
    with opened as log:
        offset = 0
        while block := log.read_at(offset, _BLOCK):
            yield block
            offset += len(block)


def store_log(thoth: Thoth, name: str, blocks: Iterable[bytes]) -> int:
    """Store a stream as a log and return its size in bytes.

    Raises UsageError for a name that cannot be, or that another log has, and for a stream that is empty: then
    nothing is stored. Raises StoreError, and lets through what the stream raises.
    """
    target = log_object(thoth.user, name)
    _require_free(thoth, target, name)
    upload = thoth.store.begin(target, None, if_match=ABSENT)
    try:
        with closing(Digester()) as digester:
            for block in blocks:
                digester.feed(block)
                upload.part(block)
            digests = digester.result()
        if not digests.size:
            raise UsageError(f"{name}: there is nothing to store; the input is empty")
        return upload.commit(digests).size
    except PreconditionFailed as error:  # the stream may have taken hours
        raise _taken(name) from error
    finally:
        upload.abort()


def _require_free(thoth: Thoth, target: str, name: str) -> None:
    try:
        thoth.store.stat(target)
    except NoSuchObject:
        return
    raise _taken(name)


def _taken(name: str) -> UsageError:
    return UsageError(f"{name}: there is a log of this name, which stays as it is; choose another")
