"""Releases to install: the real one, built once in a run, and small ones in which only the package is another."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import zipfile
from functools import cache
from pathlib import Path
from types import ModuleType

TOP = Path(__file__).resolve().parent.parent.parent
WHEELS = Path(sys.prefix) / "wheels"  # what `make .venv/ready` has fetched

# What the small package's commands do: tell of themselves, and note what they were asked.
_PROGRAM = """
import os, pathlib, sys
VERSION = {version!r}
def thoth():
    {trouble}
    print("thoth", VERSION)
def collector():
    home = pathlib.Path(os.environ.get("HOME", "/"))
    if "--help" in sys.argv:
        return print("usage: sdc-thoth")
    with open(home / "asked", "a") as file:
        print(VERSION, *sys.argv[1:], sep="|", file=file)
    answer = home / f"answer-{{VERSION}}"
    return int(answer.read_text()) if answer.exists() else 0
"""


@cache
def pack() -> ModuleType:
    """``install/pack.py``, which lies in no package."""
    spec = importlib.util.spec_from_file_location("pack", TOP / "install/pack.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def small_release(folder: Path, version: str, trouble: str = "") -> Path:
    """A release's directory, below ``folder``, with everything real but the package. ``trouble`` is Python that its
    ``thoth`` runs first."""
    stage = folder / f"manta-thoth-{version}"
    stage.mkdir()
    wheel = _wheel(folder, version, _PROGRAM.format(version=version, trouble=trouble or "pass"))
    pip = next(WHEELS.glob("pip-*.whl"))
    pack().gather(stage, [pip, wheel], version)
    return stage


def tarball(release: Path) -> Path:
    """A release's directory as the file that people fetch."""
    target = release.with_name(f"{release.name}-wheelhouse.tar.gz")
    pack().write_tarball(release, release.name, target)
    return target


def _wheel(folder: Path, version: str, program: str) -> Path:
    """Source of the format: PyPA's "Binary distribution format"."""
    info = f"manta_thoth-{version}.dist-info"
    files = {
        "small_thoth.py": program,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: manta-thoth\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": (
            "[console_scripts]\nthoth = small_thoth:thoth\nsdc-thoth = small_thoth:collector\n"
        ),
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    path = folder / f"manta_thoth-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(zipfile.ZipInfo(name), text)  # of no time
    return path
