"""What is left of a dump that was purged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.arrivals import CORE, CUT, NOW, objects, take
from tests.support.memory_index import MemoryIndex
from tests.thoth.purge.scene import ALL, document, kept_files, listed, put, unheard_by_the_index, verdicts
from thoth.edit import revise
from thoth.errors import BadDocument, IndexFailure, NoSuchDump
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity
from thoth.purge import Candidate, Rules, purge_dump, purged_at


class TestPurged:
    def test_the_objects_go_and_the_document_says_when(self, thoth: Thoth) -> None:
        identity = put(thoth)
        before = document(thoth, identity)
        done = purge_dump(thoth, identity, ALL, now=NOW)
        assert document(thoth, identity) == {**before, "purged": int(NOW), "revision": before["revision"] + 1}
        assert done == Candidate(DumpInfo(document(thoth, identity)), 16384, None)
        assert kept_files(thoth) == ["info.json"]
        assert purged_at(done.info) == int(NOW)

    def test_what_it_was_expanded_to_goes_too(self, thoth: Thoth) -> None:
        identity = put(thoth)
        expanded = f"/bmc/stor/thoth/{identity}/vmcore.0"
        thoth.store.put(expanded, b"x" * 1000)
        revise(thoth, identity, lambda info: info.changed(expanded={"dump": expanded, "size": 1000}))
        assert [each.size for each in listed(thoth, ALL)] == [17384]
        purge_dump(thoth, identity, ALL, now=NOW)
        assert kept_files(thoth) == ["info.json"]
        assert document(thoth, identity)["expanded"]["size"] == 1000

    def test_again_changes_nothing(self, thoth: Thoth) -> None:
        identity = put(thoth)
        purge_dump(thoth, identity, ALL, now=NOW)
        before = objects(thoth)
        assert purge_dump(thoth, identity, ALL, now=NOW + 9) is None
        assert objects(thoth) == before
        assert listed(thoth, Rules()) == []

    def test_an_index_that_missed_it_is_told(self, thoth: Thoth) -> None:
        identity = put(thoth)
        with unheard_by_the_index(thoth, identity):
            purge_dump(thoth, identity, ALL, now=NOW)
        assert verdicts(thoth, ALL) == {identity: None}
        assert purge_dump(thoth, identity, ALL, now=NOW) is None
        assert document(thoth, identity)["purged"] == int(NOW)

    def test_F35_an_index_that_cannot_be_told_is_named_and_told_next_time(self, thoth: Thoth) -> None:
        class Deaf(MemoryIndex):
            def put(self, info: DumpInfo) -> bool:
                raise IndexFailure("index.db: disk I/O error")

        identity = put(thoth)
        with pytest.raises(IndexFailure, match=f"{identity}: .*disk I/O error; 'thoth index' heals"):
            purge_dump(Thoth(thoth.store, Deaf(), "bmc"), identity, ALL, now=NOW)
        assert kept_files(thoth) == ["info.json"]
        assert verdicts(thoth, ALL) == {identity: None}  # as far as the index knows
        assert purge_dump(thoth, identity, ALL, now=NOW + 9) is None
        assert document(thoth, identity)["purged"] == int(NOW)

    def test_it_is_not_stored_again(self, thoth: Thoth) -> None:
        cut = take(thoth, CUT).info.id
        purge_dump(thoth, cut, ALL, now=NOW)
        for data in (CUT, CORE):
            take(thoth, data)
        assert kept_files(thoth) == ["info.json"]
        assert document(thoth, cut)["purged"] == int(NOW)

    def test_a_document_that_names_other_things_does_not_make_us_delete_them(self, thoth: Thoth) -> None:
        identity = put(thoth, dump="/bmc/stor/thoth/precious", expanded={"dump": "../precious"})
        thoth.store.put("/bmc/stor/thoth/precious", b"x")
        with pytest.raises(BadDocument):
            purge_dump(thoth, identity, ALL, now=NOW)
        revise(thoth, identity, lambda info: info.without("expanded"))
        purge_dump(thoth, identity, ALL, now=NOW)
        assert thoth.store.stat("/bmc/stor/thoth/precious")

    def test_a_document_that_could_not_be_marked_keeps_its_dump(self, thoth: Thoth) -> None:
        identity = put(thoth)
        deep: Any = 1
        for _ in range(500):
            deep = [deep]
        text = json.dumps({**document(thoth, identity), "deep": deep})
        thoth.store.put(f"/bmc/stor/thoth/{identity}/info.json", text.encode())
        with pytest.raises(BadDocument):
            purge_dump(thoth, identity, ALL, now=NOW)
        assert len(objects(thoth)) == 2

    def test_no_such_dump(self, thoth: Thoth) -> None:
        with pytest.raises(NoSuchDump):
            purge_dump(thoth, Identity("0" * 32), ALL, now=NOW)
