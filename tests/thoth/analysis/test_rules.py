"""Rules of the autoanalyzers: what is one, and in which order they run."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.arrivals import NOW
from thoth.analysis.rules import MAX_RULES, Rule, RuleSet, RunAnalyzer, parse_rules
from thoth.edit import SetProperty, SetTicket
from thoth.errors import UsageError
from thoth.model import DumpInfo

IDENTITY = "3e166b93871e7747c799008f58bd30b9"
NAMES = "abcdef"


def rule(name: str = "OS-2359", /, **changes: Any) -> dict[str, Any]:
    """A rule's JSON; ``None`` leaves a key out."""
    made = {"name": name, "version": 1, "matches": ["type=core"], "ticket": "OS-2359", **changes}
    return {key: value for key, value in made.items() if value is not None}


def parsed(*documents: Any) -> tuple[Rule, ...]:
    return parse_rules(json.dumps(list(documents)).encode(), "x.json")


def depending(**depends: str) -> tuple[Rule, ...]:
    """Rules by name, each with the names that it depends on: ``depending(a="bc", b="", c="")``."""
    return parsed(*(rule(name, depends=list(names)) for name, names in depends.items()))


def names(rules: RuleSet) -> str:
    return "".join(each.name for each in rules.rules)


# ---- what is a rule -------------------------------------------------------------------------------


