"""An index in memory: the meaning of a query and no more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from threading import Lock

from thoth.index.base import Known, Ranking, clamped_revision, rarest_first, selected
from thoth.index.documents import stored_text
from thoth.index.ranking import PATHS, ranked
from thoth.model import DumpInfo, Identity, Json
from thoth.query import KeyPath, Query, label, lookup, matches, sort_key


class MemoryIndex:
    """Index over a dictionary. Documents are kept as text, so that nobody shares one with it."""

    __slots__ = ("_documents", "_lock")

    def __init__(self) -> None:
        self._documents: dict[Identity, str] = {}
        self._lock = Lock()

    def create(self) -> list[str]:
        return []

    def put(self, info: DumpInfo) -> bool:
        return self.put_many([info]) == 1

    def put_many(self, infos: Iterable[DumpInfo]) -> int:
        texts = [(info, stored_text(info)) for info in infos]
        with self._lock:
            return sum(self._keep(info, text) for info, text in texts)

    def _keep(self, info: DumpInfo, text: str) -> bool:
        current = self._documents.get(info.id)
        if current is not None and clamped_revision(DumpInfo.from_json(current)) > clamped_revision(info):
            return False
        self._documents[info.id] = text
        return True

    def known(self, ids: Iterable[Identity]) -> Mapping[Identity, Known]:
        found = ((identity, self.get(identity)) for identity in ids)
        return {identity: Known.of(info) for identity, info in found if info is not None}

    def get(self, identity: Identity) -> DumpInfo | None:
        with self._lock:
            text = self._documents.get(identity)
        return None if text is None else DumpInfo.from_json(text)

    def named(self, prefix: str, limit: int = 10) -> list[Identity]:
        with self._lock:
            return sorted(identity for identity in self._documents if identity.startswith(prefix))[:limit]

    def find(self, query: Query) -> Iterator[DumpInfo]:
        with self._lock:
            texts = list(self._documents.values())
        infos = (DumpInfo.from_json(text) for text in texts)
        found = sorted((info for info in infos if matches(query, info.document)), key=sort_key)
        yield from islice(found, query.limit)

    def select(self, query: Query, paths: Sequence[KeyPath]) -> Iterator[tuple[Json, ...]]:
        return (selected(info, paths) for info in self.find(query))

    def count(self, query: Query) -> int:
        return sum(1 for _ in self.find(query))

    def report(self, query: Query, path: KeyPath) -> Mapping[str, int]:
        return rarest_first(Counter(label(lookup(info.document, path)) for info in self.find(query)))

    def rank(self, query: Query, most: int) -> Ranking:
        return ranked(self.select(query, PATHS), most)

    def delete(self, identity: Identity) -> None:
        with self._lock:
            self._documents.pop(identity, None)

    def close(self) -> None:
        """Nothing to let go of."""
