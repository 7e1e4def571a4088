from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from thoth.durable import Draft, sweep, write_durably

STALE = ".thoth-" + "0" * 32 + ".draft"


@contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def umask(bits: int) -> Iterator[None]:
    before = os.umask(bits)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("bits", [0o000, 0o022, 0o277])
def test_F18_mode_is_0600_whatever_the_umask(tmp_path: Path, bits: int) -> None:
    with umask(bits):
        write_durably(tmp_path / "known_hosts", b"x")
    assert stat.S_IMODE((tmp_path / "known_hosts").stat().st_mode) == 0o600


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_is_made_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    write_durably(path, b"a longer first version")
    write_durably(path, b"second")
    assert path.read_bytes() == b"second"
    assert names(tmp_path) == ["status.json"]


def test_who_reads_the_old_file_goes_on_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    write_durably(path, b"first")
    with path.open("rb") as old:
        write_durably(path, b"second")
        assert old.read() == b"first"


def test_F18_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"theirs")
    (tmp_path / "file").symlink_to("victim")
    write_durably(tmp_path / "file", b"ours")
    assert (tmp_path / "victim").read_bytes() == b"theirs"
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"ours"


def test_what_cannot_be_written_leaves_no_trace(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError):
        write_durably(tmp_path / "file", b"x")
    with pytest.raises(FileNotFoundError):
        write_durably(tmp_path / "missing" / "file", b"x")
    assert names(tmp_path) == ["file"]


def test_F18_draft_names_cannot_be_guessed(tmp_path: Path) -> None:
    seen: set[str] = set()
    with opened(tmp_path) as directory:
        for _ in range(50):
            with Draft(directory):
                seen.update(names(tmp_path))
    assert len(seen) == 50
    assert names(tmp_path) == []


def test_a_draft_that_is_published_is_not_discarded(tmp_path: Path) -> None:
    with opened(tmp_path) as directory:
        draft = Draft(directory)
        draft.write(b"one ")
        draft.write(b"two")
        draft.publish(directory, "file")
        draft.discard()
        draft.discard()
    assert (tmp_path / "file").read_bytes() == b"one two"


def test_F30_drafts_of_the_dead_are_swept(tmp_path: Path) -> None:
    (tmp_path / STALE).write_bytes(b"half")
    write_durably(tmp_path / "file", b"whole")
    assert names(tmp_path) == ["file"]


def test_only_dead_drafts_are_swept(tmp_path: Path) -> None:
    others = ["file", ".hidden", STALE + "x", STALE.replace("0", "A"), ".thoth-12.draft"]
    for name in others:
        (tmp_path / name).write_bytes(b"")
    link = STALE.replace("0", "1")
    (tmp_path / link).symlink_to("file")
    fifo = STALE.replace("0", "2")
    os.mkfifo(tmp_path / fifo)
    with opened(tmp_path) as directory, Draft(directory) as live:
        assert sweep(directory) == 0
        (tmp_path / STALE).write_bytes(b"half")
        assert sweep(directory) == 1
        live.publish(directory, "live")
    assert names(tmp_path) == sorted([*others, link, fifo, "live"])


def test_no_sweep_takes_a_draft_that_is_being_made(tmp_path: Path) -> None:
    done = threading.Event()

    def sweeping() -> None:
        with opened(tmp_path) as directory:
            while not done.is_set():
                sweep(directory)

    sweeper = threading.Thread(target=sweeping)
    sweeper.start()
    try:
        with opened(tmp_path) as directory:
            for number in range(300):
                with Draft(directory) as draft:
                    draft.write(b"x")
                    draft.publish(directory, f"{number:03}")
    finally:
        done.set()
        sweeper.join()
    assert names(tmp_path) == [f"{number:03}" for number in range(300)]


@pytest.mark.parametrize(
    "blocks",
    [
        [b"x" * 100, bytes(1 << 20), b"y", bytes(300_000)],
        [bytes(1 << 20)],
        [bytes(70_000) + b"z" + bytes(1 << 17) + b"end"],
        [b"", b"a", b""],
    ],
)
def test_zeros_are_holes_that_read_as_zeros(tmp_path: Path, blocks: list[bytes]) -> None:
    with opened(tmp_path) as directory, Draft(directory) as draft:
        for block in blocks:
            draft.write_sparse(block)
        draft.end()
        draft.publish(directory, "core")
    data = b"".join(blocks)
    assert (tmp_path / "core").read_bytes() == data
    pieces = [block[at : at + (1 << 16)] for block in blocks for at in range(0, len(block), 1 << 16)]
    room = sum(len(piece) + 8192 for piece in pieces if piece != bytes(1 << 16))  # each in whole blocks of the disk
    assert (tmp_path / "core").stat().st_blocks * 512 <= room
