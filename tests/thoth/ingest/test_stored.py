"""A dump that is new: its document."""

from __future__ import annotations

import hashlib
import json

import pytest

from tests.support.arrivals import CORE, CUT, NOW, take, whole
from tests.support.elfwriter import illumos_core, linux_core, vmdump
from tests.support.memory_index import MemoryIndex
from tests.support.memory_store import MemoryStore
from thoth.dumps.identity import identify
from thoth.dumps.source import KnownRanges
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity, Result, text


class TestStored:
    def test_a_core(self, thoth: Thoth) -> None:
        receipt = take(thoth, CORE)
        identity = identify(KnownRanges(len(CORE), [(0, CORE)]))
        assert (receipt.result, receipt.sent, receipt.reason) == (Result.STORED, len(CORE), None)
        document = whole(thoth, identity).document
        assert receipt.info.document == document
        assert list(document)[:11] == [
            "name", "dump", "pid", "cmd", "psargs", "platform", "node", "version", "time", "type",
            "properties",
        ]  # fmt: skip
        expected = {
            "name": f"/bmc/stor/thoth/{identity}",
            "dump": f"/bmc/stor/thoth/{identity}/core.19972",
            "pid": "19972",
            "cmd": "utmpd",
            "psargs": "/usr/lib/utmpd",
            "node": "95SY9R1",
            "version": "1",
            "time": 1366869350,
            "type": "core",
            "properties": {},
            "id": identity,
            "revision": 0,
            "size": len(CORE),
            "sha256": hashlib.sha256(CORE).hexdigest(),
            "md5": hashlib.md5(CORE).hexdigest(),
            "complete": True,
            "uploaded": NOW,
            "sources": [{"node": "headnode", "path": "/cores/core.19972"}],
        }
        assert {key: document[key] for key in expected} == expected
        assert isinstance(document["time"], int)

    def test_a_core_that_names_no_node_is_of_the_node_it_was_found_on(self, thoth: Thoth) -> None:
        assert take(thoth, linux_core(pid=5), node="lx-zone").info.document["node"] == "lx-zone"

    def test_a_crash_dump_has_its_own_time_and_node(self, thoth: Thoth) -> None:
        document = take(thoth, vmdump(node="cn7", time=1_600_000_000), b"vmdump.0").info.document
        assert (document["type"], document["node"], document["time"]) == ("crash", "cn7", 1_600_000_000)

    def test_a_cut_core_is_kept_as_such(self, thoth: Thoth) -> None:
        receipt = take(thoth, CUT)
        assert receipt.result is Result.STORED
        assert whole(thoth, receipt.info.id).complete is False

    @pytest.mark.parametrize("name", [b"core.\xff\xfe\n;$(x)", b"info.json", b".hidden", b"x" * 255, b"a b"])
    def test_F27_any_name(self, thoth: Thoth, name: bytes) -> None:
        source = {"node": "n", "path": "/cores/" + text(name)}
        receipt = take(thoth, CORE, name, source=source)
        assert receipt.result is Result.STORED
        assert whole(thoth, receipt.info.id).document["sources"] == [source]

    def test_F22_a_name_is_only_a_name(self, thoth: Thoth) -> None:
        document = take(thoth, CORE, b"core.ticket=X.k=v").info.document
        assert (document["properties"], "ticket" in document) == ({}, False)

    def test_F23_text_of_the_dump_survives(self, thoth: Thoth) -> None:
        psargs = b"a'\"\\\x1b[31m\xff:,\n\xe2\x80\xa8"
        receipt = take(thoth, illumos_core(psargs=psargs))
        stored = thoth.stored_info(receipt.info.id)
        assert stored is not None
        assert stored[0].document["psargs"].encode("utf-8", "surrogateescape") == psargs
        json.loads(stored[0].to_json())

    def test_properties_come_with_it(self, thoth: Thoth) -> None:
        info = take(thoth, CORE, properties={"sysinfo": {"Live Image": "x"}}).info
        assert info.properties == {"sysinfo": {"Live Image": "x"}}


def test_a_dump_that_was_looked_up_in_vain_costs_the_index_no_question() -> None:
    asked = []

    class Asked(MemoryIndex):
        def get(self, identity: Identity) -> DumpInfo | None:
            asked.append(identity)
            return super().get(identity)

    thoth = Thoth(MemoryStore(), Asked(), "bmc")
    assert (take(thoth, CORE, in_index=False).result, asked) == (Result.STORED, [])
