"""``thoth purge``, and what the other commands make of what was purged."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.elfwriter import illumos_core, vmdump
from tests.support.mishaps import small_disk
from tests.thoth.cli.conftest import Core, Ran, Run, Uploaded
from thoth.cli.options import size_bytes
from thoth.edit import revise
from thoth.errors import UsageError
from thoth.library import Thoth
from thoth.model import Identity
from thoth.render import size_text

HEADER = "NAME             TYPE       SIZE      AGE NODE/CMD"
DAY = 86400


@pytest.fixture
def uploaded(run: Run, core: Core) -> Uploaded:
    """``uploaded(7, days=100, cmd="bc")`` uploads a core of that age and gives its identity."""

    def uploaded(pid: int, days: float = 100, **facts: object) -> str:
        path = core(pid, **facts)
        os.utime(path, (time.time() - days * DAY,) * 2)
        return run("-q", "upload", path).out.strip()

    return uploaded


@pytest.fixture
def change(stored: Thoth) -> Callable[..., None]:
    """``change(identity, ticket="OS-1")`` sets keys of a document."""

    def change(identity: str, **values: object) -> None:
        revise(stored, Identity(identity), lambda info: info.changed(**values))

    return change


def files() -> dict[str, tuple[int, int]]:
    """Every file and directory below the home directory, with its mtime and size."""
    found = Path(os.environ["HOME"]).rglob("*")
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in found}


def purged(run: Run) -> list[str]:
    return [json.loads(line)["id"] for line in run("ls", "purged=*", "--json").lines]


class TestPlan:
    def test_what_would_go(self, run: Run, uploaded: Uploaded) -> None:
        names = [uploaded(1, 100, cmd="bc"), uploaded(2, 200, cmd="\x1b[2J", size=1 << 20)]
        uploaded(3, 80)
        ran = run("purge", "--older", "90d")
        assert (ran.code, ran.lines[0]) == (0, HEADER)
        assert re.fullmatch(rf"{names[1][:16]} core     1\.00MB +200d\dh \\x1b\[2J", ran.lines[1])
        assert re.fullmatch(rf"{names[0][:16]} core    16\.00KB +100d\dh bc", ran.lines[2])
        assert len(ran.lines) == 3
        assert ran.err == "thoth: would purge 2 dumps, 1.02MB; --delete does it\n"

    def test_F39_it_writes_nothing(self, run: Run, uploaded: Uploaded) -> None:
        uploaded(1)
        for _ in range(2):  # the first look at an index may tidy it up
            before = files()
            assert len(run("purge", "--older", "90d").lines) == 2
        assert files() == before
        assert purged(run) == []

    def test_a_crash_dump_is_shown_with_its_node(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "vmdump.0"
        path.write_bytes(vmdump(node="95SY9R1", time=1_366_869_350))
        run("upload", path)
        assert run("purge", "type=crash").lines[1].endswith(" 95SY9R1")

    def test_why_others_stay_is_counted(self, run: Run, uploaded: Uploaded, change: Callable[..., None]) -> None:
        for pid in range(8):
            uploaded(pid, cmd="db" if pid > 6 else "bc")
        for name in [json.loads(line)["id"] for line in run("ls", "cmd=bc", "limit=3", "--json").lines]:
            change(name, ticket="OS-1")
        for name in [json.loads(line)["id"] for line in run("ls", "ticket=undefined", "limit=2", "--json").lines]:
            change(name, time=None)
        ran = run("purge", "--older", "90d", "--keep", "type=crash", "--keep", "cmd=d*")
        assert ran.said == [
            "thoth: would purge 2 dumps, 32.00KB; --delete does it",
            "thoth: kept 1 that a keep-rule names, 3 with a ticket, 2 of unknown time",
        ]

    def test_json(self, run: Run, uploaded: Uploaded, change: Callable[..., None]) -> None:
        names = [uploaded(1, 200, cmd="bc"), uploaded(2, 100)]
        change(names[1], ticket="OS-1")
        ran = run("purge", "--older", "90d", "--json", "-q")
        first, second = map(json.loads, ran.lines)
        assert isinstance(first.pop("time"), float | int)
        assert first == {
            "id": names[0],
            "result": "planned",
            "size": 16384,
            "type": "core",
            "node": "headnode",
            "cmd": "bc",
        }
        assert second == {"id": names[1], "result": "kept", "reason": "with a ticket"}
        assert ran.err == ""

    def test_nothing_to_purge(self, run: Run, uploaded: Uploaded) -> None:
        uploaded(1)
        assert run("purge", "--larger", "1T") == Ran(0, "", "thoth: would purge 0 dumps, 0B\n")


class TestDelete:
    def test_by_age(self, run: Run, uploaded: Uploaded) -> None:
        old, new = uploaded(1, 100), uploaded(2, 80)
        ran = run("purge", "--older", "90d", "--delete")
        assert [line[:16] for line in ran.lines[1:]] == [old[:16]]
        assert (ran.code, ran.err) == (0, "thoth: purged 1 dump, 16.00KB\n")
        assert purged(run) == [old]
        place = Path(os.environ["HOME"], ".local/share/thoth/store/thoth/stor/thoth")
        assert [path.name for path in (place / old).iterdir()] == ["info.json"]
        assert len(list((place / new).iterdir())) == 2

    def test_by_size_age_and_specification_with_rules(self, run: Run, uploaded: Uploaded) -> None:
        goes = uploaded(1, 30, cmd="bc", size=70_000)
        uploaded(2, 30, cmd="dc", size=70_000)
        uploaded(3, 30, cmd="bc", size=60_000)
        uploaded(4, 10, cmd="bc", size=70_000)
        uploaded(5, 30, cmd="bc", size=70_000, zone="precious")
        words = ("purge", "cmd=bc", "--larger=64K", "--older=2w", "--keep", "zone=prec*", "--delete", "--json")
        told = [json.loads(line) for line in run(*words).lines]
        assert [(each["id"], each["result"]) for each in told if each["result"] != "kept"] == [(goes, "purged")]
        assert purged(run) == [goes]

    def test_one_by_its_name(self, run: Run, uploaded: Uploaded) -> None:
        names = [uploaded(1, 0), uploaded(2, 0)]
        assert run("purge", names[0][:8], "--delete").code == 0
        assert purged(run) == names[:1]
        again = run("purge", names[0], "--delete")
        assert (again.code, again.out) == (0, "")
        assert re.fullmatch(rf"thoth: {names[0]} was purged on 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d", again.said[0])

    def test_no_more_than_the_limit_go(self, run: Run, uploaded: Uploaded, change: Callable[..., None]) -> None:
        names = [uploaded(pid, 200 - pid) for pid in range(4)]
        change(names[0], ticket="OS-1")
        assert run("purge", "limit=2", "--older", "90d", "--delete").said[0] == "thoth: purged 2 dumps, 32.00KB"
        assert purged(run) == names[1:3]

    def test_F38_names_on_stdin(self, spawn: Run, run: Run, uploaded: Uploaded) -> None:
        names = [uploaded(1), uploaded(2)]
        assert spawn("purge", "dump=stdin", "--delete", stdin=names[1].encode()).code == 0
        assert purged(run) == names[1:]
        for stdin in (b"", b"\n"):
            ran = spawn("-q", "purge", "dump=stdin", "--delete", stdin=stdin)
            assert ran == Ran(1, "", "thoth: standard input names no dump; nothing was done\n")

    def test_one_that_fails_does_not_stop_the_rest(
        self, run: Run, uploaded: Uploaded, change: Callable[..., None]
    ) -> None:
        names = [uploaded(pid, 200 - pid) for pid in range(3)]
        change(names[1], dump="nonsense/")
        ran = run("purge", "--older", "90d", "--delete", "--json")
        assert ran.code == 1
        assert {told["id"]: told["result"] for told in map(json.loads, ran.lines)} == {
            names[0]: "purged",
            names[1]: "failed",
            names[2]: "purged",
        }
        assert ran.said[0].startswith(f"thoth: {names[1]}: ")

    def test_a_store_that_refuses_everything_is_told_at_once(self, run: Run, uploaded: Uploaded) -> None:
        for pid in range(3):
            uploaded(pid)
        place = Path(os.environ["HOME"], ".local/share/thoth/store")
        place.chmod(0o777)
        ran = run("purge", "--db", f"sqlite://{place.parent}/thoth.db", "--older", "90d", "--delete")
        assert (ran.code, ran.out, len(ran.said)) == (1, "", 1)
        assert "others may write to it" in ran.said[0]

    def test_F39_a_clock_that_is_not_to_be_trusted(
        self, run: Run, uploaded: Uploaded, change: Callable[..., None]
    ) -> None:
        name = uploaded(1)
        for uploaded_at, said in (
            (time.time() + 9 * DAY, "was uploaded 8 days in the future"),
            (OLD, "jumped ahead"),
        ):
            change(name, uploaded=uploaded_at)
            for more in ([], ["--delete"]):
                ran = run("purge", "--older", "90d", *more)
                assert (ran.code, ran.out, len(ran.said)) == (1, "", 1)
                assert said in ran.err
                assert "--trust-clock" in ran.err
        assert purged(run) == []
        assert run("purge", "--older", "90d", "--delete", "--trust-clock").code == 0
        assert purged(run) == [name]


OLD = 1_366_869_350


class TestRefused:
    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ([], "purge: say which: name dumps, a specification, --older or --larger"),
            (["--keep", "type=crash", "--delete"], "purge: say which"),
            (["--older", "soon"], "--older: 'soon' is not an age"),
            (["--larger", "1X"], "--larger: '1X' is not a size"),
            (["--larger", "\x1b[2J"], "--larger: '\\x1b[2J' is not a size"),
            (["--older", "1d", "--keep", "ticket"], "--keep: 'ticket' is not a constraint"),
            (["--older", "1d", "--keep", "limit=3"], "--keep: 'limit=3' is not a constraint"),
            (["--older", "1d", "--keep", "dump=stdin"], "--keep: 'dump=stdin': there is no standard input"),
            (["--older", "1d", "--keep", "mtime=x"], "--keep: 'mtime=x': 'x' is not an age"),
            (["cmd=bc", "properties.x"], "no such dump or file: properties.x"),
        ],
    )
    def test_in_one_line_that_names_it(self, run: Run, uploaded: Uploaded, words: list[str], said: str) -> None:
        uploaded(1)
        ran = run("purge", *words)
        assert (ran.out, len(ran.said)) == ("", 1)
        assert ran.err.startswith(f"thoth: {said}")
        assert ran.code == (2 if "no such" in said else 1)

    def test_a_dump_that_is_not_there_is_2_and_nothing_goes(self, run: Run, uploaded: Uploaded) -> None:
        name = uploaded(1)
        assert run("purge", name, "0" * 32, "--delete").code == 2
        assert purged(run) == []

    def test_a_store_that_is_gone(self, run: Run, uploaded: Uploaded) -> None:
        uploaded(1)
        place = Path(os.environ["HOME"], ".local/share/thoth/store")
        place.rename(place.with_name("away"))
        ran = run("purge", "--older", "1d", "--delete")
        assert (ran.code, len(ran.said)) == (1, 1)
        assert "no such directory" in ran.err

    @pytest.mark.parametrize(
        ("text", "size"),
        [
            *(("0", 0), ("7", 7), ("1K", 1024), ("500M", 500 << 20), ("10G", 10 << 30), ("1T", 1 << 40)),
            *(("2g", 2 << 30), ("2GB", 2 << 30), ("2GiB", 2 << 30), ("3B", 3), ("1P", 1 << 50)),
        ],
    )
    def test_sizes(self, text: str, size: int) -> None:
        assert size_bytes(text) == size

    @pytest.mark.parametrize("text", ["", "G", "-1", "1.5G", "1  G", "1KK", "1GK", "1i", "٣G", "9" * 16, "1E"])
    def test_what_is_no_size(self, text: str) -> None:
        with pytest.raises(UsageError, match="is not a size"):
            size_bytes(text)


class TestTombstone:
    @pytest.fixture
    def name(self, run: Run, uploaded: Uploaded, change: Callable[..., None]) -> str:
        name = uploaded(1, cmd="bc")
        uploaded(2, cmd="dc")
        change(name, properties={"triage": "bmc"})
        assert run("purge", name, "--delete").code == 0
        return name

    def test_info_shows_it(self, run: Run, name: str, core: Core) -> None:
        for words in ([name], [name[:8]], [core(1, cmd="bc")]):
            ran = run("info", *words)
            told = json.loads(ran.out)
            assert (ran.code, told["id"], told["cmd"], told["properties"]) == (0, name, "bc", {"triage": "bmc"})
            assert abs(told["purged"] - time.time()) < 60

    def test_ls_shows_it_and_can_tell_it_from_others(self, run: Run, name: str) -> None:
        assert len(run("ls").lines) == 3
        shown = {line.split()[0]: line.split()[-1] for line in run("ls", "purged").lines}
        assert shown.pop("NAME") == "PURGED"
        assert shown.pop(name[:16]).isdigit()
        assert list(shown.values()) == ["-"]
        assert [line.split()[3] for line in run("ls", "purged=undefined").lines[1:]] == ["dc"]
        assert [line.split()[3] for line in run("ls", "purged=*").lines[1:]] == ["bc"]

    def test_it_is_not_uploaded_again(self, run: Run, name: str, core: Core) -> None:
        path = core(1, cmd="bc")
        before = json.loads(run("info", name).out)
        ran = run("upload", path)
        said = rf"thoth: {path} was purged on 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d; not stored again: {name}\n"
        assert (ran.code, ran.out) == (0, f"{name}\n")
        assert re.fullmatch(said, ran.err)
        told = json.loads(run("upload", path, "--json").out)
        assert (told["result"], told["sent"]) == ("present", 0)
        assert "was purged on" in told["reason"]
        after = json.loads(run("info", name).out)
        assert after["purged"] == before["purged"]

    def test_index_brings_it_back_as_it_is(self, run: Run, name: str) -> None:
        place = Path(os.environ["HOME"], ".local/share/thoth/thoth.db")
        place.unlink()
        assert run("index").code == 0
        assert purged(run) == [name]


def test_the_copy_in_the_cache_goes_too(run: Run, uploaded: Uploaded, cache: Path) -> None:
    name = uploaded(7)
    run("debug", "--batch", "-e", "p 1", name)
    assert (cache / name).is_dir()
    assert run("purge", name, "--delete").code == 0
    assert not (cache / name).exists()


def test_F10_a_full_disk_can_be_purged(tmp_path: Path, child_environment: dict[str, str]) -> None:
    """Store and index are on a disk without a free block: dumps can be listed, and purged to make room."""

    def thoth(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "thoth", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    with small_disk(tmp_path / "disk", "3m") as disk:
        places = {"THOTH_STORE": f"file://{disk}/store", "THOTH_DB": f"sqlite://{disk}/index.db"}
        environment = {**child_environment, **places}
        core = tmp_path / "core.1"
        core.write_bytes(illumos_core(1, size=1 << 20))
        name = thoth("-q", "upload", str(core)).stdout.strip()
        with suppress(OSError), (disk / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(4096))
        listed = thoth("ls", "purged=undefined")
        assert (listed.returncode, listed.stdout.split()[5]) == (0, name[:16])
        purged = thoth("purge", name, "--delete")
        assert (purged.returncode, purged.stderr) == (0, f"thoth: purged 1 dump, {size_text(1 << 20)}\n")
        assert thoth("ls", "purged=undefined").stdout.count("\n") == 1
