"""A Thoth in memory."""

from __future__ import annotations

import pytest

from tests.support.memory_index import MemoryIndex
from tests.support.memory_store import MemoryStore
from thoth.library import Thoth


@pytest.fixture
def thoth() -> Thoth:
    return Thoth(MemoryStore(), MemoryIndex(), "bmc")
