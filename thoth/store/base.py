"""What a store of objects promises. Names are Manta paths (``/USER/stor/thoth/...``), everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self


@dataclass(frozen=True, slots=True)
class Digests:
    """What was read at the source, in lower-case hex, to hold against what was written."""

    size: int
    md5: str
    sha256: str


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """``etag`` names this content of the object: another content has another one."""

    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a directory of the store."""

    name: str  # the last part only
    directory: bool
    size: int  # 0 for a directory
    mtime: float  # seconds since 1970, by the store's clock


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What an upload that ended early has left in the store, for the next one of the same object."""

    name: str  # by which the store knows it; no object's
    size: int  # bytes that it takes
    mtime: float  # when it was written to last, in seconds since 1970


ABSENT: Final = ""  # as ``if_match``: the object must not exist yet


class StoredObject(Protocol):
    """An object opened for reading: a ReadAt that is closed after use.

    It never gives bytes of another object that has taken the name. A store that does not keep what was replaced or
    deleted raises PreconditionFailed or NoSuchObject then. One that has a digest of the object compares it with what
    was read when that was all of it, in order, and raises CorruptTransfer.
    """

    @property
    def size(self) -> int: ...

    def read_at(self, offset: int, length: int) -> bytes: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Upload(Protocol):
    """An object on its way in. Nothing is visible under its name until ``commit`` returns.

    - ``part`` takes the next bytes, in order, of any length.
    - ``commit`` makes the object durable and visible at once, taking the place of an older one. Bytes that are
      not as many as ``digests`` says raise CorruptTransfer, and the object is as it was before. Their content is
      compared where that costs nothing: by a server that digests what it gets.
      When ``begin`` was told what has to be there, and something else is, it raises PreconditionFailed.
    - ``abort`` leaves nothing that anybody sees under a name. It may be called at any time, any number of times, and
      after ``commit``, when it does nothing. What was sent of a large object may be kept for the next upload of the
      same name and size, but not when ``part`` or ``commit`` raised CorruptTransfer or PreconditionFailed. What
      nobody goes on with is swept away by later uploads, as that of a process that died is.
    - ``kept`` gives the first ``length`` bytes that an earlier upload has left, as the store has them now: who has
      their digest from when they came can tell whether they are right. None when the store has not so many; it
      ends early where the store cannot read them. ``go_on`` says that they are: what comes next follows them. Both
      before the first ``part``.
    """

    def kept(self, length: int) -> Iterator[bytes] | None: ...

    def go_on(self, length: int) -> None: ...

    def part(self, data: bytes) -> None: ...

    def commit(self, digests: Digests) -> ObjectStat: ...

    def abort(self) -> None: ...


class ObjectStore(Protocol):
    """Objects by name. Safe to use from several threads; other processes may use the same store.

    Every method raises StoreError: NoSuchObject, PreconditionFailed, or StoreUnavailable when nothing else
    would work either (full, read-only, access denied, unreachable).

    - ``stat``, ``get``, ``open``, ``delete`` raise NoSuchObject for a name that is not an object's.
    - ``get`` returns a small object whole, with its etag; over ``MAX_SMALL`` bytes it raises StoreError.
    - ``put`` writes a small object durably and atomically and returns its new etag; parents are made as needed.
      With ``if_match`` it is a compare-and-set: the object's etag must be that one, or with ABSENT there must
      be none, else PreconditionFailed and nothing has changed.
    - ``list`` gives the entries of one directory, sorted by name; a directory that is not there is empty. With
      ``most`` it gives so many of them at most, those that cost least.
    - ``delete`` removes an object, or a directory that is empty. A directory that is not empty raises StoreError.
      With ``if_match`` it is a compare-and-delete: an object with another etag stays, and PreconditionFailed is
      raised; for one that is gone, either.
    - ``begin`` starts an upload; ``size`` is the number of bytes that will come, None when nobody knows. With
      ``if_match`` its commit is a compare-and-set as that of ``put``; a server that cannot compare at the commit of
      a large object is asked right before it. What a killed upload under the same name had sent may be used again
      after it has been held against the bytes that come; it is never believed.
    - ``repeat`` starts an upload of what is there as ``found``: what comes is held against that, and not written.
      Other bytes raise OtherBytes, at the latest by ``commit``, and the object stays. PreconditionFailed: it changed.
    - ``unfinished`` gives what is left of uploads that ended early and that none goes on with now, in no order; a
      store that can tell what they were of gives those of what was to lie below ``home``.
      ``forget`` removes it; NoSuchObject: it is gone, or an upload goes on with it.
    - ``discard`` throws away what an upload of this object and size has left, if no other goes on with it.
    - ``gathering`` gives the same store for dumps that are written together: there ``commit`` and ``put`` make them
      visible, and it is ``flush`` that makes all of them durable, at less cost. A power cut before that may take a
      dump and its document, or the document alone. A store that gains nothing by it gives itself.
    - ``settle`` makes durable what is there under a name, in a gathering store by its next ``flush``: who wrote it
      may have been killed before that.
    - ``free`` is how many bytes more the store has room for, by itself and for all who write to the same disk; None
      when it cannot tell.
    """

    def stat(self, name: str) -> ObjectStat: ...

    def get(self, name: str) -> tuple[bytes, str]: ...

    def put(self, name: str, data: bytes, *, if_match: str | None = None) -> str: ...

    def open(self, name: str) -> StoredObject: ...

    def list(self, name: str, *, most: int | None = None) -> Iterator[Entry]: ...

    def delete(self, name: str, *, if_match: str | None = None) -> None: ...

    def begin(self, name: str, size: int | None, *, if_match: str | None = None) -> Upload: ...

    def repeat(self, name: str, found: ObjectStat) -> Upload: ...

    def unfinished(self, home: str) -> Iterator[Unfinished]: ...

    def forget(self, unfinished: Unfinished) -> None: ...

    def discard(self, name: str, size: int) -> None: ...

    def free(self) -> int | None: ...

    def gathering(self) -> ObjectStore: ...

    def flush(self) -> None: ...

    def settle(self, name: str) -> None: ...

    def close(self) -> None: ...


MAX_SMALL: Final = 64 << 20  # bytes of the largest object that get and put handle: an info.json, an analyzer
