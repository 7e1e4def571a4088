"""Analyzers in the store."""

from __future__ import annotations

import pytest

from tests.support.memory_index import MemoryIndex
from tests.support.memory_store import MemoryStore
from thoth.analysis.analyzers import (
    BUNDLED,
    LARGEST,
    NoSuchAnalyzer,
    add,
    add_bundled,
    bundled,
    fetch,
    listed,
    remove,
)
from thoth.errors import PreconditionFailed, UsageError
from thoth.library import Thoth
from thoth.store.base import ABSENT


@pytest.fixture
def thoth() -> Thoth:
    return Thoth(MemoryStore(), MemoryIndex(), "bmc")


def test_what_is_added_is_fetched_with_its_etag(thoth: Thoth) -> None:
    etag = add(thoth, "mine", b"\xff true")
    assert fetch(thoth, "mine") == (b"\xff true", etag)
    assert listed(thoth) == ["/bmc/stor/thoth/analyzers/mine"]


def test_two_who_edit_it_do_not_overwrite_each_other(thoth: Thoth) -> None:
    etag = add(thoth, "mine", b"1", if_match=ABSENT)
    newer = add(thoth, "mine", b"2", if_match=etag)
    for stale in (etag, ABSENT):
        with pytest.raises(PreconditionFailed):
            add(thoth, "mine", b"3", if_match=stale)
    assert fetch(thoth, "mine") == (b"2", newer)


@pytest.mark.parametrize("script", [b"", b" \n", b"echo \0", b"#" * (LARGEST + 1)])
def test_what_is_no_script_is_not_stored(thoth: Thoth, script: bytes) -> None:
    add(thoth, "mine", b"good")
    with pytest.raises(UsageError, match="analyzer 'mine'"):
        add(thoth, "mine", script)
    assert fetch(thoth, "mine")[0] == b"good"


@pytest.mark.parametrize("name", ["", ".", "..", ".x", "a/b", "::x", "$x", "-x", "a=b", "a\nb", "\udcff", "x" * 201])
def test_names_that_are_none(thoth: Thoth, name: str) -> None:
    for act in (lambda: add(thoth, name, b"true"), lambda: fetch(thoth, name), lambda: remove(thoth, name)):
        with pytest.raises(UsageError):
            act()
    assert listed(thoth) == []


def test_one_that_is_not_there(thoth: Thoth) -> None:
    for name in ("OS-1450-diagnose", "OS-2359-diagnose", "fmri"):
        add(thoth, name, b"true")
    with pytest.raises(NoSuchAnalyzer, match="did you mean OS-2359-diagnose or OS-1450-diagnose"):
        fetch(thoth, "OS-2359-diagnos")
    with pytest.raises(NoSuchAnalyzer, match="'thoth analyzers' lists"):
        remove(thoth, "xyzzy")
    remove(thoth, "fmri")
    with pytest.raises(NoSuchAnalyzer):
        remove(thoth, "fmri")


def test_one_that_is_called_otherwise_is_not_meant(thoth: Thoth) -> None:
    add(thoth, "loop", b"true")
    with pytest.raises(NoSuchAnalyzer, match="'nope'; 'thoth analyzers' lists"):
        remove(thoth, "nope")


def test_ours_are_added_where_their_names_are_free(thoth: Thoth) -> None:
    add(thoth, "fmri", b"mine")
    assert add_bundled(thoth) == [name for name in BUNDLED if name != "fmri"]
    assert add_bundled(thoth) == []
    assert fetch(thoth, "fmri")[0] == b"mine"
    assert fetch(thoth, "jsstack")[0] == bundled("jsstack")
