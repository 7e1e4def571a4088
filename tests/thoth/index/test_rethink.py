"""What the shared index does beyond the contract: its tables, the original's rows, long answers, dumps by name."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any

import pytest
from rethinkdb import r

from tests.support.chaos import Proxy, Silence
from tests.support.processes import wait_until
from tests.support.reql_stub import ReqlStub
from tests.support.reqlite import ReqlServer
from tests.thoth.index.rows import dump, named
from thoth.errors import BadDocument, CannotWrite, IndexFailure
from thoth.index import rethink, rethink_connections, rethink_writes
from thoth.index.base import Known
from thoth.index.reql_conditions import asked_of
from thoth.index.rethink import RethinkIndex
from thoth.index.rethink_place import RethinkPlace
from thoth.index.rethink_rows import FIELD
from thoth.model import DumpInfo, Identity, Json
from thoth.query import Constraint, Equals, Glob, Named, Newer, Older, Query, Timeless, Undefined, matches, sort_key

Run = Callable[[Any], Any]


@pytest.fixture
def place(reql: ReqlServer) -> Iterator[RethinkPlace]:
    yield reql.new_place()
    reql.drop_all()


@pytest.fixture
def index(place: RethinkPlace) -> Iterator[RethinkIndex]:
    with closing(RethinkIndex(place)) as opened:
        yield opened


@pytest.fixture
def run(place: RethinkPlace) -> Iterator[Run]:
    """Runs a term by the driver, as the original's programs do."""
    with r.connect(place.host, place.port, db=place.database) as connection:
        yield lambda term: term.run(connection)


@pytest.fixture
def original(place: RethinkPlace, run: Run) -> Run:
    """The same, where the original has made its tables."""
    run(r.db_create(place.database))
    for table in ("dumps", "analyzers"):
        run(r.table_create(table))
    run(r.table("dumps").index_create("time"))
    run(r.table("dumps").index_wait())
    return run


def ids(index: RethinkIndex, *constraints: Constraint, limit: int | None = None) -> list[int]:
    query = Query(constraints, limit)
    found = [int(info.id, 16) for info in index.find(query)]
    assert [int(row[0], 16) for row in index.select(query, [("id",)])] == found
    assert index.count(query) == sum(index.report(query, ("x",)).values()) == len(found)
    return found


class TestTables:
    def test_create_says_what_it_makes(self, index: RethinkIndex, place: RethinkPlace, run: Run) -> None:
        assert index.create() == [
            f"created database '{place.database}'",
            "created table 'dumps'",
            "created table 'analyzers'",
            "created index 'time'",
        ]
        assert index.create() == []
        assert run(r.table("dumps").info()["primary_key"]) == "id"
        assert {each["index"] for each in run(r.table("dumps").index_status()) if each["ready"]} == {
            "time",
            "thoth_apart",
            "thoth_exact",
            "thoth_signature",
        }

    def test_create_makes_what_is_missing(self, index: RethinkIndex, original: Run) -> None:
        assert index.create() == []
        assert sorted(original(r.table("dumps").index_list())) == [
            "thoth_apart",
            "thoth_exact",
            "thoth_signature",
            "time",
        ]

    def test_two_make_it_at_the_same_time(self, place: RethinkPlace) -> None:
        with ExitStack() as undo:
            indexes = [undo.enter_context(closing(RethinkIndex(place))) for _ in range(4)]
            made = [line for lines in _at_once(*(index.create for index in indexes)) for line in lines]
        assert len(made) == len(set(made)) == 4

    def test_who_asks_while_others_make_it_finds_what_is_there(self, reql: ReqlServer) -> None:
        for _ in range(5):
            with closing(RethinkIndex(reql.new_place())) as index:
                seen = _at_once(
                    *(lambda number=number: index.put(dump(number)) for number in range(3)),
                    *(lambda: len(list(index.find(Query()))) for _ in range(3)),
                )
                assert seen[:3] == [True] * 3
                assert set(seen[3:]) <= {0, 1, 2, 3}
                assert ids(index) == [0, 1, 2]

    def test_asking_makes_nothing(self, index: RethinkIndex, place: RethinkPlace, run: Run) -> None:
        assert index.known([]) == index.known([named(1)]) == {}
        assert ids(index) == ids(index, Named(frozenset(["ab"]))) == []
        assert place.database not in run(r.db_list())

    def test_read_only_writes_nothing(self, place: RethinkPlace, run: Run) -> None:
        with closing(RethinkIndex(place, read_only=True)) as index:
            writes: list[Callable[[], object]] = [
                index.create,
                lambda: index.put(dump(1)),
                lambda: index.put_many([]),
                lambda: index.delete(named(1)),
            ]
            for write in writes:
                with pytest.raises(CannotWrite, match=r"/thoth_test_\w+: the index is open for a dry run"):
                    write()
            assert ids(index) == []
        assert place.database not in run(r.db_list())

    def test_a_table_without_time_says_what_to_do(self, index: RethinkIndex, original: Run) -> None:
        original(r.table("dumps").index_drop("time"))
        for ask in (lambda: list(index.find(Query())), lambda: index.count(Query())):
            with pytest.raises(IndexFailure, match=r"table 'dumps' has no index 'time'; 'thoth init' makes it$"):
                ask()
        assert index.create() == ["created index 'time'"]
        assert ids(index) == []


