"""Copies of dumps on this machine: whole or not there, private, and removed when they should be."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import pytest

from tests.support.analysis import common_ground
from tests.support.arrivals import CORE, CUT, take
from tests.support.mishaps import small_disk
from tests.support.processes import wait_until
from thoth.analysis.accounts import reading_group
from thoth.analysis.cache import Cache
from thoth.analysis.removal import remove_tree
from thoth.errors import BadDocument, CacheError, CorruptTransfer, NoSuchObject, StoreError
from thoth.index.memory import MemoryIndex
from thoth.library import Thoth
from thoth.model import DumpInfo
from thoth.objects import dump_object
from thoth.store.base import ObjectStat, StoredObject
from thoth.store.memory import MemoryStore
from thoth.store.wrappers import Passing

NOBODY = 65534
SPARSE = CORE + bytes(8 << 20) + b"end" + bytes(3 << 20)


class Counting(Passing):
    """Counts how often an object is opened."""

    opened = 0

    def open(self, name: str) -> StoredObject:
        self.opened += 1
        return super().open(name)


@pytest.fixture
def store() -> Counting:
    return Counting(MemoryStore())


@pytest.fixture
def thoth(store: Counting) -> Thoth:
    return Thoth(store, MemoryIndex(), "bmc")


@pytest.fixture
def info(thoth: Thoth) -> DumpInfo:
    return take(thoth, CORE).info


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def cache(root: Path) -> Cache:
    return Cache(root)


@contextmanager
def as_user() -> Iterator[Path]:
    """This process is an ordinary user's, with a directory of his own."""
    with common_ground() as ground:
        place = ground / "own"
        place.mkdir()
        os.chown(place, NOBODY, NOBODY)
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
        try:
            yield place
        finally:
            os.seteuid(0)
            os.setegid(0)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def put(thoth: Thoth, info: DumpInfo, data: bytes) -> None:
    thoth.store.put(dump_object(thoth.user, info).name, data)


