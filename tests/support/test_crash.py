"""The cores are those of processes that really crashed: gdb says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.crash import Crasher, NoCore, Writer, crash


def backtrace(executable: Path, core: Path) -> str:
    steps = ["set debuginfod enabled off", "info threads", "bt"]
    script = [part for step in steps for part in ("-ex", step)]
    command = ["gdb", "-nx", "-batch", *script, str(executable), str(core)]
    return subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL).stdout


@pytest.mark.parametrize("by", [None, "gdb"])
def test_a_native_core_has_its_frames_threads_and_signal(crasher: Crasher, tmp_path: Path, by: Writer | None) -> None:
    core = crasher.native(tmp_path / "core.crasher.1", threads=3, by=by)
    assert core.stat().st_size < 2 << 20
    told = backtrace(crasher.executable(), core)
    assert "SIGSEGV" in told and told.count("Thread 0x") >= 3
    assert told.index("read_record") < told.index("load_table") < told.index("serve") < told.index("main (")
    assert list(tmp_path.iterdir()) == [core]


@pytest.mark.parametrize(("how", "signal"), [("abort", "SIGABRT"), ("fpe", "SIGFPE")])
def test_other_ways_to_go(crasher: Crasher, tmp_path: Path, how: str, signal: str) -> None:
    core = crasher.native(tmp_path / "core", how)  # type: ignore[arg-type]  # one of the literals, from the table
    assert signal in backtrace(crasher.executable(), core)


def test_a_core_of_python(crasher: Crasher, tmp_path: Path) -> None:
    core = crasher.python(tmp_path / "core.python")
    assert "SIGSEGV" in backtrace(Path(sys.executable), core)


def test_what_does_not_crash_leaves_no_core(tmp_path: Path) -> None:
    with pytest.raises(NoCore):
        crash(["/bin/true"], tmp_path / "core")
    assert list(tmp_path.iterdir()) == []


def test_flags_make_another_executable(crasher: Crasher) -> None:
    assert crasher.executable("-static") != crasher.executable() == crasher.executable()
