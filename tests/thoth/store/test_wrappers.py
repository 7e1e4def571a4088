from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from thoth.errors import (
    CannotWrite,
    CorruptTransfer,
    NoSuchObject,
    PreconditionFailed,
    StoreUnavailable,
)
from thoth.store.base import ABSENT, Digests, ObjectStat, ObjectStore, StoredObject, Unfinished, Upload
from thoth.store.directory import DirectoryStore
from thoth.store.memory import MemoryStore
from thoth.store.wrappers import DryRun, Passing, Verifying, read_back

NAME = "/alice/stor/x"


def digests(data: bytes) -> Digests:
    return Digests(len(data), hashlib.md5(data).hexdigest(), hashlib.sha256(data).hexdigest())


def upload(store: ObjectStore, name: str, data: bytes, announced: Digests | None = None) -> ObjectStat:
    incoming = store.begin(name, len(data))
    incoming.part(data)
    return incoming.commit(announced or digests(data))


def tree(root: Path) -> list[tuple[str, int, bytes]]:
    paths = sorted(root.rglob("*"))
    return [(str(p), p.lstat().st_mtime_ns, p.read_bytes() if p.is_file() else b"") for p in paths]


# ---- DryRun ---------------------------------------------------------------------------------------


def test_F53_a_dry_run_reads_and_writes_nothing(root: Path) -> None:
    real = DirectoryStore(root)
    etag = real.put(NAME, b"{}")
    before = tree(root)
    store = DryRun(real)
    writes: list[Callable[[], object]] = [
        lambda: store.put(NAME, b""),
        lambda: store.put("/alice/new", b"", if_match=ABSENT),
        lambda: store.delete(NAME),
        lambda: store.begin(NAME, 0),
        lambda: store.forget(Unfinished("/alice/uploads/1", 0, 0.0)),
    ]
    for write in writes:
        with pytest.raises(CannotWrite, match="/alice/"):
            write()
    assert store.get(NAME) == (b"{}", etag)
    assert store.stat(NAME) == ObjectStat(2, etag)
    assert [entry.name for entry in store.list("/alice/stor")] == ["x"]
    with store.open(NAME) as found:
        assert found.read_at(0, 9) == b"{}"
    store.close()
    assert tree(root) == before


def test_F53_a_dry_run_does_not_make_the_store(tmp_path: Path) -> None:
    store = DryRun(DirectoryStore(tmp_path / "new", create=True))
    assert list(store.list("/alice")) == []
    with pytest.raises(NoSuchObject):
        store.stat(NAME)
    assert list(tmp_path.iterdir()) == []


# ---- Verifying ------------------------------------------------------------------------------------


class Damaging(Passing):
    """Damages what is uploaded, as a bad cable, disk or proxy does, and says nothing."""

    def __init__(self, store: ObjectStore, damage: Callable[[bytes], bytes]) -> None:
        super().__init__(store)
        self._damage = damage

    def begin(self, name: str, size: int | None, *, if_match: str | None = None) -> Upload:
        return _DamagedUpload(self._store.begin(name, size, if_match=if_match), self._damage)


class _DamagedUpload:
    def __init__(self, upload: Upload, damage: Callable[[bytes], bytes]) -> None:
        self._upload = upload
        self._damage = damage
        self._sent = b""

    def part(self, data: bytes) -> None:
        self._sent += self._damage(data)
        self._upload.part(self._damage(data))

    def commit(self, announced: Digests) -> ObjectStat:
        return self._upload.commit(digests(self._sent))

    def abort(self) -> None:
        self._upload.abort()


def flip(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


@pytest.mark.parametrize("damage", [flip, lambda data: data[:-1], lambda data: b"", lambda data: data + b"x"])
def test_F08_F33_damage_on_the_way_is_found_and_removed(root: Path, damage: Callable[[bytes], bytes]) -> None:
    real = DirectoryStore(root)
    store = Verifying(Damaging(real, damage))
    with pytest.raises(CorruptTransfer, match=r"/alice/stor/x: the (size|digest) .*; it was deleted"):
        upload(store, NAME, b"0123456789" * 1000)
    with pytest.raises(NoSuchObject):
        real.stat(NAME)
    upload(Verifying(real), NAME, b"0123456789")
    assert real.get(NAME)[0] == b"0123456789"


@pytest.mark.parametrize("wrong", ["md5", "sha256"])
def test_F08_each_digest_is_compared(wrong: str) -> None:
    data = b"0123456789"
    right = digests(data)
    announced = Digests(
        10, "0" * 32 if wrong == "md5" else right.md5, "0" * 64 if wrong == "sha256" else right.sha256
    )
    store = MemoryStore()
    with pytest.raises(CorruptTransfer):
        upload(Verifying(store), NAME, data, announced)
    with pytest.raises(NoSuchObject):
        store.stat(NAME)


class Overtaken(Passing):
    """Another writer takes the name as soon as an upload is committed."""

    def begin(self, name: str, size: int | None, *, if_match: str | None = None) -> Upload:
        return _OvertakenUpload(self._store, name, self._store.begin(name, size, if_match=if_match))


class _OvertakenUpload:
    def __init__(self, store: ObjectStore, name: str, upload: Upload) -> None:
        self._store = store
        self._name = name
        self._upload = upload
        self.part, self.abort = self._upload.part, self._upload.abort

    def commit(self, announced: Digests) -> ObjectStat:
        stored = self._upload.commit(announced)
        self._store.put(self._name, b"another's")
        return stored


def test_F34_what_another_wrote_meanwhile_is_not_deleted() -> None:
    store = MemoryStore()
    with pytest.raises(PreconditionFailed, match=NAME):
        upload(Verifying(Overtaken(store)), NAME, b"ours")
    assert store.get(NAME)[0] == b"another's"


class Forgetful(Passing):
    """Says that it has stored what it has not."""

    def open(self, name: str) -> StoredObject:
        raise NoSuchObject(f"{name}: no such object")


def test_F33_a_store_that_does_not_have_what_it_took() -> None:
    with pytest.raises(CorruptTransfer, match=f"{NAME}: .* does not have it"):
        upload(Verifying(Forgetful(MemoryStore())), NAME, b"x")


class Clinging(Passing):
    def delete(self, name: str) -> None:
        raise StoreUnavailable("access denied")


def test_what_is_damaged_and_cannot_be_deleted_is_told() -> None:
    store = Verifying(Damaging(Clinging(MemoryStore()), flip))
    with pytest.raises(CorruptTransfer, match="cannot be deleted: access denied"):
        upload(store, NAME, b"x")


def test_read_back_of_a_large_object(root: Path) -> None:
    store = DirectoryStore(root)
    data = bytes(range(256)) * (40 << 10)
    upload(store, NAME, data)
    assert read_back(store, NAME) == digests(data)