def names(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


# ---- borrowing ------------------------------------------------------------------------------------


def test_a_copy_is_where_the_original_has_it(thoth: Thoth, info: DumpInfo, cache: Cache, root: Path) -> None:
    with cache.borrow(thoth, info, keep=True) as copy:
        assert copy == root / info.id / "core.19972"
        assert copy.read_bytes() == CORE


def test_a_copy_that_is_kept_is_used_again(thoth: Thoth, store: Counting, info: DumpInfo, cache: Cache) -> None:
    for _ in range(3):
        with cache.borrow(thoth, info, keep=True) as copy:
            pass
    assert copy.read_bytes() == CORE
    assert store.opened == 1


def test_a_copy_that_is_not_kept_goes(thoth: Thoth, info: DumpInfo, cache: Cache, root: Path) -> None:
    with cache.borrow(thoth, info, keep=False) as copy:
        assert copy.read_bytes() == CORE
    assert names(root) == []


def test_a_copy_goes_after_a_failure_too(thoth: Thoth, info: DumpInfo, cache: Cache, root: Path) -> None:
    with pytest.raises(KeyboardInterrupt), cache.borrow(thoth, info, keep=False):
        raise KeyboardInterrupt
    assert names(root) == []


def test_a_copy_that_somebody_kept_stays(thoth: Thoth, store: Counting, info: DumpInfo, cache: Cache) -> None:
    with cache.borrow(thoth, info, keep=True):
        pass
    with cache.borrow(thoth, info, keep=False) as copy:
        pass
    assert copy.exists()
    assert store.opened == 1


def test_a_copy_is_kept_once_somebody_asks_for_it(thoth: Thoth, info: DumpInfo, cache: Cache) -> None:
    with cache.borrow(thoth, info, keep=False) as copy, Cache(copy.parents[1]).borrow(thoth, info, keep=True):
        pass
    assert copy.exists()


@pytest.mark.parametrize("keep", [True, False])
def test_all_of_it_may_be_removed_by_hand(thoth: Thoth, info: DumpInfo, cache: Cache, root: Path, keep: bool) -> None:
    for _ in range(2):
        with cache.borrow(thoth, info, keep=keep) as copy:
            assert copy.read_bytes() == CORE
            shutil.rmtree(root)
    assert not root.exists()


def test_the_last_who_uses_a_copy_removes_it(thoth: Thoth, store: Counting, info: DumpInfo, root: Path) -> None:
    with ExitStack() as second:
        with Cache(root).borrow(thoth, info, keep=False) as copy:
            second.enter_context(Cache(root).borrow(thoth, info, keep=False))
        assert copy.read_bytes() == CORE
    assert names(root) == []
    assert store.opened == 1


def test_two_share_one_download(thoth: Thoth, info: DumpInfo, cache: Cache) -> None:
    asked, done, opened = threading.Event(), threading.Event(), list[str]()

    class Slow(Passing):
        """Gives nothing before the second has asked too."""

        def stat(self, name: str) -> ObjectStat:
            if threading.current_thread() is second:
                asked.set()
            return super().stat(name)

        def open(self, name: str) -> StoredObject:
            opened.append(name)
            assert asked.wait(10)
            return super().open(name)

    slow = Thoth(Slow(thoth.store), thoth.index, thoth.user)
    read: list[bytes] = []

    def use(until: threading.Event) -> None:
        with cache.borrow(slow, info, keep=False) as copy:
            read.append(copy.read_bytes())
            done.set()
            assert until.wait(10)

    first = threading.Thread(target=use, args=[second_done := threading.Event()])
    second = threading.Thread(target=use, args=[done])
    first.start()
    assert wait_until(lambda: bool(opened), 10)
    second.start()
    second.join()
    second_done.set()
    first.join()
    assert read == [CORE, CORE]
    assert len(opened) == 1


def test_who_waits_for_the_last_to_remove_it_begins_anew(thoth: Thoth, info: DumpInfo, root: Path) -> None:
    with Cache(root).borrow(thoth, info, keep=True) as copy:
        pass
    read: list[bytes] = []

    def use() -> None:
        with Cache(root).borrow(thoth, info, keep=False) as copy:
            read.append(copy.read_bytes())

    with (copy.parent / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=use)
        thread.start()
        assert wait_until(lambda: f":{os.fstat(lock.fileno()).st_ino} " in _waiting_for_locks(), 10)
        shutil.rmtree(copy.parent)
    thread.join()
    assert read == [CORE]
    assert names(root) == []


def _waiting_for_locks() -> str:
    """Source: proc(5), /proc/locks."""
    return "\n".join(line for line in Path("/proc/locks").read_text().splitlines() if "->" in line)


def test_many_at_once(thoth: Thoth, info: DumpInfo, root: Path) -> None:
    read: list[bytes] = []

    def use() -> None:
        for _ in range(20):
            with Cache(root).borrow(thoth, info, keep=False) as copy:
                read.append(copy.read_bytes())

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read == [CORE] * 80
    assert names(root) == []


def test_progress_is_told(thoth: Thoth, cache: Cache) -> None:
    info, told = take(thoth, SPARSE).info, list[int]()
    with cache.borrow(thoth, info, keep=True, progress=told.append):
        pass
    assert told == sorted(told)
    assert told[-1] == len(SPARSE)


def test_progress_can_stop_it(thoth: Thoth, info: DumpInfo, cache: Cache, root: Path) -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), cache.borrow(thoth, info, keep=False, progress=stop):
        pass
    assert names(root) == []


def test_zeros_take_no_room(thoth: Thoth, cache: Cache) -> None:
    info = take(thoth, SPARSE).info
    with cache.borrow(thoth, info, keep=False) as copy:
        assert copy.read_bytes() == SPARSE
        assert copy.stat().st_blocks * 512 < 1 << 20


