"""A dump on its way from the store to a file on this machine, and the check of one that is there."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from thoth.analysis.sandbox import give_open
from thoth.digest import Digester, digests_of
from thoth.dumps.source import BLOCK, LocalFile
from thoth.durable import Draft, sweep
from thoth.errors import CorruptTransfer, NoSuchObject, SourceError
from thoth.library import Thoth
from thoth.model import DumpInfo
from thoth.objects import KeptObject, dump_object, expanded_object
from thoth.store.base import StoredObject


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object of the store, with what is known of it."""

    name: str
    filename: str
    size: int  # bytes
    sha256: str | None  # lower-case hex; None: nobody has written it down


def wanted(thoth: Thoth, info: DumpInfo) -> Wanted:
    """What to read in place of this dump: its expanded form if it has one.

    Raises NoSuchObject when it was purged or lost, BadDocument, and StoreError.
    """
    _refuse_purged(info)
    return _found(thoth, info, expanded_object(thoth.user, info) or dump_object(thoth.user, info))


def as_uploaded(thoth: Thoth, info: DumpInfo) -> Wanted:
    """The dump itself, whatever it was expanded to. Raises as ``wanted`` does."""
    _refuse_purged(info)
    return _found(thoth, info, dump_object(thoth.user, info))


def _refuse_purged(info: DumpInfo) -> None:
    if info.document.get("purged"):
        raise NoSuchObject(f"{info.id}: was purged{_on(info.document['purged'])}; only its document is left")


def _found(thoth: Thoth, info: DumpInfo, kept: KeptObject) -> Wanted:
    try:
        size = thoth.store.stat(kept.name).size
    except NoSuchObject as error:
        raise NoSuchObject(f"{info.id}: its dump is lost: the store has no {kept.name}; see 'thoth scrub'") from error
    if kept.size not in (None, size):
        raise _differs(kept.name, f"has {size} bytes, and {kept.size} in its document")
    return Wanted(kept.name, kept.filename, size, kept.sha256 and kept.sha256.lower())


def _on(seconds: object) -> str:
    try:
        return f" on {time.strftime('%Y-%m-%d', time.gmtime(float(str(seconds))))}"
    except (ValueError, OverflowError, OSError):
        return ""


def is_whole(path: Path, target: Wanted, progress: Callable[[int], object]) -> bool:
    """Whether the file is a good copy. Only its size is compared where no digest is known."""
    try:
        with LocalFile(path) as copy:
            if copy.size != target.size or copy.stat.st_uid != os.geteuid():
                return False
            return target.sha256 is None or digests_of(_counted(copy.stream(), progress)).sha256 == target.sha256
    except SourceError:  # not there, a link, changed while it was read
        return False


def checked(thoth: Thoth, target: Wanted, progress: Callable[[int], object]) -> Generator[bytes]:
    """The object block by block. Behind the last one it raises CorruptTransfer if they were not what is known of it.

    Raises StoreError. To be closed.
    """
    with closing(Digester()) as digester:
        with thoth.store.open(target.name) as source:
            for block in _counted(_blocks(source), progress):
                digester.feed(block)
                yield block
        found = digester.result()
    if found.size != target.size:
        raise _differs(target.name, f"gave {found.size} bytes of {target.size}")
    if target.sha256 not in (None, found.sha256):
        raise _differs(target.name, f"has the SHA-256 {found.sha256}, and {target.sha256} in its document")


def fetch(thoth: Thoth, target: Wanted, path: Path, progress: Callable[[int], object]) -> None:
    """Put a checked copy there, in place of any other file. Raises CorruptTransfer, StoreError, and OSError."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with _filled(thoth, target, directory, progress) as draft:
            _publish(draft, directory, target, path.name)
    finally:
        os.close(directory)


def save(thoth: Thoth, target: Wanted, path: Path, progress: Callable[[int], object], *, replace: bool) -> None:
    """Put a checked copy there, durably, for its owner alone (mode 0600).

    Raises FileExistsError when something has that name, unless it is to be replaced; then a link is, and not what it
    leads to. Raises CorruptTransfer, StoreError, and OSError. After any of these nothing of it is left.
    """
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with _filled(thoth, target, directory, progress) as draft:
            draft.sync()
            if replace:
                draft.publish(directory, path.name)
            else:
                draft.publish_new(directory, path.name)
        os.fsync(directory)  # the name itself
    finally:
        os.close(directory)


@contextmanager
def _filled(thoth: Thoth, target: Wanted, directory: int, progress: Callable[[int], object]) -> Iterator[Draft]:
    """A draft that has all of the object, checked; it is discarded if nobody publishes it."""
    sweep(directory)
    with Draft(directory) as draft:
        with closing(checked(thoth, target, progress)) as blocks:
            for block in blocks:
                draft.write_sparse(block)
        draft.end()
        yield draft


def _blocks(source: StoredObject) -> Iterator[bytes]:
    at = 0
    while block := source.read_at(at, BLOCK):
        yield block
        at += len(block)


def _counted(blocks: Iterable[bytes], progress: Callable[[int], object]) -> Iterator[bytes]:
    at = 0
    for block in blocks:
        yield block
        at += len(block)
        progress(at)


def _publish(draft: Draft, directory: int, target: Wanted, name: str) -> None:
    os.fchmod(draft.fileno(), 0o400)
    give_open(draft.fileno())
    if target.sha256 is None:
        draft.sync()  # nothing would tell later that a power cut has taken half of it
    draft.publish(directory, name)


def _differs(name: str, how: str) -> CorruptTransfer:
    return CorruptTransfer(f"{name}: {how}; 'thoth scrub' looks for what is wrong")
