"""The stacks in a dump's document, however the dump came in; and a dump that comes in whatever becomes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import vectors
from tests.support.arrivals import CORE, CUT, NOW, arrival, in_blocks, take, whole
from tests.support.elfwriter import vmdump
from tests.support.memory_index import MemoryIndex
from tests.support.memory_store import MemoryStore
from thoth.dumps.source import KnownRanges, in_memory
from thoth.dumps.stack import Frame, Stacks, Thread
from thoth.edit import stored_form
from thoth.errors import StoreTransient
from thoth.ingest.receive import receive
from thoth.library import Thoth
from thoth.model import DumpInfo, Result
from thoth.signatures.rules import current_rules
from thoth.signatures.signature import signature_of
from thoth.stacks import ALL_FRAMES, LONGEST_NAME, STACK_KEYS, keys_of, stacks_in
from thoth.store.base import StoredObject
from thoth.store.directory import DirectoryStore

NAME = "illumos-core64-mt.core.11198"
ENTRY = vectors.entry(NAME)


@pytest.fixture
def thoth() -> Thoth:
    return Thoth(MemoryStore(now=lambda: NOW), MemoryIndex(), "bmc")


def of(data: bytes) -> dict[str, Any]:
    return stacks_in(in_memory([data]))


def test_the_thread_that_dumped_and_all_threads() -> None:
    keys = of(vectors.load(NAME))
    assert keys["stack"] == ENTRY["stack"]
    assert [thread["id"] for thread in keys["threads"]] == [3, 1, 2, 4, 5, 6]
    assert {thread["id"]: thread.get("signal") for thread in keys["threads"]} == {3: 6} | {
        number: None for number in (1, 2, 4, 5, 6)
    }
    assert keys["threads"][0]["frames"][0] == {
        "pc": "0xfffffd7fff0f1006",
        "trust": "context",
        "object": "libc.so.1",
        "offset": "0x1006",
        "symbol": "_lwp_kill",
    }
    assert {frame["trust"] for frame in keys["threads"][0]["frames"][1:]} == {"frame-pointer"}


@pytest.mark.parametrize("data", [vmdump(), vectors.load("illumos-core64-be.core.5981"), b"no dump"])
def test_what_has_no_stack_has_no_keys(data: bytes) -> None:
    assert of(data) == {}


def test_the_address_of_a_fault() -> None:
    assert of(vectors.load("illumos-core64.core.30522"))["fault_address"] == "0x0"


@pytest.mark.parametrize("way", ["again", "once", "memory"])
def test_a_dump_is_stored_with_its_stacks(way: str, thoth: Thoth) -> None:
    data = vectors.load(NAME)
    blocks: Any = {"once": in_blocks(data), "memory": list(in_blocks(data))}
    receipt = take(thoth, data) if way == "again" else receive(thoth, arrival(data), blocks[way], now=NOW)
    assert receipt.result is Result.STORED
    document = whole(thoth, receipt.info.id).document
    assert {key: document[key] for key in STACK_KEYS if key in document} == of(data)


def test_a_directory_has_them_too(tmp_path: Path) -> None:
    with Thoth(DirectoryStore(tmp_path), MemoryIndex(), "bmc") as thoth:
        assert take(thoth, vectors.load(NAME)).info.document["stack"] == ENTRY["stack"]


def test_a_better_dump_brings_its_own_stacks(thoth: Thoth) -> None:
    data = vectors.load(NAME)
    cut = take(thoth, data[:40_000])
    assert cut.info.document["stack"] != ENTRY["stack"]
    better = take(thoth, data)
    assert better.result is Result.REPLACED
    document = whole(thoth, better.info.id).document
    assert document["stack"] == ENTRY["stack"]
    assert document["signature"] == signature_of(document)
    assert document["signature"] != cut.info.document.get("signature")


def test_a_better_dump_without_a_stack_keeps_no_signature_of_the_other(thoth: Thoth) -> None:
    cut = take(thoth, CUT)
    info, etag = thoth.stored_info(cut.info.id) or (cut.info, "")
    guessed = info.changed(stack=["guessed+0x1()"], stack_by="mdb", signature="guessed", signature_rules=1)
    thoth.store.put(f"/bmc/stor/thoth/{cut.info.id}/info.json", stored_form(guessed), if_match=etag)
    assert take(thoth, CORE).result is Result.REPLACED
    document = whole(thoth, cut.info.id).document
    assert not {"stack", "stack_by", "signature", "signature_rules"} & document.keys()


def test_a_dump_is_stored_with_its_signature(thoth: Thoth) -> None:
    document = whole(thoth, take(thoth, vectors.load(NAME)).info.id).document
    assert document["signature"] == (
        "nginx: ngx_http_handler | ngx_process_events_and_timers | ngx_worker_process_cycle"
    )
    assert document["signature_rules"] == current_rules().version


def test_a_crash_dump_is_stored_with_its_signature(thoth: Thoth) -> None:
    document = whole(thoth, take(thoth, vmdump(panic="deadman: cpu 12")).info.id).document
    assert document["signature"] == "panic: deadman: cpu N"


class Closed(MemoryStore):
    """A store that takes objects and does not give them back."""

    def open(self, name: str) -> StoredObject:
        raise StoreTransient(f"{name}: not now")


def test_a_dump_whose_stacks_cannot_be_read_is_stored_all_the_same() -> None:
    thoth = Thoth(Closed(now=lambda: NOW), MemoryIndex(), "bmc")
    receipt = take(thoth, vectors.load(NAME))
    assert receipt.result is Result.STORED
    document = receipt.info.document
    assert document["stack_failed"].startswith("StoreTransient: ")
    assert not {"stack", "threads"} & document.keys()
    assert thoth.index.get(receipt.info.id) == receipt.info


class Breaking(KnownRanges):
    """A dump whose reading goes wrong in a way that nobody has thought of."""

    def read_at(self, offset: int, length: int) -> bytes:
        raise ZeroDivisionError("nobody knows why")


def test_whatever_goes_wrong_is_told() -> None:
    assert stacks_in(Breaking(100)) == {"stack_failed": "ZeroDivisionError: nobody knows why"}


def test_the_largest_document_can_be_stored() -> None:
    """A process of many threads, deep stacks and names without end, every byte of which JSON writes as six."""
    name = b"\xff" * (3 * LONGEST_NAME)
    frame = Frame(1 << 63, "frame-pointer", name, "f" * 128, 1 << 63, name, 1 << 63)
    thread = Thread(1, 11, (frame,) * 1024, cut=True)
    keys = keys_of(Stacks((thread,) * 1024, 1 << 63))
    assert sum(len(each["frames"]) for each in keys["threads"]) == ALL_FRAMES
    assert all(each["cut"] for each in keys["threads"])
    info = DumpInfo({"id": "0" * 32, **keys})
    assert len(stored_form(info)) < 40 << 20
    assert json.loads(info.to_json()) == info.document
