"""What goes, what stays in any case, and what is left of what went."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.support.arrivals import CORE, CUT, NOW, objects, take, whole
from tests.support.elfwriter import illumos_core
from tests.support.memory_index import MemoryIndex
from tests.support.memory_store import MemoryStore
from thoth.edit import revise
from thoth.errors import BadDocument, IndexFailure, NoSuchDump, StoreError, StoreUnavailable, ThothError
from thoth.index.wrappers import DryRunIndex
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity
from thoth.purge import Candidate, Reason, Rules, candidates, clock_doubt, known_time, purge_dump, purged_at
from thoth.query import Equals, Glob, Newer, Older
from thoth.store.base import ObjectStat
from thoth.store.wrappers import DryRun, Passing

DAY = 86400
OLD = NOW - 100 * DAY
ALL = Rules(before=NOW - 90 * DAY)


@pytest.fixture
def thoth() -> Thoth:
    return Thoth(MemoryStore(now=lambda: NOW), MemoryIndex(), "bmc")


def put(thoth: Thoth, pid: int = 1, mtime: float = OLD, size: int = 16384, **changes: Any) -> Identity:
    """A core of that time, with these keys of its document changed."""
    info = take(thoth, illumos_core(pid=pid, size=size), b"core", mtime=mtime).info
    if changes:
        revise(thoth, info.id, lambda stored: stored.changed(**changes))
    return info.id


def listed(thoth: Thoth, rules: Rules) -> list[Candidate]:
    """Which dumps the rules ask for, when none of them fails."""

    def failed(identity: Identity, error: ThothError) -> None:
        raise error

    return list(candidates(thoth, rules, failed))


def verdicts(thoth: Thoth, rules: Rules) -> dict[Identity, Reason | None]:
    return {each.info.id: each.kept for each in listed(thoth, rules)}


def document(thoth: Thoth, identity: Identity) -> dict[str, Any]:
    """The dump's document, on which store and index agree."""
    found = thoth.stored_info(identity)
    assert found is not None
    assert thoth.index.get(identity) == found[0]
    return dict(found[0].document)


def kept_files(thoth: Thoth) -> list[str]:
    return [name.rpartition("/")[2] for name in objects(thoth)]


class TestPurged:
    def test_the_objects_go_and_the_document_says_when(self, thoth: Thoth) -> None:
        identity = put(thoth)
        before = document(thoth, identity)
        done = purge_dump(thoth, identity, ALL, now=NOW)
        assert document(thoth, identity) == {**before, "purged": int(NOW), "revision": before["revision"] + 1}
        assert done == Candidate(DumpInfo(document(thoth, identity)), 16384, None)
        assert kept_files(thoth) == ["info.json"]
        assert purged_at(done.info) == int(NOW)

    def test_what_it_was_expanded_to_goes_too(self, thoth: Thoth) -> None:
        identity = put(thoth)
        expanded = f"/bmc/stor/thoth/{identity}/vmcore.0"
        thoth.store.put(expanded, b"x" * 1000)
        revise(thoth, identity, lambda info: info.changed(expanded={"dump": expanded, "size": 1000}))
        assert [each.size for each in listed(thoth, ALL)] == [17384]
        purge_dump(thoth, identity, ALL, now=NOW)
        assert kept_files(thoth) == ["info.json"]
        assert document(thoth, identity)["expanded"]["size"] == 1000

    def test_again_changes_nothing(self, thoth: Thoth) -> None:
        identity = put(thoth)
        purge_dump(thoth, identity, ALL, now=NOW)
        before = objects(thoth)
        assert purge_dump(thoth, identity, ALL, now=NOW + 9) is None
        assert objects(thoth) == before
        assert listed(thoth, Rules()) == []

    def test_an_index_that_missed_it_is_told(self, thoth: Thoth) -> None:
        identity = put(thoth)
        old = thoth.index.get(identity)
        assert old is not None
        purge_dump(thoth, identity, ALL, now=NOW)
        thoth.index.delete(identity)
        thoth.index.put(old)
        assert verdicts(thoth, ALL) == {identity: None}
        assert purge_dump(thoth, identity, ALL, now=NOW) is None
        assert document(thoth, identity)["purged"] == int(NOW)

    def test_F35_an_index_that_cannot_be_told_is_named_and_told_next_time(self, thoth: Thoth) -> None:
        class Deaf(MemoryIndex):
            def put(self, info: DumpInfo) -> bool:
                raise IndexFailure("index.db: disk I/O error")

        identity = put(thoth)
        with pytest.raises(IndexFailure, match=f"{identity}: .*disk I/O error; 'thoth index' heals"):
            purge_dump(Thoth(thoth.store, Deaf(), "bmc"), identity, ALL, now=NOW)
        assert kept_files(thoth) == ["info.json"]
        assert verdicts(thoth, ALL) == {identity: None}  # as far as the index knows
        assert purge_dump(thoth, identity, ALL, now=NOW + 9) is None
        assert document(thoth, identity)["purged"] == int(NOW)

    def test_it_is_not_stored_again(self, thoth: Thoth) -> None:
        cut = take(thoth, CUT).info.id
        purge_dump(thoth, cut, ALL, now=NOW)
        for data in (CUT, CORE):
            take(thoth, data)
        assert kept_files(thoth) == ["info.json"]
        assert document(thoth, cut)["purged"] == int(NOW)

    def test_a_document_that_names_other_things_does_not_make_us_delete_them(self, thoth: Thoth) -> None:
        identity = put(thoth, dump="/bmc/stor/thoth/precious", expanded={"dump": "../precious"})
        thoth.store.put("/bmc/stor/thoth/precious", b"x")
        with pytest.raises(BadDocument):
            purge_dump(thoth, identity, ALL, now=NOW)
        revise(thoth, identity, lambda info: info.without("expanded"))
        purge_dump(thoth, identity, ALL, now=NOW)
        assert thoth.store.stat("/bmc/stor/thoth/precious")

    def test_a_document_that_could_not_be_marked_keeps_its_dump(self, thoth: Thoth) -> None:
        identity = put(thoth)
        deep: Any = 1
        for _ in range(500):
            deep = [deep]
        text = json.dumps({**document(thoth, identity), "deep": deep})
        thoth.store.put(f"/bmc/stor/thoth/{identity}/info.json", text.encode())
        with pytest.raises(BadDocument):
            purge_dump(thoth, identity, ALL, now=NOW)
        assert len(objects(thoth)) == 2

    def test_no_such_dump(self, thoth: Thoth) -> None:
        with pytest.raises(NoSuchDump):
            purge_dump(thoth, Identity("0" * 32), ALL, now=NOW)


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


