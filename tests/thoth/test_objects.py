"""Which objects of the store a document speaks of, whatever it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thoth.errors import BadDocument
from thoth.model import DumpInfo, Identity, Json
from thoth.objects import KeptObject, dump_object, expanded_object, kept_objects

ID = Identity("3e166b93871e7747c799008f58bd30b9")
HOME = f"/bmc/stor/thoth/{ID}"
SHA = "ab" * 32


def info_of(**values: Json) -> DumpInfo:
    return DumpInfo({"id": str(ID), **values})


def test_the_dump_and_what_it_was_expanded_to() -> None:
    expanded = {"dump": f"{HOME}/vmcore.0", "size": 300, "md5": "x", "sha256": "cd" * 32}
    info = info_of(dump=f"{HOME}/vmdump.0", size=100, sha256=SHA, expanded=expanded)
    assert dump_object("bmc", info) == KeptObject(f"{HOME}/vmdump.0", 100, SHA)
    assert expanded_object("bmc", info) == KeptObject(f"{HOME}/vmcore.0", 300, "cd" * 32)
    assert [each.filename for each in kept_objects("bmc", info)] == ["vmdump.0", "vmcore.0"]


@pytest.mark.parametrize("told", [None, [], "vmcore.0", 0, False])
def test_a_dump_that_was_not_expanded(told: Json) -> None:
    info = info_of(dump=f"{HOME}/core.1", expanded=told)
    assert expanded_object("bmc", info) is None
    assert kept_objects("bmc", info) == (KeptObject(f"{HOME}/core.1", None, None),)


def test_a_document_of_the_original_names_its_dump_and_no_more() -> None:
    info = DumpInfo({"name": HOME, "dump": f"{HOME}/core.19972"})
    assert kept_objects("bmc", info) == (KeptObject(f"{HOME}/core.19972", None, None),)


def test_only_the_last_part_counts() -> None:
    """A store that was copied to another user keeps its documents; a document reaches no other dump's objects."""
    for named in (f"/alice/stor/thoth/{ID}/core.1", f"/bmc/stor/thoth/{'0' * 32}/core.1", "../../core.1", "core.1"):
        assert dump_object("bmc", info_of(dump=named)).name == f"{HOME}/core.1"


@pytest.mark.parametrize(
    "named", [None, 7, "", "/", f"{HOME}/", "..", "x/.", f"{HOME}/.uploads", "a\0b", "x" * 256, "\ud800", ["a"], {}]
)
def test_names_that_no_object_can_have(named: Json) -> None:
    with pytest.raises(BadDocument, match=f"{ID}: its document names no dump"):
        dump_object("bmc", info_of(dump=named))
    with pytest.raises(BadDocument):
        kept_objects("bmc", info_of(dump="core.1", expanded={"dump": named}))


def test_a_document_is_not_its_own_dump() -> None:
    with pytest.raises(BadDocument, match="names itself"):
        dump_object("bmc", info_of(dump=f"{HOME}/info.json"))


def test_one_object_is_not_both() -> None:
    info = info_of(dump=f"{HOME}/vmdump.0", expanded={"dump": "/elsewhere/vmdump.0", "size": 1})
    with pytest.raises(BadDocument, match="names one object as the dump and as what it was expanded to"):
        kept_objects("bmc", info)


@pytest.mark.parametrize("size", [None, -1, "100", True, 1.5, [1]])
def test_sizes_that_are_none(size: Json) -> None:
    assert dump_object("bmc", info_of(dump="core.1", size=size, sha256=17)) == KeptObject(
        f"{HOME}/core.1", None, None
    )


@given(st.text() | st.none() | st.integers())
def test_whatever_is_named_lies_in_the_dump_s_own_directory(named: Json) -> None:
    try:
        found = dump_object("bmc", info_of(dump=named))
    except BadDocument as error:
        assert "\n" not in str(error)
        return
    assert found.name == f"{HOME}/{found.filename}"
    assert "/" not in found.filename
    assert found.filename not in ("", ".", "..", "info.json")
