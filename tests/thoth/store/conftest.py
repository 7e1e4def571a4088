"""The directory of a store; keys, and homes with and without them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sshagent import SshAgent
from tests.support.sshkeys import SshKeys


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The directory of an empty store."""
    (tmp_path / "store").mkdir(mode=0o700)
    return tmp_path / "store"


@pytest.fixture(scope="session")
def ssh_keys(tmp_path_factory: pytest.TempPathFactory) -> SshKeys:
    return SshKeys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home directory with an empty .ssh."""
    (tmp_path / "home" / ".ssh").mkdir(parents=True, mode=0o700)
    return tmp_path / "home"


@pytest.fixture
def ssh_agent() -> Iterator[SshAgent]:
    with SshAgent() as agent:
        yield agent
