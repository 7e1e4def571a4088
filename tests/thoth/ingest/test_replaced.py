"""A dump that takes the place of one that was cut short."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.arrivals import CORE, CUT, SHORTER, take, whole
from thoth.edit import revise
from thoth.ingest.wanted import may_replace
from thoth.library import Thoth
from thoth.model import DumpInfo, Result


class TestReplaced:
    @pytest.mark.parametrize("name", [b"core.19972", b"core.renamed"])
    def test_a_whole_one_takes_the_place_of_a_cut_one(self, thoth: Thoth, name: bytes) -> None:
        identity = take(thoth, CUT).info.id
        revise(thoth, identity, lambda info: info.changed(ticket="OS-1", properties={"k": 1}, mine="kept"))
        receipt = take(thoth, CORE, name, properties={"k": 2, "sysinfo": 3})
        assert (receipt.result, receipt.sent) == (Result.REPLACED, len(CORE))
        document = whole(thoth, identity).document
        assert (document["complete"], document["size"], document["revision"]) == (True, len(CORE), 2)
        assert (document["ticket"], document["properties"], document["mine"]) == (
            "OS-1",
            {"k": 1, "sysinfo": 3},
            "kept",
        )
        assert document["dump"].endswith(name.decode())

    def test_a_longer_cut_one_takes_the_place_of_a_shorter(self, thoth: Thoth) -> None:
        take(thoth, SHORTER)
        assert take(thoth, CUT).result is Result.REPLACED
        assert take(thoth, CORE).result is Result.REPLACED

    @pytest.mark.parametrize(
        ("document", "size", "replaced"),
        [
            ({"complete": False, "size": 10}, 11, True),
            ({"complete": False, "size": 10}, 10, False),
            ({"complete": True, "size": 10}, 11, False),
            ({"size": 10}, 11, False),
            ({"complete": False}, 11, False),
            ({"complete": False, "size": 10, "purged": 1}, 11, False),
        ],
    )
    def test_may_replace(self, document: dict[str, Any], size: int, replaced: bool) -> None:
        assert may_replace(DumpInfo(document), size) is replaced

    @pytest.mark.parametrize("name", ["/bmc/stor/thoth/precious", "{}/info.json", "{}/deeper/x"])
    def test_an_info_json_does_not_make_us_delete_other_things(self, thoth: Thoth, name: str) -> None:
        info = take(thoth, CUT).info
        precious = name.format(info.document["name"])
        if not precious.endswith("info.json"):
            thoth.store.put(precious, b"x")
        revise(thoth, info.id, lambda info: info.changed(dump=precious))
        assert take(thoth, CORE, b"core.renamed").result is Result.REPLACED
        assert thoth.store.stat(precious)
