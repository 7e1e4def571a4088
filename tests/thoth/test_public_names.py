"""The public names of the library: what ``thoth/__init__.py`` promises is there, and is told once."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import thoth

SOURCE = Path(thoth.__file__)


def type_checking_block() -> dict[str, str]:
    """Name -> module below thoth, as the imports under TYPE_CHECKING have it."""
    tree = ast.parse(SOURCE.read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.name: (node.module or "").removeprefix("thoth.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_all_is_sorted_and_has_no_name_twice() -> None:
    assert thoth.__all__ == sorted(set(thoth.__all__))


def test_every_name_is_told_alike_in_three_places() -> None:
    assert list(thoth._HOME) == thoth.__all__
    assert type_checking_block() == thoth._HOME


@pytest.mark.parametrize("name", thoth.__all__)
def test_name_is_there_and_comes_from_its_home(name: str) -> None:
    value = getattr(thoth, name)
    assert getattr(value, "__module__", f"thoth.{thoth._HOME[name]}") == f"thoth.{thoth._HOME[name]}"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        thoth.nope  # noqa: B018 - the look-up is the test


def test_dir_lists_the_public_names() -> None:
    assert dir(thoth) == thoth.__all__


def test_importing_thoth_imports_nothing_else_of_it() -> None:
    program = "import sys, thoth; print(*[name for name in sys.modules if name.startswith('thoth')])"
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=SOURCE.parent.parent, capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == ["thoth"]
