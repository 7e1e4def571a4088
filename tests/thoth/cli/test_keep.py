"""``thoth init``, ``object`` and ``upload``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import vectors
from tests.support.crash import Crasher
from tests.support.elfwriter import illumos_core, linux_core
from tests.support.mishaps import small_disk
from tests.thoth.cli.conftest import TOP, Ran, Run
from thoth.analysis.analyzers import BUNDLED
from thoth.edit import revise
from thoth.library import Thoth
from thoth.model import Identity, text

Core = Callable[..., Path]


def identity(run: Run, path: Path) -> str:
    return run("object", path).out.strip()


class TestInit:
    def test_it_says_what_it_uses_and_makes(self, run: Run) -> None:
        ran = run("init")
        home = os.environ["HOME"] + "/.local/share/thoth"
        assert (ran.code, ran.out) == (0, "")
        assert ran.said == [
            f"thoth: using store at file://{home}/store (default)",
            f"thoth: using database at sqlite://{home}/thoth.db (default)",
            f"thoth: created directory {home}/store",
            f"thoth: created database '{home}/thoth.db'",
            "thoth: created table 'dumps'",
            "thoth: created table 'analyzers'",
            "thoth: created index 'time'",
            *(f"thoth: added analyzer '{name}'" for name in BUNDLED),
        ]

    def test_it_is_safe_to_repeat(self, run: Run, core: Core) -> None:
        run("init")
        run("upload", core(1))
        listed = run("ls")
        assert [line for line in run("init").said if "created" in line or "added" in line] == []
        assert run("ls") == listed
        assert run("init", "-q") == Ran(0, "", "")

    def test_places_of_one_s_own(self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("THOTH_STORE", f"file://{tmp_path}/a%20b/store")
        said = run("init", "--db", f"sqlite:///{tmp_path}/my.db").said
        assert said[0] == f"thoth: using store at file://{tmp_path}/a%20b/store (configured from THOTH_STORE)"
        assert said[1].endswith("my.db (configured from --db)")
        assert (tmp_path / "a b" / "store").is_dir()
        assert (tmp_path / "my.db").is_file()

    def test_a_place_that_cannot_be_made(self, run: Run) -> None:
        ran = run("-q", "init", "--store", "file:///dev/null/store")
        assert (ran.code, len(ran.said)) == (1, 1)
        assert "/dev/null" in ran.err

    @pytest.mark.parametrize(
        "url", ["file:relative", "file://host/x", "/just/a/path", "s3://x", "", "rethinkdb://:pw@h"]
    )
    def test_a_url_that_names_nothing_we_know(self, run: Run, url: str) -> None:
        ran = run("-q", "init", "--store", url)
        assert ran.code == 1
        assert len(ran.said) == 1
        assert "file:///ABSOLUTE/PATH" in ran.err
        assert "pw" not in ran.err

    @pytest.mark.parametrize(
        ("setting", "url", "write"),
        [
            ("store", "/x/a b", "file:///x/a%20b"),
            ("store", "file:///~/x", "file://{home}/x"),
            ("store", "~/x", "file://{home}/x"),
            ("store", "file://~/x", "file://{home}/x"),
            ("store", "file:///%7E/x", "file://{home}/x"),
            ("db", "/x.db", "sqlite:///x.db"),
            ("db", "sqlite:///~/x.db", "sqlite://{home}/x.db"),
        ],
    )
    @pytest.mark.parametrize("given_by", ["file", "variable", "flag"])
    def test_who_gave_a_bad_url_and_what_to_write(
        self, run: Run, given_by: str, setting: str, url: str, write: str
    ) -> None:
        home, variable = Path(os.environ["HOME"]), f"THOTH_{setting.upper()}"
        config = home / "config.toml"
        config.write_text(f"{setting} = '{url}'\n")
        with pytest.MonkeyPatch.context() as patched:
            if given_by == "variable":
                patched.setenv(variable, url)
            flags = {"file": ["--config", str(config)], "variable": [], "flag": [f"--{setting}", url]}
            ran = run("-q", "init", *flags[given_by])
        origin = {"file": config, "variable": variable, "flag": f"--{setting}"}[given_by]
        assert (ran.code, ran.out, len(ran.said)) == (1, "", 1)
        assert ran.err.startswith(f"thoth: {origin}: {setting} '{url}': ")
        assert ran.err.endswith(f"; write {write.format(home=home)}\n")
        assert list(home.iterdir()) == [config]

    @pytest.mark.parametrize("url", ["file:///~nobody-of-this-name/x", "file://[x", "file:x", "file:///a%00b"])
    def test_a_bad_url_whose_meaning_nobody_knows(self, run: Run, url: str) -> None:
        ran = run("-q", "init", "--store", url)
        assert (ran.code, len(ran.said), "write" in ran.err) == (1, 1, False)
        assert ran.err.startswith(f"thoth: --store: store '{url}': ")


class TestObject:
    def test_one_identity_a_line_in_the_order_of_the_files(self, run: Run, tmp_path: Path) -> None:
        names = ["illumos-core64.core.30522", "vmdump/vmdump.0", "linux-core64.core.3850110"]
        ran = run("object", *(vectors.write(name, tmp_path) for name in names))
        assert ran == Ran(0, "".join(vectors.entry(name)["identity"] + "\n" for name in names), "")

    def test_F14_a_bad_file_does_not_stop_the_rest(self, run: Run, core: Core, tmp_path: Path) -> None:
        good, other = core(1), core(2)
        bad = tmp_path / "text"
        bad.write_text("no dump")
        ran = run("object", good, bad, tmp_path / "nope", tmp_path, other)
        assert (ran.code, len(ran.lines)) == (1, 2)
        assert [line.split(": ")[:2] for line in ran.said] == [
            ["thoth", str(bad)],
            ["thoth", f"{tmp_path}/nope"],
            ["thoth", str(tmp_path)],
        ]
        assert ran.lines == [identity(run, good), identity(run, other)]

    def test_it_needs_no_store_and_no_configuration(
        self, run: Run, core: Core, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = core(1)
        for name in ("THOTH_STORE", "THOTH_CONFIG", "THOTH_USER", "MANTA_URL"):
            monkeypatch.setenv(name, "/\0nonsense"[:1] + "nonsense")
        assert run("object", path).code == 0
        assert list(Path(os.environ["HOME"]).iterdir()) == []

    def test_json_lines(self, run: Run, core: Core) -> None:
        path = core(1)
        ran = run("object", path, path, "--json")
        assert [json.loads(line) for line in ran.lines] == [{"path": str(path), "id": identity(run, path)}] * 2

    def test_F16_a_fifo_does_not_block_and_a_device_is_not_opened(self, run: Run, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "core.fifo")
        ran = run("object", tmp_path / "core.fifo", "/dev/zero")
        assert ran.said == [
            f"thoth: {tmp_path}/core.fifo: not a regular file",
            "thoth: /dev/zero: not a regular file",
        ]


class TestUpload:
    def test_a_first_dump_on_a_fresh_machine(self, run: Run, core: Core) -> None:
        path = core(19972)
        name = identity(run, path)
        assert run("upload", path) == Ran(
            0,
            f"{name}\n",
            f"thoth: creating {name}\nthoth: uploading core.19972 to {name}\n",
        )
        assert run("ls").lines[1:] == [f"{name[:16]} core  2015-12-04T18:43:18 node             -"]

    def test_it_knows_where_the_dump_was(self, run: Run, core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
        path = core(1)
        monkeypatch.chdir(path.parent)
        run("upload", "core.1")
        source = json.loads(run("info", path).out)["sources"]
        assert source == [{"node": os.uname().nodename, "path": str(path), "mtime": 1449234627.0}]

    def test_a_linux_core_is_of_this_host(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "core"
        path.write_bytes(linux_core(pid=3))
        run("upload", path)
        assert json.loads(run("info", path).out)["node"] == os.uname().nodename

    def test_F34_a_second_time_changes_nothing(self, run: Run, core: Core, stored: Thoth) -> None:
        path = core(1)
        name = identity(run, path)
        run("upload", path)
        revise(stored, Identity(name), lambda info: info.changed(ticket="OS-1", properties={"k": {"v": 1}}))
        before = run("info", name)
        assert run("upload", path) == Ran(0, f"{name}\n", f"thoth: {path} is there already: {name}\n")
        assert run("info", name) == before

    def test_F34_under_two_names(self, run: Run, core: Core, stored: Thoth) -> None:
        one, two = core(1, "core.one"), core(1, "core.two")
        ran = run("upload", one, two)
        assert (ran.code, ran.lines) == (0, [identity(run, one)] * 2)
        document = json.loads(run("info", one).out)
        assert [source["path"] for source in document["sources"]] == [str(one), str(two)]
        assert [entry.name for entry in stored.store.list(document["name"])] == ["core.one", "info.json"]

    def test_a_whole_dump_takes_the_place_of_a_cut_one(self, run: Run, core: Core) -> None:
        path = core(1, size=50_000)
        data, name = path.read_bytes(), identity(run, path)
        path.write_bytes(data[:30_000])
        run("upload", path)
        path.write_bytes(data)
        ran = run("upload", path)
        assert (ran.code, ran.out) == (0, f"{name}\n")
        assert ran.said[-1] == f"thoth: {path} took the place of a dump that was cut short: {name}"
        assert json.loads(run("info", name).out)["complete"] is True

    def test_a_dump_that_was_cut_short_is_told(self, run: Run, core: Core) -> None:
        path = core(1, size=50_000)
        data = path.read_bytes()
        path.write_bytes(data[:30_000])
        said = f"thoth: {path}: is cut short; kept until the whole one comes (have 30000 bytes)"
        for _ in range(2):
            ran = run("upload", path)
            assert (ran.code, ran.said[-1]) == (0, said)
        document = json.loads(run("-q", "upload", "--json", path).out)
        assert (document["complete"], document["size"]) == (False, 30_000)
        path.write_bytes(data[:40_000])
        assert run("upload", path).said[-1].endswith("(have 40000 bytes)")
        path.write_bytes(data)
        assert "is cut short" not in run("upload", path).err

    def test_a_dump_that_was_cut_within_its_headers_is_another_one(self, run: Run, core: Core) -> None:
        path = core(1, size=50_000)
        data = path.read_bytes()
        names = set()
        for length in (60, 100, 300, 500):  # in the ELF header, its program headers and notes
            path.write_bytes(data[:length])
            said = (
                f"thoth: {path}: is cut short within its headers: it will not be known as the same dump when the"
                f" whole one comes (have {length} bytes)"
            )
            for _ in range(2):
                ran = run("upload", path)
                assert (ran.code, ran.said[-1]) == (0, said)
            names.add(ran.out)
        path.write_bytes(data)
        assert len(names | {run("upload", path).out}) == 5
        assert len(run("ls").lines) == 6

    def test_an_empty_name(self, run: Run) -> None:
        assert run("upload", "").err == "thoth: '': no such file\n"

    def test_F14_one_bad_file_among_ten(self, run: Run, core: Core, tmp_path: Path) -> None:
        paths = [core(pid) for pid in range(10)]
        paths[4].write_bytes(b"not a dump")
        ran = run("upload", *paths)
        assert (ran.code, len(ran.lines)) == (1, 9)
        failures = [line for line in ran.said if str(paths[4]) in line]
        assert len(failures) == 1
        assert len(run("ls").lines) == 1 + 9

    @pytest.mark.parametrize("name", [b"core.\xff\xfe\n;$(x)", b"core.\x1b]0;x\x07", b"info.json", b"-", b"a" * 255])
    def test_F27_any_name(self, run: Run, core: Core, name: bytes) -> None:
        good, odd = core(1), core(2, name)
        ran = run("upload", good, odd)
        assert (ran.code, len(ran.lines)) == (0, 2)
        assert len(run("ls").lines) == 3
        document = json.loads(run("info", odd).out)
        assert document["sources"][0]["path"] == text(os.fsencode(odd))
        assert document["dump"].isascii()

    def test_F22_a_name_never_sets_anything(self, run: Run, core: Core) -> None:
        path = core(1, "core.ticket=X.k=v")
        run("upload", path)
        document = json.loads(run("info", path).out)
        assert ("ticket" in document, document["properties"]) == (False, {})
        assert run("ls", "ticket=undefined").lines[1].endswith(" -")

    def test_a_link_is_not_followed(self, run: Run, core: Core, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(core(1))
        ran = run("upload", tmp_path / "link")
        assert (ran.code, ran.out) == (1, "")
        assert "symbolic link" in ran.err

    def test_F35_an_index_that_fails_is_told_and_healed_by_the_next_run(
        self, run: Run, core: Core, tmp_path: Path
    ) -> None:
        path = core(1)
        name = identity(run, path)
        (tmp_path / "is-a-directory").mkdir()
        ran = run("upload", path, "--db", f"sqlite://{tmp_path}/is-a-directory")
        assert (ran.code, ran.out) == (1, f"{name}\n")
        assert ran.said[-1].startswith(f"thoth: {path}: stored as {name}, not indexed: ")
        assert run("ls").lines[1:] == []
        assert run("upload", path).code == 0
        assert len(run("ls").lines) == 2

    def test_F31_a_store_that_refuses_everything_ends_the_run(self, run: Run, core: Core) -> None:
        first = core(1)
        run("upload", first)
        store = Path(os.environ["HOME"], ".local/share/thoth/store")
        store.chmod(0o777)
        ran = run("upload", core(2), core(3), first)
        assert (ran.code, ran.out, len(ran.said)) == (1, "", 1)
        assert str(store) in ran.err
        lines = [json.loads(line) for line in run("upload", "--json", core(2), first).lines]
        assert [(line["path"], line["result"]) for line in lines] == [
            (str(core(2)), "not-tried"),
            (str(first), "not-tried"),
        ]
        assert {str(store) in line["reason"] for line in lines} == {True}

    def test_F31_a_store_that_refuses_from_the_second_dump_on(
        self, run: Run, core: Core, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is stored, what failed and what was not tried is told of each file."""
        store = Path(os.environ["HOME"], ".local/share/thoth/store")
        files = [core(pid) for pid in range(1, 5)]
        second = files[1].stat().st_ino
        real_pread = os.pread

        def pread(fd: int, length: int, offset: int) -> bytes:
            if os.fstat(fd).st_ino == second:
                store.chmod(0o777)
            return real_pread(fd, length, offset)

        monkeypatch.setattr(os, "pread", pread)
        ran = run("-q", "upload", *files)
        assert (ran.code, len(ran.lines), len(ran.said)) == (1, 1, 2)
        assert str(store) in ran.said[0] and ran.said[1] == f"thoth: not tried: {files[2]} and 1 more"
        store.chmod(0o700)
        lines = [json.loads(line) for line in run("-q", "upload", "--json", *files).lines]
        assert [line["path"] for line in lines] == [*map(str, files)]
        assert [line["result"] for line in lines] == ["present", "failed", "not-tried", "not-tried"]

    def test_F10_a_dump_for_which_there_is_no_room_fails_alone(self, spawn: Run, core: Core, tmp_path: Path) -> None:
        first, large, last = core(1), core(2), core(3)
        os.truncate(large, 1 << 40)
        with small_disk(tmp_path / "disk", "3m") as disk:
            ran = spawn("upload", "--store", f"file://{disk}/store", "--json", first, large, last)
            lines = [json.loads(line) for line in ran.lines]
            assert [(line["path"], line["result"]) for line in lines] == [
                (str(first), "stored"),
                (str(large), "failed"),
                (str(last), "stored"),
            ]
            assert lines[1]["reason"].endswith(" are free; free some space")
            assert ran.code == 1 and f"thoth: {large}: {lines[1]['reason']}" in ran.said

    def test_a_store_that_is_gone_is_not_taken_for_an_empty_one(self, run: Run, core: Core) -> None:
        run("upload", core(1))
        place = Path(os.environ["HOME"], ".local/share/thoth")
        (place / "store").rename(place / "not-mounted")
        ran = run("upload", core(2))
        assert (ran.code, ran.out, len(ran.said)) == (1, "", 1)
        assert "; mount it, or make an empty one with 'thoth init'" in ran.err
        ran = run("-q", "init")
        assert (ran.code, len(ran.said)) == (1, 1)
        assert "mount it, name store and index both, or move the index away" in ran.err
        assert not (place / "store").exists()
        (place / "thoth.db").rename(place / "away.db")
        assert run("init").code == 0
        assert run("upload", core(2)).code == 0

    def test_json_lines(self, run: Run, core: Core, tmp_path: Path) -> None:
        path, bad = core(1), tmp_path / "bad"
        bad.write_bytes(b"bad")
        name, size = identity(run, path), path.stat().st_size
        ran = run("upload", "--json", path, bad, path)
        first, second, third = (json.loads(line) for line in ran.lines)
        common = {"path": str(path), "id": name, "size": size, "complete": True, "reason": None}
        assert first == {**common, "result": "stored", "sent": size}
        assert second["result"] == "failed"
        assert "neither a core nor a crash dump" in second["reason"]
        assert third == {**common, "result": "present", "sent": 0}

    def test_quiet(self, run: Run, core: Core) -> None:
        path = core(1)
        for _ in range(2):
            assert run("-q", "upload", path) == Ran(0, f"{identity(run, path)}\n", "")


