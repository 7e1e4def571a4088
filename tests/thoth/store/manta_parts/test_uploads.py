"""One upload in parts, and what goes wrong with it."""

from __future__ import annotations

import hashlib
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.manta_moods import Answer, Barrier, NeverReply
from tests.support.manta_server import Account, MantaServer, Options, Role, Subuser
from tests.support.manta_store import Pauses, account, manta, private_key
from tests.support.processes import wait_until
from tests.thoth.store.manta_parts.one_upload import NAME, PART, blocks, digests
from tests.thoth.store.manta_parts.scene import (
    HOME,
    SIZE,
    SIZES,
    count,
    end_pending,
    feed,
    is_right,
    parts_sent,
    pending,
    upload,
)
from thoth.errors import (
    CorruptTransfer,
    NoSuchObject,
    PreconditionFailed,
    StoreError,
    StoreTransient,
    StoreUnavailable,
)
from thoth.store.base import ABSENT, Digests
from thoth.store.manta import MantaAccess, MantaStore, PartSizes
from thoth.store.signing import HttpSigner, KeyOwner, LocalKey


@pytest.mark.parametrize("size", [PART, PART + 1, 2 * PART, SIZE])
def test_an_object_of_parts(server: MantaServer, store: MantaStore, notes: Path, size: int) -> None:
    stored = upload(store, size)
    assert stored == store.stat(NAME)
    assert is_right(server, size)
    assert parts_sent(server) == list(range(-(-size // PART)))
    assert not list(notes.iterdir())


def test_what_is_small_goes_in_one(server: MantaServer, store: MantaStore) -> None:
    upload(store, PART - 1)
    assert count(server, "POST", "/uploads") == 0


def test_blocks_need_not_fit_the_parts(server: MantaServer, store: MantaStore) -> None:
    data = b"".join(blocks(SIZE))
    incoming = store.begin(NAME, SIZE)
    for start in range(0, SIZE, 1_234_567):
        incoming.part(data[start : start + 1_234_567])
    incoming.commit(digests(SIZE))
    assert is_right(server)
    incoming = store.begin(NAME, SIZE)
    incoming.part(data)
    incoming.commit(digests(SIZE))
    assert is_right(server)


def test_a_name_with_escapes(server: MantaServer, store: MantaStore) -> None:
    name = f"{HOME}/{'ab' * 16}/core.%2Fx%25 é"
    upload(store, name=name)
    assert store.stat(name).size == SIZE
    assert [entry.name for entry in store.list(f"{HOME}/{'ab' * 16}")] == ["core.%2Fx%25 é"]


def test_what_is_told_of_the_object_to_be(server: MantaServer) -> None:
    access = MantaAccess(server.url, "alice", copies=1)
    store = MantaStore(access, HttpSigner(LocalKey(private_key()), KeyOwner("alice")), sizes=SIZES)
    incoming = store.begin(NAME, SIZE)
    feed(incoming, SIZE)
    (unfinished,) = pending(server)
    entry = server.service.entries.get(unfinished.name)
    assert entry is not None
    assert entry.upload is not None
    told = entry.upload["headers"]
    assert told == {"content-length": SIZE, "content-type": "application/octet-stream", "durability-level": 1}
    incoming.commit(digests(SIZE))
    store.close()


def test_a_manta_without_parts_gets_a_stream(notes: Path) -> None:
    with MantaServer(account(), options=Options(mpu=False)) as server:
        store = manta(server, sizes=SIZES, unfinished=notes)
        for _ in range(2):
            upload(store)
        assert is_right(server)
        assert count(server, "POST", "/uploads") == 1  # it is not asked again
        assert not list(notes.iterdir())
        store.close()


def test_a_subuser_gets_a_stream() -> None:
    keys = account().keys
    carol = Account("carol", keys, (Subuser("sue", keys, ("all",)),), (Role("all"),))
    with MantaServer(carol) as server:
        owner = MantaStore(MantaAccess(server.url, "carol"), HttpSigner(LocalKey(private_key()), KeyOwner("carol")))
        owner.put("/carol/stor/x/first", b"")
        owner.close()
        entries = server.service.entries
        with entries.change():
            directory = entries.get("/carol/stor/x")
            assert directory is not None
            entries.put(replace(directory, roles=("all",)))
        sue = HttpSigner(LocalKey(private_key()), KeyOwner("carol", "sue"))
        store = MantaStore(MantaAccess(server.url, "carol", roles=("all",)), sue, sizes=SIZES)
        for number in range(2):
            incoming = store.begin(f"/carol/stor/x/core.{number}", SIZE)
            feed(incoming, SIZE)
            with suppress(StoreUnavailable):  # what it makes has no role tag, so it may not look at it
                incoming.commit(digests(SIZE))
        store.close()
        assert count(server, "POST", "/uploads") == 1
        assert [each.status for each in server.requests if each.path.startswith("/carol/stor/x/core")][::2] == [
            204,
            204,
        ]


def test_bytes_that_are_not_as_many_as_announced(server: MantaServer, store: MantaStore, notes: Path) -> None:
    incoming = store.begin(NAME, SIZE)
    feed(incoming, SIZE - 10)
    with pytest.raises(CorruptTransfer, match=r"vmcore\.0"):
        incoming.commit(digests(SIZE - 10))
    assert count(server, "POST", "/abort") == 1
    assert not list(notes.iterdir())
    with pytest.raises(NoSuchObject):
        store.stat(NAME)


def test_bytes_that_are_not_those_that_were_read(server: MantaServer, store: MantaStore, notes: Path) -> None:
    incoming = store.begin(NAME, SIZE)
    feed(incoming, SIZE)
    with pytest.raises(CorruptTransfer, match=r"vmcore\.0: the MD5 of what the parts make is not that"):
        incoming.commit(Digests(SIZE, hashlib.md5(b"x").hexdigest(), ""))
    assert not list(notes.iterdir())


def test_somebody_was_faster(server: MantaServer, store: MantaStore, notes: Path) -> None:
    incoming = store.begin(NAME, SIZE, if_match=ABSENT)
    feed(incoming, SIZE)
    other = manta(server)
    etag = other.put(NAME, b"another's")
    with pytest.raises(PreconditionFailed, match=r"vmcore\.0: exists already"):
        incoming.commit(digests(SIZE))
    assert other.get(NAME) == (b"another's", etag)
    other.close()
    assert count(server, "POST", "/abort") == 1
    assert not list(notes.iterdir())


def test_a_part_that_never_arrives_ends_the_upload_before_its_end(server: MantaServer, notes: Path) -> None:
    pauses = Pauses()
    store = manta(
        server, sizes=PartSizes(threshold=PART, part=PART, flights=1), unfinished=notes, times=pauses.times()
    )
    server.moods.add(Answer(503, "ServiceUnavailable"), method="PUT", path="*/uploads/*/1", count=None)
    incoming = store.begin(NAME, 40 * PART)
    with pytest.raises(StoreTransient, match="ServiceUnavailable"):
        feed(incoming, 40 * PART)
    incoming.abort()
    assert sum(pauses.made) >= 7.5
    assert max(parts_sent(server)) <= 2
    store.close()


def test_an_abort_in_the_middle_leaves_no_thread(server: MantaServer, store: MantaStore) -> None:
    for sent in (0, 1, PART + 1, 3 * PART):
        incoming = store.begin(NAME, SIZE)
        feed(incoming, sent)
        incoming.abort()
        incoming.abort()
        assert not [each for each in threading.enumerate() if "part" in each.name or "sender" in each.name]
    with pytest.raises(NoSuchObject):
        store.stat(NAME)


def test_an_abort_while_an_answer_is_waited_for_leaves_no_thread(server: MantaServer, store: MantaStore) -> None:
    placed = server.moods.add(NeverReply(), method="PUT", path="*/uploads/*", count=None)
    incoming = store.begin(NAME, SIZE)
    errors: list[StoreError] = []

    def feeding() -> None:
        try:
            feed(incoming, SIZE)
            incoming.commit(digests(SIZE))
        except StoreError as error:
            errors.append(error)

    feeder = threading.Thread(target=feeding)
    feeder.start()
    assert wait_until(lambda: placed.hits > 0, 10)
    time.sleep(0.3)  # all of the part is there, and only the answer is not
    incoming.abort()
    feeder.join(1)
    assert not feeder.is_alive()
    assert not [each for each in threading.enumerate() if "part" in each.name or "sender" in each.name]
    assert errors


def test_uploads_at_the_same_time_share_the_memory(server: MantaServer) -> None:
    """The collector has one for each node. Each may have one part: else one thread with two could wait for ever."""
    patience = 1.0
    store = manta(server, sizes=PartSizes(threshold=PART, part=PART, flights=2, budget=3 * PART))
    first, second = store.begin(NAME, SIZE), store.begin(f"{HOME}/two/core.x", SIZE)
    server.moods.add(Barrier(parties=99, patience=patience), method="PUT", path="*/uploads/*")
    feed(first, 2 * PART + 1)  # two parts on their way, and the third is being gathered
    feed(second, PART)
    start = time.monotonic()
    second.part(b"x")
    assert time.monotonic() - start > patience / 4
    for each in (first, second):
        each.abort()
    server.moods.clear()
    for _ in range(3):  # all that was held was given back
        upload(store)
    assert is_right(server)
    store.close()


def test_without_notes_an_abort_is_for_good(server: MantaServer) -> None:
    store = manta(server, sizes=SIZES)
    incoming = store.begin(NAME, SIZE)
    feed(incoming, 2 * PART)
    incoming.abort()
    assert count(server, "POST", "/abort") == 1
    store.close()


def test_an_upload_that_somebody_has_ended(server: MantaServer, store: MantaStore) -> None:
    incoming = store.begin(NAME, SIZE)
    feed(incoming, PART)
    assert not list(store.unfinished(HOME))  # it is under way
    end_pending(server)
    with pytest.raises((StoreTransient, CorruptTransfer), match=r"ended by somebody else|does not take the parts"):
        for block in list(blocks(SIZE))[PART >> 20 :]:
            incoming.part(block)
        incoming.commit(digests(SIZE))
    incoming.abort()
    upload(store)
    assert is_right(server)


def test_an_upload_that_somebody_has_ended_and_cleared_away(server: MantaServer, store: MantaStore) -> None:
    server.moods.add(Answer(404, "ResourceNotFound"), method="POST", path="*/commit", count=None)
    with pytest.raises(StoreTransient, match=r"vmcore\.0: its upload was ended by somebody else; begin another"):
        upload(store)
    server.moods.clear()
    upload(store)
    assert is_right(server)


def test_sizes_of_parts() -> None:
    sizes = PartSizes()
    gib = 1 << 30
    assert [sizes.part_size(size) >> 20 for size in (gib, 12 * gib, 13 * gib, 50 * gib, 2000 * gib)] == [
        16, 16, 17, 64, 2560,
    ]  # fmt: skip
    assert all(-(-size // sizes.part_size(size)) <= 800 for size in range(1, 60 * gib, gib - 1))
    assert [sizes.flights_of(mib << 20) for mib in (5, 16, 24, 32, 48, 64)] == [4, 4, 3, 2, 1, 0]
    assert PartSizes(part=1).part_size(6 << 20) == 5 << 20
