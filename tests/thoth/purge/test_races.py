"""Others at work on a dump while it is purged."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.arrivals import CORE, CUT, NOW, take, whole
from tests.support.memory_index import MemoryIndex
from tests.support.memory_store import MemoryStore
from tests.thoth.purge.scene import ALL, document, kept_files, put, unheard_by_the_index, verdicts
from thoth.edit import revise
from thoth.errors import StoreError
from thoth.library import Thoth
from thoth.purge import Reason, purge_dump
from thoth.store.wrappers import Passing


class Hooked(Passing):
    """A store that does something, once, right before or after it deletes."""

    before: Callable[[], object] | None = None
    after: Callable[[], object] | None = None

    def delete(self, name: str, *, if_match: str | None = None) -> None:
        before, self.before = self.before, None
        if before:
            before()
        super().delete(name, if_match=if_match)
        after, self.after = self.after, None
        if after:
            after()


class TestOthersAtTheSameTime:
    @pytest.fixture
    def store(self) -> Hooked:
        return Hooked(MemoryStore(now=lambda: NOW))

    @pytest.fixture
    def thoth(self, store: Hooked) -> Thoth:
        return Thoth(store, MemoryIndex(), "bmc")

    def test_F39_a_ticket_that_is_set_after_the_listing_saves_the_dump(self, thoth: Thoth) -> None:
        identity = put(thoth)
        with unheard_by_the_index(thoth, identity):
            revise(thoth, identity, lambda info: info.changed(ticket="OS-1"))
        assert verdicts(thoth, ALL) == {identity: None}  # as far as the index knows
        done = purge_dump(thoth, identity, ALL, now=NOW)
        assert done is not None
        assert done.kept is Reason.TICKET
        assert whole(thoth, identity).document["ticket"] == "OS-1"

    @pytest.mark.parametrize("point", ["before", "after"])
    def test_F39_one_that_comes_when_the_object_goes_stays_on_the_tombstone(
        self, thoth: Thoth, store: Hooked, point: str
    ) -> None:
        identity = put(thoth)
        setattr(store, point, lambda: revise(thoth, identity, lambda info: info.changed(ticket="OS-1")))
        done = purge_dump(thoth, identity, ALL, now=NOW)
        assert done is not None
        assert done.kept is None
        told = document(thoth, identity)
        assert (told["ticket"], told["purged"], kept_files(thoth)) == ("OS-1", int(NOW), ["info.json"])

    def test_two_purges(self, thoth: Thoth, store: Hooked) -> None:
        identity = put(thoth)
        store.before = lambda: purge_dump(thoth, identity, ALL, now=NOW)
        assert purge_dump(thoth, identity, ALL, now=NOW + 9) is None
        assert (document(thoth, identity)["purged"], kept_files(thoth)) == (int(NOW), ["info.json"])

    @pytest.mark.parametrize("name", [b"core.19972", b"core.renamed"])
    @pytest.mark.parametrize("point", ["before", "after"])
    def test_a_whole_dump_that_comes_in_place_of_a_cut_one(
        self, thoth: Thoth, store: Hooked, point: str, name: bytes
    ) -> None:
        """Whichever comes last: a tombstone has no object, and a dump that is no tombstone has its object."""
        identity = take(thoth, CUT).info.id
        setattr(store, point, lambda: take(thoth, CORE, name))
        purge_dump(thoth, identity, ALL, now=NOW)
        assert (document(thoth, identity)["purged"], kept_files(thoth)) == (int(NOW), ["info.json"])

    def test_one_that_comes_with_a_ticket_in_the_place_of_what_we_deleted_stays(
        self, thoth: Thoth, store: Hooked
    ) -> None:
        def replaced() -> None:
            take(thoth, CORE)
            revise(thoth, identity, lambda info: info.changed(ticket="OS-1"))

        identity = take(thoth, CUT).info.id
        store.after = replaced
        done = purge_dump(thoth, identity, ALL, now=NOW)
        assert done is not None
        assert done.kept is Reason.TICKET
        assert whole(thoth, identity).complete

    def test_an_object_that_cannot_be_deleted(self, thoth: Thoth, store: Hooked) -> None:
        def refuse() -> None:
            raise StoreError("core: access denied")

        identity = put(thoth)
        store.before = refuse
        with pytest.raises(StoreError, match="access denied"):
            purge_dump(thoth, identity, ALL, now=NOW)
        whole(thoth, identity)
