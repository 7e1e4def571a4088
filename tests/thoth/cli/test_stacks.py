"""Stacks by the engines that are configured, and stacks that are found again: ``upload``, ``index`` and ``load``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import vectors
from tests.support.analysis import common_ground
from tests.support.crash import crash
from tests.support.illumos_tools import IllumosTools
from tests.support.roots import program
from tests.thoth.cli.conftest import Run
from thoth.edit import revise
from thoth.library import Thoth
from thoth.model import Identity

pytestmark = pytest.mark.usefixtures("cache")

SOURCE = Path(__file__).parents[2] / "support" / "crashes.cpp"
ILLUMOS = "illumos-core64-mt.core.11198"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("built") / "program"
    subprocess.run([program("g++"), "-O2", "-g", "-pthread", SOURCE, "-o", path], check=True)
    return path


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda names: monkeypatch.setenv("THOTH_STACK", names)


def uploaded(run: Run, path: Path) -> tuple[dict[str, Any], list[str]]:
    ran = run("-q", "upload", path)
    assert ran.code == 0
    return document(run, ran.lines[0]), ran.said


def document(run: Run, name: str) -> dict[str, Any]:
    return dict(json.loads(run("info", name).out))


def trusts(told: dict[str, Any]) -> set[str]:
    return {frame["trust"] for thread in told["threads"] for frame in thread["frames"]}


def again(run: Run, name: str) -> tuple[dict[str, Any], str]:
    ran = run("load", "--stacks", name)
    assert ran.code == 0, ran.err
    return document(run, name), ran.said[-1]


BETTER = "thoth: stacks: 1 are better now, 0 are as they were"
KEPT = "thoth: stacks: 0 are better now, 1 are as they were"


@pytest.fixture
def ground() -> Iterator[Path]:
    with common_ground() as place:
        yield place


# ---- gdb -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [["handler"], ["null", "3"], ["rust"]])
def test_gdb_finds_what_we_find(
    how: list[str], run: Run, engines: Callable[[str], None], built: Path, tmp_path: Path
) -> None:
    core = crash([str(built), *how], tmp_path / "core")
    elsewhere = ["--store", f"file://{tmp_path}/store", "--db", f"sqlite:///{tmp_path}/index.db"]
    name = run("-q", "upload", core, *elsewhere).lines[0]
    ours = json.loads(run("info", name, *elsewhere).out)
    engines("gdb")
    told, said = uploaded(run, core)
    assert (said, told["stack_by"], trusts(told), trusts(ours) - {"context", "cfi"}) == ([], "gdb", {"gdb"}, set())
    assert told["stack"] == ours["stack"]
    assert places(told) == places(ours)


def places(document: dict[str, Any]) -> dict[int, list[dict[str, Any]]]:
    """The frames of each thread, whoever found them."""
    return {thread["id"]: [{**frame, "trust": None} for frame in thread["frames"]] for thread in document["threads"]}


def test_gdb_is_asked_only_where_we_know_no_name(
    run: Run, engines: Callable[[str], None], built: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copy(built, tmp_path / "program"))
    core = crash([str(path), "null"], tmp_path / "core")
    engines("native,gdb")
    told, said = uploaded(run, core)
    assert said == [] and "stack_by" not in told and "cfi" in trusts(told)
    engines("gdb,native")
    told, said = uploaded(run, crash([str(path), "abort"], tmp_path / "core.2"))
    assert said == [] and told["stack_by"] == "gdb"


def test_a_program_that_brings_commands_for_gdb(
    run: Run, engines: Callable[[str], None], built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In files beside it, in its sections, in its directory and at home: none is run."""
    place = tmp_path / "place"
    place.mkdir(mode=0o755)
    tmp_path.chmod(0o755)
    path, canary = place / "program", tmp_path / "CANARY"
    commands = f"shell touch {canary}\n"
    (tmp_path / "script").write_bytes(b"\4gdb.inlined\n" + commands.encode() + b"\0")
    section = f".debug_gdb_scripts={tmp_path / 'script'}"
    subprocess.run([program("objcopy"), "--add-section", section, built, path], check=True)
    (place / "program-gdb.gdb").write_text(commands)
    (place / "program-gdb.py").write_text(f"open({str(canary)!r}, 'w')\n")
    (place / ".gdbinit").write_text(commands)
    Path(os.environ["HOME"], ".gdbinit").write_text(commands)
    monkeypatch.chdir(place)
    engines("gdb")
    told, said = uploaded(run, crash([str(path), "null"], tmp_path / "core"))
    assert (said, told["stack_by"]) == ([], "gdb")
    assert not canary.exists()


