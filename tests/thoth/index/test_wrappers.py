"""Indexes around an index."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Thread
from typing import Any

import pytest

from tests.contract.indexes import named
from tests.support.memory_index import MemoryIndex
from thoth.errors import BadDocument, IndexFailure
from thoth.index.wrappers import GatheringIndex, Passing
from thoth.model import DumpInfo

MIB = 1 << 20


def dump(number: int, **more: Any) -> DumpInfo:
    return DumpInfo({"id": named(number), "name": "x", **more})


class Questions(Passing):
    """Counts how often it is written to; ``down``: it cannot be."""

    def __init__(self) -> None:
        super().__init__(MemoryIndex())
        self.writes: list[int] = []
        self.down = False

    def put(self, info: DumpInfo) -> bool:
        return self.put_many([info]) == 1

    def put_many(self, infos: Iterable[DumpInfo]) -> int:
        infos = list(infos)
        self.writes.append(len(infos))
        if self.down:
            raise IndexFailure("the index is away")
        return super().put_many(infos)


@pytest.fixture
def inner() -> Questions:
    return Questions()


@pytest.fixture
def gathering(inner: Questions) -> GatheringIndex:
    return GatheringIndex(inner)


def test_what_is_put_waits_and_is_written_at_once(inner: Questions, gathering: GatheringIndex) -> None:
    assert gathering.put(dump(1))
    assert gathering.put_many([dump(2), dump(3)]) == 2
    assert gathering.get(named(1)) is None
    assert gathering.flush() == {}
    assert inner.writes == [3]
    assert gathering.known(map(named, range(5))).keys() == {named(1), named(2), named(3)}


def test_nothing_is_asked_when_nothing_waits(inner: Questions, gathering: GatheringIndex) -> None:
    gathering.put(dump(1))
    gathering.flush()
    assert gathering.flush() == {}
    assert inner.writes == [1]


@pytest.mark.parametrize("revisions", [(0, 1), (1, 0)])
def test_the_newer_document_is_the_one_that_stays(gathering: GatheringIndex, revisions: tuple[int, int]) -> None:
    stored = [gathering.put(dump(1, revision=revision)) for revision in revisions]
    assert stored == [True, revisions[1] == 1]
    gathering.flush()
    found = gathering.get(named(1))
    assert found is not None
    assert found.revision == 1


def test_what_is_deleted_does_not_come_back(gathering: GatheringIndex) -> None:
    gathering.put_many([dump(1), dump(2)])
    gathering.delete(named(1))
    gathering.flush()
    assert gathering.get(named(1)) is None
    assert gathering.get(named(2)) is not None


def test_an_index_that_fails_has_been_told_of_none(inner: Questions, gathering: GatheringIndex) -> None:
    gathering.put_many([dump(1), dump(2)])
    inner.down = True
    assert gathering.flush() == {named(1): "the index is away", named(2): "the index is away"}
    inner.down = False
    assert gathering.flush() == {}
    assert gathering.get(named(1)) is None


def test_one_document_that_no_index_can_keep_does_not_keep_out_the_others(gathering: GatheringIndex) -> None:
    deep: Any = []
    for _ in range(300):
        deep = [deep]
    with pytest.raises(BadDocument):
        MemoryIndex().put(dump(2, properties={"deep": deep}))
    gathering.put_many([dump(1), dump(2, properties={"deep": deep}), dump(3)])
    lost = gathering.flush()
    assert list(lost) == [named(2)]
    assert "nested deeper" in lost[named(2)]
    assert gathering.get(named(1)) is not None
    assert gathering.get(named(3)) is not None


def test_large_documents_are_written_some_at_a_time(inner: Questions, gathering: GatheringIndex) -> None:
    gathering.put_many(dump(number, psargs="x" * MIB) for number in range(9))
    assert 9 * MIB < gathering.bytes < 9 * MIB + 1000
    assert gathering.flush() == {}
    assert inner.writes == [3, 3, 3]
    assert gathering.bytes == 0
    gathering.put_many([dump(20), dump(21, psargs="x" * 9 * MIB), dump(22)])
    gathering.put(dump(21, psargs="x" * 10 * MIB))
    gathering.delete(named(20))
    assert 10 * MIB < gathering.bytes < 10 * MIB + 1000
    gathering.flush()
    assert inner.writes == [3, 3, 3, 1, 1]
    assert len(gathering.known(map(named, range(30)))) == 11


def test_an_index_that_fails_is_asked_once(inner: Questions, gathering: GatheringIndex) -> None:
    """None of what waits is taken for written."""
    gathering.put_many(dump(number, psargs="x" * MIB) for number in range(9))
    inner.down = True
    assert gathering.flush() == {named(number): "the index is away" for number in range(9)}
    assert inner.writes == [3]


def test_none_is_lost_between_threads(gathering: GatheringIndex) -> None:
    threads = [
        Thread(target=lambda start=start: gathering.put_many(map(dump, range(start, 800, 4)))) for start in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        gathering.flush()
        thread.join()
    gathering.flush()
    assert len(gathering.known(map(named, range(800)))) == 800
