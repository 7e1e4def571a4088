"""What is wrong with one dump."""

from __future__ import annotations

import hashlib

import pytest

from tests.support.arrivals import CORE
from tests.thoth.scrub.conftest import LONG, OTHER, Stage, replaced
from thoth.edit import SetTicket, edit_dump, revise
from thoth.model import DumpInfo
from thoth.purge import Rules, purge_dump
from thoth.scrub.findings import NO_PROBLEM, Kind
from thoth.scrub.mend import mend
from thoth.store.names import info_name


class TestObjects:
    @pytest.mark.parametrize("at", [0, 100, len(CORE) // 2, len(CORE) - 1])
    def test_I1_any_flipped_bit_is_found(self, stage: Stage, at: int) -> None:
        info = stage.upload()
        stage.thoth.store.put(str(info.document["dump"]), replaced(CORE, at))
        stage.time += LONG
        (finding,) = stage.found()
        assert finding.kind is Kind.CORRUPT
        assert finding.what.startswith(
            f"core.19972: has SHA-256 {hashlib.sha256(replaced(CORE, at)).hexdigest()} where"
        )
        assert (finding.place, finding.name) == (info.id, info.document["dump"])
        assert stage.kinds(quick=True) == []
        assert mend(stage.thoth, finding, stage.clock) == finding

    def test_a_size_that_differs_is_found_quickly_too(self, stage: Stage) -> None:
        info = stage.upload()
        stage.thoth.store.put(str(info.document["dump"]), CORE[:-1])
        for quick in (True, False):
            ((kind, what),) = stage.told(quick=quick)
            assert kind is Kind.CORRUPT
            assert f"has {len(CORE) - 1} bytes where {len(CORE)} are recorded" in what

    @pytest.mark.parametrize(("data", "what"), [(OTHER, "is another dump, "), (b"no dump", "is no dump: ")])
    def test_an_object_that_is_what_is_recorded_and_yet_not_this_dump(
        self, stage: Stage, data: bytes, what: str
    ) -> None:
        info = stage.upload()
        stage.thoth.store.put(str(info.document["dump"]), data)
        changed = info.changed(size=len(data), sha256=hashlib.sha256(data).hexdigest())
        stage.write(changed)
        stage.thoth.index.put(changed)
        ((kind, told),) = stage.told()
        assert (kind, told.startswith(f"core.19972: {what}")) == (Kind.CORRUPT, True)

    def test_what_a_dump_was_expanded_to_is_checked_too(self, stage: Stage) -> None:
        info = stage.upload()
        name = stage.beside(info, "vmcore.0")
        kernel = b"a kernel's memory"
        told = {"dump": name, "size": len(kernel), "sha256": hashlib.sha256(kernel).hexdigest()}
        revise(stage.thoth, info.id, lambda stored: stored.changed(expanded=told))
        assert stage.kinds() == [Kind.LOST]
        stage.thoth.store.put(name, kernel)
        stage.time += LONG
        assert stage.kinds() == []
        stage.thoth.store.put(name, b"A" + kernel[1:])
        assert stage.kinds() == [Kind.CORRUPT]

    def test_one_that_is_lost(self, stage: Stage) -> None:
        info = stage.upload()
        stage.thoth.store.delete(str(info.document["dump"]))
        (finding,) = stage.found(quick=True)
        assert (finding.kind, finding.name) == (Kind.LOST, info.document["dump"])
        assert f"as {info.document['dump']}" in finding.what
        assert not mend(stage.thoth, finding, stage.clock).repaired

    def test_a_purged_one_is_not_lost_and_a_purged_one_that_is_there_is_told(self, stage: Stage) -> None:
        info = stage.upload()
        purge_dump(stage.thoth, info.id, Rules(), now=stage.time)
        assert stage.found() == []
        stage.thoth.store.put(str(info.document["dump"]), CORE)
        assert stage.found() == []  # it may have been on its way
        stage.time += LONG
        assert stage.kinds() == [Kind.UNPURGED]
        assert [each.repaired for each in stage.mended()] == [False]
        assert stage.thoth.store.get(str(info.document["dump"]))[0] == CORE


class TestDocuments:
    @pytest.mark.parametrize(
        ("data", "what"),
        [
            (b"{", "not JSON"),
            (b"[]", "not a JSON object"),
            (b'{"id": "%s"}' % (b"0" * 32), "is the document of another dump"),
            (b'{"id": "ID", "dump": "/bmc/stor/thoth/ID/.."}', "names no dump"),
            (b'{"id": "ID", "dump": "info.json"}', "names itself"),
        ],
    )
    def test_one_that_is_not_the_dump_s(self, stage: Stage, data: bytes, what: str) -> None:
        info = stage.upload()
        stage.thoth.store.put(info_name("bmc", info.id), data.replace(b"ID", info.id.encode()))
        (finding,) = stage.found()
        assert (finding.kind, what in finding.what) == (Kind.CORRUPT, True)
        assert not mend(stage.thoth, finding, stage.clock).repaired

    def test_what_the_advice_for_a_broken_one_leads_to(self, stage: Stage) -> None:
        info = stage.upload()
        edit_dump(stage.thoth, info.id, [SetTicket("OS-1")])
        before = stage.document(info.id)
        stage.thoth.store.put(info_name("bmc", info.id), b"{")
        assert "move its info.json away, and 'thoth scrub --repair' makes it anew" in stage.told()[0][1]
        stage.thoth.store.delete(info_name("bmc", info.id))
        assert [each.repaired for each in stage.mended()] == [True]
        assert stage.document(info.id) == before

    def test_those_of_the_original_have_no_digests_and_get_them(self, stage: Stage) -> None:
        info = stage.upload()
        original = {"size", "md5", "sha256", "complete", "id", "revision"}
        bare = DumpInfo({key: value for key, value in info.document.items() if key not in original})
        stage.write(bare)
        stage.thoth.index.put(bare)
        (finding,) = stage.found()
        assert finding.kind is Kind.UNRECORDED and finding.kind in NO_PROBLEM
        assert [each.repaired for each in stage.mended()] == [True]
        after = stage.document(info.id)
        assert after == stage.thoth.index.get(info.id)
        assert after.document == {
            **{key: info.document[key] for key in original - {"id"}},
            **bare.document,
            "revision": 1,
        }
        assert stage.found() == []

    def test_a_digest_is_not_recorded_for_what_is_not_as_large_as_recorded(self, stage: Stage) -> None:
        info = stage.upload()
        partly = info.changed(size=len(CORE), sha256=None)
        stage.write(partly)
        stage.thoth.index.put(partly)
        (finding,) = stage.found()
        assert finding.kind is Kind.UNRECORDED
        stage.thoth.store.put(str(info.document["dump"]), CORE + b"more")
        after = mend(stage.thoth, finding, stage.clock)
        assert (after.repaired, "not repaired: " in after.what) == (False, True)
        assert stage.document(info.id) == partly
