"""The index made again from the store: what is in it afterwards, whatever lies in the store."""

from __future__ import annotations

import json

import pytest

from thoth.edit import stored_form
from thoth.errors import BadDocument, NoSuchDump, StoreError, StoreUnavailable
from thoth.index.memory import MemoryIndex
from thoth.library import Thoth
from thoth.maintain import BATCH, Reindexed, reindex, stored_identities
from thoth.model import DumpInfo, Identity
from thoth.query import Query
from thoth.store.base import ObjectStore
from thoth.store.memory import MemoryStore
from thoth.store.names import home, info_name


@pytest.fixture
def thoth() -> Thoth:
    return Thoth(MemoryStore(), MemoryIndex(), "bmc")


def named(number: int) -> Identity:
    return Identity(f"{number:032x}")


def dump(number: int, **keys: object) -> DumpInfo:
    return DumpInfo({"id": named(number), "type": "core", "time": number, **keys})


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


def test_a_document_that_no_index_can_keep_does_not_stop_its_batch(thoth: Thoth) -> None:
    stored(thoth, *(dump(number) for number in range(3)))
    deep = b'{"id": "%s", "x": %s%s}' % (named(1).encode(), b"[" * 300, b"]" * 300)
    thoth.store.put(info_name("bmc", named(1)), deep)
    done = reindex(thoth, stored_identities(thoth))
    assert done.indexed == 2
    assert [str(failure).startswith(info_name("bmc", named(1))) for failure in done.failures] == [True]
    assert [info.id for info in indexed(thoth)] == [named(0), named(2)]


class _Failing:
    """A store of which one call fails."""

    def __init__(self, store: ObjectStore, error: StoreError) -> None:
        self._store, self._error = store, error

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

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
