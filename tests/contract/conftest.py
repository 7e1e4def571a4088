"""Each index, and each store, in turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.indexes import INDEXES, NAMES
from tests.contract.stores import STORES
from tests.support.reqlite import ReqlServer
from thoth.index.base import Index
from thoth.store.base import ObjectStore


@pytest.fixture(params=INDEXES, ids=NAMES)
def index(request: pytest.FixtureRequest, tmp_path: Path, reql: ReqlServer) -> Iterator[Index]:
    opened = request.param(tmp_path, reql)
    yield opened
    opened.close()
    reql.drop_all()


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    root = tmp_path / "store"
    root.mkdir(mode=0o700)
    with STORES[request.param](root) as made:
        yield made


@pytest.fixture
def remote(request: pytest.FixtureRequest) -> bool:
    """Whether the store is a server's: its names are text, and what is replaced or deleted there is gone."""
    return "manta" in request.node.callspec.params["store"]
