"""Rules in the store: what is accepted, what goes away, and what is broken there."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.memory_index import MemoryIndex
from tests.support.memory_store import MemoryStore
from tests.thoth.analysis.test_rules import depending, names, parsed, rule
from thoth.analysis.rules import MAX_RULE, MAX_RULES
from thoth.analysis.stored_rules import MAX_TOTAL, read_rules, remove_rules, stored_rules, upload_rules
from thoth.errors import StoreError, UsageError
from thoth.library import Thoth
from thoth.store.names import analyzer_name, autoanalyzer_name


@pytest.fixture
def thoth() -> Thoth:
    return Thoth(MemoryStore(), MemoryIndex(), "bmc")


def put(thoth: Thoth, name: str, data: bytes) -> None:
    thoth.store.put(f"/bmc/stor/thoth/autoanalyzers/{name}", data)


class TestUpload:
    def results(self, thoth: Thoth, *documents: Any, **options: Any) -> dict[str, str]:
        return {one.name: result for one, result in upload_rules(thoth, parsed(*documents), **options)}

    def test_they_are_there_as_they_were_given(self, thoth: Thoth) -> None:
        assert self.results(thoth, rule("a", depends=["b"]), rule("b")) == {"b": "added", "a": "added"}
        assert thoth.store.get("/bmc/stor/thoth/autoanalyzers/a.json")[0].endswith(b"\n}\n")
        assert [each.rule for each in stored_rules(thoth)] == [*parsed(rule("a", depends=["b"]), rule("b"))]

    def test_versions(self, thoth: Thoth) -> None:
        self.results(thoth, rule(version=2))
        assert self.results(thoth, rule(version=2)) == {"OS-2359": "unchanged"}
        with pytest.raises(
            UsageError, match="rule OS-2359: version: 2 is stored with other content; raise the version"
        ):
            self.results(thoth, rule(version=2, ticket="OS-1"), force=True)
        with pytest.raises(UsageError, match="version: 2 is stored, and 1 is lower; raise it, or use --force"):
            self.results(thoth, rule(version=1))
        assert self.results(thoth, rule(version=3, ticket="OS-3")) == {"OS-2359": "replaced"}
        assert self.results(thoth, rule(version=1), force=True) == {"OS-2359": "replaced"}
        assert [each.rule for each in stored_rules(thoth)] == [*parsed(rule())]

    def test_true_is_not_1(self, thoth: Thoth) -> None:
        self.results(thoth, rule(ticket=None, property={"name": "x", "value": 1}))
        with pytest.raises(UsageError, match="with other content"):
            self.results(thoth, rule(ticket=None, property={"name": "x", "value": True}))

    @pytest.mark.parametrize(
        ("documents", "why"),
        [
            ([rule("b"), rule("c", depends=["z"])], "rule c: depends: depends on z, which is not there"),
            ([rule("b"), rule("a", version=2, depends=["b"]), rule("c", depends=["c"])], "rule c: depends: .*itself"),
            ([rule("b", depends=["a"]), rule("a", version=2, depends=["b"])], "itself: a -> b -> a"),
            ([rule("b"), rule("a", version=1, ticket="other")], "rule a: version: "),
            ([rule("b"), rule("c", ticket=None, analyzer="fmri")], "rule c: analyzer: there is no analyzer 'fmri'"),
            ([rule("b"), rule("c", ticket=None, analyzer="::stack")], "rule c: analyzer: .* is no name"),
        ],
    )
    def test_all_or_none(self, thoth: Thoth, documents: list[Any], why: str) -> None:
        self.results(thoth, rule("a"))
        before = thoth.store.get(autoanalyzer_name("bmc", "a"))
        with pytest.raises(UsageError, match=why):
            self.results(thoth, *documents)
        assert [each.name for each in stored_rules(thoth)] == ["a"]
        assert thoth.store.get(autoanalyzer_name("bmc", "a")) == before

    def test_an_analyzer_that_is_stored(self, thoth: Thoth) -> None:
        thoth.store.put(analyzer_name("bmc", "fmri"), b"true\n")
        assert self.results(thoth, rule(ticket=None, analyzer="fmri")) == {"OS-2359": "added"}

    def test_a_set_that_can_run_at_every_moment(self) -> None:
        """Whatever write is the last one that comes through, what is stored can run."""
        for survives in range(4):
            store = _FailingStore()
            thoth = Thoth(store, MemoryIndex(), "bmc")
            self.results(thoth, rule("a", depends=["b"]), rule("b", depends=["c"]), rule("c"))
            store.left = survives
            turned = [rule("c", version=2, depends=["b"]), rule("b", version=2, depends=["a"]), rule("a", version=2)]
            if survives < 3:
                with pytest.raises(StoreError):
                    self.results(thoth, *turned)
            else:
                self.results(thoth, *turned)
            assert not read_rules(thoth).faults
            store.left = 9
            self.results(thoth, *turned)
            assert names(read_rules(thoth)) == "abc"

    def test_a_rule_that_another_uploaded_meanwhile_is_not_overwritten(self, thoth: Thoth) -> None:
        other = rule(ticket="OS-1")
        racing = Thoth(_Racing(thoth.store, lambda: self.results(thoth, other)), MemoryIndex(), "bmc")
        with pytest.raises(StoreError, match="rule OS-2359: was changed by somebody else meanwhile; upload it again"):
            self.results(racing, rule())
        assert [each.rule for each in stored_rules(thoth)] == [*parsed(other)]

    def test_number_and_size_are_bounded(self, thoth: Thoth) -> None:
        large = {"name": "x", "value": "x" * (MAX_RULE - 1000)}
        with pytest.raises(UsageError, match=r"rule OS-2359: has 1\d+ bytes; a rule has up to 1048576"):
            self.results(thoth, rule(ticket=None, property={"name": "x", "value": "é" * (MAX_RULE // 6)}))
        many = [rule(f"r{n}", ticket=None, property=large) for n in range(MAX_TOTAL // MAX_RULE + 1)]
        with pytest.raises(UsageError, match="all rules together would have"):
            self.results(thoth, *many)
        self.results(thoth, *(rule(f"r{n}") for n in range(MAX_RULES)))
        with pytest.raises(UsageError, match="there would be 1001 rules; 1000 at most"):
            self.results(thoth, rule())


class TestRemove:
    def test_what_others_depend_on_stays(self, thoth: Thoth) -> None:
        upload_rules(thoth, depending(a="b", b="", c="a"))
        with pytest.raises(UsageError, match="rule b: a depends on it; remove that too"):
            remove_rules(thoth, ["b", "c"])
        assert names(read_rules(thoth)) == "bac"
        assert remove_rules(thoth, ["b", "a", "c", "b"]) == ["c", "a", "b"]
        assert not stored_rules(thoth)

    @pytest.mark.parametrize("name", ["x", "../analyzers/fmri", "", "a\x1b"])
    def test_one_that_is_not_there(self, thoth: Thoth, name: str) -> None:
        upload_rules(thoth, depending(a=""))
        with pytest.raises(UsageError, match="there is no such rule") as caught:
            remove_rules(thoth, ["a", name])
        assert str(caught.value).isprintable()
        assert names(read_rules(thoth)) == "a"


class TestBrokenOnesInTheStore:
    BROKEN = (
        ("no-json.json", b"{"),
        ("two.json", json.dumps([rule("two"), rule("three")]).encode()),
        ("renamed.json", json.dumps(rule("other")).encode()),
        ("large.json", b" " * (MAX_RULE + 1)),
        ("README", b"hello"),
        ("a.b.json", json.dumps(rule("ab")).encode()),
        ("x\x1b[2J.json", b"{}"),
        ("folder/inner.json", b"{}"),
    )

    def test_each_is_a_fault_and_the_others_run(self, thoth: Thoth) -> None:
        for name, data in self.BROKEN:
            put(thoth, name, data)
        upload_rules(thoth, depending(good=""))
        rules = read_rules(thoth)
        assert names(rules) == "good"
        assert set(rules.faults) == {
            "no-json", "two", "renamed", "large", "'README'", "'a.b.json'", "'x\\x1b[2J.json'", "'folder'",
        }  # fmt: skip
        assert all((name + why).isprintable() for name, why in rules.faults.items())

    def test_another_upload_heals_it_and_it_can_be_removed(self, thoth: Thoth) -> None:
        put(thoth, "a.json", b"{")
        put(thoth, "b.json", b"{")
        upload_rules(thoth, depending(a=""))
        assert remove_rules(thoth, ["b"]) == ["b"]
        assert (names(read_rules(thoth)), read_rules(thoth).faults) == ("a", {})

    def test_no_more_are_read_than_may_be_there(self) -> None:
        store = _CountingStore()
        thoth = Thoth(store, MemoryIndex(), "bmc")
        for n in range(MAX_RULES + 50):
            put(thoth, f"r{n:04}.json", json.dumps(rule(f"r{n:04}")).encode())
        rules = read_rules(thoth)
        assert len(rules.rules) == MAX_RULES == store.gets
        assert list(rules.faults.values()) == ["there are more than 1000 rules"]

    def test_no_more_bytes_are_kept_than_may_be_there(self, thoth: Thoth) -> None:
        for n in range(20):
            document = rule(f"r{n:02}", ticket=None, property={"name": "x", "value": "x" * (MAX_RULE - 1000)})
            put(thoth, f"r{n:02}.json", json.dumps(document).encode())
        rules = read_rules(thoth)
        assert (len(rules.rules), len(rules.faults)) == (16, 4)


class _FailingStore(MemoryStore):
    """Takes ``left`` small objects, and no more."""

    left = 1000

    def put(self, name: str, data: bytes, *, if_match: str | None = None) -> str:
        if not self.left:
            raise StoreError("no")
        self.left -= 1
        return super().put(name, data, if_match=if_match)


class _CountingStore(MemoryStore):
    gets = 0

    def get(self, name: str) -> tuple[bytes, str]:
        self.gets += 1
        return super().get(name)


class _Racing:
    """A store; right before the first write of a rule another one does something to it."""

    def __init__(self, store: Any, race: Callable[[], object]) -> None:
        self._store = store
        self._race: Callable[[], object] | None = race

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put(self, name: str, data: bytes, *, if_match: str | None = None) -> str:
        race, self._race = self._race, None
        if race:
            race()
        stored: str = self._store.put(name, data, if_match=if_match)
        return stored
