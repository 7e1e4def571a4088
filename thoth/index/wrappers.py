"""What cuts across indexes: an index around an index, with the same contract."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from threading import Lock
from typing import Final, Never

from thoth.errors import BadDocument, CannotWrite, IndexFailure
from thoth.index.base import Index, Known, Ranking, clamped_revision
from thoth.index.documents import stored_text
from thoth.model import DumpInfo, Identity, Json
from thoth.query import KeyPath, Query


class Passing:
    """An index that passes everything on to another: what wrappers have in common."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def create(self) -> list[str]:
        return self._index.create()

    def put(self, info: DumpInfo) -> bool:
        return self._index.put(info)

    def put_many(self, infos: Iterable[DumpInfo]) -> int:
        return self._index.put_many(infos)

    def known(self, ids: Iterable[Identity]) -> Mapping[Identity, Known]:
        return self._index.known(ids)

    def get(self, identity: Identity) -> DumpInfo | None:
        return self._index.get(identity)

    def named(self, prefix: str, limit: int = 10) -> list[Identity]:
        return self._index.named(prefix, limit)

    def find(self, query: Query) -> Iterator[DumpInfo]:
        return self._index.find(query)

    def select(self, query: Query, paths: Sequence[KeyPath]) -> Iterator[tuple[Json, ...]]:
        return self._index.select(query, paths)

    def count(self, query: Query) -> int:
        return self._index.count(query)

    def report(self, query: Query, path: KeyPath) -> Mapping[str, int]:
        return self._index.report(query, path)

    def rank(self, query: Query, most: int) -> Ranking:
        return self._index.rank(query, most)

    def delete(self, identity: Identity) -> None:
        self._index.delete(identity)

    def close(self) -> None:
        self._index.close()


class DryRunIndex(Passing):
    """Gives what another index gives; whatever would write raises CannotWrite."""

    def create(self) -> list[str]:
        return _refuse("to create the index")

    def put(self, info: DumpInfo) -> bool:
        return _refuse(f"to index {info.id}")

    def put_many(self, infos: Iterable[DumpInfo]) -> int:
        return _refuse("to index dumps")

    def delete(self, identity: Identity) -> None:
        _refuse(f"to delete {identity}")


def _refuse(what: str) -> Never:
    raise CannotWrite(f"a dry run was asked {what}")


_BYTES: Final = 4 << 20  # of documents that are written at once: an index holds the rows of all of them in memory


class GatheringIndex(Passing):
    """Keeps what is put until ``flush``, which writes all of it at once: many dumps that arrive together cost one
    transaction, or one question to a server. Where documents are large, it is some of them at a time.

    Until then nobody finds it in the index, and a process that is killed leaves the index without it: as if it had
    been killed between a dump's document and its index, which the next who meets the dump puts right.
    """

    def __init__(self, index: Index) -> None:
        super().__init__(index)
        self._lock = Lock()
        self._waiting: dict[Identity, _Waiting] = {}

    @property
    def bytes(self) -> int:
        """Of the documents that wait, as JSON: what they take in memory is some times that."""
        with self._lock:
            return sum(each.bytes for each in self._waiting.values())

    def put(self, info: DumpInfo) -> bool:
        waiting = _Waiting(info, _bytes_of(info))
        with self._lock:
            before = self._waiting.get(info.id)
            newer = before is None or clamped_revision(info) >= clamped_revision(before.info)
            if newer:
                self._waiting[info.id] = waiting
        return newer

    def put_many(self, infos: Iterable[DumpInfo]) -> int:
        return sum(self.put(info) for info in infos)

    def delete(self, identity: Identity) -> None:
        with self._lock:
            self._waiting.pop(identity, None)
        super().delete(identity)

    def flush(self) -> Mapping[Identity, str]:
        """Write what waits. Returns the dumps that the index could not be told of, each with the reason."""
        with self._lock:
            waiting, self._waiting = list(self._waiting.values()), {}
        lost: dict[Identity, str] = {}
        batches = _batches(waiting)
        for batch in batches:
            try:
                lost |= self._written(batch)
            except IndexFailure as error:  # it would fail with the rest of them, too
                lost |= {info.id: str(error) for info in chain(batch, *batches)}
        return lost

    def _written(self, infos: Sequence[DumpInfo]) -> Mapping[Identity, str]:
        try:
            self._index.put_many(infos)
        except BadDocument:  # of one; then none was stored
            return {info.id: reason for info in infos if (reason := self._why_not(info)) is not None}
        return {}

    def _why_not(self, info: DumpInfo) -> str | None:
        try:
            self._index.put(info)
        except (BadDocument, IndexFailure) as error:
            return str(error)
        return None


@dataclass(frozen=True, slots=True)
class _Waiting:
    info: DumpInfo
    bytes: int  # as JSON


def _bytes_of(info: DumpInfo) -> int:
    try:
        return len(stored_text(info))
    except BadDocument:
        return 0  # it will not be stored, as ``flush`` tells


def _batches(waiting: Iterable[_Waiting]) -> Iterator[list[DumpInfo]]:
    """The same documents in the same order, up to so many bytes at a time, or one."""
    batch: list[DumpInfo] = []
    held = 0
    for each in waiting:
        if batch and held + each.bytes > _BYTES:
            yield batch
            batch, held = [], 0
        batch.append(each.info)
        held += each.bytes
    if batch:
        yield batch
