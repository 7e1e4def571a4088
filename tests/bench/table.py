"""Measurements as a table. Times are of whole processes, and the best of some runs: the machine is noisy."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One line: what was measured, the figure, what it is held against, and whether that is reached."""

    what: str
    figure: str
    goal: str
    reached: bool


@dataclass(frozen=True, slots=True)
class Run:
    """A process that has ended: wall-clock seconds, the largest RSS of it, in MiB, and seconds of CPU."""

    seconds: float
    rss: float
    output: str
    cpu: float


def run(command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> Run:
    """Run a command to its end; its stdout is kept. Raises, with what it said on stderr, when it fails."""
    with tempfile.TemporaryFile("w+", errors="replace") as talk:
        started = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=talk, text=True, env=env)
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - started
        if process.returncode:
            talk.seek(0)
            said = (output[-500:] + talk.read()[-500:]).strip()
            raise SystemExit(f"bench: {command[0]} ended with {process.returncode}: {said}")
    return Run(seconds, usage.ru_maxrss / 1024, output, usage.ru_utime + usage.ru_stime)


def best(times: int, measure: Callable[[], float]) -> float:
    """The smallest of some measurements."""
    return min(measure() for _ in range(times))


def show(title: str, rows: Sequence[Row]) -> None:
    """Print the rows of one part."""
    print(f"\n{title}")
    for row in rows:
        print(f"  {row.what:<58} {row.figure:>24}   goal {row.goal:<22} {'ok' if row.reached else 'MISSED'}")
