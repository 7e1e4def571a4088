"""The command on a Manta: from which size on a dump goes in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.manta_server import Account, MantaServer
from tests.support.sshkeys import SshKey, SshKeys
from tests.thoth.cli.conftest import Run


@pytest.fixture
def key(tmp_path: Path) -> SshKey:
    folder = tmp_path / "keys"
    folder.mkdir()
    return SshKeys(folder)["p256"]


@pytest.fixture
def server(key: SshKey) -> Iterator[MantaServer]:
    with MantaServer(Account("alice", (key.public,))) as running:
        yield running


Set = Callable[[str, str], None]


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


@pytest.mark.usefixtures("alice")
class TestParts:
    @pytest.mark.parametrize("told", ["16K", "0"])
    def test_a_dump_of_that_size_goes_in_parts(
        self, told: str, run: Run, server: MantaServer, core: Callable[..., Path], given: Set
    ) -> None:
        given("THOTH_PARTS_FROM", told)
        assert run("upload", core(1, size=1 << 20)).code == 0
        assert any(each.path.endswith("/commit") for each in server.requests)

    @pytest.mark.parametrize("told", ["16M", "none", ""])
    def test_a_smaller_one_does_not(
        self, told: str, run: Run, server: MantaServer, core: Callable[..., Path], given: Set
    ) -> None:
        given("THOTH_PARTS_FROM", told)
        assert run("upload", core(1, size=1 << 20)).code == 0
        assert not any("/uploads" in each.path for each in server.requests)

    def test_a_wrong_one_is_told_in_one_line(self, run: Run, server: MantaServer, given: Set) -> None:
        given("THOTH_PARTS_FROM", "lots")
        ran = run("ls")
        assert (ran.code, len(ran.said), server.requests) == (1, 1, [])
        assert ran.err.startswith("thoth: THOTH_PARTS_FROM: parts_from is the size from which on")
        shown = run("config")
        assert ["manta.parts_from", "lots", "THOTH_PARTS_FROM", "-"] in [line.split() for line in shown.lines]
        assert (shown.code, shown.err) == (1, ran.err)

    def test_config_shows_it_where_somebody_has_set_it(self, run: Run, given: Set) -> None:
        assert "parts_from" not in run("config").out
        given("THOTH_PARTS_FROM", "1G")
        assert ["manta.parts_from", "1G", "THOTH_PARTS_FROM", "-"] in [line.split() for line in run("config").lines]
