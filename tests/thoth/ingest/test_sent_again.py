"""A store that gives up on an upload, in a way that passes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.arrivals import CORE, NOW, arrival, at_once, in_blocks, objects, take, whole
from tests.support.memory_index import MemoryIndex
from tests.support.memory_store import MemoryStore, MemoryUpload
from thoth.errors import StoreTransient
from thoth.ingest.receive import Reopened, receive
from thoth.library import Thoth
from thoth.model import Result
from thoth.patience import USUAL, Tries
from thoth.store.base import Digests, ObjectStat


class TiredUpload(MemoryUpload):
    """An upload that the store gives up on, in a way that passes, as often as it is told to."""

    def __init__(self, store: TiredStore, name: str, if_match: str | None) -> None:
        super().__init__(name, lambda data: store._store(name, data, if_match))
        self._tired = store

    def commit(self, digests: Digests) -> ObjectStat:
        if self._tired.failures:
            self._tired.failures -= 1
            raise StoreTransient("busy")
        return super().commit(digests)


class TiredStore(MemoryStore):
    failures = 0

    def begin(self, name: str, size: int | None, *, if_match: str | None = None) -> TiredUpload:
        return TiredUpload(self, name, if_match)


class TestSentAgain:
    @pytest.fixture
    def store(self) -> TiredStore:
        return TiredStore()

    @pytest.fixture
    def thoth(self, store: TiredStore) -> Thoth:
        return Thoth(store, MemoryIndex(), "bmc")

    def test_F31_a_stream_that_can_be_begun_anew(self, thoth: Thoth, store: TiredStore) -> None:
        store.failures = 4
        assert take(thoth, CORE).result is Result.STORED
        whole(thoth, arrival(CORE).identity)

    def test_F31_but_not_without_end(self, thoth: Thoth, store: TiredStore) -> None:
        store.failures = 5
        with pytest.raises(StoreTransient, match="busy"):
            take(thoth, CORE)
        assert objects(thoth) == {}

    def test_F31_a_failure_behind_a_transfer_that_took_long_passes_too(self, thoth: Thoth, store: TiredStore) -> None:
        now = [0.0]
        store.failures = 1

        def start() -> Iterator[bytes]:
            now[0] += 3600
            return in_blocks(CORE)

        tries = Tries(USUAL, lambda seconds: None, lambda: now[0], lambda: 0.5)
        receipt = receive(thoth, arrival(CORE), Reopened(start), now=NOW, tries=lambda: tries)
        assert (receipt.result, now[0]) == (Result.STORED, 7200)
        whole(thoth, arrival(CORE).identity)

    def test_F31_a_stream_that_flows_once_is_sent_once(self, thoth: Thoth, store: TiredStore) -> None:
        store.failures = 1
        with pytest.raises(StoreTransient, match="busy"):
            receive(thoth, arrival(CORE), in_blocks(CORE), now=NOW, tries=at_once)
        assert objects(thoth) == {}

    def test_F34_what_somebody_else_stored_meanwhile_is_not_sent_again(self, thoth: Thoth, store: TiredStore) -> None:
        starts = []

        def start() -> Iterator[bytes]:
            starts.append(len(starts))
            if len(starts) == 1:
                take(thoth, CORE, b"core.other")
                store.failures = 1
            return in_blocks(CORE)

        receipt = receive(thoth, arrival(CORE), Reopened(start), now=NOW, tries=at_once)
        assert (receipt.result, starts) == (Result.PRESENT, [0])
        whole(thoth, arrival(CORE).identity)
