"""An index that a dry run may ask and not change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Never

from thoth.errors import CannotWrite
from thoth.index.base import Index, Known, Ranking
from thoth.model import DumpInfo, Identity, Json
from thoth.query import KeyPath, Query


class DryRunIndex:
    """Gives what another index gives; whatever would write raises CannotWrite."""

    __slots__ = ("_index",)

    def __init__(self, index: Index) -> None:
        self._index = index

    def create(self) -> list[str]:
        return _refuse("to create the index")

    def put(self, info: DumpInfo) -> bool:
        return _refuse(f"to index {info.id}")

    def put_many(self, infos: Iterable[DumpInfo]) -> int:
        return _refuse("to index dumps")

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
        _refuse(f"to delete {identity}")

    def close(self) -> None:
        self._index.close()


def _refuse(what: str) -> Never:
    raise CannotWrite(f"a dry run was asked {what}")
