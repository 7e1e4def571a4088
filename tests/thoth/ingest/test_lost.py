"""A dump, or its document, that has vanished from the store."""

from __future__ import annotations

import json

import pytest

from tests.support.arrivals import CORE, CUT, NOW, objects, take, whole
from tests.thoth.ingest.scene import DeafIndex
from thoth.edit import revise
from thoth.errors import IndexFailure
from thoth.library import Thoth
from thoth.model import DumpInfo, Result


class TestLost:
    """A document whose dump has vanished from the store: the next upload brings it back."""

    @pytest.mark.parametrize("name", [b"core.19972", b"core.renamed"])
    def test_it_is_stored_again(self, thoth: Thoth, name: bytes) -> None:
        first = take(thoth, CORE).info
        revise(thoth, first.id, lambda info: info.changed(ticket="OS-7"))
        thoth.store.delete(str(first.document["dump"]))
        receipt = take(thoth, CORE, name)
        assert (receipt.result, receipt.sent) == (Result.STORED, len(CORE))
        assert receipt.info.document["ticket"] == "OS-7"
        whole(thoth, first.id)

    def test_one_of_which_only_a_part_is_left_is_stored_again(self, thoth: Thoth) -> None:
        first = take(thoth, CORE).info
        thoth.store.put(str(first.document["dump"]), CUT)
        assert take(thoth, CORE).result is Result.STORED
        assert whole(thoth, first.id).size == len(CORE)

    @pytest.mark.parametrize("name", [b"core.19972", b"core.renamed"])
    def test_what_was_made_of_the_same_bytes_stays(self, thoth: Thoth, name: bytes) -> None:
        first = take(thoth, CORE).info
        expanded = f"{first.document['name']}/vmcore.0"
        thoth.store.put(expanded, b"x")
        told = {"expanded": {"dump": expanded, "size": 1}, "stack": ["f()"], "stack_by": "process-dump"}
        revise(thoth, first.id, lambda info: info.changed(**told))
        thoth.store.delete(str(first.document["dump"]))
        document = take(thoth, CORE, name).info.document
        assert {key: document[key] for key in told} == told
        assert {*objects(thoth)} == {f"{first.document['name']}/info.json", document["dump"], expanded}

    def test_one_of_the_original_is_stored_and_replaces_nothing(self, thoth: Thoth) -> None:
        first = take(thoth, CORE).info
        lacking = {"id", "revision", "size", "md5", "sha256", "complete", "uploaded", "sources"}
        bare = {key: value for key, value in first.document.items() if key not in lacking}
        thoth.store.put(f"{bare['name']}/info.json", json.dumps({**bare, "ticket": "OS-7"}, indent="\t").encode())
        thoth.store.delete(str(bare["dump"]))
        receipt = take(thoth, CORE)
        assert (receipt.result, receipt.info.document["ticket"]) == (Result.STORED, "OS-7")
        whole(thoth, first.id)

    def test_one_that_was_purged_is_not(self, thoth: Thoth) -> None:
        first = take(thoth, CORE).info
        thoth.store.delete(str(first.document["dump"]))
        revise(thoth, first.id, lambda info: info.changed(purged=NOW))
        assert take(thoth, CORE).result is Result.PRESENT
        assert len(objects(thoth)) == 1

    def test_another_dump_of_the_same_identity_is_told(self, thoth: Thoth) -> None:
        first = take(thoth, CORE).info
        thoth.store.delete(str(first.document["dump"]))
        receipt = take(thoth, CORE[:-1] + bytes([CORE[-1] ^ 1]))
        assert receipt.result is Result.CONFLICT
        assert str(first.sha256) in str(receipt.reason)
        whole(thoth, first.id)

    def test_what_was_made_of_a_cut_dump_goes_with_it(self, thoth: Thoth) -> None:
        cut = take(thoth, CUT).info
        expanded = f"{cut.document['name']}/vmcore.0"
        thoth.store.put(expanded, b"x")
        told = {"dump": expanded, "size": 1}
        revise(thoth, cut.id, lambda info: info.changed(expanded=told, stack=["f()"], stack_by="process-dump"))
        receipt = take(thoth, CORE)
        assert receipt.result is Result.REPLACED
        assert not {"expanded", "stack", "stack_by"} & {*receipt.info.document}
        assert expanded not in objects(thoth)


class TestLostDocument:
    """The store has lost info.json, and the index still has what it said."""

    def lost(self, thoth: Thoth) -> DumpInfo:
        info = take(thoth, CORE, properties={"a": 1}).info
        revise(thoth, info.id, lambda each: each.changed(ticket="OS-5"))
        noted = revise(thoth, info.id, lambda each: each.changed(properties={"a": 2, "b": 3}))
        thoth.store.delete(f"/bmc/stor/thoth/{info.id}/info.json")
        return noted

    def test_what_was_noted_on_the_dump_comes_back_with_it(self, thoth: Thoth) -> None:
        noted = self.lost(thoth)
        receipt = take(thoth, CORE, properties={"a": 7, "c": 4}, source={"node": "cn2", "path": "/x"})
        after = whole(thoth, noted.id)
        assert (receipt.result, receipt.info) == (Result.STORED, after)
        assert (after.document["ticket"], after.properties) == ("OS-5", {"a": 2, "b": 3, "c": 4})
        where = [each["node"] for each in after.document["sources"]]  # type: ignore[index, union-attr]
        assert where == ["headnode", "cn2"]
        assert after.revision > noted.revision

    def test_what_a_cut_dump_lost_of_its_notes_does_not_come_back_with_the_whole(
        self, thoth: Thoth, index: DeafIndex
    ) -> None:
        cut = take(thoth, CUT).info
        revise(thoth, cut.id, lambda info: info.changed(ticket="OS-1"))
        index.deaf = True
        with pytest.raises(IndexFailure):
            revise(thoth, cut.id, lambda info: info.without("ticket"))
        index.deaf = False
        assert take(thoth, CORE).result is Result.REPLACED
        assert "ticket" not in whole(thoth, cut.id).document

    @pytest.mark.parametrize("lost", ["ticket", "properties"])
    def test_while_the_index_was_down_a_later_change_goes_on_from_what_it_knows(
        self, thoth: Thoth, index: DeafIndex, lost: str
    ) -> None:
        noted = self.lost(thoth)
        index.deaf = True
        assert take(thoth, CORE).result is Result.STORED_UNINDEXED
        index.deaf = False
        if lost == "ticket":
            revise(thoth, noted.id, lambda info: info.without("ticket") if "ticket" in info.document else None)
        else:
            revise(thoth, noted.id, lambda info: info.changed(properties={**info.properties, "a": 9}))
        after = whole(thoth, noted.id)
        assert after.document.get("ticket") == (None if lost == "ticket" else "OS-5")
        assert after.properties == {"a": 2 if lost == "ticket" else 9, "b": 3}
        assert after.revision > noted.revision
