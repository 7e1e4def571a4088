"""Finding the command, and what becomes of what goes wrong."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from tests.thoth.cli.conftest import COMMAND, TOP, Ran, Run
from thoth.cli import _COMMANDS
from thoth.version import __version__

HEADER = "NAME             TYPE  TIME                NODE/CMD         TICKET"


class TestFindingTheCommand:
    def test_version(self, run: Run) -> None:
        assert run("--version") == Ran(0, f"thoth {__version__}\n", "")

    def test_help_names_every_command(self, run: Run) -> None:
        ran = run("--help")
        assert ran.code == 0
        assert all(re.search(rf"^  {name} ", ran.out, re.MULTILINE) for name in _COMMANDS)

    def test_help_is_a_command_too(self, run: Run) -> None:
        assert run("help") == run("--help")
        assert run("help", "purge") == run("purge", "--help")
        assert run("help", "zzzzzzz").code == 1

    @pytest.mark.parametrize("command", _COMMANDS)
    def test_help_of_a_command_teaches_by_examples(self, run: Run, command: str) -> None:
        ran = run(command, "--help")
        assert (ran.code, ran.err) == (0, "")
        assert "examples:\n" in ran.out
        assert f"  thoth {command}" in ran.out
        assert "\nexit status: 0 " in ran.out
        assert max(len(line) for line in ran.lines) <= 110

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ([], "thoth: name a command; see 'thoth --help'"),
            (["objcet"], "thoth: there is no command 'objcet'; did you mean 'object'?"),
            (["zzzzzzz"], "thoth: there is no command 'zzzzzzz'; see 'thoth --help'"),
            (["\x1b[2J"], "thoth: there is no command '\\x1b[2J'; see 'thoth --help'"),
            (
                ["object"],
                "thoth: object: the following arguments are required: FILE; see 'thoth object --help'",
            ),
            (
                ["upload", "--jso", "x"],
                "thoth: upload: unrecognized arguments: --jso; see 'thoth upload --help'",
            ),
            (["upload", "--wat"], "thoth: upload: unrecognized arguments: --wat; see 'thoth upload --help'"),
            (["info", "-x"], "thoth: info: unrecognized arguments: -x; see 'thoth info --help'"),
            (["ls", "--\x1b[2J"], "thoth: ls: unrecognized arguments: --\\x1b[2J; see 'thoth ls --help'"),
            (["--frob", "ls"], "thoth: unrecognized arguments: --frob; see 'thoth --help'"),
            (["ls", "--user"], "thoth: ls: argument --user: expected one argument; see 'thoth ls --help'"),
        ],
    )
    def test_usage_errors_are_one_line_and_exit_1(self, run: Run, words: list[str], said: str) -> None:
        assert run(*words) == Ran(1, "", said + "\n")

    def test_options_may_stand_on_either_side_of_the_command(self, run: Run, core: Callable[..., Path]) -> None:
        path = core(1)
        assert run("-q", "upload", path).err == ""
        assert run("upload", path, "-q").err == ""
        assert run("upload", "-q", path).err == ""
        assert run("--user", "a", "ls", "--json").out == ""
        assert run("ls", "cmd=node", "--json", "type=core").out != ""

    def test_what_begins_with_a_dash_stands_behind_two(
        self, run: Run, core: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = core(1, b"--json")
        monkeypatch.chdir(path.parent)
        assert run("object", "--", "--json").code == 0
        assert run("object", "--json", "--", "--json", "-q").out.startswith('{"path": "--json", "id": ')


class TestEntries:
    def test_python_m_thoth(self, spawn: Run) -> None:
        assert spawn("--version").out == f"thoth {__version__}\n"

    def test_the_script_that_is_installed(self) -> None:
        project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
        module, _, function = project["scripts"]["thoth"].partition(":")
        assert getattr(import_module(module), function)(["--version"]) == 0


class TestStartUp:
    def test_ls_imports_nothing_that_it_does_not_need(
        self, run: Run, core: Callable[..., Path], child_environment: dict[str, str]
    ) -> None:
        run("upload", core(1))
        program = "import sys; from thoth.cli import main; main(['ls']); print(*sys.modules, file=sys.stderr)"
        ran = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=child_environment
        )
        assert "core" in ran.stdout
        modules = {*ran.stderr.split()}
        assert "thoth.index.sqlite" in modules
        ours = {"thoth.analysis", "thoth.edit", "thoth.ingest"}
        assert not modules & {"hmac", "rich", "secrets", "subprocess", "tomllib", *ours}


class TestWhatGoesWrong:
    def test_debug_shows_the_traceback(self, run: Run) -> None:
        ran = run("--debug", "info", "abc")
        assert ran.code == 2
        assert ran.said[0] == "Traceback (most recent call last):"
        assert ran.said[-1] == "thoth: no such dump: abc"

    def test_an_error_of_the_system_is_one_line(
        self, run: Run, core: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        core(1)
        gone = tmp_path / "gone"
        gone.mkdir()
        monkeypatch.chdir(gone)
        gone.rmdir()  # a relative path has no beginning any more
        ran = run("upload", "../core.1")
        assert ran.code == 1
        assert len(ran.said) == 1

    @pytest.mark.parametrize(
        ("number", "code", "said"),
        [
            (signal.SIGINT, 130, "interrupted"),
            (signal.SIGTERM, 143, "stopped by SIGTERM"),
            (signal.SIGHUP, 129, "stopped by SIGHUP"),
        ],
    )
    def test_signals_are_told_and_are_its_exit_code(
        self, child_environment: dict[str, str], number: signal.Signals, code: int, said: str
    ) -> None:
        process = subprocess.Popen(
            [*COMMAND, "ls", "dump=stdin"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child_environment,
            text=True,
        )
        assert process.stderr is not None
        assert process.stderr.readline() == "thoth: reading dump identifiers from stdin\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out, err) == (code, "", f"thoth: {said}\n")

    def test_one_that_comes_twice_at_once_is_one_wish(self, child_environment: dict[str, str]) -> None:
        """As timeout sends it, to its child and then to the group of that."""
        program = (
            "import time; from thoth.cli.signals import Terminated, terminating\n"
            "try:\n with terminating():\n"
            "  try: print('begun', flush=True); time.sleep(60)\n"
            "  finally: time.sleep(float({pause})); print('cleared', flush=True)\n"
            "except Terminated as error: raise SystemExit(error.exit_code)\n"
        )
        for pause, after, code, said in ((0.5, 0.1, 143, "cleared\n"), (60, 1.2, -signal.SIGTERM, "")):
            with subprocess.Popen(
                [sys.executable, "-c", program.format(pause=pause)],
                stdout=subprocess.PIPE,
                env=child_environment,
                text=True,
            ) as process:
                assert process.stdout is not None
                assert process.stdout.readline() == "begun\n"
                process.send_signal(signal.SIGTERM)
                time.sleep(after)
                process.send_signal(signal.SIGTERM)
                assert (process.stdout.read(), process.wait(30)) == (said, code)

    def test_a_signal_that_is_ignored_stays_so(self, child_environment: dict[str, str]) -> None:
        process = subprocess.Popen(
            ["nohup", *COMMAND, "ls", "dump=stdin"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child_environment,
            text=True,
        )
        assert process.stderr is not None
        assert process.stderr.readline() == "thoth: reading dump identifiers from stdin\n"
        process.send_signal(signal.SIGHUP)
        _, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (0, "thoth: no dump matches\n")


class TestStreams:
    """F38: streams that are closed, full, or left by their reader."""

    def test_F38_a_reader_that_has_gone_ends_it_quietly(self, spawn: Run) -> None:
        ours, theirs = os.pipe()
        os.close(ours)
        try:
            assert spawn("-q", "ls", stdout=theirs) == Ran(141, "", "")
            assert spawn("--help", stdout=theirs) == Ran(141, "", "")
        finally:
            os.close(theirs)

    def test_F38_head(self, run: Run, core: Callable[..., Path], child_environment: dict[str, str]) -> None:
        run("upload", *(core(pid, psargs="x" * 79) for pid in range(1, 4)))
        # 3 dumps with 400 columns each do not fit into a pipe that nobody empties.
        words = ["ls", *["psargs"] * 400]
        script = '"$@" | head -n 1; echo "${PIPESTATUS[0]}" >&2'
        ran = subprocess.run(
            ["bash", "-c", script, "bash", *COMMAND, *words],
            capture_output=True,
            text=True,
            check=True,
            env=child_environment,
        )
        assert ran.stdout.startswith(HEADER)
        assert ran.stderr == "141\n"

    @pytest.mark.parametrize(
        ("redirection", "said"),
        [
            (">&-", "thoth: stdout is closed; there is nowhere to write the result\n"),
            (">/dev/full", "thoth: stdout: No space left on device\n"),
        ],
    )
    def test_F38_a_stdout_that_takes_nothing(
        self, child_environment: dict[str, str], redirection: str, said: str
    ) -> None:
        ran = subprocess.run(
            ["bash", "-c", f'"$@" {redirection}', "bash", *COMMAND, "-q", "ls"],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=child_environment,
        )
        assert (ran.returncode, ran.stderr) == (1, said)

    def test_F38_several_files_and_a_stdout_that_is_full(
        self, child_environment: dict[str, str], core: Callable[..., Path]
    ) -> None:
        words = [*COMMAND, "upload", *(str(core(pid)) for pid in (1, 2))]
        ran = subprocess.run(
            ["bash", "-c", '"$@" >/dev/full', "bash", *words],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=child_environment,
        )
        assert ran.returncode == 1
        assert ran.stderr.splitlines()[2:] == ["thoth: stdout: No space left on device"]

    @pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
    def test_a_stderr_that_takes_nothing_does_not_matter(
        self, child_environment: dict[str, str], core: Callable[..., Path], run: Run, redirection: str
    ) -> None:
        path = core(1)
        words = [*COMMAND, "upload", str(path), str(path.parent / "nope")]
        ran = subprocess.run(
            ["bash", "-c", f'"$@" {redirection}', "bash", *words],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            env=child_environment,
        )
        assert (ran.returncode, ran.stdout) == (1, run("object", path).out)

    @pytest.mark.parametrize("closed", ["0", "1", "2"])
    def test_a_file_never_takes_the_place_of_a_closed_stream(
        self, child_environment: dict[str, str], closed: str
    ) -> None:
        program = (
            "import os, sys, thoth.cli; thoth.cli.main(['--version']);sys.exit(os.open('/dev/null', os.O_RDONLY) > 2)"
        )
        ran = subprocess.run(
            ["bash", "-c", f'"$@" {closed}>&-', "bash", sys.executable, "-c", program],
            check=False,
            env=child_environment,
            stdout=subprocess.DEVNULL,
        )
        assert ran.returncode == 1

    def test_a_stdout_without_unicode_gets_escapes(
        self, child_environment: dict[str, str], core: Callable[..., Path], run: Run
    ) -> None:
        run("upload", core(1, cmd="zürich"))
        ran = subprocess.run(
            [*COMMAND, "ls"],
            capture_output=True,
            check=True,
            env={**child_environment, "PYTHONIOENCODING": "ascii"},
        )
        assert b" z\\u00fcrich " in ran.stdout
