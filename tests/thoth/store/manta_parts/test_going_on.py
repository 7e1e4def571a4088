"""Uploads in parts that are gone on with, and those that nobody goes on with."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.manta_moods import Answer, NeverReply
from tests.support.manta_server import MantaServer, Options
from tests.support.manta_store import account, hurried, manta
from tests.support.processes import wait_until
from tests.thoth.store.manta_parts.one_upload import NAME, PART, blocks, digests
from tests.thoth.store.manta_parts.scene import (
    HOME,
    SIZE,
    SIZES,
    begun,
    count,
    feed,
    is_right,
    parts_sent,
    pending,
    upload,
)
from thoth.errors import NoSuchObject, StoreTransient
from thoth.store.manta import MantaStore, PartSizes, Times
from thoth.store.unfinished import Registry


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
    (unfinished,) = store.unfinished(HOME)
    if state == "aborted":
        store.forget(unfinished)
    else:
        entries = server.service.entries
        with entries.change():
            entry = entries.get(unfinished.name)
            assert entry is not None
            done = {**(entry.upload or {}), "state": "done", "type": "commit", "partsMD5": ""}
            entries.put(replace(entry, upload=done if state == "committed" else None))
    before = len(server.requests)
    upload(store)
    assert count(server, "POST", "/uploads", before) == 1
    assert is_right(server)


def killed_at_its_commit(server: MantaServer, store: MantaStore, notes: Path, *, over: bool) -> None:
    """What is left of one that was killed while Manta made an object of its parts, or right after that."""
    store.put(f"{NAME}.beside", b"")  # or the commit would fail for its directory
    server.moods.add(Answer(503, "ServiceUnavailable", when="done"), method="POST", path="*/commit", count=None)
    with pytest.raises(StoreTransient):
        upload(store)
    server.moods.clear()
    (note,) = notes.glob("*.json")
    entries = server.service.entries
    if not over:
        entries.delete(NAME)
        with entries.change():
            entry = entries.get(json.loads(note.read_text())["directory"])
            assert entry is not None
            entries.put(replace(entry, upload={**(entry.upload or {}), "state": "finalizing"}))


def test_a_commit_that_is_not_over_is_asked_for_again(server: MantaServer, store: MantaStore, notes: Path) -> None:
    killed_at_its_commit(server, store, notes, over=False)
    before = len(server.requests)
    upload(store)
    assert (count(server, "POST", "/uploads", before), parts_sent(server, before)) == (0, [])
    assert is_right(server)


def test_of_other_bytes_nothing_can_be_sent_any_more_and_the_next_begins_anew(
    server: MantaServer, store: MantaStore, notes: Path
) -> None:
    killed_at_its_commit(server, store, notes, over=False)
    before = len(server.requests)
    incoming = store.begin(NAME, SIZE)
    with pytest.raises(StoreTransient, match=r"ended by somebody else|is not what was read"):
        for block in blocks(SIZE):
            incoming.part(bytes(len(block)))
        incoming.commit(digests(SIZE))
    incoming.abort()
    sent = [each.path for each in server.requests[before:] if each.method == "PUT"]
    assert len(sent) == len(set(sent))  # a part that was refused for good is not sent once more
    before = len(server.requests)
    upload(store)
    assert count(server, "POST", "/uploads", before) == 1
    assert is_right(server)


def test_what_became_an_object_meanwhile_is_not_sent_again(
    server: MantaServer, store: MantaStore, notes: Path
) -> None:
    killed_at_its_commit(server, store, notes, over=True)
    before = len(server.requests)
    with pytest.raises(StoreTransient, match="has come to its end just now"):
        upload(store)
    assert (count(server, "POST", "/uploads", before), parts_sent(server, before)) == (0, [])
    assert not list(notes.glob("*.json"))
    repeated = store.repeat(NAME, store.stat(NAME))
    feed(repeated, SIZE)
    assert repeated.commit(digests(SIZE)) == store.stat(NAME)


def test_a_part_whose_answer_was_lost_is_not_sent_again(server: MantaServer) -> None:
    server.moods.add(Answer(503, "ServiceUnavailable", when="done"), method="PUT", path="*/uploads/*/1", count=1)
    store = manta(server, sizes=SIZES)
    before = len(server.requests)
    upload(store)
    asked = [each for each in server.requests[before:] if each.path.endswith("/1")]
    assert [(each.method, each.status) for each in asked] == [("PUT", 503), ("HEAD", 200)]
    assert is_right(server)
    store.close()


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


def test_its_week_begins_anew_when_it_is_gone_on_with(server: MantaServer, notes: Path) -> None:
    for days in (6, 6, 8, 0):  # until somebody goes on: where that is more than a week, it is not abandoned either
        store = manta(server, sizes=SIZES, unfinished=notes)
        begun(store)
        store.close()
        (note,) = notes.glob("*.json")
        told = json.loads(note.read_text())
        assert told["begun"] > time.time() - 60
        note.write_text(json.dumps({**told, "begun": told["begun"] - days * 86_400}))
    assert (count(server, "POST", "/abort"), count(server, "POST", "/uploads")) == (0, 1)


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
    (found,) = store.unfinished(HOME)
    assert found == pending(server)[0]
    assert found.name.startswith("/alice/uploads/")
    assert abs(found.mtime - now) < 60
    store.forget(found)
    assert not list(store.unfinished(HOME))
    with pytest.raises(NoSuchObject):
        store.forget(found)


def test_F32_one_whose_beginning_nobody_confirmed_is_begun_anew(server: MantaServer, notes: Path) -> None:
    """What Manta has of it no note tells, and so no sweep finds it; scrub does."""
    limits, times = hurried()
    store = manta(server, sizes=SIZES, unfinished=notes, limits=limits, times=times)
    server.moods.add(NeverReply(), method="POST", path="*/uploads")
    upload(store)
    assert is_right(server)
    assert not list(notes.iterdir())
    (left,) = pending(server)
    store.forget(left)
    assert pending(server) == []
    store.close()


def test_scrub_finds_nothing_where_there_are_no_parts() -> None:
    with MantaServer(account(), options=Options(mpu=False)) as server:
        store = manta(server)
        assert not list(store.unfinished(HOME))
        store.close()
