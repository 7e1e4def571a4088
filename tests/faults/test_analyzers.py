"""F24, F25, F36: analyzers that go wrong on purpose, and those that meet somebody else at work."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.analysis import common_ground
from tests.support.elfwriter import illumos_core
from tests.support.processes import everything
from tests.thoth.cli.conftest import COMMAND, TOP
from thoth.analysis.analyzers import add
from thoth.cli import main
from thoth.config import environment, load_config
from thoth.library import Thoth, open_thoth
from thoth.model import Identity
from thoth.query import Query

# What goes wrong, by the program that it goes wrong with, and what is told of it. All have set something before.
# tests/faults/test_analyzers_run_wild.py has more of it, one at a time.
MISDEEDS = {
    "hangs": ("trap '' TERM INT HUP; sleep 600 & wait", "analyzer 'bad' timed out after 2 s"),
    "leaves": ("setsid sleep 600 & disown; exit 5", "analyzer 'bad' ended with status 5"),
    "fills": ("head -c 8000000 /dev/zero > f; exit 6", "analyzer 'bad' ended with status 6"),
    "prints": ("head -c 30000000 /dev/zero | tr '\\0' x; exit 7", "analyzer 'bad' ended with status 7"),
    "dies": ("kill -KILL $$", "analyzer 'bad' was killed by SIGKILL"),
    "lies": ("exit 137", "analyzer 'bad' ended with status 137"),
    "tampers": ('rm -rf "$THOTH_DUMP" 2> /dev/null; echo x >> "$THOTH_DUMP"', "analyzer 'bad' ended with status 1"),
    "good": ("true", None),
}


@pytest.fixture
def ground(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with common_ground() as ground:
        monkeypatch.setenv("THOTH_CACHE", str(ground / "cache"))
        monkeypatch.setenv("THOTH_SECRET", "canary-secret")
        yield ground


@pytest.fixture
def stored(ground: Path) -> Iterator[Thoth]:
    with open_thoth(load_config(environment())) as thoth:
        yield thoth


@pytest.fixture
def thoth(ground: Path, stored: Thoth) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``thoth("ls")`` as a process."""

    def thoth(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *words],
            env={**os.environ, "PYTHONPATH": str(TOP)},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    return thoth


def upload(tmp_path: Path, *commands: str) -> None:
    """A core of each of these programs."""
    for pid, cmd in enumerate(commands, 1):
        path = tmp_path / f"core.{pid}"
        path.write_bytes(illumos_core(pid=pid, cmd=cmd))
        os.utime(path, (pid, pid))
        assert main(["-q", "upload", str(path)]) == 0


def test_F25_each_misdeed_is_told_and_the_rest_goes_on(
    thoth: Callable[..., subprocess.CompletedProcess[str]], stored: Thoth, tmp_path: Path, ground: Path
) -> None:
    others = {each.pid for each in everything()}
    upload(tmp_path, *MISDEEDS)
    cases = "\n".join(f"{cmd}) {deed};;" for cmd, (deed, _) in MISDEEDS.items())
    script = f'thoth_set cmd "$(json cmd < "$THOTH_INFO")"\ncase "$(json cmd < "$THOTH_INFO")" in\n{cases}\nesac'
    add(stored, "bad", script.encode())
    ran = thoth("analyze", "type=core", "bad", "--timeout", "2", "--file-size", "4M", "--json")
    outcomes = dict(zip(MISDEEDS, map(json.loads, ran.stdout.splitlines()), strict=True))
    assert ran.returncode == 1
    told = {line.split(": ")[1]: line.split(": ", 2)[2] for line in ran.stderr.splitlines() if "analyzer" in line}
    for cmd, (_, reason) in MISDEEDS.items():
        assert told.get(outcomes[cmd]["id"], "").startswith(reason or ""), (cmd, told)
        assert (outcomes[cmd]["id"] in told) == (reason is not None), cmd
        stays = outcomes[cmd]["status"] is not None and not outcomes[cmd]["reason"]
        found = stored.stored_info(Identity(outcomes[cmd]["id"]))
        assert found is not None
        assert (found[0].properties.get("cmd") == cmd) == stays, cmd
    assert len(outcomes["prints"]["output"]) == 1 << 20
    assert outcomes["prints"]["cut"] is True
    ours = [each for each in everything() if each.pid not in others and each.state != "Z"]
    assert not [each for each in ours if (each.command, each.parent) == ("sleep", 1)]
    assert [each for each in (ground / "cache").rglob("*") if each.is_file() and each.stat().st_size] == []


def test_F25_no_secret_reaches_it(
    thoth: Callable[..., subprocess.CompletedProcess[str]], stored: Thoth, tmp_path: Path
) -> None:
    upload(tmp_path, "x")
    add(stored, "bad", b"env; cat /proc/self/environ /proc/$PPID/environ /proc/[0-9]*/environ 2> /dev/null; true")
    ran = thoth("analyze", "type=core", "bad")
    assert "THOTH_NAME=" in ran.stdout
    assert "canary" not in ran.stdout + ran.stderr


def test_F24_names_are_never_pasted_into_a_shell(
    thoth: Callable[..., subprocess.CompletedProcess[str]], stored: Thoth, tmp_path: Path, ground: Path
) -> None:
    canary = ground / "open" / "CANARY"
    canary.parent.mkdir()
    canary.parent.chmod(0o777)
    upload(tmp_path, f"$(>{canary})"[:15], "`touch x`")
    name = f"x;$(touch {canary});`touch {canary}`".replace("/", "")
    add(stored, name, b"echo $THOTH_NAME $THOTH_TYPE")
    assert len(thoth("analyze", "type=core", name).stdout.splitlines()) == 2
    assert thoth("analyze", "type=core", f"::x; $(touch {canary})").returncode == 1
    assert not canary.exists()


def test_F36_set_against_analyze_keeps_both(
    thoth: Callable[..., subprocess.CompletedProcess[str]], stored: Thoth, tmp_path: Path
) -> None:
    upload(tmp_path, "x")
    identity = Identity(next(iter(stored.index.select(Query(), [("id",)])))[0])
    add(stored, "count", b"for i in {1..9}; do thoth_set a$i $i; done")
    rounds, runs = 6, []
    analyzing = threading.Thread(target=lambda: runs.extend(thoth("analyze", identity, "count") for _ in range(2)))
    analyzing.start()
    codes = [main(["-q", "set", identity, f"p{n}", str(n)]) for n in range(rounds)]
    while analyzing.is_alive():
        codes.append(main(["-q", "set", identity, f"p{len(codes)}", str(len(codes))]))
    analyzing.join()
    assert {ran.returncode for ran in runs} | {*codes} == {0}
    found = stored.stored_info(identity)
    assert found is not None
    wanted = {f"a{i}": i for i in range(1, 10)} | {f"p{n}": n for n in range(len(codes))}
    assert found[0].properties == wanted
    assert stored.index.get(identity) == found[0]
