"""Signatures made again: what merges and splits, and that nothing else changes."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.support.memory_index import MemoryIndex
from tests.support.memory_store import MemoryStore
from tests.thoth.test_maintain import dump, named, stored
from thoth.edit import SetTicket, edit_dump, stored_form
from thoth.errors import IndexFailure, StoreError, StoreUnavailable
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity, Json
from thoth.query import Query
from thoth.resign import BATCH, resign, sign_unsigned, survey
from thoth.signatures.rules import current_rules
from thoth.store.names import info_name

VERSION = current_rules().version


@pytest.fixture
def thoth() -> Thoth:
    return Thoth(MemoryStore(), MemoryIndex(), "bmc")


def core(number: int, *frames: str, **more: Json) -> DumpInfo:
    return dump(number, stack=[f"{frame}+0x1()" for frame in frames], **more)


def kept(thoth: Thoth, *infos: DumpInfo) -> None:
    """In store and index."""
    stored(thoth, *infos)
    thoth.index.put_many(infos)


def signatures(thoth: Thoth) -> list[Json]:
    """Of all dumps, once store and index are sure to agree."""
    for info in thoth.index.find(Query()):
        found = thoth.stored_info(info.id)
        assert found is not None
        assert found[0] == info
    return [info.document.get("signature") for info in thoth.index.find(Query())]


OLD = [
    core(1, "a", "b", signature="a", signature_rules=0),
    core(2, "a", "b", signature="a | old", signature_rules=0),
    core(3, "a", "c", signature="a", signature_rules=0),
    core(4, "d", signature="d", signature_rules=VERSION),
    core(5, "d"),
    dump(6),
    dump(7, signature="guessed"),
    core(8, "d", signature="d", signature_rules=0),
]


def test_survey() -> None:
    found = survey(OLD)
    assert (found.dumps, found.signed, found.unsigned, found.renamed) == (8, 1, 1, 3)
    assert found.stale == [named(number) for number in (1, 2, 3, 5, 7, 8)]
    assert found.merged() == {"a | b": {"a": 1, "a | old": 1}}
    assert found.split() == {"a": {"a | b": 1, "a | c": 1}}
    assert found.moved() == {}


def test_what_becomes_another_one_as_it_is() -> None:
    found = survey(
        [*OLD, core(9, "e", signature="old e"), core(10, "e", signature="old e"), core(11, "f", signature="f")]
    )
    assert found.moved() == {"old e": {"e": 2}}


def test_a_survey_of_nothing() -> None:
    found = survey([])
    assert (found.dumps, found.renamed, found.stale, found.merged(), found.split()) == (0, 0, [], {}, {})


def test_resign(thoth: Thoth) -> None:
    kept(thoth, *OLD)
    edit_dump(thoth, named(1), [SetTicket("OS-1")])
    done = list(resign(thoth, survey(thoth.index.find(Query())).stale))
    assert [(each.identity, each.changed, each.error) for each in done] == [
        (named(number), True, None) for number in (1, 2, 3, 5, 7, 8)
    ]
    assert signatures(thoth) == ["a | b", "a | b", "a | c", "d", "d", None, None, "d"]
    first = thoth.index.get(named(1))
    assert first is not None
    assert (first.revision, first.document["ticket"], first.document["signature_rules"]) == (2, "OS-1", VERSION)
    assert survey(thoth.index.find(Query())).stale == []
    assert [each.changed for each in resign(thoth, [named(1)])] == [False]


def test_what_a_newer_thoth_has_signed_stays(thoth: Thoth) -> None:
    kept(thoth, core(1, "a", signature="new", signature_rules=VERSION + 1))
    found = survey(thoth.index.find(Query()))
    assert (found.stale, found.renamed) == ([], 0)
    assert [each.changed for each in resign(thoth, [named(1)])] == [False]
    assert signatures(thoth) == ["new"]


def test_only_those_that_have_none_are_signed_as_they_are_loaded(thoth: Thoth) -> None:
    kept(thoth, *OLD)
    done = list(sign_unsigned(thoth, [info.id for info in OLD]))
    assert [(each.identity, each.changed) for each in done] == [(named(5), True)]
    assert signatures(thoth) == ["a", "a | old", "a", "d", "d", None, "guessed", "d"]


def test_many(thoth: Thoth) -> None:
    kept(thoth, *(core(number, f"f{number % 3}") for number in range(2 * BATCH + 1)))
    assert sum(each.changed for each in resign(thoth, survey(thoth.index.find(Query())).stale)) == 2 * BATCH + 1
    assert {*signatures(thoth)} == {"f0", "f1", "f2"}


# ---- others, and what fails -----------------------------------------------------------------------


class Meddling(MemoryStore):
    """A store into which somebody else writes between another's look and change."""

    def __init__(self) -> None:
        super().__init__()
        self.others: list[DumpInfo] = []

    def put(self, name: str, data: bytes, if_match: str | None = None) -> str:
        while if_match is not None and self.others:
            super().put(name, stored_form(self.others.pop()))
        return super().put(name, data, if_match=if_match)


