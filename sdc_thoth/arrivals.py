"""Dumps that arrived in a pass, and the rules of the autoanalyzers that they are held against.

Rules that need nothing but a dump's document are applied at once. Those that run an analyzer, which may take minutes,
come when all nodes are done: no node's session waits for them, and no transfer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from thoth import Autoanalyzer, Held, Receipt, Verdict, escaped

_MOST = 10_000  # dumps of a pass that wait for analyzers


class Arrivals:
    """Takes each dump that was stored, from any thread. ``say`` takes a line for each rule that fails."""

    def __init__(self, autoanalyzer: Autoanalyzer, say: Callable[[str], None]) -> None:
        self._autoanalyzer = autoanalyzer
        self._say = say
        self._waiting: deque[Held] = deque()
        self._left_out = 0

    def take(self, receipt: Receipt) -> None:
        """Hold a dump against the rules. It is stored whatever becomes of that, so nothing is raised."""
        held = self._autoanalyzer.arrived(receipt.result, receipt.info)
        if not held.waiting:
            self._tell(held.verdicts)
        elif len(self._waiting) < _MOST:
            self._waiting.append(held)
        else:
            self._left_out += 1

    def finish(self, go_on: Callable[[], bool]) -> None:
        """Run the analyzers, one dump at a time, as long as ``go_on`` says so; tell how many dumps are left."""
        try:
            while self._waiting and go_on():
                self._tell(self._autoanalyzer.finish(self._waiting[0]))
                self._waiting.popleft()
        finally:
            left = len(self._waiting) + self._left_out
            if left:
                self._say(f"{left} dump{'' if left == 1 else 's'} not analyzed; 'thoth autoanalyzers run' does it")

    def _tell(self, verdicts: Iterable[Verdict]) -> None:
        for each in verdicts:
            if each.stands_in_the_way:
                why = escaped(each.reason or "")
                self._say(f"autoanalyzer {each.rule}: {each.result.value} on {each.identity}: {why}")
