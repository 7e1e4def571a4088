"""A file whose dump is there already, compared byte by byte with what is recorded of the dump and what is stored."""

from __future__ import annotations

from dataclasses import dataclass

from thoth.dumps.identity import identify
from thoth.errors import NoSuchObject, NotADump, PreconditionFailed, StoreError, StoreTransient, StoreUnavailable
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity
from thoth.objects import dump_object
from thoth.store.base import Digests, ObjectStat
from thoth.store.wrappers import sha256_of_beginning


@dataclass(frozen=True, slots=True)
class Damaged:
    """An object that is not, or not any more, what its document says; ``there`` is what it was when it was read."""

    name: str
    there: ObjectStat


def compared(thoth: Thoth, stored: DumpInfo, came: Digests) -> Damaged | str | None:
    """What is wrong between a file and the dump of its identity that is stored; None: nothing.

    Damaged: the file is what the document says, and the object is not. Where the document does not say enough, the
    object is not when its own headers give another identity. Words: it is another dump, or which of both is right
    cannot be told. A file that is the beginning of a longer dump is well. Raises StoreError and BadDocument.
    """
    name = dump_object(thoth.user, stored).name
    try:
        there = thoth.store.stat(name)
        begins = _begins(thoth, name, came)
        is_other = not begins and stored.sha256 is None and _is_other(thoth, name, stored.id)
        if thoth.store.stat(name) != there:
            raise _changed(name)
    except (NoSuchObject, PreconditionFailed) as error:
        raise _changed(name) from error
    if is_recorded(stored, came):
        if there.size > came.size and not stored.complete:
            raise StoreTransient(f"{name}: is longer than recorded, and may be a better dump; try again")
        return None if begins and there.size == came.size else Damaged(name, there)
    if is_other and may_mend(stored, came):
        return Damaged(name, there)
    is_part = stored.sha256 is None or (stored.size is not None and came.size < stored.size)
    return None if begins and is_part else other_bytes(stored, came.sha256)


def is_recorded(stored: DumpInfo, came: Digests) -> bool:
    """Whether these bytes are those of which a document speaks."""
    is_size = stored.size in (None, came.size)
    return not stored.document.get("purged") and is_size and stored.sha256 == came.sha256


def may_mend(stored: DumpInfo, came: Digests) -> bool:
    """Whether these bytes, of a file with the identity of a document, may take the place of an object that is not
    what the document says: they are what it says, or it says nothing else."""
    says_nothing = stored.sha256 is None and stored.size in (None, came.size) and not stored.document.get("purged")
    return says_nothing or is_recorded(stored, came)


def other_bytes(stored: DumpInfo, sha256: str) -> str:
    """What is said of a file with this SHA-256, which is not that of the dump of its identity that is stored."""
    what = "a copy of it that was cut short" if stored.complete is False else "another dump with this identity"
    digest = "of which no SHA-256 is recorded" if stored.sha256 is None else f"sha256 {stored.sha256}"
    return (
        f"{what} is stored: {digest}, this one has {sha256}; keep this one, and see with"
        f" 'thoth scrub {stored.id[:16]}' whether the one that is stored is damaged"
    )


def _begins(thoth: Thoth, name: str, came: Digests) -> bool:
    """Whether an object begins with these bytes. One that cannot be read does not, unless that may pass."""
    try:
        return sha256_of_beginning(thoth.store, name, came.size) == came.sha256
    except (StoreUnavailable, StoreTransient, NoSuchObject, PreconditionFailed):
        raise
    except StoreError:  # a bad block
        return False


def _is_other(thoth: Thoth, name: str, identity: Identity) -> bool:
    """Whether an object is by its own headers not this dump. Of one that cannot be read that cannot be told."""
    try:
        with thoth.store.open(name) as found:
            return identify(found) != identity
    except NotADump:
        return True
    except (StoreUnavailable, StoreTransient, NoSuchObject, PreconditionFailed):
        raise
    except StoreError:  # a bad block
        return False


def _changed(name: str) -> StoreTransient:
    return StoreTransient(f"{name}: was replaced or removed while it was compared; try again")
