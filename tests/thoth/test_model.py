"""A dump's document, and the values that travel with it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thoth.errors import BadDocument, UsageError
from thoth.model import DumpInfo, Identity, Result, raw_bytes, text

ID = "3e166b93871e7747c799008f58bd30b9"


@given(st.binary(max_size=60))
def test_F26_any_bytes_survive_the_document(raw: bytes) -> None:
    info = DumpInfo({"id": ID, "psargs": text(raw)})
    written = info.to_json(indent=4)
    assert written.isascii() and not any(c < " " and c != "\n" for c in written) and "\x7f" not in written
    assert raw_bytes(DumpInfo.from_json(written).document["psargs"]) == raw


def test_a_document_of_the_original_has_its_identity_in_its_name() -> None:
    info = DumpInfo.from_json(json.dumps({"name": f"/bcantrill/stor/thoth/{ID}", "pid": "19972"}))
    assert info.id == ID
    assert info.revision == 0
    assert (info.size, info.complete, info.sha256, info.time) == (None, None, None, None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'"x"',
        b"{}",
        b'{"name": "/a/stor/thoth/short"}',
        b'{"id": "' + ID.upper().encode() + b'"}',
        b'{"id": "' + ID.encode() + b'", "x": NaN}',
        b'{"id": "' + ID.encode() + b'", "x": 1e400}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_what_is_no_document(data: bytes) -> None:
    with pytest.raises(BadDocument, match=r"^here: "):
        DumpInfo.from_json(data, "here")


RAW = [
    b"caf\xe9",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x98",
    b"\xc3(",
    b"\xe2\x82\xac\x80",
    b"\xc0\x80",
    b"\xf8\x88\x80\x80\x80",
]


def test_bytes_that_are_not_utf_8_are_read_as_node_reads_them(tmp_path: Path) -> None:
    form = b'{"id": "' + ID.encode() + b'", "ticket": "OS-1", "psargs": ["' + b'", "'.join(RAW) + b'"]}'
    (tmp_path / "info.json").write_bytes(form)
    program = (
        "process.stdout.write(JSON.stringify(JSON.parse(require('fs').readFileSync(process.argv[1]).toString())))"
    )
    node = shutil.which("node") or "node"
    told = subprocess.run([node, "-e", program, tmp_path / "info.json"], capture_output=True, check=True, timeout=60)
    info = DumpInfo.from_json(form)
    assert info.document == json.loads(told.stdout)
    assert info.document["psargs"][0] == "caf\ufffd"
    assert DumpInfo.from_json(info.to_json()) == info


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (5, 5.0),
        (5.5, 5.5),
        ("1366869350", 1366869350.0),
        *((unknown, None) for unknown in (True, "%s", None, [], 10**400, "nan", "inf")),
    ],
)
def test_the_time_is_a_number_or_unknown(value: object, seconds: float | None) -> None:
    assert DumpInfo({"id": ID, "time": value}).time == seconds


def test_changes_count_and_keep_what_they_do_not_know() -> None:
    info = DumpInfo({"id": ID, "theirs": 1})
    ticketed = info.changed(ticket="OS-2359")
    assert ticketed.document == {"id": ID, "theirs": 1, "ticket": "OS-2359", "revision": 1}
    assert ticketed.without("ticket").document == {"id": ID, "theirs": 1, "revision": 2}
    assert info.document == {"id": ID, "theirs": 1}


@pytest.mark.parametrize("digits", ["", ID[:-1], ID + "0", ID.upper(), "g" * 32, "../" + ID[3:], ID + "\n"])
def test_what_is_no_identity(digits: str) -> None:
    with pytest.raises(UsageError):
        Identity(digits)


def test_which_results_are_good() -> None:
    bad = {result for result in Result if not result.good}
    assert {result.value for result in bad} == {"unreachable", "denied", "failed", "stored-unindexed", "conflict"}
