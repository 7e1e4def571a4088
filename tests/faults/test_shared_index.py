"""The shared index fails in every way: one line says so, the dump stays, and the next run indexes it (F35).

Many write to it at once, and nothing is lost (F36).
"""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.faults.scene import within
from tests.support.arrivals import CORE, objects, take, whole
from tests.support.certificates import self_signed
from tests.support.chaos import Babble, Blackhole, Cut, Delay, HalfOpen, Proxy, Silence, Throttle
from tests.support.reql_stub import ReqlStub, atom
from tests.support.reqlite import PASSWORD, USER, ReqlServer, started
from tests.thoth.index.rows import dump, named
from thoth.edit import SetProperty, edit_dump
from thoth.errors import IndexFailure
from thoth.index.rethink import RethinkIndex
from thoth.index.rethink_place import RethinkPlace, TlsPlace
from thoth.library import Thoth
from thoth.maintain import reindex, stored_identities
from thoth.model import Identity, Json, Result
from thoth.query import Query
from thoth.store.directory import DirectoryStore

IMPATIENT = {"connect_timeout": 0.4, "answer_timeout": 0.4, "scan_timeout": 0.6, "rest": 0.0}


@pytest.fixture
def place(reql: ReqlServer) -> Iterator[RethinkPlace]:
    yield reql.new_place()
    reql.drop_all()


@pytest.fixture
def proxy(place: RethinkPlace) -> Iterator[Proxy]:
    with Proxy((place.host, place.port)) as between:
        yield between


@pytest.fixture
def index(place: RethinkPlace, proxy: Proxy) -> Iterator[RethinkIndex]:
    """Through the proxy, and impatient."""
    with closing(RethinkIndex(by(place, proxy.port))) as opened:
        yield opened


@pytest.fixture
def direct(place: RethinkPlace) -> Iterator[RethinkIndex]:
    with closing(RethinkIndex(place)) as opened:
        yield opened


def by(place: RethinkPlace, port: int, **changes: Any) -> RethinkPlace:
    return replace(place, host="127.0.0.1", port=port, **{**IMPATIENT, **changes})


def every_question(index: RethinkIndex) -> list[Callable[[], object]]:
    return [
        index.create,
        lambda: index.put(dump(1)),
        lambda: index.put_many(dump(number) for number in range(3)),
        lambda: index.delete(named(1)),
        lambda: index.known([]),
        lambda: index.known([named(1)]),
        lambda: index.get(named(1)),
        lambda: index.named("0"),
        lambda: list(index.find(Query())),
        lambda: list(index.select(Query(), [("cmd",)])),
        lambda: index.count(Query()),
        lambda: index.report(Query(), ("cmd",)),
    ]


def failure(ask: Callable[[], object]) -> str:
    """The one line with which a question fails."""
    with pytest.raises(IndexFailure) as raised:
        ask()
    line = str(raised.value)
    assert "\n" not in line
    assert len(line) < 400
    return line


