"""Work for many items at a time, results in the order of the items."""

from __future__ import annotations

import threading
from contextlib import closing
from itertools import count, islice

import pytest

from thoth.analysis.parallel import in_order


def never() -> None:
    raise AssertionError("stopped")


def test_order_is_that_of_the_items() -> None:
    last_begun = threading.Event()

    def work(item: int) -> int:
        if item == 2:
            last_begun.set()
        assert last_begun.wait(10)
        return item * item

    assert list(in_order(work, [0, 1, 2], workers=3, stop=never)) == [0, 1, 4]
    assert list(in_order(work, [], workers=3, stop=never)) == []


def test_few_results_wait_for_their_turn() -> None:
    asked = count()
    with closing(in_order(str, asked, workers=2, stop=lambda: None)) as results:
        assert list(islice(results, 10)) == [str(n) for n in range(10)]
    assert next(asked) <= 10 + 2 * 2 + 1


def test_what_is_raised_goes_through_and_stops_the_rest() -> None:
    stopped, begun = threading.Event(), []

    def work(item: int) -> int:
        begun.append(item)
        if item == 1:
            raise ValueError(item)
        assert item == 0 or stopped.wait(10)
        return item

    results = in_order(work, range(100), workers=2, stop=stopped.set)
    assert next(results) == 0
    with pytest.raises(ValueError, match="1"):
        next(results)
    assert stopped.is_set()
    assert len(begun) < 10
    assert threading.active_count() == 1


def test_closing_it_stops_the_one_that_is_under_way() -> None:
    stopped = threading.Event()
    results = in_order(lambda item: item or stopped.wait(10), [1, 0], workers=1, stop=stopped.set)
    assert next(results) == 1
    results.close()
    assert stopped.is_set()
