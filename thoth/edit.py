"""Changing a dump's document: info.json in the store first, by compare-and-set, then the index."""

from __future__ import annotations

from collections.abc import Callable

from thoth.errors import NoSuchDump, PreconditionFailed, StoreError
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity
from thoth.store.names import info_name

_ATTEMPTS = 50  # each lost race means that another writer's change went in: fifty in a row is a fault, not a race


def revise(thoth: Thoth, identity: Identity, change: Callable[[DumpInfo], DumpInfo | None]) -> DumpInfo:
    """Apply ``change`` to a dump's document and return the document as it then stands in store and index.

    ``change`` gets the current document and returns the next one (``DumpInfo.changed``), or None to leave it;
    it is called again when another writer was faster, so both changes are kept. Raises NoSuchDump,
    StoreError, and IndexFailure when the store has the change and the index could not be told.
    """
    for _ in range(_ATTEMPTS):
        current = thoth.stored_info(identity)
        if current is None:
            raise NoSuchDump(f"no such dump: {identity}")
        info, etag = current
        revised = change(info)
        if revised is not None:
            try:
                thoth.store.put(info_name(thoth.user, identity), stored_form(revised), if_match=etag)
            except PreconditionFailed:
                continue
            info = revised
        thoth.index.put(info)
        return info
    raise StoreError(f"{identity}: info.json was changed by others {_ATTEMPTS} times in a row; try again")


def stored_form(info: DumpInfo) -> bytes:
    """A document as the bytes of info.json."""
    return (info.to_json(indent=4) + "\n").encode("ascii")
