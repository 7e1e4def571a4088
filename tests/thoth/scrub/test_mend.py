"""What is mended, and what is left alone."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any

import pytest

from tests.support.arrivals import CORE, CUT, NOW, arrival, take
from tests.support.elfwriter import illumos_core
from tests.support.memory_index import MemoryIndex
from tests.support.memory_store import MemoryStore
from tests.thoth.scrub.conftest import LONG, OTHER, Stage, replaced
from thoth.edit import SetProperty, edit_dump, revise, stored_form
from thoth.index.sqlite import SqliteIndex
from thoth.library import Thoth
from thoth.maintain import UPLOADING, reindex, stored_identities
from thoth.model import DumpInfo, Identity
from thoth.purge import Rules, purge_dump
from thoth.scrub.check import unfinished
from thoth.scrub.findings import NO_PROBLEM, Finding, Kind
from thoth.scrub.mend import mend
from thoth.store.base import StoredObject
from thoth.store.directory import DirectoryStore
from thoth.store.names import home, info_name
from thoth.store.wrappers import Passing


class TestOrphans:
    def orphan(self, stage: Stage, data: bytes = CORE) -> DumpInfo:
        info = stage.upload(data)
        stage.thoth.store.delete(info_name("bmc", info.id))
        return info

    def test_an_upload_on_its_way_is_none(self, stage: Stage) -> None:
        info = take(stage.thoth, CORE).info
        stage.thoth.store.delete(info_name("bmc", info.id))
        stage.thoth.index.delete(info.id)
        stage.time += UPLOADING - 1
        assert stage.found() == []
        stage.time += 1
        (finding,) = stage.found()
        assert (finding.kind, finding.name) == (Kind.ORPHAN, info.document["dump"])

    def test_its_document_is_made_anew(self, stage: Stage) -> None:
        info = self.orphan(stage)
        stage.thoth.index.delete(info.id)
        assert [each.repaired for each in stage.mended()] == [True]
        after = stage.document(info.id)
        assert after == stage.thoth.index.get(info.id)
        # What the dump itself does not tell nobody knows any more; its time is when it was stored.
        assert after.document == {
            **{key: value for key, value in info.document.items() if key != "sources"},
            "time": NOW,
            "uploaded": NOW,
        }
        assert stage.found() == []

    def test_a_dump_that_does_not_tell_its_node_gets_none(self, stage: Stage) -> None:
        info = self.orphan(stage, illumos_core(pid=3, node=""))
        stage.thoth.index.delete(info.id)
        assert [each.repaired for each in stage.mended()] == [True]
        assert stage.document(info.id).document.get("node") != ""

    def test_what_the_index_knows_comes_back(self, stage: Stage) -> None:
        info = self.orphan(stage)
        ticketed = info.changed(ticket="OS-1", properties={"triage": "bmc"})
        stage.thoth.index.put(ticketed)
        assert [each.repaired for each in stage.mended()] == [True]
        assert stage.document(info.id) == ticketed
        assert stage.found() == []

    def test_of_a_document_of_other_bytes_only_what_people_set(self, stage: Stage) -> None:
        info = self.orphan(stage)
        stage.thoth.index.put(info.changed(ticket="OS-1", sha256="0" * 64, size=3))
        assert [each.repaired for each in stage.mended()] == [True]
        after = stage.document(info.id)
        assert (after.size, after.sha256, after.document["ticket"]) == (len(CORE), info.sha256, "OS-1")
        assert after.document["sources"] == info.document["sources"]
        assert stage.found() == []

    @pytest.mark.parametrize(
        ("data", "what"), [(OTHER, "it is another dump, "), (b"\x1f\x8b zip", "it is no dump: ")]
    )
    def test_what_is_not_the_dump_stays_an_orphan(self, stage: Stage, data: bytes, what: str) -> None:
        info = self.orphan(stage)
        stage.thoth.store.put(str(info.document["dump"]), data)
        stage.time += LONG
        (after,) = stage.mended()
        assert (after.kind, after.repaired, what in after.what) == (Kind.ORPHAN, False, True)
        assert stage.thoth.store.get(str(info.document["dump"]))[0] == data
        assert stage.thoth.stored_info(info.id) is None

    def test_of_several_objects_none_is_chosen(self, stage: Stage) -> None:
        info = self.orphan(stage)
        stage.thoth.store.put(stage.beside(info, "core.2"), CUT)
        stage.time += LONG
        (after,) = stage.mended()
        assert (after.kind, after.repaired) == (Kind.ORPHAN, False)
        assert after.what.startswith("core.19972, core.2: without a document; not repaired: several things")

    def test_what_the_index_knows_is_no_upload_on_its_way(self, stage: Stage) -> None:
        info = take(stage.thoth, CORE).info
        stage.thoth.store.delete(info_name("bmc", info.id))
        assert [(each.kind, each.repaired) for each in stage.mended()] == [(Kind.ORPHAN, True)]
        assert stage.document(info.id) == info

    def test_one_that_is_replaced_by_an_upload_waits(self, stage: Stage) -> None:
        info = self.orphan(stage)
        stage.thoth.index.delete(info.id)
        (finding,) = stage.found()
        stage.thoth.store.put(str(info.document["dump"]), CORE)
        after = mend(stage.thoth, finding, stage.clock)
        assert (after.repaired, "may be an upload on its way" in after.what) == (False, True)
        assert stage.thoth.stored_info(info.id) is None

    def test_an_upload_that_comes_while_the_document_is_made_stays(self, stage: Stage) -> None:
        info = self.orphan(stage)
        (finding,) = stage.found()

        class Late(Passing):
            def put(self, name: str, data: bytes, *, if_match: str | None = None) -> str:
                self._store.put(name, stored_form(info.changed(ticket="OS-1")))
                return self._store.put(name, data, if_match=if_match)

        late = Thoth(Late(stage.thoth.store), stage.thoth.index, "bmc")
        assert not mend(late, finding, stage.clock).repaired
        assert stage.document(info.id).document["ticket"] == "OS-1"

    def test_an_upload_that_comes_first_stays(self, stage: Stage) -> None:
        info = self.orphan(stage)
        (finding,) = stage.found()
        newer = info.changed(ticket="OS-1")
        stage.write(newer)
        assert not mend(stage.thoth, finding, stage.clock).repaired
        assert stage.document(info.id) == newer


def test_a_dump_that_is_replaced_while_it_is_digested_gets_no_digests(stage: Stage) -> None:
    info = stage.upload()
    bare = DumpInfo({key: value for key, value in info.document.items() if key not in ("size", "sha256")})
    stage.write(bare)
    stage.thoth.index.put(bare)
    (finding,) = stage.found()

    class Replacing(Passing):
        def open(self, name: str) -> StoredObject:
            found = self._store.open(name)
            self._store.put(name, replaced(CORE, -1))
            return found

    busy = Thoth(Replacing(stage.thoth.store), stage.thoth.index, "bmc")
    assert not mend(busy, finding, stage.clock).repaired
    assert stage.document(info.id) == bare


class TestStrays:
    def test_a_copy_of_the_dump_goes_and_anything_else_stays(self, stage: Stage) -> None:
        info = stage.upload()
        copy, cut, *others = (stage.beside(info, f"core.{number}") for number in range(1, 6))
        stage.thoth.store.put(copy, CORE)
        stage.thoth.store.put(cut, CUT)
        different = (replaced(CORE, 50_000), replaced(CUT, -1), CORE + b"x")
        for name, data in zip(others, different, strict=True):
            stage.thoth.store.put(name, data)
        assert stage.found() == []  # a collector that uploads it under another name has such for a moment
        stage.time += LONG
        assert stage.kinds() == [Kind.STRAY] * 5
        assert [each.name for each in stage.mended() if each.repaired] == [copy, cut]
        assert [each.name for each in stage.found()] == others
        assert stage.thoth.store.get(str(info.document["dump"]))[0] == CORE

    @pytest.mark.parametrize("fault", ["corrupt", "lost", "cut", "purged", "unrecorded"])
    def test_a_copy_stays_where_it_may_be_the_only_one(self, stage: Stage, fault: str) -> None:
        info = stage.upload(CUT if fault == "cut" else CORE)
        name, data = str(info.document["dump"]), stage.thoth.store.get(str(info.document["dump"]))[0]
        if fault == "corrupt":
            stage.thoth.store.put(name, replaced(data, 100))
        elif fault == "lost":
            stage.thoth.store.delete(name)
        elif fault == "unrecorded":
            stage.write(info.changed(sha256=None))
        elif fault == "purged":
            purge_dump(stage.thoth, info.id, Rules(), now=stage.time)
        copy = stage.beside(info, "core.1")
        stage.thoth.store.put(copy, stage.thoth.store.get(name)[0] if fault == "corrupt" else data)
        stage.time += LONG
        (finding,) = [each for each in stage.found() if each.kind is Kind.STRAY]
        assert not mend(stage.thoth, finding, stage.clock).repaired
        assert stage.thoth.store.stat(copy).size == len(data)

    def test_a_copy_that_the_document_speaks_of_meanwhile_stays(self, stage: Stage) -> None:
        info = stage.upload()
        copy = stage.beside(info, "vmcore.0")
        stage.thoth.store.put(copy, CORE)
        stage.time += LONG
        (finding,) = stage.found()
        revise(stage.thoth, info.id, lambda stored: stored.changed(expanded={"dump": copy}))
        assert not mend(stage.thoth, finding, stage.clock).repaired
        assert stage.thoth.store.get(copy)[0] == CORE

    def test_an_empty_directory_goes_and_one_that_is_not_stays(self, tmp_path: Path) -> None:
        stage = Stage()
        stage.thoth = Thoth(DirectoryStore(tmp_path / "store", create=True), MemoryIndex(), "bmc")
        info = take(stage.thoth, CORE).info
        top = tmp_path / "store/bmc/stor/thoth"
        empty, below = top / ("0" * 32), top / info.id / "directory"
        for directory in (empty, below, top / "old", top / "full"):
            directory.mkdir(mode=0o700)
        (top / "full" / "file").write_bytes(b"")
        stage.time = empty.stat().st_mtime + UPLOADING - 1
        assert {each.name for each in stage.found()} == {f"{home('bmc')}/old", f"{home('bmc')}/full"}
        assert not any(each.repaired for each in stage.mended())
        stage.time += 2
        assert {Path(each.name or "").name: each.repaired for each in stage.mended()} == {
            "0" * 32: True,
            "directory": True,
            "old": True,
            "full": False,
        }
        assert {each.name for each in top.iterdir()} == {"full", info.id}

    def test_what_is_nothing_of_ours(self, stage: Stage) -> None:
        stage.upload()
        for name in ("core.1", "0" * 32, "analyzers", "DEADBEEF" * 4 + "/info.json", "config.json/x"):
            stage.thoth.store.put(f"{home('bmc')}/{name}", b"")
        findings = stage.found()
        assert {each.kind for each in findings} == {Kind.STRAY}
        names = {"core.1", "0" * 32, "analyzers", "DEADBEEF" * 4, "config.json"}
        assert {each.place for each in findings} == {f"{home('bmc')}/{name}" for name in names}
        stage.time += LONG
        assert not any(each.repaired for each in stage.mended())


class TestIndex:
    def test_what_it_lacks_or_has_another_version_of(self, stage: Stage) -> None:
        lacking, older, other = (stage.upload(illumos_core(pid=pid)) for pid in range(3))
        stage.thoth.index.delete(lacking.id)
        stage.write(older.changed(ticket="OS-1"))
        stage.thoth.index.put(DumpInfo({**other.document, "ticket": "OS-2"}))
        stage.time += LONG
        found = {each.identity: each for each in stage.found()}
        assert {each.kind for each in found.values()} == {Kind.UNINDEXED}
        assert found[lacking.id].what == "is not in the index"
        assert "revision 0, which is older than the store's, 1" in found[older.id].what
        assert found[other.id].what == "the index has other content for the store's revision 0"
        assert all(each.repaired for each in stage.mended())
        assert stage.found() == []

    def test_what_only_a_newer_version_has_noted_goes_into_the_store(self, stage: Stage) -> None:
        info = stage.upload()
        newer = info.changed(properties={"a": 1, "b": 2}).changed(ticket="OS-1").changed()
        stage.thoth.index.put(newer)
        stage.write(info.changed(properties={"b": 2, "c": 3}))
        stage.time += LONG
        (after,) = stage.mended()
        assert (after.kind, after.repaired) == (Kind.UNINDEXED, True)
        assert "the index has revision 3, which is newer than the store's, 1" in after.what
        document = stage.document(info.id)
        assert (document.document["ticket"], document.properties) == ("OS-1", {"a": 1, "b": 2, "c": 3})
        assert document.revision == 4
        assert stage.found() == []

    @pytest.mark.parametrize(
        ("noted", "named"),
        [({"ticket": "OS-2"}, "ticket"), ({"properties": {"a": 2, "b": 1}}, "properties.a")],
    )
    def test_a_newer_version_that_speaks_against_the_store_stays(
        self, stage: Stage, noted: dict[str, Any], named: str
    ) -> None:
        info = stage.upload()
        newer = info.changed().changed(ticket="OS-1", properties={"a": 1})
        stage.thoth.index.put(newer)
        ours = info.changed(**noted)
        stage.write(ours)
        stage.time += LONG
        (after,) = stage.mended()
        assert (after.kind, after.repaired) == (Kind.UNINDEXED, False)
        assert "to go by the store alone, move the index away and run 'thoth index'" in after.what
        assert after.what.endswith(f"not repaired: store and index have other values of {named}; set what is right")
        assert (stage.document(info.id), stage.thoth.index.get(info.id)) == (ours, newer)

    def test_a_document_that_no_index_can_keep(self, stage: Stage) -> None:
        info = stage.upload()
        deep = f'{info.changed().to_json()[:-1]}, "deep": {"[" * 900}{"]" * 900}}}'
        stage.thoth.store.put(info_name("bmc", info.id), deep.encode())
        stage.time += LONG
        (after,) = stage.mended()
        assert (after.repaired, "nested deeper than" in after.what) == (False, True)

    def test_ghosts_are_laid(self, stage: Stage) -> None:
        info = stage.upload()
        gone = [Identity(digit * 32) for digit in "09af"]
        for identity in gone:
            stage.thoth.index.put(DumpInfo({"id": identity}))
        findings = stage.found()
        assert [(each.kind, each.identity) for each in findings] == [(Kind.GHOST, identity) for identity in gone]
        assert all(each.repaired for each in stage.mended())
        assert stage.thoth.index.named("") == [info.id]
        assert stage.found(gone[0]) == [Finding(Kind.LOST, "neither store nor index has anything of it", gone[0])]

    @pytest.mark.parametrize("noted", [{"ticket": "OS-7"}, {"properties": {"triage": "bmc"}}])
    def test_what_people_noted_on_a_ghost_is_not_lost(self, stage: Stage, noted: dict[str, object]) -> None:
        stage.upload()
        gone = Identity("0" * 32)
        stage.thoth.index.put(DumpInfo({"id": gone, "dump": f"/bmc/stor/thoth/{gone}/core.1", **noted}))
        (after,) = stage.mended()
        assert (after.kind, after.repaired) == (Kind.GHOST, True)
        assert noted.items() <= stage.document(gone).document.items()
        assert [each.kind for each in stage.found(gone)] == [Kind.LOST]

    def test_an_upload_that_comes_while_its_ghost_is_laid_is_indexed(self, stage: Stage) -> None:
        stage.upload(OTHER)

        class Overtaken(MemoryIndex):
            def delete(self, identity: Identity) -> None:
                take(stage.thoth, CORE)
                super().delete(identity)

        index = Overtaken()
        stage.thoth = Thoth(stage.thoth.store, index, "bmc")
        reindex(stage.thoth, stored_identities(stage.thoth))
        name = arrival(CORE).identity
        index.put(DumpInfo({"id": name}))
        (finding,) = stage.found()
        assert mend(stage.thoth, finding, stage.clock).repaired
        assert index.get(name) == stage.document(name)

    def test_a_ghost_that_is_asked_for_by_name(self, stage: Stage) -> None:
        stage.thoth.index.put(DumpInfo({"id": "0" * 32}))
        assert [each.kind for each in stage.found(Identity("0" * 32))] == [Kind.GHOST]

    def test_an_index_of_another_store_is_not_emptied(self, stage: Stage) -> None:
        stage.thoth.index.put(DumpInfo({"id": "0" * 32}))
        (after,) = stage.mended()
        assert (after.kind, after.repaired, "is it the right one?" in after.what) == (Kind.GHOST, False, True)
        assert stage.thoth.index.named("") == ["0" * 32]


def test_F26_text_is_the_same_after_it(tmp_path: Path) -> None:
    """Whatever is in a document, the index has it again as it was."""
    stage = Stage()
    index = SqliteIndex(tmp_path / "index.db")
    with Thoth(MemoryStore(now=lambda: stage.time), index, "bmc") as stage.thoth:
        info = stage.upload()
        texts = ['"', "a:b,c", "line\nbreak", "\0", "\udcff", "\u2028", "\x1b[31m", "\\", 1 << 70, [0.1], True, None]
        edit_dump(stage.thoth, info.id, [SetProperty((str(n),), each) for n, each in enumerate(texts)])
        stage.time += LONG
        assert stage.found() == []
        index.delete(info.id)
        assert [each.repaired for each in stage.mended()] == [True]
        assert index.get(info.id) == stage.document(info.id)


class TestUnfinished:
    def left(self, stage: Stage, tmp_path: Path) -> Path:
        """What a dead process has left in the store that the stage has from now on."""
        stage.thoth = Thoth(DirectoryStore(tmp_path, create=True), MemoryIndex(), "bmc")
        stage.upload()
        path = tmp_path / ".uploads" / f".thoth-{'5e' * 16}-{'0' * 32}.draft"
        path.write_bytes(b"half of a dump")
        stage.time = path.stat().st_mtime
        return path

    def test_it_is_told_and_no_problem(self, stage: Stage, tmp_path: Path) -> None:
        left = self.left(stage, tmp_path)
        (finding,) = unfinished(stage.thoth)
        assert (finding.kind, finding.identity, finding.name) == (Kind.UNFINISHED, None, f"/.uploads/{left.name}")
        assert f"holds {left.stat().st_blocks * 512} bytes" in finding.what
        assert finding.repaired or finding.kind in NO_PROBLEM

    def test_it_is_removed_when_it_is_old(self, stage: Stage, tmp_path: Path) -> None:
        left = self.left(stage, tmp_path)
        (finding,) = unfinished(stage.thoth)
        stage.time += UPLOADING - 1
        again = mend(stage.thoth, finding, stage.clock)
        assert (again.repaired, left.exists()) == (False, True)
        assert again.what.endswith("; not repaired: it is new, and may be gone on with soon; scrub again in an hour")
        stage.time += 2
        done = mend(stage.thoth, finding, stage.clock)
        assert (done.repaired, left.exists()) == (True, False)
        assert done.what.endswith(" (repaired: removed)")
        assert [*unfinished(stage.thoth)] == []
        gone = mend(stage.thoth, finding, stage.clock)
        assert (gone.repaired, "it is gone meanwhile" in gone.what) == (False, True)

    def test_one_that_is_gone_on_with_stays(self, stage: Stage, tmp_path: Path) -> None:
        left = self.left(stage, tmp_path)
        (finding,) = unfinished(stage.thoth)
        stage.time += LONG
        with tmp_path.joinpath(left).open("rb") as holder:
            fcntl.flock(holder, fcntl.LOCK_EX)
            assert not mend(stage.thoth, finding, stage.clock).repaired
            assert [*unfinished(stage.thoth)] == []
        assert left.exists()
