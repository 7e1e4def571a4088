"""A large upload into the directory store that ended early, and the next one, which goes on with it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.thoth.store.large_upload import MEGABYTE, NAME, PIECE, content, opened, send, store, written
from tests.thoth.store.leftovers import (
    LETTERS,
    MODULE,
    OTHER,
    SIZE,
    assert_stored,
    break_off,
    drafts,
    gone_on_with,
    killed,
    object_of,
    uploading,
)
from tests.thoth.store.traced import TOP, Run, traced
from thoth.errors import CorruptTransfer
from thoth.store.base import Digests
from thoth.store.directory import DirectoryStore

CALLS = ("openat", "flock", "utimensat", "preadv", "preadv2", "ftruncate", "write", "fsync", "renameat")


def test_bytes_are_counted() -> None:
    """The measure that these tests go by."""
    before = written()
    with Path(os.devnull).open("wb", buffering=0) as sink:
        sink.write(bytes(12345))
    assert written() - before == 12345


# ---- killed, and gone on with ---------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [1, MEGABYTE, 6 * MEGABYTE + 1, SIZE])
def test_F30_what_was_written_is_not_written_again(root: Path, stop: int) -> None:
    killed(root, stop=stop)
    done = subprocess.run(
        [sys.executable, "-m", MODULE, str(root), LETTERS],
        cwd=TOP, text=True, input="\n", capture_output=True, check=True,
    )  # fmt: skip
    again = int(done.stdout.split()[1])
    assert again == SIZE - stop // PIECE * PIECE if stop < SIZE else again == 0
    assert_stored(root)


@pytest.mark.parametrize(("first", "then"), [(300_000, 4 * MEGABYTE), (4 * MEGABYTE, 300_000), (65_537, 999)])
def test_parts_of_other_sizes(root: Path, first: int, then: int) -> None:
    data = content("ab..cdefghij")
    earlier = opened(root).begin(NAME, len(data))
    send(earlier, data[: 9 * MEGABYTE], first)
    earlier.abort()
    before, upload = written(), opened(root).begin(NAME, len(data))
    send(upload, data, then)
    upload.commit(Digests(len(data), "", ""))
    assert written() - before <= len(data) - 9 * MEGABYTE + PIECE
    assert_stored(root, "ab..cdefghij")


def traced_upload(root: Path, *options: str) -> Run:
    return traced(MODULE, root, [LETTERS], CALLS, options)


def calls_of_the_next(root: Path, first: int) -> Counter[str]:
    """How often each call is made by an upload that goes on where another one was killed at this write."""
    kill_at_write(root, first)
    return Counter(name for name, _ in traced_upload(root).calls)


def kill_at_write(root: Path, number: int) -> None:
    assert traced_upload(root, "-e", f"inject=write:signal=KILL:when={number}").status == -signal.SIGKILL
    assert not object_of(root).exists()


def kill_twice(root: Path, first: int, call: str, number: int) -> None:
    """Kill an upload at one of its writes, the next one at this call, and see what a third one does."""
    root.mkdir(mode=0o700)
    kill_at_write(root, first)
    assert traced_upload(root, "-e", f"inject={call}:signal=KILL:when={number}").status == -signal.SIGKILL
    there = sum(left.stat().st_size for left in drafts(root))
    if object_of(root).exists():
        assert_stored(root)
    count = store(root, LETTERS)
    assert SIZE - there <= count <= SIZE - there + PIECE
    assert_stored(root)


def test_F30_killed_again_while_it_goes_on(tmp_path: Path, root: Path) -> None:
    made = calls_of_the_next(root, 20)
    assert {*CALLS} - {*made} in ({"preadv"}, {"preadv2"})  # which of them os.preadv is, differs
    for call, count in made.items():
        number = 1 if call == "fsync" else (count + 1) // 2  # the first is the draft's
        kill_twice(tmp_path / call, 20, call, number)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", [2, 20, 32])  # the last one that writes some of it
def test_F30_killed_again_at_every_call(tmp_path: Path, root: Path, first: int) -> None:
    for call, count in calls_of_the_next(root, first).items():
        for number in range(1, count):  # the last is one that it says with that it is done
            kill_twice(tmp_path / f"{call}-{number}", first, call, number)


def test_another_object_and_another_size_leave_it_alone(root: Path) -> None:
    left = killed(root)
    before = left.read_bytes()
    for name, size in ((OTHER, SIZE), (NAME, SIZE - 1), (NAME, SIZE + 1), (NAME, None), (NAME, 0)):
        upload = opened(root).begin(name, size)
        upload.part(b"x")
        upload.abort()
    opened(root).put(OTHER, b"{}")
    assert drafts(root) == [left]
    assert left.read_bytes() == before


def test_a_small_upload_leaves_nothing_to_go_on_with(root: Path) -> None:
    upload = DirectoryStore(root).begin(NAME, SIZE)
    send(upload, content("abcdefghi"))
    upload.abort()
    assert drafts(root) == []


# ---- what is there is held against what comes -------------------------------------------------------------


@pytest.mark.parametrize(
    ("earlier", "letters", "expected"),
    [
        ("abcdefghij", "abcdexyzuv", 5),  # from the middle on
        ("abcdefghij", "abcdeXghij", 5),  # in the middle only: what is behind it is not looked at
        ("abcdefghij", "Zbcdefghij", 10),
        ("abcdefghij", "abcdefghi.", 0),
        ("abc.......", "abc.......", 0),
        ("...defghij", "abcdefghij", 10),
        ("abcdefghij", "...defghij", 7),
        ("ab..ef..ij", "ab..ef..ij", 0),
        ("..........", "..........", 0),
    ],
)
def test_other_content(root: Path, earlier: str, letters: str, expected: int) -> None:
    killed(root, earlier, SIZE)
    assert gone_on_with(root, letters) == expected


@pytest.mark.parametrize("letters", ["ab..ef..ij", "abcdef....", "....efghij", ".........."])
def test_holes_stay_holes(tmp_path: Path, root: Path, letters: str) -> None:
    plain = tmp_path / "plain"
    plain.mkdir(mode=0o700)
    store(plain, letters)
    for stop in (5 * MEGABYTE, SIZE):
        killed(root, letters, stop) if letters[0] != "." else break_off(root, content(letters)[:stop])
        store(root, letters)
        assert_stored(root, letters)
        assert object_of(root).stat().st_blocks == object_of(plain).stat().st_blocks


def test_a_draft_that_is_longer_than_the_object(root: Path) -> None:
    left = killed(root, stop=SIZE)
    with left.open("ab") as file:
        file.write(b"x" * MEGABYTE)
    assert gone_on_with(root) == 0


@pytest.mark.parametrize("at", [0, 3 * MEGABYTE + 17, 6 * MEGABYTE - 1])
def test_a_byte_that_went_wrong(root: Path, at: int) -> None:
    left = killed(root)
    with left.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))
    count = store(root, LETTERS)
    assert SIZE - at <= count <= SIZE - at + PIECE
    assert_stored(root)


@pytest.mark.parametrize("by", ["pread", "preadv"])
def test_a_block_that_the_disk_cannot_read(root: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    """Neither when its digest is made nor when it is compared; the upload goes on as if nothing were there."""
    killed(root)
    real = getattr(os, by)

    def read(fd: int, what: Any, at: int) -> Any:
        if at >= 3 * MEGABYTE and ".uploads" in Path(f"/proc/self/fd/{fd}").readlink().parts:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(fd, what, at)

    monkeypatch.setattr(os, by, read)
    upload = opened(root).begin(NAME, SIZE)
    kept = b"".join(upload.kept(5 * MEGABYTE) or ())
    assert len(kept) == {"pread": 3 * MEGABYTE, "preadv": 5 * MEGABYTE}[by]
    send(upload, content(LETTERS))
    upload.commit(Digests(SIZE, "", ""))
    assert_stored(root)


def test_zeros_that_a_power_cut_left(root: Path) -> None:
    left = killed(root)
    os.truncate(left, 4 * MEGABYTE)
    os.truncate(left, 6 * MEGABYTE)
    assert gone_on_with(root) == 6


def test_a_commit_before_all_that_is_there_was_compared(root: Path) -> None:
    killed(root)
    upload = opened(root).begin(NAME, SIZE)
    send(upload, content("ab"))
    upload.commit(Digests(2 * MEGABYTE, "", ""))
    assert_stored(root, "ab")


def test_a_size_that_is_wrong_at_the_commit_leaves_nothing(root: Path) -> None:
    killed(root)
    upload = opened(root).begin(NAME, SIZE)
    send(upload, content(LETTERS)[:-1])
    with pytest.raises(CorruptTransfer):
        upload.commit(Digests(SIZE, "", ""))
    upload.abort()
    assert drafts(root) == []
    assert not object_of(root).exists()


def test_it_takes_the_place_of_an_older_object_with_another_etag(root: Path) -> None:
    old = opened(root).put(NAME, b"old")
    killed(root)
    assert opened(root).get(NAME) == (b"old", old)
    upload = opened(root).begin(NAME, SIZE, if_match=old)
    send(upload, content(LETTERS))
    assert upload.commit(Digests(SIZE, "", "")) == opened(root).stat(NAME)
    assert_stored(root)


# ---- hostile leftovers ------------------------------------------------------------------------------------


def a_link(place: Path, victim: Path) -> None:
    place.symlink_to(victim)


def a_fifo(place: Path, victim: Path) -> None:
    os.mkfifo(place)


def a_directory(place: Path, victim: Path) -> None:
    place.mkdir()


def a_second_name(place: Path, victim: Path) -> None:
    place.hardlink_to(victim)


def a_file_of_somebody_else(place: Path, victim: Path) -> None:
    place.write_bytes(victim.read_bytes())
    os.chown(place, 12345, 12345)


INTRUDERS = [a_link, a_fifo, a_directory, a_second_name, a_file_of_somebody_else]


@pytest.mark.parametrize("intrude", INTRUDERS)
def test_F18_by_the_name_of_a_draft(root: Path, tmp_path: Path, intrude: Callable[[Path, Path], None]) -> None:
    left = killed(root)
    victim = tmp_path / "victim"
    left.rename(victim)
    before = victim.read_bytes()
    intrude(left, victim)
    assert store(root, LETTERS) >= SIZE
    assert object_of(root).read_bytes() == content(LETTERS)
    assert object_of(root).stat().st_uid == os.geteuid()
    assert victim.read_bytes() == before
    assert not os.path.samestat(object_of(root).stat(), victim.stat())


def test_F18_a_mode_that_was_widened_is_narrowed(root: Path) -> None:
    killed(root).chmod(0o4777)
    assert gone_on_with(root) == 4


# ---- several at once --------------------------------------------------------------------------------------


def test_two_processes_at_once_share_no_draft(root: Path) -> None:
    killed(root, stop=3 * MEGABYTE)
    with uploading(root, "abcdefghij", 4 * MEGABYTE) as one, uploading(root, "klmnopqrst", 5 * MEGABYTE) as two:
        assert [path.stat().st_size for path in sorted(drafts(root), key=lambda path: path.stat().st_size)] == [
            4 * MEGABYTE,
            5 * MEGABYTE,
        ]
        said, _ = one.communicate("\n")
        assert MEGABYTE * 7 <= int(said) <= MEGABYTE * 7 + PIECE + 100
        assert object_of(root).read_bytes() == content("abcdefghij")
        two.communicate("\n")
        assert (one.returncode, two.returncode) == (0, 0)
    assert_stored(root, "klmnopqrst")


def test_of_two_that_were_killed_the_longest_is_gone_on_with_and_none_stays(root: Path) -> None:
    with uploading(root, LETTERS, 2 * MEGABYTE) as one, uploading(root, LETTERS, 7 * MEGABYTE) as two:
        for process in (one, two):
            process.send_signal(signal.SIGKILL)
            process.communicate()
    assert len(drafts(root)) == 2
    assert gone_on_with(root) == 3


# ---- given up in this process -----------------------------------------------------------------------------


def test_what_is_given_up_is_gone_on_with(root: Path) -> None:
    break_off(root, content("abcdefghi"))
    assert not object_of(root).exists()
    assert gone_on_with(root) == 1


def test_what_is_given_up_while_it_is_compared_stays_whole(root: Path) -> None:
    break_off(root, content("abcdefghi"))
    break_off(root, content("ab"))
    assert gone_on_with(root) == 1


def test_what_is_too_little_is_not_kept(root: Path) -> None:
    break_off(root, content("abcdefgh")[:-1])
    assert drafts(root) == []


def test_what_is_there_by_now_is_not_kept(root: Path) -> None:
    upload = opened(root).begin(NAME, SIZE)
    send(upload, content("abcdefghi"))
    store(root, LETTERS)
    upload.abort()
    assert_stored(root)


def test_an_interrupt_in_the_middle_of_a_part_leaves_it_to_the_next_run(root: Path) -> None:
    """SIGINT, delivered while the store itself writes."""
    killed(root, stop=9 * MEGABYTE)
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from tests.thoth.store.large_upload import NAME, content, opened\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "upload = opened(Path(sys.argv[1])).begin(NAME, 10 << 20)\n"
        "signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))\n"
        "data = content('abcdefghij')\n"
        "try:\n"
        "    signal.setitimer(signal.ITIMER_REAL, 0.2)\n"
        "    while True: upload.part(data)\n"
        "except KeyboardInterrupt:\n"
        "    upload.abort()\n"
        "    print('interrupted')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(root)], cwd=TOP, text=True, capture_output=True, check=False
    )
    assert done.stdout == "interrupted\n", done.stderr
    assert gone_on_with(root) == 0


def test_F56_no_descriptor_is_left_open(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - Path would count its own
    break_off(root, content("abcdefghi"))
    break_off(root, b"")
    store(root, LETTERS)
    break_off(root, content("abcdefghi"))
    opened(root).begin(NAME, SIZE - 1).abort()
    for left in opened(root).unfinished("/alice/stor/thoth"):
        opened(root).forget(left)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - as above


# ---- gone on with behind what is proved to be right -------------------------------------------------------


def begun_with(root: Path, size: int) -> bytes:
    """An upload that ended early when so many bytes had come."""
    data = content(LETTERS)
    earlier = opened(root).begin(NAME, len(data))
    send(earlier, data[:size], PIECE)
    earlier.abort()
    return data


@pytest.mark.parametrize("length", [1, PIECE, 9 * MEGABYTE - 1, 9 * MEGABYTE])
def test_what_an_earlier_upload_has_left_is_given_and_gone_on_behind(root: Path, length: int) -> None:
    data = begun_with(root, 9 * MEGABYTE)
    before, upload = written(), opened(root).begin(NAME, len(data))
    kept = upload.kept(length)
    assert kept is not None and b"".join(kept) == data[:length]
    upload.go_on(length)
    send(upload, data[length:], PIECE)
    upload.commit(Digests(len(data), "", ""))
    assert written() - before <= len(data) - 9 * MEGABYTE + 2 * PIECE
    assert_stored(root)


def test_more_than_there_is_is_not_given(root: Path) -> None:
    data = begun_with(root, 9 * MEGABYTE)
    upload = opened(root).begin(NAME, len(data))
    assert upload.kept(9 * MEGABYTE + 1) is None
    upload.abort()


def test_what_is_not_gone_on_with_is_discarded(root: Path) -> None:
    data = begun_with(root, 9 * MEGABYTE)
    store = opened(root)
    store.discard(NAME, len(data) + 1)
    store.discard(OTHER, len(data))
    assert len(drafts(root)) == 1
    upload = store.begin(NAME, len(data))  # who goes on with it is not disturbed
    opened(root).discard(NAME, len(data))
    assert len(drafts(root)) == 1
    send(upload, data, PIECE)
    upload.abort()
    store.discard(NAME, len(data))
    assert drafts(root) == []