class TestOneLine:
    """What happened, at which host and port, and what to do."""

    def test_F35_nobody_listens(self, place: RethinkPlace, index: RethinkIndex, proxy: Proxy) -> None:
        proxy.refuse()
        for ask in every_question(index):
            assert failure(ask) == (
                f"rethinkdb://127.0.0.1:{proxy.port}/{place.database}: cannot be reached (Connection refused);"
                " see that RethinkDB runs there and takes connections from here"
            )

    def test_F35_a_host_that_is_down(self, place: RethinkPlace) -> None:
        with Blackhole() as hole, closing(RethinkIndex(by(place, hole.address[1]))) as index, within(2):
            assert "cannot be reached (no answer within 0.4 s);" in failure(lambda: index.get(named(1)))

    def test_F35_a_host_that_is_down_is_waited_for_once(self, place: RethinkPlace) -> None:
        with Blackhole() as hole, closing(RethinkIndex(by(place, hole.address[1], rest=3.0))) as index:
            lines = {failure(lambda: index.put(dump(1)))}
            with within(3):
                lines |= {failure(lambda: index.put(dump(2))) for _ in range(200)}
            assert len(lines) == 1
            time.sleep(3.0)
            began = time.monotonic()
            assert "no answer within 0.4 s" in failure(lambda: index.put(dump(1)))
            assert time.monotonic() - began > 0.3  # it was tried again

    @pytest.mark.parametrize("host", ["nobody.invalid", "a" * 80 + ".example", "x\0y"])
    def test_F35_a_host_without_address(self, place: RethinkPlace, host: str) -> None:
        with closing(RethinkIndex(replace(place, host=host))) as index:
            assert ": cannot be reached (" in failure(lambda: index.get(named(1)))

    @pytest.mark.parametrize(
        ("fault", "what"),
        [
            (Silence(), "no answer within 0.4 s"),
            (Babble(), "does not answer as RethinkDB does"),
            (Babble(b"HTTP/1.1 400 Bad Request\r\n\r\n\0"), "does not answer as RethinkDB does"),
            (Babble(b'{"success": true}\0'), "does not answer as RethinkDB does"),
            (Babble(b"[]\0"), "does not answer as RethinkDB does"),
            (Cut(0), "the connection was closed"),
            (Cut(60, reset=True), "the connection was closed"),
            (Throttle(20), "no answer within 0.4 s"),
            (Delay(1.0), "no answer within 0.4 s"),
        ],
        ids=str,
    )
    def test_F35_a_server_that_is_none(self, index: RethinkIndex, proxy: Proxy, fault: Any, what: str) -> None:
        proxy.set(fault)
        with within(5):
            line = failure(lambda: index.get(named(1)))
        assert line.startswith(f"rethinkdb://127.0.0.1:{proxy.port}/")
        assert what in line

    @pytest.mark.parametrize(
        ("user", "password", "complaint"),
        [("admin", "wrong canary", "Wrong password"), ("nobody", "canary", "Unknown user")],
    )
    def test_F35_wrong_password(self, place: RethinkPlace, user: str, password: str, complaint: str) -> None:
        wrong = replace(place, user=user, password=password)
        with closing(RethinkIndex(wrong)) as index:
            line = failure(lambda: index.put(dump(1)))
            assert "canary" not in line + repr(wrong) + str(wrong) + repr(index)
        assert line == f"{place}: does not let in user '{user}' ({complaint}); check the configured user and password"

    def test_passwords_are_in_utf_8(self, place: RethinkPlace) -> None:
        with started() as server:
            known = by(place, server.port, user=USER, password=PASSWORD, connect_timeout=10.0)
            with closing(RethinkIndex(known)) as index:
                assert index.put(dump(1))
            with closing(RethinkIndex(replace(known, password=PASSWORD[:-1]))) as index:
                assert "(Wrong password)" in failure(lambda: index.put(dump(1)))

    def test_F35_tls(self, tmp_path: Path, place: RethinkPlace) -> None:
        pem = self_signed(tmp_path / "server.pem")
        with started(pem) as server:

            def opened(host: str = "127.0.0.1", **changes: Any) -> RethinkIndex:
                return RethinkIndex(replace(by(place, server.port, **changes), host=host))

            with closing(opened(tls=TlsPlace(str(pem)), answer_timeout=10.0, connect_timeout=10.0)) as index:
                assert index.put(dump(1))
                assert index.get(named(1)) == dump(1)
            wrong = {
                "the certificate is not to be trusted (self-signed certificate)": opened(tls=TlsPlace()),
                f"{tmp_path}/none: No such file or directory": opened(tls=TlsPlace(f"{tmp_path}/none")),
                "certificate is not valid for": opened("localhost", tls=TlsPlace(str(pem))),
                "with or without TLS?": opened(),
            }
            for what, index in wrong.items():
                with closing(index):
                    line = failure(lambda index=index: index.get(named(1)))  # type: ignore[misc]  # of this round
                    assert what in line or (what.startswith("with or") and "the connection was closed" in line), line

    def test_F35_tls_to_a_server_without(self, place: RethinkPlace) -> None:
        with closing(RethinkIndex(replace(place, tls=TlsPlace()))) as index:
            assert ": TLS failed: " in failure(lambda: index.get(named(1)))


