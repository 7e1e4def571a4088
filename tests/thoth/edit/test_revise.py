"""Changes of a dump's document: compare-and-set in the store, then the index."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.arrivals import CORE, take, whole
from tests.thoth.edit.scene import NOBODY, info_of, keys, nested, values
from thoth.edit import Edited, SetProperty, SetTicket, edit_dump, edit_each, revise, stored_form
from thoth.errors import BadDocument, IndexFailure, NoSuchDump, StoreError
from thoth.index.documents import MAX_DEPTH
from thoth.index.wrappers import Passing
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity, Json
from thoth.store.base import MAX_SMALL


class TestRevise:
    def test_F36_two_writers_both_keep_their_change(self, thoth: Thoth) -> None:
        identity = take(thoth, CORE).info.id
        rounds, barrier = 20, threading.Barrier(4)

        def writer(me: str) -> None:
            for n in range(rounds):
                barrier.wait(10)
                edit_dump(thoth, identity, [SetProperty((f"{me}{n}",), n)])

        threads = [threading.Thread(target=writer, args=(me,)) for me in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        info = whole(thoth, identity)
        assert len(info.properties) == 4 * rounds
        assert info.revision == 4 * rounds

    def test_no_change_writes_nothing_to_the_store_and_heals_the_index(self, thoth: Thoth) -> None:
        info = take(thoth, CORE).info
        thoth.index.delete(info.id)
        assert revise(thoth, info.id, lambda stored: None) == info
        assert whole(thoth, info.id).revision == 0

    @pytest.mark.parametrize("ahead", [1, 2, 3])
    def test_what_the_index_alone_knows_comes_back(self, thoth: Thoth, ahead: int) -> None:
        identity = take(thoth, CORE).info.id
        name = f"/bmc/stor/thoth/{identity}/info.json"
        backup = thoth.store.get(name)[0]
        for edit in [SetTicket("OS-1"), SetProperty(("x",), 1), SetProperty(("y",), 2)][:ahead]:
            edit_dump(thoth, identity, [edit])
        thoth.store.put(name, backup)
        (done,) = edit_each(thoth, [identity], [SetProperty(("e",), 1)])
        assert done == Edited(identity, changed=True)
        info = whole(thoth, identity)
        assert info.document["ticket"] == "OS-1"
        assert info.properties == [{"e": 1}, {"e": 1, "x": 1}, {"e": 1, "x": 1, "y": 2}][ahead - 1]
        assert info.revision == ahead + 1

    def test_it_comes_back_with_a_change_that_changes_nothing(self, thoth: Thoth) -> None:
        identity = take(thoth, CORE).info.id
        name = f"/bmc/stor/thoth/{identity}/info.json"
        backup = thoth.store.get(name)[0]
        edit_dump(thoth, identity, [SetTicket("OS-1")])
        thoth.store.put(name, backup)
        assert revise(thoth, identity, lambda stored: None).document["ticket"] == "OS-1"
        assert whole(thoth, identity).revision == 2

    def test_an_index_that_does_not_say_what_it_has_is_not_overwritten(self, thoth: Thoth) -> None:
        identity = take(thoth, CORE).info.id
        index = thoth.index

        class Failing(Passing):
            def get(self, identity: Identity) -> DumpInfo | None:
                raise IndexFailure("away for a moment")

        with pytest.raises(IndexFailure, match="away for a moment"):
            edit_dump(replace(thoth, index=Failing(index)), identity, [SetTicket("OS-1")])
        found = thoth.stored_info(identity)
        assert found is not None
        assert found[0].document["ticket"] == "OS-1"
        row = index.get(identity)
        assert row is not None
        assert "ticket" not in row.document

    def test_a_race_that_is_lost_for_ever_ends_and_waits_longer_and_longer(self, thoth: Thoth) -> None:
        identity = take(thoth, CORE).info.id
        pauses: list[float] = []

        def always_too_late(info: DumpInfo) -> DumpInfo:
            thoth.store.put(f"{info.document['name']}/info.json", info.to_json().encode())
            return info.changed(ticket="X")

        with pytest.raises(StoreError, match="50 times in a row"):
            revise(thoth, identity, always_too_late, sleep=pauses.append, chance=lambda: 0.5)
        assert pauses[:3] == [0.0005, 0.001, 0.002]
        assert pauses[-1] == max(pauses) == 0.05
        assert len(pauses) == 50

    def test_no_such_dump(self, thoth: Thoth) -> None:
        with pytest.raises(NoSuchDump):
            revise(thoth, NOBODY, lambda info: info)

    def test_the_document_of_another_dump_is_not_touched(self, thoth: Thoth) -> None:
        info = take(thoth, CORE).info
        name = f"/bmc/stor/thoth/{NOBODY}/info.json"
        thoth.store.put(name, stored_form(info))
        with pytest.raises(BadDocument, match=f"{name}: is the document of another dump, {info.id}"):
            edit_dump(thoth, NOBODY, [SetTicket("X")])
        assert thoth.store.get(name)[0] == stored_form(info)
        assert thoth.stored_info(info.id) == (info, thoth.store.get(f"/bmc/stor/thoth/{info.id}/info.json")[1])

    @pytest.mark.parametrize(
        "value",
        [nested(MAX_DEPTH), float("nan"), float("inf"), {1, 2}, b"bytes", "x" * MAX_SMALL, [nested(150)] * 15_000],
        ids=["deep", "nan", "inf", "set", "bytes", "large", "large with its indents"],
    )
    def test_F37_what_cannot_be_kept_changes_neither_store_nor_index(self, thoth: Thoth, value: Json) -> None:
        info = take(thoth, CORE).info
        with pytest.raises(BadDocument, match=info.id):
            edit_dump(thoth, info.id, [SetTicket("X"), SetProperty(("a",), value)])
        assert whole(thoth, info.id) == info

    def test_F37_a_document_that_contains_itself_is_refused(self, thoth: Thoth) -> None:
        info = take(thoth, CORE).info
        loop: list[Json] = []
        loop.append(loop)
        with pytest.raises(BadDocument, match="nested deeper"):
            edit_dump(thoth, info.id, [SetProperty(("a",), loop)])
        assert whole(thoth, info.id) == info

    def test_the_largest_document_is_kept(self, thoth: Thoth) -> None:
        info = take(thoth, CORE).info
        room = MAX_SMALL - len(stored_form(info.changed(properties={"a": ""})))
        edit_dump(thoth, info.id, [SetProperty(("a",), "x" * room)])
        data = thoth.store.get(f"/bmc/stor/thoth/{info.id}/info.json")[0]
        assert len(data) == MAX_SMALL
        with pytest.raises(BadDocument, match="over 64 MiB"):
            edit_dump(thoth, info.id, [SetProperty(("a",), "x" * (room + 1))])
        assert thoth.store.get(f"/bmc/stor/thoth/{info.id}/info.json")[0] == data


@given(st.dictionaries(keys, values, max_size=4))
def test_info_json_is_the_document(document: dict[str, Json]) -> None:
    info = info_of(properties=document)
    form = stored_form(info)
    assert form == (info.to_json(indent=4) + "\n").encode()
    assert DumpInfo.from_json(form) == info
    assert all(byte == 0x0A or 0x20 <= byte < 0x7F for byte in form)
