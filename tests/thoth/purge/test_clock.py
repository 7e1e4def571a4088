"""A clock that is wrong must not purge what is young."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.arrivals import NOW
from tests.thoth.purge.scene import ALL, DAY, put
from thoth.edit import revise
from thoth.library import Thoth
from thoth.purge import Rules, clock_doubt, purge_dump
from thoth.query import Equals, Newer, Older


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
