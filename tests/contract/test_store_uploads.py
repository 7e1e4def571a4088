"""What every store promises of uploads."""

from __future__ import annotations

import pytest

from tests.contract.stores import CORE, HOME, INFO, content, digests, names, upload
from thoth.errors import CorruptTransfer, NoSuchObject, OtherBytes, PreconditionFailed, StoreError
from thoth.store.base import ABSENT, ObjectStore, Unfinished


@pytest.mark.parametrize(
    "blocks",
    [(), (b"",), (b"one",), (b"a", b"", b"bc" * 70_000, b"d")],
    ids=["none", "empty", "one", "several"],
)
def test_an_upload_is_the_sum_of_its_parts(store: ObjectStore, blocks: tuple[bytes, ...]) -> None:
    stored = upload(store, CORE, *blocks)
    assert stored == store.stat(CORE)
    assert stored.size == len(b"".join(blocks))
    assert content(store, CORE) == b"".join(blocks)


def test_nothing_is_visible_before_commit(store: ObjectStore) -> None:
    incoming = store.begin(CORE, 3)
    incoming.part(b"abc")
    assert names(store, "/alice/stor") == []
    with pytest.raises(NoSuchObject):
        store.stat(CORE)
    incoming.commit(digests(b"abc"))
    assert names(store, f"{HOME}/{'ab' * 16}") == ["core.x"]


def test_commit_replaces_and_changes_the_etag(store: ObjectStore) -> None:
    old = upload(store, CORE, b"aaaa")
    new = upload(store, CORE, b"bbbb")
    assert (content(store, CORE), new) == (b"bbbb", store.stat(CORE))
    assert old.etag != new.etag


def test_an_aborted_upload_leaves_what_was_there(store: ObjectStore) -> None:
    old = upload(store, CORE, b"old")
    incoming = store.begin(CORE, 3)
    incoming.part(b"new")
    incoming.abort()
    incoming.abort()
    assert (content(store, CORE), store.stat(CORE)) == (b"old", old)


def test_abort_after_commit_does_nothing(store: ObjectStore) -> None:
    incoming = store.begin(CORE, 3)
    incoming.part(b"abc")
    stored = incoming.commit(digests(b"abc"))
    incoming.abort()
    assert store.stat(CORE) == stored


def test_an_upload_that_is_over_takes_nothing(store: ObjectStore) -> None:
    incoming = store.begin(CORE, 3)
    incoming.abort()
    with pytest.raises(StoreError, match=r"core\.x.*over"):
        incoming.part(b"abc")
    with pytest.raises(StoreError, match=r"core\.x.*over"):
        incoming.commit(digests(b""))
    with pytest.raises(NoSuchObject):
        store.stat(CORE)


@pytest.mark.parametrize("sent", [b"", b"ab", b"abcd"])
def test_F06_a_wrong_size_is_not_stored(store: ObjectStore, sent: bytes) -> None:
    old = upload(store, CORE, b"old")
    incoming = store.begin(CORE, 3)
    incoming.part(sent)
    with pytest.raises(CorruptTransfer, match=r"core\.x"):
        incoming.commit(digests(b"abc"))
    incoming.abort()
    assert (content(store, CORE), store.stat(CORE)) == (b"old", old)


def test_two_uploads_to_one_name_do_not_mix(store: ObjectStore) -> None:
    first, second = store.begin(CORE, 6), store.begin(CORE, 6)
    first.part(b"one")
    second.part(b"two")
    first.part(b"one")
    second.part(b"two")
    second.commit(digests(b"twotwo"))
    assert content(store, CORE) == b"twotwo"
    stored = first.commit(digests(b"oneone"))
    assert (content(store, CORE), store.stat(CORE)) == (b"oneone", stored)


def test_an_upload_into_a_place_that_has_to_be_empty(store: ObjectStore) -> None:
    first, second = (store.begin(CORE, 3, if_match=ABSENT) for _ in range(2))
    first.part(b"one")
    second.part(b"two")
    stored = second.commit(digests(b"two"))
    with pytest.raises(PreconditionFailed, match=r"core\.x"):
        first.commit(digests(b"one"))
    first.abort()
    assert (content(store, CORE), store.stat(CORE)) == (b"two", stored)


