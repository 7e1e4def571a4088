"""One heap: threads do not get heaps of their own."""

from __future__ import annotations

import platform
import subprocess
import sys

# Each heap of a thread reserves 64 MiB of addresses. What the threads allocate is more than Python's own allocator
# takes on (512 bytes), and less than what glibc maps by itself (128 KiB).
_THREADS = 4
_PROGRAM = f"""
import sys, threading
from pathlib import Path
from sdc_thoth.heap import one_heap

def mapped():
    return int(Path("/proc/self/statm").read_text().split()[0]) * 4 // 1024

if sys.argv[1] == "one":
    one_heap()
threading.stack_size(1 << 20)
before, together = mapped(), threading.Barrier({_THREADS + 1})

def work():
    kept = [bytearray(50_000) for _ in range(5)]
    together.wait()
    together.wait()

threads = [threading.Thread(target=work) for _ in range({_THREADS})]
for thread in threads: thread.start()
together.wait()
print(mapped() - before)
together.wait()
for thread in threads: thread.join()
"""


def _mapped(heaps: str) -> int:
    """MiB of addresses that four threads with 250 KB each take."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM, heaps], check=True, capture_output=True, timeout=60)
    return int(done.stdout)


def test_threads_share_one_heap() -> None:
    assert _mapped("one") < 64
    if platform.libc_ver()[0] == "glibc":  # no other gives threads heaps of their own
        assert _mapped("many") >= _THREADS * 64
