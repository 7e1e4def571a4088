"""What holds for every test: a clean environment, no leaks, repeatable examples; and the bench's fixtures."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.support.crash import Crasher, writer
from tests.support.folder import mounts_below
from tests.support.processes import Process, descendants, wait_until
from tests.support.reqlite import ReqlServer, reql_by, reql_server
from tests.support.sshd import Fleet, Node

# Names that change what our commands, or the programs they start, do.
_CLEARED = ("THOTH_", "MANTA_", "SDC_", "TRITON_", "XDG_", "DEBUGINFOD_")
_CLEARED_NAMES = """
    SSH_AUTH_SOCK SSH_ASKPASS SSH_CONNECTION NO_COLOR FORCE_COLOR COLUMNS LINES PAGER EDITOR VISUAL
    NETRC REQUESTS_CA_BUNDLE CURL_CA_BUNDLE SSL_CERT_FILE SSL_CERT_DIR BASH_ENV ENV
"""
_UMASK = 0o022
_GRACE = 5.0  # seconds that a thread or process may take to end after its test

_SOAKING = pytest.StashKey[bool]()
_LEFT_OUT = pytest.StashKey[int]()


# ---- which tests run, and what is said of it ----------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run the full loops too, with new random examples")


@pytest.hookimpl(tryfirst=True)  # before hypothesis' own, which reads the seed
def pytest_configure(config: pytest.Config) -> None:
    # A shell starts what runs in the background with SIGINT ignored, which our commands would inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # by nohup, likewise; a handler is not inherited
        signal.signal(signal.SIGHUP, lambda number, frame: None)
    soaking = bool(config.getoption("--soak")) or "soak" in config.getoption("markexpr").replace("not soak", "")
    config.stash[_SOAKING] = soaking
    config.stash[_LEFT_OUT] = 0
    hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
    hypothesis.settings.register_profile("soak", max_examples=2000, deadline=None, database=None, print_blob=True)
    hypothesis.settings.load_profile("soak" if soaking else "repeatable")
    if soaking and config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = str(random.SystemRandom().getrandbits(32))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.stash[_SOAKING]:
        return
    soaks = [item for item in items if item.get_closest_marker("soak")]
    config.stash[_LEFT_OUT] = len(soaks)
    if hasattr(config, "workeroutput"):  # with -n each worker selects, and the first process reports
        config.workeroutput["left_out"] = len(soaks)
    config.hook.pytest_deselected(items=soaks)
    items[:] = [item for item in items if not item.get_closest_marker("soak")]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """A worker of -n has ended: each has left out the same tests."""
    node.config.stash[_LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", 0)


def pytest_report_header(config: pytest.Config) -> list[str]:
    return _situation(config)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.get_verbosity() < 0:  # then pytest shows no header
        for line in _situation(config):
            terminalreporter.write_line(line)
    if left_out := config.stash[_LEFT_OUT]:
        terminalreporter.write_line(f"{left_out} full loops not run: make soak, or pytest --soak, runs them")


def _situation(config: pytest.Config) -> list[str]:
    """What there is on this machine for the tests to work with, and what is missing."""
    names = ("sshd", "busybox", "ksh93", "strace", "gdb", "g++", "sqlite3", "curl", "node")
    search = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    found = [name for name in names if shutil.which(name, path=search)]
    missing = [name for name in names if name not in found]
    user = "root" if os.geteuid() == 0 else "NOT root: tests with nodes fail"
    lacking = f"; missing: {', '.join(missing)}" if missing else ""
    random_ones = f"random, --soak --hypothesis-seed={config.option.hypothesis_seed}"
    return [
        f"bench: {_ssh_version()}; {user}; {', '.join(found)}{lacking}; cores by {writer()}; ReQL by {reql_by()}",
        f"examples: {random_ones if config.stash[_SOAKING] else 'the same in every run'}",
    ]


def _ssh_version() -> str:
    if not shutil.which("ssh"):
        return "no ssh"
    return subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=False).stderr.split(",")[0].strip()


# ---- around every test --------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("homes")
    counter = itertools.count()
    return (folder / str(number) for number in counter)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, _homes: Iterator[Path]) -> Iterator[None]:
    home = next(_homes)
    home.mkdir(mode=0o700)
    for name in list(os.environ):
        if name.startswith(_CLEARED) or name in _CLEARED_NAMES.split() or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    before, where = os.umask(_UMASK), Path.cwd()
    yield
    os.umask(before)
    os.chdir(where)


@pytest.fixture(autouse=True)
def _no_leaks(_clean_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Threads, child processes and mounts are back to where they were before the test."""
    place = tmp_path_factory.getbasetemp()
    before = _running(place)
    yield
    if not wait_until(lambda: _running(place).keys() <= before.keys(), _GRACE):
        left = [name for key, name in _running(place).items() if key not in before]
        pytest.fail(f"left behind: {', '.join(left)}", pytrace=False)


def _running(place: Path) -> dict[object, str]:
    """What has to end, by what tells it from others, with its name."""
    threads: dict[object, str] = {thread: f"thread {thread.name}" for thread in threading.enumerate()}
    children = {(child.pid, child.start): f"process {child.command}" for child in _live_children()}
    return threads | children | {point: f"mount {point}" for point in mounts_below(place)}


def _live_children() -> list[Process]:
    # Only where there is one at all: to look at every process of the machine takes milliseconds.
    return [child for child in descendants(os.getpid()) if child.state != "Z"] if _has_children() else []


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # the one that waits for it still can
    except ChildProcessError:
        return False
    return True


# ---- the bench ----------------------------------------------------------------------------------------


@pytest.fixture
def fleet() -> Iterator[Callable[..., Fleet]]:
    """Makes fleets that end with the test; takes what Fleet takes: ``fleet(2, flavour="smartos")``."""
    with ExitStack() as undo:
        yield lambda *nodes, **wishes: undo.enter_context(Fleet(*nodes, **wishes))


@pytest.fixture
def node(fleet: Callable[..., Fleet]) -> Callable[..., Node]:
    """Makes single nodes that end with the test: ``node(flavour="gnu", own_process=True)``."""
    return lambda **wishes: fleet(1, **wishes)[0]


@pytest.fixture(scope="session")
def reql() -> Iterator[ReqlServer]:
    """A server that speaks ReQL: reqlite, or the RethinkDB that THOTH_TEST_RETHINKDB names."""
    with reql_server() as server:
        yield server


@pytest.fixture(scope="session")
def crasher(tmp_path_factory: pytest.TempPathFactory) -> Crasher:
    """Programs that crash, built once in a run."""
    return Crasher(tmp_path_factory.mktemp("crasher"))
