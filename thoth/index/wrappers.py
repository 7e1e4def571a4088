"""What cuts across indexes: an index around an index, with the same contract."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from threading import Lock
from typing import Never

from thoth.errors import BadDocument, CannotWrite, IndexFailure
from thoth.index.base import Index, Known, Ranking, clamped_revision
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


class GatheringIndex(Passing):
    """Keeps what is put until ``flush``, which writes all of it at once: many dumps that arrive together cost one
    transaction, or one question to a server.

    Until then nobody finds it in the index, and a process that is killed leaves the index without it: as if it had
    been killed between a dump's document and its index, which the next who meets the dump puts right.
    """

    def __init__(self, index: Index) -> None:
        super().__init__(index)
        self._lock = Lock()
        self._waiting: dict[Identity, DumpInfo] = {}

    def put(self, info: DumpInfo) -> bool:
        with self._lock:
            before = self._waiting.get(info.id)
            newer = before is None or clamped_revision(info) >= clamped_revision(before)
            if newer:
                self._waiting[info.id] = info
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
            infos, self._waiting = list(self._waiting.values()), {}
        if not infos:
            return {}
        try:
            self._index.put_many(infos)
        except IndexFailure as error:
            return {info.id: str(error) for info in infos}
        except BadDocument:  # of one; then none was stored
            return {info.id: reason for info in infos if (reason := self._why_not(info)) is not None}
        return {}

    def _why_not(self, info: DumpInfo) -> str | None:
        try:
            self._index.put(info)
        except (BadDocument, IndexFailure) as error:
            return str(error)
        return None
