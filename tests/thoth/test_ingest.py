"""Dumps on their way in: what is there afterwards, whatever happened."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.arrivals import CORE, CUT, NOW, SHORTER, arrival, at_once, in_blocks, objects, take, whole
from tests.support.elfwriter import illumos_core, linux_core, vmdump
from tests.support.memory_index import MemoryIndex
from tests.support.memory_store import MemoryStore, MemoryUpload, OpenBytes
from thoth.dumps.identity import identify
from thoth.dumps.source import KnownRanges
from thoth.edit import revise
from thoth.errors import BadDocument, IndexFailure, NoSuchDump, SourceChanged, StoreError, StoreTransient
from thoth.ingest.annotate import annotate
from thoth.ingest.receive import Reopened, receive
from thoth.ingest.wanted import may_replace
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity, Result, text
from thoth.patience import USUAL, Tries
from thoth.store.base import Digests, ObjectStat
from thoth.store.directory import DirectoryStore
from thoth.store.repeat import ReadRepeat


@pytest.fixture
def thoth() -> Thoth:
    return Thoth(MemoryStore(now=lambda: NOW), MemoryIndex(), "bmc")


def unread() -> Iterator[bytes]:
    raise AssertionError("the stream was read")
    yield b""


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

    def test_annotating_what_is_not_there(self, thoth: Thoth) -> None:
        with pytest.raises(NoSuchDump):
            annotate(thoth, arrival(CORE))


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


class TestLost:
    """A document whose dump has vanished from the store: the next upload brings it back."""

    @pytest.mark.parametrize("name", [b"core.19972", b"core.renamed"])
    def test_it_is_stored_again(self, thoth: Thoth, name: bytes) -> None:
        first = take(thoth, CORE).info
        revise(thoth, first.id, lambda info: info.changed(ticket="OS-7"))
        thoth.store.delete(str(first.document["dump"]))
        receipt = take(thoth, CORE, name)
        assert (receipt.result, receipt.sent) == (Result.STORED, len(CORE))
        assert receipt.info.document["ticket"] == "OS-7"
        whole(thoth, first.id)

    def test_one_of_which_only_a_part_is_left_is_stored_again(self, thoth: Thoth) -> None:
        first = take(thoth, CORE).info
        thoth.store.put(str(first.document["dump"]), CUT)
        assert take(thoth, CORE).result is Result.STORED
        assert whole(thoth, first.id).size == len(CORE)

    @pytest.mark.parametrize("name", [b"core.19972", b"core.renamed"])
    def test_what_was_made_of_the_same_bytes_stays(self, thoth: Thoth, name: bytes) -> None:
        first = take(thoth, CORE).info
        expanded = f"{first.document['name']}/vmcore.0"
        thoth.store.put(expanded, b"x")
        told = {"expanded": {"dump": expanded, "size": 1}, "stack": ["f()"], "stack_by": "process-dump"}
        revise(thoth, first.id, lambda info: info.changed(**told))
        thoth.store.delete(str(first.document["dump"]))
        document = take(thoth, CORE, name).info.document
        assert {key: document[key] for key in told} == told
        assert {*objects(thoth)} == {f"{first.document['name']}/info.json", document["dump"], expanded}

    def test_one_of_the_original_is_stored_and_replaces_nothing(self, thoth: Thoth) -> None:
        first = take(thoth, CORE).info
        lacking = {"id", "revision", "size", "md5", "sha256", "complete", "uploaded", "sources"}
        bare = {key: value for key, value in first.document.items() if key not in lacking}
        thoth.store.put(f"{bare['name']}/info.json", json.dumps({**bare, "ticket": "OS-7"}, indent="\t").encode())
        thoth.store.delete(str(bare["dump"]))
        receipt = take(thoth, CORE)
        assert (receipt.result, receipt.info.document["ticket"]) == (Result.STORED, "OS-7")
        whole(thoth, first.id)

    def test_one_that_was_purged_is_not(self, thoth: Thoth) -> None:
        first = take(thoth, CORE).info
        thoth.store.delete(str(first.document["dump"]))
        revise(thoth, first.id, lambda info: info.changed(purged=NOW))
        assert take(thoth, CORE).result is Result.PRESENT
        assert len(objects(thoth)) == 1

    def test_another_dump_of_the_same_identity_is_told(self, thoth: Thoth) -> None:
        first = take(thoth, CORE).info
        thoth.store.delete(str(first.document["dump"]))
        receipt = take(thoth, CORE[:-1] + bytes([CORE[-1] ^ 1]))
        assert receipt.result is Result.CONFLICT
        assert str(first.sha256) in str(receipt.reason)
        whole(thoth, first.id)

    def test_what_was_made_of_a_cut_dump_goes_with_it(self, thoth: Thoth) -> None:
        cut = take(thoth, CUT).info
        expanded = f"{cut.document['name']}/vmcore.0"
        thoth.store.put(expanded, b"x")
        told = {"dump": expanded, "size": 1}
        revise(thoth, cut.id, lambda info: info.changed(expanded=told, stack=["f()"], stack_by="process-dump"))
        receipt = take(thoth, CORE)
        assert receipt.result is Result.REPLACED
        assert not {"expanded", "stack", "stack_by"} & {*receipt.info.document}
        assert expanded not in objects(thoth)


class TestNothingIsLeft:
    def test_in_a_directory_either(self, tmp_path: Path) -> None:
        def breaking() -> Iterator[bytes]:
            yield CORE[:5000]
            raise SourceChanged("the node went away")

        thoth = Thoth(DirectoryStore(tmp_path, create=True), MemoryIndex(), "bmc")
        with pytest.raises(SourceChanged):
            receive(thoth, arrival(CORE), breaking(), now=NOW)
        assert [path.name for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size] == []
        assert list((tmp_path / ".uploads").iterdir()) == []

    def test_but_what_a_large_dump_is_gone_on_with(self, tmp_path: Path) -> None:
        core = linux_core(7, size=10 << 20)

        def breaking() -> Iterator[bytes]:
            yield core[: 9 << 20]
            raise SourceChanged("the node went away")

        thoth = Thoth(DirectoryStore(tmp_path, create=True, resume_from=1 << 20), MemoryIndex(), "bmc")
        with pytest.raises(SourceChanged, match="went away"):
            receive(thoth, arrival(core), breaking(), now=NOW)
        (left,) = thoth.store.unfinished("/bmc/stor/thoth")
        assert 0 < left.size <= 9 << 20
        assert objects(thoth) == {}
        assert take(thoth, core).result is Result.STORED
        assert core in objects(thoth).values()
        assert [*thoth.store.unfinished("/bmc/stor/thoth")] == []

    def test_by_a_stream_that_breaks(self, thoth: Thoth) -> None:
        def breaking() -> Iterator[bytes]:
            yield CORE[:5000]
            raise SourceChanged("the node went away")

        with pytest.raises(SourceChanged, match="went away"):
            receive(thoth, arrival(CORE), breaking(), now=NOW)
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


class TiredUpload(MemoryUpload):
    """An upload that the store gives up on, in a way that passes, as often as it is told to."""

    def __init__(self, store: TiredStore, name: str, if_match: str | None) -> None:
        super().__init__(name, lambda data: store._store(name, data, if_match))
        self._tired = store

    def commit(self, digests: Digests) -> ObjectStat:
        if self._tired.failures:
            self._tired.failures -= 1
            raise StoreTransient("busy")
        return super().commit(digests)


class TiredStore(MemoryStore):
    failures = 0

    def begin(self, name: str, size: int | None, *, if_match: str | None = None) -> TiredUpload:
        return TiredUpload(self, name, if_match)


class TestSentAgain:
    @pytest.fixture
    def store(self) -> TiredStore:
        return TiredStore()

    @pytest.fixture
    def thoth(self, store: TiredStore) -> Thoth:
        return Thoth(store, MemoryIndex(), "bmc")

    def test_F31_a_stream_that_can_be_begun_anew(self, thoth: Thoth, store: TiredStore) -> None:
        store.failures = 4
        assert take(thoth, CORE).result is Result.STORED
        whole(thoth, arrival(CORE).identity)

    def test_F31_but_not_without_end(self, thoth: Thoth, store: TiredStore) -> None:
        store.failures = 5
        with pytest.raises(StoreTransient, match="busy"):
            take(thoth, CORE)
        assert objects(thoth) == {}

    def test_F31_a_failure_behind_a_transfer_that_took_long_passes_too(self, thoth: Thoth, store: TiredStore) -> None:
        now = [0.0]
        store.failures = 1

        def start() -> Iterator[bytes]:
            now[0] += 3600
            return in_blocks(CORE)

        tries = Tries(USUAL, lambda seconds: None, lambda: now[0], lambda: 0.5)
        receipt = receive(thoth, arrival(CORE), Reopened(start), now=NOW, tries=lambda: tries)
        assert (receipt.result, now[0]) == (Result.STORED, 7200)
        whole(thoth, arrival(CORE).identity)

    def test_F31_a_stream_that_flows_once_is_sent_once(self, thoth: Thoth, store: TiredStore) -> None:
        store.failures = 1
        with pytest.raises(StoreTransient, match="busy"):
            receive(thoth, arrival(CORE), in_blocks(CORE), now=NOW, tries=at_once)
        assert objects(thoth) == {}

    def test_F34_what_somebody_else_stored_meanwhile_is_not_sent_again(self, thoth: Thoth, store: TiredStore) -> None:
        starts = []

        def start() -> Iterator[bytes]:
            starts.append(len(starts))
            if len(starts) == 1:
                take(thoth, CORE, b"core.other")
                store.failures = 1
            return in_blocks(CORE)

        receipt = receive(thoth, arrival(CORE), Reopened(start), now=NOW, tries=at_once)
        assert (receipt.result, starts) == (Result.PRESENT, [0])
        whole(thoth, arrival(CORE).identity)


class SettlingStore(MemoryStore):
    """Takes note of what it was asked to settle."""

    def __init__(self) -> None:
        super().__init__()
        self.settled: list[str] = []

    def settle(self, name: str) -> None:
        self.settled.append(name)


@pytest.mark.parametrize("in_memory", [False, True])
def test_what_one_that_was_killed_may_have_stored_is_settled_before_it_is_called_present(in_memory: bool) -> None:
    store = SettlingStore()
    thoth = Thoth(store, MemoryIndex(), "bmc")
    stored = take(thoth, CORE)
    assert (stored.result, take(thoth, CORE).result, store.settled) == (Result.STORED, Result.PRESENT, [])
    thoth.index.delete(stored.info.id)  # which hears of a dump once that is durable
    stream = list(in_blocks(CORE)) if in_memory else Reopened(lambda: in_blocks(CORE))
    receipt = receive(thoth, arrival(CORE), stream, now=NOW, tries=at_once)
    name = f"/bmc/stor/thoth/{stored.info.id}/info.json"
    assert (receipt.result, {*store.settled}) == (Result.PRESENT, {name})


@pytest.mark.parametrize("in_memory", [False, True])
def test_F30_what_one_that_was_killed_has_sent_is_compared_and_not_written_again(
    tmp_path: Path, in_memory: bool
) -> None:
    thoth = Thoth(DirectoryStore(tmp_path, create=True), MemoryIndex(), "bmc")
    stored = take(thoth, CORE).info
    thoth.store.delete(f"/bmc/stor/thoth/{stored.id}/info.json")
    thoth.index.delete(stored.id)
    there = thoth.store.stat(str(stored.document["dump"]))
    stream = list(in_blocks(CORE)) if in_memory else Reopened(lambda: in_blocks(CORE))
    receipt = receive(thoth, arrival(CORE), stream, now=NOW, tries=at_once)
    assert (receipt.result, receipt.sent) == (Result.STORED, 0)
    assert thoth.store.stat(str(stored.document["dump"])) == there
    assert whole(thoth, stored.id).sha256 == stored.sha256


def test_what_is_compared_is_made_durable_too() -> None:
    store = SettlingStore()
    thoth = Thoth(store, MemoryIndex(), "bmc")
    stored = take(thoth, CORE).info
    name = f"/bmc/stor/thoth/{stored.id}/info.json"
    store.delete(name)
    thoth.index.delete(stored.id)
    assert take(thoth, CORE).result is Result.STORED
    assert store.settled == [name]


def test_a_dump_that_was_looked_up_in_vain_costs_the_index_no_question() -> None:
    asked = []

    class Asked(MemoryIndex):
        def get(self, identity: Identity) -> DumpInfo | None:
            asked.append(identity)
            return super().get(identity)

    thoth = Thoth(MemoryStore(), Asked(), "bmc")
    assert (take(thoth, CORE, in_index=False).result, asked) == (Result.STORED, [])


def test_what_is_there_and_cannot_be_read_is_replaced() -> None:
    class BadBlock(MemoryStore):
        def repeat(self, name: str, found: ObjectStat) -> ReadRepeat:
            class Unreadable(OpenBytes):
                def read_at(self, offset: int, length: int) -> bytes:
                    raise StoreError("Input/output error")

            return ReadRepeat(name, found, Unreadable(name, bytes(found.size)))

    thoth = Thoth(BadBlock(), MemoryIndex(), "bmc")
    stored = take(thoth, CORE).info
    thoth.store.delete(f"/bmc/stor/thoth/{stored.id}/info.json")
    before = thoth.store.stat(str(stored.document["dump"]))
    assert take(thoth, CORE).result is Result.STORED
    assert thoth.store.stat(str(stored.document["dump"])) != before


def test_what_is_there_with_other_bytes_is_replaced(tmp_path: Path) -> None:
    thoth = Thoth(DirectoryStore(tmp_path, create=True), MemoryIndex(), "bmc")
    other = CORE[:-1] + bytes([CORE[-1] ^ 1])
    stored = take(thoth, other).info
    thoth.store.delete(f"/bmc/stor/thoth/{stored.id}/info.json")
    thoth.index.delete(stored.id)
    starts = []

    def start() -> Iterator[bytes]:
        starts.append(1)
        return in_blocks(CORE)

    assert receive(thoth, arrival(CORE), Reopened(start), now=NOW, tries=at_once).result is Result.STORED
    assert (len(starts), CORE in objects(thoth).values()) == (2, True)
    thoth.store.delete(f"/bmc/stor/thoth/{stored.id}/info.json")
    assert receive(thoth, arrival(other), in_blocks(other), now=NOW).result is Result.STORED
    assert other in objects(thoth).values()


class TestLostDocument:
    """The store has lost info.json, and the index still has what it said."""

    def lost(self, thoth: Thoth) -> DumpInfo:
        info = take(thoth, CORE, properties={"a": 1}).info
        revise(thoth, info.id, lambda each: each.changed(ticket="OS-5"))
        noted = revise(thoth, info.id, lambda each: each.changed(properties={"a": 2, "b": 3}))
        thoth.store.delete(f"/bmc/stor/thoth/{info.id}/info.json")
        return noted

    def test_what_was_noted_on_the_dump_comes_back_with_it(self, thoth: Thoth) -> None:
        noted = self.lost(thoth)
        receipt = take(thoth, CORE, properties={"a": 7, "c": 4}, source={"node": "cn2", "path": "/x"})
        after = whole(thoth, noted.id)
        assert (receipt.result, receipt.info) == (Result.STORED, after)
        assert (after.document["ticket"], after.properties) == ("OS-5", {"a": 2, "b": 3, "c": 4})
        where = [each["node"] for each in after.document["sources"]]  # type: ignore[index, union-attr]
        assert where == ["headnode", "cn2"]
        assert after.revision > noted.revision

    def test_what_a_cut_dump_lost_of_its_notes_does_not_come_back_with_the_whole(self) -> None:
        index = DeafIndex()
        index.deaf = False
        thoth = Thoth(MemoryStore(), index, "bmc")
        cut = take(thoth, CUT).info
        revise(thoth, cut.id, lambda info: info.changed(ticket="OS-1"))
        index.deaf = True
        with pytest.raises(IndexFailure):
            revise(thoth, cut.id, lambda info: info.without("ticket"))
        index.deaf = False
        assert take(thoth, CORE).result is Result.REPLACED
        assert "ticket" not in whole(thoth, cut.id).document

    @pytest.mark.parametrize("lost", ["ticket", "properties"])
    def test_while_the_index_was_down_a_later_change_goes_on_from_what_it_knows(self, lost: str) -> None:
        index = DeafIndex()
        index.deaf = False
        thoth = Thoth(MemoryStore(), index, "bmc")
        noted = self.lost(thoth)
        index.deaf = True
        assert take(thoth, CORE).result is Result.STORED_UNINDEXED
        index.deaf = False
        if lost == "ticket":
            revise(thoth, noted.id, lambda info: info.without("ticket") if "ticket" in info.document else None)
        else:
            revise(thoth, noted.id, lambda info: info.changed(properties={**info.properties, "a": 9}))
        after = whole(thoth, noted.id)
        assert after.document.get("ticket") == (None if lost == "ticket" else "OS-5")
        assert after.properties == {"a": 2 if lost == "ticket" else 9, "b": 3}
        assert after.revision > noted.revision


class DeafIndex(MemoryIndex):
    """An index that says nothing while it is ``deaf``."""

    deaf = True

    def get(self, identity: Identity) -> DumpInfo | None:
        if self.deaf:
            raise IndexFailure("index.db: disk I/O error")
        return super().get(identity)

    def put(self, info: DumpInfo) -> bool:
        if self.deaf:
            raise IndexFailure("index.db: disk I/O error")
        return super().put(info)


class TestUnindexed:
    def test_F35_it_is_stored_and_the_next_run_indexes_it(self) -> None:
        index = DeafIndex()
        thoth = Thoth(MemoryStore(), index, "bmc")
        receipt = take(thoth, CORE)
        assert (receipt.result, receipt.sent, receipt.reason) == (
            Result.STORED_UNINDEXED,
            len(CORE),
            "index.db: disk I/O error",
        )
        again = take(thoth, CORE)
        assert (again.result, again.sent, again.info) == (Result.STORED_UNINDEXED, 0, receipt.info)
        index.deaf = False
        assert take(thoth, CORE).result is Result.PRESENT
        whole(thoth, receipt.info.id)

    def test_a_replacement(self) -> None:
        index = DeafIndex()
        thoth = Thoth(MemoryStore(), index, "bmc")
        take(thoth, CUT)
        assert take(thoth, CORE, b"core.renamed").result is Result.STORED_UNINDEXED
        index.deaf = False
        whole(thoth, take(thoth, CORE).info.id)
