"""The objects that a dump's document speaks of: the dump itself, and what an analyzer expanded it to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from thoth.errors import BadDocument, StoreError
from thoth.model import DumpInfo, Json
from thoth.store.names import INFO, dump_dir, parts

EXPANDED: Final = "expanded"  # key of the document: {"dump", "size", "md5", "sha256"} of the expanded dump


@dataclass(frozen=True, slots=True)
class KeptObject:
    """An object of the store by its name there, and what the document says of it; None: it does not say."""

    name: str
    size: int | None  # bytes
    sha256: str | None

    @property
    def filename(self) -> str:
        """The last part of the name, which is safe as the name of a file."""
        return self.name.rpartition("/")[2]


def dump_object(user: str, info: DumpInfo) -> KeptObject:
    """The dump as it was uploaded. Raises BadDocument when the document names no object of its dump."""
    return _kept(user, info, info.document)


def expanded_object(user: str, info: DumpInfo) -> KeptObject | None:
    """What the dump was expanded to (a vmdump's vmcore), or None. Raises BadDocument."""
    told = info.document.get(EXPANDED)
    return _kept(user, info, told) if isinstance(told, dict) else None


def kept_objects(user: str, info: DumpInfo) -> tuple[KeptObject, ...]:
    """All of them, each once; the dump itself comes first. Raises BadDocument."""
    dump, expanded = dump_object(user, info), expanded_object(user, info)
    if expanded is None:
        return (dump,)
    if expanded.name == dump.name:
        raise BadDocument(f"{info.id}: its document names one object as the dump and as what it was expanded to")
    return dump, expanded


def _kept(user: str, info: DumpInfo, told: Mapping[str, Json]) -> KeptObject:
    # Only the last part counts: a document must not make us read or delete other things, and a store that
    # was copied to another user keeps its documents.
    given = told.get("dump")
    filename = given.rpartition("/")[2] if isinstance(given, str) else ""
    name = f"{dump_dir(user, info.id)}/{filename}"
    try:
        parts(name)
    except StoreError as error:
        raise BadDocument(f"{info.id}: its document names no dump: {given!r:.200}") from error
    if filename == INFO:
        raise BadDocument(f"{info.id}: its document names itself as the dump")
    size, sha256 = told.get("size"), told.get("sha256")
    is_size = isinstance(size, int) and not isinstance(size, bool) and size >= 0
    return KeptObject(name, size if is_size else None, sha256 if isinstance(sha256, str) else None)
