"""``thoth upload -`` and ``thoth object -``: a dump from standard input, into a directory and into Manta."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.support import vectors
from tests.support.manta_moods import Slow
from tests.support.manta_server import MantaServer
from tests.support.mishaps import small_disk
from tests.support.terminal import Terminal
from tests.thoth.cli.conftest import COMMAND, Core, Ran, Run, Shell, identity, wait_for

Started = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture(params=["directory", "Manta"])
def either(request: pytest.FixtureRequest) -> None:
    """The test is run on each kind of store."""
    if request.param == "Manta":
        request.getfixturevalue("alice")


@pytest.fixture
def started(child_environment: dict[str, str]) -> Iterator[Started]:
    """``started("upload", "-")`` is a process whose stdin is ours to write; with ``stdin=`` another one."""
    with ExitStack() as running:

        def started(*words: str, stdin: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(
                [*COMMAND, *words],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=child_environment,
                bufsize=0,
            )
            running.enter_context(process)
            running.callback(process.kill)
            return process

        yield started


def spooled(process: subprocess.Popen[bytes], cache: Path) -> Path | None:
    """The file that a process has open in its cache, as /proc has it."""
    for each in Path(f"/proc/{process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            if str(each.readlink()).startswith(f"{cache}/.thoth-") and each.stat().st_size:
                return each
    return None


@pytest.mark.usefixtures("either", "cache")
class TestIntoEither:
    def test_it_is_what_a_file_would_be(self, spawn: Run, core: Core, cache: Path, tmp_path: Path) -> None:
        path = core(4711, "x", size=3 << 20)
        path.write_bytes(path.read_bytes() + bytes(2 << 20))
        name = identity(spawn, path)
        before = time.time()
        assert spawn("object", "-", stdin=path.read_bytes()) == Ran(0, f"{name}\n", "")
        assert spawn("upload", "-", stdin=path.read_bytes()) == Ran(
            0, f"{name}\n", f"thoth: creating {name}\nthoth: uploading core.4711 to {name}\n"
        )
        document = json.loads(spawn("info", name).out)
        source = document["sources"][0]
        assert (source["node"], source["path"]) == (os.uname().nodename, "core.4711")
        assert before - 1 <= source["mtime"] <= time.time() + 1
        assert document["time"] == source["mtime"]
        assert document["complete"] is True
        again = spawn("upload", "-", stdin=path.read_bytes())
        assert again == Ran(0, f"{name}\n", f"thoth: standard input is there already: {name}\n")
        assert spawn("-q", "get", name, "-o", tmp_path / "got").code == 0
        assert (tmp_path / "got").read_bytes() == path.read_bytes()
        assert list(cache.iterdir()) == []

    def test_a_file_need_not_be_spooled(self, started: Started, core: Core, cache: Path, run: Run) -> None:
        path = core(1)
        cache.write_text("where nothing can be spooled")
        for command in ("object", "upload"):
            with path.open("rb") as stdin:
                process = started("-q", command, "-", stdin=stdin.fileno())
                assert process.communicate() == (f"{identity(run, path)}\n".encode(), b"")
        document = json.loads(run("info", path).out)
        assert document["sources"] == [{"node": os.uname().nodename, "path": "core.1", "mtime": path.stat().st_mtime}]
        cache.unlink()

    def test_among_files(self, spawn: Run, core: Core, tmp_path: Path) -> None:
        first, bad, last = core(1), tmp_path / "bad", core(3)
        bad.write_text("no dump")
        ran = spawn("upload", "--json", first, bad, "-", last, stdin=core(2).read_bytes())
        lines = [json.loads(line) for line in ran.lines]
        assert [(line["path"], line["result"]) for line in lines] == [
            (str(first), "stored"),
            (str(bad), "failed"),
            ("-", "stored"),
            (str(last), "stored"),
        ]
        assert ran.code == 1

    def test_one_that_was_cut_short_is_told_and_replaced(self, spawn: Run, core: Core) -> None:
        """As when the connection of the ssh before the pipe breaks."""
        data = core(1, size=50_000).read_bytes()
        ran = spawn("upload", "-", stdin=data[:30_000])
        said = "thoth: standard input: is cut short; kept until the whole one comes (have 30000 bytes)"
        assert (ran.code, ran.said[-1]) == (0, said)
        ran = spawn("upload", "-", stdin=data)
        assert ran.said[-1].startswith("thoth: standard input took the place of a dump that was cut short: ")


@pytest.mark.usefixtures("cache")
class TestName:
    @pytest.mark.parametrize(
        ("vector", "name"),
        [
            ("linux-core64.core.3850110", "core.3850110"),
            ("illumos-core64.core.30522", "core.30522"),
            ("linux-kdump-elf.core", "core"),
            ("linux-kdump-compressed.core", "vmcore"),
            ("vmdump/vmdump.0", "vmdump.0"),
        ],
    )
    def test_as_systems_call_them(self, spawn: Run, vector: str, name: str) -> None:
        ran = spawn("upload", "-", stdin=vectors.load(vector))
        assert ran.code == 0, ran.err
        assert json.loads(spawn("info", ran.out.strip()).out)["dump"].rpartition("/")[2] == name

    @pytest.mark.parametrize(
        ("given", "name"),
        [
            (b"core.nginx.99", "core.nginx.99"),
            (b"info.json", "%69nfo.json"),
            (b".core", "%2Ecore"),
            (b"x\xff\n\x1b[31m", "x%FF%0A%1B%5B31m"),
            (b"-", "-"),
        ],
    )
    def test_one_that_is_told(self, spawn: Run, core: Core, given: bytes, name: str) -> None:
        ran = spawn("-q", "upload", "--name", given, "-", stdin=core(1).read_bytes())
        document = json.loads(spawn("info", ran.out.strip()).out)
        assert document["dump"].rpartition("/")[2] == name
        assert document["sources"][0]["path"] == os.fsdecode(given)

    @pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/core", "x" * 256])
    def test_what_is_none(self, spawn: Run, core: Core, name: str) -> None:
        ran = spawn("upload", "--name", name, "-", stdin=core(1).read_bytes())
        said = f"upload: --name: '{name}' cannot be the name of a file; leave directories out of it"
        assert ran == Ran(1, "", f"thoth: {said}\n")

    def test_files_have_their_own(self, spawn: Run, core: Core) -> None:
        ran = spawn("upload", "--name", "x", core(1))
        said = "upload: --name is for standard input, and files have names; add - or leave it out"
        assert ran == Ran(1, "", f"thoth: {said}\n")


@pytest.mark.usefixtures("cache")
class TestRefused:
    @pytest.mark.parametrize("command", ["upload", "object"])
    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"", "is empty: nothing was sent"),
            (b"no dump at all", "neither a core nor a crash dump (begins with 6e6f2064)"),
            (b"\x28\xb5\x2f\xfd" * 5000, "a file compressed by zstd: uncompress it first"),
        ],
    )
    def test_what_is_no_dump(self, spawn: Run, command: str, data: bytes, reason: str, cache: Path) -> None:
        assert spawn(command, "-", stdin=data) == Ran(1, "", f"thoth: standard input: {reason}\n")
        assert list(cache.iterdir()) == []

    def test_what_is_no_dump_is_not_waited_for(self, shell: Shell) -> None:
        ran = shell("yes | thoth upload -; echo ${PIPESTATUS[@]}")
        assert ran.stdout == "141 1\n"
        assert ran.stderr == "thoth: standard input: neither a core nor a crash dump (begins with 790a790a)\n"

    @pytest.mark.parametrize("command", ["upload", "object"])
    def test_a_terminal(self, command: str, on_terminal: Callable[..., tuple[int, bytes]]) -> None:
        code, seen = on_terminal(command, "-")
        said = (
            f"thoth: {command}: standard input is a terminal; pipe a dump into it, as in"
            f" 'coredumpctl dump 4711 | thoth {command} -'\r\n"
        )
        assert (code, seen.decode()) == (1, said)

    @pytest.mark.parametrize("command", ["upload", "object"])
    def test_twice(self, spawn: Run, core: Core, command: str) -> None:
        ran = spawn(command, "-", core(1), "-", stdin=core(2).read_bytes())
        said = f"thoth: {command}: - is standard input, which can be read once; name it once\n"
        assert ran == Ran(1, "", said)

    def test_closed(self, shell: Shell) -> None:
        ran = shell("thoth upload - <&-")
        assert (ran.returncode, ran.stderr) == (1, "thoth: upload: stdin is closed; there is nothing to read\n")

    def test_what_cannot_be_read(self, started: Started, tmp_path: Path) -> None:
        for mode, reason in (
            (os.O_RDONLY, "neither a core nor a crash dump (is empty)"),
            (os.O_WRONLY, "Bad file descriptor"),
        ):
            fd = os.open(tmp_path / "file", mode | os.O_CREAT)
            try:
                process = started("upload", "-", stdin=fd)
            finally:
                os.close(fd)
            said = process.communicate()[1].decode()
            assert process.returncode == 1
            assert said.count("\n") == 1 and reason in said

    def test_a_store_that_refuses_everything_reads_nothing(self, started: Started, core: Core) -> None:
        process = started("upload", core(1), "-", "--store", "file:///dev/null/x")
        said = process.communicate(core(2).read_bytes())[1].decode().splitlines()
        assert process.returncode == 1
        assert len(said) == 1


class TestFile:
    def test_one_that_changes_on_the_way(
        self, alice: None, started: Started, core: Core, server: MantaServer, cache: Path
    ) -> None:
        path = core(1, size=24 << 20)  # more than connections have room for
        slow = server.moods.add(Slow(8 << 20, "up"), method="PUT", path="*/core.1")
        with path.open("rb") as stdin:
            process = started("-q", "upload", "-", stdin=stdin.fileno())
        wait_for(lambda: slow.hits > 0)
        with path.open("ab") as more:
            more.write(b"more")
        out, err = process.communicate()
        assert (process.returncode, out) == (1, b"")
        assert err == b"thoth: standard input: changed while it was read\n"

    def test_one_that_was_read_from_before_is_what_is_left(self, shell: Shell, core: Core, cache: Path) -> None:
        path = core(1)
        name = shell(f"thoth object {path}").stdout
        path.write_bytes(b"a line\n" + path.read_bytes())
        ran = shell(f"(read -r line; thoth object -) < {path}")
        assert (ran.stdout, ran.stderr) == (name, "")


class TestSpool:
    @pytest.fixture
    def halfway(self, started: Started, core: Core, cache: Path) -> subprocess.Popen[bytes]:
        """A process that has got 2 MiB and waits for more."""
        process = started("-q", "upload", "-")
        assert process.stdin
        process.stdin.write(core(1, size=3 << 20).read_bytes()[: 2 << 20])
        wait_for(lambda: spooled(process, cache) is not None)
        return process

    def test_it_has_no_name_and_is_ours_alone(self, halfway: subprocess.Popen[bytes], cache: Path) -> None:
        file = spooled(halfway, cache)
        assert file is not None
        found = file.stat()
        assert (found.st_nlink, found.st_mode) == (0, 0o100600)
        assert list(cache.iterdir()) == []

    @pytest.mark.parametrize(
        ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)]
    )
    def test_ended_it_leaves_nothing(
        self, halfway: subprocess.Popen[bytes], cache: Path, number: signal.Signals, code: int
    ) -> None:
        halfway.send_signal(number)
        assert halfway.wait(20) == code
        assert list(cache.iterdir()) == []

    def test_what_was_killed_as_it_began_is_swept(self, spawn: Run, core: Core, cache: Path) -> None:
        cache.mkdir(mode=0o700)
        (cache / f".thoth-{'0' * 32}.draft").touch(mode=0o600)
        assert spawn("object", "-", stdin=core(1).read_bytes()).code == 0
        assert list(cache.iterdir()) == []

    def test_no_room_is_one_line_and_the_others_go_on(
        self, spawn: Run, core: Core, tmp_path: Path, child_environment: dict[str, str]
    ) -> None:
        large, small = core(1, size=6 << 20).read_bytes(), core(2)
        with small_disk(tmp_path / "disk", "4m") as disk:
            child_environment["THOTH_CACHE"] = str(disk / "cache")
            ran = spawn("-q", "upload", "-", small, stdin=large)
            assert ran == Ran(
                1,
                f"{identity(spawn, small)}\n",
                f"thoth: standard input: cache {disk}/cache: no room for all of standard input;"
                " make some, or name another place with THOTH_CACHE\n",
            )
            assert list((disk / "cache").iterdir()) == []

    def test_another_s_directory_is_refused(
        self, spawn: Run, core: Core, tmp_path: Path, child_environment: dict[str, str]
    ) -> None:
        (tmp_path / "open").mkdir()
        (tmp_path / "open").chmod(0o777)
        child_environment["THOTH_CACHE"] = str(tmp_path / "open")
        ran = spawn("object", "-", stdin=core(1).read_bytes())
        assert (ran.code, ran.out, len(ran.said)) == (1, "", 1)
        assert f"cache {tmp_path}/open: has mode 0777 and must have 0700" in ran.err

    def test_whoever_shares_it_may_not_wait_for_bytes(
        self, started: Started, core: Core, run: Run, cache: Path
    ) -> None:
        """ssh has its stdin so, and then it is so for all that share it."""
        path = core(1, size=2 << 20)
        data, name = path.read_bytes(), identity(run, path)
        ours, theirs = os.pipe()
        os.set_blocking(ours, False)
        process = started("-q", "object", "-", stdin=ours)
        os.close(ours)
        with os.fdopen(theirs, "wb", buffering=0) as pipe:
            for at in range(0, len(data), 300_000):
                time.sleep(0.1)
                pipe.write(data[at : at + 300_000])
        assert process.communicate() == (f"{name}\n".encode(), b"")


def test_on_a_terminal_it_tells_how_much_has_come(core: Core, cache: Path, child_environment: dict[str, str]) -> None:
    path = core(1, size=3 << 20)
    line = f"cat {path} | {' '.join(COMMAND)} upload -"
    with Terminal(["/bin/sh", "-c", line], child_environment) as terminal:
        assert terminal.ended() == 0
    assert b"thoth: standard input   3.00MB" in terminal.seen
    assert b"thoth: core.1        [=======================>] 100%   3.00MB" in terminal.seen


def test_a_process_of_this_machine_is_stored_with_its_stack(
    shell: Shell, crashed: Path, cache: Path, tmp_path: Path
) -> None:
    """As a pipe of zstd brings it, and of what else uncompresses."""
    (tmp_path / "core.gz").write_bytes(gzip.compress(crashed.read_bytes(), 1))
    ran = shell("gzip -dc core.gz | thoth -q upload - | tee name | xargs thoth info")
    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout)
    functions = [frame.partition("+")[0] for frame in document["stack"]]
    assert functions[:2] == ["read_record", "load_table"]
    assert document["dump"].endswith(f"/core.{document['pid']}")


def test_object_of_a_file_costs_nothing_of_the_spool(core: Core, child_environment: dict[str, str]) -> None:
    program = "import sys; from thoth.cli import main; main(['object', '-']); print(*sys.modules, file=sys.stderr)"
    with core(1).open("rb") as stdin:
        ran = subprocess.run(
            [sys.executable, "-c", program],
            stdin=stdin, capture_output=True, text=True, env=child_environment, check=True,
        )  # fmt: skip
    assert "thoth.dumps.identity" in ran.stderr
    assert "thoth.analysis" not in ran.stderr and "thoth.config" not in ran.stderr
