"""The examples of the original's README that speak of Manta's jobs, line by line: each id of a job is its own."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.analysis import common_ground
from tests.support.elfwriter import illumos_core, vmdump
from tests.support.illumos_tools import IllumosTools
from tests.support.jobs import expanded_form, v1_server
from tests.support.manta_server import MantaServer
from tests.support.manta_store import private_key
from tests.support.node_client import NodeClient
from tests.support.terminal import Terminal
from tests.thoth.cli.conftest import TOP, Ran, Run
from thoth.analysis.analyzers import add, add_bundled, fetch
from thoth.library import Thoth

PRINTED = Path(__file__).parents[1] / "analysis" / "printed"
POSTFORK = ["libc.so.1`abort+0x10e()", "utmpx_postfork+0x44()", "fork_common+0x186()"]
_JOB = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@pytest.fixture
def tools() -> Iterator[IllumosTools]:
    with common_ground() as ground:
        yield IllumosTools(ground)


@pytest.fixture
def server(tools: IllumosTools) -> Iterator[MantaServer]:
    with v1_server(tools) as running:
        yield running


@pytest.fixture
def user(
    server: MantaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, child_environment: dict[str, str]
) -> NodeClient:
    """alice, whose environment asks for Manta v1. Nothing of illumos is on her own machine."""
    client = NodeClient(server.url, tmp_path / "home", private_key())
    told = {name: value for name, value in client.environment.items() if name.startswith(("MANTA_", "HOME"))}
    told["THOTH_DB"] = f"sqlite://{tmp_path}/index.db"
    told["THOTH_CACHE"] = str(tmp_path / "cache")
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    child_environment.update(told)
    return client


def shown(ran: Ran) -> list[str]:
    """What was said, with the jobs called JOB1, JOB2 in their order and times left out."""
    jobs = list(dict.fromkeys(_JOB.findall(ran.err)))
    text = re.sub(r"in \d+h\d+m\d+s$", "in TIME", ran.err, flags=re.MULTILINE)
    for number, job in enumerate(jobs, 1):
        text = text.replace(job, f"JOB{number}")
    return text.splitlines()


def test_upload(user: NodeClient, run: Run, tools: IllumosTools, tmp_path: Path, stored: Thoth) -> None:
    """$ thoth upload: a crash dump is uncompressed, and processed, by jobs."""
    dump, vmcore = vmdump(), expanded_form(vmdump())
    tools.know(dump, expands_to=vmcore)
    tools.know(vmcore, stack=["vpanic()", "main+0x4()"], commands={"::status": "panic message: BAD TRAP\n"})
    (tmp_path / "vmdump.0").write_bytes(dump)
    ran = run("upload", tmp_path / "vmdump.0")
    name = ran.out.strip()
    assert shown(ran) == [
        f"thoth: creating {name}",
        f"thoth: uploading vmdump.0 to {name}",
        f"thoth: creating job to uncompress {name}",
        "thoth: adding key to job JOB1",
        "thoth: processing job JOB1",
        "thoth: waiting for completion of job JOB1",
        "thoth: job JOB1 completed in TIME",
        f"thoth: creating job to process {name}",
        "thoth: adding key to job JOB2",
        f"thoth: processing {name}",
        "thoth: waiting for completion of job JOB2",
        "thoth: job JOB2 completed in TIME",
    ]
    told = json.loads(run("info", name).out)
    assert (told["dump"], told["expanded"]["dump"]) == tuple(
        f"{told['name']}/{each}" for each in ("vmdump.0", "vmcore.0")
    )
    assert (told["stack"], told["properties"]) == (["vpanic()", "main+0x4()"], {"status": "panic message: BAD TRAP"})
    again = run("upload", tmp_path / "vmdump.0")
    assert again.said == [f"thoth: {tmp_path}/vmdump.0 is there already: {name}"]


def test_upload_of_a_dump_that_cannot_be_uncompressed(user: NodeClient, run: Run, tmp_path: Path) -> None:
    """It is stored; why it is not expanded is said in one line, and what to do in another one."""
    (tmp_path / "vmdump.0").write_bytes(vmdump())
    ran = run("-q", "upload", tmp_path / "vmdump.0")
    name = ran.out.strip()
    assert ran.code == 0
    assert ran.said == [
        f"thoth: {name}: is stored, and not uncompressed: savecore cannot expand the dump",
        f"thoth: {name}: 'thoth analyze {name} process-dump' tries again",
    ]


def test_analyze(user: NodeClient, run: Run, core: Callable[..., Path], tools: IllumosTools, spawn: Run) -> None:
    dumps = {}
    for pid, stack in ((1, POSTFORK), (2, ["main+0x4()"])):
        tools.know(illumos_core(pid=pid, cmd="svc.startd"), stack=stack)
        dumps[pid] = run("-q", "upload", core(pid, cmd="svc.startd")).out.strip()
    printed = (PRINTED / "OS-2359-diagnose").read_bytes()
    assert spawn("analyzer", "OS-2359-diagnose", stdin=printed).code == 0
    ran = run("analyze", "cmd=svc.startd", "OS-2359-diagnose")
    assert ran.out == f"{dumps[1]}: successfully diagnosed as OS-2359\n"
    assert shown(ran) == [
        "thoth: created job JOB1",
        "thoth: waiting for completion of job JOB1",
        "thoth: job JOB1 completed in TIME",
        "thoth: analyzed 2 dumps; 1 changed",
    ]
    assert run("info", dumps[1]).out == user.run("mget", "-q", f"/alice/stor/thoth/{dumps[1]}/info.json").decode()
    job = _JOB.findall(ran.err)[0]
    assert json.loads(user.run("mjob", "get", job))["state"] == "done"  # "allowing Manta tools like mjob to be used"
    stack = run("analyze", dumps[2], "::stack")
    assert (stack.code, stack.out) == (0, "main+0x4()\n")


def test_THOTH_NO_JOBS(
    user: NodeClient, run: Run, core: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tools: IllumosTools
) -> None:
    """On this machine, as with Manta v2, and with the same result."""
    tools.know(illumos_core(pid=1), stack=["main+0x4()"])
    name = run("-q", "upload", core(1)).out.strip()
    monkeypatch.setenv("THOTH_NO_JOBS", "1")
    monkeypatch.setenv("PATH", tools.path)
    with common_ground() as ground:
        monkeypatch.setenv("THOTH_CACHE", str(ground / "cache"))
        assert run("analyze", name, "::stack") == Ran(0, "main+0x4()\n", "thoth: analyzed 1 dump; 0 changed\n")


def test_a_dry_run_makes_no_job(
    user: NodeClient, run: Run, core: Callable[..., Path], server: MantaServer, stored: Thoth
) -> None:
    name = run("-q", "upload", core(1)).out.strip()
    add_bundled(stored)
    before = len(server.requests)
    with pytest.MonkeyPatch.context() as patch, common_ground() as ground:
        patch.setenv("THOTH_CACHE", str(ground / "cache"))
        assert run("-q", "analyze", "-n", name, "ucode").code == 0
    assert {each.method for each in server.requests[before:]} <= {"GET", "HEAD"}


# ---- debug ------------------------------------------------------------------------------------------


@pytest.fixture
def mlogin(user: NodeClient, tmp_path: Path, child_environment: dict[str, str], tools: IllumosTools) -> Path:
    """A stand-in for mlogin on the user's PATH; the file has the words of each call."""
    log, place = tmp_path / "mlogin.log", tmp_path / "bin"
    place.mkdir()
    program = place / "mlogin"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m tests.support.mlogin_stand_in "$@"\n')
    program.chmod(0o755)
    child_environment["PATH"] = f"{place}:{tools.directory}:{user.environment['PATH']}"
    child_environment["THOTH_TEST_MLOGIN_LOG"] = str(log)
    child_environment["PYTHONPATH"] = str(TOP)
    return log


