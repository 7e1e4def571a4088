"""What manta-thoth.txt shows of analyzers, run as it is shown there, and its output."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.analysis import common_ground
from tests.support.elfwriter import illumos_core
from tests.support.illumos_tools import IllumosTools
from tests.thoth.cli.conftest import Ran, Run

PRINTED = Path(__file__).parents[1] / "analysis" / "printed"
POSTFORK = ["libc.so.1`abort+0x10e()", "utmpx_postfork+0x44()", "fork_common+0x186()"]
NAMES = ["MANTA-1579-diagnose", "OS-1450-diagnose", "OS-2359-diagnose", "OS-2359-stacks", "fmri"]


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> Iterator[IllumosTools]:
    with common_ground() as ground:
        tools = IllumosTools(ground)
        monkeypatch.setenv("PATH", tools.path)
        monkeypatch.setenv("THOTH_CACHE", str(ground / "cache"))
        yield tools


def test_analyzer(spawn: Run) -> None:
    ran = spawn("analyzer", "fmri", stdin=(PRINTED / "fmri").read_bytes())
    assert ran == Ran(0, "", "thoth: reading analyzer 'fmri' from stdin\nthoth: added analyzer 'fmri'\n")


def test_analyzers(spawn: Run, run: Run) -> None:
    for name in reversed(NAMES):
        spawn("analyzer", name, stdin=b"true\n")
    assert run("analyzers") == Ran(0, "".join(f"/thoth/stor/thoth/analyzers/{name}\n" for name in NAMES), "")


def test_analyze_with_the_analyzer_of_OS_2359(
    run: Run, spawn: Run, core: Callable[..., Path], tools: IllumosTools
) -> None:
    dumps = {}
    for pid, cmd, stack in (
        (1, "svc.startd", POSTFORK),
        (2, "svc.startd", ["main+0x4()"]),
        (3, "svc.configd", POSTFORK),
    ):
        tools.know(illumos_core(pid=pid, cmd=cmd), stack=stack)
        dumps[pid] = run("-q", "upload", core(pid, cmd=cmd)).out.strip()
    spawn("analyzer", "OS-2359-diagnose", stdin=(PRINTED / "OS-2359-diagnose").read_bytes())
    ran = run("analyze", "cmd=svc*", "ticket=undefined", "OS-2359-diagnose")
    assert ran.out == f"{dumps[1]}: successfully diagnosed as OS-2359\n"
    assert (ran.code, ran.err) == (0, "thoth: analyzed 3 dumps; 1 changed\n")
    assert [line[:16] for line in run("ls", "ticket=OS-2359").lines[1:]] == [dumps[1][:16]]
    assert len(run("ls", "ticket=undefined").lines) == 3


def test_analyze_with_the_analyzer_of_fmri(
    run: Run, spawn: Run, core: Callable[..., Path], tools: IllumosTools
) -> None:
    tools.know(illumos_core(pid=1, cmd="utmpd"), environment=["SMF_FMRI=svc:/system/utmp:default"])
    name = run("-q", "upload", core(1, cmd="utmpd")).out.strip()
    spawn("analyzer", "fmri", stdin=(PRINTED / "fmri").read_bytes())
    assert run("-q", "analyze", name, "fmri") == Ran(0, f"{name}: svc:/system/utmp:default\n", "")
    assert run("ls", "properties.fmri=svc:/system/utmp:default").lines[1].startswith(name[:16])
