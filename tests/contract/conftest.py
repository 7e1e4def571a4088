"""Each index in turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.indexes import INDEXES, NAMES
from tests.support.reqlite import ReqlServer
from thoth.index.base import Index


@pytest.fixture(params=INDEXES, ids=NAMES)
def index(request: pytest.FixtureRequest, tmp_path: Path, reql: ReqlServer) -> Iterator[Index]:
    opened = request.param(tmp_path, reql)
    yield opened
    opened.close()
    reql.drop_all()
