"""``thoth get``, from a directory and from Manta."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.manta_moods import Slow
from tests.support.manta_server import MantaServer
from tests.support.mishaps import small_disk
from tests.thoth.cli.conftest import COMMAND, Core, Ran, Run, Uploaded, identity, wait_for
from thoth.edit import revise
from thoth.library import Thoth
from thoth.model import Identity
from thoth.objects import dump_object
from thoth.purge import purged_at


@pytest.fixture(params=["directory", "Manta"])
def either(request: pytest.FixtureRequest) -> None:
    """The test is run on each kind of store."""
    if request.param == "Manta":
        request.getfixturevalue("alice")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with nothing in it."""
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def names(place: Path) -> list[str]:
    return sorted(entry.name for entry in place.iterdir())


def object_of(stored: Thoth, name: str) -> str:
    """What the store calls this dump."""
    found = stored.stored_info(Identity(name))
    assert found is not None
    return dump_object(stored.user, found[0]).name


@pytest.mark.usefixtures("either")
class TestFromEither:
    def test_it_is_the_dump_byte_for_byte_and_ours_alone(self, spawn: Run, core: Core, here: Path) -> None:
        path = core(19972, size=3 << 20)
        name = spawn("-q", "upload", path).out.strip()
        ran = spawn("-q", "get", name[:6])
        assert ran == Ran(0, "core.19972\n", "")
        got = here / "core.19972"
        assert got.read_bytes() == path.read_bytes()
        assert stat.S_IMODE(got.stat().st_mode) == 0o600
        assert names(here) == ["core.19972"]

    def test_json(self, spawn: Run, core: Core, here: Path) -> None:
        path = core(1)
        name = spawn("-q", "upload", path).out.strip()
        ran = spawn("-q", "get", name, "--json", "-o", "x")
        data = path.read_bytes()
        told = {"id": name, "path": "x", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        assert (ran.code, json.loads(ran.out), ran.err) == (0, told, "")

    def test_zeros_take_no_room(self, spawn: Run, core: Core, here: Path) -> None:
        path = core(1)
        data = path.read_bytes() + bytes(4 << 20)
        path.write_bytes(data)
        name = spawn("-q", "upload", path).out.strip()
        assert spawn("get", name).code == 0
        got = here / "core.1"
        assert got.read_bytes() == data
        assert got.stat().st_blocks * 512 < 1 << 20

    def test_to_standard_output(self, spawn: Run, core: Core, here: Path, child_environment: dict[str, str]) -> None:
        path = core(1, size=3 << 20)
        name = spawn("-q", "upload", path).out.strip()
        command = [*COMMAND, "-q", "get", name, "-o", "-"]
        ran = subprocess.run(command, env=child_environment, capture_output=True, check=False)
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, path.read_bytes(), b"")
        assert names(here) == []

    def test_what_differs_does_not_get_the_name(
        self, run: Run, uploaded: Uploaded, stored: Thoth, here: Path
    ) -> None:
        name = uploaded(1)
        place = object_of(stored, name)
        data = bytearray(stored.store.get(place)[0])
        data[-1] ^= 1
        stored.store.put(place, bytes(data))
        (here / "core.1").write_bytes(b"of before")
        ran = run("-q", "get", name, "--force")
        assert (ran.code, ran.out, len(ran.said)) == (1, "", 1)
        assert ran.err.startswith(f"thoth: {place}: has the SHA-256 ")
        assert names(here) == ["core.1"]
        assert (here / "core.1").read_bytes() == b"of before"
        stored.store.put(place, bytes(data[:-1]))
        ran = run("-q", "get", name, "-o", "y")
        assert (ran.code, ran.said) == (
            1,
            [
                f"thoth: {place}: has {len(data) - 1} bytes, and {len(data)} in its document;"
                " 'thoth scrub' looks for what is wrong"
            ],
        )
        assert names(here) == ["core.1"]

    def test_what_differs_on_standard_output_is_told_at_the_end(
        self, spawn: Run, uploaded: Uploaded, stored: Thoth, child_environment: dict[str, str]
    ) -> None:
        name = uploaded(1, size=12 << 20)  # half a minute of it
        place = object_of(stored, name)
        data = bytearray(stored.store.get(place)[0])
        data[-1] ^= 1
        stored.store.put(place, bytes(data))
        command = [*COMMAND, "-q", "get", name, "-o", "-"]
        ran = subprocess.run(command, env=child_environment, capture_output=True, check=False)
        assert (ran.returncode, ran.stdout, ran.stderr.count(b"\n")) == (1, bytes(data), 1)
        assert ran.stderr.startswith(f"thoth: {place}: has the SHA-256 ".encode())

    def test_a_purged_one_and_a_lost_one_are_told(
        self, run: Run, uploaded: Uploaded, stored: Thoth, here: Path
    ) -> None:
        purged = uploaded(1)
        assert run("-q", "purge", "--older", "90d", "--delete").code == 0
        lost = uploaded(2)
        place = object_of(stored, lost)
        stored.store.delete(place)
        info = stored.stored_info(Identity(purged))
        assert info is not None
        day = time.strftime("%Y-%m-%d", time.gmtime(purged_at(info[0])))
        assert run("-q", "get", purged) == Ran(
            1, "", f"thoth: {purged}: was purged on {day}; only its document is left\n"
        )
        assert run("-q", "get", lost) == Ran(
            1, "", f"thoth: {lost}: its dump is lost: the store has no {place}; see 'thoth scrub'\n"
        )
        assert names(here) == []


