"""Changes of a dump's document: compare-and-set in the store, then the index."""

from __future__ import annotations

import threading

import pytest

from tests.support.arrivals import CORE, take, whole
from thoth.edit import revise
from thoth.errors import NoSuchDump, StoreError
from thoth.index.memory import MemoryIndex
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity
from thoth.store.memory import MemoryStore


@pytest.fixture
def thoth() -> Thoth:
    return Thoth(MemoryStore(), MemoryIndex(), "bmc")


class TestRevise:
    def test_F36_two_writers_both_keep_their_change(self, thoth: Thoth) -> None:
        identity = take(thoth, CORE).info.id
        rounds, barrier = 20, threading.Barrier(4)

        def writer(me: str) -> None:
            for n in range(rounds):
                barrier.wait(10)
                revise(
                    thoth,
                    identity,
                    lambda info, n=n: info.changed(properties={**info.properties, f"{me}{n}": n}),  # type: ignore[misc]
                )

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

    def test_a_race_that_is_lost_for_ever_ends(self, thoth: Thoth) -> None:
        identity = take(thoth, CORE).info.id

        def always_too_late(info: DumpInfo) -> DumpInfo:
            thoth.store.put(f"{info.document['name']}/info.json", info.to_json().encode())
            return info.changed(ticket="X")

        with pytest.raises(StoreError, match="times in a row"):
            revise(thoth, identity, always_too_late)

    def test_no_such_dump(self, thoth: Thoth) -> None:
        with pytest.raises(NoSuchDump):
            revise(thoth, Identity("0" * 32), lambda info: info)
