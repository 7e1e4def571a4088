"""What the tasks of a job wrote: the records that job/task.sh makes, one behind the other in any order.

Each is a line ``thoth-task 1 IDENTITY HOW N SECONDS OUTPUT CHANGES`` (HOW and N: ``exit 3``, ``signal 9`` or
``late 0``; the last two are numbers of bytes), the output and the changes. All of it was written beside a program
that is not ours.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from typing import BinaryIO, Final

from thoth.analysis.changes import LARGEST_RECORD, BadChange, Changes, changes_in
from thoth.analysis.sandbox import Ended
from thoth.model import Identity

_LONGEST: Final = 200  # bytes of the first line
_HEAD: Final = re.compile(
    rb"thoth-task 1 ([0-9a-f]{32}) (exit|signal|late) ([0-9]{1,3}) ([0-9]{1,9}) ([0-9]{1,15}) ([0-9]{1,15})\n"
)


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file, not yet read: how the task ended, and where the rest of it is."""

    how: str  # exit, signal, late
    number: int
    seconds: int
    begin: int  # where its output begins
    output: int  # bytes of it
    changes: int  # bytes of what comes behind


def records_in(file: BinaryIO) -> dict[Identity, Record]:
    """The records of a file, as far as it can be read; of two for one dump the first."""
    found: dict[Identity, Record] = {}
    end = file.seek(0, 2)
    at = file.seek(0)
    while told := _HEAD.fullmatch(file.readline(_LONGEST)):
        seconds, output, changes = int(told[4]), int(told[5]), int(told[6])
        record = Record(told[2].decode(), int(told[3]), seconds, at + len(told[0]), output, changes)
        at = record.begin + output + changes
        if at > end:
            break
        found.setdefault(Identity(told[1].decode()), record)
        file.seek(at)
    return found


def ended(record: Record, output: bytes, most: int, timeout: float) -> Ended:
    """How the task ended, in the words of those that run here; ``most`` bytes of its output are kept."""
    status = record.number if record.how == "exit" else None
    reasons = {"exit": None, "late": f"timed out after {timeout:g} s"}
    reason = reasons.get(record.how, f"was killed by {_signal_name(record.number)}")
    return Ended(status, reason, output[:most], record.output > most, float(record.seconds))


def changes_of(record: Record, data: bytes) -> Changes:
    """What it asked to be changed. Raises UsageError for what cannot be done."""
    if record.changes > LARGEST_RECORD or len(data) < record.changes:
        raise BadChange("its changes are damaged: the record of them is too long, or incomplete")
    return changes_in(data)


def _signal_name(number: int) -> str:
    """Tasks run on illumos, whose signals have the numbers that ours have as far as they kill an analyzer."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
