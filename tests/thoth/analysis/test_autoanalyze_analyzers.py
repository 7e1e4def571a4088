"""Rules that run an analyzer, for real."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.analysis import common_ground
from tests.support.arrivals import CORE, NOW, take
from tests.support.elfwriter import illumos_core
from tests.support.memory_index import MemoryIndex
from tests.support.memory_store import MemoryStore
from tests.support.mishaps import small_disk
from tests.support.rules import (
    FMRI,
    TICKET,
    TRIAGE,
    analyzer,
    arrive,
    fifo,
    record,
    results,
    told,
    whole,
    with_rules,
)
from thoth.analysis.rules import RuleSet, parse_rules
from thoth.analysis.verdicts import RuleResult, Verdict, settled
from thoth.edit import SetProperty, SetTicket, UnsetProperty, Unticket, edit_dump
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity
from thoth.store.names import analyzer_name


@pytest.fixture
def thoth() -> Thoth:
    return Thoth(MemoryStore(), MemoryIndex(), "bmc")


@pytest.fixture
def cache() -> Iterator[Path]:
    with common_ground() as ground:
        yield ground / "cache"


def test_it_runs_after_the_dump_was_taken_in(thoth: Thoth, cache: Path) -> None:
    analyzer(thoth, "fmri", 'thoth_set fmri "svc:/$THOTH_TYPE"')
    after = {**TICKET, "name": "a", "matches": ["properties.fmri=svc:/core"], "depends": ["f"]}
    autoanalyzer = with_rules(thoth, FMRI, TRIAGE, after, cache=cache)
    receipt = take(thoth, CORE)
    held = autoanalyzer.arrived(receipt.result, receipt.info)
    assert (results(held.verdicts), held.waiting) == ({"p": "set"}, True)
    assert "fmri" not in whole(thoth, held.identity).properties
    assert results(autoanalyzer.finish(held)) == {"f": "matched", "a": "set"}
    info = whole(thoth, held.identity)
    assert (info.properties["fmri"], info.document["ticket"]) == ("svc:/core", "OS-1")
    assert info.document["autoanalyzed"] == {
        "p": record(value="bmc"), "f": record(value={"properties.fmri": "svc:/core"}), "a": record(value="OS-1"),
    }  # fmt: skip


def test_one_that_fails(thoth: Thoth, cache: Path) -> None:
    analyzer(thoth, "fmri", "exit 3")
    after = {**TICKET, "name": "a", "depends": ["f"]}
    verdicts = arrive(thoth, with_rules(thoth, FMRI, after, cache=cache))
    reason = "fmri: exit status 3"
    assert told(verdicts) == {"f": ("failed", reason), "a": ("skipped", "depends on f, which failed")}
    info = whole(thoth, verdicts[0].identity)
    assert info.document["autoanalyzed"] == {"f": record(failed=reason)}
    analyzer(thoth, "fmri", "exit 0")
    again = with_rules(thoth, cache=cache)
    assert results(again.run(info.id)) == {"f": "matched", "a": "set"}
    assert whole(thoth, info.id).document["autoanalyzed"] == {"f": record(), "a": record(value="OS-1")}


def test_one_that_is_not_there_any_more(thoth: Thoth, cache: Path) -> None:
    analyzer(thoth, "fmri", "true")
    autoanalyzer = with_rules(thoth, FMRI, cache=cache)
    thoth.store.delete(analyzer_name("bmc", "fmri"))
    (verdict,) = arrive(thoth, autoanalyzer)
    assert verdict.result is RuleResult.FAILED
    assert (verdict.reason or "").startswith("there is no analyzer 'fmri'")


class TestWhatPeopleSetStays:
    """Whatever an analyzer that runs by a rule says."""

    SCRIPT = "thoth_set fmri new; thoth_set by.x 2; thoth_unset old; thoth_ticket OS-9"

    @pytest.fixture
    def identity(self, thoth: Thoth) -> Identity:
        analyzer(thoth, "fmri", self.SCRIPT)
        return take(thoth, CORE).info.id

    def test_a_ticket_and_properties(self, thoth: Thoth, cache: Path, identity: Identity) -> None:
        theirs = [SetTicket("OS-7"), SetProperty(("fmri",), "mine"), SetProperty(("old",), 1)]
        edit_dump(thoth, identity, theirs)
        reason = "others have changed properties.fmri, properties.old, ticket"
        assert told(with_rules(thoth, FMRI, cache=cache).run(identity)) == {"f": ("matched", reason)}
        info = whole(thoth, identity)
        assert (info.document["ticket"], info.properties) == ("OS-7", {"fmri": "mine", "old": 1, "by": {"x": 2}})
        assert info.document["autoanalyzed"]["f"] == record(value={"properties.by.x": 2})

    def test_what_the_rule_has_set_is_its_own(self, thoth: Thoth, cache: Path, identity: Identity) -> None:
        autoanalyzer = with_rules(thoth, FMRI, cache=cache)
        autoanalyzer.run(identity)
        analyzer(thoth, "fmri", "thoth_set fmri newer; thoth_unticket")
        edit_dump(thoth, identity, [SetProperty(("by", "x"), 3)])
        assert told(autoanalyzer.run(identity)) == {"f": ("matched", None)}
        info = whole(thoth, identity)
        assert (info.properties, "ticket" in info.document) == ({"fmri": "newer", "by": {"x": 3}}, False)
        assert info.document["autoanalyzed"]["f"] == record(
            value={"properties.fmri": "newer"}, replaced={"properties.by.x": 2}
        )

    def test_what_was_removed_is_not_set_again(self, thoth: Thoth, cache: Path, identity: Identity) -> None:
        autoanalyzer = with_rules(thoth, FMRI, cache=cache)
        autoanalyzer.run(identity)
        edit_dump(thoth, identity, [Unticket()])
        before = whole(thoth, identity)
        for _ in range(2):
            assert told(autoanalyzer.run(identity)) == {"f": ("matched", "others have changed ticket")}
        assert "ticket" not in whole(thoth, identity).document
        assert whole(thoth, identity).document["autoanalyzed"] == before.document["autoanalyzed"]

    @pytest.mark.parametrize("failing", [False, True])
    def test_nor_when_something_else_was_in_its_place_between(
        self, thoth: Thoth, cache: Path, identity: Identity, failing: bool
    ) -> None:
        autoanalyzer = with_rules(thoth, FMRI, cache=cache)
        autoanalyzer.run(identity)
        edit_dump(thoth, identity, [SetTicket("X-9"), SetProperty(("fmri",), "mine")])
        autoanalyzer.run(identity)
        edit_dump(thoth, identity, [Unticket(), UnsetProperty(("fmri",))])
        if failing:  # which changes nothing of what is remembered
            analyzer(thoth, "fmri", "kill $$")
            autoanalyzer.run(identity)
            analyzer(thoth, "fmri", self.SCRIPT)
        for _ in range(2):
            assert told(autoanalyzer.run(identity)) == {
                "f": ("matched", "others have changed properties.fmri, ticket")
            }
        info = whole(thoth, identity)
        assert ("ticket" in info.document, info.properties) == (False, {"by": {"x": 2}})

    def test_F36_a_person_who_is_faster_than_the_analyzer(
        self, thoth: Thoth, cache: Path, identity: Identity
    ) -> None:
        autoanalyzer = with_rules(thoth, FMRI, cache=cache)
        with fifo(cache.parent) as (path, written):
            analyzer(thoth, "fmri", f"echo >{path}; read -r _ <{path}; thoth_ticket OS-9")
            runner = threading.Thread(target=autoanalyzer.run, args=(identity,))
            runner.start()
            written()
            edit_dump(thoth, identity, [SetTicket("OS-7")])
            path.write_text("\n")
            runner.join(30)
        assert whole(thoth, identity).document["ticket"] == "OS-7"


def test_a_cache_that_is_full_is_a_failure_of_the_rule(thoth: Thoth, tmp_path: Path) -> None:
    """And of nothing else: the upload, or the pass of the collector, goes on."""
    analyzer(thoth, "fmri", "# " + "x" * 200_000)
    with small_disk(tmp_path / "small", "64k") as small:
        verdicts = arrive(thoth, with_rules(thoth, FMRI, cache=small / "cache"))
    ((result, reason),) = told(verdicts).values()
    assert result == "failed" and "No space left on device" in (reason or "")


def test_one_that_is_interrupted_is_not_recorded(thoth: Thoth, cache: Path) -> None:
    identity = take(thoth, CORE).info.id
    with fifo(cache.parent) as (path, written):
        analyzer(thoth, "fmri", f"echo >{path}; read -r _ <{path}")
        autoanalyzer = with_rules(thoth, FMRI, {**TICKET, "name": "a", "depends": ["f"]}, cache=cache)
        verdicts: list[Verdict] = []
        runner = threading.Thread(target=lambda: verdicts.extend(autoanalyzer.run(identity)))
        runner.start()
        written()
        autoanalyzer.cancel()
        runner.join(30)
    assert told(verdicts) == {
        "f": ("skipped", "was interrupted"),
        "a": ("skipped", "depends on f, which was not run"),
    }
    assert "autoanalyzed" not in whole(thoth, identity).document


def test_many_are_finished_at_a_time(thoth: Thoth, cache: Path) -> None:
    """Each of two waits for the other one."""
    held = []
    with fifo(cache.parent) as (path, _):
        script = (
            f"if [[ $(json pid <$THOTH_INFO) == 1 ]]; then echo >{path}; else read -r _ <{path}; fi; thoth_set ran 1"
        )
        analyzer(thoth, "fmri", script)
        autoanalyzer = with_rules(thoth, FMRI, cache=cache)
        for pid in (1, 2):
            receipt = take(thoth, illumos_core(pid))
            held.append(autoanalyzer.arrived(receipt.result, receipt.info))
        finished = list(autoanalyzer.finish_each(held, 2, lambda: True))
    assert [told(verdicts) for verdicts in finished] == [{"f": ("matched", None)}] * 2
    assert all(whole(thoth, each.identity).properties == {"ran": 1} for each in held)


def test_none_is_begun_any_more_when_time_is_up(thoth: Thoth, cache: Path) -> None:
    analyzer(thoth, "fmri", "true")
    autoanalyzer = with_rules(thoth, FMRI, cache=cache)
    receipt = take(thoth, CORE)
    held = autoanalyzer.arrived(receipt.result, receipt.info)
    assert list(autoanalyzer.finish_each([held], 1, lambda: False)) == [None]
    assert "autoanalyzed" not in whole(thoth, held.identity).document


def test_a_failure_before_it_keeps_it_from_running(thoth: Thoth, cache: Path) -> None:
    analyzer(thoth, "fmri", "thoth_set ran 1")
    identity = take(thoth, CORE).info.id
    edit_dump(thoth, identity, [SetProperty(("triage",), "a text")])
    autoanalyzer = with_rules(thoth, TRIAGE, {**FMRI, "depends": ["p"]}, cache=cache)
    assert results(autoanalyzer.run(identity)) == {"p": "failed", "f": "skipped"}
    assert "ran" not in whole(thoth, identity).properties


def test_a_purged_dump_has_nothing_to_analyze(thoth: Thoth, cache: Path) -> None:
    analyzer(thoth, "fmri", "true")
    info = DumpInfo({**take(thoth, CORE).info.document, "purged": NOW})
    rules = RuleSet.of(parse_rules(json.dumps([FMRI]).encode(), "x"))
    assert told(settled(rules.rules, info, {}, NOW)[1].values()) == {"f": ("skipped", "the dump was purged")}


def test_a_dump_that_was_removed_meanwhile(thoth: Thoth, cache: Path) -> None:
    analyzer(thoth, "fmri", "true")
    autoanalyzer = with_rules(thoth, FMRI, cache=cache)
    receipt = take(thoth, CORE)
    held = autoanalyzer.arrived(receipt.result, receipt.info)
    thoth.store.delete(f"/bmc/stor/thoth/{held.identity}/info.json")
    assert told(autoanalyzer.finish(held)) == {"f": ("failed", f"no such dump: {held.identity}")}
