"""Trying again what failed in a way that passes: how often, how long, and with which pauses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from thoth.errors import StoreError, StoreTransient, StoreUnavailable, StoreUnreachable

_T = TypeVar("_T")
Say = Callable[[str], object]  # takes a line of talk


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a transient failure is borne in one call: tries and seconds; both hold.

    ``total`` is from the first failure to the begin of the last try. What a try takes does not count: work that goes
    on for an hour has its second try, and so has a question that nobody answered.
    """

    attempts: float = 5  # math.inf: as many as there is time for
    total: float = 60.0
    first: float = 0.5  # seconds before the second try; each later pause is twice as long, give or take a half
    longest: float = 30.0  # seconds of a pause, give or take a half


USUAL: Final = Patience()


def usual_tries(say: Say | None = None) -> Tries:
    """The tries of a call for which nobody says otherwise."""
    import random  # noqa: PLC0415 - most commands fail at nothing
    import time  # noqa: PLC0415

    return Tries(USUAL, time.sleep, time.monotonic, random.random, say)


class Tries:
    """The tries of one call. ``sleep`` and ``clock`` are in seconds, ``clock`` is monotonic, ``random`` gives numbers
    from 0 to 1. ``say`` takes a line when the first try has failed and another follows."""

    def __init__(
        self,
        patience: Patience,
        sleep: Callable[[float], object],
        clock: Callable[[], float],
        random: Callable[[], float],
        say: Say | None = None,
    ) -> None:
        self._patience = patience
        self._sleep = sleep
        self._clock = clock
        self._random = random
        self._say = say
        self._pause = patience.first
        self._deadline: float | None = None  # nothing has failed yet
        self.failed = 0

    def run(self, once: Callable[[], _T]) -> _T:
        """What ``once`` returns, the first time that it does not raise StoreTransient. Raises what ``pause`` does."""
        while True:
            try:
                return once()
            except StoreTransient as error:
                self.pause(error)

    def pause(self, error: StoreTransient) -> None:
        """Wait before another try. When there is to be none raise ``error``, or StoreUnavailable for a store that
        cannot be reached: the next object would wait as long, for nothing."""
        if error.tried:
            raise error
        self.failed += 1
        now = self._clock()
        if self._deadline is None:
            self._deadline = now + self._patience.total
        # Jitter: or all who were turned away at once come back at once.
        pause = max(self._pause * (0.5 + self._random()), error.retry_after or 0.0)
        self._pause = min(2 * self._pause, self._patience.longest)
        if self.failed >= self._patience.attempts or now + pause > self._deadline:
            raise _at_last(error)
        if self._say is not None and self.failed == 1:
            self._say(f"trying again for up to {self._patience.total:g} s: {error}")
        self._sleep(pause)


def _at_last(error: StoreTransient) -> StoreError:
    error.tried = True
    return StoreUnavailable(str(error)) if isinstance(error, StoreUnreachable) else error