class TestLostConnections:
    def test_F35_a_connection_that_was_lost_is_made_again(
        self, index: RethinkIndex, direct: RethinkIndex, proxy: Proxy
    ) -> None:
        direct.create()
        for ask in every_question(index):
            ask()
            proxy.cut(reset=True)
        assert len(proxy.links) == len(every_question(index))

    @pytest.mark.parametrize("direction", ["up", "down"])
    def test_F35_cut_anywhere_nothing_is_half_written(
        self, place: RethinkPlace, direct: RethinkIndex, proxy: Proxy, direction: Any
    ) -> None:
        infos = [dump(number, cmd="new") for number in range(5)]
        direct.put_many(dump(number, cmd="old") for number in range(3))
        for after in range(20, 4000, 199):
            proxy.set(Cut(after, direction))
            with closing(RethinkIndex(by(place, proxy.port))) as index:
                try:
                    stored = index.put_many(infos)
                except IndexFailure as error:
                    assert "the connection was closed" in str(error)
                else:
                    assert stored == 5
                    break
            rows = list(direct.find(Query()))
            assert all(row in infos or row.document["cmd"] == "old" for row in rows)
        assert after > 1000
        assert list(direct.find(Query())) == infos

    @pytest.mark.parametrize("after", [0, 300, 700])
    def test_F35_half_open(self, place: RethinkPlace, direct: RethinkIndex, proxy: Proxy, after: int) -> None:
        direct.put_many(dump(number, cmd="x" * 200) for number in range(50))
        proxy.set(HalfOpen(after))
        with closing(RethinkIndex(by(place, proxy.port))) as index:
            for ask in (lambda: list(index.find(Query())), lambda: index.report(Query(), ("cmd",))):
                with within(3):
                    assert "no answer within" in failure(ask)

    def test_F35_a_trickle_ends_with_the_time_for_all_of_it(
        self, place: RethinkPlace, direct: RethinkIndex, proxy: Proxy
    ) -> None:
        direct.put_many(dump(number, cmd="x" * 500) for number in range(400))
        proxy.set(Throttle(40_000))
        with closing(RethinkIndex(by(place, proxy.port, answer_timeout=2.0))) as index, within(3):
            assert "no answer within" in failure(lambda: list(index.find(Query())))


class TestDyingServer:
    def test_F35_stopped_and_killed(self, place: RethinkPlace) -> None:
        with started() as server, closing(RethinkIndex(by(place, server.port))) as index:
            assert server.process is not None
            index.put(dump(1))
            os.kill(server.process.pid, signal.SIGSTOP)
            for ask in every_question(index):
                with within(2):
                    assert "no answer within 0.4 s" in failure(ask)
            os.kill(server.process.pid, signal.SIGCONT)
            assert index.put(dump(2))
            server.process.kill()
            server.process.wait()
            assert "cannot be reached (Connection refused)" in failure(lambda: index.put(dump(3)))


WRITTEN = {"inserted": 0, "replaced": 0, "unchanged": 0, "deleted": 0, "skipped": 0, "errors": 0}