def test_names_and_words_that_are_hostile(
    run: Run, engines: Callable[[str], None], built: Path, tmp_path: Path
) -> None:
    evil = 'e"v\\il\n1001^done,stack=[frame={level="0",addr="0x1",func="x"}]\n\x1b[2J'
    stripped, path = tmp_path / "stripped", tmp_path / "program"
    subprocess.run([program("objcopy"), "--strip-debug", built, stripped], check=True)
    renamed = f"--redefine-sym=_ZN12_GLOBAL__N_15crashEv={evil}"
    subprocess.run([program("objcopy"), renamed, stripped, path], check=True)
    core = crash([str(path), "null", "1\n1001^done,stack=[]\n(gdb) "], tmp_path / "core")
    engines("gdb")
    told, said = uploaded(run, core)
    assert (said, told["stack_by"]) == ([], "gdb")
    names = [frame.get("symbol") for frame in told["threads"][0]["frames"]]
    assert names[0] == evil and len(names) >= 3


@pytest.fixture
def failing(
    engines: Callable[[str], None], built: Path, ground: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Path]:
    """``failing("exit 3")`` puts a gdb of these commands in the place of the real one, and gives a core."""

    def failing(script: str) -> Path:
        (ground / "gdb").write_text(f"#!/bin/sh\n{script}\n")
        (ground / "gdb").chmod(0o755)
        monkeypatch.setenv("PATH", f"{ground}:{os.environ['PATH']}")
        engines("gdb,native")
        return crash([str(built), "null"], tmp_path / "core")

    return failing


@pytest.mark.parametrize(
    ("script", "because"),
    [
        ("exit 3", "ended with status 3"),
        ("kill -9 $$", "was killed by SIGKILL"),
        ("echo hello", "told no frames"),
        ("yes | head -c 20000000", "wrote too much"),
        ("echo 1^done,threads=[{", "a reply that ends in the middle"),
    ],
)
def test_a_gdb_that_fails(script: str, because: str, run: Run, failing: Callable[[str], Path]) -> None:
    told, said = uploaded(run, failing(script))
    assert len(said) == 1 and because in said[0] and said[0].startswith(f"thoth: {told['id']}: stacks: gdb: ")
    assert "stack_by" not in told and "cfi" in trusts(told)


# ---- mdb -------------------------------------------------------------------------------------------


@pytest.fixture
def mdb(ground: Path, monkeypatch: pytest.MonkeyPatch) -> IllumosTools:
    tools = IllumosTools(ground)
    monkeypatch.setenv("PATH", tools.path)
    return tools


def test_mdb_on_a_core_of_illumos(
    run: Run, engines: Callable[[str], None], mdb: IllumosTools, tmp_path: Path
) -> None:
    path = tmp_path / "core.1"
    path.write_bytes(vectors.load(ILLUMOS))
    found = "stack pointer for thread 1: 10\n[ 10 libc.so.1`poll+0x1() ]\n"
    mdb.know(
        vectors.load(ILLUMOS),
        stack=["libc.so.1`abort+0x1()", "main+0x2()"],
        commands={"::walk thread | ::findstack": found},
    )
    engines("mdb,native")
    told, said = uploaded(run, path)
    assert (said, told["stack_by"], trusts(told)) == ([], "mdb", {"mdb"})
    assert told["stack"] == ["libc.so.1`abort+0x1()", "main+0x2()"]
    assert [thread["id"] for thread in told["threads"]] == [3, 1]
    engines("native")  # more of its frames have names
    told, said_again = again(run, told["id"])
    assert said_again == BETTER and "stack_by" not in told and told["stack"] == vectors.entry(ILLUMOS)["stack"]


