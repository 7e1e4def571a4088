"""Large uploads to Manta: in parts, gone on with, swept. Kills are of real processes."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.manta_moods import Answer
from tests.support.manta_server import Account, MantaServer, Options, Role, Subuser
from tests.support.manta_store import Pauses, account, manta, private_key
from tests.support.processes import wait_until
from tests.thoth.store.one_manta_upload import NAME, PART, blocks, digests
from thoth.errors import CorruptTransfer, NoSuchObject, PreconditionFailed, StoreTransient, StoreUnavailable
from thoth.store.base import ABSENT, Digests, ObjectStat, Upload
from thoth.store.manta import MantaAccess, MantaStore, PartSizes, Times
from thoth.store.signing import HttpSigner, KeyOwner, LocalKey
from thoth.store.unfinished import Registry

HOME = "/alice/stor/thoth"
SIZES = PartSizes(threshold=PART, part=PART)
SERIAL = PartSizes(threshold=PART, part=PART, budget=PART)
SIZE = 3 * PART + 12345  # four parts


@pytest.fixture
def server() -> Iterator[MantaServer]:
    with MantaServer(account()) as running:
        yield running


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "state" / "unfinished"


@pytest.fixture(params=["parallel", "serial"])
def store(request: pytest.FixtureRequest, server: MantaServer, notes: Path) -> Iterator[MantaStore]:
    made = manta(server, sizes=SIZES if request.param == "parallel" else SERIAL, unfinished=notes)
    yield made
    made.close()


def feed(incoming: Upload, size: int) -> None:
    for block in blocks(size):
        incoming.part(block)


def upload(store: MantaStore, size: int = SIZE, name: str = NAME) -> ObjectStat:
    incoming = store.begin(name, size)
    feed(incoming, size)
    return incoming.commit(digests(size))


def is_right(server: MantaServer, size: int = SIZE) -> bool:
    server.moods.clear()
    store = manta(server)
    try:
        with store.open(NAME) as found:
            whole = hashlib.md5(usedforsecurity=False)
            at = 0
            while block := found.read_at(at, 1 << 20):
                whole.update(block)
                at += len(block)
            return (found.size, whole.hexdigest()) == (size, digests(size).md5)
    finally:
        store.close()


def parts_sent(server: MantaServer, since: int = 0) -> list[int]:
    """The numbers of the parts that arrived."""
    return sorted(
        int(each.path.rpartition("/")[2])
        for each in server.requests[since:]
        if each.method == "PUT" and "/uploads/" in each.path and each.status == 204
    )


def count(server: MantaServer, method: str, ending: str, since: int = 0) -> int:
    return sum(each.method == method and each.path.endswith(ending) for each in server.requests[since:])


# ---- one upload -----------------------------------------------------------------------------------------


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
    (pending,) = store.pending_uploads(HOME, before=time.time() + 10)
    entry = server.service.entries.get(pending.directory)
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


# ---- what goes wrong ------------------------------------------------------------------------------------


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
    (pending,) = store.pending_uploads(HOME, before=time.time() + 10)
    store.abort_upload(pending)
    with pytest.raises((StoreTransient, CorruptTransfer), match=r"ended by somebody else|does not take the parts"):
        for block in list(blocks(SIZE))[PART >> 20 :]:
            incoming.part(block)
        incoming.commit(digests(SIZE))
    incoming.abort()
    upload(store)
    assert is_right(server)


# ---- going on -------------------------------------------------------------------------------------------


def begun(store: MantaStore, sent: int = 2 * PART + 100, size: int = SIZE) -> None:
    """An upload that breaks off after so many bytes."""
    incoming = store.begin(NAME, size)
    feed(incoming, sent)
    incoming.abort()


def test_a_later_upload_goes_on(server: MantaServer, store: MantaStore, notes: Path) -> None:
    incoming = store.begin(NAME, SIZE)
    for block in list(blocks(SIZE))[: 2 * PART >> 20]:
        incoming.part(block)
    assert wait_until(lambda: len(parts_sent(server)) == 2, 10)
    incoming.abort()
    assert len(list(notes.glob("*.json"))) == 1
    before = len(server.requests)
    upload(store)
    assert parts_sent(server, before) == [2, 3]
    assert count(server, "POST", "/uploads", before) == 0
    assert is_right(server)
    assert not list(notes.iterdir())


def test_what_was_sent_is_never_believed(server: MantaServer, store: MantaStore, notes: Path) -> None:
    incoming = store.begin(NAME, SIZE)
    incoming.part(b"x" * (2 * PART))
    assert wait_until(lambda: len(parts_sent(server)) == 2, 10)
    incoming.abort()
    try:
        upload(store)
    except StoreTransient:  # one that sends part by part has no part any more when it turns out
        upload(store)
    assert is_right(server)
    assert not list(notes.iterdir())


def test_the_size_of_parts_stays_what_it_was(server: MantaServer, notes: Path) -> None:
    store = manta(server, sizes=SIZES, unfinished=notes)
    begun(store, 3 * PART)
    store.close()
    other = manta(server, sizes=PartSizes(threshold=PART, part=7 << 20), unfinished=notes)
    upload(other)
    assert is_right(server)
    other.close()


@pytest.mark.parametrize("state", ["aborted", "committed", "gone"])
def test_an_upload_that_is_over_is_not_gone_on_with(server: MantaServer, store: MantaStore, state: str) -> None:
    begun(store)
    (pending,) = store.pending_uploads(HOME, before=time.time() + 10)
    if state == "aborted":
        store.abort_upload(pending)
    else:
        entries = server.service.entries
        with entries.change():
            entry = entries.get(pending.directory)
            assert entry is not None
            done = {**(entry.upload or {}), "state": "done", "type": "commit", "partsMD5": ""}
            entries.put(replace(entry, upload=done if state == "committed" else None))
    before = len(server.requests)
    upload(store)
    assert count(server, "POST", "/uploads", before) == 1
    assert is_right(server)


def test_another_size_or_name_is_another_upload(server: MantaServer, store: MantaStore, notes: Path) -> None:
    begun(store)
    before = len(server.requests)
    upload(store, SIZE + 1)
    upload(store, SIZE, NAME + ".other")
    assert count(server, "POST", "/uploads", before) == 2
    assert len(list(notes.glob("*.json"))) == 1


def test_two_at_once_do_not_share(server: MantaServer, store: MantaStore, notes: Path) -> None:
    first, second = store.begin(NAME, SIZE), store.begin(NAME, SIZE)
    for block in blocks(SIZE):
        first.part(block)
        second.part(block)
    first.commit(digests(SIZE))
    second.commit(digests(SIZE))
    assert count(server, "POST", "/uploads") == 2
    assert is_right(server)
    assert not list(notes.iterdir())


# ---- the sweep, and what scrub finds --------------------------------------------------------------------


def test_what_nobody_went_on_with_for_a_week_is_aborted(server: MantaServer, notes: Path) -> None:
    old = manta(server, sizes=SIZES, unfinished=notes, times=Times(now=lambda: time.time() - 200))
    begun(old)
    held = old.begin(NAME + ".held", SIZE)
    held.part(b"x" * PART)
    later = time.time() + 7 * 86_400 - 100
    young = manta(server, sizes=SIZES, unfinished=notes, times=Times(now=lambda: time.time() - 0))
    registry = Registry(notes)
    assert [claim.found.name for claim in registry.abandoned(server.url, later) if claim.found] == [NAME]
    assert not list(registry.abandoned("http://elsewhere", later))
    assert not list(registry.abandoned(server.url, time.time() - 300))
    upload(young, name=NAME + ".new")  # of today: nothing is swept
    assert count(server, "POST", "/abort") == 0
    for note in notes.glob("*.json"):
        note.write_text(note.read_text().replace('"begun": ', '"begun": -'))
    young.close()
    next_one = manta(server, sizes=SIZES, unfinished=notes)
    upload(next_one, name=NAME + ".new")
    assert count(server, "POST", "/abort") == 1
    upload(next_one, name=NAME + ".new")
    assert count(server, "POST", "/abort") == 1
    assert [note.name for note in notes.glob("*.json")] != []  # the one that is worked on
    held.abort()
    next_one.close()
    old.close()


def test_a_sweep_that_fails_stops_nobody(server: MantaServer, notes: Path) -> None:
    store = manta(server, sizes=SIZES, unfinished=notes)
    begun(store)
    for note in notes.glob("*.json"):
        note.write_text(note.read_text().replace('"begun": ', '"begun": -'))
    store.close()
    server.moods.add(Answer(503), path="*/abort", count=1)
    other = manta(server, sizes=SIZES, unfinished=notes)
    upload(other, name=NAME + ".new")
    assert len(list(notes.glob("*.json"))) == 1
    other.close()


def test_uploads_that_scrub_finds(server: MantaServer, store: MantaStore) -> None:
    begun(store)
    upload(store, name=NAME + ".done")
    outside = store.begin("/alice/stor/elsewhere", SIZE)
    outside.part(b"x" * PART)
    outside.abort()
    now = time.time()
    found = list(store.pending_uploads(HOME, before=now + 10))
    assert [each.name for each in found] == [NAME]
    assert abs(found[0].begun - now) < 60
    assert not list(store.pending_uploads(HOME, before=now - 60))
    store.abort_upload(found[0])
    assert not list(store.pending_uploads(HOME, before=now + 10))
    store.abort_upload(found[0])


def test_scrub_finds_nothing_where_there_are_no_parts() -> None:
    with MantaServer(account(), options=Options(mpu=False)) as server:
        store = manta(server)
        assert not list(store.pending_uploads(HOME, before=time.time()))
        store.close()


# ---- sizes ----------------------------------------------------------------------------------------------


def test_sizes_of_parts() -> None:
    sizes = PartSizes()
    gib = 1 << 30
    assert [sizes.part_size(size) >> 20 for size in (gib, 12 * gib, 13 * gib, 50 * gib, 2000 * gib)] == [
        16, 16, 17, 64, 2560,
    ]  # fmt: skip
    assert all(-(-size // sizes.part_size(size)) <= 800 for size in range(1, 60 * gib, gib - 1))
    assert [sizes.flights_of(mib << 20) for mib in (5, 16, 24, 32, 48, 64)] == [4, 4, 3, 2, 1, 0]
    assert PartSizes(part=1).part_size(6 << 20) == 5 << 20


# ---- processes that are killed --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("key") / "key.pem"
    file.write_bytes(private_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return file


def start(server: MantaServer, key: Path, notes: Path, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.thoth.store.one_manta_upload", server.url, str(key), str(notes)]
    running = subprocess.Popen([*command, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    return running


def end(running: subprocess.Popen[str]) -> str:
    out, _ = running.communicate(timeout=60)
    return out


KILLED_AFTER = [0, 1, 4, 6]  # parts that have arrived, of eight


@pytest.mark.parametrize("arrived", KILLED_AFTER)
def test_a_killed_upload_is_completed_by_the_next(
    server: MantaServer, notes: Path, key_file: Path, arrived: int
) -> None:
    size = 8 * PART - 7
    running = start(server, key_file, notes, size, 0.01)
    try:
        assert wait_until(lambda: len(parts_sent(server)) >= arrived and any(notes.glob("*.json")), 20)
    finally:
        os.kill(running.pid, signal.SIGKILL)
        end(running)
    sent, before = parts_sent(server), len(server.requests)
    store = manta(server, sizes=SIZES, unfinished=notes)
    with pytest.raises(NoSuchObject):
        store.stat(NAME)
    upload(store, size)
    assert is_right(server, size)
    again = [number for number in parts_sent(server, before) if number in sent]
    # A part whose bytes were all sent when its sender died may arrive after we looked: nothing else comes twice.
    assert again == []
    assert count(server, "POST", "/uploads", before) == 0
    assert not list(notes.iterdir())
    store.close()


def test_while_a_process_uploads_another_leaves_its_upload_alone(
    server: MantaServer, notes: Path, key_file: Path
) -> None:
    size = 4 * PART
    running = start(server, key_file, notes, size, 0.02)
    assert wait_until(lambda: len(parts_sent(server)) >= 1, 20)
    store = manta(server, sizes=SIZES, unfinished=notes)
    upload(store, size)
    store.close()
    end(running)
    assert running.returncode == 0
    assert count(server, "POST", "/uploads") == 2
    assert sum(each.path.endswith("/commit") and each.status == 201 for each in server.requests) == 2
    assert is_right(server, size)
    assert not list(notes.iterdir())


def peak(server: MantaServer, key: Path, notes: Path, size: int, *arguments: object) -> int:
    running = start(server, key, notes, size, *arguments)
    out = end(running)
    assert running.returncode == 0
    assert is_right(server, size)
    return int(out)


def test_memory_does_not_grow_with_the_upload(server: MantaServer, notes: Path, key_file: Path) -> None:
    small, large = (peak(server, key_file, notes, parts * PART, 0, PART) for parts in (6, 18))
    assert large - small < 12


@pytest.mark.soak
def test_memory_of_a_GiB(server: MantaServer, notes: Path, key_file: Path) -> None:
    assert peak(server, key_file, notes, 1 << 30, 0, 16 << 20) < 150
