"""Rules that are pending: what a killed upload has left is done by whoever meets the dump next, and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.arrivals import CORE, CUT, NOW, take
from tests.support.memory_index import MemoryIndex
from tests.support.rules import (
    FMRI,
    SECOND,
    TICKET,
    WatchedStore,
    analyzer,
    arrive,
    at_work,
    completed,
    counting,
    document,
    held,
    killed_before,
    results,
    told,
    whole,
    with_rules,
)
from thoth.analysis.autoanalyze import Autoanalyzer
from thoth.analysis.rule_run import LEFT_FOR
from thoth.analysis.stored_rules import read_rules, remove_rules
from thoth.edit import Unticket, edit_dump
from thoth.errors import IndexFailure, StoreError, StoreUnavailable
from thoth.library import Thoth
from thoth.model import DumpInfo, Result
from thoth.pending import RULES_BEGUN, RULES_PENDING, marked, pending_since, unmarked

NEVER = {**TICKET, "name": "never", "matches": ["cmd=nginx"]}


class TestCost:
    """How often the document is written. The first of them is that of the dump itself."""

    def of(self, thoth: Thoth, store: WatchedStore, *rules: Any) -> int:
        by = at_work(thoth, *rules)
        store.calls.clear()
        completed(thoth, by)
        return store.calls["put"]

    def test_without_rules_there_is_no_mark_and_no_other_write(self, thoth: Thoth, store: WatchedStore) -> None:
        assert self.of(thoth, store) == 1
        assert (RULES_PENDING in document(thoth), store.calls["list"]) == (False, 1)

    def test_the_change_that_a_rule_makes_takes_it_off(self, thoth: Thoth, store: WatchedStore) -> None:
        assert self.of(thoth, store, TICKET, NEVER) == 2
        assert (document(thoth)["ticket"], RULES_PENDING in document(thoth)) == ("OS-1", False)

    def test_where_no_rule_applies_it_is_one_write_more(self, thoth: Thoth, store: WatchedStore) -> None:
        assert self.of(thoth, store, NEVER) == 2
        assert document(thoth).keys().isdisjoint({"ticket", "autoanalyzed", RULES_PENDING})

    def test_the_record_of_the_last_analyzer_takes_it_off(
        self, thoth: Thoth, store: WatchedStore, ground: Path
    ) -> None:
        for name in ("fmri", "second"):
            analyzer(thoth, name, "true")
        by = at_work(thoth, FMRI, SECOND, {**SECOND, "name": "h", "matches": ["cmd=nginx"]}, cache=ground / "cache")
        store.calls.clear()
        assert results(completed(thoth, by)) == {"f": "matched", "g": "matched"}
        assert (store.calls["put"], RULES_PENDING in document(thoth)) == (5, False)  # two for each of them

    def test_a_dump_that_is_there_costs_nothing_more(self, thoth: Thoth, store: WatchedStore) -> None:
        completed(thoth, at_work(thoth, TICKET))
        by = at_work(thoth)
        store.calls.clear()
        take(thoth, CORE)
        alone = store.calls.copy()
        store.calls.clear()
        assert not completed(thoth, by)
        assert store.calls == alone


class TestKilled:
    def test_F30_before_the_rules_were_run(self, thoth: Thoth, store: WatchedStore) -> None:
        by = at_work(thoth, TICKET)
        first = take(thoth, CORE, rules=by.any_rules).info
        assert (pending_since(first), first.revision, "ticket" in first.document) == (NOW, 0, False)
        assert whole(thoth, first.id) == first
        assert told(completed(thoth, by)) == {"t": ("set", None)}
        after = whole(thoth, first.id)
        assert (after.document["ticket"], pending_since(after), after.revision) == ("OS-1", None, 1)
        assert not completed(thoth, by)
        assert whole(thoth, first.id) == after

    def test_F30_what_was_set_before_and_removed_by_somebody_is_not_set_again(
        self, thoth: Thoth, ground: Path
    ) -> None:
        times = counting(thoth, ground, "fmri")
        by = at_work(thoth, TICKET, FMRI, cache=ground / "cache")
        identity = held(thoth, by).identity  # and killed before the analyzer
        assert document(thoth)["ticket"] == "OS-1"
        edit_dump(thoth, identity, [Unticket()])
        assert results(completed(thoth, by)) == {"t": "kept", "f": "matched"}
        assert (document(thoth).keys().isdisjoint({"ticket", RULES_PENDING}), times()) == (True, 1)

    def test_F30_between_two_analyzers(self, thoth: Thoth, store: WatchedStore, ground: Path) -> None:
        """The first is not run again; the second is."""
        first, second = counting(thoth, ground, "fmri"), counting(thoth, ground, "second")
        after = {**TICKET, "depends": ["g", "f"]}
        by = at_work(thoth, FMRI, SECOND, after, cache=ground / "cache")
        dump = held(thoth, by)
        with killed_before(store, 4):  # begun, recorded; begun
            by.finish(dump)
        assert document(thoth)["autoanalyzed"].keys() == {"f"}
        reason = "was run before"
        later = at_work(thoth, cache=ground / "cache", later=LEFT_FOR + 60)
        assert told(completed(thoth, later)) == {"f": ("matched", reason), "g": ("matched", None), "t": ("set", None)}
        assert (first(), second(), RULES_PENDING in document(thoth)) == (1, 2, False)

    def test_F30_one_that_failed_keeps_others_from_running_still(
        self, thoth: Thoth, store: WatchedStore, ground: Path
    ) -> None:
        first, second = counting(thoth, ground, "fmri", "exit 3"), counting(thoth, ground, "second")
        other = {**SECOND, "name": "h"}
        by = at_work(thoth, FMRI, {**SECOND, "depends": ["f"]}, other, cache=ground / "cache")
        dump = held(thoth, by)
        with killed_before(store, 4):  # begun, recorded; begun
            by.finish(dump)
        assert document(thoth)["autoanalyzed"].keys() == {"f"}
        verdicts = told(completed(thoth, at_work(thoth, cache=ground / "cache", later=LEFT_FOR + 60)))
        assert verdicts["f"] == ("failed", "fmri: exit status 3")
        assert verdicts["g"] == ("skipped", "depends on f, which failed")
        assert verdicts["h"] == ("matched", None)
        assert (first(), second(), RULES_PENDING in document(thoth)) == (1, 2, False)

    def test_one_that_was_interrupted_is_left(self, thoth: Thoth, ground: Path) -> None:
        times = counting(thoth, ground, "fmri")
        by = at_work(thoth, FMRI, cache=ground / "cache")
        dump = held(thoth, by)
        by.cancel()
        assert results(by.finish(dump)) == {"f": "skipped"}
        assert (RULES_PENDING in document(thoth), times()) == (True, 0)
        assert results(completed(thoth, at_work(thoth, cache=ground / "cache"))) == {"f": "matched"}
        assert (RULES_PENDING in document(thoth), times()) == (False, 1)


class TestSeveral:
    def test_what_another_has_completed_is_not_run_again(self, thoth: Thoth, ground: Path) -> None:
        times = counting(thoth, ground, "fmri")
        one, other = (at_work(thoth, *rules, cache=ground / "cache") for rules in ([FMRI], []))
        first, second = held(thoth, one), held(thoth, other)
        assert first.pending == second.pending == NOW
        assert results(other.finish(second)) == {"f": "matched"}
        assert (one.finish(first), times()) == ((), 1)

    def test_a_better_dump_is_marked_and_analyzed_again(self, thoth: Thoth, ground: Path) -> None:
        """Also when the records of the cut one seem to come from the future."""
        times = counting(thoth, ground, "fmri")
        by = at_work(thoth, TICKET, FMRI, cache=ground / "cache")
        completed(thoth, by, CUT)
        replaced = take(thoth, CORE, rules=by.any_rules)
        assert replaced.result is Result.REPLACED
        assert (pending_since(replaced.info) or 0) > NOW
        assert results(completed(thoth, by)) == {"t": "kept", "f": "matched"}  # who stored it was killed
        assert (times(), RULES_PENDING in document(thoth)) == (2, False)

    def test_F34_a_better_dump_that_comes_while_the_cut_one_is_analyzed(
        self, thoth: Thoth, store: WatchedStore, ground: Path
    ) -> None:
        """Its mark stays, and what the analyzer said of the cut one is not recorded of it."""
        times = counting(thoth, ground, "fmri")
        by = at_work(thoth, FMRI, cache=ground / "cache")
        dump = held(thoth, by, CUT)

        def replaced() -> None:
            take(thoth, CORE, rules=by.any_rules)  # and who stored it was killed

        store.before_put = lambda: setattr(store, "before_put", replaced)
        by.finish(dump)
        assert document(thoth).keys() & {RULES_PENDING, RULES_BEGUN, "autoanalyzed"} == {RULES_PENDING}
        assert results(completed(thoth, by)) == {"f": "matched"}
        assert (times(), RULES_PENDING in document(thoth)) == (2, False)


class TestWhichRules:
    def test_of_chosen_ones_the_others_are_pending_still(self, thoth: Thoth) -> None:
        by = at_work(thoth, TICKET, {**TICKET, "name": "u", "ticket": "OS-2"})
        identity = take(thoth, CORE, rules=by.any_rules).info.id
        rules = read_rules(thoth)
        for names, pending in (["t"], True), (["t", "u"], False):
            chosen = Autoanalyzer(
                thoth, cache=Path("/nowhere"), environ={}, clock=lambda: NOW, say=pytest.fail, rules=rules.only(names)
            )
            assert results(chosen.run(identity)).keys() == set(names)
            assert (RULES_PENDING in document(thoth)) is pending

    def test_when_all_were_removed_there_is_nothing_to_do(self, thoth: Thoth) -> None:
        take(thoth, CORE, rules=at_work(thoth, TICKET).any_rules)
        remove_rules(thoth, ["t"])
        assert RULES_PENDING in document(thoth)
        assert not completed(thoth, at_work(thoth))
        assert RULES_PENDING not in document(thoth)

    def test_none_that_can_run_is_none(self, thoth: Thoth) -> None:
        thoth.store.put("/bmc/stor/thoth/autoanalyzers/broken.json", b"{")
        said: list[str] = []
        assert not with_rules(thoth, said=said).any_rules()
        assert len(said) == 1

    def test_F08_rules_that_cannot_be_read_may_be_some(self, thoth: Thoth, store: WatchedStore) -> None:
        said: list[str] = []
        by = with_rules(thoth, TICKET, said=said)
        store.failure = StoreError("no rules")
        assert by.any_rules()
        store.failure = None
        first = held(thoth, by)
        assert (first.verdicts, first.waiting, first.pending) == ((), False, NOW)
        assert not by.run(first.identity)
        assert (RULES_PENDING in document(thoth), len(said)) == (True, 1)
        assert results(completed(thoth, at_work(thoth))) == {"t": "set"}


class TestFailures:
    @pytest.mark.parametrize("rules", [[TICKET], [NEVER]])
    def test_F08_a_mark_that_cannot_be_taken_off_is_told(
        self, thoth: Thoth, store: WatchedStore, rules: list[Any]
    ) -> None:
        said: list[str] = []
        by = with_rules(thoth, *rules, said=said)
        info = take(thoth, CORE, rules=by.any_rules).info

        def down() -> None:
            raise StoreUnavailable("store: is gone")

        store.before_put = down
        dump = by.arrived(Result.STORED, info)
        assert dump.pending == NOW
        assert [*said, *(each.reason for each in dump.verdicts)] in (
            ["store: is gone"],
            [f"{info.id}: autoanalyzers: store: is gone"],
        )
        by.arrived(Result.PRESENT, whole(thoth, info.id))
        assert RULES_PENDING not in document(thoth)

    def test_what_the_index_was_not_told_is_looked_at_again(self, thoth: Thoth) -> None:
        class Down(MemoryIndex):
            def put(self, info: DumpInfo) -> bool:
                raise IndexFailure("index: is gone")

        by = at_work(thoth, TICKET)
        info = take(thoth, CORE, rules=by.any_rules).info
        away = Thoth(thoth.store, Down(), "bmc")
        dump = by.arrived(Result.STORED, info, away)
        assert (results(dump.verdicts), dump.pending) == ({"t": "failed"}, NOW)
        assert document(thoth)["ticket"] == "OS-1"  # the index is healed by who meets it


class TestMark:
    def test_a_foreign_value_is_none(self) -> None:
        for value in (None, True, "1700000000", [1.0], {}, 10**400, 1e300):
            info = DumpInfo({"id": "0" * 32, RULES_PENDING: value})
            assert (pending_since(info), unmarked(info) is info) == (None, True)

    def test_it_is_later_than_all_before(self) -> None:
        records = {"a": {"time": 7.5}, "b": {"time": "9"}, "c": 1}
        info = DumpInfo({"id": "0" * 32, "revision": 3, "autoanalyzed": records})
        assert 7.5 < (pending_since(marked(info, 5.0)) or 0) < 7.6
        assert pending_since(marked(info, 8)) == 8
        assert marked(info, 8).revision == 3
        again = marked(marked(info, 8), 8)
        assert (pending_since(again) or 0) > 8


def test_arrive_still_runs_what_has_no_mark(thoth: Thoth) -> None:
    """For who takes dumps in without saying whether there are rules."""
    assert results(arrive(thoth, with_rules(thoth, TICKET))) == {"t": "set"}
