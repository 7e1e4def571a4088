"""A store's mark: a random text in the file ``.id`` of its root, by which an index knows the store again.

The mark is made once and never changes. A directory in whose place the store is not mounted has none, and another
store has another one. Everything here raises OSError, and StoreError for a mark that is none.
"""

from __future__ import annotations

import os
import re
from contextlib import AbstractContextManager, ExitStack
from typing import Final

from thoth.durable import Draft
from thoth.errors import StoreError
from thoth.store import walk
from thoth.store.drafts import UPLOADS

MARK: Final = ".id"
_WRITTEN: Final = re.compile(rb"([0-9a-f]{32})\n")


def read_mark(root: int) -> str | None:
    """The mark of the store whose root is open as ``root``: 32 hex digits, or None without one."""
    try:
        fd = walk.open_file(root, MARK)
    except FileNotFoundError:
        return None
    try:
        written = _WRITTEN.fullmatch(os.read(fd, 64))
    finally:
        os.close(fd)
    if written is None:
        raise StoreError(f"{MARK} in the store is damaged; bring it back, or remove it and run 'thoth index'")
    return written[1].decode()


def make_mark(root: int, lock: AbstractContextManager[None]) -> str:
    """The mark, made durably if there is none. ``lock`` keeps all others from making it meanwhile."""
    if (found := read_mark(root)) is not None:
        return found
    with ExitStack() as opened:
        uploads, _ = walk.make_directories(root, (UPLOADS,), opened)
        draft = opened.enter_context(Draft(uploads))
        mark = os.urandom(16).hex()
        draft.write(f"{mark}\n".encode())
        draft.sync()
        with lock:
            if (found := read_mark(root)) is not None:
                return found  # somebody else was faster
            draft.publish(root, MARK)
            os.fsync(root)  # before the index remembers it
    return mark
