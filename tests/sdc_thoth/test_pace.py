"""How fast bytes may come."""

from __future__ import annotations

import threading
import time

import pytest

from sdc_thoth.budget import Budget
from sdc_thoth.limits import Limits
from sdc_thoth.pace import Bucket, Pace
from sdc_thoth.space import Space


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
        seconds = bucket.take(100)
        clock.now += seconds
        waited += seconds
    assert waited == pytest.approx(10.0)


def test_a_bucket_saves_up_little() -> None:
    clock = Clock()
    bucket = Bucket(1000, clock)
    clock.now += 3600
    assert bucket.take(1000) == pytest.approx(0.75)


def test_who_waits_pays_at_the_new_rate() -> None:
    clock = Clock()
    bucket = Bucket(1000, clock)
    assert bucket.take(10_000) == pytest.approx(10.0)
    bucket.adopt(10_000)
    assert bucket.take(0) == pytest.approx(1.0)
    bucket.adopt(None)
    assert bucket.take(1 << 40) == 0.0


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
