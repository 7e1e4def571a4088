"""The same work for many dumps, several at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_order(
    work: Callable[[_Item], _Result], items: Iterable[_Item], *, workers: int, stop: Callable[[], None]
) -> Generator[_Result]:
    """What ``work`` returns for each item, in the order of the items, ``workers`` of them at a time.

    Of results that wait for their turn there are at most twice as many. What ``work`` raises goes through. When it
    does, or when the iterator is closed before its end, no other item is begun, and ``stop`` is called, which has to
    make the calls that are under way return: none is when this has ended.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="analysis")
    waiting: deque[Future[_Result]] = deque()
    ended = False
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
        ended = True
    finally:
        if not ended:
            stop()
        pool.shutdown(wait=True, cancel_futures=True)
