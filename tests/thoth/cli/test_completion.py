"""``thoth completion``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.completion import completed
from tests.thoth.cli.conftest import COMMAND, Run
from thoth.analysis.analyzers import BUNDLED
from thoth.cli import _COMMANDS

VERBS = ("upload", "ls", "show", "run", "dryrun", "remove")


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The completion of bash, in a file."""
    path = tmp_path_factory.mktemp("completion") / "thoth.bash"
    path.write_bytes(subprocess.run([*COMMAND, "completion", "bash"], capture_output=True, check=True).stdout)
    return path


@pytest.fixture
def offered(script: Path, tmp_path: Path) -> Callable[..., set[str]]:
    """``offered("thoth", "pu")`` is what bash completes the last word to, in a directory with two files."""
    for name in ("core.19972", "thoth.toml"):
        (tmp_path / name).touch()

    def offered(*words: str) -> set[str]:
        return completed(script, tmp_path, *words)

    return offered


class TestCompletion:
    @pytest.mark.parametrize(
        ("words", "offers"),
        [
            (["thoth", "pu"], {"purge"}),
            (["thoth", "un"], {"unset", "unticket"}),
            (["thoth", "upload", "--j"], {"--json"}),
            (["thoth", "upload", "--na"], {"--name"}),
            (["thoth", "purge", "--older", "90d", "--del"], {"--delete"}),
            (["thoth", "purge", "--k"], {"--keep"}),
            (["thoth", "upload", "co"], {"core.19972"}),
            (["thoth", "upload", "core.19972", "core"], {"core.19972"}),
            (["thoth", "info", "core"], {"core.19972"}),
            (["thoth", "get", "core"], {"core.19972"}),
            (["thoth", "get", "cm"], {"cmd"}),
            (["thoth", "get", "-o", "co"], {"core.19972"}),
            (["thoth", "get", "5da", "--f"], {"--force"}),
            (["thoth", "ls", "--config", "th"], {"thoth.toml"}),
            (["thoth", "completion", ""], {"bash", "zsh", "tcsh"}),
            (["thoth", "completion", "z"], {"zsh"}),
            (["thoth", "nonsense", "zz"], set()),
            (["thoth", "ls", "type=core", "sig"], {"signal", "signature", "signature_rules"}),
            (["thoth", "report", "plat"], {"platform"}),
            (["thoth", "set", "cm"], {"cmd"}),
            (["thoth", "set", "core"], {"core.19972"}),
            (["thoth", "autoanalyzers", ""], {*VERBS, "core.19972", "thoth.toml"}),
            (["thoth", "autoanalyzers", "up"], {"upload"}),
            (["thoth", "autoanalyzers", "upload", "th"], {"thoth.toml"}),
        ],
    )
    def test_in_bash(self, offered: Callable[..., set[str]], words: list[str], offers: set[str]) -> None:
        assert offered(*words) == offers

    def test_analyzers_are_offered(self, run: Run, offered: Callable[..., set[str]]) -> None:
        assert offered("thoth", "analyzer", "") == set(), "there is no store yet"
        run("init")
        assert offered("thoth", "analyzer", "") == set(BUNDLED)
        assert offered("thoth", "analyze", "5da", "") == {*BUNDLED, "core.19972", "thoth.toml"}
        assert offered("thoth", "debug", "5da", "jss") == {"jsstack"}

    def test_a_name_that_others_gave_is_never_run(
        self, run: Run, offered: Callable[..., set[str]], tmp_path: Path
    ) -> None:
        run("init")
        place = Path(os.environ["HOME"], ".local/share/thoth/store/thoth/stor/thoth/analyzers")
        for name in ("$(touch ran)", "`touch ran`", "x y", "*"):
            (place / name).write_text("true")
        assert offered("thoth", "analyzer", "") == set(BUNDLED)
        assert not (tmp_path / "ran").exists()

    def test_all_that_a_dump_tells_is_offered(
        self, run: Run, crashed_id: str, offered: Callable[..., set[str]]
    ) -> None:
        assert set(json.loads(run("info", crashed_id).out)) <= offered("thoth", "ls", "")

    def test_every_command_is_offered(self, offered: Callable[..., set[str]]) -> None:
        assert offered("thoth", "") == set(_COMMANDS)

    def test_the_options_of_every_command_are_offered(self, run: Run, offered: Callable[..., set[str]]) -> None:
        for name in ("purge", "config", "logs", "ls", "object"):
            usage = [line.split()[0].rstrip(",") for line in run(name, "--help").lines if line.startswith("  -")]
            options = {option for option in usage if option.startswith("--")} | {"--help", "--quiet"}
            assert options <= offered("thoth", name, "--")

    @pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
    def test_the_script_is_all_that_is_printed(self, run: Run, shell: str) -> None:
        ran = run("completion", shell)
        assert (ran.code, ran.err) == (0, "")
        assert all(name in ran.out for name in _COMMANDS)
        assert list(Path(os.environ["HOME"]).iterdir()) == []

    @pytest.mark.parametrize("shell", ["bash", "zsh"])
    def test_the_shell_can_read_it(self, run: Run, shell: str, tmp_path: Path) -> None:
        path = tmp_path / "script"
        path.write_text(run("completion", shell).out)
        program = shutil.which(shell)
        if program is None:
            assert path.read_text().startswith("#compdef thoth\n")
            return
        subprocess.run([program, "-n", path], check=True, capture_output=True, timeout=30)

    @pytest.mark.parametrize("words", [[], ["ksh"], ["bash", "zsh"], [""]])
    def test_another_shell(self, run: Run, words: list[str]) -> None:
        ran = run("completion", *words)
        assert (ran.code, ran.out, len(ran.said)) == (1, "", 1)
