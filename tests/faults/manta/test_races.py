"""Row F34: another upload of a dump comes between, and Manta says so before it has taken all of ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.manta.scene import HOME, IN_PARTS
from tests.support.arrivals import NOW, arrival, at_once, in_blocks, take, whole
from tests.support.elfwriter import illumos_core
from tests.support.manta_server import MantaServer
from tests.support.manta_store import manta
from tests.support.memory_index import MemoryIndex
from thoth.errors import StoreTransient
from thoth.ingest.receive import Reopened, receive
from thoth.library import Thoth
from thoth.model import Result
from thoth.store.manta import PartSizes

CORE = illumos_core(pid=7, size=20 << 20)  # more than is gathered and may wait to be sent


@pytest.fixture(params=["stream", "parts"])
def thoth(request: pytest.FixtureRequest, server: MantaServer, tmp_path: Path) -> Iterator[Thoth]:
    sizes = IN_PARTS if request.param == "parts" else PartSizes()
    with Thoth(manta(server, sizes=sizes, unfinished=tmp_path / "unfinished"), MemoryIndex(), "alice") as opened:
        opened.store.delete(f"{HOME}/{'ab' * 16}/info.json")  # there is no other dump
        yield opened


def overtaken(thoth: Thoth) -> Iterator[bytes]:
    """A core that another node has sent by the time that the first of it is here."""
    take(thoth, CORE, source={"node": "cn2", "path": "/x"})
    yield from in_blocks(CORE, 1 << 18)


def test_F34_the_dump_that_another_has_brought(thoth: Thoth, server: MantaServer) -> None:
    receipt = receive(thoth, arrival(CORE), Reopened(lambda: overtaken(thoth)), now=NOW, tries=at_once)
    assert receipt.result is Result.PRESENT
    assert {source["node"] for source in whole(thoth, receipt.info.id).document["sources"]} == {"cn2", "headnode"}


def test_F34_a_stream_that_cannot_be_read_again(thoth: Thoth) -> None:
    with pytest.raises(StoreTransient, match="another upload of it came between; upload it again"):
        receive(thoth, arrival(CORE), overtaken(thoth), now=NOW, tries=at_once)
    assert take(thoth, CORE).result is Result.PRESENT