class Hooked(Passing):
    """A store that does something, once, right before or after it deletes."""

    before: Callable[[], object] | None = None
    after: Callable[[], object] | None = None

    def delete(self, name: str, *, if_match: str | None = None) -> None:
        before, self.before = self.before, None
        if before:
            before()
        super().delete(name, if_match=if_match)
        after, self.after = self.after, None
        if after:
            after()


class TestOthersAtTheSameTime:
    @pytest.fixture
    def store(self) -> Hooked:
        return Hooked(MemoryStore(now=lambda: NOW))

    @pytest.fixture
    def thoth(self, store: Hooked) -> Thoth:
        return Thoth(store, MemoryIndex(), "bmc")

    def test_F39_a_ticket_that_is_set_after_the_listing_saves_the_dump(self, thoth: Thoth) -> None:
        identity = put(thoth)
        old = thoth.index.get(identity)
        assert old is not None
        revise(thoth, identity, lambda info: info.changed(ticket="OS-1"))
        thoth.index.delete(identity)
        thoth.index.put(old)
        assert verdicts(thoth, ALL) == {identity: None}  # as far as the index knows
        done = purge_dump(thoth, identity, ALL, now=NOW)
        assert done is not None
        assert done.kept is Reason.TICKET
        assert whole(thoth, identity).document["ticket"] == "OS-1"

    @pytest.mark.parametrize("point", ["before", "after"])
    def test_F39_one_that_comes_when_the_object_goes_stays_on_the_tombstone(
        self, thoth: Thoth, store: Hooked, point: str
    ) -> None:
        identity = put(thoth)
        setattr(store, point, lambda: revise(thoth, identity, lambda info: info.changed(ticket="OS-1")))
        done = purge_dump(thoth, identity, ALL, now=NOW)
        assert done is not None
        assert done.kept is None
        told = document(thoth, identity)
        assert (told["ticket"], told["purged"], kept_files(thoth)) == ("OS-1", int(NOW), ["info.json"])

    def test_two_purges(self, thoth: Thoth, store: Hooked) -> None:
        identity = put(thoth)
        store.before = lambda: purge_dump(thoth, identity, ALL, now=NOW)
        assert purge_dump(thoth, identity, ALL, now=NOW + 9) is None
        assert (document(thoth, identity)["purged"], kept_files(thoth)) == (int(NOW), ["info.json"])

    @pytest.mark.parametrize("name", [b"core.19972", b"core.renamed"])
    @pytest.mark.parametrize("point", ["before", "after"])
    def test_a_whole_dump_that_comes_in_place_of_a_cut_one(
        self, thoth: Thoth, store: Hooked, point: str, name: bytes
    ) -> None:
        """Whichever comes last: a tombstone has no object, and a dump that is no tombstone has its object."""
        identity = take(thoth, CUT).info.id
        setattr(store, point, lambda: take(thoth, CORE, name))
        purge_dump(thoth, identity, ALL, now=NOW)
        assert (document(thoth, identity)["purged"], kept_files(thoth)) == (int(NOW), ["info.json"])

    def test_one_that_comes_with_a_ticket_in_the_place_of_what_we_deleted_stays(
        self, thoth: Thoth, store: Hooked
    ) -> None:
        def replaced() -> None:
            take(thoth, CORE)
            revise(thoth, identity, lambda info: info.changed(ticket="OS-1"))

        identity = take(thoth, CUT).info.id
        store.after = replaced
        done = purge_dump(thoth, identity, ALL, now=NOW)
        assert done is not None
        assert done.kept is Reason.TICKET
        assert whole(thoth, identity).complete

    def test_an_object_that_cannot_be_deleted(self, thoth: Thoth, store: Hooked) -> None:
        def refuse() -> None:
            raise StoreError("core: access denied")

        identity = put(thoth)
        store.before = refuse
        with pytest.raises(StoreError, match="access denied"):
            purge_dump(thoth, identity, ALL, now=NOW)
        whole(thoth, identity)


