"""Copies of dumps on this machine: whole or not there, private, and removed when they should be."""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.analysis import as_user, mode, names
from tests.support.arrivals import CORE, take
from tests.support.memory_index import MemoryIndex
from tests.support.memory_store import MemoryStore
from tests.support.processes import wait_until
from thoth.analysis.accounts import reading_group
from thoth.analysis.cache import Cache
from thoth.library import Thoth
from thoth.model import DumpInfo
from thoth.store.base import ObjectStat, StoredObject
from thoth.store.wrappers import Passing

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
def info(thoth: Thoth, store: Counting) -> DumpInfo:
    found = take(thoth, CORE).info
    store.opened = 0  # what is stored was read for its stacks
    return found


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


def test_a_copy_that_is_forgotten_goes(thoth: Thoth, info: DumpInfo, cache: Cache, root: Path) -> None:
    with cache.borrow(thoth, info, keep=True):
        pass
    cache.forget(info.id)
    assert names(root) == []


def test_a_copy_that_is_forgotten_goes_when_nobody_uses_it_any_more(
    thoth: Thoth, info: DumpInfo, cache: Cache, root: Path
) -> None:
    with cache.borrow(thoth, info, keep=True) as copy:
        Cache(root).forget(info.id)
        assert copy.read_bytes() == CORE
    assert names(root) == []


def test_nothing_is_made_to_forget_what_is_not_there(info: DumpInfo, root: Path) -> None:
    Cache(root / "none").forget(info.id)
    assert not (root / "none").exists()


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


def test_who_waits_for_another_s_download_can_give_up(thoth: Thoth, info: DumpInfo, cache: Cache, root: Path) -> None:
    with cache.borrow(thoth, info, keep=True) as copy, (copy.parent / ".fetch").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(KeyboardInterrupt), Cache(root).borrow(thoth, info, keep=False, progress=give_up):
            pass
    assert copy.exists()


def test_who_checks_a_copy_can_give_up(thoth: Thoth, info: DumpInfo, cache: Cache) -> None:
    with cache.borrow(thoth, info, keep=True) as copy:
        pass
    with pytest.raises(KeyboardInterrupt), cache.borrow(thoth, info, keep=True, progress=give_up):
        pass
    assert copy.exists()


def give_up(_: int) -> None:
    raise KeyboardInterrupt


def test_a_copy_that_is_kept_at_the_last_moment_stays(
    thoth: Thoth, info: DumpInfo, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody keeps it while the last who used it looks what is there to be removed."""

    def keep() -> None:
        with Cache(root).borrow(thoth, info, keep=True):
            pass

    keeper = threading.Thread(target=keep)
    iterdir = Path.iterdir

    def look(directory: Path) -> Iterator[Path]:
        seen = list(iterdir(directory))
        if directory.name == info.id and keeper.ident is None:
            lock = f":{(directory / '.lock').stat().st_ino} "
            keeper.start()
            assert wait_until(lambda: not keeper.is_alive() or lock in _waiting_for_locks(), 10)
        return iter(seen)

    with Cache(root).borrow(thoth, info, keep=False) as copy:
        monkeypatch.setattr(Path, "iterdir", look)
    keeper.join()
    assert copy.exists()


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
