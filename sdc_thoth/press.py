"""Whether one node compresses its dumps on their way: by what was measured, and then for the rest of the pass.

The first bytes of a dump come as they are, and tell how fast the way is. The next ones come compressed, and tell how
fast that is, the node's program and the link together. The rest comes in the faster way; nothing is read twice. A
dump that does not compress, as one that is compressed already, comes as it is, and says nothing of others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from sdc_thoth.ask import Asker, CannotPress, StillChanging
from sdc_thoth.errors import Desynchronized, ProtocolError
from sdc_thoth.expand import BLOCK, Damaged, programs
from sdc_thoth.listing import Found
from thoth import SourceChanged, size_text

_PLAIN: Final = 8 * BLOCK  # bytes by which the way is measured
_TRIAL: Final = 16 * BLOCK  # bytes of a dump by which compression is
_FASTER: Final = 1.1  # times as fast compression has to be
_SMALLER: Final = 0.9  # of its size a dump has to come down to
# Bytes a second at which one core compresses no faster than SSH brings it: there is nothing to measure.
_FASTEST: Final = {"gzip": 150e6, "zstd": 300e6}


@dataclass(slots=True)
class _Leg:
    """A stretch of a dump that comes in one way. Time counts from its first block: before that a shell starts."""

    program: str | None
    came: int = 0  # bytes, as they came
    first: int = 0  # bytes of its first block
    done: int = 0  # bytes of the dump
    began: float = 0.0
    seconds: float = 0.0
    judged: bool = False

    def count(self, size: int) -> None:
        self.came += size

    def take(self, size: int, now: float) -> None:
        if not self.done:
            self.first, self.began = size, now
        self.done += size
        self.seconds = now - self.began

    @property
    def rate(self) -> float:
        """Bytes of the dump a second."""
        return (self.done - self.first) / max(self.seconds, 1e-6)


class Press:
    """Streams a node's large dumps. ``wish``: auto, gzip, zstd or none; ``tell`` takes a line on what it found."""

    def __init__(self, wish: str, tell: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._programs = list(programs(wish))
        self._tell = tell
        self._clock = clock
        self._settled = wish != "auto"  # the first program is the one, or none
        self._plain_rate = 0.0  # bytes a second; 0: not measured yet

    def stream(self, asker: Asker, found: Found, at: int = 0) -> Iterator[bytes]:
        """The file from ``at`` on, as ``Asker.stream`` gives it."""
        leg = _Leg(self._first())
        while at < found.size:
            with closing(self._leg(asker, found, at, leg)) as blocks:
                for block in blocks:
                    yield block
                    at += len(block)
                    leg.take(len(block), self._clock())
                    if self._is_over(leg, found.size - at):
                        break
            self._judge(leg)
            leg = _Leg(self._next(leg))

    def _leg(self, asker: Asker, found: Found, at: int, leg: _Leg) -> Generator[bytes]:
        """The blocks of this stretch. None at all: the node does not know the program, which is then dropped."""
        try:
            yield from asker.stream(found, at, leg.program, leg.count)
        except (Damaged, SourceChanged) as error:
            if not isinstance(error, StillChanging):  # what comes too short or too long may be the program's fault
                self._drop(leg.program)
            raise
        except (CannotPress, ProtocolError) as error:
            # A node that has an older version of our script refuses the word.
            if leg.program is None or leg.done or isinstance(error, Desynchronized):
                raise
            self._drop(leg.program)

    def _first(self) -> str | None:
        """How a dump begins."""
        measured = self._settled or self._plain_rate
        return self._programs[0] if self._programs and measured else None

    def _is_over(self, leg: _Leg, left: int) -> bool:
        """Whether the rest had better come in the other way."""
        if left <= 0 or leg.judged:
            return False
        if leg.program is None:
            return self._programs != [] and leg.done >= _PLAIN and self._judge(leg)
        return leg.done >= _TRIAL and self._judge(leg)

    def _next(self, leg: _Leg) -> str | None:
        """The way after one that was left."""
        return self._programs[0] if self._programs and (leg.program is None or not leg.done) else None

    def _judge(self, leg: _Leg) -> bool:
        """What a stretch tells; whether another way is better."""
        if leg.judged or leg.done < _PLAIN // 2:
            return False
        leg.judged = True
        if leg.program is None:
            return self._judge_plain(leg.rate)
        if leg.came > leg.done * _SMALLER:
            return True  # this dump had better come as it is
        return not self._settled and self._judge_trial(leg.program, leg.rate)

    def _judge_plain(self, rate: float) -> bool:
        if self._settled or self._plain_rate or not self._programs:
            return False  # it is known; this is a dump that does not compress
        if rate >= _FASTEST[self._programs[0]]:
            self._settle([])
            return False
        self._plain_rate = rate
        return True

    def _judge_trial(self, program: str, rate: float) -> bool:
        faster = rate >= self._plain_rate * _FASTER
        rates = f"{size_text(int(rate))}/s, {size_text(int(self._plain_rate))}/s as they are"
        self._tell(f"dumps come {'compressed by ' + program if faster else 'as they are'}: {program} gives {rates}")
        self._settle([program] if faster else [])
        return not faster

    def _settle(self, programs: list[str]) -> None:
        self._programs, self._settled = programs, True

    def _drop(self, program: str | None) -> None:
        self._programs = [each for each in self._programs if each != program]
