"""A firewall has forgotten the kept connections to the shared index: what is sent on them goes nowhere (F35).

It costs one wait, and no answer.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from tests.faults.scene import within
from tests.support.chaos import Proxy, Silence
from tests.support.reql_stub import ReqlStub, atom
from tests.support.reqlite import ReqlServer
from tests.thoth.index.rows import dump, named
from thoth.errors import IndexFailure
from thoth.index import wrappers
from thoth.index.rethink import RethinkIndex
from thoth.index.rethink_place import RethinkPlace
from thoth.index.wrappers import GatheringIndex
from thoth.query import Query

PATIENCE = 0.6  # seconds for an answer


@pytest.fixture
def proxy(reql: ReqlServer) -> Iterator[Proxy]:
    place = reql.new_place()
    with Proxy((place.host, place.port)) as between:
        yield between
    reql.drop_all()


@pytest.fixture
def index(reql: ReqlServer, proxy: Proxy) -> Iterator[RethinkIndex]:
    """Through the proxy."""
    place = replace(reql.new_place(), host="127.0.0.1", port=proxy.port, answer_timeout=PATIENCE, scan_timeout=2.0)
    with closing(RethinkIndex(replace(place, connect_timeout=PATIENCE))) as opened:
        opened.create()
        yield opened


def forget(proxy: Proxy) -> None:
    for link in proxy.links:
        link.freeze()


def keep(index: RethinkIndex, connections: int) -> None:
    """So many connections that rest."""
    together = threading.Barrier(connections)

    def ask() -> None:
        index._connections.ask(lambda wire, end: together.wait(10), 10)

    threads = [threading.Thread(target=ask) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)


def test_F35_each_question_is_answered(index: RethinkIndex, proxy: Proxy) -> None:
    index.put(dump(1, cmd="x"))
    questions: list[Callable[[], object]] = [
        index.create,
        lambda: index.put(dump(1, cmd="x")),
        lambda: index.put_many([dump(2)]),
        lambda: index.known([named(1)]),
        lambda: index.get(named(1)),
        lambda: index.named("0"),
        lambda: list(index.find(Query())),
        lambda: list(index.select(Query(), [("cmd",)])),
        lambda: index.report(Query(), ("cmd",)),
        lambda: index.delete(named(3)),
    ]
    for ask in questions:
        answer = ask()
        forget(proxy)
        assert ask() == answer


def test_F35_many_of_them_cost_one_wait(index: RethinkIndex, proxy: Proxy) -> None:
    keep(index, 8)
    before = len(proxy.links)
    assert before >= 8
    forget(proxy)
    with within(2 * PATIENCE):
        assert [index.get(named(1)) for _ in range(20)] == [None] * 20
    assert len(proxy.links) == before + 1


def test_F35_what_a_pass_has_gathered_is_indexed(
    index: RethinkIndex, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wrappers, "_BYTES", 1000)
    gathering = GatheringIndex(index)
    gathering.put_many(dump(number, cmd="x" * 600) for number in range(6))
    forget(proxy)
    assert gathering.flush() == {}
    assert index.count(Query()) == 6


def test_F35_a_server_that_is_silent_too_is_left_alone(index: RethinkIndex, proxy: Proxy) -> None:
    """For the 30 s of a server that was silent while we connected."""
    keep(index, 3)
    forget(proxy)
    proxy.set(Silence())
    before = len(proxy.links)
    with within(3 * PATIENCE), pytest.raises(IndexFailure, match=r"cannot be reached|no answer within 0\.6 s"):
        index.get(named(1))
    assert len(proxy.links) == before + 1
    with within(PATIENCE):
        for _ in range(50):
            with pytest.raises(IndexFailure, match=r"no answer within 0\.6 s"):
                index.get(named(1))
    assert len(proxy.links) == before + 1


@pytest.fixture
def asked() -> list[Any]:
    return []


@pytest.fixture
def hanging(asked: list[Any]) -> Iterator[RethinkIndex]:
    """Over a server that answers the first question of all, and begins to answer the second."""
    over = threading.Event()

    def answer(question: Any) -> bytes:
        asked.append(question)
        if len(asked) == 1:
            return atom(None)
        if len(asked) == 2 and "begin" in json.dumps(question):
            return b'{"t":3,"r":[]}'
        over.wait(30)
        return atom(None)

    with ReqlStub(answer) as stub:
        place = RethinkPlace(*stub.address[:1], "x", stub.address[1], answer_timeout=PATIENCE, scan_timeout=5.0)
        with closing(RethinkIndex(place)) as index:
            assert index.get(named(1)) is None
            yield index
            over.set()


def test_F35_a_server_that_hangs_is_asked_once_more_and_not_again(hanging: RethinkIndex, asked: list[Any]) -> None:
    for questions in (3, 4, 5):  # the one that was answered, that of the kept connection twice; one each
        with pytest.raises(IndexFailure, match=r"no answer within 0\.6 s"):
            hanging.get(named(2))
        assert len(asked) == questions


def test_F35_an_answer_that_stops_half_way_is_not_asked_for_again(hanging: RethinkIndex, asked: list[Any]) -> None:
    """The connection was none that is forgotten."""
    began = time.monotonic()
    with pytest.raises(IndexFailure, match=r"no answer within 0\.6 s"):
        list(hanging._connections.held(hanging._table.filter({"x": "begin"})).rows())
    assert time.monotonic() - began < 2 * PATIENCE
    assert len(asked) == 3  # the second, and for its next part


def test_the_system_is_told_to_keep_connections_alive(index: RethinkIndex) -> None:
    opened = index._connections._idle[0]._socket
    assert opened is not None
    assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