class TestParsing:
    def test_the_actions(self) -> None:
        ticket, value, analyzer = parsed(
            rule("a", comment="why"),
            rule("b", ticket=None, property={"name": "triage.by", "value": [1]}, depends=["a"]),
            rule("c", ticket=None, analyzer="fmri", version=7),
        )
        assert (ticket.action, ticket.action_text, ticket.comment) == (SetTicket("OS-2359"), "ticket OS-2359", "why")
        assert value.action == SetProperty(("triage", "by"), [1])
        assert (value.action_text, value.depends) == ("property triage.by", ("a",))
        assert (analyzer.action, analyzer.action_text, analyzer.version) == (RunAnalyzer("fmri"), "analyzer fmri", 7)

    def test_one_rule_needs_no_array(self) -> None:
        assert parse_rules(json.dumps(rule()).encode(), "x") == parsed(rule())

    @pytest.mark.parametrize(
        "document",
        [
            rule(comment="why", depends=["a", "b"]),
            rule(ticket=None, property={"name": "triage", "value": {"x": [1, 1.5, True, "é\udc80"]}}),
            rule(ticket=None, analyzer="fmri"),
        ],
    )
    def test_the_document_is_what_was_given(self, document: dict[str, Any]) -> None:
        (one,) = parsed(document)
        assert one.document == document
        assert parsed(one.document) == (one,)

    @pytest.mark.parametrize(
        ("document", "wrong"),
        [
            (7, "rule 1: a rule is a JSON object"),
            ([], "rule 1: a rule is a JSON object"),
            (rule(tickets="X"), "rule OS-2359: 'tickets': no such key; known are name, version, "),
            (rule(name=None), "rule 1: name: is missing"),
            (rule(name=7), "rule 1: name: must be 1 to 100 letters"),
            (rule("a.b"), "rule 'a.b': name: must be 1 to 100 letters"),
            (rule("../x"), "rule '../x': name: must be "),
            (rule("a" * 101), "name: must be "),
            (rule("x\n"), "rule 'x\\\\n': name: must be "),
            (rule(version=None), "rule OS-2359: version: is missing"),
            (rule(version=0), "version: must be a whole number from 1"),
            (rule(version=1.5), "version: must be "),
            (rule(version=True), "version: must be "),
            (rule(version=1 << 31), "version: must be "),
            (rule(matches=None), "matches: is missing"),
            (rule(matches="type=core"), "matches: must be an array of texts"),
            (rule(matches=[1]), "matches: must be an array of texts"),
            (rule(matches=[]), "matches: must name a constraint; 'id=\\*' holds for every dump"),
            (rule(matches=["limit=5"]), "matches: 'limit=5': .*nothing to limit"),
            (rule(matches=["dump=stdin"]), "matches: 'dump=stdin': a rule has no standard input"),
            (rule(matches=["name=stdin"]), "matches: 'name=stdin': a rule has no standard input"),
            (rule(matches=["stack"]), "matches: 'stack': not a constraint"),
            (rule(matches=["3e166b"]), "matches: '3e166b': not a constraint"),
            (rule(matches=["mtime=6q"]), "matches: 'mtime=6q': '6q' is not an age"),
            (rule(matches=["cmd=" + "*x" * 600]), "matches: .*a pattern has at most"),
            (rule(matches=["a=b"] * 101), "matches: 101 constraints are too many"),
            (rule(depends="a"), "depends: must be an array of texts"),
            (rule(depends=["a", "a"]), "depends: .*each of them once"),
            (rule(depends=["a/b"]), "depends: 'a/b' is not a rule's name"),
            (rule(comment=7), "comment: must be a text"),
            (rule(comment=None, ticket=None), "there must be one of ticket, property, analyzer"),
            (rule(analyzer="x"), "ticket and analyzer: there must be one of"),
            (rule(ticket=7), "ticket: must be a text"),
            (rule(ticket="A=B"), "ticket: 'A=B' is not a ticket"),
            (rule(ticket=""), "ticket: '' is not a ticket"),
            (rule(ticket=None, property="triage"), "property: must be"),
            (rule(ticket=None, property={"name": "x"}), "property: must be"),
            (rule(ticket=None, property={"name": "x", "value": 1, "y": 1}), "property: must be"),
            (rule(ticket=None, property={"name": 7, "value": 1}), "property: name: must be a text"),
            (rule(ticket=None, property={"name": "x", "value": None}), "property: value: null is what"),
            (rule(ticket=None, property={"name": "sha256", "value": 1}), "property: 'sha256' is set by Thoth itself"),
            (rule(ticket=None, property={"name": "autoanalyzed.x", "value": 1}), "is set by Thoth itself"),
            (rule(ticket=None, property={"name": "ticket", "value": 1}), "property: 'ticket' is not a user property"),
            (rule(ticket=None, property={"name": "a..b", "value": 1}), "property: 'a..b': not a property"),
            (rule(ticket=None, analyzer="../x"), "analyzer: .*has a /"),
            (rule(ticket=None, analyzer=["x"]), "analyzer: must be the name of an analyzer"),
        ],
    )
    def test_what_is_none_is_refused_by_rule_and_key(self, document: Any, wrong: str) -> None:
        with pytest.raises(UsageError, match=f"^x.json: .*{wrong}") as caught:
            parsed(document)
        assert str(caught.value).isprintable()

    @pytest.mark.parametrize(
        "text",
        [
            b"",
            b"{",
            b"nope",
            b"\xff",
            b"[" * 100_000,
            b'{"name": "a", "name": "b"}',
            b'{"x": NaN}',
            b'{"x": 1e999}',
        ],
    )
    def test_what_is_no_json_is_one_line(self, text: bytes) -> None:
        with pytest.raises(UsageError, match=r"^x\.json: not JSON: ") as caught:
            parse_rules(text, "x.json")
        assert str(caught.value).isprintable() and len(str(caught.value)) < 200

    def test_a_value_as_deep_as_no_index_takes_it(self) -> None:
        value: Any = 1
        for _ in range(64):
            value = [value]
        document = rule(ticket=None, property={"name": "x", "value": value})
        assert parsed(document)
        document["property"]["value"] = [value]
        with pytest.raises(UsageError, match="property: value: nested more than 64 deep"):
            parsed(document)

    def test_too_many_and_the_same_twice(self) -> None:
        assert len(parsed(*(rule(f"r{n}") for n in range(MAX_RULES)))) == MAX_RULES
        with pytest.raises(UsageError, match="1001 rules; 1 to 1000"):
            parsed(*(rule(f"r{n}") for n in range(MAX_RULES + 1)))
        with pytest.raises(UsageError, match="rule a: name: is there twice"):
            parsed(rule("a"), rule("b"), rule("a"))
        with pytest.raises(UsageError, match="0 rules"):
            parsed()

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda x: st.lists(x) | st.dictionaries(st.text(), x),
        )
    )
    def test_any_json_is_rules_or_refused(self, value: Any) -> None:
        with pytest.raises(UsageError, match=r"^x\.json: "):
            parse_rules(json.dumps(value).encode(), "x.json")


