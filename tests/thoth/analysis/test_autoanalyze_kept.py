"""Dumps held against rules: what people have set, or removed, stays."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.support.arrivals import CORE, NOW, take
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
from thoth.analysis.autoanalyze import Autoanalyzer
from thoth.edit import SetProperty, SetTicket, UnsetProperty, Unticket, edit_dump
from thoth.library import Thoth
from thoth.model import Identity, Json


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

    def test_nor_when_something_else_was_in_its_place_between(self, thoth: Thoth, identity: Identity) -> None:
        with_rules(thoth, TICKET, TRIAGE).run(identity)
        theirs = SetTicket("X-9"), SetProperty(("triage", "by"), "me")
        edit_dump(thoth, identity, [Unticket(), UnsetProperty(("triage", "by"))])
        with_rules(thoth).run(identity)
        for _ in range(2):
            edit_dump(thoth, identity, theirs)
            with_rules(thoth).run(identity)
        edit_dump(thoth, identity, [Unticket(), UnsetProperty(("triage", "by"))])
        for _ in range(2):
            kept = ("kept", "what this rule had set was removed")
            assert told(with_rules(thoth).run(identity)) == {"t": kept, "p": kept}
        another = {**TICKET, "version": 2, "ticket": "OS-2"}
        assert results(with_rules(thoth, another).run(identity))["t"] == "set"

    def test_nor_when_another_rule_has_set_something_between(self, thoth: Thoth, identity: Identity) -> None:
        with_rules(thoth, TICKET).run(identity)
        edit_dump(thoth, identity, [Unticket()])
        other = {**TICKET, "name": "u", "ticket": "OS-2"}
        assert results(with_rules(thoth, other).run(identity)) == {"t": "kept", "u": "set"}
        assert results(with_rules(thoth).run(identity)) == {"t": "kept", "u": "kept"}
        edit_dump(thoth, identity, [Unticket()])
        assert results(with_rules(thoth).run(identity)) == {"t": "kept", "u": "kept"}
        assert "ticket" not in whole(thoth, identity).document

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