class TestAnswersThatAreNone:
    """Answers of a server that says it is well."""

    @pytest.mark.parametrize(
        ("inserted", "replaced", "reason"),
        [
            ({"errors": 1, "first_error": "Disk\nis full"}, {}, "Disk"),
            ({"errors": 1, "first_error": "Duplicate"}, {"errors": 1, "first_error": "No write"}, "No write"),
            ({"skipped": 1}, {"skipped": 1}, "others removed them"),
            ({}, {}, "others removed them"),
            ({"inserted": 1}, {"errors": 1, "unchanged": 1, "first_error": "Odd"}, "Odd"),
        ],
    )
    def test_F35_a_write_that_failed(self, inserted: Json, replaced: Json, reason: str) -> None:
        told = atom([{**WRITTEN, **inserted}, {**WRITTEN, **replaced}])
        with ReqlStub(lambda question: told) as stub, closing(at(stub)) as index:
            line = failure(lambda: index.put(dump(1)))
        assert f" of 1 dumps were stored ({reason}); 'thoth index' tries again" in line

    @pytest.mark.parametrize(
        "told", [{"errors": 1, "first_error": "No\nroom"}, {"skipped": 0}, {"deleted": 2}], ids=json.dumps
    )
    def test_F35_a_removal_that_failed(self, told: dict[str, Json]) -> None:
        with ReqlStub(lambda question: atom({**WRITTEN, **told})) as stub, closing(at(stub)) as index:
            assert f"{named(1)} was not removed (" in failure(lambda: index.delete(named(1)))

    @pytest.mark.parametrize(
        "reply",
        [
            b"",
            b"{",
            b"[]",
            b"{}",
            b'{"t": 1}',
            b'{"t":1,"r":[]}',
            b'{"t":1,"r":5}',
            b'{"t":"x","r":[]}',
            b'{"t":99,"r":["no such type"]}',
            b'{"t":18,"r":["It is\\nbroken \\u001b[31m"]}',
            b'{"t":16,"r":["' + b"long" * 1000 + b'"]}',
            b"[" * 5000,
        ],
        ids=range(12),
    )
    def test_F35_nonsense(self, reply: bytes) -> None:
        with ReqlStub(lambda question: reply) as stub, closing(at(stub)) as index:
            for ask in every_question(index):
                assert re.match(r"rethinkdb://127\.0\.0\.1:\d+/x: ", failure(ask))

    def test_F35_an_answer_to_another_question(self) -> None:
        with ReqlStub(lambda question: atom(None)) as stub, closing(at(stub)) as index:
            assert index.get(named(1)) is None
        with ReqlStub(lambda question: atom(None), shift=1) as stub, closing(at(stub)) as index:
            assert "does not answer as RethinkDB does" in failure(lambda: index.get(named(1)))


def at(stub: ReqlStub) -> RethinkIndex:
    host, port = stub.address
    return RethinkIndex(RethinkPlace(host, "x", port))


class TestTheDumpStays:
    @pytest.fixture
    def thoth(self, tmp_path: Path, index: RethinkIndex) -> Iterator[Thoth]:
        with closing(DirectoryStore(tmp_path / "store", create=True)) as store:
            yield Thoth(store, index, "bmc")

    @pytest.mark.parametrize("fault", [None, Cut(400), HalfOpen(0), Silence()], ids=str)
    def test_F35_the_next_run_indexes(self, thoth: Thoth, proxy: Proxy, fault: Any) -> None:
        proxy.refuse() if fault is None else proxy.set(fault)
        receipt = take(thoth, CORE)
        assert receipt.result is Result.STORED_UNINDEXED
        assert receipt.reason is not None
        assert receipt.reason.startswith(f"rethinkdb://127.0.0.1:{proxy.port}/")
        assert CORE in objects(thoth).values()
        again = take(thoth, CORE)
        assert again.result is Result.STORED_UNINDEXED
        proxy.accept()
        proxy.set()
        assert take(thoth, CORE).result is Result.PRESENT
        whole(thoth, receipt.info.id)

    def test_F35_index_heals(self, thoth: Thoth, proxy: Proxy) -> None:
        proxy.refuse()
        identity = take(thoth, CORE).info.id
        assert "cannot be reached" in failure(lambda: reindex(thoth, stored_identities(thoth)))
        proxy.accept()
        assert reindex(thoth, stored_identities(thoth)).indexed == 1
        whole(thoth, identity)

    def test_F36_many_set_on_one_dump(self, thoth: Thoth, direct: RethinkIndex) -> None:
        patient = replace(thoth, index=direct)
        identity = take(patient, CORE).info.id
        start = threading.Barrier(5)
        threads = [threading.Thread(target=_edit, args=(patient, identity, start, name)) for name in "abcd"]
        threads.append(threading.Thread(target=_reindex, args=(patient, start)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        info = whole(patient, identity)
        assert info.properties == {f"{name}{number}": number for name in "abcd" for number in range(10)}
        assert info.revision == 40


def _edit(thoth: Thoth, identity: Identity, start: threading.Barrier, name: str) -> None:
    start.wait()
    for number in range(10):
        edit_dump(thoth, identity, [SetProperty((f"{name}{number}",), number)])


def _reindex(thoth: Thoth, start: threading.Barrier) -> None:
    start.wait()
    for _ in range(10):
        reindex(thoth, stored_identities(thoth))
