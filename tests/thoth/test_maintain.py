"""The index made again from the store: what is in it afterwards, whatever lies in the store."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.memory_index import MemoryIndex
from tests.support.memory_store import MemoryStore
from thoth.edit import SetTicket, edit_dump, stored_form
from thoth.errors import BadDocument, NoSuchDump, NoSuchObject, StoreError, StoreUnavailable
from thoth.library import Thoth
from thoth.maintain import BATCH, UPLOADING, Reindexed, reindex, stored_identities
from thoth.model import DumpInfo, Identity
from thoth.query import Query
from thoth.store.base import ObjectStore
from thoth.store.directory import DirectoryStore
from thoth.store.names import home, info_name


@pytest.fixture
def thoth() -> Thoth:
    return Thoth(MemoryStore(), MemoryIndex(), "bmc")


def named(number: int) -> Identity:
    return Identity(f"{number:032x}")


def dump(number: int, **keys: object) -> DumpInfo:
    return DumpInfo({"id": named(number), "type": "core", "time": number, **keys})


class _Wrapped:
    """A store of which some calls are another's."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


def stored(thoth: Thoth, *infos: DumpInfo) -> None:
    for info in infos:
        thoth.store.put(info_name(thoth.user, info.id), stored_form(info))


def indexed(thoth: Thoth) -> list[DumpInfo]:
    return list(thoth.index.find(Query()))


def test_every_dump_is_in_it(thoth: Thoth) -> None:
    infos = [dump(number) for number in range(2 * BATCH + 1)]
    stored(thoth, *infos)
    thoth.store.put(f"{home('bmc')}/config.json", b"{}")
    thoth.store.put(f"{home('bmc')}/analyzers/findleaks", b"#!")
    assert stored_identities(thoth) == [info.id for info in infos]
    assert reindex(thoth, stored_identities(thoth)) == Reindexed(len(infos), ())
    assert indexed(thoth) == infos


class Batches(MemoryIndex):
    """An index that notes how many documents came at once."""

    __slots__ = ("sizes",)

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def put_many(self, infos: Iterable[DumpInfo]) -> int:
        batch = list(infos)
        self.sizes.append(len(batch))
        return super().put_many(batch)


def test_large_documents_come_few_at_a_time() -> None:
    index = Batches()
    thoth = Thoth(MemoryStore(), index, "bmc")
    stored(thoth, *(dump(number, properties={"sysinfo": "x" * (1 << 20)}) for number in range(20)))
    assert reindex(thoth, stored_identities(thoth)).indexed == sum(index.sizes) == 20
    assert max(index.sizes) < 10


def test_it_is_safe_to_repeat_and_heals_what_is_older(thoth: Thoth) -> None:
    stored(thoth, dump(1, revision=2, ticket="OS-2"))
    thoth.index.put(dump(1, revision=1, ticket="OS-1"))
    for _ in range(2):
        assert reindex(thoth, stored_identities(thoth)) == Reindexed(1, ())
        assert [info.document["ticket"] for info in indexed(thoth)] == ["OS-2"]


def test_a_newer_document_of_the_index_stays(thoth: Thoth) -> None:
    stored(thoth, dump(1, revision=1))
    thoth.index.put(dump(1, revision=2, ticket="OS-2"))
    assert reindex(thoth, stored_identities(thoth)) == Reindexed(1, ())
    assert [info.revision for info in indexed(thoth)] == [2]


def test_what_is_broken_is_told_and_the_rest_goes_on(thoth: Thoth) -> None:
    stored(thoth, *(dump(number) for number in range(5)))
    for number, data in ((1, b"no JSON"), (2, json.dumps(dump(7).document).encode())):
        thoth.store.put(info_name("bmc", named(number)), data)
    thoth.store.delete(info_name("bmc", named(3)))
    thoth.store.put(f"{home('bmc')}/{named(3)}/core.1", b"dump")
    done = reindex(thoth, stored_identities(thoth))
    assert done.indexed == 2
    assert [type(failure) for failure in done.failures] == [BadDocument, BadDocument, NoSuchDump]
    assert [str(failure).partition(": ")[0] for failure in done.failures] == [
        info_name("bmc", named(number)) for number in (1, 2, 3)
    ]
    assert [info.id for info in indexed(thoth)] == [named(0), named(4)]


def test_a_directory_without_anything_is_no_dump_unless_it_is_named(tmp_path: Path) -> None:
    thoth = Thoth(DirectoryStore(tmp_path, create=True), MemoryIndex(), "bmc")
    stored(thoth, dump(0))
    (tmp_path / f"bmc/stor/thoth/{named(1)}").mkdir()
    assert reindex(thoth, stored_identities(thoth), now=time.time()) == Reindexed(1, ())
    assert [type(failure) for failure in reindex(thoth, [named(1)]).failures] == [NoSuchDump]


