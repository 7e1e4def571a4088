"""Damages dumps at random and reads them: ``python -m tests.support.mutants SEED COUNT``.

Each mutant must have an identity or be refused, in less than a second of processor time; the process may use
64 MiB more than it has at the start. What it cannot stand it prints, with the number that makes it again.
"""

from __future__ import annotations

import random
import resource
import sys
import time
import traceback
from pathlib import Path

from tests.support.elfwriter import (
    elf_vmcore,
    flattened,
    freebsd_core,
    illumos_core,
    kdump,
    linux_core,
    vmdump,
)
from tests.support.sources import ask, fetched, whole
from thoth.dumps.describe import describe, fact_ranges
from thoth.dumps.identity import identify, identity_ranges
from thoth.dumps.source import KnownRanges
from thoth.errors import NotADump

SECONDS, MEMORY = 1.0, 64 << 20
_HOT = 512  # most of what decides is written in the first bytes


def originals() -> list[bytes]:
    """The dumps that are damaged: each format, width and byte order."""
    both = [(bits, endian) for bits in (32, 64) for endian in ("little", "big")]
    cores = [illumos_core(bits=bits, endian=endian) for bits, endian in both]
    linux = [linux_core(bits=bits, endian=endian) for bits, endian in both]
    crashes = [vmdump(), vmdump(bits=32), kdump(), flattened(kdump())]
    return [*cores, *linux, *crashes, elf_vmcore("OSRELEASE=6", "CRASHTIME=5"), freebsd_core()]


def mutant(original: bytes, seed: int) -> bytes:
    """The dump with some of its bytes changed; sometimes cut too. Equal seeds give equal mutants."""
    chance = random.Random(seed)
    data = bytearray(original)
    for _ in range(chance.randint(1, 8)):
        reach = chance.choice((64, _HOT, 8192, len(data)))
        value = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        data[chance.randrange(min(reach, len(data)))] = value
    if chance.random() < 0.1:
        del data[chance.randrange(len(data)) :]
    return bytes(data)


def read(dump: KnownRanges) -> str:
    """Everything that is asked of a dump. Returns its identity, or an empty text when it is refused."""
    try:
        identity = identify(dump)
    except NotADump:
        for question in (identity_ranges, describe, fact_ranges):
            try:
                question(dump)
            except NotADump:
                continue
            raise AssertionError(f"refused by identify, but not by {question.__name__}") from None
        return ""
    assert describe(fetched(dump, ask(fact_ranges, dump))) == describe(dump)
    return identity


def main(seed: int, count: int) -> int:
    """Reads ``count`` mutants. Returns how many were not as they should be."""
    dumps, wrong = originals(), 0
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    for number in range(seed, seed + count):
        dump = whole(mutant(dumps[number % len(dumps)], number))
        begin = time.process_time()
        try:
            read(dump)
        except Exception:  # noqa: BLE001 - whatever it is, it is what we look for
            wrong += 1
            print(f"mutant {number}: {traceback.format_exc()}")
        if time.process_time() - begin > 5 * SECONDS:  # five questions are asked of each
            wrong += 1
            print(f"mutant {number}: {time.process_time() - begin:.2f} s")
    return wrong


if __name__ == "__main__":
    sys.exit(min(main(int(sys.argv[1]), int(sys.argv[2])), 100))
