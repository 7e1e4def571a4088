"""Headnodes and releases."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import releases
from tests.support.headnode import Headnode, Headnodes, headnodes
from tests.support.processes import send

Small = Callable[..., Path]
VERSIONS = ("1.0", "2.0")


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """Makes small releases, each once in a run: ``small("1.0")``, ``small("2.0", trouble="raise SystemExit(1)")``."""
    made: dict[tuple[str, str], Path] = {}

    def small(version: str, trouble: str = "") -> Path:
        if (version, trouble) not in made:
            folder = tmp_path_factory.mktemp("release")
            made[version, trouble] = releases.small_release(folder, version, trouble)
        return made[version, trouble]

    return small


@pytest.fixture(scope="module")
def tarball(small: Small) -> Path:
    """The release 2.0 as it is fetched."""
    return releases.tarball(small("2.0"))


@pytest.fixture(scope="session")
def headnode_snapshots() -> Iterator[Headnodes]:
    with headnodes() as made:
        yield made


@pytest.fixture
def hn(headnode_snapshots: Headnodes) -> Iterator[Headnode]:
    """A headnode on which nothing of Thoth is installed. What its services still run ends with the test."""
    node = headnode_snapshots.get("new")
    yield node
    send(signal.SIGKILL, node.running())


@pytest.fixture
def ready(headnode_snapshots: Headnodes, small: Small) -> Headnode:
    """One with the virtual environments of the small releases 1.0 and 2.0, and nothing else: what runs have left that
    were killed as soon as those were complete."""

    def begin(node: Headnode) -> None:
        for version in VERSIONS:
            node.broken("useradd", "kill -KILL 0")
            done = node.install(small(version))
            assert done.returncode < 0 and list(node.top.glob(f"versions/{version}-*/.done")), done.stderr
        node.broken("useradd", None)

    return headnode_snapshots.made("ready", "new", begin)


@pytest.fixture
def installed(headnode_snapshots: Headnodes, ready: Headnode, small: Small) -> Headnode:
    """One with the small release 1.0."""

    def install(node: Headnode) -> None:
        done = node.install(small("1.0"))
        assert done.returncode == 0, done.stderr
        (node.home / "asked").unlink()

    return headnode_snapshots.made("installed", "ready", install)


@pytest.fixture
def updatable(headnode_snapshots: Headnodes, installed: Headnode) -> Headnode:
    """One with the small release 1.0, where the virtual environment of 2.0 is there, too, in use by nobody."""
    headnode_snapshots.graft(installed, "ready", "2.0")
    return installed


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``make dist`` makes, made once in a run."""
    target = tmp_path_factory.mktemp("dist")
    releases.pack().build(releases.WHEELS, target)
    return target


@pytest.fixture
def small_again(tmp_path: Path) -> tuple[Path, Path]:
    """Two directories with the same release, made one after the other."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    return releases.small_release(tmp_path / "a", "1.0"), releases.small_release(tmp_path / "b", "1.0")
