"""What the tests of dumps on their way in have in common."""

from __future__ import annotations

from collections.abc import Iterator

from tests.support.memory_index import MemoryIndex
from thoth.errors import IndexFailure
from thoth.model import DumpInfo, Identity


def unread() -> Iterator[bytes]:
    raise AssertionError("the stream was read")
    yield b""


class DeafIndex(MemoryIndex):
    """An index that says nothing while it is ``deaf``."""

    deaf = False

    def get(self, identity: Identity) -> DumpInfo | None:
        if self.deaf:
            raise IndexFailure("index.db: disk I/O error")
        return super().get(identity)

    def put(self, info: DumpInfo) -> bool:
        if self.deaf:
            raise IndexFailure("index.db: disk I/O error")
        return super().put(info)
