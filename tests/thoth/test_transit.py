"""A dump that is gone on with: what an earlier run brought counts only when it is what came."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.arrivals import arrival
from tests.support.elfwriter import illumos_core
from tests.support.memory_index import MemoryIndex
from thoth.ingest.arrival import Receipt
from thoth.ingest.receive import receive
from thoth.library import Thoth
from thoth.model import Result
from thoth.store.directory import DirectoryStore
from thoth.transit import Prefix, Seekable

_MIB = 1 << 20
_HALF = 10 * _MIB


def core() -> bytes:
    return illumos_core(pid=1, size=64 << 10) + os.urandom(20 * _MIB)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Node:
    """Streams the dump, from anywhere, and breaks off where it is told to."""

    def __init__(self, data: bytes, until: int | None = None) -> None:
        self.data = data
        self.starts: list[int] = []
        self._until = until

    def stream(self) -> Seekable:
        return Seekable(self._from, lambda prefix: None)

    def _from(self, start: int) -> Iterator[bytes]:
        self.starts.append(start)
        for at in range(start, len(self.data), _MIB):
            if self._until is not None and at >= self._until:
                raise OSError("gone")
            yield self.data[at : at + _MIB]


@pytest.fixture
def thoth(tmp_path: Path) -> Thoth:
    return Thoth(DirectoryStore(tmp_path / "store", create=True, resume_from=_MIB), MemoryIndex(), "bmc")


def broken_off(thoth: Thoth, data: bytes) -> None:
    with pytest.raises(OSError, match="gone"):
        receive(thoth, arrival(data), Node(data, _HALF).stream(), now=1.0)


def gone_on(thoth: Thoth, data: bytes, earlier: Prefix) -> tuple[Receipt, list[int]]:
    node = Node(data)
    return receive(thoth, replace(arrival(data), earlier=earlier), node.stream(), now=1.0), node.starts


def check_whole(thoth: Thoth, data: bytes, receipt: Receipt) -> None:
    assert receipt.result is Result.STORED
    assert (receipt.info.size, receipt.info.sha256) == (len(data), sha256(data))
    with thoth.store.open(str(receipt.info.document["dump"])) as found:
        assert found.read_at(0, len(data)) == data


@pytest.mark.parametrize("length", [_MIB, _HALF])
def test_the_rest_is_asked_for_and_the_digests_are_of_the_whole(thoth: Thoth, length: int) -> None:
    data = core()
    broken_off(thoth, data)
    receipt, starts = gone_on(thoth, data, Prefix(length, sha256(data[:length])))
    assert starts == [length]
    check_whole(thoth, data, receipt)


@pytest.mark.parametrize("length", [_MIB, _HALF, 20 * _MIB, 1 << 60])
def test_F11_what_is_not_proved_is_asked_for_again(thoth: Thoth, length: int) -> None:
    """Another digest, or more than there is."""
    data = core()
    broken_off(thoth, data)
    receipt, starts = gone_on(thoth, data, Prefix(length, "0" * 64))
    assert starts == [0]
    check_whole(thoth, data, receipt)


def test_what_has_come_is_told_now_and_then(thoth: Thoth) -> None:
    data = illumos_core(pid=1, size=64 << 10) + bytes(150 * _MIB)
    told: list[Prefix] = []
    node = Node(data)
    check_whole(thoth, data, receive(thoth, arrival(data), Seekable(node._from, told.append), now=1.0))
    assert told == [Prefix(size, sha256(data[:size])) for size in (64 * _MIB, 128 * _MIB)]
