"""What every store promises: small objects, reading, directories and names."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from tests.contract.stores import CORE, HOME, INFO, content, digests, names, upload
from thoth.errors import NoSuchObject, PreconditionFailed, StoreError
from thoth.store.base import ABSENT, MAX_SMALL, ObjectStat, ObjectStore

# ---- small objects --------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"{}", bytes(range(256)) * 300], ids=["empty", "small", "binary"])
def test_what_is_put_can_be_had_in_every_way(store: ObjectStore, data: bytes) -> None:
    etag = store.put(INFO, data)
    assert store.get(INFO) == (data, etag)
    assert store.stat(INFO) == ObjectStat(len(data), etag)
    assert content(store, INFO) == data


def test_put_replaces(store: ObjectStore) -> None:
    store.put(INFO, b"a longer first version")
    etag = store.put(INFO, b"second")
    assert store.get(INFO) == (b"second", etag)


def test_no_two_contents_share_an_etag(store: ObjectStore) -> None:
    etags = [store.put(INFO, b"%04d" % number) for number in range(200)]
    assert len(set(etags)) == 200
    assert ABSENT not in etags


def test_an_etag_does_not_come_back_after_a_delete(store: ObjectStore) -> None:
    etags = []
    for number in range(50):
        etags.append(store.put(INFO, b"%04d" % number))
        store.delete(INFO)
    assert len(set(etags)) == 50


def test_absent_makes_an_object_once(store: ObjectStore) -> None:
    etag = store.put(INFO, b"first", if_match=ABSENT)
    with pytest.raises(PreconditionFailed, match=r"info\.json"):
        store.put(INFO, b"second", if_match=ABSENT)
    assert store.get(INFO) == (b"first", etag)


def test_an_object_that_was_deleted_is_absent(store: ObjectStore) -> None:
    store.put(INFO, b"first")
    store.delete(INFO)
    etag = store.put(INFO, b"second", if_match=ABSENT)
    assert store.get(INFO) == (b"second", etag)


def test_compare_and_set(store: ObjectStore) -> None:
    old = store.put(INFO, b"one")
    new = store.put(INFO, b"two", if_match=old)
    with pytest.raises(PreconditionFailed, match=r"info\.json"):
        store.put(INFO, b"lost", if_match=old)
    assert store.get(INFO) == (b"two", new)


def test_compare_and_set_of_what_is_not_there_changes_nothing(store: ObjectStore) -> None:
    with pytest.raises(PreconditionFailed):
        store.put(INFO, b"x", if_match="an-etag")
    assert names(store, "/alice/stor") == []
    with pytest.raises(NoSuchObject):
        store.stat(INFO)


def test_F36_threads_lose_no_change(store: ObjectStore) -> None:
    store.put(INFO, b"0")
    failures: list[BaseException] = []

    def add(times: int) -> None:
        try:
            while times:
                data, etag = store.get(INFO)
                try:
                    store.put(INFO, b"%d" % (int(data) + 1), if_match=etag)
                except PreconditionFailed:
                    continue
                times -= 1
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=add, args=(25,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert store.get(INFO)[0] == b"100"


def test_a_small_object_may_not_be_large(store: ObjectStore) -> None:
    block = bytes(1 << 20)
    upload(store, CORE, *[block] * (MAX_SMALL >> 20), b"x")
    with pytest.raises(StoreError, match=r"core\.x.*large"):
        store.get(CORE)
    with pytest.raises(StoreError, match=r"info\.json.*large"):
        store.put(INFO, bytes(MAX_SMALL + 1))
    with pytest.raises(NoSuchObject):
        store.stat(INFO)


# ---- reading --------------------------------------------------------------------------------------


def test_what_is_not_there(store: ObjectStore) -> None:
    store.put(INFO, b"{}")
    for name in ("/alice/stor/nobody/x", f"{INFO}/below", HOME, f"{HOME}/x"):
        for ask in (store.stat, store.get, store.open):
            with pytest.raises(NoSuchObject, match=name):
                ask(name)
    for name in ("/alice/stor/nobody/x", f"{INFO}/below", f"{HOME}/x"):
        with pytest.raises(NoSuchObject, match=name):
            store.delete(name)


def test_read_at(store: ObjectStore) -> None:
    upload(store, CORE, b"0123456789")
    with store.open(CORE) as found:
        assert found.size == 10
        assert found.read_at(0, 4) == b"0123"
        assert found.read_at(7, 100) == b"789"
        assert found.read_at(8, 1 << 62) == b"89"
        assert found.read_at(10, 1) == found.read_at(1 << 62, 5) == found.read_at(3, 0) == b""


def test_an_open_object_stays_what_it_was(store: ObjectStore, remote: bool) -> None:
    upload(store, CORE, b"old content")
    with store.open(CORE) as found:
        upload(store, CORE, b"new")
        assert found.size == 11
        if remote:
            with pytest.raises(PreconditionFailed, match=r"core\.x.*replaced"):
                found.read_at(0, 100)
        else:
            assert found.read_at(0, 100) == b"old content"
        store.delete(CORE)
        if remote:
            with pytest.raises(NoSuchObject, match=r"core\.x.*deleted"):
                found.read_at(4, 7)
        else:
            assert found.read_at(4, 7) == b"content"


def test_a_closed_object_cannot_be_read(store: ObjectStore) -> None:
    store.put(INFO, b"{}")
    with store.open(INFO) as found:
        pass
    with pytest.raises(StoreError, match=r"info\.json.*closed"):
        found.read_at(0, 1)


# ---- directories ----------------------------------------------------------------------------------


def test_list_of_a_few(store: ObjectStore) -> None:
    for name in ("c/1", "b", "a", "d"):
        store.put(f"{HOME}/{name}", b"x")
    every = list(store.list(HOME))
    few = list(store.list(HOME, most=2))
    assert (len(few), sorted(few, key=lambda each: each.name)) == (2, few)
    assert all(each in every for each in few)
    assert list(store.list(HOME, most=5)) == every
    assert list(store.list(f"{HOME}/nothing", most=1)) == []


def test_list_is_sorted_and_tells_directories_from_objects(store: ObjectStore) -> None:
    before = time.time()
    for name in ("b", "a", "C", "d/1", "d/2", "aa"):
        store.put(f"{HOME}/{name}", b"x" * len(name))
    entries = list(store.list(HOME))
    assert [(entry.name, entry.directory, entry.size) for entry in entries] == [
        ("C", False, 1),
        ("a", False, 1),
        ("aa", False, 2),
        ("b", False, 1),
        ("d", True, 0),
    ]
    # File systems round times down, some to two seconds.
    assert all(before - 2 <= entry.mtime <= time.time() for entry in entries if not entry.directory)


def test_a_directory_that_is_not_there_is_empty(store: ObjectStore) -> None:
    assert names(store, HOME) == []
    store.put(INFO, b"{}")
    assert names(store, f"{HOME}/analyzers") == []
    assert names(store, INFO) == []


def test_delete(store: ObjectStore) -> None:
    store.put(f"{HOME}/d/one", b"1")
    store.put(f"{HOME}/d/two", b"2")
    store.delete(f"{HOME}/d/one")
    assert names(store, f"{HOME}/d") == ["two"]
    with pytest.raises(StoreError, match="d: is not empty"):
        store.delete(f"{HOME}/d")
    store.delete(f"{HOME}/d/two")
    store.delete(f"{HOME}/d")
    assert names(store, HOME) == []
    with pytest.raises(NoSuchObject):
        store.delete(f"{HOME}/d")


def test_a_delete_with_a_condition(store: ObjectStore) -> None:
    old = store.put(INFO, b"1")
    new = store.put(INFO, b"2")
    with pytest.raises(PreconditionFailed, match=r"info\.json"):
        store.delete(INFO, if_match=old)
    assert store.get(INFO) == (b"2", new)
    store.delete(INFO, if_match=new)
    with pytest.raises((NoSuchObject, PreconditionFailed)):
        store.delete(INFO, if_match=new)


def test_an_object_is_no_directory_and_the_other_way_round(store: ObjectStore) -> None:
    etag = store.put(INFO, b"{}")
    incoming = store.begin(f"{INFO}/x", 0)
    with pytest.raises(StoreError):
        incoming.commit(digests(b""))
    incoming = store.begin(HOME, 0)
    with pytest.raises(StoreError):
        incoming.commit(digests(b""))
    with pytest.raises(StoreError):
        store.put(f"{INFO}/x", b"")
    with pytest.raises(StoreError):
        store.put(HOME, b"")
    assert store.get(INFO) == (b"{}", etag)


# ---- names ----------------------------------------------------------------------------------------

ODD = ["a b\n\t'\"$(x);`y`|&", "-rf", "%2E%2e", "~", "*", "ü", "x" * 255, "\x1b[2J\x7f"]


@pytest.mark.parametrize("last", ODD)
def test_F20_odd_names_are_only_names(store: ObjectStore, last: str) -> None:
    upload(store, f"{HOME}/{last}", last.encode("utf-8", "surrogateescape"))
    assert names(store, HOME) == [last]
    assert content(store, f"{HOME}/{last}") == last.encode("utf-8", "surrogateescape")
    store.delete(f"{HOME}/{last}")
    assert names(store, HOME) == []


def test_F20_a_name_that_is_no_text(store: ObjectStore, remote: bool) -> None:
    name = f"{HOME}/core.\udcff\udcfe"
    if remote:
        for ask in (store.stat, store.get, store.open, store.delete, lambda each: store.put(each, b"")):
            with pytest.raises(StoreError, match="not a name in the store"):
                ask(name)
        return
    upload(store, name, b"x")
    assert names(store, HOME) == ["core.\udcff\udcfe"]
    assert content(store, name) == b"x"
    store.delete(name)
    assert names(store, HOME) == []


REFUSED = [
    "",
    "/",
    "x",
    "alice/x",
    "//x",
    "/a//b",
    "/a/",
    "/a/./b",
    "/..",
    "/a/../b",
    "/a/.hidden",
    "/.uploads/x",
    "/.lock",
    "/a/b\0c",
    "/a/" + "x" * 256,
    "/a/\ud800",
]


@pytest.mark.parametrize("name", REFUSED)
def test_F18_names_that_are_refused(store: ObjectStore, name: str) -> None:
    asks: list[Callable[[], object]] = [
        lambda: store.stat(name),
        lambda: store.get(name),
        lambda: store.open(name),
        lambda: list(store.list(name)),
        lambda: store.put(name, b""),
        lambda: store.begin(name, 0),
        lambda: store.delete(name),
    ]
    for ask in asks:
        with pytest.raises(StoreError, match="not a name in the store"):
            ask()


def test_how_much_room_there_is(store: ObjectStore, remote: bool) -> None:
    free = store.free()
    assert free is None if remote else free is None or free > 0
