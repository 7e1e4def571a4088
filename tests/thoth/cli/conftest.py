"""The ``thoth`` command as its users have it: in process, as a process, and on a terminal."""

from __future__ import annotations

import errno
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest

from tests.support.analysis import common_ground
from tests.support.crash import Crasher
from tests.support.elfwriter import illumos_core
from tests.support.manta_server import Account, MantaServer
from tests.support.sshkeys import SshKey, SshKeys
from tests.support.terminal import Terminal
from thoth.cli import main
from thoth.config import environment, load_config
from thoth.library import Thoth, open_thoth

TOP = Path(__file__).resolve().parents[3]
COMMAND = (sys.executable, "-m", "thoth")


class Ran(NamedTuple):
    """What a command did. No raw control character but line ends is in it, ever: the fixtures see to it."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def said(self) -> list[str]:
        return self.err.splitlines()


Run = Callable[..., Ran]
Core = Callable[..., Path]
Uploaded = Callable[..., str]
Set = Callable[[str, str], None]


def assert_harmless(text: str) -> None:
    """Nothing but printable characters and line ends."""
    assert all(char.isprintable() or char == "\n" for char in text), ascii(text)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """``run("ls", "type=core")`` in this process."""

    def run(*words: str | Path) -> Ran:
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        assert_harmless(captured.out + captured.err)
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture
def child_environment() -> dict[str, str]:
    """What a process of ours has as its environment, with this source tree on its path.

    Its stdout is buffered, as that of most users is: an error then shows only when the buffer is written.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "PYTHONPATH": str(TOP), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def spawn(child_environment: dict[str, str]) -> Run:
    """``spawn("ls", stdin=b"...")`` as a process of its own."""

    def spawn(*words: str | bytes | Path, stdin: bytes = b"", stdout: int = subprocess.PIPE) -> Ran:
        ran = subprocess.run(
            [*COMMAND, *words],
            input=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            env=child_environment,
            check=False,
        )
        out, err = (ran.stdout or b"").decode(), ran.stderr.decode()
        assert_harmless(out + err)
        return Ran(ran.returncode, out, err)

    return spawn


# As much as the examples of the original's README use of https://github.com/trentm/json: a dotted name prints what is
# there, text as it is; with -a of each item of an array, in one line when they are text; -g gathers what is no array.
_JSON = f"""#!{sys.executable}
import json, sys
names = sys.argv[1:]
each = names[0] == "-ga" and names.pop(0)
value = json.load(sys.stdin)
def shown(value, name):
    for key in name.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, indent=2)
if each:
    for item in value if isinstance(value, list) else [value]:
        print(*(shown(item, name) for name in names))
else:
    for text in filter(None, (shown(value, name) for name in names)):
        print(text)
"""

