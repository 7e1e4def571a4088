"""Another dump of an identity that is there: told by its size, or by its bytes where it is verified."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.arrivals import CORE, CUT, NOW, SHORTER, arrival, at_once, in_blocks, objects, take, whole
from tests.support.elfwriter import illumos_core
from tests.support.memory_index import MemoryIndex
from tests.support.memory_store import MemoryStore, OpenBytes
from tests.thoth.ingest.scene import unread
from thoth.edit import revise
from thoth.errors import SourceChanged, StoreError, StoreTransient, StoreUnavailable
from thoth.ingest.arrival import Receipt
from thoth.ingest.receive import Reopened, receive
from thoth.library import Thoth
from thoth.model import DumpInfo, Result
from thoth.store.base import ObjectStat

LONGER = CORE + b"more than the headers tell"
OF_THE_ORIGINAL = {"size", "sha256", "md5", "complete"}  # what its documents do not say
OTHER = CORE[:-1] + bytes([CORE[-1] ^ 1])


def verify(thoth: Thoth, data: bytes, filename: bytes = b"core.19972", **changes: Any) -> Receipt:
    stream = Reopened(lambda: in_blocks(data))
    given = arrival(data, filename, **changes)
    return receive(thoth, given, stream, now=NOW, tries=at_once, stacks=dict, verify=stream)


class _BadBlock(MemoryStore):
    """A store of which the dumps cannot be read while there is an ``error``."""

    error: StoreError | None = None

    def open(self, name: str) -> OpenBytes:
        if self.error is not None and not name.endswith("info.json"):
            raise self.error
        return super().open(name)


class _Asked(MemoryStore):
    """A store that notes of which objects it was asked what there is of them."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def stat(self, name: str) -> ObjectStat:
        self.asked.append(name)
        return super().stat(name)


class TestSize:
    def test_a_longer_one_than_a_whole_one(self, thoth: Thoth) -> None:
        first = take(thoth, CORE).info
        receipt = receive(thoth, arrival(LONGER, b"core.2"), unread(), now=NOW)
        assert (receipt.result, receipt.info, receipt.sent) == (Result.CONFLICT, first, 0)
        assert receipt.reason == "stored whole with 65536 bytes; this file has 65562 and the same headers; keep it"
        assert whole(thoth, first.id) == first

    def test_a_whole_one_that_is_shorter(self, thoth: Thoth) -> None:
        first = take(thoth, LONGER).info
        assert receive(thoth, arrival(CORE, whole=True), unread(), now=NOW).result is Result.CONFLICT
        assert whole(thoth, first.id) == first

    @pytest.mark.parametrize("complete", [False, None])
    def test_a_part_of_a_whole_one_is_none(self, thoth: Thoth, complete: bool | None) -> None:
        take(thoth, CORE)
        assert receive(thoth, arrival(CUT, whole=complete), unread(), now=NOW).result is Result.PRESENT

    @pytest.mark.parametrize("lacking", [OF_THE_ORIGINAL, {"size"}, {"complete"}])
    def test_where_the_document_does_not_say_enough_the_object_tells(self, thoth: Thoth, lacking: set[str]) -> None:
        info = take(thoth, CORE).info
        bare(thoth, info, lacking)
        before = objects(thoth)
        assert receive(thoth, arrival(LONGER), unread(), now=NOW).result is Result.CONFLICT
        assert receive(thoth, arrival(CORE, whole=True), unread(), now=NOW).result is Result.PRESENT
        assert receive(thoth, arrival(CUT, whole=False), unread(), now=NOW).result is Result.PRESENT
        assert {name: data for name, data in objects(thoth).items() if name in before} == before

    def test_a_part_that_is_left_of_one_of_the_original(self, thoth: Thoth) -> None:
        info = take(thoth, CORE).info
        bare(thoth, info, OF_THE_ORIGINAL)
        thoth.store.put(str(info.document["dump"]), CUT)
        receipt = receive(thoth, arrival(CORE, whole=True), unread(), now=NOW)
        assert (receipt.result, receipt.reason) == (
            Result.CONFLICT,
            "stored with 40000 bytes, and it is not recorded whether that is all; this file has 65536 and the same"
            " headers; keep it, and see 'thoth scrub --repair'",
        )

    def test_the_object_is_asked_only_where_no_size_is_recorded(self) -> None:
        counts = {}
        for lacking in ({"sha256"}, {"size"}):
            store = _Asked()
            thoth = Thoth(store, MemoryIndex(), "bmc")
            bare(thoth, take(thoth, CORE).info, lacking)
            store.asked.clear()
            assert receive(thoth, arrival(CORE), unread(), now=NOW).result is Result.PRESENT
            counts[lacking.pop()] = len(store.asked)
        assert counts["size"] == counts["sha256"] + 1

    def test_a_dump_that_was_purged_stays_so(self, thoth: Thoth) -> None:
        info = take(thoth, CORE).info
        revise(thoth, info.id, lambda stored: stored.changed(purged=NOW))
        for given in (LONGER, OTHER):
            assert verify(thoth, given).result is Result.PRESENT


