"""The shell of ``thoth debug DUMP ANALYZER``: from a script, on a terminal, and when the terminal goes away."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes import wait_until
from tests.support.terminal import Terminal
from tests.thoth.cli.conftest import COMMAND, Ran, Run
from thoth.analysis.analyzers import NoSuchAnalyzer, add, fetch
from thoth.library import Thoth
from thoth.model import Identity

pytestmark = pytest.mark.usefixtures("cache")

SCRIPT = b'thoth_set cmd_was "$(json cmd < "$THOTH_INFO")"\nthoth_ticket OS-2359\necho "looked at $THOTH_NAME"\n'


@pytest.fixture
def dump(run: Run, core: Callable[..., Path]) -> str:
    return run("-q", "upload", core(7, cmd="svc.startd")).out.strip()


@pytest.fixture
def analyzer(stored: Thoth) -> str:
    add(stored, "os-2359", SCRIPT)
    return "os-2359"


@pytest.fixture(autouse=True)
def aside(child_environment: dict[str, str], tmp_path: Path) -> Path:
    """Where what was written and could not be stored is kept."""
    place = tmp_path / "aside"
    place.mkdir()
    child_environment["TMPDIR"] = str(place)
    return place


@pytest.fixture
def shell(spawn: Run, dump: str) -> Callable[..., Ran]:
    """``shell("thoth_analyze", analyzer="x")`` types these lines."""

    def shell(*lines: str, analyzer: str = "os-2359") -> Ran:
        return spawn("debug", dump, analyzer, stdin="".join(f"{line}\n" for line in lines).encode())

    return shell


def document(stored: Thoth, dump: str) -> dict[str, object]:
    found = stored.stored_info(Identity(dump))
    assert found is not None
    return dict(found[0].document)


class TestRunning:
    def test_as_analyze_would(self, shell: Callable[..., Ran], analyzer: str, dump: str, stored: Thoth) -> None:
        ran = shell("thoth_analyze")
        assert (ran.code, ran.lines) == (0, [f"looked at {dump}"])
        assert ran.said[5:] == [
            "thoth: upon successful exit: set 'cmd_was' to \"svc.startd\"",
            "thoth: upon successful exit: set the ticket OS-2359",
            "thoth: analyzer 'os-2359' is unchanged",
            f"thoth: {dump}: set 'cmd_was' to \"svc.startd\"",
            f"thoth: {dump}: set the ticket OS-2359",
        ]
        now = document(stored, dump)
        assert (now["ticket"], now["properties"]) == ("OS-2359", {"cmd_was": "svc.startd"})

    def test_nothing_is_set_before_the_end(
        self, shell: Callable[..., Ran], analyzer: str, dump: str, stored: Thoth
    ) -> None:
        before = document(stored, dump)
        ran = shell("thoth_analyze", "exit 3")
        assert (ran.code, ran.said[-1]) == (1, "thoth: the shell exited with 3; nothing was stored")
        assert document(stored, dump) == before

    def test_the_last_run_counts(self, shell: Callable[..., Ran], analyzer: str, dump: str, stored: Thoth) -> None:
        ran = shell(
            'echo "thoth_set first 1" > "$THOTH_ANALYZER"',
            "thoth_analyze",
            'echo "thoth_set second 2" > "$THOTH_ANALYZER"',
            "thoth_analyze",
            "thoth_set typed 3",
        )
        assert ran.code == 0
        assert document(stored, dump)["properties"] == {"second": 2, "typed": 3}

    def test_F25_in_the_sandbox(
        self, shell: Callable[..., Ran], analyzer: str, child_environment: dict[str, str]
    ) -> None:
        child_environment["MANTA_KEY"] = "canary"
        lines = [
            "env; id -u",
            'echo x >> "$THOTH_DUMP" && echo written',
            "echo x > $HOME/../shell/analyzer && echo out",
        ]
        ran = shell(*(f"echo '{line}' >> \"$THOTH_ANALYZER\"" for line in lines), "thoth_analyze", "exit 1")
        assert "looked at" in ran.out
        assert "canary" not in ran.out
        assert os.geteuid() != 0 or not {"0", "written", "out"} & {*ran.lines}

    @pytest.mark.parametrize("variable", ["THOTH_ANALYZER", "THOTH_INFO"])
    def test_what_it_needs_is_gone(self, shell: Callable[..., Ran], analyzer: str, variable: str) -> None:
        ran = shell(f"rm ${variable}", "thoth_analyze")
        assert ran.said[5] == f"thoth: ${variable}: no such file"

    def test_its_status_is_the_shell_s(self, shell: Callable[..., Ran], analyzer: str) -> None:
        ran = shell('echo "exit 5" > "$THOTH_ANALYZER"', "thoth_analyze")
        assert (ran.code, ran.said[5]) == (1, "thoth: the shell exited with 5; nothing was stored")

    def test_one_that_cannot_be_done(
        self, shell: Callable[..., Ran], analyzer: str, dump: str, stored: Thoth
    ) -> None:
        before = document(stored, dump)
        ran = shell('echo "thoth_ticket a=b" > "$THOTH_ANALYZER"', "thoth_analyze", "echo status $?", "true")
        assert ran.lines == ["status 1"]
        assert "is not a ticket" in ran.said[5]
        assert (ran.code, document(stored, dump)) == (1, before)
        assert fetch(stored, "os-2359")[0] == b"thoth_ticket a=b\n"  # the analyzer itself was changed, and is kept


class TestStoring:
    def test_what_was_changed(self, shell: Callable[..., Ran], analyzer: str, stored: Thoth) -> None:
        ran = shell('echo "# more" >> "$THOTH_ANALYZER"')
        assert (ran.code, ran.said[-1]) == (0, "thoth: stored analyzer 'os-2359'")
        assert fetch(stored, "os-2359")[0] == SCRIPT + b"# more\n"

    def test_an_editor_may_replace_the_file(self, shell: Callable[..., Ran], analyzer: str, stored: Thoth) -> None:
        assert shell("echo new > .new; mv .new $THOTH_ANALYZER").code == 0
        assert fetch(stored, "os-2359")[0] == b"new\n"

    def test_a_new_one(self, shell: Callable[..., Ran], stored: Thoth) -> None:
        ran = shell('echo "echo hello" > "$THOTH_ANALYZER"', "thoth_analyze", analyzer="hello")
        assert (ran.code, ran.lines) == (0, ["hello"])
        assert ran.said[1].startswith("thoth: there is no analyzer 'hello'; ")
        assert ran.said[1].endswith("; a new one is begun")
        assert ran.said[-1] == "thoth: added analyzer 'hello'"
        assert fetch(stored, "hello")[0] == b"echo hello\n"

    def test_a_new_one_that_nobody_wrote(self, shell: Callable[..., Ran], stored: Thoth) -> None:
        ran = shell("true", analyzer="hello")
        assert (ran.code, ran.said[-1]) == (0, "thoth: nothing was written, so there is still no analyzer 'hello'")
        with pytest.raises(NoSuchAnalyzer):
            fetch(stored, "hello")

    def test_F38_one_that_is_empty_is_refused(self, shell: Callable[..., Ran], analyzer: str, stored: Thoth) -> None:
        ran = shell('echo > "$THOTH_ANALYZER"')
        assert (ran.code, ran.said[-1]) == (1, "thoth: analyzer 'os-2359' is empty, so it was not stored")
        assert fetch(stored, "os-2359")[0] == SCRIPT

    @pytest.mark.parametrize("line", ["rm $THOTH_ANALYZER", "ln -sf /etc/passwd $THOTH_ANALYZER"])
    def test_F17_only_a_file_is_read(
        self, shell: Callable[..., Ran], analyzer: str, stored: Thoth, line: str
    ) -> None:
        ran = shell(line)
        assert ran.code == 1
        assert ran.said[-1].startswith("thoth: analyzer 'os-2359' was not stored: ")
        assert fetch(stored, "os-2359")[0] == SCRIPT

    def test_nothing_on_failure_but_what_was_written_is_not_lost(
        self, shell: Callable[..., Ran], analyzer: str, stored: Thoth
    ) -> None:
        ran = shell('echo new > "$THOTH_ANALYZER"', "exit 1")
        assert (ran.code, ran.said[-2]) == (1, "thoth: the shell exited with 1; nothing was stored")
        assert fetch(stored, "os-2359")[0] == SCRIPT
        self.assert_set_aside(ran, b"new\n")

    def test_somebody_else_was_faster(
        self, shell: Callable[..., Ran], analyzer: str, stored: Thoth, tmp_path: Path
    ) -> None:
        (tmp_path / "theirs").write_text("theirs\n")
        command = " ".join(COMMAND)
        ran = shell('echo ours > "$THOTH_ANALYZER"', f"{command} analyzer os-2359 < {tmp_path}/theirs")
        assert ran.code == 1
        assert "thoth: analyzer 'os-2359' was changed by somebody else meanwhile; yours was not stored" in ran.said
        assert fetch(stored, "os-2359")[0] == b"theirs\n"
        self.assert_set_aside(ran, b"ours\n")

    @staticmethod
    def assert_set_aside(ran: Ran, script: bytes) -> None:
        path = Path(ran.said[-1].removeprefix("thoth: your version is in ").partition(";")[0])
        assert (path.read_bytes(), path.stat().st_mode & 0o777) == (script, 0o600)

    @pytest.mark.parametrize("name", ["../x", "a/b", "", "-e", "x=y", "::stack"])
    def test_a_name_that_none_can_have(self, shell: Callable[..., Ran], name: str) -> None:
        ran = shell("true", analyzer=name)
        assert (ran.code, ran.out) == (1, "")


class TestOnATerminal:
    @pytest.fixture
    def session(self, terminal: Callable[..., Terminal], dump: str, analyzer: str) -> Terminal:
        opened = terminal("debug", dump, analyzer)
        opened.expect("thoth@thoth # ")
        return opened

    def test_edit_run_and_store(self, session: Terminal, dump: str, stored: Thoth) -> None:
        session.write('echo "# edited" >> $THOTH_ANALYZER\n')
        session.expect("thoth@thoth # ")
        session.write("thoth_analyze\n")
        session.expect(f"looked at {dump}\r\n")
        session.expect("thoth@thoth # ")
        session.write("half\x03\n")  # bash may look at the signal only when the next key comes
        session.expect("thoth@thoth # ")
        session.write("sleep 1001\n")
        assert wait_until(lambda: _runs("sleep 1001"), 10)
        session.write("\x03")
        session.expect("thoth@thoth # ")
        session.write("exit 0\n")
        assert session.ended() == 0
        assert b"thoth: stored analyzer 'os-2359'" in session.seen
        assert fetch(stored, "os-2359")[0] == SCRIPT + b"# edited\n"
        assert document(stored, dump)["ticket"] == "OS-2359"

    def test_an_analyzer_can_be_interrupted_and_asks_for_nothing(
        self, session: Terminal, dump: str, stored: Thoth
    ) -> None:
        session.write('echo "thoth_set half 1; sleep 1000" > $THOTH_ANALYZER; thoth_analyze; echo status $?\n')
        session.expect("echo status $?\r\n")
        assert wait_until(lambda: _runs("sleep 1000"), 10)
        session.write("\x03")
        session.expect("thoth: interrupted\r\n")
        session.expect("status 130\r\n")
        assert not _runs("sleep 1000")
        session.write("exit 0\n")
        assert session.ended() == 0
        assert document(stored, dump)["properties"] == {}

    def test_exit_1(self, session: Terminal, dump: str, stored: Thoth) -> None:
        session.write("thoth_analyze; exit 1\n")
        assert session.ended() == 1
        assert b"thoth: the shell exited with 1; nothing was stored" in session.seen
        assert "ticket" not in document(stored, dump)

    def test_the_terminal_goes_away(self, session: Terminal, dump: str, stored: Thoth, aside: Path) -> None:
        session.write('echo gone > $THOTH_ANALYZER; thoth_analyze; thoth_ticket OS-1; echo "done"\n')
        session.expect("done\r\n")
        session.hang_up()
        assert session.ended() == 1
        assert fetch(stored, "os-2359")[0] == SCRIPT
        assert "ticket" not in document(stored, dump)
        assert [path.read_bytes() for path in aside.iterdir()] == [b"gone\n"]

    def test_it_goes_away_and_nobody_tells_us(
        self, child_environment: dict[str, str], dump: str, analyzer: str, stored: Thoth, aside: Path
    ) -> None:
        """Below a shell that ignores it: the end of input is then all that ours sees, and not its user's wish."""
        script = 'trap "" HUP; "$@"; echo $? > "$OUT"'
        child_environment["OUT"] = str(aside.with_name("code"))
        words = ["/bin/sh", "-c", script, "sh", *COMMAND, "debug", dump, analyzer]
        with Terminal(words, child_environment) as session:
            session.expect("thoth@thoth # ")
            session.write("trap 'exit 0' EXIT; echo gone > $THOTH_ANALYZER; echo done\n")
            session.expect("done\r\n")
            session.hang_up()
            session.ended()
        assert aside.with_name("code").read_text() == "1\n"
        assert fetch(stored, "os-2359")[0] == SCRIPT
        assert [path.read_bytes() for path in aside.iterdir()] == [b"gone\n"]

    def test_it_is_told_to_end(self, session: Terminal, stored: Thoth, aside: Path) -> None:
        session.write('echo gone > $THOTH_ANALYZER; echo "done"\n')
        session.expect("done\r\n")
        session.process.terminate()
        assert session.ended() == 1
        assert fetch(stored, "os-2359")[0] == SCRIPT
        assert [path.read_bytes() for path in aside.iterdir()] == [b"gone\n"]

    def test_it_can_be_suspended(
        self, child_environment: dict[str, str], dump: str, analyzer: str, stored: Thoth
    ) -> None:
        words = ["/bin/bash", "--noprofile", "--norc", "-i"]
        with Terminal(words, {**child_environment, "PS1": "outer $ "}) as session:
            session.write(f"{' '.join(COMMAND)} debug {dump} {analyzer}\n")
            session.expect("thoth@thoth # ")
            session.write("echo new > $THOTH_ANALYZER; suspend\n")
            session.expect("Stopped")
            session.expect("outer $ ")
            session.write("bg\n")  # it wants the terminal, so it stops at once
            session.expect("outer $ ")
            session.write("fg\n")
            session.expect("thoth@thoth # ")
            session.write("exit 0\n")
            session.expect("stored analyzer")
            session.write("exit $?\n")
            assert session.ended() == 0
        assert fetch(stored, analyzer)[0] == b"new\n"

    def test_one_that_nobody_would_continue_is_not_suspended(self, session: Terminal) -> None:
        session.write("suspend\n")  # ours leads the session here
        session.write("echo still he''re\n")
        session.expect("still here")
        session.write("exit 0\n")
        assert session.ended() == 0

    def test_a_shell_that_is_killed_leaves_the_terminal_usable(self, session: Terminal) -> None:
        session.write("stty -echo raw; kill -9 $$\n")
        session.expect("thoth: the shell was killed by signal 9; nothing was stored")
        assert session.modes() == session.fresh
        assert session.ended() == 1


def _runs(command: str) -> bool:
    wanted = command.encode().replace(b" ", b"\0") + b"\0"
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cmdline").read_bytes() == wanted:
                return True
        except OSError:
            continue
    return False