def test_what_others_change_meanwhile_is_kept() -> None:
    store = Meddling()
    thoth = Thoth(store, MemoryIndex(), "bmc")
    kept(thoth, core(1, "a"))
    store.others = [core(1, "b", revision=1, ticket="OS-1")]
    assert [each.changed for each in resign(thoth, [named(1)])] == [True]
    (info,) = thoth.index.find(Query())
    assert (info.document["ticket"], info.document["signature"], info.revision) == ("OS-1", "b", 2)
    assert signatures(thoth) == ["b"]


class Failing(MemoryStore):
    """A store that fails for one dump, in some way."""

    error: StoreError = StoreError("x: not this one")

    def get(self, name: str) -> tuple[bytes, str]:
        if name == info_name("bmc", named(2)):
            raise self.error
        return super().get(name)


def test_one_that_fails_does_not_stop_the_others() -> None:
    thoth = Thoth(Failing(), MemoryIndex(), "bmc")
    kept(thoth, *(core(number, "a") for number in (1, 2, 3)))
    told = {each.identity: (each.changed, each.error is None) for each in resign(thoth, map(named, (1, 2, 3, 4)))}
    assert told == {
        named(1): (True, True),
        named(2): (False, False),
        named(3): (True, True),
        named(4): (False, False),
    }
    assert [info.document.get("signature") for info in thoth.index.find(Query())] == ["a", None, "a"]


def test_a_store_that_is_gone_ends_it_and_the_index_knows_what_was_done() -> None:
    store = Failing()
    store.error = StoreUnavailable("gone")
    thoth = Thoth(store, MemoryIndex(), "bmc")
    kept(thoth, *(core(number, "a") for number in range(BATCH + 100)))
    done = []
    with pytest.raises(StoreUnavailable, match="gone"):
        for each in resign(thoth, map(named, range(BATCH + 100))):
            done.append(each.identity)
    assert {*done} <= {*map(named, range(BATCH))} - {named(2)}
    told = [info.document.get("signature") for info in thoth.index.find(Query())]
    assert told.count("a") == len(done)


class Full(MemoryIndex):
    """An index that takes nothing any more."""

    full = False

    def put_many(self, infos: Iterable[DumpInfo]) -> int:
        if self.full:
            raise IndexFailure("full")
        return super().put_many(infos)


def test_an_index_that_fails_ends_it_and_the_next_run_heals_it() -> None:
    index = Full()
    thoth = Thoth(MemoryStore(), index, "bmc")
    kept(thoth, *(core(number, "a") for number in range(BATCH + 1)))
    index.full = True
    stale: list[Identity] = survey(index.find(Query())).stale
    done = list(resign(thoth, stale))
    assert len(done) == BATCH
    assert all(each.changed and isinstance(each.error, IndexFailure) for each in done)
    index.full = False
    assert len(survey(index.find(Query())).stale) == BATCH + 1
    assert sum(each.changed for each in resign(thoth, stale)) == 1
    assert {*signatures(thoth)} == {"a"}


@pytest.mark.parametrize("ahead", [1, 2])
def test_what_the_index_alone_knows_of_a_dump_comes_back(thoth: Thoth, ahead: int) -> None:
    kept(thoth, OLD[0])
    for number in range(ahead):
        edit_dump(thoth, named(1), [SetTicket(f"OS-{number}")])
    stored(thoth, OLD[0])  # from a backup
    assert [each.changed for each in resign(thoth, [named(1)])] == [True]
    assert signatures(thoth) == ["a | b"]
    (info,) = thoth.index.find(Query())
    assert info.document["ticket"] == f"OS-{ahead - 1}"
