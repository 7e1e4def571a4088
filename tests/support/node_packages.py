"""npm packages that the tests drive or compare with, installed once into .node/ at the top of the repository.

    node_package("manta") / "bin" / "mls"

package.json beside this module names them with exact versions, package-lock.json everything that they need. To
renew the lock file:

    npm install --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved

then take the "funding" entries out. By hand: ``python -m tests.support.node_packages``.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

HERE = Path(__file__).parent
FOLDER = HERE.parents[1] / ".node"
_DESCRIPTIONS = ("package.json", "package-lock.json")
_INSTALL = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
_TIME = 540.0  # seconds for all downloads; usually it is 10 to 20
# npm needs the user's own home and proxies, which a test does not have.
_AT_START: Mapping[str, str] = MappingProxyType(dict(os.environ))


class MissingNodePackage(Exception):
    """The packages cannot be had: one line, with what to do."""


def node_package(name: str) -> Path:
    """The folder of a package of package.json. Installs all of them when they are not there yet.

    Raises MissingNodePackage.
    """
    found = node_modules() / name
    if not found.is_dir():
        raise MissingNodePackage(f"{name} is not among the packages of {HERE / 'package.json'}: add it there")
    return found


def node_modules(folder: Path = FOLDER) -> Path:
    """The folder with all installed packages. Raises MissingNodePackage."""
    if not _is_ready(folder):
        with _alone(folder):
            if not _is_ready(folder):  # nobody else made it while we waited
                _install(folder)
    return folder / "node_modules"


def _is_ready(folder: Path) -> bool:
    stamp = folder / "ready"
    return stamp.exists() and stamp.read_text() == _digest()


def _digest() -> str:
    return hashlib.sha256(b"\0".join((HERE / name).read_bytes() for name in _DESCRIPTIONS)).hexdigest()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two test runs of one repository must not install into each other."""
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(folder: Path) -> None:
    _require("node", "npm")
    (folder / "ready").unlink(missing_ok=True)
    for name in _DESCRIPTIONS:
        shutil.copyfile(HERE / name, folder / name)
    try:
        ran = subprocess.run(
            _INSTALL, cwd=folder, env=_AT_START, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False, timeout=_TIME,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise MissingNodePackage(f"npm ci in {folder} takes longer than {_TIME:.0f} s: is there a network?") from None
    if ran.returncode:
        reason = next((line for line in ran.stderr.splitlines() if line.strip()), f"exit status {ran.returncode}")
        raise MissingNodePackage(f"npm ci in {folder} failed: {reason}")
    (folder / "ready").write_text(_digest())


def _require(*programs: str) -> None:
    missing = [name for name in programs if not shutil.which(name, path=_AT_START.get("PATH"))]
    if missing:
        raise MissingNodePackage(f"{' and '.join(missing)} not installed: run tests/system-packages")


def main() -> int:
    """Installs what is missing; silent when there is nothing to do."""
    if not _is_ready(FOLDER):
        print(f"installing npm packages into {FOLDER.name}/", flush=True)
    try:
        node_modules()
    except MissingNodePackage as error:
        print(f"node_packages: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