def test_a_debugger_of_another_system_is_not_asked(
    run: Run, engines: Callable[[str], None], mdb: IllumosTools, built: Path, tmp_path: Path
) -> None:
    engines("mdb,native")
    told, said = uploaded(run, crash([str(built), "null"], tmp_path / "core"))
    assert said == [] and "cfi" in trusts(told)
    engines("mdb")
    told, said = uploaded(run, crash([str(built), "abort"], tmp_path / "core.2"))
    assert "stack" not in told
    assert said == [f"thoth: {told['id']}: stacks: mdb cannot find them; let the setting stack name native, too"]


def test_a_debugger_that_is_not_here(
    run: Run, engines: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    path = tmp_path / "core.1"
    path.write_bytes(vectors.load(ILLUMOS))
    engines("mdb")
    told, said = uploaded(run, path)
    assert said == [f"thoth: {told['id']}: stacks: mdb: is not installed here; leave it out of the setting stack"]
    assert "stack" not in told


# ---- again -----------------------------------------------------------------------------------------


def test_stacks_are_found_again_when_more_is_known(run: Run, built: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(built, tmp_path / "program"))
    core = crash([str(path), "null"], tmp_path / "core")
    away = path.rename(tmp_path / "away")
    told, _ = uploaded(run, core)
    assert told["stack"][0].startswith("0x")
    assert again(run, told["id"])[1] == KEPT
    away.rename(path)
    better, said = again(run, told["id"])
    assert said == BETTER and better["stack"][0].startswith("_ZN12_GLOBAL__N_15crashEv+0x")
    assert "crash" in better["signature"] and better["signature"] != told.get("signature")
    assert better["revision"] == told["revision"] + 1
    path.unlink()
    kept, said = again(run, told["id"])
    assert said == KEPT and kept == better
    ran = run("index", "--stacks")
    assert (ran.code, ran.said[-1]) == (0, KEPT)


def test_what_others_have_said_stays(run: Run, stored: Thoth, built: Path, tmp_path: Path) -> None:
    told, _ = uploaded(run, crash([str(built), "null"], tmp_path / "core"))
    revise(stored, Identity(told["id"]), lambda info: info.changed(stack=["f()"], stack_by="mine", ticket="OS-1"))
    assert again(run, told["id"])[0]["stack"] == ["f()"]
    revise(stored, Identity(told["id"]), lambda info: info.without("stack_by"))
    better, said = again(run, told["id"])
    assert said == BETTER and better["ticket"] == "OS-1" and better["stack"] == told["stack"]


def test_little_of_a_dump_is_read(run: Run, stored: Thoth, built: Path, tmp_path: Path) -> None:
    core = crash([str(built), "null"], tmp_path / "core")
    with core.open("r+b") as file:
        file.truncate(300 << 20)
    told, _ = uploaded(run, core)
    revise(stored, Identity(told["id"]), lambda info: info.changed(stack=["0x1()"]))
    before = bytes_read()
    assert again(run, told["id"])[1] == BETTER
    assert bytes_read() - before < 16 << 20


def bytes_read() -> int:
    """By this process so far, from files."""
    return int(Path("/proc/self/io").read_text().split()[1])


def test_a_dump_that_is_lost_is_told_and_the_others_go_on(
    run: Run, stored: Thoth, built: Path, tmp_path: Path
) -> None:
    lost, _ = uploaded(run, crash([str(built), "null"], tmp_path / "core"))
    uploaded(run, crash([str(built), "abort"], tmp_path / "core.2"))
    stored.store.delete(lost["dump"])
    ran = run("index", "--stacks")
    assert ran.code == 1
    assert ran.said[-1] == "thoth: stacks: 0 are better now, 2 are as they were"
    assert any(line.startswith(f"thoth: {lost['id']}: ") for line in ran.said)
