"""What tests/conftest.py promises to every test, tried on a run of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
CASES = """
import os, subprocess, threading, time
import pytest
from hypothesis import given, strategies

seen = []

def test_thread():
    threading.Thread(target=time.sleep, args=(0.6,), name="forgotten").start()

def test_process():
    globals()["child"] = subprocess.Popen(["sleep", "0.6"])

def test_quick_enough():
    globals()["child"].wait()
    threading.Thread(target=time.sleep, args=(0.05,)).start()

def test_environment():
    assert not [name for name in os.environ if name.startswith(("THOTH_", "MANTA_", "XDG_"))]
    assert "SSH_AUTH_SOCK" not in os.environ and "https_proxy" not in os.environ
    assert os.environ["HOME"] != OLD_HOME and os.listdir(os.environ["HOME"]) == []
    assert os.umask(0o77) == 0o022

def test_umask_again():
    assert os.umask(0o22) == 0o022

@given(strategies.integers())
def test_examples(number):
    seen.append(number)

def test_print():
    print("EXAMPLES", hash(tuple(seen)))

@pytest.mark.soak
def test_soak():
    print("SOAKED")
"""


@pytest.fixture
def inner(tmp_path: Path) -> Callable[..., str]:
    """Runs pytest with our conftest on a file of cases; returns what it printed."""
    settings = tmp_path / "pytest.ini"
    settings.write_text("[pytest]\naddopts = -p no:cacheprovider\nmarkers = soak\n")
    tests = tmp_path / "test_cases.py"
    tests.write_text(CASES.replace("OLD_HOME", repr(str(tmp_path))))

    def run(*arguments: str) -> str:
        # The grace of seconds is for machines under load; here it would only make the test slow.
        start = "import sys, pytest, tests.conftest as conftest; conftest._GRACE = 0.2; "
        code = start + "sys.exit(pytest.main(sys.argv[1:], plugins=[conftest]))"
        command = [
            sys.executable,
            "-c",
            code,
            "-c",
            str(settings),
            "-s",
            f"--basetemp={tmp_path}/inner",
            str(tests),
            *arguments,
        ]
        dirty = {
            "THOTH_STORE": "x",
            "MANTA_URL": "x",
            "XDG_DATA_HOME": "x",
            "SSH_AUTH_SOCK": "x",
            "https_proxy": "x",
        }
        environment = {**os.environ, **dirty, "HOME": str(tmp_path)}
        return subprocess.run(
            command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
        ).stdout

    return run


def test_a_clean_environment_and_no_leaks(inner: Callable[..., str]) -> None:
    told = inner()
    assert re.search("left behind: thread forgotten", told)
    assert re.search("left behind: process sleep", told)
    assert re.search("7 passed, 1 deselected.* 2 errors", told), told
    assert "1 full loops not run" in told and "SOAKED" not in told
    assert "the same in every run" in told


def test_soak_says_its_seed_and_takes_it_again(inner: Callable[..., str]) -> None:
    first = inner("--soak", "-k", "soak or examples or print")
    seed = re.search(r"--hypothesis-seed=(\d+)", first)
    assert seed and "SOAKED" in first and "not run" not in first
    again = inner("-q", "-m", "soak or not soak", "--hypothesis-seed", seed[1], "-k", "examples or print")
    drawn = [re.search(r"EXAMPLES (-?\d+)", told) for told in (first, again)]
    assert drawn[0] and drawn[1] and drawn[0][1] == drawn[1][1]
    assert f"--hypothesis-seed={seed[1]}" in again  # also where pytest itself shows no header