class TestClock:
    def test_dumps_of_which_one_came_lately_say_nothing_against_it(self, thoth: Thoth) -> None:
        put(thoth)  # its time is old, but it was uploaded NOW
        assert clock_doubt(thoth, ALL, NOW + 89 * DAY) is None
        assert clock_doubt(thoth, ALL, NOW - DAY / 2) is None

    def test_F39_a_clock_that_is_behind(self, thoth: Thoth) -> None:
        identity = put(thoth)
        doubt = clock_doubt(thoth, ALL, NOW - 400.5 * DAY)
        assert doubt == f"{identity} was uploaded 400 days in the future by this machine's clock"

    def test_F39_a_clock_that_has_jumped_ahead(self, thoth: Thoth) -> None:
        put(thoth)
        now = NOW + 4000.5 * DAY
        doubt = clock_doubt(thoth, Rules(before=now - 90 * DAY), now)
        assert doubt == "by this machine's clock nothing was uploaded for 4000 days; it may have jumped ahead"
        assert clock_doubt(thoth, Rules(before=now - 4001 * DAY), now) is None

    @pytest.mark.parametrize(
        ("ago", "words"),
        [(3, "3 seconds"), (90, "90 seconds"), (200, "3 minutes"), (7300, "2 hours"), (DAY, "24 hours")],
    )
    def test_short_times_are_told_in_their_units(self, thoth: Thoth, ago: int, words: str) -> None:
        put(thoth)
        doubt = clock_doubt(thoth, Rules(before=NOW + ago - 1), NOW + ago)
        assert doubt == f"by this machine's clock nothing was uploaded for {words}; it may have jumped ahead"

    def test_the_age_in_a_specification_and_in_a_keep_rule_matters_as_well(self, thoth: Thoth) -> None:
        put(thoth)
        now = NOW + 4000 * DAY
        for rules in (Rules((Older(now - 90 * DAY),)), Rules(keep=(Newer(now - 90 * DAY),), over=1)):
            assert "jumped ahead" in str(clock_doubt(thoth, rules, now))
        assert "in the future" in str(clock_doubt(thoth, Rules((Newer(NOW - 500 * DAY),)), NOW - 400 * DAY))

    def test_a_dump_has_to_be_older_than_each_of_several_ages(self, thoth: Thoth) -> None:
        put(thoth)
        now = NOW + 30 * DAY
        rules = Rules(before=now - 90 * DAY, keep=(Newer(now - 7 * DAY),))
        assert clock_doubt(thoth, rules, now) is None
        assert "jumped ahead" in str(clock_doubt(thoth, replace(rules, before=now - 8 * DAY), now))

    @pytest.mark.parametrize("rules", [Rules(), Rules(over=1), Rules((Equals(("type",), "core"),))])
    def test_where_age_does_not_matter_neither_does_the_clock(self, thoth: Thoth, rules: Rules) -> None:
        put(thoth)
        for now in (NOW - 4000 * DAY, NOW + 4000 * DAY):
            assert clock_doubt(thoth, rules, now) is None

    def test_a_tombstone_is_a_witness_too(self, thoth: Thoth) -> None:
        identity = put(thoth)
        purge_dump(thoth, identity, ALL, now=NOW)
        assert clock_doubt(thoth, ALL, NOW) is None

    def test_of_a_document_of_the_original_its_time_is(self, thoth: Thoth) -> None:
        identity = put(thoth, mtime=NOW)
        revise(thoth, identity, lambda info: info.without("uploaded"))
        assert clock_doubt(thoth, ALL, NOW) is None
        assert "jumped ahead" in str(clock_doubt(thoth, Rules(before=NOW + 10 * DAY), NOW + 100 * DAY))

    def test_a_time_in_the_future_is_none(self, thoth: Thoth) -> None:
        identity = put(thoth, mtime=NOW + 4000 * DAY)
        revise(thoth, identity, lambda info: info.without("uploaded"))
        put(thoth, 2)
        now = NOW + 100 * DAY
        assert "jumped ahead" in str(clock_doubt(thoth, Rules(before=now - 90 * DAY), now))

    def test_with_no_dump_there_is_nothing_to_doubt(self, thoth: Thoth) -> None:
        assert clock_doubt(thoth, ALL, NOW) is None
