"""A dump that comes as a stream, on its way to where it can be read anywhere: a file without a name in the cache."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from thoth.analysis.private import private_directory, told
from thoth.dumps.identity import identity_ranges
from thoth.dumps.source import KnownRanges, MissingRange, OpenFile
from thoth.durable import Draft, sweep
from thoth.errors import NotADump

_SPARE: Final = 64 << 20  # bytes of the disk that stay free for others, but of a small disk a twentieth
_ENDLESS: Final = 1 << 62  # bytes of a file of which only the beginning is known


def spool(root: Path, blocks: Iterable[bytes], name: str) -> OpenFile:
    """All of a dump, in the cache at ``root``: a file of mode 0600 that has no name and is gone once it is closed.

    Runs of zeros become holes. ``name`` is what the stream is called in talk. Raises NotADump for a stream that has
    no byte, and for one of no dump as soon as its first block tells; CacheError when there is no place or no room;
    and what ``blocks`` raises, which is no OSError.
    """
    with told(root, f" for all of {name}"):
        place = private_directory(root)
        directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            sweep(directory)  # what was killed before it had taken the name away
            with Draft(directory) as draft:
                draft.unname()
                _fill(draft, blocks)
                return OpenFile(os.dup(draft.fileno()), name)
        finally:
            os.close(directory)


def _fill(draft: Draft, blocks: Iterable[bytes]) -> None:
    is_empty = True
    for block in blocks:
        if is_empty:
            _refuse_no_dump(block)
            is_empty = False
        draft.write_sparse(block)
        _require_spare_room(draft.fileno())
    if is_empty:
        raise NotADump("is empty: nothing was sent")
    draft.end()


def _refuse_no_dump(head: bytes) -> None:
    """Raises NotADump when these first bytes are none of a dump: what is huge and no use is not waited for."""
    with suppress(MissingRange):
        identity_ranges(KnownRanges(_ENDLESS, [(0, head)]))


def _require_spare_room(fd: int) -> None:
    system = os.fstatvfs(fd)
    size, free = system.f_blocks * system.f_frsize, system.f_bavail * system.f_frsize
    if free < min(_SPARE, size // 20):  # some network file systems say 0 of 0
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