class TestAges:
    @pytest.mark.parametrize(("word", "age", "applies"), [
        ("mtime=6h", 6 * 3600 - 1, True), ("mtime=6h", 6 * 3600 + 1, False),
        ("otime=6h", 6 * 3600 - 1, False), ("otime=6h", 6 * 3600 + 1, True),
    ])  # fmt: skip
    def test_they_count_from_the_moment_at_which_a_dump_is_held_against_it(
        self, word: str, age: int, applies: bool
    ) -> None:
        (one,) = parsed(rule(matches=[word]))
        for now in (NOW, NOW + 1e9):
            assert one.applies_to(DumpInfo({"id": IDENTITY, "time": now - age}), now) is applies
        assert not one.applies_to(DumpInfo({"id": IDENTITY}), NOW)


# ---- in which order they run ----------------------------------------------------------------------


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, str]:
    """Rules and what they depend on; circles, and names that are not there, among them."""
    there = draw(st.sets(st.sampled_from(NAMES), min_size=1))
    return {name: "".join(draw(st.sets(st.sampled_from(NAMES), max_size=2))) for name in sorted(there)}


class TestOrder:
    def test_behind_what_they_depend_on_then_by_name(self) -> None:
        assert names(RuleSet.of(depending(a="d", b="", c="a", d=""))) == "bdac"

    def test_those_that_run_an_analyzer_and_what_depends_on_them_come_last(self) -> None:
        rules = RuleSet.of(parsed(
            rule("a", ticket=None, analyzer="x"), rule("b", depends=["a"]), rule("c", depends=["d"]), rule("d"),
        ))  # fmt: skip
        assert ["".join(each.name for each in part) for part in (rules.prompt, rules.late)] == ["dc", "ab"]

    @pytest.mark.parametrize(
        ("depends", "faults"),
        [
            ({"a": "a"}, {"a": "depends on itself: a -> a"}),
            ({"a": "b", "b": "a"}, dict.fromkeys("ab", "depends on itself: a -> b -> a")),
            ({"a": "b", "b": "c", "c": "b"}, {
                "a": "depends on b, which cannot run", **dict.fromkeys("bc", "depends on itself: b -> c -> b"),
            }),
            ({"a": "zy", "b": "a"}, {
                "a": "depends on y, which is not there", "b": "depends on a, which cannot run",
            }),
        ],
    )  # fmt: skip
    def test_what_cannot_run_says_why(self, depends: dict[str, str], faults: dict[str, str]) -> None:
        rules = RuleSet.of((*depending(**depends), *parsed(rule("x"))))
        assert (names(rules), dict(rules.faults)) == ("x", faults)

    @given(graphs(), st.randoms(use_true_random=False))
    def test_any_graph(self, depends: dict[str, str], random: Any) -> None:
        rules = list(depending(**depends))
        ordered = RuleSet.of(rules)
        order = names(ordered)
        assert sorted([*order, *ordered.faults]) == sorted(depends)
        for at, name in enumerate(order):
            assert set(depends[name]) <= set(order[:at])
            # By name, where nothing else decides.
            free = [each for each in order[at:] if set(depends[each]) <= set(order[:at])]
            assert name == min(free)
        for name, fault in ordered.faults.items():
            assert fault
            assert set(depends[name]) - set(order), "nothing keeps it from running"
        random.shuffle(rules)
        assert RuleSet.of(rules) == ordered

    def test_a_thousand_that_all_depend_on_each_other_take_no_time_and_no_room(self) -> None:
        everybody = [f"r{n:03}" for n in range(300)]
        rules = RuleSet.of(parsed(*(rule(name, depends=everybody) for name in everybody)))
        assert set(rules.faults) == set(everybody)
        assert max(len(fault) for fault in rules.faults.values()) < 200

    def test_a_long_chain(self) -> None:
        rules = parsed(*(rule(f"r{n:03}", depends=[f"r{n + 1:03}"] if n < 999 else []) for n in range(1000)))
        assert [each.name for each in RuleSet.of(rules).rules] == [f"r{n:03}" for n in reversed(range(1000))]

    def test_only_some_with_those_they_depend_on(self) -> None:
        rules = RuleSet.of(depending(a="d", b="", c="a", d="", e="e"))
        assert names(rules.only(["a"])) == "da"
        assert names(rules.only(["c", "b"])) == "bdac"
        for name, why in (("x", "there is no such rule"), ("e", "depends on itself")):
            with pytest.raises(UsageError, match=why):
                rules.only([name])
