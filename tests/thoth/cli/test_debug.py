"""``thoth debug``: a debugger on real cores, in batches and on a terminal; what is refused; the cache behind it."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.crash import Crasher, crash
from tests.support.elfwriter import elf, elf_vmcore, illumos_core, vmdump
from tests.support.illumos_tools import IllumosTools
from tests.support.terminal import Terminal
from tests.thoth.cli.conftest import COMMAND, Run
from thoth.edit import revise
from thoth.library import Thoth
from thoth.model import Identity
from thoth.objects import dump_object

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def programs(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """``programs("crash")`` installs a stand-in that shows its words and what it reads, and nothing else."""
    place = cache.parent / "programs"
    place.mkdir()
    (place / "bash").symlink_to("/bin/bash")
    monkeypatch.setenv("PATH", str(place))

    def programs(*names: str) -> Path:
        for name in names:
            (place / name).write_text(
                '#!/bin/bash\nprintf "word %s\\n" "$@"\nwhile read -r l; do echo "read $l"; done\n'
            )
            (place / name).chmod(0o755)
        return place

    return programs


def keep(run: Run, path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return run("-q", "upload", path).out.strip()


class TestBatch:
    def test_commands_run_in_their_order(self, run: Run, crashed_id: str, crasher: Crasher) -> None:
        ran = run("debug", "--batch", "-e", "bt", "-e", "print 6 * 7", "-e", "echo end\\n", crashed_id)
        assert ran.code == 0
        frames = [line.split("(")[0].split()[-1] for line in ran.lines if line.startswith("#")]
        assert frames[-4:] == ["read_record", "load_table", "serve", "main"]
        assert ran.lines[-2:] == ["$1 = 42", "end"]
        assert ran.said == [f"thoth: debugging {crashed_id}", f"thoth: gdb with {crasher.executable()}"]

    def test_a_command_that_fails(self, run: Run, crashed_id: str) -> None:
        ran = run("debug", "--batch", "-e", "no-such-command", crashed_id)
        assert ran.code == 1
        assert 'Undefined command: "no-such-command".  Try "help".' in ran.lines
        assert ran.said[-1] == "thoth: gdb ended with status 1"

    def test_a_command_that_does_not_end(self, run: Run, crashed_id: str) -> None:
        ran = run("debug", "--batch", "-e", "shell sleep 1000", "--timeout", "1", crashed_id)
        assert (ran.code, ran.said[-1]) == (1, "thoth: gdb timed out after 1 s")

    def test_F23_its_output_is_made_harmless(self, run: Run, crashed_id: str) -> None:
        ran = run("debug", "--batch", "-e", "echo \\033[31mred\\007\\tof\\n", crashed_id)
        assert ran.lines[-1].split() == ["\\x1b[31mred\\x07", "of"]

    def test_F25_it_has_none_of_our_secrets(self, run: Run, crashed_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MANTA_KEY", "canary")
        monkeypatch.setenv("SECRET", "canary")
        ran = run("debug", "--batch", "-e", "shell env", "-e", "shell id -u", "--timeout", "20", crashed_id)
        assert ran.code == 0
        assert "canary" not in ran.out
        assert not any(line.startswith("DEBUGINFOD_URLS=") for line in ran.lines)
        assert (ran.lines[-1] == "0") is False or os.geteuid() != 0

    def test_servers_are_asked_only_by_who_names_them(
        self, run: Run, crashed_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DEBUGINFOD_URLS", "http://127.0.0.1:1/")
        ran = run("debug", "--batch", "-e", "shell env", crashed_id)
        assert "DEBUGINFOD_URLS=http://127.0.0.1:1/" in ran.lines

    def test_no_settings_are_read(
        self, run: Run, crashed_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for place in (Path(os.environ["HOME"]), tmp_path):
            (place / ".gdbinit").write_text("echo SETTINGS\\n\n")
        monkeypatch.chdir(tmp_path)
        assert "SETTINGS" not in run("debug", "--batch", "-e", "bt 1", crashed_id).out

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--batch", "x"], "debug: --batch runs commands; name them, each with -e"),
            (["-e", "bt", "x"], "debug: -e goes with --batch"),
            (["--timeout", "5", "x"], "debug: --timeout goes with --batch"),
            (["--batch", "-e", "bt", "x", "fmri"], "debug: --batch is for a debugger, and an analyzer has a shell;"),
            (["--exec", "/bin/ls", "x", "fmri"], "debug: --exec is for a debugger, and an analyzer has a shell;"),
            (["--batch", "-e", "bt", "--timeout", "soon", "x"], "debug: --timeout: "),
            (["--batch", "-e", "bt", "--timeout", "0", "x"], "debug: --timeout: no debugger is that fast"),
            (["--debugger", "adb", "x"], "debug: argument --debugger: invalid choice: 'adb'"),
            ([], "debug: the following arguments are required: DUMP"),
        ],
    )
    def test_words_that_do_not_go_together(self, run: Run, words: list[str], said: str) -> None:
        ran = run("debug", *words)
        assert (ran.code, ran.out, len(ran.said)) == (1, "", 1)
        assert ran.err.startswith(f"thoth: {said}")

    def test_a_library_that_only_root_can_read(self, run: Run, crasher: Crasher, tmp_path: Path) -> None:
        server, _ = crasher.with_library(tmp_path)
        identity = run("-q", "upload", crash([str(server)], tmp_path / "core.1")).out.strip()
        ran = run("debug", "--batch", "-e", "bt", identity)
        frames = [line.partition(" (")[0].split()[-1] for line in ran.lines if line.startswith("#")]
        assert frames[-4:] == ["read_record", "load_table", "serve", "main"]
        assert (ran.code, ran.said) == (0, [f"thoth: debugging {identity}", f"thoth: gdb with {server}"])

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root runs debuggers as another user")
    def test_a_library_that_stays_hidden_is_told(self, run: Run, crasher: Crasher, tmp_path: Path) -> None:
        server, library = crasher.with_library(tmp_path, "-Wl,--build-id=none")
        identity = run("-q", "upload", crash([str(server)], tmp_path / "core.1")).out.strip()
        assert run("debug", "--batch", "-e", "bt", identity).said[-1] == (
            f"thoth: gdb runs as a user that cannot read {library}, and may tell wrong stacks;"
            " let all read it, or leave --batch out"
        )


class TestWhichDump:
    def test_by_its_beginning_or_as_a_local_dump(self, run: Run, crashed_id: str, crashed: Path) -> None:
        for name in (crashed_id[:8], crashed):
            ran = run("debug", "--batch", "-e", "print 1", name)
            assert (ran.code, ran.lines[-1], ran.said[0]) == (0, "$1 = 1", f"thoth: debugging {crashed_id}")

    def test_one_that_is_not_there(self, run: Run, crashed_id: str, core: Callable[..., Path]) -> None:
        assert run("debug", "0" * 32).code == 2
        ran = run("debug", core(9))
        assert ran.code == 2
        assert ran.err.startswith("thoth: no such dump: ")


class TestExecutable:
    @pytest.fixture
    def moved(self, crasher: Crasher, tmp_path: Path, run: Run) -> tuple[str, Path]:
        """A core whose program is another build by now, and where that lies."""
        place = tmp_path / "server"
        shutil.copy(crasher.executable(), place)
        dump = crash([str(place)], tmp_path / "core.server")
        place.unlink()
        shutil.copy(crasher.executable("-no-pie"), place)
        return run("-q", "upload", dump).out.strip(), place

    def test_another_build_is_told_and_not_used(self, run: Run, moved: tuple[str, Path]) -> None:
        identity, place = moved
        ran = run("debug", "--batch", "-e", "bt", identity)
        assert ran.said[1].startswith(f"thoth: {place}: not the build that crashed: its build-id is ")
        assert ran.said[2] == "thoth: gdb without the executable, which was not found; --exec names it"
        assert "read_record" not in ran.out

    def test_F17_a_fifo_in_its_place_blocks_no_debugger(self, run: Run, moved: tuple[str, Path]) -> None:
        identity, place = moved
        place.unlink()
        os.mkfifo(place)
        ran = run("debug", "--batch", "-e", "bt", "--timeout", "20", identity)
        assert (ran.code, ran.out) == (1, "")
        assert ran.said[-1].startswith(
            f"thoth: {place}: was a file that the dump had mapped, and is a FIFO now; it blocks gdb"
        )

    def test_the_right_one_is_named(
        self, run: Run, moved: tuple[str, Path], crasher: Crasher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(crasher.executable().parent)
        ran = run("debug", "--batch", "-e", "bt", "--exec", crasher.executable().name, moved[0])
        assert ran.code == 0
        assert "read_record" in ran.out

    def test_a_wrong_one_is_named(self, run: Run, moved: tuple[str, Path]) -> None:
        ran = run("debug", "--batch", "-e", "bt", "--exec", moved[1], moved[0])
        assert (ran.code, ran.out) == (1, "")
        assert ran.said[-1].startswith(f"thoth: --exec '{moved[1]}': not the build that crashed")

    def test_one_that_cannot_be_verified(self, run: Run, crasher: Crasher, tmp_path: Path) -> None:
        dump = crasher.native(tmp_path / "core", flags=("-Wl,--build-id=none",))
        ran = run("debug", "--batch", "-e", "bt", run("-q", "upload", dump).out.strip())
        assert ran.said[-1].endswith("; executable not verified, the core has no build-id")
        assert "read_record" in ran.out


class TestDebuggers:
    def test_mdb(self, run: Run, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        tools = IllumosTools(cache.parent)
        tools.know(
            illumos_core(pid=7), stack=["libc.so.1`_lwp_kill+0x15()", "main+0x379()"], commands={"::pid": "7\n"}
        )
        monkeypatch.setenv("PATH", tools.path)
        identity = keep(run, tmp_path / "core.7", illumos_core(pid=7))
        ran = run("debug", "--batch", "-e", "::stack", "-e", "::pid", identity)
        assert (ran.code, ran.lines) == (0, ["libc.so.1`_lwp_kill+0x15()", "main+0x379()", "7"])
        assert ran.said == [f"thoth: debugging {identity}"]

    def test_gdb_for_illumos_says_what_it_lacks(self, run: Run, tmp_path: Path) -> None:
        ran = run("debug", "--batch", "-e", "info files", keep(run, tmp_path / "core.7", illumos_core(pid=7)))
        assert ran.code == 0
        assert (
            ran.said[-1] == "thoth: gdb knows little of illumos; mdb, on an illumos machine, knows threads and stacks"
        )

    def test_lldb(self, run: Run, crashed_id: str, crasher: Crasher, programs: Callable[..., Path]) -> None:
        programs("lldb")
        ran = run("debug", "--batch", "-e", "bt", crashed_id)
        assert ran.code == 0
        assert ran.lines[:3] == ["word --no-lldbinit", "word --batch", "word -O"]
        assert ran.lines[4:7] == ["word -o", "word bt", "word --core"]
        # a program that not everybody may read is copied, so that the one in the sandbox can
        assert ran.lines[-2] == "word --file" and ran.lines[-1].endswith(f"/{crasher.executable().name}")

    def test_crash(self, run: Run, tmp_path: Path, programs: Callable[..., Path]) -> None:
        programs("crash")
        identity = keep(run, tmp_path / "vmcore", elf_vmcore("OSRELEASE=6.1.0"))
        ran = run("debug", identity)
        assert (ran.code, ran.said[-1]) == (
            1,
            "thoth: crash needs the kernel that the dump is of: name its vmlinux with --exec",
        )
        (tmp_path / "vmlinux").write_bytes(elf([], type=2))
        ran = run("debug", "--batch", "-e", "bt", "-e", "log", "--exec", tmp_path / "vmlinux", identity)
        assert ran.lines[0] == "word -s"
        assert ran.lines[-3:] == ["read bt", "read log", "read quit"]

    def test_a_vmcore_in_the_form_of_a_core(self, run: Run, tmp_path: Path, programs: Callable[..., Path]) -> None:
        """What reads it is crash all the same."""
        programs("crash")
        identity = keep(run, tmp_path / "vmcore", elf_vmcore("OSRELEASE=6.1.0"))
        assert json.loads(run("info", identity).out)["type"] == "core"
        assert run("debug", identity).said[-1].startswith("thoth: crash needs the kernel")

    def test_none_is_installed(
        self, run: Run, crashed_id: str, core: Callable[..., Path], cache: Path, programs: Callable[..., Path]
    ) -> None:
        programs()
        ran = run("debug", keep(run, core(1).with_name("vmdump.0"), vmdump()))
        assert ran.code == 1
        assert "is compressed, and no debugger reads it so; 'thoth analyze " in ran.said[-1]
        assert not cache.exists()  # nothing was fetched for that
        assert run("debug", crashed_id).said[-1] == "thoth: nothing here reads a Linux core; install gdb or lldb"


class TestCache:
    def test_a_copy_is_kept_and_used_again(
        self, run: Run, crashed_id: str, crashed: Path, cache: Path, stored: Thoth
    ) -> None:
        run("debug", "--batch", "-e", "print 1", crashed_id)
        copy = cache / crashed_id / "core.crasher"
        assert copy.read_bytes() == crashed.read_bytes()
        assert stat.S_IMODE(cache.stat().st_mode) & 0o067 == 0
        first = copy.stat().st_ino
        run("debug", "--batch", "-e", "print 1", crashed_id)
        assert copy.stat().st_ino == first

    def test_F11_one_that_was_cut_or_damaged_is_replaced(
        self, run: Run, crashed_id: str, crashed: Path, cache: Path
    ) -> None:
        run("debug", "--batch", "-e", "print 1", crashed_id)
        copy = cache / crashed_id / "core.crasher"
        for damaged in (crashed.read_bytes()[:-4096], crashed.read_bytes()[:-1] + b"?"):
            copy.chmod(0o600)
            copy.write_bytes(damaged)
            assert run("debug", "--batch", "-e", "print 1", crashed_id).code == 0
            assert copy.read_bytes() == crashed.read_bytes()

    def test_F18_a_cache_that_is_not_ours_is_refused(
        self, run: Run, crashed_id: str, cache: Path, tmp_path: Path
    ) -> None:
        cache.symlink_to(tmp_path)
        ran = run("debug", "--batch", "-e", "print 1", crashed_id)
        assert (ran.code, ran.out) == (1, "")
        assert str(cache) in ran.said[-1]
        cache.unlink()
        cache.mkdir(mode=0o700)
        os.chown(cache, 12345, -1)
        ran = run("debug", "--batch", "-e", "print 1", crashed_id)
        assert (ran.code, ran.out) == (1, "")
        assert str(cache) in ran.said[-1]
        assert list(cache.iterdir()) == []

    def test_one_that_was_purged(self, run: Run, crashed_id: str, stored: Thoth) -> None:
        info = revise(stored, Identity(crashed_id), lambda info: info.changed(purged=1449234626))
        stored.store.delete(dump_object(stored.user, info).name)
        ran = run("debug", "--batch", "-e", "print 1", crashed_id)
        assert ran.code == 1
        assert "was purged on 2015-12-04" in ran.said[-1]

    def test_a_bar_shows_it_coming(
        self, run: Run, core: Callable[..., Path], on_terminal: Callable[..., tuple[int, bytes]]
    ) -> None:
        identity = run("-q", "upload", core(7, size=3 << 20)).out.strip()
        _, seen = on_terminal("debug", "--batch", "-e", "print 1", identity)
        assert b"core.7 " in seen and b"100%" in seen

    def test_none_for_one_that_is_small(self, crashed_id: str, on_terminal: Callable[..., tuple[int, bytes]]) -> None:
        _, seen = on_terminal("debug", "--batch", "-e", "print 1", crashed_id)
        assert b"%" not in seen.split(b"thoth: gdb")[0]


class TestSession:
    def test_gdb_has_the_terminal(self, crashed_id: str, terminal: Callable[..., Terminal]) -> None:
        session = terminal("debug", crashed_id)
        session.expect(f"thoth: debugging {crashed_id}")
        session.expect("(gdb) ")
        session.write("bt\n")
        session.expect("load_table")
        session.expect("(gdb) ")
        session.write("\x03")  # ends what gdb is at, and neither gdb nor thoth
        session.expect("Quit")
        session.expect("(gdb) ")
        session.write("print 6 * 7\n")
        session.expect("$1 = 42")
        session.write("quit\n")
        assert session.ended() == 0

    def test_its_exit_code(self, crashed_id: str, terminal: Callable[..., Terminal]) -> None:
        session = terminal("debug", crashed_id)
        session.expect("(gdb) ")
        session.write("quit 7\n")
        assert session.ended() == 1

    def test_a_terminal_that_goes_away_ends_it(self, crashed_id: str, terminal: Callable[..., Terminal]) -> None:
        session = terminal("debug", crashed_id)
        session.expect("(gdb) ")
        session.hang_up()
        assert session.ended() == 1

    def test_settings_are_the_user_s_and_not_the_directory_s(
        self, crashed_id: str, tmp_path: Path, child_environment: dict[str, str]
    ) -> None:
        (Path(os.environ["HOME"]) / ".gdbinit").write_text("echo OWN SETTINGS\\n\nset auto-load safe-path /\n")
        (tmp_path / ".gdbinit").write_text("echo FOREIGN SETTINGS\\n\n")
        ran = subprocess.run(
            [*COMMAND, "debug", crashed_id],
            input=b"print 6 * 7\n",
            capture_output=True,
            cwd=tmp_path,
            env=child_environment,
            check=True,
        )
        assert b"OWN SETTINGS" in ran.stdout and b"$1 = 42" in ran.stdout
        assert b"FOREIGN SETTINGS" not in ran.stdout
