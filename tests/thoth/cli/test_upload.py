"""``thoth upload``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import vectors
from tests.support.crash import Crasher
from tests.support.elfwriter import linux_core
from tests.support.mishaps import small_disk
from tests.thoth.cli.conftest import TOP, Core, Ran, Run, identity
from thoth.edit import revise
from thoth.library import Thoth
from thoth.model import Identity, text


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

    def test_another_dump_with_the_same_headers_is_told_by_its_size(self, run: Run, core: Core) -> None:
        first, other = core(1, "core.first"), core(1, "core.other")
        name = identity(run, first)
        with other.open("ab") as file:
            file.write(b"more than the headers tell")
        for stored, not_stored in ((first, other), (other, first)):
            assert run("upload", stored).code == 0
            ran = run("upload", not_stored)
            reason = f"this file has {not_stored.stat().st_size} and the same headers; keep it"
            assert (ran.code, ran.out, len(ran.said)) == (1, f"{name}\n", 1)
            assert ran.err.startswith(f"thoth: {not_stored}: conflict: {name}: stored whole with ")
            assert ran.err.endswith(f"{reason}\n")
            shutil.rmtree(Path(os.environ["HOME"], ".local/share/thoth"))

    def test_verify_tells_a_dump_with_other_bytes(self, run: Run, core: Core) -> None:
        path = core(1)
        name = identity(run, path)
        run("upload", path)
        said = f"thoth: comparing core.1 with {name}\nthoth: {path} is there already: {name}\n"
        assert run("upload", "--verify", path) == Ran(0, f"{name}\n", said)
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert run("upload", path).code == 0  # by its size it is the same
        (line,) = (json.loads(line) for line in run("-q", "upload", "--json", "--verify", path).lines)
        assert (line["result"], line["sent"]) == ("conflict", 0)
        assert f"see with 'thoth scrub {name[:16]}' whether" in line["reason"]

    def test_verify_mends_what_scrub_calls_corrupt(self, run: Run, core: Core, stored: Thoth) -> None:
        path = core(1)
        name = identity(run, path)
        run("upload", path)
        info, _ = stored.stored_info(Identity(name)) or pytest.fail("it is not there")
        there = Path(os.environ["HOME"], ".local/share/thoth/store", str(info.document["dump"]).lstrip("/"))
        data = there.read_bytes()
        there.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        found = run("scrub")
        assert (found.code, "corrupt" in found.out, "'thoth upload --verify'" in found.out) == (1, True, True)
        ran = run("upload", "--verify", path)
        assert (ran.code, ran.out) == (0, f"{name}\n")
        assert ran.said[-1] == f"thoth: {path} took the place of what was stored, which was damaged: {name}"
        assert there.read_bytes() == data
        assert run("scrub").code == 0

    @pytest.mark.parametrize("left", [0.5, 150], ids=["half", "headers"])
    def test_one_of_the_original_of_which_a_part_is_left_is_mended(
        self, run: Run, core: Core, stored: Thoth, left: float
    ) -> None:
        """As scrub tells: at once where the part is no more this dump, or once it is noted that it is one."""
        path = core(1)
        name = identity(run, path)
        run("upload", path)
        info, _ = stored.stored_info(Identity(name)) or pytest.fail("it is not there")
        ours = {"size", "sha256", "md5", "complete", "revision", "sources", "uploaded"}
        bare = {key: value for key, value in info.document.items() if key not in ours}
        home = Path(os.environ["HOME"], ".local/share/thoth")
        shutil.rmtree(home / "index", ignore_errors=True)
        store = home / "store"
        (store / str(info.document["name"]).lstrip("/") / "info.json").write_text(json.dumps(bare))
        there = store / str(info.document["dump"]).lstrip("/")
        data = there.read_bytes()
        there.write_bytes(data[: int(left * len(data)) if left < 1 else int(left)])
        ran = run("upload", path)
        assert (ran.code, "keep it, and see 'thoth scrub --repair'" in ran.err) == (1, True)
        found = run("scrub", "--repair", name)
        if left < 1:
            assert "(repaired: recorded" in found.out
            assert run("upload", path).code == 0
        else:
            assert "'thoth upload --verify' the dump's file" in found.out
            assert run("upload", "--verify", path).code == 0
        assert there.read_bytes() == data
        assert run("scrub", "--repair", name).code == 0

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
