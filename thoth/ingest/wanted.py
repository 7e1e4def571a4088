"""Whether a dump has to be stored although there is a document of it."""

from __future__ import annotations

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


def other_dump(there: Recorded, size: int, *, whole: bool | None) -> str | None:
    """Why a file of this size, in bytes, is another dump than the one of its identity that is there: in words.

    None: it may be that one, or a part of it. ``whole``: whether the file is; None when nobody has looked. Not
    for a dump that was purged.
    """
    if not there.complete or there.size is None:
        return None
    if size > there.size or (size < there.size and whole):
        return f"stored whole with {there.size} bytes; this file has {size} and the same headers; keep it"
    return None


def objects_of(thoth: Thoth, info: DumpInfo) -> tuple[KeptObject, ...]:
    """The objects of a document, the dump's own first; none for a document that names things that are not its own."""
    try:
        return kept_objects(thoth.user, info)
    except BadDocument:
        return ()