class TestWithoutDocument:
    """The object of an upload is there a moment before its document."""

    @pytest.fixture
    def thoth(self) -> Thoth:
        thoth = Thoth(MemoryStore(now=lambda: 10_000.0), MemoryIndex(), "bmc")
        stored(thoth, dump(0))
        thoth.store.put(f"{home('bmc')}/{named(1)}/core.1", b"dump")
        return thoth

    def test_an_upload_on_its_way_is_no_failure(self, thoth: Thoth) -> None:
        done = reindex(thoth, stored_identities(thoth), now=10_000.0 + UPLOADING - 1)
        assert done == Reindexed(1, (), arriving=1)

    def test_an_old_object_is_one(self, thoth: Thoth) -> None:
        done = reindex(thoth, stored_identities(thoth), now=10_000.0 + UPLOADING)
        assert [str(each) for each in done.failures] == [
            f"{info_name('bmc', named(1))}: is not there; upload the dump again, or see 'thoth scrub --repair'"
        ]
        assert (done.indexed, done.arriving) == (1, 0)

    def test_one_that_the_index_knows_had_its_document(self, thoth: Thoth) -> None:
        thoth.index.put(dump(1))
        done = reindex(thoth, stored_identities(thoth), now=10_000.0)
        assert ([type(each) for each in done.failures], done.arriving) == ([NoSuchDump], 0)

    def test_a_document_that_comes_meanwhile_is_indexed(self, thoth: Thoth) -> None:
        class Late(_Wrapped):
            def get(self, name: str) -> tuple[bytes, str]:
                try:
                    return self._store.get(name)
                except NoSuchObject:
                    stored(thoth, dump(1))
                    thoth.index.put(dump(1))
                    raise

        late = Thoth(Late(thoth.store), thoth.index, "bmc")  # type: ignore[arg-type]  # __getattr__ has the rest
        assert reindex(late, stored_identities(late), now=10_000.0) == Reindexed(2, ())
        assert indexed(thoth) == [dump(0), dump(1)]


def test_a_document_that_no_index_can_keep_does_not_stop_its_batch(thoth: Thoth) -> None:
    stored(thoth, *(dump(number) for number in range(3)))
    deep = b'{"id": "%s", "x": %s%s}' % (named(1).encode(), b"[" * 300, b"]" * 300)
    thoth.store.put(info_name("bmc", named(1)), deep)
    done = reindex(thoth, stored_identities(thoth))
    assert done.indexed == 2
    assert [str(failure).startswith(info_name("bmc", named(1))) for failure in done.failures] == [True]
    assert [info.id for info in indexed(thoth)] == [named(0), named(2)]


def test_a_change_that_goes_in_between_stays(thoth: Thoth) -> None:
    """F36: the document is read before it is changed and put into the index after that."""
    stored(thoth, *(dump(number) for number in range(3)))

    class Between(_Wrapped):
        def get(self, name: str) -> tuple[bytes, str]:
            found = self._store.get(name)
            if name == info_name("bmc", named(1)):
                edit_dump(thoth, named(1), [SetTicket("OS-1")])
            return found

    between = Thoth(Between(thoth.store), thoth.index, "bmc")  # type: ignore[arg-type]  # __getattr__ has the rest
    assert reindex(between, stored_identities(between)) == Reindexed(3, ())
    assert [info.document.get("ticket") for info in indexed(thoth)] == [None, "OS-1", None]


def test_those_that_were_written_to_since(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store", create=True)
    with Thoth(store, MemoryIndex(), "bmc") as thoth:
        stored(thoth, *(dump(number) for number in range(3)))
        for number in range(3):
            os.utime(tmp_path / f"store{home('bmc')}/{named(number)}", (number, number))
        assert stored_identities(thoth, 0.5) == [named(1), named(2)]
        assert stored_identities(thoth, 2) == []
        stored(thoth, dump(0, revision=1))
        assert stored_identities(thoth, 2) == [named(0)]


class _Failing(_Wrapped):
    """A store of which one call fails."""

    def __init__(self, store: ObjectStore, error: StoreError) -> None:
        super().__init__(store)
        self._error = error

    def get(self, name: str) -> tuple[bytes, str]:
        if name == info_name("bmc", named(1)):
            raise self._error
        return self._store.get(name)


def test_a_store_that_fails_for_one_dump_and_one_that_fails_for_all(thoth: Thoth) -> None:
    stored(thoth, *(dump(number) for number in range(3)))
    error = StoreError("I/O error")
    failing = Thoth(_Failing(thoth.store, error), thoth.index, "bmc")  # type: ignore[arg-type]  # __getattr__ has the rest
    assert reindex(failing, stored_identities(failing)) == Reindexed(2, (error,))
    gone = Thoth(_Failing(thoth.store, StoreUnavailable("gone")), thoth.index, "bmc")  # type: ignore[arg-type]  # as above
    with pytest.raises(StoreUnavailable):
        reindex(gone, stored_identities(gone))
