"""Names of properties that no dump has, and what is made of them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.support.memory_index import MemoryIndex
from thoth.edit import SYSTEM
from thoth.index.rethink_rows import KEYS as IN_ORDER
from thoth.model import KEYS, DumpInfo, Json
from thoth.query import KeyPath, Query, parse, property_path
from thoth.signatures.signature import SIGNATURE_KEYS
from thoth.spelling import names, unknown
from thoth.stacks import STACK_KEYS

DUMP: dict[str, Json] = {
    "id": "1" * 32,
    "cmd": "cprog",
    "properties": {"keepme": "yes", "triage": {"engineer": "bmc"}},
    "sysinfo": {"uuid": "x"},  # of another program's
}


class Counting(MemoryIndex):
    """Counts what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.put(DumpInfo(DUMP))
        self.asked = 0

    def count(self, query: Query) -> int:
        self.asked += 1
        return super().count(query)


def said(*given: str, index: MemoryIndex | None = None, inner: bool = False) -> Sequence[str]:
    return [*unknown(index or Counting(), map(property_path, given), inner=inner)]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("keepme", "no dump has 'keepme'; did you mean properties.keepme?"),
        ("triage.engineer", "no dump has 'triage.engineer'; did you mean properties.triage.engineer?"),
        ("tikcet", "no dump has 'tikcet'; did you mean ticket?"),
        ("tpye", "no dump has 'tpye'; did you mean type?"),
        ("cdm", "no dump has 'cdm'; did you mean cmd?"),
        ("signatur", "no dump has 'signatur'; did you mean signature?"),
        ("autoanalysed.fmri", "no dump has 'autoanalysed.fmri'; did you mean autoanalyzed.fmri?"),
        ("traige", "no dump has 'traige'; 'thoth info DUMP' shows what one has"),
        ("xyzzy", "no dump has 'xyzzy'; 'thoth info DUMP' shows what one has"),
    ],
)
def test_what_no_dump_has(name: str, line: str) -> None:
    assert said(name) == [line]
    assert said(name, "cmd", name) == [line]


def test_what_is_known_costs_no_question() -> None:
    index = Counting()
    known = ("ticket", "cmd", "autoanalyzed.OS-2359", "panicstring", "properties.no.such")
    assert said(*known, index=index) == []
    assert said(*known[:-1], "properties", index=index, inner=True) == []
    assert index.asked == 0


def test_a_key_that_some_dump_has() -> None:
    assert said("sysinfo.uuid", "sysinfo.nothing") == []


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("properties.keepmee", "no dump has 'properties.keepmee'; 'thoth info DUMP' shows what one has"),
        ("properties.ticket", "no dump has 'properties.ticket'; did you mean ticket?"),
        (
            "properties.triage.enginer",
            "no dump has 'properties.triage.enginer'; 'thoth info DUMP' shows what one has",
        ),
    ],
)
def test_below_properties_where_all_of_the_name_counts(name: str, line: str) -> None:
    assert said(name, inner=True) == [line]
    assert said(name) == []
    assert said("properties.keepme", "properties.triage.engineer", inner=True) == []


def test_of_what_a_specification_speaks() -> None:
    words = ["tpye=core", "x.y=a*", "ticket=undefined", "mtime=3d", "otime=4d", "1" * 32, "limit=3"]
    expected: tuple[KeyPath, ...] = (("tpye",), ("x", "y"), ("ticket",))
    assert names(parse(words, now=0.0)[0]) == expected


def test_all_that_is_written_is_known() -> None:
    assert {*SYSTEM, *STACK_KEYS, *SIGNATURE_KEYS, *IN_ORDER} <= KEYS
