from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.memory_store import MemoryStore
from thoth.errors import (
    CorruptTransfer,
    NoSuchObject,
    PreconditionFailed,
    StoreError,
    StoreTransient,
    StoreUnavailable,
    StoreUnreachable,
)
from thoth.patience import Patience
from thoth.store.base import ABSENT, Entry, ObjectStat, ObjectStore, StoredObject, Unfinished, Upload
from thoth.store.directory import DirectoryStore
from thoth.store.wrappers import Passing, Retrying

NAME = "/alice/stor/x"


class Moody(Passing):
    """Raises what ``moods`` says, one a call, before or, with ``after``, after it has done what was asked."""

    def __init__(self, store: ObjectStore, moods: list[StoreError], *, after: bool = False) -> None:
        super().__init__(store)
        self.moods = moods
        self.after = after

    def _do(self, ask: Callable[[], object]) -> None:
        if self.moods and self.after:
            ask()
        if self.moods:
            raise self.moods.pop(0)

    def stat(self, name: str) -> ObjectStat:
        self._do(lambda: super(Moody, self).stat(name))
        return super().stat(name)

    def get(self, name: str) -> tuple[bytes, str]:
        self._do(lambda: super(Moody, self).get(name))
        return super().get(name)

    def put(self, name: str, data: bytes, *, if_match: str | None = None) -> str:
        self._do(lambda: super(Moody, self).put(name, data, if_match=if_match))
        return super().put(name, data, if_match=if_match)

    def open(self, name: str) -> StoredObject:
        self._do(lambda: super(Moody, self).open(name))
        return _MoodyObject(super().open(name), self)

    def list(self, name: str, *, most: int | None = None) -> Iterator[Entry]:
        for number, entry in enumerate(super().list(name, most=most)):
            if number % 2:
                self._do(lambda: None)
            yield entry

    def delete(self, name: str, *, if_match: str | None = None) -> None:
        self._do(lambda: super(Moody, self).delete(name, if_match=if_match))
        super().delete(name, if_match=if_match)

    def begin(self, name: str, size: int | None, *, if_match: str | None = None) -> Upload:
        self._do(lambda: None)
        return super().begin(name, size, if_match=if_match)

    def unfinished(self, home: str) -> Iterator[Unfinished]:
        self._do(lambda: None)
        return super().unfinished(home)

    def forget(self, unfinished: Unfinished) -> None:
        self._do(lambda: super(Moody, self).forget(unfinished))
        super().forget(unfinished)


class _MoodyObject:
    def __init__(self, found: StoredObject, store: Moody) -> None:
        self._found = found
        self._store = store

    @property
    def size(self) -> int:
        return self._found.size

    def read_at(self, offset: int, length: int) -> bytes:
        self._store._do(lambda: None)
        return self._found.read_at(offset, length)

    def __enter__(self) -> _MoodyObject:
        return self

    def __exit__(self, *error: object) -> None:
        self._found.__exit__(None, None, None)


