"""Dumps held against rules: what is set and what stays, what is recorded, and what it costs."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.arrivals import CORE, CUT, NOW, take
from tests.support.elfwriter import illumos_core
from thoth.analysis.autoanalyze import Autoanalyzer, concerned
from thoth.analysis.rules import RuleSet, parse_rules
from thoth.analysis.stored_rules import upload_rules
from thoth.analysis.verdicts import RuleResult, Verdict, settled
from thoth.config import environment
from thoth.edit import SetProperty, SetTicket, UnsetProperty, Unticket, edit_dump
from thoth.errors import IndexFailure, NoSuchDump, StoreError, StoreUnavailable
from thoth.index.memory import MemoryIndex
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity, Json, Result
from thoth.query import parse
from thoth.store.memory import MemoryStore
from thoth.store.names import analyzer_name

TICKET = {"name": "t", "version": 1, "matches": ["type=core"], "ticket": "OS-1"}
TRIAGE = {"name": "p", "version": 1, "matches": ["cmd=utmpd"], "property": {"name": "triage.by", "value": "bmc"}}
FMRI = {"name": "f", "version": 1, "matches": ["type=core"], "analyzer": "fmri"}


class WatchedStore(MemoryStore):
    """Counts the calls that reach it; ``before_put`` is done once, before the next small object is written."""

    def __init__(self) -> None:
        super().__init__(now=lambda: NOW)
        self.calls: Counter[str] = Counter()
        self.before_put: Callable[[], object] | None = None
        self.before_list: Callable[[], object] = lambda: None
        self.failure: StoreError | None = None

    def _called(self, name: str) -> None:
        self.calls[name] += 1
        if self.failure is not None:
            raise self.failure

    def get(self, name: str) -> tuple[bytes, str]:
        self._called("get")
        return super().get(name)

    def list(self, name: str, *, most: int | None = None) -> Any:
        self._called("list")
        self.before_list()
        return super().list(name, most=most)

    def stat(self, name: str) -> Any:
        self._called("stat")
        return super().stat(name)

    def put(self, name: str, data: bytes, *, if_match: str | None = None) -> str:
        self._called("put")
        before, self.before_put = self.before_put, None
        if before:
            before()
        return super().put(name, data, if_match=if_match)


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore()


@pytest.fixture
def thoth(store: WatchedStore) -> Thoth:
    return Thoth(store, MemoryIndex(), "bmc")


def with_rules(thoth: Thoth, *documents: Any, said: list[str] | None = None, cache: Path = Path("/nowhere")) -> Any:
    """An autoanalyzer whose store has these rules; what it says goes into ``said``, or has to be nothing."""
    if documents:
        upload_rules(thoth, parse_rules(json.dumps(documents).encode(), "x"))
    say = pytest.fail if said is None else said.append
    return Autoanalyzer(thoth, cache=cache, environ=environment(), clock=lambda: NOW, say=say)


def analyzer(thoth: Thoth, name: str, script: str) -> None:
    thoth.store.put(analyzer_name("bmc", name), script.encode())


def whole(thoth: Thoth, identity: Identity) -> DumpInfo:
    """The dump's document, of which store and index say the same."""
    found = thoth.stored_info(identity)
    assert found is not None
    assert thoth.index.get(identity) == found[0]
    return found[0]


def told(verdicts: Any) -> dict[str, tuple[str, str | None]]:
    return {each.rule: (each.result.value, each.reason) for each in verdicts}


def results(verdicts: Any) -> dict[str, str]:
    return {each.rule: each.result.value for each in verdicts}


def arrive(thoth: Thoth, held_by: Autoanalyzer, data: bytes = CORE) -> tuple[Verdict, ...]:
    receipt = take(thoth, data)
    held = held_by.arrived(receipt.result, receipt.info)
    return held_by.finish(held) if held.waiting else held.verdicts


def record(version: int = 1, value: Json = None, **more: Json) -> dict[str, Json]:
    return {"version": version, "set": value, "time": NOW, **more}


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


