from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The directory of an empty store."""
    (tmp_path / "store").mkdir(mode=0o700)
    return tmp_path / "store"