class TestVerified:
    def test_the_same_bytes_are_present(self, thoth: Thoth) -> None:
        first = take(thoth, CORE).info
        before = objects(thoth)
        receipt = verify(thoth, CORE)
        assert (receipt.result, receipt.info, receipt.sent) == (Result.PRESENT, first, 0)
        assert objects(thoth) == before

    def test_other_bytes_are_a_conflict_and_change_nothing(self, thoth: Thoth) -> None:
        first = take(thoth, CORE).info
        receipt = verify(thoth, OTHER, b"core.2", source={"node": "cn2", "path": "/x"})
        assert (receipt.result, receipt.info) == (Result.CONFLICT, first)
        assert f"is stored: sha256 {first.sha256}, this one has " in str(receipt.reason)
        assert whole(thoth, first.id) == first

    @pytest.mark.parametrize("data", [OTHER, LONGER, b"x" * len(CORE)])
    @pytest.mark.parametrize("filename", [b"core.19972", b"core.renamed"])
    def test_a_damaged_object_gives_way_to_what_its_document_says(
        self, thoth: Thoth, data: bytes, filename: bytes
    ) -> None:
        first = take(thoth, CORE).info
        revise(thoth, first.id, lambda info: info.changed(ticket="OS-7"))
        thoth.store.put(str(first.document["dump"]), data)
        receipt = verify(thoth, CORE, filename)
        assert (receipt.result, receipt.sent) == (Result.STORED, len(CORE))
        assert receipt.reason == "took the place of what was stored, which was damaged"
        after = whole(thoth, first.id)
        assert (after.sha256, after.document["ticket"]) == (first.sha256, "OS-7")

    def test_a_damaged_object_does_not_give_way_to_other_bytes(self, thoth: Thoth) -> None:
        first = take(thoth, CORE).info
        thoth.store.put(str(first.document["dump"]), LONGER)
        before = objects(thoth)
        assert verify(thoth, OTHER).result is Result.CONFLICT
        assert objects(thoth) == before

    def test_one_that_cannot_be_read_is_damaged(self) -> None:
        store = _BadBlock()
        thoth = Thoth(store, MemoryIndex(), "bmc")
        first = take(thoth, CORE).info
        store.error = StoreError("I/O error")
        assert verify(thoth, CORE).result is Result.STORED
        store.error = None
        whole(thoth, first.id)

    def test_a_store_that_cannot_be_read_at_all_is_not(self) -> None:
        store = _BadBlock()
        thoth = Thoth(store, MemoryIndex(), "bmc")
        take(thoth, CORE)
        before = objects(thoth)
        for error in (StoreUnavailable("gone"), StoreTransient("busy")):
            store.error = error
            with pytest.raises(type(error)):
                verify(thoth, CORE)
        store.error = None
        assert objects(thoth) == before

    def test_a_cut_copy_is_held_against_the_beginning(self, thoth: Thoth) -> None:
        take(thoth, CORE)
        assert verify(thoth, CUT).result is Result.PRESENT
        assert verify(thoth, CUT[:-1] + bytes([CUT[-1] ^ 1])).result is Result.CONFLICT

    @pytest.mark.parametrize("data", [CORE, CUT])
    def test_where_no_digest_is_recorded_the_object_tells(self, thoth: Thoth, data: bytes) -> None:
        info = take(thoth, CORE).info
        bare(thoth, info, OF_THE_ORIGINAL)
        assert verify(thoth, data).result is Result.PRESENT
        assert verify(thoth, OTHER).result is Result.CONFLICT
        thoth.store.put(str(info.document["dump"]), OTHER)
        receipt = verify(thoth, CORE)
        assert receipt.result is Result.CONFLICT
        assert "of which no SHA-256 is recorded" in str(receipt.reason)

    @pytest.mark.parametrize("there", [illumos_core(pid=3), CORE[:300], b"no dump"], ids=["other", "cut", "none"])
    @pytest.mark.parametrize("filename", [b"core.19972", b"core.renamed"])
    def test_where_no_digest_is_recorded_what_is_not_this_dump_gives_way_to_it(
        self, thoth: Thoth, there: bytes, filename: bytes
    ) -> None:
        info = take(thoth, CORE).info
        revise(thoth, info.id, lambda stored: stored.changed(ticket="OS-7"))
        bare(thoth, whole(thoth, info.id), {*OF_THE_ORIGINAL, "revision", "sources", "uploaded"})
        thoth.store.put(str(info.document["dump"]), there)
        receipt = verify(thoth, CORE, filename, whole=True)
        assert (receipt.result, receipt.sent) == (Result.STORED, len(CORE))
        assert receipt.reason == "took the place of what was stored, which was damaged"
        after = whole(thoth, info.id)
        assert (after.size, after.sha256, after.document["ticket"]) == (len(CORE), info.sha256, "OS-7")

    def test_a_digest_without_a_size_tells_too(self, thoth: Thoth) -> None:
        info = take(thoth, CORE).info
        bare(thoth, info, {"size"})
        thoth.store.put(str(info.document["dump"]), OTHER)
        assert verify(thoth, OTHER).result is Result.CONFLICT
        assert verify(thoth, CORE).result is Result.STORED
        assert thoth.store.get(str(info.document["dump"]))[0] == CORE

    def test_where_another_size_is_recorded_it_does_not(self, thoth: Thoth) -> None:
        info = take(thoth, CORE).info
        bare(thoth, info, {"sha256", "md5", "complete"})
        thoth.store.put(str(info.document["dump"]), b"x" * len(CORE))
        before = objects(thoth)
        for given in (CUT, LONGER):
            assert verify(thoth, given).result is Result.CONFLICT
        assert objects(thoth) == before
        assert verify(thoth, CORE).result is Result.STORED

    @pytest.mark.parametrize("data", [LONGER, CUT])
    def test_this_dump_with_another_size_does_not_give_way(self, thoth: Thoth, data: bytes) -> None:
        info = take(thoth, CORE).info
        bare(thoth, info, OF_THE_ORIGINAL)
        thoth.store.put(str(info.document["dump"]), data)
        before = objects(thoth)
        assert verify(thoth, CORE, whole=True).result is Result.CONFLICT
        assert objects(thoth) == before

    def test_a_longer_object_than_that_of_a_cut_dump_may_be_the_whole_one_on_its_way(self, thoth: Thoth) -> None:
        info = take(thoth, SHORTER).info
        thoth.store.put(str(info.document["dump"]), CORE)  # and its document comes in a moment
        with pytest.raises(StoreTransient, match="may be a better dump"):
            verify(thoth, SHORTER)
        assert thoth.store.get(str(info.document["dump"]))[0] == CORE

    def test_a_file_that_changes_between_its_two_readings_changes_nothing(self, thoth: Thoth) -> None:
        info = take(thoth, CORE).info
        thoth.store.put(str(info.document["dump"]), OTHER)
        before = objects(thoth)
        with pytest.raises(StoreTransient):
            receive(
                thoth,
                arrival(CORE),
                Reopened(lambda: in_blocks(b"".join((CORE[:-2], b"no")))),
                now=NOW,
                tries=at_once,
                verify=Reopened(lambda: in_blocks(CORE)),
            )
        with pytest.raises(SourceChanged):
            receive(thoth, arrival(CORE), unread(), now=NOW, verify=[CORE[:-1]])
        assert objects(thoth) == before

    def test_a_dump_that_is_purged_meanwhile_stays_purged(self, thoth: Thoth) -> None:
        info = take(thoth, CORE).info
        thoth.store.put(str(info.document["dump"]), OTHER)

        def purged() -> Any:
            revise(thoth, info.id, lambda stored: stored.changed(purged=NOW))
            thoth.store.delete(str(info.document["dump"]))
            return in_blocks(CORE)

        stream = Reopened(lambda: in_blocks(CORE))
        assert receive(
            thoth, arrival(CORE), Reopened(purged), now=NOW, tries=at_once, stacks=dict, verify=stream
        ).result is Result.PRESENT  # fmt: skip
        assert [name.rpartition("/")[2] for name in objects(thoth)] == ["info.json"]


def bare(thoth: Thoth, info: DumpInfo, lacking: set[str]) -> None:
    """Have the document of a dump not say these things."""
    document = {key: value for key, value in info.document.items() if key not in lacking}
    thoth.store.put(f"{info.document['name']}/info.json", json.dumps(document).encode())
