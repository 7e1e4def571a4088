"""Damages cores and binaries and reads their stacks.

``python -m tests.support.stack_mutants SEED COUNT CORE BINARY``, where CORE is of a Linux process that ran BINARY.
Each reading ends within SECONDS of processor time, raises nothing, and the process takes 128 MiB more than it has
at the start. What it cannot stand it prints, with the number of the mutant.
"""

from __future__ import annotations

import random
import resource
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.support import vectors
from tests.support.mutants import mutant
from tests.support.sources import whole
from thoth.dumps.binaries import LocalBinaries
from thoth.dumps.source import ReadAt
from thoth.dumps.stack import ALL_FRAMES, read_stacks
from thoth.stacks import stacks_in

SECONDS, MEMORY = 1.0, 128 << 20
VECTORS = ("illumos-core64-mt.core.11198", "illumos-core32-mt.core.54113", "illumos-core64-nosymtab.core.84")

_HEADERS = 0x1000  # bytes at the start of a binary that hold its headers and its build-id


class _Other:
    """Binaries of which one is another than it was."""

    def __init__(self, path: Path, data: bytes, others: LocalBinaries) -> None:
        self._path, self._data, self._others = bytes(path), data, others

    def open(self, path: bytes, build_id: str) -> ReadAt | None:
        return whole(self._data) if path == self._path else self._others.open(path, build_id)

    def symbols(self, build_id: str, beside: bytes = b"") -> ReadAt | None:
        return None


def scattered(original: bytes, seed: int, start: int = 0) -> bytes:
    """The bytes with many of them changed behind ``start``, in runs: pointers, counts and strings alike."""
    chance = random.Random(seed)
    data = bytearray(original)
    for _ in range(chance.choice((1, 4, 16, 64, 256))):
        at = chance.randrange(start, len(data))
        size = chance.choice((1, 2, 4, 8))
        data[at : at + size] = chance.choice((b"\xff", b"\x00", b"\x7f", b"\x80", chance.randbytes(1))) * size
    return bytes(data[: len(original)])


def readings(core: bytes, binary: Path, others: LocalBinaries) -> list[Callable[[int], object]]:
    """What is read, by the number of the mutant."""
    program, cores = binary.read_bytes(), [vectors.load(name) for name in VECTORS]

    def damaged_core(number: int) -> object:
        data = (mutant if number % 2 else scattered)(cores[number % len(cores)], number)
        return _judged(stacks_in(whole(data)), read_stacks(whole(data)))

    def damaged_linux_core(number: int) -> object:
        data = (mutant if number % 2 else scattered)(core, number)
        return _judged(stacks_in(whole(data), others), None)

    def damaged_binary(number: int) -> object:
        binaries = _Other(binary, scattered(program, number, _HEADERS if number % 2 else 64), others)
        return _judged(stacks_in(whole(core), binaries), read_stacks(whole(core), binaries))

    return [damaged_core, damaged_linux_core, damaged_binary]


def _judged(keys: dict[str, object], stacks: object) -> None:
    assert "stack_failed" not in keys, keys["stack_failed"]
    threads = getattr(stacks, "threads", ())
    assert sum(len(thread.frames) for thread in threads) <= ALL_FRAMES


def main(seed: int, count: int, core: Path, binary: Path) -> int:
    """Reads ``count`` mutants of each kind. Returns how many were not as they should be."""
    wrong = 0
    with LocalBinaries() as others:
        kinds = readings(core.read_bytes(), binary, others)
        for kind in kinds:
            kind(seed)  # what is imported and kept does not count
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        for number in range(seed, seed + count):
            for kind in kinds:
                begin = time.process_time()
                try:
                    kind(number)
                except Exception:  # noqa: BLE001 - whatever it is, it is what we look for
                    wrong += 1
                    print(f"{kind.__name__} {number}: {traceback.format_exc()}")
                if time.process_time() - begin > 2 * SECONDS:  # each is read twice
                    wrong += 1
                    print(f"{kind.__name__} {number}: {time.process_time() - begin:.2f} s")
    return wrong


if __name__ == "__main__":
    sys.exit(min(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])), 100))
