"""What uploads leave of a dump that another one has stored under another name: nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.arrivals import NOW, arrival, in_blocks, take, whole
from tests.support.elfwriter import illumos_core
from tests.support.memory_index import MemoryIndex
from thoth.ingest.receive import receive
from thoth.library import Thoth
from thoth.model import Result
from thoth.store.directory import DirectoryStore

BLOCK = 1 << 20
CORE = illumos_core(pid=1, size=10 * BLOCK)  # as much as is kept of an upload that ends early


@pytest.fixture
def thoth(tmp_path: Path) -> Thoth:
    return Thoth(DirectoryStore(tmp_path / "store", create=True, resume_from=BLOCK), MemoryIndex(), "bmc")


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    return tmp_path / "store/.uploads"


def broken_off() -> Iterator[bytes]:
    yield from in_blocks(CORE[: 9 * BLOCK], BLOCK)
    raise InterruptedError


def test_the_slower_of_two_uploads_at_once_leaves_nothing(thoth: Thoth, uploads: Path) -> None:
    def slow() -> Iterator[bytes]:
        yield from in_blocks(CORE, BLOCK)
        assert take(thoth, CORE, b"core.b").result is Result.STORED

    assert receive(thoth, arrival(CORE, b"core.a"), slow(), now=NOW).result is Result.PRESENT
    assert list(uploads.iterdir()) == []
    whole(thoth, arrival(CORE).identity)


def test_an_upload_that_ended_early_is_thrown_away_when_the_dump_is_there(thoth: Thoth, uploads: Path) -> None:
    with pytest.raises(InterruptedError):
        receive(thoth, arrival(CORE, b"core.a"), broken_off(), now=NOW)
    assert take(thoth, CORE, b"core.b").result is Result.STORED
    assert len(list(uploads.iterdir())) == 1  # nobody knows yet that it is of the same dump
    assert take(thoth, CORE, b"core.a").result is Result.PRESENT
    assert list(uploads.iterdir()) == []