class TestWhatPeopleSetStays:
    @pytest.fixture
    def identity(self, thoth: Thoth) -> Identity:
        return take(thoth, CORE).info.id

    def test_a_ticket_and_a_property(self, thoth: Thoth, identity: Identity) -> None:
        edit_dump(thoth, identity, [SetTicket("OS-7"), SetProperty(("triage", "by"), {"x": 1})])
        assert told(with_rules(thoth, TICKET, TRIAGE).run(identity)) == {
            "t": ("kept", "has OS-7"),
            "p": ("kept", 'has {"x":1}'),
        }
        info = whole(thoth, identity)
        assert (info.document["ticket"], info.properties["triage"]) == ("OS-7", {"by": {"x": 1}})
        assert info.document["autoanalyzed"] == {"t": record(), "p": record()}

    def test_also_when_it_is_what_the_rule_would_set(self, thoth: Thoth, identity: Identity) -> None:
        edit_dump(thoth, identity, [SetTicket("OS-1")])
        assert told(with_rules(thoth, TICKET).run(identity)) == {"t": ("kept", "has OS-1 already")}
        assert told(with_rules(thoth, {**TICKET, "version": 2, "ticket": "OS-2"}).run(identity)) == {
            "t": ("kept", "has OS-1")
        }

    def test_what_the_rule_itself_set_gives_way_to_its_next_version(self, thoth: Thoth, identity: Identity) -> None:
        with_rules(thoth, TICKET, TRIAGE).run(identity)
        newer = {**TRIAGE, "version": 2, "property": {"name": "triage.by", "value": ["rm"]}}
        again = with_rules(thoth, {**TICKET, "version": 2, "ticket": "OS-2"}, newer).run(identity)
        assert results(again) == {"t": "set", "p": "set"}
        info = whole(thoth, identity)
        assert (info.document["ticket"], info.properties["triage"]) == ("OS-2", {"by": ["rm"]})
        assert info.document["autoanalyzed"]["t"] == record(2, "OS-2")

    def test_what_a_person_put_in_its_place_does_not(self, thoth: Thoth, identity: Identity) -> None:
        with_rules(thoth, TICKET).run(identity)
        edit_dump(thoth, identity, [SetTicket("OS-7")])
        newer = {**TICKET, "version": 2, "ticket": "OS-2"}
        assert told(with_rules(thoth, newer).run(identity)) == {"t": ("kept", "has OS-7")}
        # It is theirs now, and stays theirs when it becomes what the rule had set.
        edit_dump(thoth, identity, [SetTicket("OS-1")])
        assert told(with_rules(thoth).run(identity)) == {"t": ("kept", "has OS-1")}

    def test_what_another_rule_set_stays_too(self, thoth: Thoth, identity: Identity) -> None:
        other = {**TICKET, "name": "u", "ticket": "OS-2"}
        assert told(with_rules(thoth, TICKET, other).run(identity)) == {"t": ("set", None), "u": ("kept", "has OS-1")}

    def test_what_a_person_removed_is_not_set_again(self, thoth: Thoth, identity: Identity) -> None:
        with_rules(thoth, TICKET, TRIAGE).run(identity)
        edit_dump(thoth, identity, [Unticket(), UnsetProperty(("triage", "by"))])
        before = whole(thoth, identity)
        for _ in range(2):
            kept = ("kept", "what this rule had set was removed")
            assert told(with_rules(thoth).run(identity)) == {"t": kept, "p": kept}
            assert whole(thoth, identity) == before
        another = {**TICKET, "version": 2, "ticket": "OS-2"}
        assert results(with_rules(thoth, another).run(identity))["t"] == "set"

    def test_an_empty_text_is_a_value_too(self, thoth: Thoth, identity: Identity) -> None:
        edit_dump(thoth, identity, [SetProperty(("triage", "by"), "")])
        assert told(with_rules(thoth, TRIAGE).run(identity)) == {"p": ("kept", "has ")}

    @pytest.mark.parametrize("action", [{"ticket": "OS-1"}, {"property": {"name": "n", "value": True}}])
    def test_a_second_run_changes_nothing(self, thoth: Thoth, identity: Identity, action: dict[str, Json]) -> None:
        document = {"name": "t", "version": 1, "matches": ["type=core"], **action}
        with_rules(thoth, document).run(identity)
        before = whole(thoth, identity)
        later = Autoanalyzer(thoth, cache=Path("/nowhere"), environ={}, clock=lambda: NOW + 99, say=pytest.fail)
        assert told(later.run(identity)) == {"t": ("kept", "was set by this rule before")}
        assert whole(thoth, identity) == before

    def test_F36_a_person_who_is_faster_by_a_moment(
        self, thoth: Thoth, store: WatchedStore, identity: Identity
    ) -> None:
        autoanalyzer = with_rules(thoth, TICKET, TRIAGE)
        store.before_put = lambda: edit_dump(thoth, identity, [SetTicket("OS-7")])
        assert told(autoanalyzer.run(identity)) == {"t": ("kept", "has OS-7"), "p": ("set", None)}
        info = whole(thoth, identity)
        assert (info.document["ticket"], info.revision) == ("OS-7", 2)

    def test_F36_people_and_rules_at_the_same_time(self, thoth: Thoth, identity: Identity) -> None:
        """Whoever comes first: a ticket of a person is there at the end, and no property is lost."""
        autoanalyzer = with_rules(thoth, TICKET, TRIAGE)
        barrier, rounds = threading.Barrier(3), 20

        def person(name: str) -> None:
            for n in range(rounds):
                barrier.wait(10)
                edit_dump(thoth, identity, [SetTicket(f"{name}-{n}"), SetProperty((f"{name}{n}",), n)])

        def rules() -> None:
            for _ in range(rounds):
                barrier.wait(10)
                autoanalyzer.run(identity)

        threads = [threading.Thread(target=person, args=(name,)) for name in ("x", "y")]
        threads.append(threading.Thread(target=rules))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        info = whole(thoth, identity)
        assert info.document["ticket"] in (f"x-{rounds - 1}", f"y-{rounds - 1}")
        assert len(info.properties) == 2 * rounds + 1


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
