"""A large upload into the directory store that ended early, and the next one, which goes on with it."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.mishaps import small_disk
from tests.thoth.store.large_upload import MEGABYTE, NAME, PIECE, content, opened, send, store, written
from tests.thoth.store.traced import TOP, Run, traced
from thoth.errors import CorruptTransfer, NoRoom, NoSuchObject, StoreError
from thoth.store.base import ABSENT, Digests, Upload
from thoth.store.directory import DirectoryStore

MODULE = "tests.thoth.store.large_upload"
LETTERS = "abcdefghij"
SIZE = len(LETTERS) * MEGABYTE
OTHER = "/alice/stor/thoth/other"
WEEK = 7 * 24 * 3600
CALLS = ("openat", "flock", "utimensat", "preadv", "preadv2", "ftruncate", "write", "fsync", "renameat")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir(mode=0o700)
    return tmp_path / "store"


@contextmanager
def uploading(root: Path, letters: str, stop: int) -> Iterator[subprocess.Popen[str]]:
    """A process that has sent so many bytes, and waits for a line."""
    command = [sys.executable, "-m", MODULE, str(root), letters, str(stop)]
    with subprocess.Popen(command, cwd=TOP, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write("\n")
        process.stdin.flush()
        assert [process.stdout.readline() for _ in range(2)] == ["ready\n", "there\n"]
        yield process


def killed(root: Path, letters: str = LETTERS, stop: int = 6 * MEGABYTE) -> Path:
    """What a process leaves that was killed when it had sent so many bytes."""
    before = {*drafts(root)}
    with uploading(root, letters, stop) as process:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    (draft,) = {*drafts(root)} - before
    return draft


def drafts(root: Path) -> list[Path]:
    return sorted((root / ".uploads").iterdir()) if (root / ".uploads").exists() else []


def object_of(root: Path) -> Path:
    return root / NAME[1:]


def assert_stored(root: Path, letters: str = LETTERS) -> None:
    """The object is there, as it would be had nothing happened, and nothing else is."""
    assert object_of(root).read_bytes() == content(letters)
    status = object_of(root).lstat()
    assert (stat.S_IMODE(status.st_mode), status.st_nlink, status.st_uid) == (0o600, 1, os.geteuid())
    assert drafts(root) == []


@contextmanager
def begun(root: Path, name: str, size: int) -> Iterator[Upload]:
    """An upload that holds no file of the store any more when the test is over."""
    upload = opened(root).begin(name, size)
    try:
        yield upload
    finally:
        upload.abort()


def break_off(root: Path, data: bytes, size: int = SIZE) -> None:
    """An upload of ``size`` bytes that is given up after these."""
    upload = opened(root).begin(NAME, size)
    send(upload, data)
    upload.abort()


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


def calls_of_the_next(root: Path) -> Counter[str]:
    """How often each call is made by an upload that goes on where another one was killed in the middle."""
    killed(root)
    return Counter(name for name, _ in traced_upload(root).calls)


def kill_twice(root: Path, first: int, call: str, number: int) -> None:
    """Kill an upload at one of its writes, the next one at this call, and see what a third one does."""
    root.mkdir(mode=0o700)
    assert traced_upload(root, "-e", f"inject=write:signal=KILL:when={first}").status == -signal.SIGKILL
    assert not object_of(root).exists()
    assert traced_upload(root, "-e", f"inject={call}:signal=KILL:when={number}").status == -signal.SIGKILL
    there = sum(left.stat().st_size for left in drafts(root))
    if object_of(root).exists():
        assert_stored(root)
    count = store(root, LETTERS)
    assert SIZE - there <= count <= SIZE - there + PIECE
    assert_stored(root)


def test_F30_killed_again_while_it_goes_on(tmp_path: Path, root: Path) -> None:
    made = calls_of_the_next(root)
    assert {*CALLS} - {*made} in ({"preadv"}, {"preadv2"})  # which of them os.preadv is, differs
    for call, count in made.items():
        number = 1 if call == "fsync" else (count + 1) // 2  # the first is the draft's
        kill_twice(tmp_path / call, 20, call, number)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", [2, 20, 34])
def test_F30_killed_again_at_every_call(tmp_path: Path, root: Path, first: int) -> None:
    for call, count in calls_of_the_next(root).items():
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


def gone_on_with(root: Path, letters: str = LETTERS) -> int:
    """Upload it in this process, and see that it is right. Returns how many megabytes were written."""
    count = store(root, letters)
    assert_stored(root, letters)
    assert not count % MEGABYTE
    return count // MEGABYTE


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
        "import thoth.durable\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "upload = opened(Path(sys.argv[1])).begin(NAME, 10 << 20)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.2)\n"
        "signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))\n"
        "data = content('abcdefghij')\n"
        "try:\n"
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
    for left in opened(root).unfinished():
        opened(root).forget(left)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - as above


# ---- how long it stays ------------------------------------------------------------------------------------


def aged(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_it_is_swept_after_a_week(root: Path) -> None:
    left = killed(root)
    aged(left, WEEK - 60)
    opened(root).put(OTHER, b"{}")
    assert drafts(root) == [left]
    aged(left, WEEK + 60)
    opened(root).put(OTHER, b"{}")
    assert drafts(root) == []


def test_its_week_begins_anew_when_it_is_taken_up(root: Path) -> None:
    left = killed(root)
    aged(left, WEEK - 60)
    opened(root).begin(NAME, SIZE).abort()
    assert drafts(root) == []  # too little to be kept
    left = killed(root, stop=9 * MEGABYTE)
    aged(left, WEEK - 60)
    opened(root).begin(NAME, SIZE).abort()
    assert left.stat().st_mtime > time.time() - 60


def test_what_is_unfinished_is_told_and_forgotten(root: Path) -> None:
    store = opened(root)
    assert [*store.unfinished()] == []
    left = killed(root)
    with uploading(root, "klmnopqrst", 5 * MEGABYTE) as process:  # the first goes on with what was left
        assert [*store.unfinished()] == []
        process.send_signal(signal.SIGKILL)
        process.communicate()
    (unfinished,) = store.unfinished()
    assert unfinished.size == left.stat().st_blocks * 512 >= 5 * MEGABYTE
    assert unfinished.mtime == pytest.approx(left.stat().st_mtime)
    going_on = store.begin(NAME, SIZE)
    with pytest.raises(NoSuchObject, match=r"is gone, or an upload goes on with it"):
        store.forget(unfinished)
    assert drafts(root) == [left]
    going_on.abort()
    opened(root).put(OTHER, b"")
    killed(root)
    (unfinished,) = store.unfinished()
    store.forget(unfinished)
    assert drafts(root) == []
    with pytest.raises(NoSuchObject):
        store.forget(unfinished)


def test_a_store_that_is_not_there_yet_has_nothing_unfinished(tmp_path: Path) -> None:
    assert [*DirectoryStore(tmp_path / "new", create=True).unfinished()] == []
    with pytest.raises(StoreError, match="no such directory"):
        [*DirectoryStore(tmp_path / "new").unfinished()]


# ---- when room is short -----------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for one object of that size, and two megabytes more."""
    with small_disk(tmp_path / "disk", "12m") as folder:
        yield folder


