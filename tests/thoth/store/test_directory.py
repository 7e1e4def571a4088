from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.thoth.store.one_upload import CORE, DUMP, INFO, store_dump
from thoth.errors import NoRoom, NoSuchObject, PreconditionFailed, StoreError, StoreUnavailable
from thoth.index.of_store import OfStore
from thoth.index.sqlite import SqliteIndex
from thoth.model import DumpInfo
from thoth.store.base import ABSENT, Digests
from thoth.store.directory import DirectoryStore
from thoth.store.refusals import writing
from thoth.tie import Tie, TiedIndex, TiedStore

TOP = Path(__file__).parents[3]
HERE = "/alice/stor/thoth"


@contextmanager
def umask(bits: int) -> Iterator[None]:
    before = os.umask(bits)
    try:
        yield
    finally:
        os.umask(before)


def drafts(root: Path) -> list[str]:
    return [path.name for path in (root / ".uploads").iterdir()]


# ---- layout and modes -----------------------------------------------------------------------------


def test_the_layout_is_mantas(root: Path) -> None:
    store_dump(DirectoryStore(root), "x")
    files = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    assert files == [".lock", CORE[1:], INFO[1:]]


@pytest.mark.parametrize("bits", [0o000, 0o022, 0o277])
def test_F18_modes_whatever_the_umask(tmp_path: Path, bits: int) -> None:
    with umask(bits):
        store_dump(DirectoryStore(tmp_path / "a" / "store", create=True), "x")
    modes = {
        (path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in tmp_path.rglob("*") if path.name != ".lock"
    }
    assert modes == {(True, 0o700), (False, 0o600)}
    assert not (tmp_path / "a/store/.lock").stat().st_mode & 0o077


def test_objects_of_others_tools_are_listed_but_not_their_dot_files(root: Path) -> None:
    (root / "alice").mkdir()
    (root / "alice" / ".zfs").mkdir()
    (root / "alice" / "x").write_bytes(b"abc")
    os.utime(root / "alice" / "x", (-5.0, -5.0))
    (entry,) = DirectoryStore(root).list("/alice")
    assert (entry.name, entry.size, entry.mtime) == ("x", 3, -5.0)


# ---- the root -------------------------------------------------------------------------------------


def every_call(store: DirectoryStore) -> list[Callable[[], object]]:
    return [
        lambda: store.stat(INFO),
        lambda: store.get(INFO),
        lambda: store.open(INFO).close(),
        lambda: list(store.list(HERE)),
        lambda: store.put(INFO, b"{}"),
        lambda: store.begin(CORE, 0).abort(),
        lambda: store.delete(INFO),
    ]


def assert_refused(root: Path, words: str) -> None:
    for call in every_call(DirectoryStore(root)):
        with pytest.raises(StoreUnavailable, match=f"^store {root}: .*{words}") as caught:
            call()
        assert "\n" not in str(caught.value)


def test_F18_a_root_of_somebody_else(root: Path) -> None:
    os.chown(root, 12345, 0)
    assert_refused(root, "belongs to uid 12345 .*; run as its owner or choose another")


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o1777])
def test_F18_a_root_that_others_may_write_to(root: Path, mode: int) -> None:
    root.chmod(mode)
    assert_refused(root, f"others may write to it .*; chmod go-w {root}")
    root.chmod(0o755)
    DirectoryStore(root).put(INFO, b"{}")


