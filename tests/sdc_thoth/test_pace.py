"""How fast bytes may come."""

from __future__ import annotations

import threading
import time

import pytest

from sdc_thoth.budget import Budget
from sdc_thoth.limits import Limits
from sdc_thoth.pace import Bucket, Pace
from sdc_thoth.paced import PacedChannel
from sdc_thoth.space import Space
from tests.sdc_thoth.test_press import Reply


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_gives_so_many_bytes_a_second() -> None:
    clock = Clock()
    bucket = Bucket(1000, clock)
    waited = 0.0
    for _ in range(100):
        seconds = bucket.wait(bucket.take(100))
        clock.now += seconds
        waited += seconds
    assert waited == pytest.approx(10.0)


def test_a_bucket_saves_up_little() -> None:
    clock = Clock()
    bucket = Bucket(1000, clock)
    clock.now += 3600
    assert bucket.wait(bucket.take(1000)) == pytest.approx(0.75)


def test_who_waits_pays_at_the_new_rate() -> None:
    clock = Clock()
    bucket = Bucket(1000, clock)
    end = bucket.take(10_000)
    assert bucket.wait(end) == pytest.approx(10.0)
    clock.now += 5
    bucket.adopt(10_000)
    assert bucket.wait(end) == pytest.approx(0.5)
    assert bucket.wait(bucket.take(10_000)) == pytest.approx(1.5)
    bucket.adopt(None)
    assert bucket.wait(bucket.take(1 << 40)) == bucket.wait(end) == 0.0
    bucket.adopt(1000)
    assert bucket.wait(bucket.take(1000)) == pytest.approx(1.0)  # what came while there was no limit is paid


def test_who_came_first_waits_for_nobody_who_came_later() -> None:
    bucket = Bucket(1000, Clock())
    first, second = bucket.take(1000), bucket.take(9000)
    assert (bucket.wait(first), bucket.wait(second)) == (pytest.approx(1.0), pytest.approx(10.0))


@pytest.mark.parametrize(
    ("limits", "piece"),
    [
        (Limits(), 1 << 20),
        (Limits(rate=1 << 30), 1 << 20),
        (Limits(rate=1 << 20), 1 << 18),
        (Limits(rate=1 << 20, node_rate=100_000), 16 << 10),
        (Limits(rate=1), 16 << 10),
    ],
)
def test_a_slow_pace_is_an_even_one(limits: Limits, piece: int) -> None:
    assert Pace(limits).piece() == piece


def test_the_whole_is_shared_and_each_node_has_its_own() -> None:
    began = time.monotonic()
    pace = Pace(Limits(rate=400_000, node_rate=100_000))
    nodes = [pace.of_node() for _ in range(2)]

    def take(node: int) -> None:
        for _ in range(5):
            nodes[node].passed(10_000)

    threads = [threading.Thread(target=take, args=(node,)) for node in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0.4 < time.monotonic() - began < 5  # 50,000 bytes of each at 100,000 a second


def test_other_limits_hold_at_once_and_a_pass_that_is_over_waits_for_nothing() -> None:
    pace = Pace(Limits(rate=1))
    assert pace.limited
    pace.adopt(Limits())
    assert not pace.limited
    pace.of_node().passed(1 << 30)
    pace.adopt(Limits(node_rate=1))
    waiting = threading.Thread(target=pace.of_node().passed, args=(1 << 30,))
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    pace.release()
    waiting.join(5)
    assert not waiting.is_alive()


@pytest.mark.parametrize("limits", [Limits(rate=1), Limits(node_rate=1)])
def test_who_waits_goes_on_when_the_limits_are_others(limits: Limits) -> None:
    pace = Pace(limits)
    waiting = threading.Thread(target=pace.of_node().passed, args=(1 << 20,))
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    pace.adopt(Limits(rate=1 << 30, node_rate=1 << 30))
    waiting.join(5)
    alive = waiting.is_alive()
    pace.release()
    waiting.join(5)
    assert not alive


def test_what_has_come_at_once_is_waited_for_in_pieces() -> None:
    reply = Reply(bytes(1 << 20), piece=1 << 20)
    pace = Pace(Limits(rate=256 << 10))
    channel = PacedChannel(reply, pace.of_node())  # type: ignore[arg-type]  # as much as is used of a Channel
    assert (len(channel.recv()), len(reply.data)) == (64 << 10, (1 << 20) - (64 << 10))
    pace.adopt(Limits())
    assert len(channel.recv()) == (1 << 20) - (64 << 10)


def test_who_wants_much_is_not_kept_waiting_by_those_who_want_little() -> None:
    budget = Budget(10)
    order: list[str] = []

    def take(name: str, count: int) -> None:
        with budget.taken(count):
            order.append(name)

    with budget.taken(6):
        large = threading.Thread(target=take, args=("large", 8))
        large.start()
        large.join(0.1)
        small = threading.Thread(target=take, args=("small", 1))
        small.start()
        small.join(0.1)
        assert order == []
    large.join(5)
    small.join(5)
    assert order == ["large", "small"]


def test_room_is_kept_for_what_is_on_its_way() -> None:
    space = Space(lambda: 100, 30)
    assert space.hold(50)
    assert not space.hold(21)
    assert space.hold(20)
    space.give(50)
    assert space.hold(50)
    assert not space.hold(1)


def test_room_that_nobody_knows_of_is_no_limit() -> None:
    assert Space(lambda: None, 30).hold(1 << 60)
    assert Space(lambda: 0, None).hold(1 << 60)
