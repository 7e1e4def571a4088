"""Rules that run an analyzer, for real."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.analysis import common_ground
from tests.support.arrivals import CORE, NOW, take
from tests.thoth.analysis.test_autoanalyze import (
    FMRI,
    TICKET,
    TRIAGE,
    analyzer,
    arrive,
    record,
    results,
    told,
    whole,
    with_rules,
)
from thoth.analysis.autoanalyze import RuleResult, settled
from thoth.analysis.rules import RuleSet, parse_rules
from thoth.edit import SetProperty, edit_dump
from thoth.index.memory import MemoryIndex
from thoth.library import Thoth
from thoth.model import DumpInfo
from thoth.store.memory import MemoryStore
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
    assert results(autoanalyzer.finish(held)) == {"p": "set", "f": "matched", "a": "set"}
    info = whole(thoth, held.identity)
    assert (info.properties["fmri"], info.document["ticket"]) == ("svc:/core", "OS-1")
    assert info.document["autoanalyzed"] == {
        "p": record(value="bmc"), "f": record(), "a": record(value="OS-1"),
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
