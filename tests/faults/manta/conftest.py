"""A Manta whose directories are there, and stores on it; nothing is waited for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.manta.scene import (
    HOME,
    IN_PARTS,
)
from tests.support.manta_server import MantaServer
from tests.support.manta_store import Pauses, account, manta
from thoth.store.base import ObjectStore
from thoth.store.manta import MantaStore
from thoth.store.wrappers import Retrying


@pytest.fixture
def server() -> Iterator[MantaServer]:
    with MantaServer(account()) as running:
        store = manta(running)
        store.put(f"{HOME}/{'ab' * 16}/info.json", b"{}")
        store.close()
        running.requests.clear()
        yield running


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def store(server: MantaServer, pauses: Pauses) -> Iterator[MantaStore]:
    made = manta(server, times=pauses.times())
    yield made
    made.close()


@pytest.fixture
def in_parts(server: MantaServer, tmp_path: Path) -> Iterator[MantaStore]:
    made = manta(server, sizes=IN_PARTS, unfinished=tmp_path / "unfinished")
    yield made
    made.close()


@pytest.fixture
def retrying(store: MantaStore, pauses: Pauses) -> ObjectStore:
    return Retrying(store, sleep=pauses.sleep, clock=pauses.clock, random=lambda: 0.5)
