"""``sdc-thoth completion``."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sdc_thoth.config import state_directory
from sdc_thoth.options import COMMANDS
from sdc_thoth.status import write_status
from tests.sdc_thoth.test_status import BAD, GOOD, ILL
from tests.support.completion import completed


def sdc_thoth(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sdc_thoth", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def offered(tmp_path: Path) -> Callable[..., set[str]]:
    script = tmp_path / "script"
    script.write_text(sdc_thoth("completion", "bash").stdout)
    folder = tmp_path / "here"
    (folder / "state").mkdir(parents=True)
    (folder / "fleet.toml").touch()

    def offered(*words: str) -> set[str]:
        return completed(script, folder, "sdc-thoth", *words)

    return offered


@pytest.mark.parametrize(
    ("words", "offers"),
    [
        ([""], {*COMMANDS}),
        (["host"], {"hostkeys"}),
        (["--dr"], {"--dry-run"}),
        (["status", "--j"], {"--json"}),
        (["hostkeys", "--y"], {"--yes"}),
        (["completion", ""], {"bash", "zsh", "tcsh"}),
        (["--compress", "z"], {"zstd"}),
        (["-n", "--inventory", "fl"], {"fleet.toml"}),
        (["-d", ""], {"state"}),
        (["status", "-d", "st"], {"state"}),
        (["-N", ""], set()),
    ],
)
def test_in_bash(offered: Callable[..., set[str]], words: list[str], offers: set[str]) -> None:
    assert offered(*words) == offers


def test_the_nodes_of_the_last_passes_are_offered(offered: Callable[..., set[str]]) -> None:
    place = state_directory(None)
    place.mkdir(parents=True)
    hostile = replace(GOOD, node="$(touch ran)")
    write_status(place, replace(ILL, nodes=(GOOD, hostile, BAD)))
    assert offered("-N", "") == offered("hostkeys", "") == {GOOD.node, BAD.node}
    assert offered("-n", "--node", "cn1") == {"cn1"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_the_script_is_all_that_is_printed(shell: str) -> None:
    ran = sdc_thoth("completion", shell)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert all(name in ran.stdout for name in COMMANDS)


@pytest.mark.parametrize("words", [[], ["ksh"], ["bash", "zsh"]])
def test_another_shell(words: list[str]) -> None:
    ran = sdc_thoth("completion", *words)
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (1, "", 1)
