"""What a pass tells: lines for people, one JSON document for scripts, an exit code. Pure: text goes to a callback.

A report takes each outcome as it comes, and at the end the seconds that the pass took and how fast dumps come.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from sys import getsizeof
from typing import Any, Final

from sdc_thoth.limits import Limits
from sdc_thoth.notes import PUT_OFF, Amount
from thoth import Outcome, Result, escaped, size_text, text

# Bytes of memory that lines for the end take.
_ROOM: Final = 2 << 20  # of one host: some 16,000
_ALL_ROOM: Final = 64 << 20  # of all hosts
_LEAST_ROOM: Final = 16 << 10  # of one host, whatever others have to tell


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast dumps come: ``rate`` in bytes a second by the last passes, None: not known; and the limits of now."""

    rate: float | None
    limits: Limits

    def seconds(self, planned: Mapping[str, int]) -> float | None:
        """That so many bytes of each node will take; None when there is nothing to go by, or nothing to send."""
        total = sum(planned.values())
        rates: list[float] = [rate for rate in (self.rate, self.limits.rate) if rate]
        times = [total / min(rates)] if rates else []
        if self.limits.node_rate and planned:
            at_a_time = min(len(planned), self.limits.nodes)
            times.append(max(*planned.values(), total / at_a_time) / self.limits.node_rate)
        return max(times) if total and times else None

    def told(self, planned: Mapping[str, int]) -> float | None:
        """The rate that this comes to; with nothing to send that of the last passes."""
        seconds = self.seconds(planned)
        return self.rate if seconds is None else sum(planned.values()) / seconds


class Tally:
    """Counts outcomes, and knows what they mean for the exit code: 0 only when every one is a good one."""

    def __init__(self) -> None:
        self.dumps: Counter[Result] = Counter()
        self.nodes: Counter[Result] = Counter()
        self.sent = 0  # bytes
        self.planned = 0  # bytes
        self.planned_of: dict[str, int] = {}  # bytes, by node
        self.limited: dict[str, Amount] = {}  # dumps that a limit has kept out, by its name
        self.amounts: dict[str, Amount] = {}  # dumps, and the bytes of them, by the word of their Result or PUT_OFF
        self.waiting = Amount()  # dumps that are still being written
        self._plans: set[str] = set()

    def count(self, outcome: Outcome) -> None:
        (self.nodes if outcome.path is None else self.dumps)[outcome.result] += 1
        if outcome.path is not None:
            # Its tries are failures, and not the passes in which it waits for one.
            waits = bool(outcome.detail.get("seen_before")) and not outcome.result.good
            word = PUT_OFF if waits else outcome.result.value
            self.amounts[word] = self.amounts.get(word, Amount()).plus(outcome.size or 0)
            if outcome.detail.get("waiting"):
                self.waiting = self.waiting.plus(outcome.size or 0)
            if limit := outcome.detail.get("limit"):
                self.limited[limit] = self.limited.get(limit, Amount()).plus(outcome.size or 0)
        self.sent += outcome.sent
        if self.is_planned(outcome):
            self.planned += outcome.size or 0
            node = outcome.node or "?"
            self.planned_of[node] = self.planned_of.get(node, 0) + (outcome.size or 0)
            self._plans.add(outcome.identity or "")

    def is_planned(self, outcome: Outcome) -> bool:
        """Whether a dump would be sent. One that lies in several places would be sent once."""
        return outcome.result is Result.PLANNED and outcome.identity not in self._plans

    @property
    def plans(self) -> int:
        """How many dumps would be sent."""
        return len(self._plans)

    @property
    def node_counts(self) -> Mapping[str, int]:
        """How many nodes had which result."""
        return {result.value: count for result, count in self.nodes.items()}

    @property
    def exit_code(self) -> int:
        return int(not all(result.good for result in (*self.dumps, *self.nodes)))


