"""Two uploads of one identity at the same time: object, document and index agree afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import nullcontext

import pytest

from tests.support.arrivals import CORE, CUT, NOW, SHORTER, arrival, in_blocks, objects, take, whole
from tests.support.memory_index import MemoryIndex
from tests.support.memory_store import MemoryStore, MemoryUpload
from thoth.edit import revise
from thoth.errors import StoreTransient
from thoth.ingest.receive import receive
from thoth.library import Thoth
from thoth.model import Result
from thoth.store.base import Digests, ObjectStat


class HookedStore(MemoryStore):
    """Runs something, once: another uploader's work.

    That is right before or after the next upload is committed, or before the next object is deleted.
    """

    before: Callable[[], object] | None = None
    after: Callable[[], object] | None = None
    before_delete: Callable[[], object] | None = None

    def delete(self, name: str, *, if_match: str | None = None) -> None:
        before, self.before_delete = self.before_delete, None
        if before:
            before()
        super().delete(name, if_match=if_match)

    def begin(self, name: str, size: int | None, *, if_match: str | None = None) -> MemoryUpload:
        return HookedUpload(self, name, if_match)


class HookedUpload(MemoryUpload):
    def __init__(self, hooks: HookedStore, name: str, if_match: str | None) -> None:
        super().__init__(name, lambda data: hooks._store(name, data, if_match))
        self._hooks = hooks

    def commit(self, digests: Digests) -> ObjectStat:
        before, self._hooks.before = self._hooks.before, None
        if before:
            before()
        stat = super().commit(digests)
        after, self._hooks.after = self._hooks.after, None
        if after:
            after()
        return stat


class TestTwoAtOnce:
    """Another upload of the same identity goes all its way at one point of ours."""

    @pytest.fixture
    def store(self) -> HookedStore:
        return HookedStore()

    @pytest.fixture
    def thoth(self, store: HookedStore) -> Thoth:
        return Thoth(store, MemoryIndex(), "bmc")

    @pytest.mark.parametrize("point", ["before", "after"])
    @pytest.mark.parametrize("name", [b"core.19972", b"core.other"])
    def test_F34_the_same_dump(self, thoth: Thoth, store: HookedStore, point: str, name: bytes) -> None:
        there = {"node": "cn2", "path": "/x"}
        setattr(store, point, lambda: take(thoth, CORE, name, source=there))
        receipt = take(thoth, CORE)
        assert receipt.result is Result.PRESENT
        assert whole(thoth, receipt.info.id).document["sources"] == [
            there,
            {"node": "headnode", "path": "/cores/core.19972"},
        ]

    @pytest.mark.parametrize("point", ["before", "after"])
    @pytest.mark.parametrize("name", [b"core.19972", b"core.other"])
    def test_ours_whole_the_other_cut(self, thoth: Thoth, store: HookedStore, point: str, name: bytes) -> None:
        def other() -> None:
            # Ours is there and about to get its document: a shorter one must not take its place.
            refused = (point, name) == ("after", b"core.19972")
            with pytest.raises(StoreTransient, match="longer") if refused else nullcontext():
                take(thoth, CUT, name)

        setattr(store, point, other)
        receipt = take(thoth, CORE)
        assert receipt.result in (Result.STORED, Result.REPLACED)
        assert whole(thoth, receipt.info.id).complete

    @pytest.mark.parametrize("point", ["before", "after"])
    @pytest.mark.parametrize("name", [b"core.19972", b"core.other"])
    def test_ours_cut_the_other_whole(self, thoth: Thoth, store: HookedStore, point: str, name: bytes) -> None:
        setattr(store, point, lambda: take(thoth, CORE, name))
        receipt = take(thoth, CUT)
        assert receipt.result is Result.PRESENT
        assert whole(thoth, receipt.info.id).complete

    @pytest.mark.parametrize("point", ["before", "after"])
    @pytest.mark.parametrize("name", [b"core.19972", b"core.other"])
    def test_another_dump_of_the_same_identity(
        self, thoth: Thoth, store: HookedStore, point: str, name: bytes
    ) -> None:
        other = CORE[:-1] + bytes([CORE[-1] ^ 1])
        setattr(store, point, lambda: take(thoth, other, name))
        receipt = take(thoth, CORE)
        assert receipt.result is Result.CONFLICT
        assert "sha256" in str(receipt.reason)
        whole(thoth, receipt.info.id)

    def test_a_whole_dump_that_takes_the_name_of_what_ours_replaces(self, thoth: Thoth, store: HookedStore) -> None:
        identity = take(thoth, SHORTER, b"core.a").info.id
        store.before_delete = lambda: take(thoth, CORE, b"core.a")
        take(thoth, CUT, b"core.b")
        assert whole(thoth, identity).complete

    def test_a_ticket_that_is_set_while_a_cut_dump_is_replaced(self, thoth: Thoth, store: HookedStore) -> None:
        identity = take(thoth, CUT).info.id
        store.after = lambda: revise(thoth, identity, lambda info: info.changed(ticket="OS-7"))
        assert take(thoth, CORE).result is Result.REPLACED
        info = whole(thoth, identity)
        assert (info.complete, info.document["ticket"]) == (True, "OS-7")

    def test_a_dump_that_is_purged_while_it_is_replaced_stays_purged(self, thoth: Thoth, store: HookedStore) -> None:
        identity = take(thoth, CUT).info.id
        store.after = lambda: revise(thoth, identity, lambda info: info.changed(purged=NOW))
        assert take(thoth, CORE).result is Result.PRESENT
        assert [name.rpartition("/")[2] for name in objects(thoth)] == ["info.json"]

    def test_a_dump_that_comes_whole_while_the_stream_flows_is_not_overwritten(self, thoth: Thoth) -> None:
        def slow() -> Iterator[bytes]:
            yield from in_blocks(CUT)
            assert take(thoth, CORE).result is Result.STORED

        assert receive(thoth, arrival(CUT), slow(), now=NOW).result is Result.PRESENT
        assert whole(thoth, arrival(CUT).identity).complete

    def test_another_whole_dump_that_comes_while_the_stream_flows(self, thoth: Thoth) -> None:
        other = CORE[:-1] + bytes([CORE[-1] ^ 1])

        def slow() -> Iterator[bytes]:
            yield from in_blocks(CORE)
            take(thoth, other)

        receipt = receive(thoth, arrival(CORE), slow(), now=NOW)
        assert (receipt.result, receipt.sent) == (Result.CONFLICT, 0)
        assert f"keep this one, and see with 'thoth scrub {receipt.info.id[:16]}'" in str(receipt.reason)
        assert whole(thoth, receipt.info.id).sha256 == hashlib.sha256(other).hexdigest()