ROUNDS = """
import sys
from thoth.cli import main
for line in sys.stdin:
    code = main(["-q", "upload", line.strip()])
    print("code", code, flush=True)
"""


def upload_at_once(rounds: int, run: Run, core: Core, environment: dict[str, str]) -> None:
    """Two processes are told of each dump at the same moment, each of its own name for it."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ROUNDS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        for pid in range(rounds):
            names = [f"core.{pid}", f"core.{pid}" if pid % 2 else f"other.{pid}"]
            paths = [core(pid, name) for name in names]
            for process, path in zip(processes, paths, strict=True):
                assert process.stdin is not None
                process.stdin.write(f"{path}\n")
                process.stdin.flush()
            for process in processes:
                assert process.stdout is not None
                assert process.stdout.readline() == identity(run, paths[0]) + "\n"
                assert process.stdout.readline() == "code 0\n"
    finally:
        for process in processes:
            process.communicate(timeout=30)


def check_rounds(rounds: int, run: Run, stored: Thoth) -> None:
    documents = [json.loads(line) for line in run("ls", "--json").lines]
    assert len(documents) == rounds
    for document in documents:
        entries = [entry.name for entry in stored.store.list(document["name"])]
        assert sorted(entries) == sorted([document["dump"].rpartition("/")[2], "info.json"])
        assert len(document["sources"]) == (1 if int(document["pid"]) % 2 else 2)
        found = stored.stored_info(Identity(document["id"]))
        assert found is not None
        assert found[0].document == document


def test_F34_two_processes_at_the_same_time(
    run: Run, core: Core, stored: Thoth, child_environment: dict[str, str]
) -> None:
    upload_at_once(20, run, core, child_environment)
    check_rounds(20, run, stored)


@pytest.mark.soak
def test_F34_two_processes_at_the_same_time_200_rounds(
    run: Run, core: Core, stored: Thoth, child_environment: dict[str, str]
) -> None:
    upload_at_once(200, run, core, child_environment)
    check_rounds(200, run, stored)


def test_F12_a_file_that_grows_while_it_is_uploaded(run: Run, core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is written to when its blocks are asked for: after identification, before its end."""
    path = core(1, size=1 << 20)
    whole = illumos_core(pid=1, size=1 << 20)
    real_pread = os.pread

    def pread(fd: int, length: int, offset: int) -> bytes:
        data = real_pread(fd, length, offset)
        if length >= 1 << 19:
            path.write_bytes(whole + b"more")
        return data

    monkeypatch.setattr(os, "pread", pread)
    ran = run("upload", path)
    assert (ran.code, ran.out) == (1, "")
    assert ran.said[-1] == f"thoth: {path}: changed while it was read"
    monkeypatch.undo()