def test_the_expanded_form_is_preferred(thoth: Thoth, info: DumpInfo, cache: Cache) -> None:
    directory = f"{thoth.user}/stor/thoth/{info.id}"
    thoth.store.put(f"/{directory}/vmcore.0", b"expanded")
    expanded = info.changed(expanded={"dump": f"/{directory}/vmcore.0", "size": 8})
    with cache.borrow(thoth, expanded, keep=False) as copy, cache.borrow(thoth, info, keep=False) as raw:
        assert (copy.name, copy.read_bytes()) == ("vmcore.0", b"expanded")
        assert raw.read_bytes() == CORE


# ---- never another file, never a part -------------------------------------------------------------


def test_a_dump_that_was_replaced_is_fetched_again(thoth: Thoth, cache: Cache) -> None:
    with cache.borrow(thoth, take(thoth, CUT).info, keep=True) as copy:
        assert copy.read_bytes() == CUT
    with cache.borrow(thoth, take(thoth, CORE).info, keep=True) as copy:
        assert copy.read_bytes() == CORE


@pytest.mark.parametrize("there", [CORE[:-1], CORE[:-1] + b"\xff", b""], ids=["part", "other", "empty"])
def test_what_is_not_the_dump_is_not_used(thoth: Thoth, info: DumpInfo, root: Path, there: bytes) -> None:
    with Cache(root).borrow(thoth, info, keep=True) as copy:
        pass
    copy.write_bytes(there)
    with Cache(root).borrow(thoth, info, keep=True) as again:
        assert again.read_bytes() == CORE


def test_a_link_in_its_place_is_replaced(thoth: Thoth, info: DumpInfo, cache: Cache, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(CORE)
    other.chmod(0o600)
    with cache.borrow(thoth, info, keep=True) as copy:
        copy.unlink()
        copy.symlink_to(other)
    with cache.borrow(thoth, info, keep=True) as copy:
        assert not copy.is_symlink()
    assert mode(other) == 0o600


def test_a_link_in_place_of_its_directory_is_refused(
    thoth: Thoth, info: DumpInfo, cache: Cache, root: Path, tmp_path: Path
) -> None:
    root.mkdir(mode=0o700)
    other = tmp_path / "other"
    other.mkdir(mode=0o755)
    (root / info.id).symlink_to(other)
    with pytest.raises(CacheError, match=info.id), cache.borrow(thoth, info, keep=False):
        pass
    assert list(other.iterdir()) == []
    assert mode(other) == 0o755


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        (CORE[:-1], f"has {len(CORE) - 1} bytes, and {len(CORE)} in its document"),
        (CORE[:-1] + b"\xff", "has the SHA-256 [0-9a-f]{64}, and [0-9a-f]{64} in its document"),
    ],
)
def test_a_dump_that_is_damaged_in_the_store_is_refused(
    thoth: Thoth, info: DumpInfo, root: Path, stored: bytes, said: str
) -> None:
    put(thoth, info, stored)
    with pytest.raises(CorruptTransfer, match=said), Cache(root).borrow(thoth, info, keep=False):
        pass
    assert not root.exists() or names(root) == []


def test_a_document_without_digest_is_held_against_the_store(thoth: Thoth, info: DumpInfo, cache: Cache) -> None:
    told = {key: value for key, value in info.document.items() if key not in ("size", "sha256")}
    with cache.borrow(thoth, DumpInfo(told), keep=True) as copy:
        assert copy.read_bytes() == CORE
    put(thoth, info, CORE + b"more")
    with cache.borrow(thoth, DumpInfo(told), keep=True) as copy:
        assert copy.read_bytes() == CORE + b"more"


@pytest.mark.parametrize("keep", [True, False])
def test_a_store_that_fails_leaves_nothing(thoth: Thoth, info: DumpInfo, root: Path, keep: bool) -> None:
    class Failing(Passing):
        def open(self, name: str) -> StoredObject:
            raise StoreError(f"{name}: gone away")

    failing = Thoth(Failing(thoth.store), thoth.index, thoth.user)
    with pytest.raises(StoreError, match="gone away"), Cache(root).borrow(failing, info, keep=keep):
        pass
    assert names(root) == []


