"""Which dumps go, and which stay in any case."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.arrivals import NOW, objects, whole
from tests.thoth.purge.scene import ALL, DAY, OLD, listed, put, verdicts
from thoth.edit import revise
from thoth.errors import BadDocument, StoreUnavailable, ThothError
from thoth.index.wrappers import DryRunIndex
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity
from thoth.purge import Reason, Rules, candidates, known_time, purge_dump
from thoth.query import Equals, Glob, Newer
from thoth.store.base import ObjectStat
from thoth.store.wrappers import DryRun, Passing


class TestWhatIsAskedFor:
    def test_age_is_that_of_the_dump(self, thoth: Thoth) -> None:
        old = put(thoth, 1, OLD)
        put(thoth, 2, NOW - 89 * DAY)
        assert verdicts(thoth, ALL) == {old: None}

    def test_size_is_that_of_all_its_objects_and_has_to_be_larger(self, thoth: Thoth) -> None:
        put(thoth, 1, size=20_000)
        large = put(thoth, 2, size=20_001)
        assert verdicts(thoth, Rules(over=20_000)) == {large: None}

    def test_the_size_of_a_document_of_the_original_is_asked_of_the_store(self, thoth: Thoth) -> None:
        there, gone = put(thoth, 1, size=20_001), put(thoth, 2, size=20_002)
        for identity in (there, gone):
            revise(thoth, identity, lambda info: info.without("size"))
        thoth.store.delete(f"/bmc/stor/thoth/{gone}/core")
        assert {each.info.id: each.size for each in listed(thoth, ALL)} == {there: 20_001, gone: 0}
        assert verdicts(thoth, Rules(over=20_000)) == {there: None}

    def test_all_rules_have_to_ask_for_it(self, thoth: Thoth) -> None:
        both = put(thoth, 1, OLD, 30_000, zone="a")
        put(thoth, 2, OLD, 16_384, zone="a")
        put(thoth, 3, NOW, 30_000, zone="a")
        put(thoth, 4, OLD, 30_000, zone="b")
        rules = Rules((Equals(("zone",), "a"),), ALL.before, 20_000)
        assert verdicts(thoth, rules) == {both: None}
        assert len(verdicts(thoth, Rules())) == 4

    def test_unknown_time_first_then_oldest_first(self, thoth: Thoth) -> None:
        names = [put(thoth, 1, OLD), put(thoth, 2, OLD - 1), put(thoth, 3, OLD, time=None)]
        assert list(verdicts(thoth, ALL)) == list(verdicts(thoth, Rules())) == [names[2], names[1], names[0]]

    def test_what_is_no_longer_asked_for_when_it_is_its_turn_stays(self, thoth: Thoth) -> None:
        identity = put(thoth, zone="a")
        rules = replace(ALL, wanted=(Equals(("zone",), "a"),))
        assert verdicts(thoth, rules) == {identity: None}
        revise(thoth, identity, lambda info: info.changed(zone="b"))
        assert purge_dump(thoth, identity, rules, now=NOW) is None
        whole(thoth, identity)

    def test_one_that_cannot_be_examined_does_not_hide_the_others(self, thoth: Thoth) -> None:
        broken, good = put(thoth, 1, dump="/x/"), put(thoth, 2)
        failures: list[tuple[Identity, ThothError]] = []
        found = list(candidates(thoth, ALL, lambda identity, error: failures.append((identity, error))))
        assert [each.info.id for each in found] == [good]
        assert [(identity, type(error)) for identity, error in failures] == [(broken, BadDocument)]

    def test_a_store_that_refuses_everything_ends_it(self, thoth: Thoth) -> None:
        class Unavailable(Passing):
            def stat(self, name: str) -> ObjectStat:
                raise StoreUnavailable("the disk is gone")

        revise(thoth, put(thoth), lambda info: info.without("size"))
        failures: list[ThothError] = []
        with pytest.raises(StoreUnavailable):
            list(
                candidates(
                    Thoth(Unavailable(thoth.store), thoth.index, "bmc"), ALL, lambda _, error: failures.append(error)
                )
            )
        assert failures == []

    def test_a_dry_run_can_list_them(self, thoth: Thoth) -> None:
        identity = put(thoth)
        dry = Thoth(DryRun(thoth.store), DryRunIndex(thoth.index), "bmc")
        assert verdicts(dry, ALL) == {identity: None}


class TestWhatStays:
    @pytest.mark.parametrize("ticket", ["OS-1", 7, False, ["x"]])
    def test_F39_what_has_a_ticket(self, thoth: Thoth, ticket: Any) -> None:
        self.stays(thoth, Reason.TICKET, put(thoth, ticket=ticket))

    @pytest.mark.parametrize("time", [None, "soon", True, 0, 300, 536_457_600, -1, [], "%s"])
    def test_F39_what_has_no_time_that_is_one(self, thoth: Thoth, time: Any) -> None:
        self.stays(thoth, Reason.TIME, put(thoth, time=time))

    @pytest.mark.parametrize("keep", [Glob(("node",), "95*"), Newer(OLD - 5), Equals(("type",), "core")])
    def test_what_a_rule_names(self, thoth: Thoth, keep: Any) -> None:
        self.stays(thoth, Reason.RULE, put(thoth, node="95SY9R1"), keep=(Equals(("cmd",), "no such"), keep))

    @staticmethod
    def stays(thoth: Thoth, reason: Reason, identity: Identity, **more: Any) -> None:
        before = objects(thoth)
        for rules in (Rules(**more), replace(ALL, **more), Rules(over=1, **more)):
            assert verdicts(thoth, rules) == {identity: reason}
            done = purge_dump(thoth, identity, rules, now=NOW)
            assert done is not None
            assert done.kept is reason
        assert objects(thoth) == before

    def test_a_ticket_that_is_empty_is_none(self, thoth: Thoth) -> None:
        identity = put(thoth, ticket="")
        assert verdicts(thoth, ALL) == {identity: None}

    def test_a_text_that_is_a_time_counts(self) -> None:
        assert known_time(DumpInfo({"time": "1366869350"})) == 1366869350
