"""Manta as a store: ``/USER/stor/x`` is the object of that path. Facts of its protocol: docs of manta-muskie.

An etag is Manta's own. A compare-and-set is an ``If-Match`` that Manta checks before it takes the body and again when
it writes the object's metadata. A listing never proves that something is not there: ``stat`` does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from thoth.errors import CorruptTransfer, NoSuchObject, StoreError, StoreTransient
from thoth.store.base import MAX_SMALL, Entry, ObjectStat, Unfinished
from thoth.store.jobs import Jobs
from thoth.store.manta_listing import entries, first_entries
from thoth.store.manta_multipart import MantaUploads
from thoth.store.manta_parts import Multipart, PartSizes
from thoth.store.manta_reading import MantaObject
from thoth.store.manta_service import (
    Manta,
    MantaAccess,
    MantaDownload,
    Times,
    is_directory,
    length_of,
    lost_race,
    md5_in_base64,
    md5_in_hex,
    target,
)
from thoth.store.manta_upload import SMALL, Goal, MantaUpload, Stream, put
from thoth.store.repeat import DigestRepeat

if TYPE_CHECKING:
    from thoth.store.signing import Signer

__all__ = ["MantaAccess", "MantaStore", "PartSizes", "Times"]

_JOBS: Final = "Manta"  # what a Manta that runs jobs calls itself, exactly; later ones say Manta/2


class MantaStore:
    """A store in Manta. ``signer`` None: requests are not signed. ``times`` are clocks, pauses and chance.

    ``sizes`` says from which size on an object goes in parts. ``unfinished`` is a directory of this machine where
    such uploads are noted, so that a later run can go on with them; with None an upload that fails is thrown away.
    """

    def __init__(
        self,
        access: MantaAccess,
        signer: Signer | None,
        *,
        sizes: PartSizes | None = None,
        unfinished: Path | None = None,
        times: Times | None = None,
    ) -> None:
        self._manta = Manta(access, signer, times or Times())
        self._multipart = Multipart(self._manta, sizes or PartSizes(), unfinished)

    def stat(self, name: str) -> ObjectStat:
        headers = self._manta.head(name).headers
        return ObjectStat(length_of(headers, name), headers["Etag"])

    def get(self, name: str) -> tuple[bytes, str]:
        found = self._manta.open(target(name), name, 200, small=True)
        try:
            data = _whole(found, name)
        finally:
            found.close()
        digest = md5_in_base64(hashlib.md5(data, usedforsecurity=False).hexdigest())
        if found.headers.get("Content-MD5", digest) != digest:
            raise CorruptTransfer(f"{name}: what came is not what its MD5 in Manta says; read it again, or scrub")
        return data, found.headers["Etag"]

    def put(self, name: str, data: bytes, *, if_match: str | None = None) -> str:
        target(name)
        if len(data) > MAX_SMALL:
            raise StoreError(f"{name}: too large to be written at once ({len(data)} bytes)")
        return put(self._manta, name, [data], if_match)

    def open(self, name: str) -> MantaObject:
        return MantaObject(self._manta, name)

    def list(self, name: str, *, most: int | None = None) -> Iterator[Entry]:
        return entries(self._manta, name) if most is None else first_entries(self._manta, name, most)

    def delete(self, name: str, *, if_match: str | None = None) -> None:
        self._manta.delete(name, if_match)

    def begin(self, name: str, size: int | None, *, if_match: str | None = None) -> MantaUpload:
        target(name)
        goal = Goal(self._manta, name, size, if_match)
        if size is not None and self._multipart.takes(size):
            return MantaUpload(goal, lambda: self._multipart.open(goal, size), gather=-1)
        return MantaUpload(goal, lambda: Stream(goal), gather=SMALL)

    def repeat(self, name: str, found: ObjectStat) -> DigestRepeat:
        headers = self._manta.head(name).headers
        if headers["Etag"] != found.etag:
            raise lost_race(name, found.etag)
        md5 = md5_in_hex(headers.get("Content-MD5", ""))
        return DigestRepeat(name, found, md5, lambda: self.discard(name, found.size))

    def unfinished(self, home: str) -> Iterator[Unfinished]:
        """Uploads in parts. What another machine works on is among them, and was written to a moment ago."""
        return (each for each in MantaUploads(self._manta).pending(home) if not self._multipart.is_at_work(each.name))

    def forget(self, unfinished: Unfinished) -> None:
        uploads = MantaUploads(self._manta)
        if self._multipart.is_at_work(unfinished.name) or not uploads.is_pending(unfinished.name):
            raise NoSuchObject(f"{unfinished.name}: no such upload, or one that goes on")
        uploads.abort(unfinished.name, unfinished.name)

    @property
    def has_jobs(self) -> bool:
        """Whether this Manta runs jobs. Raises StoreError when it has to be asked and does not answer."""
        return self._manta.server == _JOBS

    def jobs(self) -> Jobs | None:
        """The jobs of this account, where Manta runs any. Raises StoreError as ``has_jobs`` does."""
        return Jobs(self._manta) if self.has_jobs else None

    def discard(self, name: str, size: int) -> None:
        if self._multipart.takes(size):
            self._multipart.discard(name, size)

    def free(self) -> int | None:
        return None  # an account may have a quota; Manta does not tell what is left of it

    def gathering(self) -> Self:
        return self

    def flush(self) -> None:
        """What is written here is durable at once."""

    def settle(self, name: str) -> None:
        """As ``flush``."""

    def close(self) -> None:
        self._manta.close()


def _whole(found: MantaDownload, name: str) -> bytes:
    if is_directory(found.headers):
        raise NoSuchObject(f"{name}: no such object, but a directory")
    size = length_of(found.headers, name)
    if size > MAX_SMALL:
        raise StoreError(f"{name}: too large to be read whole ({size} bytes)")
    data = found.read(size) if size else b""
    if len(data) != size:
        raise StoreTransient(f"{name}: the connection broke after {len(data)} of {size} bytes")
    return data