SIGNED: list[dict[str, Json]] = [
    {"signature": "p: a | b", "time": 5},
    {"signature": "p: a | b", "time": 3, "ticket": "T"},
    {"signature": "p: a | b", "time": "4"},
    {"signature": ["x", "p: a | b"], "time": 6},
    {"signature": "p: a | b", "time": 2**60},
    {"signature": "p: a | " + "b" * 400, "time": 1},
    {"signature": "p: a | " + "b" * 399 + "c", "time": 2},
    {"signature": "5", "time": 7},
    {"signature": 5, "time": 8},
    {"signature": True, "time": 9},
    {"signature": None, "time": 10},
    {"signature": "\0", "time": 11},
    {"time": 12},
]


class TestBySignature:
    """An index leads to the dumps of a signature, and what is found is the same without it."""

    @pytest.mark.parametrize("with_index", [True, False])
    def test_the_same_is_found(self, index: RethinkIndex, run: Run, with_index: bool) -> None:
        index.create()
        if not with_index:
            run(r.table("dumps").index_drop("thoth_signature"))
        infos = [dump(number, **fields) for number, fields in enumerate(SIGNED)]
        index.put_many(infos)
        for wanted in ("p: a | b", str(SIGNED[5]["signature"]), "5", "5.0", "true", "\0", "x", "none"):
            asked = Equals(("signature",), wanted)
            for more in ((), (Newer(3),), (Older(6), Newer(0)), (Undefined(("ticket",)),), (Timeless(),)):
                meant = Query((asked, *more))
                told = [int(info.id, 16) for info in sorted(infos, key=sort_key) if matches(meant, info.document)]
                assert ids(index, asked, *more) == told
                assert ids(index, asked, *more, limit=2) == told[:2]

    def test_the_index_is_what_is_asked(self, index: RethinkIndex) -> None:
        index.create()
        index.put_many([dump(1, signature="a"), dump(2, signature="b")])
        assert "thoth_signature" in str(index._question(Query(), asked_of([Equals(("signature",), "a")])))
        assert "thoth_signature" not in str(index._question(Query(), asked_of([Equals(("cmd",), "a")])))