Shell = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture
def shell(tmp_path: Path, child_environment: dict[str, str]) -> Shell:
    """``shell("thoth ls | head -1")``: bash, with ``thoth`` and ``json`` as its commands."""
    programs = {"thoth": f'#!/bin/sh\nexec {sys.executable} -m thoth "$@"\n', "json": _JSON}
    for name, text in programs.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    environment = {**child_environment, "PATH": f"{tmp_path}:/usr/bin:/bin"}

    def shell(typed: str) -> subprocess.CompletedProcess[str]:
        ran = subprocess.run(
            ["bash", "-o", "pipefail", "-c", typed],
            env=environment, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert_harmless(ran.stdout + ran.stderr)
        return ran

    return shell


@pytest.fixture
def on_terminal(child_environment: dict[str, str]) -> Callable[..., tuple[int, bytes]]:
    """``on_terminal("ls")`` gives the exit code and every byte that reached the terminal."""

    def on_terminal(*words: str | bytes | Path) -> tuple[int, bytes]:
        ours, theirs = pty.openpty()
        try:
            process = subprocess.Popen(
                [*COMMAND, *words], stdin=theirs, stdout=theirs, stderr=theirs, env=child_environment
            )
        finally:
            os.close(theirs)
        try:
            seen = b"".join(until_hangup(ours))
        finally:
            os.close(ours)
        return process.wait(30), seen

    return on_terminal


def until_hangup(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError as error:
            if error.errno == errno.EIO:  # how Linux says that nobody has the other end open any more
                return
            raise
        if not data:
            return
        yield data


@pytest.fixture
def core(tmp_path: Path) -> Core:
    """``core(7, b"core.7")`` writes a core of pid 7 and gives its path; more as in illumos_core."""

    def core(pid: int, name: str | bytes | None = None, **facts: object) -> Path:
        path = tmp_path / os.fsdecode(name if name is not None else f"core.{pid}")
        path.write_bytes(illumos_core(pid=pid, **facts))  # type: ignore[arg-type]
        os.utime(path, (1449234626 + pid, 1449234626 + pid))
        return path

    return core


@pytest.fixture
def uploaded(run: Run, core: Core) -> Uploaded:
    """``uploaded(7, cmd="bc")`` uploads a core and gives its identity."""

    def uploaded(pid: int, **facts: object) -> str:
        return run("-q", "upload", core(pid, **facts)).out.strip()

    return uploaded


def identity(run: Run, path: Path) -> str:
    """That of a dump which need not be in the store."""
    return run("object", path).out.strip()


def wait_for(happens: Callable[[], bool]) -> None:
    """Return once that is so; it has 20 seconds."""
    deadline = time.monotonic() + 20
    while not happens():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


@pytest.fixture
def stored() -> Iterator[Thoth]:
    """The store and index that the commands of this test use, for a look behind them."""
    with open_thoth(load_config(environment())) as thoth:
        yield thoth


# ---- for analyzers --------------------------------------------------------------------------------------


@pytest.fixture
def ground(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place that analyzers can reach, with the cache in it."""
    with common_ground() as ground:
        monkeypatch.setenv("THOTH_CACHE", str(ground / "cache"))
        yield ground


# ---- for thoth debug --------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def crashed(crasher: Crasher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The core of a process that crashed in read_record."""
    return crasher.native(tmp_path_factory.mktemp("crashed") / "core.crasher")


@pytest.fixture
def crashed_id(run: Run, crashed: Path) -> str:
    """The identity of ``crashed``, in the store of this test."""
    return run("-q", "upload", crashed).out.strip()


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, child_environment: dict[str, str]) -> Iterator[Path]:
    """A cache for this test. Afterwards nothing may be in it that was there for one run only."""
    # Not below tmp_path, through which the user of a program in the sandbox cannot pass.
    with TemporaryDirectory(prefix="thoth-cache-") as made:
        place = Path(made, "cache")
        place.parent.chmod(0o755)
        monkeypatch.setenv("THOTH_CACHE", str(place))
        child_environment["THOTH_CACHE"] = str(place)
        yield place
        left = [entry.name for entry in place.iterdir() if entry.name.startswith(".")] if place.is_dir() else []
    assert not left


@pytest.fixture
def terminal(child_environment: dict[str, str]) -> Iterator[Callable[..., Terminal]]:
    """``terminal("debug", identity)`` is the command in a terminal of its own, whose session it leads."""
    with ExitStack() as opened:
        yield lambda *words: opened.enter_context(Terminal([*COMMAND, *words], child_environment))


# ---- on Manta ------------------------------------------------------------------------------------------


@pytest.fixture
def key(tmp_path: Path) -> SshKey:
    folder = tmp_path / "keys"
    folder.mkdir()
    return SshKeys(folder)["p256"]


@pytest.fixture
def server(key: SshKey) -> Iterator[MantaServer]:
    with MantaServer(Account("alice", (key.public,))) as running:
        yield running


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch, child_environment: dict[str, str]) -> Set:
    """``given("MANTA_USER", "alice")`` is in the environment of the commands of this test."""

    def given(name: str, value: str) -> None:
        monkeypatch.setenv(name, value)
        child_environment[name] = value

    return given


@pytest.fixture
def alice(server: MantaServer, key: SshKey, tmp_path: Path, given: Set) -> None:
    """Whose environment asks for this Manta, with her key in a file of which MANTA_KEY_ID is the path."""
    given("MANTA_URL", server.url)
    given("MANTA_USER", "alice")
    given("MANTA_KEY_ID", str(key.file))
    given("THOTH_DB", f"sqlite://{tmp_path}/index.db")
