"""What a copy is: the dump that its document speaks of, all of it, or not there."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.support.analysis import mode, names
from tests.support.arrivals import CORE, CUT, take
from tests.support.memory_index import MemoryIndex
from tests.support.memory_store import MemoryStore
from tests.support.mishaps import small_disk
from thoth.analysis.cache import Cache
from thoth.analysis.fetching import as_uploaded, save
from thoth.errors import BadDocument, CacheError, CorruptTransfer, NoSuchObject, StoreError
from thoth.library import Thoth
from thoth.model import DumpInfo
from thoth.objects import dump_object
from thoth.store.base import StoredObject
from thoth.store.wrappers import Passing


@pytest.fixture
def thoth() -> Thoth:
    return Thoth(MemoryStore(), MemoryIndex(), "bmc")


def put(thoth: Thoth, info: DumpInfo, data: bytes) -> None:
    thoth.store.put(dump_object(thoth.user, info).name, data)


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


def test_saved_it_does_not_take_the_place_of_what_came_meanwhile(
    thoth: Thoth, info: DumpInfo, tmp_path: Path
) -> None:
    path = tmp_path / "core"
    with pytest.raises(FileExistsError):
        save(thoth, as_uploaded(thoth, info), path, lambda _: path.write_bytes(b"theirs"), replace=False)
    assert path.read_bytes() == b"theirs"
    assert names(tmp_path) == ["core"]
    save(thoth, as_uploaded(thoth, info), path, lambda _: None, replace=True)
    assert path.read_bytes() == CORE
    assert mode(path) == 0o600
