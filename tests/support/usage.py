"""What a running process takes of its machine."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")  # in a second


@dataclass(frozen=True, slots=True)
class Usage:
    """Memory in bytes, descriptors, threads, and the seconds of CPU that it has used since it began."""

    memory: int
    files: int
    threads: int
    cpu: float

    @classmethod
    def of(cls, pid: int) -> Usage:
        """As it is now."""
        place = Path(f"/proc/{pid}")
        status = (place / "status").read_text()
        found = {name: int(number) for name, number in re.findall(r"^(VmRSS|Threads):\s*(\d+)", status, re.MULTILINE)}
        return cls(found["VmRSS"] << 10, len(list((place / "fd").iterdir())), found["Threads"], sum(_cpu(pid)[:2]))

    def __str__(self) -> str:
        return f"{self.memory / (1 << 20):.1f} MiB, {self.files} files, {self.threads} threads"


def cpu_with_children(pid: int) -> float:
    """Seconds of CPU that a process has used, and those of its children that have ended, with theirs."""
    return sum(_cpu(pid))


def _cpu(pid: int) -> list[float]:
    """User and system, then those of children."""
    # Behind its name, which may hold anything, in brackets.
    numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return [int(ticks) / _TICKS for ticks in numbers[11:15]]
