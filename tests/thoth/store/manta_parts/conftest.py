"""A Manta, and stores on it that send what is large in parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.manta_server import MantaServer
from tests.support.manta_store import account, manta, private_key
from tests.thoth.store.manta_parts.scene import (
    SERIAL,
    SIZES,
)
from thoth.store.manta import MantaStore


@pytest.fixture
def server() -> Iterator[MantaServer]:
    with MantaServer(account()) as running:
        yield running


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "state" / "unfinished"


@pytest.fixture(params=["parallel", "serial"])
def store(request: pytest.FixtureRequest, server: MantaServer, notes: Path) -> Iterator[MantaStore]:
    made = manta(server, sizes=SIZES if request.param == "parallel" else SERIAL, unfinished=notes)
    yield made
    made.close()


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("key") / "key.pem"
    file.write_bytes(private_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return file
