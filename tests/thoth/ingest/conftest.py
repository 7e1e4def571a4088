"""A Thoth in memory, with an index that can fail."""

from __future__ import annotations

import pytest

from tests.support.arrivals import NOW
from tests.support.memory_store import MemoryStore
from tests.thoth.ingest.scene import DeafIndex
from thoth.library import Thoth


@pytest.fixture
def index() -> DeafIndex:
    return DeafIndex()


@pytest.fixture
def thoth(index: DeafIndex) -> Thoth:
    return Thoth(MemoryStore(now=lambda: NOW), index, "bmc")
