"""``thoth analyzer`` and ``analyzers``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.thoth.cli.conftest import COMMAND, Ran, Run
from thoth.analysis.analyzers import BUNDLED

SCRIPT = b"echo \xff $THOTH_NAME\n\ttrue"


class TestAnalyzer:
    def test_it_is_kept_byte_for_byte(self, spawn: Run, child_environment: dict[str, str]) -> None:
        spawn("analyzer", "mine", stdin=SCRIPT)
        shown = subprocess.run(
            [*COMMAND, "analyzer", "mine", "--show"], capture_output=True, check=False, env=child_environment
        )
        assert (shown.returncode, shown.stdout) == (0, SCRIPT)

    def test_a_terminal_gets_it_made_harmless(
        self, spawn: Run, on_terminal: Callable[..., tuple[int, bytes]]
    ) -> None:
        spawn("analyzer", "mine", stdin=b"echo '\x1b[31m'\n\ttrue\n")
        code, seen = on_terminal("analyzer", "--show", "mine")
        assert (code, seen) == (0, b"echo '\\x1b[31m'\r\n        true\r\n")

    def test_a_second_one_takes_its_place(self, spawn: Run, run: Run) -> None:
        for script in (b"one", b"two\n"):
            spawn("analyzer", "mine", stdin=script)
        assert spawn("-q", "analyzer", "mine", "--show") == Ran(0, "two\n", "")
        assert len(run("analyzers").lines) == 1

    @pytest.mark.parametrize("stdin", [b"", b" \n\t\n", b"echo\0x", b"if [", b"echo $((\n"])
    def test_F38_what_is_no_script_overwrites_nothing(self, spawn: Run, stdin: bytes) -> None:
        spawn("analyzer", "mine", stdin=b"good")
        ran = spawn("-q", "analyzer", "mine", stdin=stdin)
        assert (ran.code, ran.out, len(ran.said)) == (1, "", 1)
        assert spawn("analyzer", "mine", "--show").out == "good"

    def test_what_bash_says_of_it_is_told(self, spawn: Run) -> None:
        ran = spawn("-q", "analyzer", "mine", stdin=b"echo\nif true; then\n")
        said = "bash does not take it: 'line 3: syntax error: unexpected end of file'; nothing was stored"
        assert (ran.code, ran.said) == (1, [f"thoth: analyzer 'mine': {said}"])
        assert spawn("analyzer", "mine", stdin=b"shopt -s extglob\ncase a in !(b)) echo ;; esac\n").code == 0

    def test_F38_a_closed_stdin(self, child_environment: dict[str, str]) -> None:
        ran = subprocess.run(
            ["/bin/sh", "-c", f"exec {sys.executable} -m thoth -q analyzer mine <&-"],
            capture_output=True,
            check=False,
            env=child_environment,
        )
        assert ran.returncode == 1
        assert ran.stderr.startswith(b"thoth: stdin is closed")

    @pytest.mark.parametrize("name", ["::stack", "$C", "a/b", "../x", ".x", "", "a=b", "x" * 201, "a\nb", "\x1b[2J"])
    def test_F24_names_that_are_none(self, spawn: Run, run: Run, name: str) -> None:
        ran = spawn("analyzer", name, stdin=b"true")
        assert (ran.code, ran.out, len(ran.said)) == (1, "", 1)
        assert run("analyzers").out == ""

    def test_F24_names_that_a_shell_would_read(self, spawn: Run, run: Run) -> None:
        names = ["a $(id) b", "`id`;*é"]
        for name in names:
            assert spawn("analyzer", name, stdin=b"true").code == 0
        assert [each.rpartition("/")[2] for each in run("analyzers").lines] == sorted(names, key=str.encode)

    def test_remove(self, spawn: Run, run: Run) -> None:
        spawn("analyzer", "mine", stdin=b"true")
        assert run("analyzer", "--remove", "mine") == Ran(0, "", "thoth: removed analyzer 'mine'\n")
        assert run("analyzers").out == ""

    @pytest.mark.parametrize("flag", ["--show", "--remove"])
    def test_one_that_is_not_there_names_others_like_it(self, spawn: Run, run: Run, flag: str) -> None:
        spawn("analyzer", "OS-2359-diagnose", stdin=b"true")
        assert run("analyzer", flag, "OS-2395-diagnose") == Ran(
            1, "", "thoth: there is no analyzer 'OS-2395-diagnose'; did you mean OS-2359-diagnose?\n"
        )
        assert run("analyzer", flag, "zzz").err.endswith("'thoth analyzers' lists those that there are\n")


class TestAnalyzers:
    def test_none(self, run: Run) -> None:
        assert run("analyzers") == Ran(0, "", "")

    def test_json_lines(self, run: Run) -> None:
        run("init")
        told = [json.loads(line) for line in run("analyzers", "--json").lines]
        assert told == [{"name": name, "object": f"/thoth/stor/thoth/analyzers/{name}"} for name in BUNDLED]

    def test_init_leaves_one_s_own_alone(self, run: Run, spawn: Run) -> None:
        spawn("analyzer", "fmri", stdin=b"mine")
        added = [line for line in run("init").said if "added" in line]
        assert added == [f"thoth: added analyzer '{name}'" for name in BUNDLED if name != "fmri"]
        assert spawn("analyzer", "fmri", "--show").out == "mine"
