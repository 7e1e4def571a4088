"""Makes a release: wheel, sdist, wheelhouse tarball and SHA256SUMS. ``make dist`` calls it; it is not released.

    python install/pack.py fetch WHEELS             what the release depends on, from the package index
    python install/pack.py build WHEELS TARGET      the release, without the network

The tarball holds ``manta-thoth-VERSION/``: wheels/ with our wheel, pip and all that they need; install/, smf/, cron/,
systemd/; nodes/thoth-node; VERSION; and its own SHA256SUMS. Of a package that is compiled it holds a wheel of pure
Python where there is one, and the wheel for the platform that the release was made on, which pip leaves alone
elsewhere. For illumos nobody makes wheels, so there such packages come from pkgsrc, as does zstandard, an extra,
which is not in the tarball. Same files in, same bytes out.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from sdc_thoth import protocol
from sdc_thoth.places import places
from thoth import __version__

TOP = Path(__file__).resolve().parent.parent
NAME = f"manta-thoth-{__version__}"
_FOLDERS = ("install", "smf", "cron", "systemd")
_NOT_RELEASED = {
    "pack.py",
    "node-guard.sh",
    "sdc-install-thoth",
}  # a release holds no links; the installer makes that one
_PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]


# ---- wheels -------------------------------------------------------------------------------------------------------


def fetch(wheels: Path) -> None:
    """All that a release depends on, pip included, in place of what the directory holds."""
    shutil.rmtree(wheels, ignore_errors=True)
    _run(*_PIP, "wheel", "--wheel-dir", str(wheels), str(TOP), "pip")
    for wheel in sorted(wheels.glob("*.whl")):
        name, version, *_ = wheel.name.split("-")
        if name == "manta_thoth":
            wheel.unlink()
        elif not wheel.stem.endswith("-none-any"):
            _fetch_pure(f"{name}=={version}", wheels)


def _fetch_pure(requirement: str, wheels: Path) -> None:
    pure = ["--only-binary", ":all:", "--platform", "any", "--implementation", "py", "--abi", "none"]
    done = subprocess.run(
        [*_PIP, "download", "--no-deps", *pure, "--dest", str(wheels), requirement],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode and "No matching distribution" not in done.stderr:
        raise SystemExit(f"{requirement}: {done.stderr}")


def _run(*command: str) -> None:
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or str(_committed())
    subprocess.run(command, check=True, cwd=TOP, env={**os.environ, "SOURCE_DATE_EPOCH": epoch})


def _committed() -> int:
    """When the last commit was made, in seconds since 1970; the start of 2020 where there is no repository."""
    command = [shutil.which("git") or "/usr/bin/git", "log", "-1", "--format=%ct"]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip() else 1577836800


# ---- the release --------------------------------------------------------------------------------------------------


def build(wheels: Path, target: Path) -> None:
    """The four files of a release; others of its name in the directory are removed."""
    target.mkdir(parents=True, exist_ok=True)
    for old in (*target.glob("manta[-_]thoth-*"), target / "SHA256SUMS"):
        old.unlink(missing_ok=True)
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(TOP))
    (own,) = target.glob("manta_thoth-*.whl")
    with tempfile.TemporaryDirectory() as folder:
        stage = Path(folder)
        gather(stage, [*wheels.glob("*.whl"), own], __version__)
        write_tarball(stage, NAME, target / f"{NAME}-wheelhouse.tar.gz")
    released = sorted(path for path in target.glob("manta[-_]thoth-*"))
    (target / "SHA256SUMS").write_text("".join(_sum(path, path.name) for path in released))


def gather(stage: Path, wheels: Iterable[Path], version: str) -> None:
    """Put a release's files into an empty directory."""
    (stage / "wheels").mkdir()
    for wheel in wheels:
        shutil.copyfile(wheel, stage / "wheels" / wheel.name)
    for folder in _FOLDERS:
        (stage / folder).mkdir()
        for source in _released(TOP / folder):
            shutil.copy(source, stage / folder / source.name)
    (stage / "nodes").mkdir()
    (stage / "nodes" / "thoth-node").write_bytes(node_command())
    (stage / "nodes" / "thoth-node").chmod(0o755)
    (stage / "VERSION").write_text(f"{version}\n")
    files = sorted(path for path in stage.rglob("*") if path.is_file())
    (stage / "SHA256SUMS").write_text("".join(_sum(path, str(path.relative_to(stage))) for path in files))


def _released(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if path.is_file() and path.name not in _NOT_RELEASED)


def _sum(path: Path, name: str) -> str:
    return f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n"


def node_command() -> bytes:
    """The script that a node can run for the collector's key whatever is asked: the guard, and what it guards."""
    usual = dict.fromkeys(place.directory for place in places(["all"], (), ()))
    guard = (TOP / "install/node-guard.sh").read_text().replace("@DIRECTORIES@", "\n".join(usual))
    return guard.encode() + protocol.script()


def write_tarball(folder: Path, name: str, target: Path) -> None:
    """All files below a directory, as ``NAME/...``, in order and with nothing of this machine: no owner, no time."""
    when = _committed()
    with (
        target.open("wb") as file,
        gzip.GzipFile("", "wb", mtime=0, fileobj=file) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            member = tarfile.TarInfo(f"{name}/{path.relative_to(folder)}")
            data = path.read_bytes()
            member.size, member.mtime = len(data), when
            member.mode = 0o755 if os.access(path, os.X_OK) else 0o644
            tar.addfile(member, io.BytesIO(data))


def main(arguments: list[str]) -> None:
    match arguments:
        case ["fetch", wheels]:
            fetch(Path(wheels).absolute())
        case ["build", wheels, target]:
            build(Path(wheels).absolute(), Path(target).absolute())
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
