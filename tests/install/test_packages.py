"""What is compiled and comes from pkgsrc: the packages of the Python that the virtual environment is made with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.analysis import common_ground
from tests.support.headnode import PYTHON, Headnode
from tests.support.releases import TOP

Small = Callable[..., Path]
_PLACE = "import site; print(site.getsitepackages()[0], end='')"
_PROGRAMS = """
import sys
sys.path.append(sys.argv[1])
from sdc_thoth.expand import programs
print(*programs("auto"))
"""


@pytest.fixture
def other_python() -> Iterator[Callable[..., Path]]:
    """``other_python("zstandard")`` is this Python with other packages: modules of these names, and nothing else."""
    with ExitStack() as undo:

        def make(*packages: str) -> Path:
            prefix = undo.enter_context(common_ground())
            library = prefix / "lib" / f"python3.{sys.version_info.minor}"
            library.mkdir(parents=True)
            for entry in Path(os.__file__).parent.iterdir():
                if entry.name != "site-packages":
                    (library / entry.name).symlink_to(entry)
            (prefix / "bin").mkdir()
            python = Path(shutil.copy(PYTHON, prefix / "bin/python3"))
            place = subprocess.run([python, "-I", "-c", _PLACE], capture_output=True, text=True, check=True).stdout
            Path(place).mkdir(parents=True, exist_ok=True)
            for name in packages:
                Path(place, f"{name}.py").touch()
            return python

        yield make


@pytest.mark.parametrize(("packages", "programs"), [(("zstandard",), "zstd gzip\n"), ((), "gzip\n")])
def test_zstd_is_used_where_pkgsrc_has_it(
    packages: tuple[str, ...], programs: str, hn: Headnode, small: Small, other_python: Callable[..., Path]
) -> None:
    done = hn.install(small("1.0"), "--python", other_python(*packages))
    assert done.returncode == 0, done.stderr
    told = hn.run(hn.top / "current/bin/python", "-I", "-c", _PROGRAMS, TOP)
    assert (told.stdout, told.stderr) == (programs, "")
