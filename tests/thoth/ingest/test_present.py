"""A dump that is there already: it is not read again."""

from __future__ import annotations

import json

import pytest

from tests.support.arrivals import CORE, CUT, NOW, SHORTER, arrival, objects, take, whole
from tests.thoth.ingest.scene import unread
from thoth.edit import SetProperty, edit_dump, revise
from thoth.errors import NoSuchDump
from thoth.ingest.annotate import annotate
from thoth.ingest.receive import receive
from thoth.library import Thoth
from thoth.maintain import Reindexed, reindex
from thoth.model import Result


class TestPresent:
    def test_it_is_not_read_again_and_nothing_is_touched(self, thoth: Thoth) -> None:
        first = take(thoth, CORE)
        before = objects(thoth)
        again = receive(thoth, arrival(CORE), unread(), now=NOW + 1)
        assert (again.result, again.info, again.sent) == (Result.PRESENT, first.info, 0)
        assert objects(thoth) == before

    def test_F34_ticket_and_properties_stay_and_another_place_is_noted(self, thoth: Thoth) -> None:
        identity = take(thoth, CORE).info.id
        revise(thoth, identity, lambda info: info.changed(ticket="OS-2359", properties={"triage": "bmc"}))
        other = {"node": "cn2", "path": "/zones/z/cores/core.19972"}
        for _ in range(2):
            assert take(thoth, CORE, source=other, properties={"triage": "x", "sysinfo": 1}).result is Result.PRESENT
        document = whole(thoth, identity).document
        assert document["ticket"] == "OS-2359"
        assert document["properties"] == {"triage": "bmc", "sysinfo": 1}
        assert document["sources"] == [{"node": "headnode", "path": "/cores/core.19972"}, other]
        assert document["revision"] == 2

    def test_the_list_of_places_has_an_end(self, thoth: Thoth) -> None:
        for n in range(100):
            info = take(thoth, CORE, source={"node": "n", "path": f"/cores/{n}"}).info
        assert len(info.document["sources"]) == 64

    def test_a_shorter_or_equal_copy_of_a_cut_one_is_not_read(self, thoth: Thoth) -> None:
        take(thoth, CUT)
        for data in (CUT, SHORTER):
            assert receive(thoth, arrival(data), unread(), now=NOW).result is Result.PRESENT

    def test_an_index_that_forgot_it_is_healed(self, thoth: Thoth) -> None:
        info = take(thoth, CORE).info
        thoth.index.delete(info.id)
        assert take(thoth, CORE).result is Result.PRESENT
        whole(thoth, info.id)

    def test_what_was_purged_is_not_fetched_again(self, thoth: Thoth) -> None:
        info = take(thoth, CUT).info
        revise(thoth, info.id, lambda stored: stored.changed(purged=NOW))
        assert receive(thoth, arrival(CORE), unread(), now=NOW).result is Result.PRESENT

    def test_F26_the_originals_document_with_raw_bytes_is_one(self, thoth: Thoth) -> None:
        info = take(thoth, CORE).info
        document = {**info.document, "psargs": "caf", "ticket": "OS-1", "properties": {"triage": "bmc"}}
        form = json.dumps(document).encode().replace(b'"caf"', b'"caf\xe9"')
        thoth.store.put(f"/bmc/stor/thoth/{info.id}/info.json", form)
        assert reindex(thoth, [info.id]) == Reindexed(1, ())
        assert whole(thoth, info.id).document == {**document, "psargs": "caf\ufffd"}
        assert take(thoth, CORE).result is Result.PRESENT
        assert thoth.store.get(f"/bmc/stor/thoth/{info.id}/info.json")[0] == form
        edit_dump(thoth, info.id, [SetProperty(("x",), 1)])
        after = whole(thoth, info.id).document
        assert (after["psargs"], after["ticket"]) == ("caf\ufffd", "OS-1")
        assert after["properties"] == {"triage": "bmc", "x": 1}

    def test_annotating_what_is_not_there(self, thoth: Thoth) -> None:
        with pytest.raises(NoSuchDump):
            annotate(thoth, arrival(CORE))
