"""How long what fails is tried again: how long it takes to fail is another thing."""

from __future__ import annotations

import math

import pytest

from tests.thoth.store.test_retrying import Time
from thoth.errors import StoreTransient
from thoth.http import Limits
from thoth.patience import USUAL, Patience, Tries


class Failing:
    """Fails so many times, each time after so many seconds."""

    def __init__(self, time: Time, failures: float, seconds: float) -> None:
        self.time = time
        self.failures = failures
        self.seconds = seconds
        self.made = 0

    def __call__(self) -> str:
        self.time.now += self.seconds
        self.made += 1
        if self.made <= self.failures:
            raise StoreTransient("silent")
        return "done"


def tries(time: Time, patience: Patience = USUAL) -> Tries:
    return Tries(patience, time.sleep, time.clock, lambda: 0.5)


@pytest.mark.parametrize("seconds", [Limits().idle, Limits().total, 10 * Limits().idle, 86_400.0])
def test_F32_what_took_long_to_fail_is_tried_again(seconds: float) -> None:
    time = Time()
    assert tries(time).run(Failing(time, 1, seconds)) == "done"
    assert time.slept == [0.5]


def test_F32_a_silence_that_lasts_is_not_tried_for_ever() -> None:
    time = Time()
    silent = Failing(time, math.inf, Limits().idle)
    start = time.now
    with pytest.raises(StoreTransient, match="silent"):
        tries(time).run(silent)
    assert silent.made == 2
    assert time.now - start <= 2 * Limits().idle + USUAL.total


def test_seconds_are_counted_from_the_first_failure_on() -> None:
    time = Time()
    each = tries(time, Patience(attempts=99, total=10))
    time.now += 3600
    with pytest.raises(StoreTransient):
        each.run(Failing(time, math.inf, 0))
    assert time.slept == [0.5, 1.0, 2.0, 4.0]


def test_pauses_do_not_grow_without_end() -> None:
    time = Time()
    lasting = Patience(attempts=math.inf, total=1e6, longest=4.0)
    assert tries(time, lasting).run(Failing(time, 5000, 0)) == "done"
    assert time.slept == [0.5, 1.0, 2.0] + [4.0] * 4997


def test_it_is_told_once_that_there_is_another_try() -> None:
    told: list[str] = []
    time = Time()
    assert Tries(USUAL, time.sleep, time.clock, lambda: 0.5, told.append).run(Failing(time, 2, 1.0)) == "done"
    assert (told, time.slept) == (["trying again for up to 60 s: silent"], [0.5, 1.0])
    with pytest.raises(StoreTransient):
        Tries(Patience(attempts=1), time.sleep, time.clock, lambda: 0.5, told.append).run(Failing(time, 1, 1.0))
    assert len(told) == 1, "there was no other"