def test_a_process_of_this_machine_is_stored_with_its_stack(run: Run, crasher: Crasher, tmp_path: Path) -> None:
    core = crasher.native(tmp_path / "core", threads=2)
    identity = run("upload", core).lines[0]
    document = json.loads(run("info", identity).out)
    functions = [frame.partition("+")[0] for frame in document["stack"]]
    assert functions[:4] == ["read_record", "load_table", "serve", "main"]
    assert [len(thread["frames"]) > 2 for thread in document["threads"]] == [True, True]
    assert document["threads"][0]["frames"][1]["trust"] == "cfi"
    assert (document["signal"], document["fault_address"]) == (11, "0x0")
    assert identity[:16] in run("ls", "stack=*load_table*").out


def test_a_core_of_illumos_costs_no_decoder_of_dwarf(tmp_path: Path) -> None:
    dump = vectors.write("illumos-core64.core.30522", tmp_path)
    program = (
        "import sys; from thoth.cli import main; code = main(['upload', sys.argv[1]]);"
        "print(code, *sorted(sys.modules), file=sys.stderr)"
    )
    environ = {"THOTH_STORE": f"file://{tmp_path}/dumps", "THOTH_DB": f"sqlite:///{tmp_path}/index.db"}
    ran = subprocess.run(
        [sys.executable, "-c", program, str(dump)], cwd=TOP, env=environ, capture_output=True, text=True, check=True
    )
    code, *modules = ran.stderr.splitlines()[-1].split()
    assert code == "0" and "thoth.dumps.stack" in modules
    assert "elftools" not in modules
