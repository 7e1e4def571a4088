"""Signatures of processes that really crashed: the same however the program was built, and wherever it lay."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.crash import crash
from tests.support.roots import program
from tests.thoth.dumps.test_stack_linux import SOURCE
from thoth.dumps.binaries import LocalBinaries
from thoth.dumps.source import LocalFile
from thoth.signatures.signature import signature_of
from thoth.stacks import stacks_in

BUILDS = {"plain": ["-O2"], "unoptimized": ["-O0", "-no-pie"], "stripped": ["-O2", "-s"]}
LOAD = "{anonymous}::crash | {anonymous}::Tree::load"
WANTED = {
    "abort": LOAD,
    "nullcall": f"0x0 | {LOAD}",
    "throw": LOAD,
    "handler": f"{{anonymous}}::on_signal | {LOAD}",
    "overflow": "{anonymous}::never_ends",
    "deep": "{anonymous}::crash | {anonymous}::descend",
    "memcpy": f"memcpy | {LOAD}",
    "rust": f"crate::main::Load::run | {LOAD}",
}


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The program that crashes, by how it was built."""
    folder = tmp_path_factory.mktemp("builds")
    for name, flags in BUILDS.items():
        (folder / name).mkdir()
        command = [program("g++"), *flags, "-pthread", SOURCE, "-o", folder / name / "crasher"]
        subprocess.run(command, check=True)
    return {name: folder / name / "crasher" for name in BUILDS}


def told(executable: Path, how: str, core: Path) -> str | None:
    """The signature of one crash of a program."""
    crash([str(executable), how], core)
    with LocalFile(core) as source, LocalBinaries() as binaries:
        stacks = stacks_in(source, binaries)
    core.unlink()
    return signature_of({"type": "core", "os": "linux", "exec": str(executable), "cmd": "thread", **stacks})


@pytest.mark.parametrize("how", WANTED)
def test_the_same_crash_of_two_builds(builds: dict[str, Path], how: str, tmp_path: Path) -> None:
    for build in ("plain", "unoptimized"):
        assert told(builds[build], how, tmp_path / "core") == f"crasher: {WANTED[how]}"


def test_without_symbols_a_build_is_itself_wherever_it_is_mapped(builds: dict[str, Path], tmp_path: Path) -> None:
    first, second = (told(builds["stripped"], "null", tmp_path / "core") for _ in range(2))
    assert first == second
    assert str(first).startswith("crasher+0x")
    assert first != told(builds["stripped"], "rust", tmp_path / "core")