class Time:
    """A clock that only moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def transient(count: int, retry_after: float | None = None) -> list[StoreError]:
    return [StoreTransient(f"busy {number}", retry_after) for number in range(count)]


def retrying(store: ObjectStore, time: Time, patience: Patience | None = None) -> Retrying:
    return Retrying(store, sleep=time.sleep, clock=time.clock, random=lambda: 0.5, patience=patience or Patience())


@pytest.fixture
def memory() -> MemoryStore:
    store = MemoryStore()
    store.put(NAME, b"{}")
    return store


CALLS: dict[str, Callable[[ObjectStore], object]] = {
    "stat": lambda store: store.stat(NAME),
    "get": lambda store: store.get(NAME),
    "put": lambda store: store.put(NAME, b"new"),
    "open": lambda store: store.open(NAME).size,
    "delete": lambda store: store.delete(NAME),
}


@pytest.mark.parametrize("call", CALLS)
def test_F31_a_transient_failure_passes(memory: MemoryStore, call: str) -> None:
    time = Time()
    CALLS[call](retrying(Moody(memory, transient(4)), time))
    assert time.slept == [0.5, 1.0, 2.0, 4.0]


@pytest.mark.parametrize("call", CALLS)
def test_F31_the_last_failure_is_raised_when_patience_ends(memory: MemoryStore, call: str) -> None:
    time = Time()
    with pytest.raises(StoreTransient, match="busy 4"):
        CALLS[call](retrying(Moody(memory, transient(9)), time))
    assert len(time.slept) == 4


@pytest.mark.parametrize("call", CALLS)
def test_F31_a_store_that_cannot_be_reached_is_unavailable_when_patience_ends(memory: MemoryStore, call: str) -> None:
    time = Time()
    with pytest.raises(StoreUnavailable, match="no connection"):
        CALLS[call](retrying(Moody(memory, [StoreUnreachable("no connection")] * 9), time))
    assert len(time.slept) == 4
    CALLS[call](retrying(Moody(memory, [StoreUnreachable("no connection")] * 4), time))


@pytest.mark.parametrize("error", [StoreError, StoreUnavailable, PreconditionFailed, NoSuchObject, CorruptTransfer])
@pytest.mark.parametrize("call", CALLS)
def test_F31_what_does_not_pass_is_not_tried_again(memory: MemoryStore, call: str, error: type[StoreError]) -> None:
    time = Time()
    with pytest.raises(error, match="no"):
        CALLS[call](retrying(Moody(memory, [error("no")]), time))
    assert time.slept == []


def test_F31_all_tries_together_end_in_time(memory: MemoryStore) -> None:
    time = Time()
    with pytest.raises(StoreTransient):
        retrying(Moody(memory, transient(99)), time, Patience(attempts=99, total=10)).stat(NAME)
    assert time.slept == [0.5, 1.0, 2.0, 4.0]


def test_F31_retry_after_is_kept(memory: MemoryStore) -> None:
    time = Time()
    retrying(Moody(memory, transient(2, retry_after=20)), time).stat(NAME)
    assert time.slept == [20, 20]
    with pytest.raises(StoreTransient):
        retrying(Moody(memory, transient(2, retry_after=3600)), time).stat(NAME)
    assert time.slept == [20, 20]


def test_pauses_differ_by_chance(memory: MemoryStore) -> None:
    time = Time()
    draws = iter([0.0, 1.0])
    store = Retrying(Moody(memory, transient(2)), sleep=time.sleep, clock=time.clock, random=lambda: next(draws))
    store.stat(NAME)
    assert time.slept == [0.25, 1.5]


def test_F32_a_put_whose_answer_was_lost_has_been_done(memory: MemoryStore) -> None:
    old = memory.stat(NAME).etag
    store = retrying(Moody(memory, transient(1), after=True), Time())
    assert store.put(NAME, b"new", if_match=old) == memory.get(NAME)[1]
    assert memory.get(NAME)[0] == b"new"


def test_F32_a_put_that_another_overtook_has_not(memory: MemoryStore) -> None:
    old = memory.stat(NAME).etag
    moody = Moody(memory, transient(1))
    time = Time()

    def overtake(seconds: float) -> None:
        memory.put(NAME, b"another's")

    store = Retrying(moody, sleep=overtake, clock=time.clock, random=lambda: 0.5)
    with pytest.raises(PreconditionFailed):
        store.put(NAME, b"ours", if_match=old)
    assert memory.get(NAME)[0] == b"another's"


def test_a_first_conflict_is_one_even_when_the_content_is_the_same(memory: MemoryStore) -> None:
    with pytest.raises(PreconditionFailed):
        retrying(memory, Time()).put(NAME, b"{}", if_match=ABSENT)


def test_F32_a_put_to_what_was_deleted_meanwhile_is_a_conflict(memory: MemoryStore) -> None:
    old = memory.stat(NAME).etag
    store = Retrying(
        Moody(memory, transient(1)),
        sleep=lambda s: memory.delete(NAME),
        clock=lambda: 0.0,
        random=lambda: 0.0,
    )
    with pytest.raises(PreconditionFailed):
        store.put(NAME, b"ours", if_match=old)


def test_F32_a_delete_whose_answer_was_lost_has_been_done(memory: MemoryStore) -> None:
    retrying(Moody(memory, transient(1), after=True), Time()).delete(NAME)
    with pytest.raises(NoSuchObject):
        memory.stat(NAME)
    with pytest.raises(NoSuchObject):
        retrying(memory, Time()).delete(NAME)


def test_F33_a_listing_that_breaks_off_goes_on_where_it_was() -> None:
    memory = MemoryStore()
    for number in range(10):
        memory.put(f"/alice/{number}", b"")
    time = Time()
    store = retrying(Moody(memory, transient(3)), time)
    assert [entry.name for entry in store.list("/alice")] == [str(number) for number in range(10)]
    assert len(time.slept) == 3
    with pytest.raises(StoreTransient):
        list(retrying(Moody(memory, transient(99)), Time()).list("/alice"))


def test_reading_an_open_object_is_tried_again(memory: MemoryStore) -> None:
    time = Time()
    moody = Moody(memory, [])
    with retrying(moody, time).open(NAME) as found:
        moody.moods = transient(2)
        assert (found.size, found.read_at(0, 9)) == (2, b"{}")
    assert time.slept == [0.5, 1.0]


def test_uploads_are_not_tried_again(memory: MemoryStore) -> None:
    time = Time()
    with pytest.raises(StoreTransient):
        retrying(Moody(memory, transient(1)), time).begin(NAME, 0)
    assert time.slept == []


def test_what_is_unfinished_is_asked_for_and_forgotten_again(tmp_path: Path) -> None:
    (tmp_path / ".uploads").mkdir()
    left = tmp_path / ".uploads" / f".thoth-{'0' * 32}.draft"
    left.write_bytes(b"half")
    time = Time()
    store = retrying(Moody(DirectoryStore(tmp_path), transient(2)), time)
    (unfinished,) = store.unfinished("/alice/stor/thoth")
    assert len(time.slept) == 2
    moody = Moody(DirectoryStore(tmp_path), transient(1), after=True)
    retrying(moody, Time()).forget(unfinished)  # whose first answer is lost
    assert not left.exists()
    with pytest.raises(NoSuchObject):
        retrying(moody, Time()).forget(unfinished)