def test_F10_what_is_gone_on_with_needs_no_second_room(disk: Path) -> None:
    killed(disk)
    assert gone_on_with(disk) == 4


def test_F10_what_is_gone_on_with_needs_nobody_elses_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "14m") as disk:
        killed(disk)
        others = disk / ".uploads" / f".thoth-{'00' * 16}-{'0' * 32}.draft"
        others.write_bytes(b"x" * 2 * MEGABYTE)
        opened(disk).begin(NAME, SIZE).abort()
        assert drafts(disk) == [others]


def test_F10_another_upload_that_finds_room_beside_it_spares_it(disk: Path) -> None:
    left = killed(disk)
    opened(disk).begin(OTHER, 3 * MEGABYTE).abort()
    assert drafts(disk) == [left]


@pytest.mark.parametrize("size", [5 * MEGABYTE + 1, 7 * MEGABYTE])
def test_F10_another_upload_that_finds_none_sweeps_it(disk: Path, size: int) -> None:
    left = killed(disk)
    with begun(disk, OTHER, size) as upload:
        assert left not in drafts(disk)
        upload.part(b"x" * size)
        upload.commit(Digests(size, "", ""))


def test_F10_a_document_for_which_it_leaves_no_room(disk: Path) -> None:
    left = killed(disk)
    with (disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space"):
        while True:
            filler.write(bytes(4096))
    opened(disk).put(OTHER, b"x" * 5000, if_match=ABSENT)
    assert not left.exists()


def test_F10_no_inode_but_its_own_is_left(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "12m,nr_inodes=40") as disk:
        opened(disk).put(OTHER, b"{}")
        left = killed(disk)
        for number in range(os.statvfs(disk).f_favail):
            (disk / f"filler.{number}").touch()
        opened(disk).put(OTHER, b"{}")
        assert not left.exists()


def test_F10_there_is_no_room_for_the_rest(disk: Path) -> None:
    left = killed(disk)
    filler = disk / "filler"
    filler.write_bytes(bytes(3 * MEGABYTE))
    with pytest.raises(NoRoom, match=rf"^store {disk}: {NAME} needs {4 * MEGABYTE} more bytes and [23]\d+ are free"):
        opened(disk).begin(NAME, SIZE)
    assert drafts(disk) == [left]  # somebody may make room
    filler.unlink()
    assert gone_on_with(disk) == 4


def test_F10_a_disk_that_fills_up_while_it_is_gone_on_with(disk: Path) -> None:
    killed(disk)
    with begun(disk, NAME, SIZE) as upload:
        (disk / "filler").write_bytes(bytes(4 * MEGABYTE))
        with pytest.raises(NoRoom, match=f"^store {disk}: no space"):
            send(upload, content(LETTERS))
    assert drafts(disk) == []  # there is room for others


def test_bytes_are_counted() -> None:
    """The measure that these tests go by."""
    before = written()
    with Path(os.devnull).open("wb", buffering=0) as sink:
        sink.write(bytes(12345))
    assert written() - before == 12345
