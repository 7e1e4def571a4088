"""``thoth analyze``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.elfwriter import illumos_core
from tests.support.illumos_tools import IllumosTools
from tests.support.processes import descendants, wait_until
from tests.thoth.cli.conftest import COMMAND, Core, Ran, Run
from thoth.analysis.analyzers import add
from thoth.library import Thoth
from thoth.model import Identity

Script = Callable[..., None]


@pytest.fixture
def dumps(run: Run, core: Core, ground: Path) -> list[str]:
    """The identities of three dumps, oldest first."""
    return run("-q", "upload", *(core(pid, cmd="node") for pid in (1, 2, 3))).lines


@pytest.fixture
def script(stored: Thoth) -> Script:
    """``script("true")`` stores the analyzer ``x``."""
    return lambda text, name="x": add(stored, name, text.encode())


def properties(stored: Thoth, identity: str) -> object:
    found = stored.stored_info(Identity(identity))
    assert found is not None
    return found[0].properties


class TestManyDumps:
    def test_they_run_at_the_same_time_and_are_shown_in_their_order(
        self, run: Run, dumps: list[str], script: Script, ground: Path
    ) -> None:
        """Each waits for the two others, and the first one ends last."""
        meet = ground / "meet"
        meet.mkdir()
        meet.chmod(0o777)
        script(
            f'cd {meet}; : > "$THOTH_NAME"; until [ "$(ls | wc -l)" -ge 3 ]; do sleep 0.01; done\n'
            f"if [ $THOTH_NAME = {dumps[0]} ]; then until [ -e {dumps[2]}.done ]; do sleep 0.01; done; fi\n"
            "echo $THOTH_NAME; thoth_set seen true; : > $THOTH_NAME.done"
        )
        ran = run("analyze", "cmd=node", "x", "-p", "3")
        assert ran == Ran(0, "".join(f"{each}\n" for each in dumps), "thoth: analyzed 3 dumps; 3 changed\n")

    def test_one_dump_by_the_beginning_of_its_name(self, run: Run, dumps: list[str], script: Script) -> None:
        script("printf 'no end of line'")
        assert run("-q", "analyze", dumps[1][:20], "x") == Ran(0, "no end of line\n", "")

    def test_F25_one_failure_does_not_stop_the_rest(
        self, run: Run, dumps: list[str], script: Script, stored: Thoth
    ) -> None:
        script(
            f"thoth_set seen 1; [ $THOTH_NAME != {dumps[0]} ] || exit 3; [ $THOTH_NAME != {dumps[1]} ] || kill -9 $$"
        )
        ran = run("analyze", "cmd=node", "x")
        assert (ran.code, ran.out) == (1, "")
        assert ran.said == [
            f"thoth: {dumps[0]}: analyzer 'x' ended with status 3",
            f"thoth: {dumps[1]}: analyzer 'x' was killed by SIGKILL",
            "thoth: analyzed 3 dumps; 2 changed; 2 failed",
        ]
        assert [properties(stored, each) for each in dumps] == [{"seen": 1}, {}, {"seen": 1}]

    def test_what_a_failing_one_says_stands_below_its_dump(self, run: Run, dumps: list[str], script: Script) -> None:
        script(f"[[ $THOTH_NAME == {dumps[1]} ]] || {{ echo fine; exit 0; }}; no_such_command")
        lines = run("analyze", *dumps, "x").lines
        at = lines.index(f"{dumps[1]}:")
        assert lines[at + 1].endswith("no_such_command: command not found")
        assert [line for line in lines if line.endswith(":")] == [f"{dumps[1]}:"]
        assert f"{dumps[1]}:" not in run("analyze", dumps[1], "x").lines

    def test_F25_a_timeout(self, run: Run, dumps: list[str], script: Script) -> None:
        script("sleep 600 & sleep 600")
        ran = run("-q", "analyze", dumps[0], "x", "--timeout", "1")
        assert ran == Ran(1, "", f"thoth: {dumps[0]}: analyzer 'x' timed out after 1 s\n")

    def test_a_change_that_cannot_be_made(self, run: Run, dumps: list[str], script: Script) -> None:
        script("thoth_set a..b x")
        ran = run("-q", "analyze", dumps[0], "x")
        assert (ran.code, len(ran.said)) == (1, 1)
        assert ran.err.startswith(f"thoth: {dumps[0]}: analyzer 'x': 'a..b': not a property")

    def test_a_cache_that_the_sandbox_cannot_reach_is_told_once(
        self, run: Run, dumps: list[str], script: Script, ground: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        script("true")
        (ground / "closed").mkdir(mode=0o700)
        monkeypatch.setenv("THOTH_CACHE", str(ground / "closed" / "cache"))
        ran = run("analyze", "cmd=node", "x")
        assert (ran.code, len(ran.said)) == (1, 1)
        assert f"{ground}/closed is closed to the user that analyzers run as; name another place" in ran.err

    def test_a_purged_dump_is_left_out_of_a_specification(self, run: Run, dumps: list[str], script: Script) -> None:
        run("purge", dumps[0], "--delete")
        script("true")
        ran = run("analyze", "cmd=node", "x")
        assert (ran.code, ran.said[-1]) == (0, "thoth: analyzed 2 dumps; 0 changed")

    def test_a_purged_dump_that_is_named_is_a_failure(self, run: Run, dumps: list[str], script: Script) -> None:
        run("purge", dumps[0], "--delete")
        script("true")
        ran = run("analyze", *dumps, "x")
        assert (ran.code, ran.said[-1]) == (1, "thoth: analyzed 3 dumps; 0 changed; 1 failed")
        assert ran.said[0].startswith(f"thoth: {dumps[0]}: ")
        assert "purged" in ran.said[0]

    def test_F23_output_is_made_harmless(self, run: Run, dumps: list[str], script: Script) -> None:
        script("printf 'a\\tb\\\\c\\n\\x1b[31m\\xff\\r\\x9b\\n\\n'; thoth_set p $'\\x1b'")
        ran = run("-q", "analyze", dumps[0], "x")
        assert ran.out == "a       b\\c\n\\x1b[31m\\xff\\r\\x9b\n\n"

    def test_output_without_end_is_cut(self, run: Run, dumps: list[str], script: Script) -> None:
        script("yes | head -c 2000000")
        ran = run("-q", "analyze", dumps[0], "x")
        assert (ran.code, len(ran.out)) == (0, 1 << 20)
        assert ran.said == [f"thoth: {dumps[0]}: only the first 1048576 bytes are shown"]

    def test_nothing_matches(self, run: Run, dumps: list[str], script: Script) -> None:
        script("true")
        assert run("analyze", "cmd=nope", "x") == Ran(0, "", "thoth: no dump matches\n")

    def test_more_dumps_than_fit_into_the_window(self, run: Run, core: Core, ground: Path, script: Script) -> None:
        names = run("-q", "upload", *(core(pid) for pid in range(1, 12))).lines
        script("echo $THOTH_NAME")
        assert run("-q", "analyze", "type=core", "x", "-p", "2").lines == names


class TestDryRun:
    def test_it_shows_what_would_be_and_changes_nothing(
        self, run: Run, dumps: list[str], script: Script, stored: Thoth
    ) -> None:
        script(
            "echo hello; thoth_set a '{\"b\": 1}'; thoth_unset c; thoth_ticket X; thoth_unticket\n"
            "echo f | thoth_stack"
        )
        ran = run("analyze", "-n", dumps[0], "x")
        assert (ran.code, ran.err) == (0, "thoth: analyzed 1 dump; 1 would be changed\n")
        assert ran.lines == [
            "hello",
            f"{dumps[0]}: would set 'a' to {{\"b\": 1}}",
            f"{dumps[0]}: would unset 'c'",
            f"{dumps[0]}: would set the ticket X",
            f"{dumps[0]}: would remove the ticket",
            f"{dumps[0]}: would set the stack, of 1 frames",
        ]
        assert properties(stored, dumps[0]) == {}


class TestJson:
    def test_a_line_for_each_dump(self, run: Run, dumps: list[str], script: Script) -> None:
        script(f"echo out; thoth_set a 1; [ $THOTH_NAME != {dumps[1]} ] || exit 2")
        run("purge", dumps[2], "--delete")
        ran = run("-q", "analyze", *dumps, "x", "--json")
        first, second, third = (json.loads(line) for line in ran.lines)
        assert ran.code == 1
        assert first.pop("seconds") > 0
        assert first == {
            "id": dumps[0],
            "status": 0,
            "reason": None,
            "output": "out\n",
            "cut": False,
            "changes": [{"set": "a", "value": 1}],
        }
        assert (second["status"], second["changes"]) == (2, [{"set": "a", "value": 1}])
        assert (third["id"], third["status"], third["changes"]) == (dumps[2], None, [])
        assert "purged" in third["reason"]


class TestDcmd:
    @pytest.fixture
    def tools(self, ground: Path, monkeypatch: pytest.MonkeyPatch) -> IllumosTools:
        tools = IllumosTools(ground)
        monkeypatch.setenv("PATH", tools.path)
        return tools

    def test_the_answer_of_each(self, run: Run, dumps: list[str], tools: IllumosTools) -> None:
        for pid in (1, 2):
            tools.know(illumos_core(pid=pid, cmd="node"), stack=[f"main+{pid}()"])
        ran = run("analyze", "cmd=node", "::stack")
        assert ran.code == 1
        assert ran.lines[:4] == [f"{dumps[0]}:", "main+1()", f"{dumps[1]}:", "main+2()"]
        assert ran.said[0] == f"thoth: {dumps[2]}: mdb ended with status 1"

    def test_one_dump_has_no_heading(self, run: Run, dumps: list[str], tools: IllumosTools) -> None:
        tools.know(illumos_core(pid=1, cmd="node"), commands={"$C": "answer\n"})
        assert run("-q", "analyze", dumps[0], "$C") == Ran(0, "answer\n", "")

    def test_F24_it_reaches_no_shell(self, run: Run, dumps: list[str], tools: IllumosTools, ground: Path) -> None:
        command = f"$C'; touch {ground}/CANARY #"
        tools.know(illumos_core(pid=1, cmd="node"), commands={"$C'": "", f"touch {ground}/CANARY #": "said\n"})
        assert run("-q", "analyze", dumps[0], command).out == "said\n"
        assert not (ground / "CANARY").exists()

    @pytest.mark.parametrize("word", ["::stack", "$C"])
    def test_without_mdb_it_is_one_line(self, run: Run, dumps: list[str], word: str) -> None:
        ran = run("analyze", "cmd=node", word)
        assert ran == Ran(1, "", "thoth: mdb is not installed here; it is part of illumos\n")


class TestWhatFails:
    def test_a_property_inside_of_a_text(self, run: Run, dumps: list[str], script: Script) -> None:
        script("thoth_set s x; thoth_set s.inner y")
        ran = run("-q", "analyze", dumps[0], "x")
        assert ran == Ran(
            1,
            "",
            f"thoth: {dumps[0]}: analyzer 'x': property 's' is no object, so nothing fits into it; unset it first\n",
        )

    def test_a_cache_that_cannot_be_used(
        self, run: Run, dumps: list[str], script: Script, ground: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (ground / "file").touch()
        monkeypatch.setenv("THOTH_CACHE", str(ground / "file"))
        script("true")
        ran = run("-q", "analyze", "cmd=node", "x")
        assert (ran.code, len(ran.said)) == (1, 3)

    def test_F31_a_store_that_refuses_everything_ends_it(self, run: Run, dumps: list[str], script: Script) -> None:
        script("thoth_set a 1")
        store = Path(os.environ["HOME"], ".local/share/thoth/store")
        store.chmod(0o777)
        ran = run("-q", "analyze", "cmd=node", "x")
        assert (ran.code, ran.out, len(ran.said)) == (1, "", 1)
        assert str(store) in ran.err


class TestUsage:
    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (["x"], "name dumps or a specification"),
            (["cmd=node", "fmrj"], "there is no analyzer 'fmrj'; did you mean fmri?"),
            (["cmd=node", "../x"], "is no name for an analyzer"),
            (["cmd=node", "fmri", "-p", "0"], "--parallel: '0' is not a number from 1 to 256"),
            (["cmd=node", "fmri", "-p", "x"], "--parallel: 'x'"),
            (["cmd=node", "fmri", "--timeout", "x"], "--timeout: 'x' is not an age"),
            (["cmd=node", "fmri", "--timeout", "0"], "--timeout: '0' leaves nothing"),
            (["cmd=node", "fmri", "--memory", "4Q"], "--memory: '4Q' is not a size"),
            (["cmd=node", "fmri", "--file-size", "-1"], "--file-size"),
        ],
    )
    def test_what_cannot_be_used(self, run: Run, ground: Path, words: list[str], says: str) -> None:
        run("init")
        ran = run("analyze", *words)
        assert (ran.code, ran.out, len(ran.said)) == (1, "", 1)
        assert says in ran.err

    def test_no_such_dump_is_2(self, run: Run, ground: Path) -> None:
        run("init")
        assert run("analyze", "0" * 32, "fmri").code == 2

    def test_limits_hold(self, run: Run, dumps: list[str], script: Script) -> None:
        script("head -c 3000000 /dev/zero > f || exit 4")
        assert run("-q", "analyze", dumps[0], "x", "--file-size", "1M").code == 1
        assert run("-q", "analyze", dumps[0], "x", "--file-size", "4M", "--memory", "1G").code == 0


@pytest.mark.parametrize(("number", "said"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "stopped by SIGTERM")])
@pytest.mark.parametrize("words", [["cmd=node", "x", "-p", "2"], ["pid=1", "x"]])
def test_a_signal_ends_it_at_once_and_leaves_nothing(
    words: list[str],
    number: signal.Signals,
    said: str,
    *,
    dumps: list[str],
    script: Script,
    child_environment: dict[str, str],
    stored: Thoth,
) -> None:
    script("echo begun; thoth_set a 1; sleep 600")
    process = subprocess.Popen(
        [*COMMAND, "analyze", *words],
        env=child_environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    sleeping = lambda: sum(each.command == "sleep" for each in descendants(process.pid))  # noqa: E731
    assert wait_until(lambda: sleeping() >= (2 if "-p" in words else 1), 20)
    children = [each.pid for each in descendants(process.pid)]
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (128 + number, b"")
    left = "3 were" if "-p" in words else "1 was"
    assert err.decode().splitlines() == [
        f"thoth: analyzed 0 dumps; 0 changed; {left} not reached",
        f"thoth: {said}",
    ]
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
    assert not [each for each in Path(os.environ["THOTH_CACHE"]).rglob("*") if each.is_file() and each.stat().st_size]
    assert not [*Path(os.environ["THOTH_CACHE"]).rglob(".run-*")]
    assert [properties(stored, each) for each in dumps] == [{}, {}, {}]


def test_a_bar_where_only_stderr_is_a_terminal(
    dumps: list[str], script: Script, child_environment: dict[str, str]
) -> None:
    import pty

    script("echo out")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "thoth", "analyze", "cmd=node", "x"],
        env=child_environment,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    out, _ = process.communicate(timeout=30)
    seen = os.read(ours, 1 << 16)
    os.close(ours)
    assert (process.returncode, out) == (0, b"out\n" * 3)
    assert b"100%" in seen