def test_an_upload_in_place_of_what_was_looked_at(store: ObjectStore) -> None:
    old = upload(store, CORE, b"old").etag
    first, second = (store.begin(CORE, 3, if_match=old) for _ in range(2))
    first.part(b"one")
    second.part(b"two")
    stored = first.commit(digests(b"one"))
    with pytest.raises(PreconditionFailed, match=r"core\.x"):
        second.commit(digests(b"two"))
    assert (content(store, CORE), store.stat(CORE)) == (b"one", stored)


def test_an_upload_in_place_of_what_is_gone(store: ObjectStore) -> None:
    old = upload(store, CORE, b"old").etag
    incoming = store.begin(CORE, 3, if_match=old)
    incoming.part(b"new")
    store.delete(CORE)
    with pytest.raises(PreconditionFailed, match=r"core\.x"):
        incoming.commit(digests(b"new"))
    assert names(store, f"{HOME}/{'ab' * 16}") == []


def test_a_repetition_of_what_is_there(store: ObjectStore) -> None:
    data = bytes(range(256)) * 5000
    there = upload(store, CORE, data)
    repeated = store.repeat(CORE, there)
    for at in range(0, len(data), 300_000):
        repeated.part(data[at : at + 300_000])
    assert repeated.commit(digests(data)) == there
    repeated.abort()
    assert (content(store, CORE), store.stat(CORE)) == (data, there)
    with pytest.raises(StoreError):
        repeated.part(b"x")


@pytest.mark.parametrize("data", [b"new", b"ol", b"older", b""])
def test_a_repetition_that_is_none(store: ObjectStore, data: bytes) -> None:
    there = upload(store, CORE, b"old")
    repeated = store.repeat(CORE, there)
    with pytest.raises(OtherBytes, match=r"core\.x"):
        if data:
            repeated.part(data)
        repeated.commit(digests(data))
    repeated.abort()
    assert (content(store, CORE), store.stat(CORE)) == (b"old", there)


def test_a_repetition_of_what_is_not_there_any_more(store: ObjectStore) -> None:
    old = upload(store, CORE, b"old")
    upload(store, CORE, b"new")
    with pytest.raises(PreconditionFailed, match=r"core\.x"):
        store.repeat(CORE, old)
    store.delete(CORE)
    with pytest.raises((NoSuchObject, PreconditionFailed), match=r"core\.x"):
        store.repeat(CORE, old)


def test_an_upload_of_unknown_size(store: ObjectStore) -> None:
    incoming = store.begin(CORE, None)
    incoming.part(b"abc")
    incoming.part(b"def")
    assert incoming.commit(digests(b"abcdef")) == store.stat(CORE)
    assert content(store, CORE) == b"abcdef"


def test_nothing_is_unfinished_that_is_done_or_under_way(store: ObjectStore) -> None:
    upload(store, CORE, b"abc")
    incoming = store.begin(INFO, 3)
    incoming.part(b"abc")
    assert [*store.unfinished("/alice/stor/thoth")] == []
    incoming.commit(digests(b"abc"))
    assert [*store.unfinished("/alice/stor/thoth")] == []


def test_what_nobody_has_begun_can_be_discarded_and_is_nothing_to_go_on_with(store: ObjectStore) -> None:
    store.put(f"{HOME}/x", b"x" * 10)
    store.discard(f"{HOME}/x", 10)
    store.discard(f"{HOME}/other", 1 << 40)
    assert content(store, f"{HOME}/x") == b"x" * 10
    upload = store.begin(f"{HOME}/y", 1 << 20)
    assert upload.kept(1) is None
    upload.abort()


def test_what_is_not_unfinished_cannot_be_forgotten(store: ObjectStore) -> None:
    upload(store, CORE, b"abc")
    for name in (CORE, "/alice/uploads/none", "/.uploads/none"):
        with pytest.raises(NoSuchObject, match=name):
            store.forget(Unfinished(name, 3, 0.0))
    assert content(store, CORE) == b"abc"
