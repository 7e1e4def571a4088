"""Row F33: what Manta says is not so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.manta.scene import (
    HOME,
    LARGE,
    NAME,
    SMALL,
    content,
    digests,
    nothing_there,
    upload,
)
from tests.support import manta_content
from tests.support.manta_moods import (
    Answer,
    StoreTruncated,
    Truncate,
    WrongDigest,
)
from tests.support.manta_server import MantaServer
from tests.support.manta_store import manta
from tests.support.processes import wait_until
from thoth.errors import (
    CorruptTransfer,
    StoreTransient,
)
from thoth.store.base import ObjectStore
from thoth.store.manta import MantaStore, Times


@pytest.mark.parametrize("size", [len(SMALL), len(LARGE)], ids=["small", "stream"])
@pytest.mark.parametrize("keep", [0, 5000])
def test_F33_what_is_stored_is_not_all(server: MantaServer, store: MantaStore, size: int, keep: int) -> None:
    server.moods.add(StoreTruncated(keep), method="PUT", path="*core.x", count=1)
    with pytest.raises(CorruptTransfer, match=r"core\.x: the .* it was deleted, upload it again"):
        upload(store, LARGE[:size])
    assert nothing_there(server)
    upload(store, LARGE[:size])
    assert content(server) == LARGE[:size]


def test_F33_a_part_of_which_not_all_is_stored(server: MantaServer, in_parts: MantaStore, tmp_path: Path) -> None:
    incoming = in_parts.begin(NAME, len(LARGE))
    incoming.part(LARGE)
    assert wait_until(lambda: "/0" in [each.path[-2:] for each in server.requests], 10)
    (path,) = [each.path for each in server.requests if each.path.endswith("/0")]
    service = server.service
    with service.entries.change():
        part = service.entries.get(path)
        assert part is not None
        assert part.content is not None
        service.entries.put(replace(part, content=manta_content.cut(part.content, 5000, service.folder)))
    with pytest.raises(CorruptTransfer, match=r"core\.x: the MD5 of what the parts make is not that"):
        incoming.commit(digests(LARGE))
    assert nothing_there(server)
    assert not list((tmp_path / "unfinished").iterdir())
    upload(in_parts, LARGE)
    assert content(server) == LARGE


@pytest.mark.parametrize("size", [len(SMALL), len(LARGE)], ids=["small", "stream"])
def test_F33_a_digest_that_is_another(server: MantaServer, store: MantaStore, size: int) -> None:
    server.moods.add(WrongDigest(), method="PUT", path="*core.x", count=1)
    with pytest.raises(
        CorruptTransfer, match="the MD5 of what Manta got is not that of what was sent; it was deleted"
    ):
        upload(store, LARGE[:size])
    assert nothing_there(server)


def test_F33_a_part_whose_digest_is_another_is_sent_again(server: MantaServer, in_parts: MantaStore) -> None:
    placed = server.moods.add(WrongDigest(), method="PUT", path="*/uploads/*", count=2)
    upload(in_parts, LARGE)
    assert placed.hits == 2
    assert content(server) == LARGE


def test_F33_parts_whose_whole_has_another_digest(server: MantaServer, in_parts: MantaStore) -> None:
    server.moods.add(WrongDigest(), method="POST", path="*/commit", count=1)
    with pytest.raises(CorruptTransfer, match=r"core\.x"):
        upload(in_parts, LARGE)


def test_F33_what_another_has_stored_since_is_not_deleted(server: MantaServer, store: MantaStore) -> None:
    server.moods.add(StoreTruncated(10), method="PUT", path=NAME, count=1)
    server.moods.add(Answer(500, when="first"), method="HEAD", path=NAME, count=1)
    other = manta(server)
    overtaken = manta(server, times=Times(sleep=lambda seconds: other.put(NAME, b"another's"), chance=lambda: 0.0))
    upload(overtaken, SMALL)
    assert content(server) == b"another's"
    other.close()
    overtaken.close()


def test_F33_a_download_is_held_against_its_digest(server: MantaServer, store: MantaStore) -> None:
    upload(store, LARGE)
    server.moods.add(WrongDigest(), method="HEAD", path=NAME, count=1)
    with (
        store.open(NAME) as found,
        pytest.raises(CorruptTransfer, match="what came is not what its MD5 in Manta says"),
    ):
        for start in range(0, len(LARGE), 1_000_000):
            found.read_at(start, 1_000_000)
    server.moods.add(WrongDigest(), method="GET", path=NAME, count=1)
    store.put(NAME, SMALL)
    with pytest.raises(CorruptTransfer, match="what came is not what its MD5 in Manta says"):
        store.get(NAME)


def test_F33_a_listing_that_is_cut(server: MantaServer, retrying: ObjectStore, store: MantaStore) -> None:
    for number in range(20):
        store.put(f"{HOME}/{number:02}", b"")
    whole = [entry.name for entry in store.list(HOME)]
    server.moods.add(Truncate(1500), method="GET", path=HOME, count=1)
    with pytest.raises(StoreTransient):
        list(store.list(HOME))
    server.moods.add(Truncate(1500), method="GET", path=HOME, count=2)
    assert [entry.name for entry in retrying.list(HOME)] == whole
