"""``thoth ls``."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.elfwriter import vmdump
from tests.thoth.cli.conftest import COMMAND, Core, Ran, Run, Uploaded
from thoth.edit import revise
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity

HEADER = "NAME             TYPE  TIME                NODE/CMD         TICKET"


class TestLs:
    def test_on_a_fresh_machine_there_is_a_header_and_nothing_is_made(self, run: Run) -> None:
        assert run("ls") == Ran(0, HEADER + "\n", "thoth: no dump matches\n")
        assert run("ls", "--json", "type=core") == Ran(0, "", "thoth: no dump matches\n")
        assert run("-q", "ls", "--json") == Ran(0, "", "")
        assert run("info", "type=core") == Ran(0, "[]\n", "")
        assert run("info", "abc").code == 2
        assert list(Path(os.environ["HOME"]).iterdir()) == []

    def test_oldest_first_whatever_came_first(self, run: Run, core: Core, tmp_path: Path) -> None:
        crash = tmp_path / "vmdump.0"
        crash.write_bytes(vmdump(node="95SY9R1", time=1_366_869_350))
        names = run("-q", "upload", core(2, cmd="bc"), core(1, cmd="dc"), crash).lines
        assert run("ls").lines == [
            HEADER,
            f"{names[2][:16]} crash 2013-04-25T05:55:50 95SY9R1          -",
            f"{names[1][:16]} core  2015-12-04T13:10:27 dc               -",
            f"{names[0][:16]} core  2015-12-04T13:10:28 bc               -",
        ]

    def test_ticket_and_properties(self, run: Run, uploaded: Uploaded, stored: Thoth) -> None:
        name = uploaded(1, cmd="bc")
        revise(
            stored,
            Identity(name),
            lambda i: i.changed(ticket="OS-2359", properties={"triage": {"who": "bmc"}}),
        )
        ran = run("ls", "cmd=bc", "pid", "properties.triage.who", "nope")
        assert ran.lines[0] == HEADER + "       PID          PROPERTIES.TRIAGE.WHO NOPE"
        assert ran.lines[1].split() == [
            name[:16],
            "core",
            "2015-12-04T13:10:27",
            "bc",
            "OS-2359",
            "1",
            "bmc",
            "-",
        ]

    def test_dumps_by_name(self, run: Run, uploaded: Uploaded) -> None:
        names = [uploaded(pid) for pid in range(3)]
        assert [line[:16] for line in run("ls", names[1][:10]).lines[1:]] == [names[1][:16]]
        assert [line[:16] for line in run("ls", names[2], names[0]).lines[1:]] == [
            names[0][:16],
            names[2][:16],
        ]

    def test_F38_identities_on_stdin(self, spawn: Run, uploaded: Uploaded) -> None:
        names = [uploaded(pid) for pid in range(3)]
        ran = spawn("ls", "dump=stdin", stdin=f"{names[2]}\n{names[0]}\n".encode())
        assert [line[:16] for line in ran.lines[1:]] == [names[0][:16], names[2][:16]]
        assert ran.said == ["thoth: reading dump identifiers from stdin"]

    @pytest.mark.parametrize(
        ("stdin", "said"),
        [
            (b"\x1b\xff\n", "which names no dump"),
            (b"zzz", "which names no dump"),
        ],
    )
    def test_F38_what_names_no_dump_on_stdin_is_an_error_and_not_everything(
        self, spawn: Run, uploaded: Uploaded, stdin: bytes, said: str
    ) -> None:
        uploaded(1)
        ran = spawn("-q", "ls", "dump=stdin", stdin=stdin)
        assert (ran.code, ran.out, len(ran.said)) == (1, "", 1)
        assert said in ran.err

    @pytest.mark.parametrize("stdin", [b"", b" \n\n"])
    def test_F38_nothing_on_stdin_is_an_empty_list_and_not_everything(
        self, spawn: Run, uploaded: Uploaded, stdin: bytes
    ) -> None:
        name = uploaded(1)
        assert spawn("-q", "ls", "dump=stdin", "pid", stdin=stdin) == Ran(0, HEADER + "       PID\n", "")
        assert spawn("-q", "ls", "--json", "name=stdin", name, stdin=stdin) == Ran(0, "", "")
        assert spawn("-q", "info", "dumps=stdin", stdin=stdin) == Ran(0, "[]\n", "")

    def test_F38_stdin_is_read_once(self, run: Run) -> None:
        said = "thoth: dump=stdin and name=stdin: standard input can be read once\n"
        assert run("ls", "dump=stdin", "name=stdin") == Ran(1, "", said)

    def test_F38_a_stdin_that_is_closed(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.stdin", None)
        assert run("-q", "ls", "dump=stdin") == Ran(1, "", "thoth: stdin is closed; there is nothing to read\n")

    def test_json_lines_are_whole_documents(self, run: Run, uploaded: Uploaded) -> None:
        name = uploaded(1)
        ran = run("ls", "--json")
        assert [json.loads(line) for line in ran.lines] == [json.loads(run("info", name).out)]
        assert run("ls", "--json", "stack") == Ran(
            1, "", "thoth: ls: --json shows whole documents; leave stack out\n"
        )

    def test_another_user_s_dumps_are_not_ours(self, run: Run, uploaded: Uploaded) -> None:
        uploaded(1)
        assert run("ls", "--user", "somebody").lines == [HEADER]

    def test_a_word_with_a_slash_is_a_local_dump(
        self, run: Run, core: Core, uploaded: Uploaded, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = [uploaded(pid, psargs="/bin/x") for pid in (1, 2)]
        place = core(3, "core.k=v").parent
        monkeypatch.chdir(place)
        only = [HEADER + "       PID", f"{names[0][:16]} core  2015-12-04T13:10:27 node             -            1"]
        assert run("ls", "./core.1", "pid").lines == only
        assert run("ls", f"/thoth/stor/thoth/{names[0]}", "pid").lines == only
        assert run("ls", "./core.k=v").lines == [HEADER]
        assert len(run("ls", "psargs=/bin/x").lines) == 3
        (place / "text").write_text("text")
        assert run("ls", "./text").err.startswith("thoth: ./text: neither a core nor a crash dump")
        said = "thoth: ./nope: no such file; a dump in the store is named by its identity\n"
        assert run("ls", "./nope") == Ran(1, "", said)

    def test_a_file_without_a_slash_is_a_column_and_told(
        self, run: Run, uploaded: Uploaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        name = uploaded(7)
        (tmp_path / "core.7x").write_bytes(b"")
        ran = run("ls", name, "core.7x")
        assert ran.said[:1] == ["thoth: 'core.7x' is taken for a property to show; './core.7x' is the local dump"]
        assert ran.lines[0].endswith(" CORE.7X")

    def test_its_help_names_all_units(self, run: Run) -> None:
        shown = run("ls", "--help").out
        assert "time=AGE" in shown
        assert "cmd=pg_prefaulter signal exec\n" in shown  # what every core has: stacks are not read yet
        assert "s, min, h, d, w, fortnight, m or month, y" in shown

    def test_an_index_that_cannot_be_read(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "db").write_bytes(b"no database " * 1000)
        ran = run("ls", "--db", f"sqlite://{tmp_path}/db")
        assert (ran.code, ran.out, len(ran.said)) == (1, "", 1)
        assert str(tmp_path / "db") in ran.err

    def test_a_long_list_is_whole_and_in_order(self, run: Run, stored: Thoth) -> None:
        run("init")
        infos = [DumpInfo({"id": f"{n * 7919 % 3001:016x}" * 2, "type": "core", "time": n}) for n in range(3000)]
        for info in infos[::-1]:
            stored.index.put(info)
        assert [line[:16] for line in run("ls").lines] == [
            "NAME            ",
            *(info.id[:16] for info in infos),
        ]

    @pytest.mark.parametrize("count", [1, 499, 500, 501, 1250])
    def test_what_is_written_in_blocks_is_whole(self, spawn: Run, stored: Thoth, count: int) -> None:
        stored.index.put_many(
            DumpInfo({"id": f"{n:016x}" * 2, "type": "core", "cmd": "é北\udcff"[n % 3 :], "time": n})
            for n in range(count)
        )
        ran = spawn("ls")
        assert ran.lines[0] == HEADER
        assert [int(line[:16], 16) for line in ran.lines[1:]] == list(range(count))
        assert ran.lines[1].split()[3] == "é北\\xff"

    def test_letters_that_stdout_lacks_are_escaped(self, child_environment: dict[str, str], stored: Thoth) -> None:
        stored.index.put(DumpInfo({"id": "0" * 32, "cmd": "é北"}))
        ran = subprocess.run(
            [*COMMAND, "ls"],
            env={**child_environment, "PYTHONIOENCODING": "latin-1"},
            capture_output=True,
            check=True,
        )
        assert b" \xe9\\u5317 " in ran.stdout

    def test_on_a_terminal_each_line_comes_at_once(
        self, on_terminal: Callable[..., tuple[int, bytes]], stored: Thoth
    ) -> None:
        stored.index.put_many(DumpInfo({"id": f"{n:016x}" * 2, "type": "core", "time": n}) for n in range(600))
        code, seen = on_terminal("ls")
        assert (code, seen.count(b"\r\n")) == (0, 601)

    @pytest.mark.parametrize("words", [[], ["--json"], ["stack"]])
    def test_a_reader_that_leaves_ends_it(
        self, child_environment: dict[str, str], stored: Thoth, words: list[str]
    ) -> None:
        stored.index.put_many(DumpInfo({"id": f"{n:032x}", "stack": ["a" * 100]}) for n in range(5000))
        with subprocess.Popen([*COMMAND, "ls", *words], stdout=subprocess.PIPE, env=child_environment) as process:
            assert process.stdout is not None
            process.stdout.read(10)
            process.stdout.close()
            assert process.wait(30) == 141

    def test_a_document_that_is_damaged_is_named_in_one_line(self, run: Run, uploaded: Uploaded) -> None:
        uploaded(1)
        (path,) = Path(os.environ["HOME"]).rglob("thoth.db")
        with closing(sqlite3.connect(path, isolation_level=None)) as vandal:
            vandal.execute("UPDATE dumps SET document = '{'")
        assert len(run("ls").lines) == 2
        for words in (["ls", "psargs"], ["ls", "--json"], ["report", "psargs"]):
            ran = run(*words)
            assert (ran.code, len(ran.said)) == (1, 1)
            assert "run 'thoth index'" in ran.err
