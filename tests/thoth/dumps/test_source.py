"""Where the bytes of a dump come from: files on this machine, ranges of remote ones, streams that pass once."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thoth.dumps.source import KnownRanges, LocalFile, MissingRange, Range, Recorder, merged
from thoth.errors import SourceChanged, SourceError, SourceGone

FILE = bytes(range(256)) * 4
RANGES = st.builds(Range, st.integers(0, 1100), st.integers(0, 300))


@given(st.lists(RANGES, max_size=12), RANGES)
def test_known_ranges_answer_what_they_hold_and_nothing_else(parts: list[Range], wanted: Range) -> None:
    known = KnownRanges(len(FILE), ((part.offset, FILE[part.offset : part.end]) for part in parts))
    held = {offset for part in parts for offset in range(part.offset, min(part.end, len(FILE)))}
    inside = set(range(wanted.offset, min(wanted.end, len(FILE))))
    if inside <= held:
        assert known.read_at(*wanted) == FILE[wanted.offset : wanted.end]
        assert known.missing([wanted]) == []
    else:
        with pytest.raises(MissingRange):
            known.read_at(*wanted)
        assert known.missing([wanted]) == [known.clipped(wanted)]


@given(st.lists(RANGES, max_size=12), st.lists(st.integers(1, 400), min_size=1, max_size=6))
def test_a_recorder_keeps_its_ranges_however_the_stream_is_cut(ranges: list[Range], cuts: list[int]) -> None:
    recorder = Recorder(ranges)
    at = 0
    for length in cuts * len(FILE):
        recorder.feed(FILE[at : at + length])
        at += length
        if at >= len(FILE):
            break
    known = recorder.known()
    assert known.size == len(FILE)
    for each in ranges:
        assert known.read_at(*each) == FILE[each.offset : each.end]


@given(st.lists(RANGES, max_size=12))
def test_merged_ranges_hold_the_same_bytes(ranges: list[Range]) -> None:
    joined = merged(ranges)
    assert {o for r in joined for o in range(*r[:1], r.end)} == {o for r in ranges for o in range(r.offset, r.end)}
    assert all(one.end < other.offset for one, other in pairwise(joined))


def test_a_file_in_parts_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "core"
    path.write_bytes(FILE)
    with LocalFile(path) as source:
        assert source.size == len(FILE)
        assert source.name == b"core"
        assert source.read_at(10, 5) == FILE[10:15]
        assert source.read_at(len(FILE) - 3, 100) == FILE[-3:]
        assert source.read_at(len(FILE) + 10, 100) == b""
        assert b"".join(source.stream()) == FILE


def test_F12_a_file_that_grows_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "core"
    path.write_bytes(FILE)
    with LocalFile(path) as source, pytest.raises(SourceChanged):
        for _ in source.stream():
            with path.open("ab") as file:
                file.write(b"more")


def test_F13_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "core"
    path.write_bytes(FILE)
    with LocalFile(path) as source, pytest.raises(SourceChanged):
        os.truncate(path, 10)
        list(source.stream())


def test_F14_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bad_block(*_arguments: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    path = tmp_path / "core"
    path.write_bytes(FILE)
    with LocalFile(path) as source:
        monkeypatch.setattr(os, "pread", bad_block)
        with pytest.raises(SourceError, match="Input/output error"):
            source.read_at(0, 100)


def test_F16_F17_what_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("/etc/passwd")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for name in ("fifo", "folder", "link", "socket"):
            with pytest.raises(SourceError, match=r"regular file|symbolic link"):
                LocalFile(tmp_path / name)
    with pytest.raises(SourceError, match="regular file"):
        LocalFile("/dev/zero")
    with pytest.raises(SourceGone):
        LocalFile(tmp_path / "nothing")


def test_F41_no_offset_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "core"
    path.write_bytes(FILE)
    with LocalFile(path) as source:
        for offset in (2**63 - 1, 2**63, 2**64):
            assert source.read_at(offset, 10) == b""
        assert source.read_at(10, 2**62) == FILE[10:]


def test_F16_a_fifo_keeps_its_writer(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = subprocess.Popen(["sh", "-c", 'echo mine > "$0"', str(fifo)])
    try:
        with pytest.raises(SourceError, match="regular file"):
            LocalFile(fifo)
        with fifo.open("rb") as reader:
            assert reader.read() == b"mine\n"
    finally:
        writer.wait(10)