def words(log: Path) -> list[str]:
    """Those of the only call."""
    (line,) = log.read_text().splitlines()
    return list(json.loads(line))


def test_debugging_an_analyzer(
    mlogin: Path, run: Run, core: Callable[..., Path], terminal: Callable[..., Terminal], stored: Thoth
) -> None:
    """% thoth debug 004a8bf33b2cd204903e46830a4f3b23 MANTA-1817-diagnose"""
    name = run("-q", "upload", core(4, cmd="java")).out.strip()
    script = b'echo "$THOTH_NAME: $(json cmd < $THOTH_INFO)"\n'
    add(stored, "MANTA-1817-diagnose", script)
    session = terminal("debug", name, "MANTA-1817-diagnose")
    lines = session.expect("alice@thoth # ").replace("\r", "").splitlines()
    assert [_JOB.sub("JOB", line) for line in lines] == [
        f"thoth: debugging {name}",
        " * created interactive job -- JOB",
        " * waiting for session... - established",
        "thoth: dump info is in $THOTH_INFO",
        'thoth: analyzer "MANTA-1817-diagnose" is in $THOTH_ANALYZER',
        'thoth: run "thoth_analyze" to run $THOTH_ANALYZER',
        "thoth: any changes to $THOTH_ANALYZER will be stored upon successful exit",
    ]
    session.write('thoth_analyze; echo "thoth_ticket MANTA-1817" >> $THOTH_ANALYZER\n')
    session.expect(f"{name}: java\r\n")
    session.write("thoth_analyze && thoth_set typed 1 && exit\n")
    assert session.ended() == 0
    assert session.seen.replace(b"\r", b"").decode().splitlines()[-3:] == [
        "thoth: stored analyzer 'MANTA-1817-diagnose'",
        f"thoth: {name}: set the ticket MANTA-1817",
        f"thoth: {name}: set 'typed' to 1",
    ]
    assert fetch(stored, "MANTA-1817-diagnose")[0] == script + b"thoth_ticket MANTA-1817\n"
    told = json.loads(run("info", name).out)
    assert (told["ticket"], told["properties"]) == ("MANTA-1817", {"typed": 1})
    assert list(stored.store.list("/alice/stor/thoth/jobs")) == []
    called = words(mlogin)
    assert (called[0], called[-1]) == ("--memory=2048", f"/alice/stor/thoth/{name}/core.4")


