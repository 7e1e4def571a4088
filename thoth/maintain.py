"""Keeping store and index in step: the index made again from what is stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf
from typing import Final

from thoth.errors import BadDocument, NoSuchDump, NoSuchObject, StoreError, StoreUnavailable, ThothError
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity
from thoth.naming import is_identity
from thoth.store.base import Entry
from thoth.store.names import INFO, dump_dir, home, info_name

UPLOADING: Final = 3600.0  # seconds for which an object without a document may be an upload on its way
BATCH: Final = 2_000  # documents that are put at once: few transactions, and another writer does not wait long
_BATCH_BYTES: Final = 8 << 20  # of their text, which takes about ten times as much when it is read


@dataclass(frozen=True, slots=True)
class Reindexed:
    """How many dumps are in the index now, and why others are not: one error for each of them.

    ``arriving`` is how many have no document yet and may be uploads on their way, which the index hears of then.
    """

    indexed: int
    failures: tuple[ThothError, ...]
    arriving: int = 0


def stored_identities(thoth: Thoth, since: float = -inf) -> list[Identity]:
    """The dumps that have a directory in the store, sorted. Raises StoreError.

    ``since``: only those to which something was written after that time, in seconds since 1970 by the store's clock.
    """
    entries = thoth.store.list(home(thoth.user))
    return [
        Identity(each.name) for each in entries if each.directory and is_identity(each.name) and each.mtime > since
    ]


def reindex(thoth: Thoth, identities: Iterable[Identity], *, now: float | None = None) -> Reindexed:
    """Tell the index of these dumps what the store has of them. Safe to repeat, and while others write.

    A document of the index that has a higher revision stays. A dump without a document that can be read is a
    failure, and the others go on. With ``now``, in seconds since 1970, two kinds are none: a directory without
    anything, with which a full store is left and each dump begins, and one that may be an upload on its way. Raises
    StoreUnavailable and IndexFailure, since no other dump would fare better.
    """
    failures: list[ThothError] = []
    without: list[tuple[Identity, ThothError]] = []
    indexed = sum(_put(thoth, batch, failures) for batch in _batches(thoth, identities, failures, without))
    arriving = 0
    for identity, error in without:
        entries = list(thoth.store.list(dump_dir(thoth.user, identity)))
        if now is None:
            failures.append(error)
        elif any(entry.name == INFO for entry in entries):  # it has come meanwhile
            again = reindex(thoth, [identity])
            indexed += again.indexed
            failures += again.failures
        elif entries and _is_arriving(thoth, identity, entries, now):
            arriving += 1
        elif entries:
            failures.append(error)
    return Reindexed(indexed, tuple(failures), arriving)


def _is_arriving(thoth: Thoth, identity: Identity, entries: Iterable[Entry], now: float) -> bool:
    """Whether a dump without a document may be an upload on its way. One that the index knows had its document."""
    is_new = max(entry.mtime for entry in entries) > now - UPLOADING
    return is_new and thoth.index.get(identity) is None


def _batches(
    thoth: Thoth,
    identities: Iterable[Identity],
    failures: list[ThothError],
    without: list[tuple[Identity, ThothError]],
) -> Iterator[list[DumpInfo]]:
    """The documents, so many at a time that memory stays flat whatever their size."""
    batch: list[DumpInfo] = []
    size = 0
    for identity in identities:
        try:
            info, length = _document(thoth, identity)
        except StoreUnavailable:
            raise
        except NoSuchDump as error:
            without.append((identity, error))
            continue
        except (StoreError, BadDocument) as error:
            failures.append(error)
            continue
        batch.append(info)
        size += length
        if len(batch) >= BATCH or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _document(thoth: Thoth, identity: Identity) -> tuple[DumpInfo, int]:
    """A dump's document and how many bytes it has in the store."""
    name = info_name(thoth.user, identity)
    try:
        data, _ = thoth.store.get(name)
    except NoSuchObject as error:
        raise NoSuchDump(f"{name}: is not there; upload the dump again, or see 'thoth scrub --repair'") from error
    info = DumpInfo.from_json(data, name)
    if info.id != identity:
        raise BadDocument(f"{name}: is the document of another dump, {info.id}")
    return info, len(data)


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