def test_a_purged_dump_says_when(thoth: Thoth, info: DumpInfo, cache: Cache) -> None:
    said = f"^{info.id}: was purged on 2023-11-14; only its document is left$"
    with pytest.raises(NoSuchObject, match=said), cache.borrow(thoth, info.changed(purged=1_700_000_000), keep=False):
        pass


@pytest.mark.parametrize("when", ["x", 1e300, [1], True])
def test_a_purged_dump_may_tell_no_date(thoth: Thoth, info: DumpInfo, cache: Cache, when: object) -> None:
    with pytest.raises(NoSuchObject, match=r"was purged"), cache.borrow(thoth, info.changed(purged=when), keep=False):
        pass


def test_a_lost_dump_says_so(thoth: Thoth, info: DumpInfo, cache: Cache) -> None:
    thoth.store.delete(dump_object(thoth.user, info).name)
    said = f"^{info.id}: its dump is lost: the store has no /bmc/stor/thoth/{info.id}/core.19972; see 'thoth scrub'$"
    with pytest.raises(NoSuchObject, match=said), cache.borrow(thoth, info, keep=False):
        pass


def test_a_document_that_names_no_dump(thoth: Thoth, info: DumpInfo, cache: Cache) -> None:
    with pytest.raises(BadDocument), cache.borrow(thoth, info.changed(dump="../.."), keep=False):
        pass


def test_no_room(thoth: Thoth, tmp_path: Path) -> None:
    info = take(thoth, CORE + os.urandom(2 << 20)).info
    with small_disk(tmp_path / "disk", "1m") as disk:
        place = disk / "cache"
        said = f"^cache {re.escape(str(place))}: no room for the {info.size} bytes of /bmc/.*THOTH_CACHE$"
        with pytest.raises(CacheError, match=said), Cache(place).borrow(thoth, info, keep=False):
            pass
        assert names(place) == []


# ---- what the killed leave ------------------------------------------------------------------------


def in_a_process_that_dies(work: Callable[[], None]) -> None:
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


def die(_: object = None) -> None:
    os._exit(0)


def test_a_copy_of_a_killed_process_goes(thoth: Thoth, info: DumpInfo, root: Path) -> None:
    def work() -> None:
        with Cache(root).borrow(thoth, info, keep=False):
            die()

    in_a_process_that_dies(work)
    assert f"{info.id}/core.19972" in names(root)
    with Cache(root).work():
        assert not (root / info.id).exists()


def test_a_draft_of_a_killed_process_goes(thoth: Thoth, info: DumpInfo, root: Path) -> None:
    def work() -> None:
        with Cache(root).borrow(thoth, info, keep=True, progress=die):
            pass

    in_a_process_that_dies(work)
    assert any(name.endswith(".draft") for name in names(root))
    with Cache(root).work():
        assert not any(name.endswith(".draft") for name in names(root))


def test_a_run_s_directory_is_left_alone_as_long_as_it_lives(root: Path) -> None:
    with Cache(root).work() as work, Cache(root).work() as other:
        assert work != other
        assert work.is_dir()


# ---- whose it is ----------------------------------------------------------------------------------


def test_root_s_cache_can_be_passed_through_and_read(thoth: Thoth, info: DumpInfo, cache: Cache, root: Path) -> None:
    with cache.borrow(thoth, info, keep=True) as copy:
        found = copy.stat()
        assert (mode(copy), found.st_uid, found.st_gid) == (0o440, 0, reading_group())
        assert (mode(root), mode(root / info.id)) == (0o710, 0o710)
        assert root.stat().st_gid == copy.parent.stat().st_gid == reading_group()


