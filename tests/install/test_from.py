"""``sdc-thoth-install --from``: another release than the one that the script lies in (F70)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.fileserver import file_server
from tests.support.headnode import Headnode
from tests.support.releases import sha256

Small = Callable[..., Path]


@pytest.fixture(scope="module")
def served(tarball: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The address of the tarball, and an environment in which its certificate is trusted."""
    with file_server(tarball.parent) as (address, ca):
        yield f"{address}/{tarball.name}", {"CURL_CA_BUNDLE": str(ca)}


@pytest.mark.parametrize("by", ["file", "address"])
def test_F70_what_has_the_sum_is_installed(
    by: str, hn: Headnode, small: Small, tarball: Path, served: tuple[str, dict[str, str]]
) -> None:
    address, env = served
    source = tarball if by == "file" else address
    done = hn.install(small("1.0"), "--from", source, "--sha256", sha256(tarball), env=env)
    assert done.returncode == 0, done.stderr
    assert f"Thoth 2.0 is installed in {hn.top}." in done.stdout
    assert hn.run(hn.top / "bin/thoth", "--version").stdout == "thoth 2.0\n"
    (version,) = (hn.top / "versions").iterdir()
    assert (hn.top / "current").resolve() == version and version.name.startswith("2.0-")
    share = version / "share/thoth"
    assert (share / "VERSION").read_text() == "2.0\n"
    for name in ("install/sdc-thoth-update", "smf/postboot", "nodes/thoth-node"):
        assert (share / name).read_bytes() == (small("2.0") / name).read_bytes()
    assert hn.state("thoth") == "online" and hn.crontab
    assert not list(hn.top.glob(".stage.*"))


def test_F70_what_has_another_sum_is_not(
    hn: Headnode, small: Small, tarball: Path, served: tuple[str, dict[str, str]]
) -> None:
    address, env = served
    before = hn.tree()
    for source in (tarball, address):
        done = hn.install(small("1.0"), "--from", source, "--sha256", "0" * 64, env=env)
        assert done.returncode == 1 and "it is not what was released; nothing was changed" in done.stderr
        assert hn.tree() == before
