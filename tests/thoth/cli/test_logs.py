"""``thoth logs``."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.thoth.cli.conftest import COMMAND, Ran, Run
from thoth.errors import UsageError
from thoth.library import Thoth
from thoth.logs import log_object, logs_since, read_log, store_log

HEADER = "TIME                     SIZE NAME"
HOUR = 3600


@pytest.fixture
def place() -> Path:
    """Where the logs of a user who has configured nothing lie."""
    return Path(os.environ["HOME"], ".local/share/thoth/store/thoth/stor/thoth/logs")


@pytest.fixture
def kept(run: Run, stored: Thoth, place: Path) -> Callable[..., str]:
    """``kept("a.log", b"text", hours=2)`` stores a log of that age."""

    def kept(name: str, data: bytes = b"text\n", hours: float = 0) -> str:
        store_log(stored, name, [data])
        at = time.time() - hours * HOUR - 5
        os.utime(place / name, (at, at))
        return name

    assert run("init").code == 0
    return kept


def names(ran: Ran) -> list[str]:
    return [line.split(maxsplit=2)[2] for line in ran.lines[1:]]


class TestList:
    def test_on_a_fresh_machine_there_are_none_and_nothing_is_made(self, run: Run) -> None:
        assert run("logs") == Ran(0, HEADER + "\n", "")
        assert run("logs", "--json") == Ran(0, "", "")
        assert list(Path(os.environ["HOME"]).iterdir()) == []

    def test_those_of_the_past_hour_newest_last(self, run: Run, kept: Callable[..., str]) -> None:
        kept("2026/03/01/09/b.log", b"x" * 2048, 0.5)
        kept("old.log", hours=2)
        kept("2026/03/01/09/a.log")
        kept("z.log", hours=0.9)
        ran = run("logs")
        assert (ran.code, ran.err, ran.lines[0]) == (0, "", HEADER)
        assert names(ran) == ["z.log", "2026/03/01/09/b.log", "2026/03/01/09/a.log"]
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d    2\.00KB 2026/03/01/09/b\.log", ran.lines[2])

    def test_further_back_and_all(self, run: Run, kept: Callable[..., str]) -> None:
        kept("today")
        kept("this-week", hours=100)
        kept("long-ago", hours=24 * 4000)
        assert names(run("logs", "7d")) == ["this-week", "today"]
        assert names(run("logs", "--all")) == ["long-ago", "this-week", "today"]

    def test_json(self, run: Run, kept: Callable[..., str], place: Path) -> None:
        kept("d/a.log", b"123")
        told = [json.loads(line) for line in run("logs", "--json").lines]
        assert told == [{"name": "d/a.log", "size": 3, "time": (place / "d/a.log").stat().st_mtime}]

    def test_F26_a_name_that_is_not_ours_is_shown_harmless(
        self, run: Run, kept: Callable[..., str], place: Path
    ) -> None:
        kept("a.log")
        (place / "\x1b[2J\n\udcff").write_bytes(b"x")
        assert sorted(names(run("logs"))) == ["\\x1b[2J\\n\\xff", "a.log"]
        assert len(run("logs", "--json").lines) == 2

    def test_directories_without_end_are_not_walked(
        self, stored: Thoth, kept: Callable[..., str], place: Path
    ) -> None:
        kept("/".join("d" * 15) + "/a.log")
        (place / "/".join("d" * 16)).mkdir()
        (place / "/".join("d" * 16) / "deeper").write_bytes(b"x")
        assert [log.name[-5:] for log in logs_since(stored)] == ["a.log"]


class TestPrint:
    @pytest.mark.parametrize("data", [b"line\nline", b"\x00\xff\x1b[2J\r\n" * 9, bytes(range(256)) * 9000])
    def test_the_bytes_as_they_are(
        self, kept: Callable[..., str], data: bytes, child_environment: dict[str, str]
    ) -> None:
        kept("d/a.log", data)
        for name in ("d/a.log", "/thoth/stor/thoth/logs/d/a.log"):
            ran = subprocess.run(
                [*COMMAND, "logs", name], capture_output=True, env=child_environment, check=True, timeout=30
            )
            assert (ran.stdout, ran.stderr) == (data, b"")

    def test_F26_on_a_terminal_it_is_text(
        self, kept: Callable[..., str], on_terminal: Callable[..., tuple[int, bytes]]
    ) -> None:
        umlauts = "ö" * (1 << 20)  # two bytes each: reads end inside of some
        kept("a.log", b"a\tb\n\x1b[2J\xff\xc2\x9b\xe2\x80\xae\n." + umlauts.encode() + b"\xc3")
        code, seen = on_terminal("logs", "a.log")
        shown = seen.decode().replace("\r\n", "\n")
        assert code == 0
        assert shown == "a\tb\n\\x1b[2J\\xff\\u009b\\u202e\n." + umlauts + "\\xc3"

    def test_memory_stays_flat(self, kept: Callable[..., str], child_environment: dict[str, str]) -> None:
        kept("a.log", b"x" * (64 << 20))
        program = (
            "import re, sys; from thoth.cli import main; code = main(sys.argv[1:]);"
            "print(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1], file=sys.stderr)"
        )
        ran = subprocess.run(
            [sys.executable, "-c", program, "logs", "a.log"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=child_environment,
            check=True,
            timeout=30,
        )
        assert int(ran.stderr) < 60 << 10  # KiB

    @pytest.mark.parametrize("name", ["no-such", "d", "d/no", "2026/01"])
    def test_one_that_is_not_there(self, run: Run, kept: Callable[..., str], name: str) -> None:
        kept("d/a.log")
        said = f"thoth: there is no log {name!r}; 'thoth logs --all' lists them\n"
        assert run("logs", name) == Ran(1, "", said)

    @pytest.mark.parametrize("name", ["../info.json", "/etc/passwd/", "a//b", ".hidden", "", "a/../../b", "x" * 256])
    def test_F20_a_name_that_no_log_can_have(self, run: Run, stored: Thoth, name: str) -> None:
        ran = run("logs", "--", name)
        assert (ran.code, ran.out, len(ran.said)) == (1, "", 1)
        with pytest.raises(UsageError, match="not a log's name"):
            log_object("bmc", name)
        with pytest.raises(UsageError, match="not a log's name"):
            store_log(stored, name, [b"x"])

    def test_a_reader_that_leaves(self, kept: Callable[..., str], child_environment: dict[str, str]) -> None:
        kept("a.log", b"line\n" * 100_000)
        ran = subprocess.Popen(
            [*COMMAND, "logs", "a.log"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=child_environment
        )
        assert ran.stdout is not None
        assert ran.stderr is not None
        assert ran.stdout.readline() == b"line\n"
        ran.stdout.close()
        assert ran.wait(30) == 141
        assert ran.stderr.read() == b""
        ran.stderr.close()


class TestPut:
    def test_it_is_there_afterwards(self, spawn: Run, run: Run, stored: Thoth, place: Path) -> None:
        data = bytes(range(256)) * 20_000
        ran = spawn("logs", "--put", "2026/03/01/09/a.log", stdin=data)
        assert ran == Ran(0, "", "thoth: stored log 2026/03/01/09/a.log, 4.88MB\n")
        assert b"".join(read_log(stored, "2026/03/01/09/a.log")) == data
        assert names(run("logs")) == ["2026/03/01/09/a.log"]
        assert (place / "2026/03/01/09/a.log").stat().st_mode & 0o777 == 0o600

    def test_F38_nothing_is_refused(self, spawn: Run, run: Run) -> None:
        said = "thoth: a.log: there is nothing to store; the input is empty\n"
        assert spawn("logs", "--put", "a.log") == Ran(1, "", said)
        assert names(run("logs", "--all")) == []

    def test_a_log_that_is_there_stays(self, spawn: Run, stored: Thoth) -> None:
        assert spawn("-q", "logs", "--put", "d/a.log", stdin=b"first") == Ran(0, "", "")
        said = "thoth: d/a.log: there is a log of this name, which stays as it is; choose another\n"
        assert spawn("logs", "--put", "d/a.log", stdin=b"second") == Ran(1, "", said)
        assert b"".join(read_log(stored, "d/a.log")) == b"first"
        for name in ("d", "d/a.log/b"):
            assert spawn("logs", "--put", name, stdin=b"x").code == 1

    def test_one_that_came_while_ours_was_read_stays(self, stored: Thoth) -> None:
        def slow() -> list[bytes]:
            store_log(stored, "a.log", [b"first"])
            return [b"second"]

        with pytest.raises(UsageError, match="stays as it is"):
            store_log(stored, "a.log", (block for each in (slow,) for block in each()))
        assert b"".join(read_log(stored, "a.log")) == b"first"

    def test_what_breaks_leaves_nothing(self, stored: Thoth, place: Path) -> None:
        def breaking() -> list[bytes]:
            raise OSError("the pipe broke")

        with pytest.raises(OSError, match="broke"):
            store_log(stored, "a.log", (block for each in (lambda: [b"x"], breaking) for block in each()))
        assert logs_since(stored) == []
        assert list((place.parents[3] / ".uploads").iterdir()) == []

    @pytest.mark.parametrize("name", ["7d", "60", "2month"])
    def test_a_name_that_is_an_age_could_not_be_asked_for(self, spawn: Run, name: str) -> None:
        ran = spawn("logs", "--put", name, stdin=b"x")
        assert (ran.code, len(ran.said)) == (1, 1)
        assert "is an age" in ran.err

    @pytest.mark.parametrize("words", [["7d", "--all"], ["a", "--put", "b"], ["--all", "--put", "b"]])
    def test_one_thing_at_a_time(self, run: Run, words: list[str]) -> None:
        ran = run("logs", *words)
        assert (ran.code, len(ran.said)) == (1, 1)
        assert "give one of them" in ran.err

    @pytest.mark.parametrize("words", [["a.log"], ["--put", "a.log"]])
    def test_json_is_for_lists(self, run: Run, words: list[str]) -> None:
        ran = run("logs", "--json", *words)
        assert (ran.code, ran.out, len(ran.said)) == (1, "", 1)
        assert "--json is for lists" in ran.err
