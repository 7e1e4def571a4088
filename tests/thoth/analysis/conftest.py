"""A store that is watched, a place that the sandbox can reach, illumos' tools, a cache with a dump to put into it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.analysis import Bench, common_ground
from tests.support.arrivals import CORE, take
from tests.support.illumos_tools import IllumosTools
from tests.support.memory_index import MemoryIndex
from tests.support.rules import WatchedStore
from thoth.analysis.cache import Cache
from thoth.library import Thoth
from thoth.model import DumpInfo


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore()


@pytest.fixture
def thoth(store: WatchedStore) -> Thoth:
    return Thoth(store, MemoryIndex(), "bmc")


@pytest.fixture
def ground() -> Iterator[Path]:
    with common_ground() as ground:
        yield ground


@pytest.fixture
def tools(ground: Path) -> IllumosTools:
    return IllumosTools(ground)


@pytest.fixture
def bench(ground: Path, tools: IllumosTools) -> Bench:
    return Bench(ground, {**os.environ, "PATH": tools.path})


@pytest.fixture
def info(thoth: Thoth) -> DumpInfo:
    return take(thoth, CORE).info


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def cache(root: Path) -> Cache:
    return Cache(root)
