"""Dumps held against rules: as they arrive, of which of them, in a dry run, and what it costs."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from tests.support.arrivals import CORE, CUT, NOW, take
from tests.support.elfwriter import illumos_core
from tests.support.rules import (
    FMRI,
    TICKET,
    TRIAGE,
    WatchedStore,
    analyzer,
    arrive,
    record,
    results,
    whole,
    with_rules,
)
from thoth.analysis.autoanalyze import concerned
from thoth.analysis.rules import RuleSet, parse_rules
from thoth.analysis.verdicts import RuleResult, Verdict, settled
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity, Result
from thoth.query import parse


class TestArrival:
    def test_a_ticket_and_a_property_in_one_change(self, thoth: Thoth, store: WatchedStore) -> None:
        autoanalyzer = with_rules(thoth, TICKET, TRIAGE)
        verdicts = arrive(thoth, autoanalyzer)
        info = whole(thoth, verdicts[0].identity)
        assert verdicts == (
            Verdict(info.id, "p", "property triage.by", RuleResult.SET),
            Verdict(info.id, "t", "ticket OS-1", RuleResult.SET),
        )
        assert info.document["ticket"] == "OS-1"
        assert info.properties["triage"] == {"by": "bmc"}
        assert info.document["autoanalyzed"] == {"t": record(value="OS-1"), "p": record(value="bmc")}
        assert info.revision == 1

    def test_each_rule_sees_what_those_before_it_did(self, thoth: Thoth) -> None:
        after = {**TRIAGE, "name": "a", "matches": ["ticket=OS-1"], "depends": ["t"]}
        never = {**TRIAGE, "name": "b", "matches": ["ticket=undefined"], "depends": ["t"]}
        verdicts = arrive(thoth, with_rules(thoth, TICKET, after, never))
        assert results(verdicts) == {"t": "set", "a": "set"}

    @pytest.mark.parametrize(
        ("result", "held"),
        [(result, result.value in ("stored", "replaced", "stored-unindexed")) for result in Result],
        ids=str,
    )
    def test_only_what_was_stored_is_held_against_them(self, thoth: Thoth, result: Result, held: bool) -> None:
        info = take(thoth, CORE).info
        verdicts = with_rules(thoth, TICKET).arrived(result, info).verdicts
        assert bool(verdicts) is held
        assert whole(thoth, info.id).document.get("ticket") == ("OS-1" if held else None)

    def test_a_dump_that_takes_the_place_of_a_cut_one_is_held_again(self, thoth: Thoth) -> None:
        whole_one = {**TICKET, "matches": ["complete=true"]}
        autoanalyzer = with_rules(thoth, whole_one, TRIAGE)
        assert results(arrive(thoth, autoanalyzer, CUT)) == {"p": "set"}
        assert results(arrive(thoth, autoanalyzer, CORE)) == {"p": "kept", "t": "set"}


class TestCost:
    def test_without_rules_it_is_one_look_at_the_first_dump(self, thoth: Thoth, store: WatchedStore) -> None:
        infos = [take(thoth, illumos_core(pid)).info for pid in range(20)]
        store.calls.clear()
        autoanalyzer = with_rules(thoth)
        assert not store.calls
        for info in infos:
            held = autoanalyzer.arrived(Result.STORED, info)
            assert (held.verdicts, held.waiting) == ((), False)
        assert store.calls == {"list": 1}

    def test_rules_that_do_not_apply_cost_no_call(self, thoth: Thoth, store: WatchedStore) -> None:
        analyzer(thoth, "fmri", "true")
        autoanalyzer = with_rules(thoth, {**TICKET, "matches": ["cmd=nginx"]}, {**FMRI, "matches": ["type=crash"]})
        arrive(thoth, autoanalyzer)
        for pid in range(5):
            info = take(thoth, illumos_core(pid)).info
            store.calls.clear()
            assert not autoanalyzer.arrived(Result.STORED, info).waiting
            assert not store.calls

    def test_those_that_do_cost_one_change(self, thoth: Thoth, store: WatchedStore) -> None:
        many = [{**TICKET, "name": f"r{n}", "ticket": "OS-1"} for n in range(20)]
        autoanalyzer = with_rules(thoth, *many)
        info = take(thoth, CORE).info
        autoanalyzer.arrived(Result.PRESENT, info)
        store.calls.clear()
        autoanalyzer.arrived(Result.STORED, info)
        assert store.calls == {"list": 1, "get": 20 + 1, "put": 1}

    def test_many_threads_read_the_rules_once(self, thoth: Thoth, store: WatchedStore) -> None:
        autoanalyzer = with_rules(thoth, TICKET)
        infos = [take(thoth, illumos_core(pid)).info for pid in range(8)]
        store.calls.clear()
        barrier, looked = threading.Barrier(9), threading.Event()
        store.before_list = lambda: looked.wait(10)

        def one(info: DumpInfo) -> None:
            barrier.wait(10)
            autoanalyzer.arrived(Result.STORED, info)

        threads = [threading.Thread(target=one, args=(info,)) for info in infos]
        for thread in threads:
            thread.start()
        barrier.wait(10)
        looked.set()
        for thread in threads:
            thread.join(30)
        assert store.calls == {"list": 1, "get": 1 + 8, "put": 8}
        assert all(whole(thoth, info.id).document["ticket"] == "OS-1" for info in infos)


class TestConcerned:
    """Of many dumps only those are read from the store that the index says a rule applies to."""

    @pytest.fixture
    def names(self, thoth: Thoth) -> list[Identity]:
        cmds = ["utmpd", "bc", "nginx", "utmpd", "bc"]
        return [take(thoth, illumos_core(n, cmd=cmd), mtime=100.0 * n).info.id for n, cmd in enumerate(cmds)]

    def of(self, thoth: Thoth, *words: str, rules: Any = (TRIAGE,), now: float = NOW) -> list[Identity]:
        in_order = RuleSet.of(parse_rules(json.dumps(list(rules)).encode(), "x"))
        return concerned(thoth, parse(words, now=now)[0], in_order, now)

    def test_both_hold(self, thoth: Thoth, names: list[Identity]) -> None:
        assert self.of(thoth, "id=*") == [names[0], names[3]]
        assert self.of(thoth, "pid=3") == [names[3]]
        assert self.of(thoth, "pid=1") == []

    def test_of_several_rules_in_the_order_of_the_dumps(self, thoth: Thoth, names: list[Identity]) -> None:
        rules = [TRIAGE, {**TICKET, "matches": ["cmd=nginx"]}, {**FMRI, "matches": ["cmd=n*"]}]
        assert self.of(thoth, "id=*", rules=rules) == [names[0], names[2], names[3]]

    def test_a_limit_is_one_of_them(self, thoth: Thoth, names: list[Identity]) -> None:
        rules = [TRIAGE, {**TICKET, "matches": ["cmd=bc"]}]
        assert self.of(thoth, "id=*", "limit=2", rules=rules) == names[:2]
        assert self.of(thoth, "pid=3", "limit=1") == [names[3]]

    def test_ages_are_counted_from_now(self, thoth: Thoth, names: list[Identity]) -> None:
        newer = {**TICKET, "matches": ["mtime=250"]}
        assert self.of(thoth, "id=*", rules=[newer], now=500.0) == names[3:]

    def test_a_rule_that_only_what_another_one_sets_makes_apply(self, thoth: Thoth, names: list[Identity]) -> None:
        second = {**TICKET, "matches": ["properties.triage.by=bmc"], "depends": ["p"]}
        assert self.of(thoth, "id=*", rules=[TRIAGE, second]) == [names[0], names[3]]


class TestDryRun:
    def test_it_tells_what_would_be_done(self, thoth: Thoth, store: WatchedStore) -> None:
        info = take(thoth, CORE).info
        rules = RuleSet.of(parse_rules(json.dumps([TICKET, TRIAGE, FMRI]).encode(), "x"))
        store.calls.clear()
        _, verdicts = settled(rules.rules, info, {}, NOW)
        assert results(verdicts.values()) == {"p": "set", "t": "set", "f": "matched"}
        assert not store.calls and "ticket" not in info.document

    def test_nothing_to_do_is_the_same_document(self, thoth: Thoth) -> None:
        info = take(thoth, CORE).info
        assert settled([], info, {}, NOW)[0] is info
