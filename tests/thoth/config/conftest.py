"""A user who has configured nothing, and a file for what a test does configure."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def fresh_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who has configured nothing: platformdirs looks at these."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a uid that passwd does not know."""
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "some thoth.toml"