class TestWhich:
    """A dump is named as for ``thoth info``."""

    def test_by_a_local_dump_or_a_specification(self, run: Run, core: Core, uploaded: Uploaded, here: Path) -> None:
        uploaded(1, cmd="bc")
        uploaded(2, cmd="dc")
        assert run("-q", "get", core(1, cmd="bc")).out == "core.1\n"
        assert run("-q", "get", "cmd=dc", "type=core").out == "core.2\n"

    def test_none(self, run: Run, core: Core, uploaded: Uploaded, here: Path) -> None:
        uploaded(1)
        other = core(2)
        name = identity(run, other)
        assert run("get", name) == Ran(2, "", f"thoth: no such dump: {name}\n")
        assert run("get", other) == Ran(2, "", f"thoth: no such dump: {name}, which {other} is\n")
        assert run("get", "cmd=nonesuch") == Ran(2, "", "thoth: no dump matches\n")
        assert names(here) == []

    def test_several(self, run: Run, uploaded: Uploaded, here: Path) -> None:
        found = [uploaded(pid) for pid in range(1, 8)]
        ran = run("-q", "get", "cmd=node")
        listed = ", ".join(found[:5])
        assert ran == Ran(
            1,
            "",
            f"thoth: takes one dump, and several match: {listed}, ...; name one, or add constraints\n",
        )
        ran = run("-q", "get", found[0], found[1])
        assert ran == Ran(1, "", f"thoth: takes one dump, and {found[0]} and {found[1]} are two\n")
        assert names(here) == []

    def test_one_that_was_cut_short_is_told(self, run: Run, core: Core, here: Path) -> None:
        path = core(1, size=50_000)
        path.write_bytes(path.read_bytes()[:30_000])
        name = run("-q", "upload", path).out.strip()
        assert run("get", name) == Ran(
            0,
            "core.1\n",
            f"thoth: getting core.1 of {name}\nthoth: {name}: is cut short; the whole dump has not come\n",
        )
        assert (here / "core.1").read_bytes() == path.read_bytes()

    def test_one_without_a_digest_is_told(self, run: Run, uploaded: Uploaded, stored: Thoth, here: Path) -> None:
        name = uploaded(1)
        without = lambda info: type(info)({k: v for k, v in info.document.items() if k != "sha256"})  # noqa: E731
        revise(stored, Identity(name), without)
        ran = run("get", name)
        assert ran.code == 0
        assert ran.said[1:] == [f"thoth: {name}: its document has no SHA-256; only the size was compared"]

    def test_one_of_which_nothing_is_recorded_is_told(
        self, run: Run, uploaded: Uploaded, stored: Thoth, here: Path
    ) -> None:
        name = uploaded(1)
        without = lambda info: type(info)({k: v for k, v in info.document.items() if k not in ("size", "sha256")})  # noqa: E731
        revise(stored, Identity(name), without)
        ran = run("get", name)
        assert ran.code == 0
        what = "its document has neither size nor SHA-256: nothing was recorded to compare it with"
        assert ran.said[1:] == [f"thoth: {name}: {what}"]

    def test_a_vmdump_that_was_expanded_is_still_the_vmdump(
        self, run: Run, uploaded: Uploaded, stored: Thoth, here: Path
    ) -> None:
        name = uploaded(1)
        place = object_of(stored, name)
        stored.store.put(f"{place}.expanded", b"what it was expanded to")
        revise(
            stored,
            Identity(name),
            lambda info: info.changed(expanded={"dump": f"{place}.expanded", "size": 23, "sha256": None}),
        )
        assert run("-q", "get", name).out == "core.1\n"
        assert (here / "core.1").read_bytes() == stored.store.get(place)[0]


