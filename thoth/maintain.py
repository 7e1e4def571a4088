"""Keeping store and index in step: the index made again from what is stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from math import inf
from typing import Final

from thoth.errors import BadDocument, NoSuchDump, StoreError, StoreUnavailable, ThothError
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity
from thoth.naming import is_identity
from thoth.store.names import home, info_name

BATCH: Final = 500  # documents that are put at once: few transactions, and another writer does not wait long


@dataclass(frozen=True, slots=True)
class Reindexed:
    """How many dumps are in the index now, and why others are not: one error for each of them."""

    indexed: int
    failures: tuple[ThothError, ...]


def stored_identities(thoth: Thoth, since: float = -inf) -> list[Identity]:
    """The dumps that have a directory in the store, sorted. Raises StoreError.

    ``since``: only those to which something was written after that time, in seconds since 1970 by the store's clock.
    """
    entries = thoth.store.list(home(thoth.user))
    return [
        Identity(each.name) for each in entries if each.directory and is_identity(each.name) and each.mtime > since
    ]


def reindex(thoth: Thoth, identities: Iterable[Identity]) -> Reindexed:
    """Tell the index of these dumps what the store has of them. Safe to repeat, and while others write.

    A document of the index that has a higher revision stays. A dump without a document that can be read is a
    failure, and the others go on. Raises StoreUnavailable and IndexFailure, since no other dump would fare better.
    """
    failures: list[ThothError] = []
    indexed = 0
    waiting = iter(identities)
    while batch := list(islice(waiting, BATCH)):
        indexed += _put(thoth, list(_documents(thoth, batch, failures)), failures)
    return Reindexed(indexed, tuple(failures))


def _documents(thoth: Thoth, identities: Iterable[Identity], failures: list[ThothError]) -> Iterator[DumpInfo]:
    for identity in identities:
        try:
            yield _document(thoth, identity)
        except StoreUnavailable:
            raise
        except (StoreError, BadDocument, NoSuchDump) as error:
            failures.append(error)


def _document(thoth: Thoth, identity: Identity) -> DumpInfo:
    name = info_name(thoth.user, identity)
    found = thoth.stored_info(identity)
    if found is None:
        raise NoSuchDump(f"{name}: is not there; upload the dump again")
    if found[0].id != identity:
        raise BadDocument(f"{name}: is the document of another dump, {found[0].id}")
    return found[0]


def _put(thoth: Thoth, infos: list[DumpInfo], failures: list[ThothError]) -> int:
    """How many of the documents the index has now."""
    try:
        thoth.index.put_many(infos)
    except BadDocument as error:
        if len(infos) == 1:
            failures.append(BadDocument(f"{info_name(thoth.user, infos[0].id)}: {error}"))
            return 0
        return sum(_put(thoth, [info], failures) for info in infos)
    return len(infos)
