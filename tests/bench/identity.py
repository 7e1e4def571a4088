"""How fast a dump gets its name: as a command, and many in one process."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.bench.table import Row, best, run, show
from tests.support.elfwriter import illumos_core
from thoth import LocalFile, identify

_CORES = 2000


def measure() -> None:
    with tempfile.TemporaryDirectory(prefix="thoth-bench-") as folder:
        cores = [Path(folder, f"core.{number}") for number in range(_CORES)]
        for number, core in enumerate(cores):
            core.write_bytes(illumos_core(pid=number + 1, size=70 << 10))
        show("Identity", [_command(cores[0]), _in_process(cores)])


def _command(core: Path) -> Row:
    python = Path(sys.executable)
    nothing = best(20, lambda: run([python, "-c", "pass"]).seconds)
    named = best(20, lambda: run([python.parent / "thoth", "object", core]).seconds)
    ratio = named / nothing
    figure = f"{ratio:.1f} x ({named * 1000:.0f} ms)"
    return Row("thoth object FILE, against python -c pass", figure, "at most 5 x", ratio <= 5)


def _in_process(cores: list[Path]) -> Row:
    rate = len(cores) / best(3, lambda: _name_all(cores))
    return Row("identities a second in one process, 70 KiB illumos cores", f"{rate:,.0f}", "5,000", rate >= 5000)


def _name_all(cores: list[Path]) -> float:
    started = time.perf_counter()
    for core in cores:
        with LocalFile(core) as source:
            identify(source)
    return time.perf_counter() - started