class TestBesideTheOriginal:
    """Its rows are our documents, our rows are its documents, and it keeps its tables as they are."""

    ROWS: tuple[dict[str, Json], ...] = (
        {"id": named(1), "time": 1000, "cmd": "svcs", "pid": "19972", "type": "core", "properties": {}},
        {"id": named(2), "time": "900", "cmd": "svcs", "type": "crash", "properties": {"triage": {"b": 1, "a": 2}}},
        {"id": named(3), "cmd": "svc.startd", "pid": 19972, "properties": {}},
        {"id": named(4), "time": "%s", "cmd": ["svcs"], "n": 0.30000000000000004, "properties": {}},
    )

    @pytest.mark.parametrize("ours", [False, True], ids=["as-it-is", "with-our-index"])
    def test_its_rows_are_found(self, index: RethinkIndex, original: Run, ours: bool) -> None:
        if ours:
            index.create()
        original(r.table("dumps").insert(list(self.ROWS)))
        assert ids(index) == [3, 4, 2, 1]
        assert ids(index, Equals(("cmd",), "svcs")) == [4, 2, 1]
        assert ids(index, Glob(("cmd",), "svc?*"), limit=2) == [3, 4]
        assert ids(index, Equals(("pid",), "19972")) == [3, 1]
        assert ids(index, Glob(("n",), "0.3*4")) == [4]
        assert ids(index, Timeless()) == [3, 4]
        assert ids(index, Newer(899), Older(1000)) == [2]
        assert index.known([named(1), named(9)]) == {named(1): Known(0, None, None, None)}
        assert index.named("0") == [named(number) for number in (1, 2, 3, 4)]
        assert index.report(Query(), ("properties", "triage")) == {"undefined": 3, '{"a":2,"b":1}': 1}
        assert list(index.select(Query(), [("time",)])) == [(None,), (None,), (900.0,), (1000.0,)]
        for row in self.ROWS:
            found = index.get(Identity(row["id"]))
            assert found is not None
            assert found.document == row
        assert sorted(original(r.table("dumps").index_list())) == (
            ["thoth_apart", "thoth_exact", "thoth_signature", "time"] if ours else ["time"]
        )

    def test_it_finds_our_rows(self, index: RethinkIndex, run: Run) -> None:
        info = dump(1, cmd="é\U0001f600", stack=["a", "b"], size=2**40, uploaded=1795985267.4809973)
        index.put_many([info, dump(2, time=3), DumpInfo({"name": f"/bmc/stor/thoth/{named(3)}", "time": 2})])
        assert run(r.table("dumps").get(named(1)).without(FIELD)) == info.document
        rows = run(r.table("dumps").order_by(index="time").pluck("id", "time"))
        assert [(row["id"], row["time"]) for row in rows] == [(named(1), 1), (named(3), 2), (named(2), 3)]
        third = index.get(named(3))
        assert third is not None
        assert third.document == {"name": f"/bmc/stor/thoth/{named(3)}", "time": 2}

    def test_ours_replaces_what_it_wrote(self, index: RethinkIndex, original: Run) -> None:
        original(r.table("dumps").insert(list(self.ROWS)))
        assert index.put(dump(1, revision=0, ticket="OS-1"))
        assert ids(index, Equals(("ticket",), "OS-1")) == [1]

    def test_what_it_changes_in_a_row_that_we_had_to_write_twice(self, index: RethinkIndex, run: Run) -> None:
        index.put(dump(1, n=2.0))
        run(r.table("dumps").get(named(1)).update({"ticket": "OS-1"}))
        found = index.get(named(1))
        assert found is not None
        assert (found.document["ticket"], found.document["n"], FIELD in found.document) == ("OS-1", 2, False)

    @pytest.mark.parametrize(("theirs", "wins"), [("5", True), (None, True), (True, True), (-3, True), (2, False)])
    def test_a_revision_is_a_number(self, index: RethinkIndex, original: Run, theirs: Json, wins: bool) -> None:
        original(r.table("dumps").insert({"id": named(1), "revision": theirs}))
        assert index.put(dump(1, revision=1)) == wins

    def test_it_compares_the_time_of_any_dump(self, index: RethinkIndex, run: Run) -> None:
        times = [1796040761.4520772, 1796040762.0, 1796040763.25]
        index.put_many(
            dump(
                number,
                time=time,
                psargs="caf\udce9",
                sources=[{"node": "cn7", "mtime": time}],
                properties={"a": 2**60},
            )
            for number, time in enumerate(times)
        )
        for time, wanted in [(times[0] - 1, 3), (times[0], 2), (times[1], 1), (times[2] + 1e7, 0)]:
            assert run(r.table("dumps").filter(r.row["time"].gt(time)).count()) == wanted
            assert ids(index, Newer(time)) == list(range(3 - wanted, 3))

    def test_it_sets_a_ticket_on_a_dump_of_which_a_field_stands_beside(self, index: RethinkIndex, run: Run) -> None:
        index.put(dump(1, psargs="caf\udce9"))
        run(r.table("dumps").get(named(1)).update({"ticket": "OS-1"}))
        found = index.get(named(1))
        assert found is not None
        assert (found.document["ticket"], found.document["psargs"]) == ("OS-1", "caf\udce9")

    def test_a_row_of_no_dump_is_named(self, index: RethinkIndex, original: Run) -> None:
        original(r.table("dumps").insert({"id": "c0nfiguration", "time": 1}))
        with pytest.raises(IndexFailure, match="row 'c0nfiguration' of table 'dumps' is no dump; remove it"):
            list(index.find(Query()))
        asks: list[Callable[[], object]] = [
            lambda: list(index.select(Query(), [("id",)])),
            lambda: index.report(Query(), ("cmd",)),
            lambda: index.rank(Query(), 3),
            lambda: index.named("c"),
        ]
        for ask in asks:
            with pytest.raises(IndexFailure, match="row 'c0nfiguration' of table 'dumps' is no dump; remove it"):
                ask()


