"""Whether a dump has to be stored although there is a document of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from thoth.errors import BadDocument, NoSuchObject
from thoth.library import Thoth
from thoth.model import DumpInfo
from thoth.objects import KeptObject, kept_objects


class Recorded(Protocol):
    """What is recorded of a dump, in its document or in the index."""

    @property
    def size(self) -> int | None: ...

    @property
    def complete(self) -> bool | None: ...


@dataclass(frozen=True, slots=True)
class _Measured:
    """A dump of which the size was asked of the store."""

    size: int
    complete: bool | None


def may_replace(stored: DumpInfo, size: int) -> bool:
    """Whether a dump of this size could be a better one than what is stored under its identity.

    A dump that is whole stays. So does a purged one: what was thrown away on purpose is not fetched again.
    """
    if stored.document.get("purged"):
        return False
    return stored.complete is False and stored.size is not None and size > stored.size


def is_wanted(thoth: Thoth, stored: DumpInfo, size: int) -> bool:
    """Whether the bytes have to be stored although there is a document: for a better dump, or a lost one."""
    return may_replace(stored, size) or is_lost(thoth, stored)


def is_lost(thoth: Thoth, stored: DumpInfo) -> bool:
    """Whether the store has the document of a dump but not the dump, or only a part of it, and nobody has purged it.

    One that is longer than it should be may be a better one, whose document is on its way.
    """
    if stored.document.get("purged"):
        return False
    try:
        return any(thoth.store.stat(dump.name).size < (dump.size or 0) for dump in objects_of(thoth, stored)[:1])
    except NoSuchObject:
        return True


def with_size(thoth: Thoth, stored: DumpInfo) -> Recorded:
    """What is recorded of a dump, with the size of the stored object where none is, as in the original's documents.

    The store is asked only then. Raises StoreError.
    """
    dump = None if stored.size is not None else next(iter(objects_of(thoth, stored)), None)
    if dump is None:
        return stored
    try:
        return _Measured(thoth.store.stat(dump.name).size, stored.complete)
    except NoSuchObject:  # it is lost
        return stored


def other_dump(there: Recorded, size: int, *, whole: bool | None) -> str | None:
    """Why a file of this size, in bytes, is another dump than the one of its identity that is there: in words.

    None: it may be that one, or a part of it. ``whole``: whether the file is; None when nobody has looked. Not
    for a dump that was purged.
    """
    if there.complete is False or there.size is None:
        return None
    if not (size > there.size or (size < there.size and whole)):
        return None
    file = f"this file has {size} and the same headers; keep it"
    if there.complete:
        return f"stored whole with {there.size} bytes; {file}"
    known = f"stored with {there.size} bytes, and it is not recorded whether that is all"
    return f"{known}; {file}, and see 'thoth scrub --repair'"


def objects_of(thoth: Thoth, info: DumpInfo) -> tuple[KeptObject, ...]:
    """The objects of a document, the dump's own first; none for a document that names things that are not its own."""
    try:
        return kept_objects(thoth.user, info)
    except BadDocument:
        return ()