class TestWhere:
    @pytest.mark.parametrize("directory", ["sub", "sub/", ".."])
    def test_a_directory(self, run: Run, uploaded: Uploaded, here: Path, directory: str) -> None:
        (here / "sub").mkdir()
        name = uploaded(1)
        (here.parent / "core.1").unlink()
        ran = run("-q", "get", name, "-o", directory)
        assert (ran.code, ran.out) == (0, f"{Path(directory) / 'core.1'}\n")
        assert (here / directory / "core.1").is_file()

    @pytest.mark.parametrize("output", ["nope/", "nope/core", "file/core"])
    def test_no_directory(self, run: Run, uploaded: Uploaded, here: Path, output: str) -> None:
        (here / "file").touch()
        ran = run("-q", "get", uploaded(1), "-o", output)
        assert (ran.code, ran.out, len(ran.said)) == (1, "", 1)
        assert ran.err.endswith(
            f": {Path(output).parent if output != 'nope/' else 'nope'} is no directory; make it first\n"
        )
        assert names(here) == ["file"]

    def test_nothing_is_overwritten_unless_that_is_asked_for(self, run: Run, uploaded: Uploaded, here: Path) -> None:
        name = uploaded(1)
        got = here / "core.1"
        got.write_bytes(b"mine")
        ran = run("-q", "get", name)
        said = "thoth: core.1: is there already; --force replaces it, and -o names another file\n"
        assert ran == Ran(1, "", said)
        assert got.read_bytes() == b"mine"
        assert run("-q", "get", name, "--force").code == 0
        assert identity(run, got) == name
        assert names(here) == ["core.1"]

    def test_a_link_is_replaced_and_not_followed(self, run: Run, uploaded: Uploaded, here: Path) -> None:
        name = uploaded(1)
        (here / "theirs").write_bytes(b"theirs")
        (here / "core.1").symlink_to("theirs")
        assert run("-q", "get", name).code == 1
        assert run("-q", "get", name, "--force").code == 0
        assert (here / "theirs").read_bytes() == b"theirs"
        assert not (here / "core.1").is_symlink()
        (here / "dangling").symlink_to("nowhere")
        assert run("-q", "get", name, "-o", "dangling").code == 1
        assert not (here / "nowhere").exists()

    def test_what_is_no_file_is_never_replaced(self, run: Run, uploaded: Uploaded, here: Path) -> None:
        """As root that would be the end of /dev/null."""
        name = uploaded(1)
        os.mkfifo(here / "fifo")
        os.mknod(here / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        (here / "core.1").mkdir()
        for words, what in ((["-o", "fifo"], "fifo"), ([], "core.1"), (["-o", "null"], "null")):
            ran = run("-q", "get", name, "--force", *words)
            assert ran == Ran(1, "", f"thoth: {what}: is there, and not a regular file; name another one with -o\n")

    def test_a_name_of_any_bytes(self, spawn: Run, uploaded: Uploaded, here: Path) -> None:
        ran = spawn("-q", "get", uploaded(1), "-o", b"x\xff\n\x1b[31m")
        assert ran == Ran(0, "x\\xff\\n\\x1b[31m\n", "")
        assert [os.fsencode(name) for name in names(here)] == [b"x\xff\n\x1b[31m"]

    def test_no_room(self, run: Run, uploaded: Uploaded, tmp_path: Path) -> None:
        name = uploaded(1, size=2 << 20)
        with small_disk(tmp_path / "disk", "1m") as disk:
            ran = run("-q", "get", name, "-o", disk)
            assert (ran.code, ran.said) == (
                1,
                [
                    f"thoth: {disk}/core.1: no room for the {2 << 20} bytes of it;"
                    " make some, or name another place with -o"
                ],
            )
            assert names(disk) == []

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["-o", ""], "get: -o: '' names no file"),
            (["-o", "-", "--json"], "get: --json is for a file, and -o - writes none; leave one of them out"),
            (["-o", "-", "--force"], "get: --force is for a file, and -o - writes none; leave one of them out"),
        ],
    )
    def test_what_does_not_go_together(self, run: Run, words: list[str], said: str) -> None:
        assert run("get", "5da", *words) == Ran(1, "", f"thoth: {said}\n")