class TestLongAnswers:
    def test_parts_are_held_whole(self, index: RethinkIndex, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rethink_connections, "_PLAIN", 5000)
        index.put_many(dump(number, time=number // 3, x=number % 7) for number in range(300))
        assert ids(index) == list(range(300))
        assert ids(index, limit=100) == list(range(100))
        assert ids(index, Newer(50), limit=10) == list(range(153, 163))
        assert ids(index, Glob(("x",), "?"), limit=45) == list(range(45))

    def test_equal_times_are_by_identity_where_a_limit_cuts(self, index: RethinkIndex) -> None:
        for number in (5, 3, 9, 1, 7):
            index.put(dump(number, time=4))
        assert ids(index, limit=2) == [1, 3]

    def test_the_server_judges(self, index: RethinkIndex, place: RethinkPlace) -> None:
        index.put_many(dump(number, cmd="svcs", filler="x" * 1000) for number in range(200))
        index.put(dump(500, cmd="needle", time=None))
        queries = [
            Query((Equals(("cmd",), "needle"),)),
            Query((Glob(("cmd",), "n*dle"),)),
            Query((Newer(198),)),
            Query(limit=2),
        ]
        with Proxy((place.host, place.port)) as proxy, closing(_through(place, proxy)) as asked:
            for query in queries:
                before = proxy.passed["down"]
                assert 0 < len(list(asked.find(query))) < 3
                assert asked.count(query) < 3
                assert proxy.passed["down"] - before < 10_000, query

    @pytest.mark.parametrize("with_index", [True, False])
    @pytest.mark.parametrize(
        "fields",
        [{"sources": [{"mtime": 1796040761.4520772}, {"mtime": 5.0}]}, {"psargs": "caf\udce9"}],
        ids=["mtime", "not-utf-8"],
    )
    def test_the_server_judges_what_is_held_in_part(
        self, index: RethinkIndex, place: RethinkPlace, run: Run, with_index: bool, fields: dict[str, Json]
    ) -> None:
        index.create()
        if not with_index:
            run(r.table("dumps").index_drop("thoth_exact"))
        index.put_many(dump(number, cmd="svcs", filler="x" * 1000, **fields) for number in range(200))
        index.put(dump(500, cmd="needle", **fields))
        asked: list[tuple[Constraint, ...]] = [
            (Equals(("cmd",), "needle"),),
            (Glob(("cmd",), "n*dle"), Undefined(("ticket",))),
            (Newer(198),),
            (Older(1), Equals(("cmd",), "svcs")),
            (Equals(("psargs",), "caf\udce9"), Newer(198)),
            (Glob(("psargs",), "caf?"), Equals(("cmd",), "needle")),
        ]
        with Proxy((place.host, place.port)) as proxy, closing(_through(place, proxy)) as through:
            for query in [*map(Query, asked), Query(limit=2), Query((Equals(("cmd",), "svcs"),), 2)]:
                wanted = [info.id for info in index.find(Query()) if matches(query, info.document)][: query.limit]
                before = proxy.passed["down"]
                assert [info.id for info in through.find(query)] == wanted
                assert [row for (row,) in through.select(query, [("id",)])] == wanted
                assert through.count(query) == len(wanted)
                assert len(wanted) < 3
                assert proxy.passed["down"] - before < 15_000, query

    def test_times_of_many_digits(self, index: RethinkIndex) -> None:
        time = 1795985267.4809973
        index.put_many([dump(1, time=time), dump(2, time=time + 2**-22), dump(3, time=2**60), dump(4, time=-(2**53))])
        assert ids(index, Newer(time)) == [2, 3]
        assert ids(index, Older(time)) == [4]
        assert ids(index, Older(time + 2**-22)) == [4, 1]
        assert ids(index, Newer(2.0**59)) == [3]
        assert ids(index, Newer(1e-300), Older(1e300)) == [1, 2, 3]
        assert ids(index, Older(-(2.0**53))) == []


class TestByName:
    def test_many(self, index: RethinkIndex) -> None:
        index.put_many(dump(number, x=number % 2) for number in range(0, 1200, 2))
        whole = Named(frozenset(named(number) for number in range(1100)))
        assert ids(index, whole) == list(range(0, 1100, 2))
        assert ids(index, whole, Equals(("x",), "1")) == []
        assert ids(index, whole, Named(frozenset([named(4), "ff"])), limit=3) == [4]
        assert ids(index, Named(frozenset([named(6), named(6)[:31]]))) == [0, 2, 4, 6, 8, 10, 12, 14]

    @pytest.mark.parametrize("most", [2, 20_000])
    def test_more_than_are_looked_up_one_by_one(
        self, index: RethinkIndex, monkeypatch: pytest.MonkeyPatch, most: int
    ) -> None:
        monkeypatch.setattr(rethink, "_MOST_NAMES", most)
        index.put_many([dump(number) for number in range(20)] + [dump(30, cmd=["odd", 2.0])])
        asked = Named(frozenset(named(number) for number in range(0, 400, 3)))
        assert ids(index, asked) == [0, 3, 6, 9, 12, 15, 18, 30]
        assert ids(index, Named(frozenset(["zz", "\udcff", named(1) + "0"]))) == []


def test_what_is_known_is_on_most_servers() -> None:
    questions: list[Any] = []

    def answer(question: Any) -> bytes:
        questions.append(question)
        return b'{"t":2,"r":[]}'

    with (
        ReqlStub(answer) as stub,
        closing(RethinkIndex(RethinkPlace(stub.address[0], "x", stub.address[1]))) as index,
    ):
        assert index.known([named(number) for number in range(501)]) == {}
    assert len(questions) == 2
    assert all('"dumps"], {"read_mode": "majority"}' in json.dumps(question) for question in questions)


class TestWriting:
    def test_batches_keep_order_and_size(self, monkeypatch: pytest.MonkeyPatch, index: RethinkIndex) -> None:
        monkeypatch.setattr(rethink_writes, "_BYTES", 500)
        infos = [dump(number % 4, revision=number, x="y" * 100) for number in range(20)]
        assert index.put_many(infos) == 20
        assert index.put_many(reversed(infos)) == 4
        assert index.known([named(3)])[named(3)].revision == 19

    def test_a_generator_that_fails_stores_nothing(self, index: RethinkIndex) -> None:
        def infos() -> Iterator[DumpInfo]:
            yield dump(1)
            raise BadDocument("second")

        with pytest.raises(BadDocument, match="second"):
            index.put_many(infos())
        assert ids(index) == []

    def test_a_document_too_large_for_a_question(self, index: RethinkIndex) -> None:
        with pytest.raises(IndexFailure, match=f"{named(1)}: over 24 MiB, too large for RethinkDB$"):
            index.put(dump(1, x="y" * (25 << 20)))

    def test_a_dump_that_others_remove_is_no_error(self, index: RethinkIndex, run: Run) -> None:
        index.put(dump(1))
        run(r.table("dumps").get(named(1)).delete())
        index.delete(named(1))
        assert index.put(dump(1))


class TestClosing:
    def test_a_closed_index_says_so(self, index: RethinkIndex) -> None:
        index.put(dump(1))
        index.close()
        index.close()
        with pytest.raises(IndexFailure, match="the index was closed while it was asked"):
            index.get(named(1))

    def test_closing_ends_the_question_of_another_thread(self, place: RethinkPlace) -> None:
        raised: list[str] = []

        def ask(asked: RethinkIndex) -> None:
            try:
                asked.get(named(1))
            except IndexFailure as error:
                raised.append(str(error))

        with Proxy((place.host, place.port), Silence()) as proxy:
            asked = _through(place, proxy)
            thread = threading.Thread(target=ask, args=(asked,))
            thread.start()
            assert wait_until(lambda: bool(proxy.links), 5)
            asked.close()
            thread.join(5)
        assert raised == [f"{asked.place}: the index was closed while it was asked"]


def _at_once(*works: Callable[[], Any]) -> list[Any]:
    """What these give when all begin at the same time, each in a thread of its own."""
    start = threading.Barrier(len(works))

    def begin(work: Callable[[], Any]) -> Any:
        start.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(begin, works))


def _through(place: RethinkPlace, proxy: Proxy) -> RethinkIndex:
    return RethinkIndex(replace(place, host="127.0.0.1", port=proxy.port))