def test_a_user_s_cache_is_his(thoth: Thoth, info: DumpInfo) -> None:
    with as_user() as place, Cache(place / "cache").borrow(thoth, info, keep=True) as copy:
        assert copy.read_bytes() == CORE
        assert (mode(copy), mode(copy.parent), mode(copy.parents[1])) == (0o400, 0o700, 0o700)


def test_what_is_missing_is_made_whatever_the_umask(tmp_path: Path) -> None:
    os.umask(0o077)
    with Cache(tmp_path / "a" / "b" / "cache").work():
        assert [mode(tmp_path / name) for name in ("a", "a/b", "a/b/cache")] == [0o755, 0o755, 0o710]


def _link(root: Path) -> None:
    root.symlink_to(root.parent)


def _file(root: Path) -> None:
    root.touch()


def _open(root: Path) -> None:
    root.mkdir(0o755)


def _others(root: Path) -> None:
    root.mkdir(0o700)
    os.chown(root, 1000, 0)


def _open_above(root: Path) -> None:
    root.mkdir(0o700)
    root.parent.chmod(0o777)


def _others_above(root: Path) -> None:
    root.mkdir(0o700)
    os.chown(root.parent, 1000, 0)


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (_link, "is a link; remove it"),
        (_file, "File exists"),
        (_open, "has mode 0755 and must have 0700; chmod 700 it"),
        (_others, r"belongs to another user \(uid 1000\)"),
        (_open_above, "others may write to /.*; chmod go-w it"),
        (_others_above, r"/.* belongs to another user \(uid 1000\)"),
    ],
)
def test_a_cache_that_is_not_ours_alone_is_refused(root: Path, prepare: Callable[[Path], None], said: str) -> None:
    prepare(root)
    with pytest.raises(CacheError) as refused, Cache(root).work():
        pass
    text = str(refused.value)
    assert re.search(said, text)
    assert text.startswith(f"cache {root}: ")
    assert text.endswith("name a directory of your own with THOTH_CACHE")
    assert "\n" not in text


def test_a_place_that_a_user_cannot_go_to(root: Path) -> None:
    said = f"^cache {re.escape(str(root))}: Permission denied; name a directory of your own with THOTH_CACHE$"
    with as_user(), pytest.raises(CacheError, match=said), Cache(root).work():
        pass


# ---- a run's directory ----------------------------------------------------------------------------


def test_a_run_s_directory_is_private_and_goes(root: Path) -> None:
    with Cache(root).work() as work:
        assert re.fullmatch(r"\.run-[0-9a-f]{32}", work.name)
        assert (work.parent, mode(work), list(work.iterdir())) == (root, 0o700, [])
        (work / "file").write_text("x")
    assert names(root) == []


def test_it_goes_when_the_run_fails(root: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Cache(root).work():
        raise KeyboardInterrupt
    assert names(root) == []


def test_it_may_be_gone_already(root: Path) -> None:
    with Cache(root).work() as work:
        work.rmdir()
    assert names(root) == []


def fill(top: Path) -> None:
    """What is hard to remove: very deep, very wide, links out, and directories that let nobody in."""
    for number in range(1500):
        (top / f"{number}").touch()
    (top / "link").symlink_to(top.parent)
    (top / "closed" / "inner").mkdir(parents=True)
    (top / "closed" / "inner" / "file").touch()
    (top / "closed" / "inner").chmod(0)
    (top / "closed").chmod(0)
    here = os.open(top, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        there = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = there
    os.close(here)


@pytest.mark.parametrize("user", [0, NOBODY])
def test_whatever_is_in_a_directory_is_removed(user: int) -> None:
    # In memory, where thousands of directories are made in no time.
    with common_ground() as ground, small_disk(ground / "disk", "64m") as disk:
        outside = disk / "outside"
        outside.touch(0o600)
        top = disk / "top"
        top.mkdir()
        for each in (disk, outside, top):
            os.chown(each, user, user)
        with as_user() if user else nullcontext():
            fill(top)
            remove_tree(top)
            assert names(disk) == ["outside"]
        assert mode(outside) == 0o600