def test_F18_a_root_that_is_a_link(tmp_path: Path, root: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert_refused(tmp_path / "link", "is a symbolic link; name what it points to")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert_refused(tmp_path / "dangling", "is a symbolic link")


def test_a_root_that_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert_refused(tmp_path / "file", "is not a directory")
    assert_refused(tmp_path / "missing", "no such directory; mount it, or make an empty one with 'thoth init'")


def test_a_root_that_may_be_made_is_made_by_the_first_write(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "a" / "b", create=True)
    assert list(store.list(HERE)) == []
    with pytest.raises(NoSuchObject):
        store.get(INFO)
    with pytest.raises(NoSuchObject):
        store.delete(INFO)
    assert list(tmp_path.iterdir()) == []
    store.put(INFO, b"{}")
    assert store.get(INFO)[0] == b"{}"


def test_threads_may_make_the_root_together(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "a" / "b", create=True)
    threads = [threading.Thread(target=store.put, args=(f"/alice/{n}/x", b"x")) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.name for entry in store.list("/alice")] == [str(n) for n in range(8)]


# ---- a disk that is full, read-only or failing ----------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB and 40 inodes.

    It is mounted in a namespace of its own, which a process holds and which is reached through /proc: nobody
    else sees the mount, and it goes with the process, however this one ends.
    """
    place = tmp_path / "disk"
    place.mkdir()
    script = 'mount -t tmpfs -o size=1m,nr_inodes=40,mode=0700 tmpfs "$1" && echo mounted && read -r _'
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(place)],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as holder:
        assert holder.stdout
        said = holder.stdout.readline()
        assert said == "mounted\n", f"these tests mount a small tmpfs, which needs root: {said}"
        yield Path(f"/proc/{holder.pid}/root{place}")
        holder.communicate()


def make_read_only(disk: Path) -> None:
    _, _, holder, _, *place = disk.parts
    inside = ["nsenter", "--mount", "--target", holder]
    subprocess.run([*inside, "mount", "-o", "remount,ro", f"/{'/'.join(place)}"], check=True)


def test_F10_free_space_is_looked_at_first(disk: Path) -> None:
    store = DirectoryStore(disk)
    with pytest.raises(NoRoom, match=rf"^store {disk}: {CORE} needs 1099511627776 bytes and 10\d+ are free"):
        store.begin(CORE, 1 << 40)
    assert list(disk.iterdir()) == []


def test_F10_what_is_free_is_told_also_before_the_first_dump(disk: Path) -> None:
    store = DirectoryStore(disk / "store", create=True)
    before = store.free()
    assert before == os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    store_dump(store, "first")
    after = store.free()
    assert after is not None and after < before


def test_F10_what_a_dead_upload_left_is_swept_when_room_is_short(disk: Path) -> None:
    """A draft that nobody holds, large enough that the next upload finds no room beside it."""
    store_dump(DirectoryStore(disk), "first")
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    left = disk / ".uploads" / f".thoth-{'0' * 32}.draft"
    left.write_bytes(bytes(free - (64 << 10)))
    DirectoryStore(disk).begin(CORE, 128 << 10).abort()
    assert not left.exists()


def test_F10_a_disk_that_fills_up(disk: Path) -> None:
    store = DirectoryStore(disk)
    store.put("/alice/kept", b"kept")
    upload = store.begin(CORE, 0)
    with pytest.raises(NoRoom, match=f"^store {disk}: no space") as caught:
        for _ in range(40):
            upload.part(bytes(1 << 15))
    assert "\n" not in str(caught.value)
    assert drafts(disk) == []  # the space is free again
    with pytest.raises(StoreError, match="over"):
        upload.commit(Digests(0, "", ""))
    upload.abort()
    store_dump(store, "x")  # and a smaller one goes in
    assert store.get("/alice/kept")[0] == b"kept"


def test_F10_one_part_that_does_not_fit(disk: Path) -> None:
    upload = DirectoryStore(disk).begin(CORE, 0)
    with pytest.raises(NoRoom, match=f"^store {disk}: no space"):
        upload.part(b"x" * (2 << 20))  # some of it is written before the disk is full
    assert drafts(disk) == []


def test_F10_a_full_disk_takes_no_document_and_loses_none(disk: Path) -> None:
    store = DirectoryStore(disk)
    etag = store.put(INFO, b"{}")
    with (disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space"):
        while True:
            filler.write(bytes(4096))
    with pytest.raises(StoreUnavailable, match=f"^store {disk}: no space") as caught:
        store.put(INFO, b"x" * 5000, if_match=etag)
    assert not isinstance(caught.value, NoRoom)
    assert store.get(INFO) == (b"{}", etag)
    assert drafts(disk) == []


def test_F10_no_inode_is_left(disk: Path) -> None:
    store = DirectoryStore(disk)
    with pytest.raises(StoreUnavailable, match="no space or no inode"):
        for number in range(40):
            store.put(f"/alice/{number}", b"")
    assert drafts(disk) == []
    (disk / "alice" / "0").unlink()
    store.put("/alice/0", b"")


def test_F10_a_read_only_disk(disk: Path) -> None:
    store = DirectoryStore(disk)
    store.put(INFO, b"{}")
    make_read_only(disk)
    assert store.get(INFO)[0] == b"{}"
    for write in (lambda: store.put(INFO, b"x"), lambda: store.begin(CORE, 1), lambda: store.delete(INFO)):
        with pytest.raises(StoreUnavailable, match=f"^store {disk}: it is mounted read-only; remount it"):
            write()


def test_a_store_that_can_only_be_read_has_no_mark_and_is_indexed(disk: Path, tmp_path: Path) -> None:
    store = DirectoryStore(disk)
    store.put(INFO, b"{}")
    make_read_only(disk)
    assert (store.make_mark(), store.mark()) == (None, None)
    with closing(SqliteIndex(tmp_path / "index.db")) as index:
        index.speak_of(OfStore("0" * 32, tmp_path), instead_of=None)
        tie = Tie(store, index, "alice", named=True)
        assert tie.renew()
        assert TiedIndex(index, tie).put(DumpInfo({"id": "0f" * 16}))
        assert index.store() is None
        with pytest.raises(StoreUnavailable, match=f"^store {disk}: it is mounted read-only; remount it"):
            TiedStore(store, tie).put(INFO, b"x")


# ---- etags ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tick", [0, -1, -(10**9)], ids=["frozen", "backwards", "a second back"])
def test_F19_etags_differ_whatever_the_clock_does(root: Path, tick: int) -> None:
    times = iter(range(10**18, 10**18 + (tick or 1) * 1000, tick or 1))
    store = DirectoryStore(root, now_ns=lambda: next(times) if tick else 10**18)
    etags = [store.put(INFO, b"%03d" % number) for number in range(100)]
    mtimes = [etag.split("-")[1] for etag in etags]
    assert len(set(mtimes)) == 100  # whichever inodes they got
    assert mtimes == sorted(mtimes)


def test_an_object_has_the_time_of_the_stores_clock(root: Path) -> None:
    # Not the kernel's, which may stand still for milliseconds: long enough to delete and make one again.
    store = DirectoryStore(root, now_ns=lambda: 1_700_000_000_123_456_789)
    etag = store.put(INFO, b"{}")
    assert etag.split("-")[1] == f"{1_700_000_000_123_456_789:x}"
    assert [entry.mtime for entry in store.list(DUMP)] == [pytest.approx(1_700_000_000.1234567)]


def test_a_file_that_was_edited_in_place_has_another_etag(root: Path) -> None:
    store = DirectoryStore(root)
    etag = store.put(INFO, b"one")
    (root / INFO[1:]).write_bytes(b"two")
    assert store.get(INFO)[1] != etag
    with pytest.raises(PreconditionFailed):
        store.put(INFO, b"three", if_match=etag)


# ---- several processes ----------------------------------------------------------------------------

ADD = """
import sys
from pathlib import Path
from thoth.errors import PreconditionFailed
from thoth.store.directory import DirectoryStore
store = DirectoryStore(Path(sys.argv[1]))
left = int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
while left:
    data, etag = store.get("/alice/count")
    try:
        store.put("/alice/count", b"%d" % (int(data) + 1), if_match=etag)
    except PreconditionFailed:
        continue
    left -= 1
"""

HOLD = """
import sys
from pathlib import Path
from thoth.store.base import Digests
from thoth.store.directory import DirectoryStore
upload = DirectoryStore(Path(sys.argv[1])).begin("/alice/held", 4)
upload.part(b"held")
print("ready", flush=True)
sys.stdin.readline()
upload.commit(Digests(4, "", ""))
"""


@contextmanager
def started(program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has said it is ready, and waits for a line."""
    command = [sys.executable, "-c", program, *arguments]
    with subprocess.Popen(command, cwd=TOP, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield process


def add_from_two_processes(root: Path, rounds: int) -> None:
    store = DirectoryStore(root)
    store.put("/alice/count", b"0", if_match=ABSENT)
    with started(ADD, str(root), str(rounds)) as one, started(ADD, str(root), str(rounds)) as two:
        for process in (one, two):
            assert process.stdin
            process.stdin.write("\n")
            process.stdin.flush()
        assert (one.wait(), two.wait()) == (0, 0)
    assert store.get("/alice/count")[0] == b"%d" % (2 * rounds)


def test_F36_two_processes_lose_no_change(root: Path) -> None:
    add_from_two_processes(root, 200)


@pytest.mark.soak
def test_F36_two_processes_lose_no_change_for_long(root: Path) -> None:
    add_from_two_processes(root, 10_000)


def test_a_live_upload_is_not_swept(root: Path) -> None:
    with started(HOLD, str(root)) as process:
        mine = DirectoryStore(root).begin(CORE, 0)
        assert len(drafts(root)) == 2
        process.communicate("\n")
        assert process.returncode == 0
        mine.abort()
    assert DirectoryStore(root).get("/alice/held")[0] == b"held"
    assert drafts(root) == []


@pytest.mark.parametrize("write", ["begin", "put"])
def test_F30_a_dead_upload_is_swept_by_the_first_write(root: Path, write: str) -> None:
    with started(HOLD, str(root)) as process:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    store = DirectoryStore(root)
    assert list(store.list("/alice")) == []
    assert len(drafts(root)) == 1
    if write == "begin":
        store.begin(CORE, 0).abort()
    else:
        store.put(INFO, b"{}")
    assert drafts(root) == []


# ---- bounds ---------------------------------------------------------------------------------------


def test_F56_no_descriptor_is_left_open(root: Path) -> None:
    store = DirectoryStore(root)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - Path would count its own
    store_dump(store, "x")
    for call in every_call(store):
        call()
    for name in ("/alice/none", f"{INFO}/x", HERE, "/a/../b"):
        for ask in (
            store.stat,
            store.get,
            store.open,
            store.delete,
            lambda name: store.put(name, b"", if_match="x"),
        ):
            with pytest.raises(StoreError):
                ask(name)
    next(store.list(HERE))
    upload = store.begin(CORE, 1)
    with pytest.raises(StoreError):
        upload.commit(Digests(1, "", ""))
    del upload
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - as above


def test_a_large_upload_is_whole(root: Path) -> None:
    store = DirectoryStore(root)
    upload = store.begin(CORE, 0)
    blocks = [bytes([number]) * (1 << 20) for number in range(20)]
    for block in blocks:
        upload.part(block)
    upload.commit(Digests(20 << 20, "", ""))
    assert store.get(CORE)[0] == b"".join(blocks)


@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_a_store_that_may_not_be_made_names_the_directory_that_refuses(mode: int) -> None:
    with TemporaryDirectory(dir="/var/tmp") as directory:  # whose parents all may look into
        closed = Path(directory)
        closed.chmod(mode)
        root = closed / "dumps/store"
        os.seteuid(65534)
        try:
            with pytest.raises(StoreUnavailable) as caught, writing(root, "/u/stor/x"):
                root.mkdir(parents=True)
        finally:
            os.seteuid(0)
        said = f"cannot be made: access denied in {closed}; let this user write there, or name another store"
        assert str(caught.value) == f"store {root}: {said} (/u/stor/x)"
