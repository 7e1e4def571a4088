"""Uploads that break off: what is left of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.arrivals import CORE, NOW, arrival, in_blocks, objects, take
from tests.support.elfwriter import illumos_core, linux_core
from tests.support.memory_index import MemoryIndex
from tests.thoth.ingest.scene import unread
from thoth.errors import BadDocument, SourceChanged
from thoth.ingest.receive import receive
from thoth.library import Thoth
from thoth.model import Result
from thoth.store.directory import DirectoryStore


def breaking(data: bytes) -> Iterator[bytes]:
    """A stream of which no more than this comes."""
    yield data
    raise SourceChanged("the node went away")


class TestNothingIsLeft:
    def test_in_a_directory_either(self, tmp_path: Path) -> None:
        thoth = Thoth(DirectoryStore(tmp_path, create=True), MemoryIndex(), "bmc")
        with pytest.raises(SourceChanged):
            receive(thoth, arrival(CORE), breaking(CORE[:5000]), now=NOW)
        assert [path.name for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size] == []
        assert list((tmp_path / ".uploads").iterdir()) == []

    def test_but_what_a_large_dump_is_gone_on_with(self, tmp_path: Path) -> None:
        core = linux_core(7, size=10 << 20)
        thoth = Thoth(DirectoryStore(tmp_path, create=True, resume_from=1 << 20), MemoryIndex(), "bmc")
        with pytest.raises(SourceChanged, match="went away"):
            receive(thoth, arrival(core), breaking(core[: 9 << 20]), now=NOW)
        (left,) = thoth.store.unfinished("/bmc/stor/thoth")
        assert 0 < left.size <= 9 << 20
        assert objects(thoth) == {}
        assert take(thoth, core).result is Result.STORED
        assert core in objects(thoth).values()
        assert [*thoth.store.unfinished("/bmc/stor/thoth")] == []

    def test_by_a_stream_that_breaks(self, thoth: Thoth) -> None:
        with pytest.raises(SourceChanged, match="went away"):
            receive(thoth, arrival(CORE), breaking(CORE[:5000]), now=NOW)
        assert objects(thoth) == {}

    @pytest.mark.parametrize("sent", [CORE[:-1], CORE + b"x", b""])
    def test_F12_by_a_file_of_another_size(self, thoth: Thoth, sent: bytes) -> None:
        with pytest.raises(SourceChanged, match=f"{len(sent)} bytes came where {len(CORE)} were announced"):
            receive(thoth, arrival(CORE), in_blocks(sent), now=NOW)
        assert objects(thoth) == {}

    def test_F13_by_a_file_that_was_rewritten_in_place(self, thoth: Thoth) -> None:
        other = illumos_core(pid=1, size=len(CORE))
        with pytest.raises(SourceChanged, match="headers changed"):
            receive(thoth, arrival(CORE), in_blocks(other), now=NOW)
        assert objects(thoth) == {}

    def test_by_a_file_that_is_no_dump_any_more(self, thoth: Thoth) -> None:
        with pytest.raises(SourceChanged, match="headers changed"):
            receive(thoth, arrival(CORE), in_blocks(bytes(len(CORE))), now=NOW)
        assert objects(thoth) == {}

    def test_beside_the_document_of_another_dump(self, thoth: Thoth) -> None:
        other, place = take(thoth, linux_core(pid=5)).info, arrival(CORE).identity
        thoth.store.put(f"/bmc/stor/thoth/{place}/info.json", other.to_json().encode())
        thoth.store.delete(str(other.document["dump"]))  # a lost dump is stored again, but not this one
        with pytest.raises(BadDocument, match=f"{place}/info.json: is the document of another dump, {other.id}"):
            receive(thoth, arrival(CORE), unread(), now=NOW)
        assert len(objects(thoth)) == 2

    def test_by_an_interrupt(self, thoth: Thoth) -> None:
        def interrupted() -> Iterator[bytes]:
            yield CORE[:9]
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            receive(thoth, arrival(CORE), interrupted(), now=NOW)
        assert objects(thoth) == {}
