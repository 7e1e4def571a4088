"""An upload with the executables and symbols of a debuginfod server."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.crash import crash
from tests.support.debuginfod_server import debuginfod_server
from tests.support.roots import program
from tests.thoth.cli.conftest import Run
from thoth.dumps.binaries import build_id_of
from thoth.dumps.source import LocalFile

SOURCE = Path(__file__).parents[2] / "support" / "crashes.cpp"


def test_a_program_that_is_stripped_and_gone(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes from the server, and its symbols in a file of their own."""
    path, symbols = tmp_path / "program", tmp_path / "symbols"
    subprocess.run([program("g++"), "-O2", "-pthread", SOURCE, "-o", path], check=True)
    subprocess.run([program("objcopy"), "--only-keep-debug", path, symbols], check=True)
    subprocess.run([program("strip"), path], check=True)
    core = crash([str(path), "null"], tmp_path / "core.1")
    with LocalFile(path) as file:
        build_id = build_id_of(file) or ""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    with debuginfod_server() as served:
        served.files[build_id, "executable"] = Path(shutil.move(path, tmp_path / "away"))
        served.files[build_id, "debuginfo"] = symbols
        monkeypatch.setenv("DEBUGINFOD_URLS", served.url)
        ran = run("upload", core)
    assert ran.code == 0
    assert '"_ZN12_GLOBAL__N_15crashEv+0x' in run("info", ran.lines[0]).out
    assert (tmp_path / "xdg" / "debuginfod_client" / build_id / "debuginfo").is_file()
