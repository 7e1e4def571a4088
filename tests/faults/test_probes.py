"""F71: what others on its host can see of a daemon at work."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.scene import DUMPS
from tests.support.analysis import common_ground
from tests.support.collector import Collector
from tests.support.daemon import Daemon
from tests.support.elfwriter import illumos_core
from tests.support.mishaps import analyze_without_end, collector
from tests.support.processes import descendants, listeners, wait_until
from tests.support.server import free_port
from tests.support.sshd import Node

GIVEN = "g1ven-by-the-env1ronment"  # its caller has put it there: it stays in the daemon's environment
HIDDEN = "h1dden-1n-a-file"


@pytest.fixture
def watched(node: Callable[..., Node], tmp_path: Path) -> Iterator[tuple[Collector, int]]:
    """A collector with an analyzer that does not end and a webhook's URL to keep; and the port of its metrics."""
    with common_ground() as ground:
        only, port = node(), free_port("127.0.0.1")
        only.put(f"{DUMPS}/core.1", illumos_core(1))
        more = f"[schedule]\nevery = 3600\ngrace = 0.5\n[metrics]\nport = {port}\n"
        more += f'[webhook]\nurl = "http://127.0.0.1:9/{HIDDEN}"\n'
        home = collector(tmp_path, [only], more)
        home.inventory.chmod(0o600)
        analyze_without_end(home, ground / "cache", "sleep 600")
        yield home, port


def environment_of(pid: int) -> dict[str, str]:
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs if pair)}


def command_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]


def secrets(home: Collector) -> list[str]:
    """What nobody may see: what the files hold, and lines of the private key."""
    (key,) = [line.split('"')[1] for line in home.inventory.read_text().splitlines() if line.startswith("key = ")]
    _begin, *lines, _end = Path(key).read_text().splitlines()
    return [HIDDEN, *lines]


def test_F71_no_listener_and_no_secret_to_be_seen(watched: tuple[Collector, int]) -> None:
    (home, port), given = watched, {"THOTH_DB_AUTHKEY": GIVEN}
    with Daemon(home, environment=given) as daemon:
        pid = daemon.process.pid
        assert wait_until(lambda: any(each.command == "sleep" for each in descendants(pid)), 30)
        children = [each.pid for each in descendants(pid)]
        assert listeners(pid) == {f"tcp 0100007F:{port:04X}"}
        assert [listeners(child) for child in children] == [set()] * len(children)
        assert command_of(pid)[1:] == home.command("--daemon", *daemon.flags)
        assert environment_of(pid) == {**home.environment, **given}
        for child in children:
            shown = f"{command_of(child)} {environment_of(child)}"
            assert not [secret for secret in (GIVEN, *secrets(home)) if secret in shown], shown
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            metrics = answer.read().decode()
        assert daemon.stop() == 0
    status = (daemon.directory / "status.json").read_text()
    for text in (daemon.log, metrics, status, home.command_run("status").stdout):
        assert text
        assert not [secret for secret in (GIVEN, *secrets(home)) if secret in text]
