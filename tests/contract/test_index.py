"""What every index promises: thoth/index/base.py, on each implementation. Here: writing, and dumps by name."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tests.contract.indexes import dump, ids, named
from thoth.errors import BadDocument, CannotWrite
from thoth.index.base import Index, Known
from thoth.index.documents import MAX_DEPTH
from thoth.index.sqlite import BATCH
from thoth.index.wrappers import DryRunIndex
from thoth.model import DumpInfo, Json
from thoth.query import (
    Equals,
    Query,
)


def test_never_written_to_is_empty(index: Index) -> None:
    assert list(index.find(Query())) == []
    assert index.count(Query()) == 0
    assert index.report(Query(), ("cmd",)) == {}
    assert list(index.select(Query(), [("cmd",)])) == []
    assert index.known([named(1)]) == {}
    assert index.get(named(1)) is None
    assert index.named("") == []
    index.delete(named(1))


def test_create_can_be_repeated(index: Index) -> None:
    index.create()
    index.put(dump(1))
    assert index.create() == []
    assert ids(index) == [1]


def test_put_and_get_keep_every_character(index: Index) -> None:
    info = dump(1, cmd="a\udcff\0\n\u2028\U0001f600'\";--", properties={"é\udc80": [None, True, 1, 1.5, 10**30, {}]})
    assert index.put(info)
    assert index.get(info.id) == info
    assert list(index.find(Query())) == [info]


def test_what_was_put_is_not_shared(index: Index) -> None:
    properties = {"a": "before"}
    index.put(dump(1, properties=properties))
    properties["a"] = "after"
    first = index.get(named(1))
    assert first is not None
    assert first.document["properties"] == {"a": "before"}


def test_higher_revision_wins(index: Index) -> None:
    def put(revision: object, cmd: str) -> tuple[bool, Json]:
        stored = index.put(dump(1, revision=revision, cmd=cmd))
        current = index.get(named(1))
        return stored, current and current.document["cmd"]

    assert put(3, "a") == (True, "a")
    assert put(2, "b") == (False, "a")
    assert put(3, "c") == (True, "c")  # the same revision again: the last one is as good
    assert put(4, "d") == (True, "d")
    assert put("5", "e") == (False, "d")  # no revision at all
    assert put(10**40, "f") == (True, "f")
    assert ids(index, Equals(("cmd",), "f")) == [1]
    assert ids(index, Equals(("cmd",), "d")) == []


@pytest.mark.parametrize("odd", [2.5, 2.0, "7", True, -3, None], ids=repr)
def test_a_revision_is_a_whole_number_or_none(index: Index, odd: Json) -> None:
    assert index.put(dump(1, revision=odd, cmd="first"))
    assert index.known([named(1)])[named(1)].revision == 0
    assert index.put(dump(1, revision=0, cmd="second"))
    assert next(index.find(Query())).document["cmd"] == "second"


def test_put_many_tells_how_many_were_stored(index: Index) -> None:
    index.put(dump(2, revision=9))
    assert index.put_many(dump(number, revision=1) for number in range(5)) == 4
    assert index.put_many([]) == 0
    assert ids(index) == [0, 1, 2, 3, 4]


def test_put_many_stores_all_or_none(index: Index) -> None:
    with pytest.raises(BadDocument):
        index.put_many([dump(1), DumpInfo({"id": named(2), "a": {1, 2}})])
    assert ids(index) == []


def nested(depth: int) -> Json:
    value: Json = "x"
    for _ in range(depth):
        value = [value]
    return value


def test_deep_document_is_kept_or_refused_whole(index: Index) -> None:
    assert index.put(dump(1, properties=nested(MAX_DEPTH - 1)))
    assert ids(index, Equals(("cmd",), "x")) == []
    around: dict[str, Json] = {}
    around["a"] = around["b"] = around
    with pytest.raises(BadDocument, match="JSON"):
        index.put(dump(2, properties={"n": float("inf")}))
    for deep in (nested(MAX_DEPTH + 1), nested(100_000), around):
        with pytest.raises(BadDocument, match="nested"):
            index.put(dump(2, properties=deep))
    assert ids(index) == [1]


def test_known(index: Index) -> None:
    index.put(dump(1, revision=2, size=77, complete=True, sha256="ab" * 32))
    index.put(dump(2, size="77", complete="yes", sha256=5))
    index.put(dump(3, complete=False, sha256="\udcff\0", size=10**30, cmd=["odd"]))
    index.put(dump(4, complete=True, purged=1_700_000_000))
    index.put(dump(5, purged=1_700_000_000, cmd=["odd"]))
    index.put(dump(6, purged=None, properties={"purged": True}))
    assert index.known(named(number) for number in range(7)) == {
        named(1): Known(2, 77, True, "ab" * 32),
        named(2): Known(0, None, None, None),
        named(3): Known(0, None, False, "\udcff\0"),
        named(4): Known(0, None, True, None, purged=True),
        named(5): Known(0, None, None, None, purged=True),
        named(6): Known(0, None, None, None),
    }


def test_a_dump_that_comes_back_is_purged_no_more(index: Index) -> None:
    index.put(dump(1, purged=1_700_000_000))
    index.put(dump(1, revision=1))
    assert index.known([named(1)]) == {named(1): Known(1, None, None, None)}


def test_known_takes_any_number(index: Index) -> None:
    count = 2 * BATCH + 1
    index.put_many(dump(number) for number in range(0, count, 2))
    assert set(index.known(named(number) for number in range(count))) == {named(n) for n in range(0, count, 2)}


def test_named(index: Index) -> None:
    index.put_many(dump(number) for number in [0xAB << 120, (0xAB << 120) + 1, 0xAC << 120, 5])
    assert index.named("ab") == [named(0xAB << 120), named((0xAB << 120) + 1)]
    assert index.named("a", limit=2) == [named(0xAB << 120), named((0xAB << 120) + 1)]
    assert index.named(named(5)) == [named(5)]
    for none in ("b", "AB", "\udcff", "a*", named(5) + "0"):
        assert index.named(none) == []


def test_delete(index: Index) -> None:
    index.put_many([dump(1, cmd="a"), dump(2, cmd="a")])
    index.delete(named(1))
    index.delete(named(1))
    assert ids(index, Equals(("cmd",), "a")) == [2]
    assert index.put(dump(1))


def test_threads_lose_nothing(index: Index) -> None:
    start = threading.Barrier(4)

    def write(worker: int) -> None:
        start.wait()
        for number in range(25):
            index.put(dump(worker * 100 + number, cmd="each"))
            index.put(dump(9999, revision=worker * 25 + number))
            index.known([named(9999)])

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert index.count(Query((Equals(("cmd",), "each"),))) == 100
    assert index.known([named(9999)])[named(9999)].revision == 99


def test_dry_run_reads_and_cannot_write(index: Index) -> None:
    index.put(dump(1, cmd="a"))
    dry = DryRunIndex(index)
    assert ids(dry) == [1]
    assert dry.count(Query()) == 1
    assert dry.report(Query(), ("cmd",)) == {"a": 1}
    assert dry.get(named(1)) == index.get(named(1))
    assert dry.known([named(1)]).keys() == {named(1)}
    assert dry.named("0") == [named(1)]
    writes: list[Callable[[], object]] = [
        dry.create,
        lambda: dry.put(dump(2)),
        lambda: dry.put_many([]),
        lambda: dry.delete(named(1)),
    ]
    for write in writes:
        with pytest.raises(CannotWrite):
            write()
    assert ids(index) == [1]
