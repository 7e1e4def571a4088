"""Dumps held against rules: what goes wrong with rules, store, index and documents."""

from __future__ import annotations

import json

import pytest

from tests.support.arrivals import CORE, NOW, take
from tests.support.memory_index import MemoryIndex
from tests.support.rules import (
    TICKET,
    TRIAGE,
    WatchedStore,
    record,
    results,
    told,
    whole,
    with_rules,
)
from thoth.analysis.rules import RuleSet, parse_rules
from thoth.analysis.verdicts import settled
from thoth.edit import SetProperty, SetTicket, UnsetProperty, edit_dump
from thoth.errors import IndexFailure, NoSuchDump, StoreError, StoreUnavailable
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity, Json, Result


class TestFailures:
    @pytest.fixture
    def identity(self, thoth: Thoth) -> Identity:
        return take(thoth, CORE).info.id

    def test_one_that_fails_is_recorded_and_keeps_others_from_running(self, thoth: Thoth, identity: Identity) -> None:
        edit_dump(thoth, identity, [SetProperty(("triage",), "a text")])
        second = {**TICKET, "name": "q", "depends": ["p"]}
        third = {**TICKET, "name": "r", "depends": ["q"], "ticket": "OS-3"}
        autoanalyzer = with_rules(thoth, TRIAGE, second, third, {**TICKET, "name": "z", "ticket": "OS-9"})
        verdicts = told(autoanalyzer.run(identity))
        reason = verdicts["p"][1]
        assert reason is not None and "'triage' is no object" in reason
        assert verdicts == {
            "p": ("failed", reason),
            "q": ("skipped", "depends on p, which failed"),
            "r": ("skipped", "depends on q, which was not run"),
            "z": ("set", None),
        }
        document = whole(thoth, identity).document
        assert document["autoanalyzed"] == {"p": record(failed=reason), "z": record(value="OS-9")}
        edit_dump(thoth, identity, [UnsetProperty(("triage",)), SetTicket("OS-8")])
        assert results(autoanalyzer.run(identity)) == {"p": "set", "q": "kept", "r": "kept", "z": "kept"}
        assert whole(thoth, identity).document["autoanalyzed"]["p"] == record(value="bmc")

    def test_one_that_does_not_apply_keeps_nobody_from_running(self, thoth: Thoth, identity: Identity) -> None:
        autoanalyzer = with_rules(thoth, {**TRIAGE, "matches": ["cmd=x"]}, {**TICKET, "depends": ["p"]})
        assert results(autoanalyzer.run(identity)) == {"t": "set"}

    def test_the_index(self, thoth: Thoth, identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
        class DeadIndex(MemoryIndex):
            def put(self, info: DumpInfo) -> bool:
                raise IndexFailure("the index is gone")

        without = Thoth(thoth.store, DeadIndex(), "bmc")
        current = thoth.stored_info(identity)
        assert current is not None
        held = with_rules(without, TICKET).arrived(Result.STORED_UNINDEXED, current[0])
        assert told(held.verdicts) == {
            "t": ("failed", "is stored, but not indexed: the index is gone; 'thoth index' does it")
        }
        changed = thoth.stored_info(identity)
        assert changed is not None and changed[0].document["ticket"] == "OS-1"
        thoth.store.put(f"/bmc/stor/thoth/{identity}/info.json", current[0].to_json().encode())
        with pytest.raises(IndexFailure, match=f"{identity}: is stored, but not indexed: the index is gone"):
            with_rules(without, TICKET).run(identity)

    def test_the_store(self, thoth: Thoth, store: WatchedStore, identity: Identity) -> None:
        autoanalyzer = with_rules(thoth, TICKET)
        info = whole(thoth, identity)
        autoanalyzer.arrived(Result.STORED, DumpInfo({**info.document, "type": "crash"}))
        store.failure = StoreUnavailable("store: read-only")
        assert told(autoanalyzer.arrived(Result.STORED, info).verdicts) == {"t": ("failed", "store: read-only")}
        with pytest.raises(StoreUnavailable):
            autoanalyzer.run(identity)

    def test_a_store_that_takes_nothing_any_more_ends_a_run(
        self, thoth: Thoth, store: WatchedStore, identity: Identity
    ) -> None:
        """It is no verdict on one dump of many: each other one would fail, too."""
        autoanalyzer = with_rules(thoth, TICKET)

        def break_down() -> None:
            raise StoreUnavailable("store: read-only")

        store.before_put = break_down
        with pytest.raises(StoreUnavailable):
            autoanalyzer.run(identity)

    def test_a_dump_that_is_not_there(self, thoth: Thoth) -> None:
        with pytest.raises(NoSuchDump):
            with_rules(thoth, TICKET).run(Identity("0" * 32))

    def test_broken_rules_are_told_once_and_the_others_run(self, thoth: Thoth, identity: Identity) -> None:
        thoth.store.put("/bmc/stor/thoth/autoanalyzers/bad.json", b"{\x1b")
        said: list[str] = []
        autoanalyzer = with_rules(thoth, TICKET, said=said)
        for _ in range(3):
            assert results(autoanalyzer.run(identity)).keys() == {"t"}
        (line,) = said
        assert line.startswith("autoanalyzer bad: cannot run: in the store: not JSON: ") and line.isprintable()

    def test_of_many_broken_rules_ten_are_told(self, thoth: Thoth, identity: Identity) -> None:
        for n in range(15):
            thoth.store.put(f"/bmc/stor/thoth/autoanalyzers/r{n}.json", b"{")
        said: list[str] = []
        with_rules(thoth, said=said).run(identity)
        assert (len(said), said[-1]) == (11, "autoanalyzers: 5 more cannot run")

    def test_rules_that_cannot_be_read_at_all(self, thoth: Thoth, store: WatchedStore, identity: Identity) -> None:
        said: list[str] = []
        autoanalyzer = with_rules(thoth, TICKET, said=said)
        info = whole(thoth, identity)
        store.failure = StoreError("autoanalyzers: I/O error")
        for _ in range(3):
            assert not autoanalyzer.arrived(Result.STORED, info).verdicts
        assert said == [
            "autoanalyzers: autoanalyzers: I/O error; what arrives is held against the rules when it is met again"
        ]

    @pytest.mark.parametrize("junk", [7, [], "x", {"t": 7}, {"t": {"set": {"ticket": 1}, "version": "x"}}, {"x": []}])
    def test_a_document_with_records_that_are_none(self, thoth: Thoth, identity: Identity, junk: Json) -> None:
        current = thoth.stored_info(identity)
        assert current is not None
        document = {**current[0].document, "autoanalyzed": junk, "properties": None}
        thoth.store.put(f"/bmc/stor/thoth/{identity}/info.json", json.dumps(document).encode())
        assert results(with_rules(thoth, TICKET, TRIAGE).run(identity)) == {"t": "set", "p": "set"}
        assert whole(thoth, identity).document["autoanalyzed"]["t"] == record(value="OS-1")


class TestHostileDocuments:
    def test_properties_that_are_none(self, thoth: Thoth) -> None:
        info = DumpInfo({**take(thoth, CORE).info.document, "properties": 7, "ticket": {"x": [1]}})
        rules = RuleSet.of(parse_rules(json.dumps([TICKET, TRIAGE]).encode(), "x"))
        verdicts = settled(rules.rules, info, {}, NOW)[1]
        assert results(verdicts.values()) == {"p": "failed", "t": "kept"}

    def test_what_a_reason_shows_of_them_is_short(self, thoth: Thoth) -> None:
        info = DumpInfo({**take(thoth, CORE).info.document, "ticket": "x" * 100_000})
        rules = RuleSet.of(parse_rules(json.dumps([TICKET]).encode(), "x"))
        (verdict,) = settled(rules.rules, info, {}, NOW)[1].values()
        assert verdict.reason == f"has {'x' * 197}..."
