"""Edits of many dumps."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.support.memory_index import MemoryIndex
from tests.support.memory_store import MemoryStore
from tests.thoth.edit.scene import nested
from thoth.edit import Edited, SetProperty, SetTicket, edit_dump, edit_each, plan_each, stored_form
from thoth.errors import BadDocument, IndexFailure, NoSuchDump, StoreUnavailable
from thoth.index.documents import MAX_DEPTH
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity


class FailingIndex(MemoryIndex):
    """Takes nothing from the n-th document on; ``left`` counts down to it."""

    left = 0

    def put_many(self, infos: Iterable[DumpInfo]) -> int:
        self.left -= 1
        if self.left < 0:
            raise IndexFailure("dumps.db: database is locked")
        return super().put_many(infos)


class FullStore(MemoryStore):
    """Takes nothing any more once it is ``full``."""

    full = False

    def put(self, name: str, data: bytes, *, if_match: str | None = None) -> str:
        if self.full:
            raise StoreUnavailable("store: no space is left; free some")
        return super().put(name, data, if_match=if_match)


def several(thoth: Thoth, count: int) -> list[Identity]:
    identities = [Identity(f"{n:032x}") for n in range(1, count + 1)]
    for identity in identities:
        info = DumpInfo({"id": str(identity), "properties": {}})
        thoth.store.put(f"/bmc/stor/thoth/{identity}/info.json", stored_form(info))
        thoth.index.put(info)
    return identities


class TestEach:
    def test_one_that_fails_does_not_stop_the_others(self, thoth: Thoth) -> None:
        first, gone, broken, done, last = several(thoth, 5)
        thoth.store.delete(f"/bmc/stor/thoth/{gone}/info.json")
        thoth.store.put(f"/bmc/stor/thoth/{broken}/info.json", b"no JSON")
        edit_dump(thoth, done, [SetTicket("X")])
        planned = list(plan_each(thoth, [first, gone, broken, done, last], [SetTicket("X")]))
        assert thoth.index.get(first) == DumpInfo({"id": str(first), "properties": {}})
        result = list(edit_each(thoth, [first, gone, broken, done, last], iter([SetTicket("X")])))
        assert [(each.identity, each.changed, type(each.error)) for each in result] == [
            (first, True, type(None)),
            (gone, False, NoSuchDump),
            (broken, False, BadDocument),
            (done, False, type(None)),
            (last, True, type(None)),
        ]
        assert [(each.changed, str(each.error)) for each in planned] == [
            (each.changed, str(each.error)) for each in result
        ]
        for identity in (first, done, last):
            kept = thoth.index.get(identity)
            assert kept is not None
            assert (kept.document["ticket"], kept.revision) == ("X", 1)

    def test_a_plan_knows_what_would_be_refused(self, thoth: Thoth) -> None:
        (identity,) = several(thoth, 1)
        (told,) = plan_each(thoth, [identity], [SetProperty(("a",), nested(MAX_DEPTH))])
        assert (told.changed, type(told.error)) == (False, BadDocument)

    def test_an_index_that_fails_ends_it_and_the_store_has_what_was_done(self) -> None:
        index = FailingIndex()
        thoth = Thoth(MemoryStore(), index, "bmc")
        index.left = 4 + 1
        first, second, third, _ = several(thoth, 4)
        result = list(edit_each(thoth, [first, second, third], [SetTicket("X")]))
        assert result[0] == Edited(first, True)
        assert (len(result), result[1].changed, type(result[1].error)) == (2, True, IndexFailure)
        assert str(result[1].error) == (
            f"{second}: the store has it, the index does not: dumps.db: database is locked; 'thoth index' heals that"
        )
        kept = thoth.stored_info(second)
        assert kept is not None
        assert kept[0].document["ticket"] == "X"
        untouched = thoth.stored_info(third)
        assert untouched is not None
        assert untouched[0].revision == 0

    def test_a_store_that_is_full_ends_it(self) -> None:
        store = FullStore()
        thoth = Thoth(store, MemoryIndex(), "bmc")
        identities = several(thoth, 2)
        store.full = True
        with pytest.raises(StoreUnavailable):
            list(edit_each(thoth, identities, [SetTicket("X")]))
        assert not any(each.error for each in plan_each(thoth, identities, [SetTicket("X")]))
