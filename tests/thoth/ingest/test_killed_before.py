"""Uploads of what an earlier one has sent that was killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.arrivals import CORE, NOW, arrival, at_once, in_blocks, objects, take, whole
from tests.support.memory_index import MemoryIndex
from tests.support.memory_store import MemoryStore, OpenBytes
from thoth.errors import StoreError
from thoth.ingest.receive import Reopened, receive
from thoth.library import Thoth
from thoth.model import Result
from thoth.store.base import ObjectStat
from thoth.store.directory import DirectoryStore
from thoth.store.repeat import ReadRepeat


class SettlingStore(MemoryStore):
    """Takes note of what it was asked to settle."""

    def __init__(self) -> None:
        super().__init__()
        self.settled: list[str] = []

    def settle(self, name: str) -> None:
        self.settled.append(name)


def stream(in_memory: bool) -> list[bytes] | Reopened:
    """The core as one that can be read anew: its blocks, or a stream that is opened again."""
    return list(in_blocks(CORE)) if in_memory else Reopened(lambda: in_blocks(CORE))


@pytest.mark.parametrize("in_memory", [False, True])
def test_what_one_that_was_killed_may_have_stored_is_settled_before_it_is_called_present(in_memory: bool) -> None:
    store = SettlingStore()
    thoth = Thoth(store, MemoryIndex(), "bmc")
    stored = take(thoth, CORE)
    assert (stored.result, take(thoth, CORE).result, store.settled) == (Result.STORED, Result.PRESENT, [])
    thoth.index.delete(stored.info.id)  # which hears of a dump once that is durable
    receipt = receive(thoth, arrival(CORE), stream(in_memory), now=NOW, tries=at_once)
    name = f"/bmc/stor/thoth/{stored.info.id}/info.json"
    assert (receipt.result, {*store.settled}) == (Result.PRESENT, {name})


@pytest.mark.parametrize("in_memory", [False, True])
def test_F30_what_one_that_was_killed_has_sent_is_compared_and_not_written_again(
    tmp_path: Path, in_memory: bool
) -> None:
    thoth = Thoth(DirectoryStore(tmp_path, create=True), MemoryIndex(), "bmc")
    stored = take(thoth, CORE).info
    thoth.store.delete(f"/bmc/stor/thoth/{stored.id}/info.json")
    thoth.index.delete(stored.id)
    there = thoth.store.stat(str(stored.document["dump"]))
    receipt = receive(thoth, arrival(CORE), stream(in_memory), now=NOW, tries=at_once)
    assert (receipt.result, receipt.sent) == (Result.STORED, 0)
    assert thoth.store.stat(str(stored.document["dump"])) == there
    assert whole(thoth, stored.id).sha256 == stored.sha256


def test_what_is_compared_is_made_durable_too() -> None:
    store = SettlingStore()
    thoth = Thoth(store, MemoryIndex(), "bmc")
    stored = take(thoth, CORE).info
    name = f"/bmc/stor/thoth/{stored.id}/info.json"
    store.delete(name)
    thoth.index.delete(stored.id)
    assert take(thoth, CORE).result is Result.STORED
    assert store.settled == [name]


def test_what_is_there_and_cannot_be_read_is_replaced() -> None:
    class BadBlock(MemoryStore):
        def repeat(self, name: str, found: ObjectStat) -> ReadRepeat:
            class Unreadable(OpenBytes):
                def read_at(self, offset: int, length: int) -> bytes:
                    raise StoreError("Input/output error")

            return ReadRepeat(name, found, Unreadable(name, bytes(found.size)))

    thoth = Thoth(BadBlock(), MemoryIndex(), "bmc")
    stored = take(thoth, CORE).info
    thoth.store.delete(f"/bmc/stor/thoth/{stored.id}/info.json")
    before = thoth.store.stat(str(stored.document["dump"]))
    assert take(thoth, CORE).result is Result.STORED
    assert thoth.store.stat(str(stored.document["dump"])) != before


def test_what_is_there_with_other_bytes_is_replaced(tmp_path: Path) -> None:
    thoth = Thoth(DirectoryStore(tmp_path, create=True), MemoryIndex(), "bmc")
    other = CORE[:-1] + bytes([CORE[-1] ^ 1])
    stored = take(thoth, other).info
    thoth.store.delete(f"/bmc/stor/thoth/{stored.id}/info.json")
    thoth.index.delete(stored.id)
    starts = []

    def start() -> Iterator[bytes]:
        starts.append(1)
        return in_blocks(CORE)

    assert receive(thoth, arrival(CORE), Reopened(start), now=NOW, tries=at_once).result is Result.STORED
    assert (len(starts), CORE in objects(thoth).values()) == (2, True)
    thoth.store.delete(f"/bmc/stor/thoth/{stored.id}/info.json")
    assert receive(thoth, arrival(other), in_blocks(other), now=NOW).result is Result.STORED
    assert other in objects(thoth).values()