class TestTerminal:
    def test_it_gets_no_dump(self, uploaded: Uploaded, on_terminal: Callable[..., tuple[int, bytes]]) -> None:
        code, seen = on_terminal("get", uploaded(1), "-o", "-")
        assert code == 1
        assert seen.startswith(b"thoth: get: standard output is a terminal") and b"zstd > core.zst'" in seen
        assert b"ELF" not in seen

    def test_it_gets_a_bar(
        self, uploaded: Uploaded, here: Path, on_terminal: Callable[..., tuple[int, bytes]]
    ) -> None:
        code, seen = on_terminal("get", uploaded(24388, size=4016046))
        assert code == 0
        assert b"thoth: core.24388    [=======================>] 100%   3.83MB" in seen
        assert b"%" not in on_terminal("-q", "get", "cmd=node", "-o", "x")[1]


class TestEnded:
    """On the way, by a signal."""

    @pytest.fixture
    def getting(
        self, alice: None, uploaded: Uploaded, server: MantaServer, here: Path, child_environment: dict[str, str]
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A process that has a part of core.1."""
        name = uploaded(1, size=12 << 20)  # half a minute of it
        server.moods.add(Slow(1 << 19, "down"), method="GET", path="*/core.1")
        with subprocess.Popen(
            [*COMMAND, "-q", "get", name], env=child_environment, stderr=subprocess.PIPE
        ) as getting:
            wait_for(lambda: any(entry.stat().st_size for entry in here.iterdir()))
            yield getting

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
    def test_it_leaves_nothing(
        self, getting: subprocess.Popen[bytes], here: Path, number: signal.Signals, code: int
    ) -> None:
        getting.send_signal(number)
        assert getting.wait(20) == code
        assert names(here) == []

    def test_killed_it_leaves_what_the_next_one_removes(
        self, getting: subprocess.Popen[bytes], run: Run, server: MantaServer, here: Path
    ) -> None:
        getting.kill()
        getting.wait(20)
        assert len(names(here)) == 1 and names(here) != ["core.1"]
        server.moods.clear()
        assert run("-q", "get", "cmd=node").code == 0
        assert names(here) == ["core.1"]
