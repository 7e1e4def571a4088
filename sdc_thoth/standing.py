"""``sdc-thoth status``: the status file in words, and whether all is well by it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from sdc_thoth.config import state_directory
from sdc_thoth.notes import Amount, NodeNote, PassNote
from sdc_thoth.state import shown
from sdc_thoth.status import DaemonNote, FailingNote, State, Status, is_alive, read_status
from thoth import ThothError, escaped, size_text

_LATE: Final = 120.0  # seconds after which a daemon's pass that has not begun is overdue
LONGEST: Final = 25.0  # hours between passes that nobody's daemon begins: they are made daily at least


def show_status(
    directory: Path | None,
    *,
    as_json: bool,
    out: Callable[[str], None],
    now: Callable[[], float] = time.time,
    late: float = LONGEST,
) -> int:
    """Tell the status; returns 0 when all is well, 1 when something fails. ``late``: hours after the last pass, where
    no daemon runs. Raises ThothError where there is none."""
    place = state_directory(directory)
    status = read_status(place)
    if status is None:
        raise ThothError(f"{shown(place)}: no pass has left a status here; name the collector's directory with -d")
    troubles = [*troubles_of(status, now(), late)]
    if as_json:
        out(status.to_json().rstrip("\n"))
    else:
        for line in lines_of(status, now()):
            out(line)
        for trouble in troubles:
            out(f"!! {trouble}")
    return int(bool(troubles))


def troubles_of(status: Status, now: float, late: float = LONGEST) -> Iterator[str]:
    """What is not well, a line each."""
    daemon = status.daemon
    if daemon is not None:
        yield from _troubles_of_daemon(daemon, now)
    if status.last_pass is None:
        if daemon is None or daemon.state is not State.COLLECTING:  # else the first one is under way
            yield "no pass has ended yet"
    elif status.last_pass.error is not None:
        yield f"the last pass broke off: {escaped(status.last_pass.error)}"
    elif not status.last_pass.good and status.last_pass.stopped is None:  # who stops it knows what is left
        yield "the last pass had failures"
    if status.last_pass is not None and (daemon is None or daemon.state is State.STOPPED):
        ended = status.last_pass.started + status.last_pass.seconds
        if now - ended > late * 3600:
            yield f"the last pass ended {_ago(ended, now)}, and no daemon runs: is cron or the timer still there?"
    failing = sum(node.failing_since is not None for node in status.nodes)
    if failing:
        yield f"{failing} of {len(status.nodes)} nodes cannot be collected from"
    if status.failing_dumps:
        yield "1 dump fails" if status.failing_dumps == 1 else f"{status.failing_dumps} dumps fail"


def _troubles_of_daemon(daemon: DaemonNote, now: float) -> Iterator[str]:
    if daemon.refused_configuration is not None:
        yield f"the configuration was not taken: {escaped(daemon.refused_configuration)}"
    if daemon.state is State.STOPPED:
        return
    if not is_alive(daemon.pid):
        yield f"the daemon is gone: there is no process {daemon.pid}"
    elif daemon.state is State.WAITING and daemon.next_pass is not None:
        late = now - daemon.next_pass - daemon.late
        if late > _LATE:
            yield f"a pass was due {_ago(daemon.next_pass, now)} and has not begun"
    elif daemon.state is State.COLLECTING and daemon.until is not None and now > daemon.until:
        yield f"a pass has been under way since {_time(daemon.since)} and should be over"


# ---- in words --------------------------------------------------------------------------------------


def lines_of(status: Status, now: float) -> Iterator[str]:
    """The status for people."""
    yield _of_daemon(status.daemon, now)
    if status.daemon is not None and status.daemon.limits:
        yield f"limits: {status.daemon.limits}"
    if status.last_pass is not None:
        yield from _of_pass(status.last_pass, now)
    if status.rate is not None:
        yield f"rate: {size_text(int(status.rate))}/s while dumps were on their way"
    if status.totals:
        yield f"all passes: {_amounts(status.totals)}"
    yield f"nodes: {len(status.nodes)}"
    for node in status.nodes:
        yield f"  {_of_node(node, now)}"
    if status.failing_dumps:
        yield f"dumps that fail: {status.failing_dumps}"
    for dump in status.failing:
        yield f"  {_of_dump(dump, now)}"
    if status.failing_dumps > len(status.failing):
        yield f"  and {status.failing_dumps - len(status.failing)} more"


def _of_daemon(daemon: DaemonNote | None, now: float) -> str:
    if daemon is None:
        return "daemon: none; passes are run one by one"
    line = f"daemon: {daemon.state.value} since {_time(daemon.since)}, process {daemon.pid}; passes {daemon.schedule}"
    if daemon.next_pass is not None and daemon.state is not State.STOPPED:
        line += f"; next {_time(daemon.next_pass)}"
    if daemon.passed_over:
        line += f"; passed over {daemon.passed_over} times, last: {escaped(daemon.passed_over_because or '')}"
    return line


def _of_pass(note: PassNote, now: float) -> Iterator[str]:
    nodes = ", ".join(f"{count} {result}" for result, count in note.nodes.items()) or "no nodes"
    yield f"last pass: {_time(note.started)} ({_ago(note.started, now)}), took {note.seconds:.1f}s; {nodes}"
    if note.stopped is not None:
        yield f"  {escaped(note.stopped)} before its end"
    if note.dumps:
        yield f"  {_amounts(note.dumps)}; sent {size_text(note.sent)}"
    if note.limited:
        yield f"  left out by limits, to be tried again: {_amounts(note.limited)}"
    if note.waiting.dumps:
        yield f"  {note.waiting.dumps} still change ({size_text(note.waiting.bytes)}) and wait for the next pass"


def _amounts(amounts: Mapping[str, Amount]) -> str:
    return ", ".join(f"{each.dumps} {result} ({size_text(each.bytes)})" for result, each in amounts.items())


def _of_node(node: NodeNote, now: float) -> str:
    reached = "never reached" if node.reached is None else f"last reached {_time(node.reached)}"
    name = escaped(node.node)
    word = node.result if node.is_running else "not running"
    if node.failing_since is None:
        return f"{name}: {word}, {reached}" + (f": {escaped(node.reason)}" if node.reason else "")
    tries = f"{node.failures} {'try' if node.failures == 1 else 'tries'}"
    since = f"since {_time(node.failing_since)} ({_ago(node.failing_since, now)}, {tries})"
    failing = f"{word} {since}" if node.is_running else f"{word}, and failing {since}"
    return f"{name}: {failing}, {reached}: {escaped(node.reason or '')}"


def _of_dump(dump: FailingNote, now: float) -> str:
    tries = f"{dump.tries} {'try' if dump.tries == 1 else 'tries'} since {_time(dump.since)}"
    wait = f", next after {_time(dump.due)}" if dump.due > now else ""
    return f"{escaped(dump.node)}: {escaped(dump.path)}: {tries}{wait}: {escaped(dump.reason)}"


def _time(at: float) -> str:
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
    except (OverflowError, ValueError, OSError):  # of a clock that was wrong
        return f"{at:g} s"


def _ago(at: float, now: float) -> str:
    seconds = max(0, int(now - at))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} s ago"
