"""Dumps that arrived in a pass, and the rules of the autoanalyzers that they are held against.

Rules that need nothing but a dump's document are applied at once. Those that run an analyzer, which may take minutes,
and debuggers that are asked for stacks, come when all nodes are done: no session of a node waits for them, and no
transfer. What an earlier pass has left comes with them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import closing
from threading import Lock

from thoth import Autoanalyzer, Debuggers, Held, Identity, Receipt, StoreUnavailable, Thoth, Verdict, escaped

_MOST = 10_000  # dumps of a pass that wait for analyzers


class Arrivals:
    """Takes each dump that was stored, or met again, by any thread. ``say`` takes a line for each rule that fails."""

    def __init__(
        self, autoanalyzer: Autoanalyzer, say: Callable[[str], None], debuggers: Debuggers | None = None
    ) -> None:
        self._autoanalyzer = autoanalyzer
        self._say = say
        self._debuggers = debuggers
        self._to_walk: list[Identity] = []
        self._lock = Lock()
        self._waiting: list[Held] = []
        self._known: set[tuple[Identity, float | None]] = set()  # of what waits: one dump may lie in several places
        self._left = 0

    def any_rules(self) -> bool:
        """Whether what arrives is to be marked, as ``thoth.receive`` asks."""
        return self._autoanalyzer.any_rules()

    def take(self, receipt: Receipt, by: Thoth | None = None) -> bool:
        """Hold a dump against the rules, as ``Autoanalyzer.arrived``: whether some are still pending then.

        It is stored whatever becomes of that, so nothing is raised.
        """
        if self._debuggers and self._debuggers.wants(receipt):
            with self._lock:
                self._to_walk += [receipt.info.id] if len(self._to_walk) < _MOST else []
        held = self._autoanalyzer.arrived(receipt.result, receipt.info, by)
        self._tell(held.verdicts)
        if held.waiting:
            with self._lock:
                self._wait(held)
        return held.waiting or held.pending is not None

    def _wait(self, held: Held) -> None:
        one = (held.identity, held.pending)
        if one in self._known:
            return
        self._left += 1
        if len(self._waiting) < _MOST:
            self._known.add(one)
            self._waiting.append(held)

    def finish(self, go_on: Callable[[], bool]) -> None:
        """Ask the debuggers, then run the analyzers, a dump for each CPU at a time.

        No other is begun when ``go_on`` says no.
        """
        if self._debuggers:
            self._walk(self._debuggers, go_on)
        with closing(self._autoanalyzer.finish_each(self._waiting, os.cpu_count() or 1, go_on)) as finished:
            for verdicts in finished:
                if verdicts is not None:
                    self._left -= 1
                    self._tell(verdicts)

    def cancel(self) -> None:
        """Stop the analyzers that are under way, from another thread."""
        if self._debuggers:
            self._debuggers.cancel()
        self._autoanalyzer.cancel()

    def tell_left(self) -> None:
        """Tell how many dumps were not analyzed, if any."""
        if self._left:
            dumps = f"{self._left} dump{'' if self._left == 1 else 's'}"
            self._say(f"{dumps} not analyzed; the next pass does it, or 'thoth autoanalyzers run rules_pending=*'")

    def _walk(self, debuggers: Debuggers, go_on: Callable[[], bool]) -> None:
        for identity in self._to_walk:
            if not go_on():
                return
            try:
                done = debuggers.ask(identity)
            except StoreUnavailable as error:
                self._say(f"{identity}: stacks: {escaped(str(error))}")
                return
            if done.reason:
                self._say(f"{identity}: stacks: {escaped(done.reason)}")

    def _tell(self, verdicts: Iterable[Verdict]) -> None:
        for each in verdicts:
            if each.stands_in_the_way:
                why = escaped(each.reason or "")
                self._say(f"autoanalyzer {each.rule}: {each.result.value} on {each.identity}: {why}")
