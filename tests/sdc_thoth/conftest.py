"""A node for many tests and the way into it, one with a dump, and the shells of nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sdc_thoth.config import SshSettings
from sdc_thoth.listing import Place
from sdc_thoth.session import Credentials, SshSession, open_session, read_credentials
from tests.sdc_thoth.reaching import at
from tests.sdc_thoth.shells import SHELLS, Shell
from tests.support.elfwriter import linux_core
from tests.support.sshd import Fleet
from tests.support.sshd import Node as Machine


@pytest.fixture(scope="module")
def shared() -> Iterator[Machine]:
    """A node for the tests that leave it as it is."""
    with Fleet(["shared"]) as fleet:
        yield fleet[0]


@pytest.fixture
def trusted(tmp_path: Path) -> Callable[..., Credentials]:
    """What is needed to get into a node; ``port``: it is reached through a proxy."""

    def make(
        machine: Machine, *, port: int | None = None, key: Path | None = None, known: str | None = None
    ) -> Credentials:
        line = machine.known_hosts_line() if known is None else known
        hosts = tmp_path / "known_hosts"
        hosts.write_text(line.replace(f"]:{machine.port} ", f"]:{port or machine.port} "))
        return read_credentials(SshSettings(key or machine.identity_file, hosts))

    return make


@pytest.fixture
def opened(shared: Machine, trusted: Callable[..., Credentials]) -> Iterator[SshSession]:
    with open_session(at(shared), trusted(shared), connect_timeout=5, idle_timeout=5) as session:
        yield session


@pytest.fixture
def somebody(shared: Machine, trusted: Callable[..., Credentials]) -> Credentials:
    """Credentials for a node that is never reached."""
    return trusted(shared)


@pytest.fixture
def only(node: Callable[..., Machine]) -> Machine:
    """A node with one dump."""
    made = node()
    made.put("/var/tmp/thoth/core.1", linux_core(1))
    return made


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> Shell:
    return Shell(tuple(SHELLS[request.param]), request.param != "no-stat")


@pytest.fixture
def cores(tmp_path: Path) -> Path:
    folder = tmp_path / "zones" / "7a1" / "cores"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def places(tmp_path: Path) -> list[Place]:
    return [Place("core", "-", f"{tmp_path}/zones/*/cores", "core.*")]