class _Lines:
    """What is told at the end of one host: a line a dump, as long as there is room, and how many more there were.

    A host that fails at much has as much room for that as for what went well.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._held = {True: 0, False: 0}  # bytes of memory; True: of what went well
        self._more: Counter[Result] = Counter()

    def add(self, line: str, result: Result, room: int) -> int:
        """Keep a line if what is kept takes no more than ``room`` bytes then. Returns the bytes that it takes."""
        size = getsizeof(line)
        if self._held[result.good] + size > room:
            self._more[result] += 1
            return 0
        self._lines.append(line)
        self._held[result.good] += size
        return size

    def __bool__(self) -> bool:
        return bool(self._lines or self._more)

    def told(self, host: str) -> Iterator[str]:
        yield from self._lines
        if self._more:
            counts = ", ".join(f"{count} {result.value}" for result, count in self._more.items())
            yield f"{host}: and {self._more.total()} more: {counts}"


class TextReport:
    """The lines of the original: what would be or was uploaded, then a summary, a line a dump per host."""

    def __init__(self, out: Callable[[str], None], *, dry_run: bool, verbose: bool) -> None:
        self.tally = Tally()
        self._out = out
        self._dry_run = dry_run
        self._verbose = verbose
        self._hosts: dict[str, _Lines] = {}
        self._held = 0  # bytes of all lines
        self._of_nodes: dict[str, str] = {}

    def take(self, outcome: Outcome) -> None:
        planned = self.tally.is_planned(outcome)
        self.tally.count(outcome)
        host = outcome.node or "?"
        lines = self._hosts.setdefault(host, _Lines())
        if outcome.path is None:
            if not outcome.result.good:
                # What failed names the node itself: once is enough.
                word = _word(outcome).replace(f": {escaped(host)} (", " (", 1)
                self._of_nodes[host] = f"{host}: {word}"
            elif outcome.result is Result.NOT_RUNNING:
                why = f": {escaped(outcome.reason)}" if outcome.reason else ""
                self._of_nodes[host] = f"{host}: not running{why}"
            elif outcome.reason:
                self._of_nodes[host] = f"{host}: {escaped(outcome.reason)}"
            return
        name, size = escaped(outcome.path), size_text(outcome.size or 0)
        if planned:
            self._out(f"would upload {name} from {host} ({size})")
        elif outcome.result in (Result.STORED, Result.REPLACED):
            self._out(f"uploaded {name} from {host} ({size}) as {outcome.identity}")
        if self._verbose or not is_old_news(outcome):
            room = _ROOM if self._held < _ALL_ROOM else _LEAST_ROOM
            self._held += lines.add(f"{host}: {name}: {_word(outcome)}", outcome.result, room)

    def end(self, seconds: float, speed: Speed) -> None:
        self._out("=== Completed ===")
        for host, lines in self._hosts.items():
            for line in lines.told(host):
                self._out(line)
            if host in self._of_nodes:
                self._out(self._of_nodes[host])
            elif not lines:
                self._out(f"{host}: nothing to do")
        if self._dry_run:
            count = self.tally.plans
            what = f"would upload {size_text(self.tally.planned)} in {count} dump{'s' * (count != 1)}"
            time, rate = speed.seconds(self.tally.planned_of), speed.told(self.tally.planned_of)
            self._out(what if time is None else f"{what}, about {_duration(time)} at {size_text(int(rate or 0))}/s")
        else:
            self._out(f"uploaded {size_text(self.tally.sent)}")
        for limit, amount in self.tally.limited.items():
            dumps = f"{amount.dumps} dump{'s' * (amount.dumps != 1)}"
            self._out(f"left out by {limit}: {dumps} ({size_text(amount.bytes)})")
        self._out(f"total run time {_duration(seconds)}")


def is_old_news(outcome: Outcome) -> bool:
    """What every pass would say again: a dump that is there, a file that is known to be none."""
    return outcome.result is Result.PRESENT or bool(outcome.detail.get("seen_before"))


def _word(outcome: Outcome) -> str:
    """What became of it, and why, in one line."""
    words = [outcome.result.value]
    if not outcome.result.good and outcome.stage:
        words.append(f"({outcome.stage})")
    line = " ".join(words)
    if outcome.reason:
        line += f": {escaped(outcome.reason)}"
    if outcome.identity and outcome.result.good:
        line += f" {outcome.identity}"
    return line


def _duration(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}h{whole // 60 % 60:02}m{whole % 60:02}s" if whole >= 60 else f"{seconds:.1f}s"


class JsonReport:
    """One document, written as it comes: memory does not grow with the fleet. ``out`` takes text without line ends.

    ``dumps``: node, path, size in bytes, identity, known, action, result, stage, reason. ``nodes``: node, result,
    stage, reason. ``bytes``: sent, in a dry run those that would be; ``limited``: dumps and bytes that a limit has
    kept out, by its name; ``rate``: bytes a second, by the last passes and the limits, or null;
    ``estimated_seconds``: that the plan will take at this rate, or null.
    """

    def __init__(self, out: Callable[[str], None], *, dry_run: bool) -> None:
        self.tally = Tally()
        self._out = out
        self._dry_run = dry_run
        self._nodes: list[dict[str, Any]] = []
        self._separator = f'{{"version": 1, "dry_run": {json.dumps(dry_run)}, "dumps": [\n'

    def take(self, outcome: Outcome) -> None:
        planned = self.tally.is_planned(outcome)
        self.tally.count(outcome)
        common = {"result": outcome.result.value, "stage": outcome.stage, "reason": outcome.reason}
        if outcome.path is None:
            self._nodes.append({"node": outcome.node, **common})
            return
        dump = {
            "node": outcome.node,
            "path": text(outcome.path),
            "size": outcome.size,
            "identity": outcome.identity,
            "known": outcome.result in (Result.PRESENT, Result.CONFLICT),
            "action": "upload" if planned else _ACTIONS.get(outcome.result, "none"),
            **common,
        }
        self._out(self._separator + json.dumps(dump).replace("\x7f", "\\u007f"))
        self._separator = ",\n"

    def end(self, seconds: float, speed: Speed) -> None:
        tail: dict[str, Any] = {
            "nodes": self._nodes,
            "bytes": self.tally.planned if self._dry_run else self.tally.sent,
            "counts": {result.value: count for result, count in self.tally.dumps.items()},
            "limited": {limit: asdict(amount) for limit, amount in self.tally.limited.items()},
            "seconds": round(seconds, 3),
        }
        if self._dry_run:
            estimated, rate = speed.seconds(self.tally.planned_of), speed.told(self.tally.planned_of)
            tail["rate"] = None if rate is None else round(rate)
            tail["estimated_seconds"] = None if estimated is None else round(estimated, 1)
        if not self.tally.dumps:
            self._out(self._separator)
        self._out("\n], " + json.dumps(tail)[1:].replace("\x7f", "\\u007f") + "\n")


_ACTIONS = {Result.STORED: "uploaded", Result.REPLACED: "replaced"}