def test_a_shell_that_fails_stores_nothing(
    mlogin: Path, run: Run, core: Callable[..., Path], terminal: Callable[..., Terminal]
) -> None:
    name = run("-q", "upload", core(4)).out.strip()
    session = terminal("debug", name, "new")
    session.expect("alice@thoth # ")
    session.write('echo "echo 1" > $THOTH_ANALYZER; thoth_set a 1; exit 3\n')
    session.expect("thoth: the shell exited with 3; nothing was stored\r\n")
    assert session.ended() == 1
    (kept,) = re.findall(r"your version is in (\S+);", session.seen.decode())
    assert words(mlogin)
    assert Path(kept).read_bytes() == b"echo 1\n"
    Path(kept).unlink()
    assert json.loads(run("info", name).out)["properties"] == {}


def test_debug(
    mlogin: Path, run: Run, core: Callable[..., Path], tmp_path: Path, terminal: Callable[..., Terminal]
) -> None:
    """$ thoth debug: mdb on the dump where it is; nothing is fetched."""
    name = run("-q", "upload", core(4)).out.strip()
    session = terminal("debug", name)
    assert session.expect("\r\n") == f"thoth: debugging {name}"
    session.expect("usage: mdb -e COMMANDS FILE")  # the stand-in of mdb knows no sessions, and says so
    assert session.ended() == 1
    assert words(mlogin) == [
        "--memory=2048",
        "-c",
        'LIBPROC_INCORE_ELF=1 exec mdb "$MANTA_INPUT_FILE"',
        f"/alice/stor/thoth/{name}/core.4",
    ]
    (tmp_path / "vmdump.1").write_bytes(vmdump(size=1 << 16))
    compressed = run("-q", "upload", tmp_path / "vmdump.1").out.strip()
    refused = terminal("debug", compressed)
    refused.expect("is compressed, and no debugger reads it so")
    assert (refused.ended(), len(words(mlogin))) == (1, 4)


def test_what_needs_no_terminal_is_debugged_here(
    mlogin: Path, run: Run, spawn: Run, core: Callable[..., Path], cache: Path
) -> None:
    """mlogin refuses to begin without one."""
    name = run("-q", "upload", core(4)).out.strip()
    spawn("debug", "--batch", "-e", "::status", name)
    ran = spawn("debug", name, "new", stdin=b'echo "echo 1" > $THOTH_ANALYZER; thoth_set a 1\n')
    assert (ran.code, ran.said[-2:]) == (0, ["thoth: added analyzer 'new'", f"thoth: {name}: set 'a' to 1"])
    assert not mlogin.exists()
