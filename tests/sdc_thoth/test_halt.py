"""How a pass is told to end, and what its rate goes by."""

from __future__ import annotations

import threading

from sdc_thoth.halt import Halt
from sdc_thoth.meter import Meter


def test_the_first_reason_stays_and_cutting_off_calls_everybody() -> None:
    halt, cut = Halt(), list[str]()
    assert halt.reason is None
    with halt.cutting(cut.append), halt.cutting(lambda reason: cut.append(f"also {reason}")):
        halt.ask("one")
        assert (halt.reason, cut) == ("one", [])
        halt.cut("two")
        assert (halt.reason, cut) == ("one", ["one", "also one"])
    halt.cut("three")
    assert cut == ["one", "also one"]  # they are done


def test_who_comes_late_is_cut_off_at_once() -> None:
    halt, cut = Halt(), list[str]()
    halt.cut("over")
    with halt.cutting(cut.append):
        assert cut == ["over"]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_time_counts_once_however_many_are_busy() -> None:
    clock = Clock()
    meter = Meter(clock)
    with meter.busy():
        clock.now = 2.0
        with meter.busy():
            clock.now = 5.0
            assert meter.seconds == 5.0
        clock.now = 6.0
    clock.now = 100.0
    assert meter.seconds == 6.0
    with meter.busy():
        clock.now = 101.0
    assert meter.seconds == 7.0


def test_threads_are_counted_together() -> None:
    clock = Clock()
    meter = Meter(clock)
    inside, go_on = threading.Barrier(5), threading.Event()

    def work() -> None:
        with meter.busy():
            inside.wait(10)
            go_on.wait(10)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    inside.wait(10)
    clock.now = 3.0
    go_on.set()
    for thread in threads:
        thread.join()
    clock.now = 9.0
    assert meter.seconds == 3.0
