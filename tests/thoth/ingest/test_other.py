"""Another dump of an identity that is there: told by its size, or by its bytes where it is verified."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.arrivals import CORE, CUT, NOW, SHORTER, arrival, at_once, in_blocks, objects, take, whole
from tests.support.memory_index import MemoryIndex
from tests.support.memory_store import MemoryStore, OpenBytes
from tests.thoth.ingest.scene import unread
from thoth.edit import revise
from thoth.errors import SourceChanged, StoreError, StoreTransient, StoreUnavailable
from thoth.ingest.arrival import Receipt
from thoth.ingest.receive import Reopened, receive
from thoth.library import Thoth
from thoth.model import DumpInfo, Result

LONGER = CORE + b"more than the headers tell"
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

    @pytest.mark.parametrize("lacking", [{"size", "sha256", "md5", "complete"}, {"size"}, {"complete"}])
    def test_a_document_that_does_not_say_enough_tells_of_none(self, thoth: Thoth, lacking: set[str]) -> None:
        """Those of the original have neither size nor SHA-256, and do not say whether the dump is whole."""
        bare(thoth, take(thoth, CORE).info, lacking)
        assert receive(thoth, arrival(LONGER), unread(), now=NOW).result is Result.PRESENT

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
        bare(thoth, info, {"size", "sha256", "md5", "complete"})
        assert verify(thoth, data).result is Result.PRESENT
        assert verify(thoth, OTHER).result is Result.CONFLICT
        thoth.store.put(str(info.document["dump"]), OTHER)
        receipt = verify(thoth, CORE)
        assert receipt.result is Result.CONFLICT
        assert "of which no SHA-256 is recorded" in str(receipt.reason)

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
