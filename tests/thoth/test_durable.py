from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from thoth.durable import Draft, drafts, is_dead, remove, sweep, take_up, write_durably

KEY = "5e" * 16
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


# ---- drafts with a key ------------------------------------------------------------------------------------


def kept(directory: int, data: bytes, key: str = KEY) -> str:
    """A draft with a key that somebody has written these bytes to and left; its name."""
    before = {left.name for left in drafts(directory)}
    draft = Draft(directory, key)
    draft.write(data)
    draft.keep()
    draft.keep()
    (name,) = {left.name for left in drafts(directory)} - before
    return name


def test_what_is_kept_is_taken_up_once(tmp_path: Path) -> None:
    with opened(tmp_path) as directory:
        name = kept(directory, b"half")
        assert take_up(directory, "00" * 16) is None
        with umask(0o277):
            draft = take_up(directory, KEY)
        assert draft is not None
        assert take_up(directory, KEY) is None  # another one cannot have it
        assert not is_dead(directory, name)
        assert os.pread(draft.fileno(), 9, 0) == b"half"
        draft.cut(2)
        draft.write(b"ndy")
        draft.publish(directory, "file")
        draft.discard()
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"handy"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


def test_what_is_taken_up_may_be_kept_again_or_discarded(tmp_path: Path) -> None:
    with opened(tmp_path) as directory:
        name = kept(directory, b"half")
        for end in (Draft.keep, Draft.discard):
            assert names(tmp_path) == [name]
            draft = take_up(directory, KEY)
            assert draft is not None
            end(draft)
    assert names(tmp_path) == []


def test_cut_is_where_it_is_written_on(tmp_path: Path) -> None:
    with opened(tmp_path) as directory, Draft(directory, KEY) as draft:
        draft.write(b"x" * 100_000)
        for size in (70_000, 0, 10):
            draft.cut(size)
            draft.write_sparse(b"y" * 5 + bytes(1 << 16))
            draft.end()
            assert os.fstat(draft.fileno()).st_size == size + 5 + (1 << 16)
            assert os.pread(draft.fileno(), 5, size) == b"yyyyy"


def test_F18_names_with_a_key_cannot_be_guessed_either(tmp_path: Path) -> None:
    with opened(tmp_path) as directory:
        found = {kept(directory, b"x") for _ in range(50)}
    assert len(found) == 50
    assert all(name.startswith(f".thoth-{KEY}-") for name in found)


def test_a_sweep_spares_what_has_a_key_unless_it_is_told(tmp_path: Path) -> None:
    with opened(tmp_path) as directory:
        one, two = kept(directory, b"one"), kept(directory, b"two", "00" * 16)
        (tmp_path / STALE).write_bytes(b"half")
        assert {(left.name, left.key, left.size) for left in drafts(directory)} == {
            (one, KEY, 3),
            (two, "00" * 16, 3),
            (STALE, "", 4),
        }
        assert sweep(directory) == 1
        assert sweep(directory, lambda left: left.key == KEY) == 1
        assert names(tmp_path) == [two]
        assert is_dead(directory, two)
        assert remove(directory, two)
        assert not remove(directory, two)
        assert not is_dead(directory, two)


def test_the_longest_is_taken_up_and_supersedes_the_others(tmp_path: Path) -> None:
    with opened(tmp_path) as directory:
        for data in (b"one", b"longest", b"four"):
            kept(directory, data)
        other = kept(directory, b"of another key", "00" * 16)
        with Draft(directory, KEY) as live:
            draft = take_up(directory, KEY)
            assert draft is not None
            assert os.pread(draft.fileno(), 9, 0) == b"longest"
            draft.supersede()
            draft.publish(directory, "file")
            draft.discard()
            live.publish(directory, "live")
    assert names(tmp_path) == sorted([other, "file", "live"])


def test_F18_only_a_file_of_ours_with_one_name_is_taken_up(tmp_path: Path) -> None:
    def name(digit: str) -> Path:
        return tmp_path / f".thoth-{KEY}-{digit * 32}.draft"

    (tmp_path / "victim").write_bytes(b"theirs")
    name("0").symlink_to("victim")
    name("1").hardlink_to(tmp_path / "victim")
    os.mkfifo(name("2"))
    name("3").mkdir()
    name("4").write_bytes(b"theirs")
    os.chown(name("4"), 12345, 12345)
    name("5").touch()  # may be one that is being made
    before = names(tmp_path)
    with opened(tmp_path) as directory:
        assert take_up(directory, KEY) is None
        assert names(tmp_path) == before
        name("6").write_bytes(b"x")
        draft = take_up(directory, KEY)
        assert draft is not None
        draft.discard()
    assert names(tmp_path) == before


def test_nobody_takes_up_what_is_being_made_or_was_published(tmp_path: Path) -> None:
    """Whoever holds a draft is the only one to write to it, and what has its real name is no draft any more."""
    done = threading.Event()
    taken = 0

    def taking() -> None:
        nonlocal taken
        with opened(tmp_path) as directory:
            while not done.is_set():
                draft = take_up(directory, KEY)
                if draft is not None:
                    taken += 1
                    draft.cut(0)
                    draft.discard()

    taker = threading.Thread(target=taking)
    taker.start()
    try:
        with opened(tmp_path) as directory:
            for number in range(300):
                with Draft(directory, KEY) as draft:
                    draft.write(b"x")
                    draft.publish(directory, f"{number:03}")
            while not taken:
                half = Draft(directory, KEY)
                half.write(b"half")
                half.keep()
    finally:
        done.set()
        taker.join()
    assert [path.name for path in sorted(tmp_path.glob("[0-9]*"))] == [f"{number:03}" for number in range(300)]
    assert {path.read_bytes() for path in tmp_path.glob("[0-9]*")} == {b"x"}


class TestPublishNew:
    """A name that nobody has."""

    def published(self, place: Path, name: str) -> None:
        with opened(place) as directory, Draft(directory) as draft:
            draft.write(b"ours")
            draft.publish_new(directory, name)

    @pytest.mark.parametrize("links", [True, False])
    def test_it_is_taken_whole_and_not_taken_from_others(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
    ) -> None:
        if not links:
            monkeypatch.setattr(os, "link", refused)
        self.published(tmp_path, "file")
        assert (tmp_path / "file").read_bytes() == b"ours"
        assert (tmp_path / "file").stat().st_nlink == 1
        (tmp_path / "file").write_bytes(b"theirs")
        (tmp_path / "link").symlink_to("nowhere")
        for name in ("file", "link"):
            with pytest.raises(FileExistsError):
                self.published(tmp_path, name)
        assert (tmp_path / "file").read_bytes() == b"theirs"
        assert names(tmp_path) == ["file", "link"]


def refused(*_: object, **__: object) -> None:
    """What link(2) says on FAT."""
    raise PermissionError(errno.EPERM, "Operation not permitted")
