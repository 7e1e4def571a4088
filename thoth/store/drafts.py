"""The drafts of a directory store, in ROOT/.uploads: made, taken up again, and swept.

The draft of a large upload, whose size is known, has a key: the digest of its object's name and size. What a killed
one has left is taken up by the next upload with that key. Until then it is spared by the sweeps of others, for a
week, or as long as there is room for what they bring.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from thoth import durable
from thoth.durable import Draft, Left
from thoth.errors import NoRoom, NoSuchObject
from thoth.store import walk
from thoth.store.base import Unfinished

UPLOADS: Final = ".uploads"
RESUME_FROM: Final = 64 << 20  # bytes of an upload that is worth to be gone on with
_SPARED: Final = 7 * 24 * 3600 * 10**9  # ns for which a draft waits for the next upload
_SPARE_ROOM: Final = 1 << 20  # bytes that should stay free beside an object: directories, the document, the lock


class Drafts:
    """The drafts of the store at ``path``. Raises OSError, and NoRoom.

    ``now_ns`` is the clock of their age, ``resume_from`` the size in bytes from which on a draft has a key.
    """

    def __init__(self, path: Path, now_ns: Callable[[], int], resume_from: int) -> None:
        self._path = path
        self._now_ns = now_ns
        self._resume_from = resume_from
        self._swept = False

    def make(self, root: int, name: str, size: int | None, hoped: int = 0) -> Draft:
        """A draft for this object in the store that is open as ``root``: an empty one, or one that was left.

        There has to be room for ``size`` bytes, if they are known. For ``hoped`` it is only made if it can be.
        """
        key = _key(name, size) if size is not None and size >= self._resume_from else ""
        draft = self._taken_up(root, key) if key else None
        try:
            there = os.fstat(draft.fileno()).st_blocks * 512 if draft else 0
            system = self._make_room(root, max(0, (size or hoped) - there))
            self._require_room(system, name, size or 0, there)
        except BaseException:
            if draft:
                draft.keep()
            raise
        if draft:
            return draft
        with ExitStack() as opened:
            uploads, _ = walk.make_directories(root, (UPLOADS,), opened)
            return Draft(uploads, key)

    def drop(self, root: int, name: str, size: int) -> None:
        """Remove what dead processes have left of this object."""
        draft = self._taken_up(root, _key(name, size))
        if draft:
            draft.supersede()
            draft.discard()

    def dead(self, root: int) -> Iterator[Unfinished]:
        """What is left of uploads whose process is dead."""
        with walk.directory(root, [UPLOADS]) as uploads:
            for left in durable.drafts(uploads):
                if durable.is_dead(uploads, left.name):
                    yield Unfinished(f"/{UPLOADS}/{left.name}", left.room, left.mtime_ns / 1e9)

    def remove(self, root: int, name: str) -> None:
        """Remove one of them. Raises NoSuchObject when it is none any more."""
        with walk.directory(root, [UPLOADS]) as uploads:
            if not durable.remove(uploads, name.removeprefix(f"/{UPLOADS}/")):
                raise NoSuchObject(f"{name}: is gone, or an upload goes on with it")

    def _taken_up(self, root: int, key: str) -> Draft | None:
        try:
            with walk.directory(root, [UPLOADS]) as uploads:
                draft = durable.take_up(uploads, key)
        except FileNotFoundError:
            return None
        if draft:
            now = self._now_ns()
            os.utime(draft.fileno(), ns=(now, now))  # its week begins anew: somebody wants it
        return draft

    def _make_room(self, root: int, size: int) -> os.statvfs_result:
        """Sweep what is of no use any more, and all that can be swept if that makes room for ``size`` bytes and
        nothing else does. What the file system is like after that."""
        if not self._swept:
            _sweep(root, self._is_old)
            self._swept = True
        system, wanted = os.fstatvfs(root), size + _SPARE_ROOM
        if _has_room(system, wanted) or not _fits(system, wanted - sum(left.size for left in self._left(root))):
            return system
        _sweep(root, lambda left: True)  # but what was taken up, which is locked
        return os.fstatvfs(root)

    def _left(self, root: int) -> Iterator[Unfinished]:
        try:
            yield from self.dead(root)
        except FileNotFoundError:
            return

    def _require_room(self, system: os.statvfs_result, name: str, size: int, there: int) -> None:
        if not _fits(system, max(0, size - there)):
            needs = f"{size - there} more bytes" if there else f"{size} bytes"
            free = system.f_bavail * system.f_frsize
            raise NoRoom(f"store {self._path}: {name} needs {needs} and {free} are free; free some space")

    def _is_old(self, left: Left) -> bool:
        return not left.key or left.mtime_ns < self._now_ns() - _SPARED


def _key(name: str, size: int) -> str:
    import hashlib  # noqa: PLC0415 - only a large upload needs it, and every command starts by way of here

    return hashlib.sha256(os.fsencode(f"{size} {name}")).hexdigest()[:32]


def _sweep(root: int, chosen: Callable[[Left], bool]) -> None:
    try:
        with walk.directory(root, [UPLOADS]) as uploads:
            durable.sweep(uploads, chosen)
    except FileNotFoundError:
        return


def _has_room(system: os.statvfs_result, size: int) -> bool:
    return _fits(system, size) and bool(system.f_favail or not system.f_files)  # where inodes are counted at all


def _fits(system: os.statvfs_result, size: int) -> bool:
    return not system.f_blocks or size <= system.f_bavail * system.f_frsize  # some network file systems say 0 of 0
