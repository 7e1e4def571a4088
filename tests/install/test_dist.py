"""What ``make dist`` makes."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

from tests.support import releases
from thoth import __version__

# What is compiled and has no wheel of pure Python: it comes from pkgsrc on illumos.
COMPILED = {"bcrypt", "cffi", "cryptography", "pynacl"}


def test_all_that_is_released_is_summed(dist: Path) -> None:
    done = subprocess.run(
        ["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=dist, capture_output=True, text=True, check=True
    )
    assert {line.removesuffix(": OK") for line in done.stdout.splitlines()} == {
        f"manta-thoth-{__version__}-wheelhouse.tar.gz",
        f"manta_thoth-{__version__}-py3-none-any.whl",
        f"manta_thoth-{__version__}.tar.gz",
    }
    assert {path.name for path in dist.iterdir()} == {
        "SHA256SUMS",
        *(line.split(":")[0] for line in done.stdout.splitlines()),
    }


def test_the_wheelhouse_has_all_that_is_pure_python(dist: Path) -> None:
    names = wheelhouse(dist)
    wheels = [name.split("/")[-1] for name in names if name.endswith(".whl")]
    pure = {name.split("-")[0] for name in wheels if name.endswith("-none-any.whl")}
    assert {name.split("-")[0] for name in wheels} - pure == COMPILED
    assert {"manta_thoth", "pip", "paramiko", "requests", "charset_normalizer", "rethinkdb"} <= pure
    assert not {"pytest", "mypy", "ruff", "hatchling"} & pure


def test_in_order_and_without_this_machine(dist: Path) -> None:
    names = wheelhouse(dist)
    assert names == sorted(names)
    with tarfile.open(dist / f"manta-thoth-{__version__}-wheelhouse.tar.gz") as tar:
        members = tar.getmembers()
    assert {(member.uid, member.gid, member.uname, member.gname) for member in members} == {(0, 0, "", "")}
    assert {member.mode for member in members} == {0o644, 0o755} and len({member.mtime for member in members}) == 1
    assert all(member.isfile() for member in members)


def test_the_same_files_give_the_same_bytes(small_again: tuple[Path, Path]) -> None:
    one, other = (releases.tarball(release) for release in small_again)
    assert one.read_bytes() == other.read_bytes()


def test_the_nodes_command_knows_the_usual_places() -> None:
    text = releases.pack().node_command().decode()
    for directory in ("/zones/*/cores", "/var/crash/volatile", "@core_pattern"):
        assert f"\n{directory}\n" in text
    assert "@DIRECTORIES@" not in text


def wheelhouse(dist: Path) -> list[str]:
    with tarfile.open(dist / f"manta-thoth-{__version__}-wheelhouse.tar.gz") as tar:
        return tar.getnames()
