from __future__ import annotations

import hashlib
import re
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from thoth.errors import StoreError, UsageError
from thoth.model import Identity
from thoth.store import names
from thoth.store.names import LONGEST, parts, safe_filename

SAFE = re.compile(r"(?:[A-Za-z0-9_-]|%[0-9A-F]{2})(?:[A-Za-z0-9._-]|%[0-9A-F]{2})*")
ID = Identity("0123456789abcdef" * 2)

RAW = st.binary(max_size=260) | st.text("a.%/\n-", max_size=260).map(str.encode)


@pytest.mark.parametrize(
    ("raw", "safe"),
    [
        (b"core.vmadm.1234", "core.vmadm.1234"),
        (b"vmdump.0", "vmdump.0"),
        (b"A-Z_a-z.0-9", "A-Z_a-z.0-9"),
        (b".hidden", "%2Ehidden"),
        (b"..", "%2E."),
        (b"info.json", "%69nfo.json"),
        (b"INFO.JSON", "INFO.JSON"),
        (b"%69nfo.json", "%2569nfo.json"),
        (b"a b\n/\xff", "a%20b%0A%2F%FF"),
        (b"core.\xc3\xbc", "core.%C3%BC"),
        (b"x" * 200, "x" * 200),
        (b"", "unnamed"),
    ],
)
def test_safe_filename(raw: bytes, safe: str) -> None:
    assert safe_filename(raw) == safe


def test_a_long_name_is_cut_and_told_apart_by_its_digest() -> None:
    raw = b"x" * 201
    assert safe_filename(raw) == "x" * 191 + "-" + hashlib.sha256(raw).hexdigest()[:8]
    assert safe_filename(raw) != safe_filename(b"x" * 202)


@pytest.mark.parametrize("before", range(3))
def test_no_escape_is_cut_in_two(before: int) -> None:
    raw = b"x" * before + b"\n" * 100
    cut, _, digest = safe_filename(raw).rpartition("-")
    assert unquote_to_bytes(cut) == raw[: len(unquote_to_bytes(cut))]
    assert cut.endswith("%0A")
    assert digest == hashlib.sha256(raw).hexdigest()[:8]


@given(RAW)
@example(b"." * 255)
@example(b"\xff" * 255)
@example(b"." + b"\n" * 66)
def test_F20_every_name_is_safe(raw: bytes) -> None:
    safe = safe_filename(raw)
    assert SAFE.fullmatch(safe)
    assert len(safe) <= LONGEST
    assert safe != "info.json"
    assert parts(f"/u/{safe}") == ("u", safe)


@given(st.binary(min_size=1, max_size=66))
def test_the_name_that_it_had_can_be_told(raw: bytes) -> None:
    assert unquote_to_bytes(safe_filename(raw)) == raw


def test_layout() -> None:
    home = "/alice/stor/thoth"
    assert names.home("alice") == home
    assert names.dump_dir("alice", ID) == f"{home}/{ID}"
    assert names.dump_name("alice", ID, b"core.a b") == f"{home}/{ID}/core.a%20b"
    assert names.info_name("alice", ID) == f"{home}/{ID}/info.json"
    assert names.analyzers_dir("alice") == f"{home}/analyzers"
    assert names.analyzer_name("alice", "v8") == f"{home}/analyzers/v8"
    assert names.config_name("alice") == f"{home}/config.json"
    assert names.logs_dir("alice") == f"{home}/logs"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "../../etc", ".hidden", "a\0b", "x" * 256, "\ud800"])
def test_F24_a_user_or_analyzer_is_one_part(name: str) -> None:
    with pytest.raises(UsageError, match="not a user's name"):
        names.home(name)
    with pytest.raises(UsageError, match="not an analyzer's name"):
        names.analyzer_name("alice", name)


@given(st.text(max_size=40) | st.text("/.a\0", max_size=12))
def test_parts_are_what_was_joined_or_refused(name: str) -> None:
    try:
        found = parts(name)
    except StoreError as error:
        assert "\n" not in str(error)
    else:
        assert "/" + "/".join(found) == name
        assert not [part for part in found if not part or part[0] == "." or "\0" in part]
