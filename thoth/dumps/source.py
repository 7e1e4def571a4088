"""Where the bytes of a dump come from."""

from __future__ import annotations

import errno
import os
import stat
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from thoth.errors import SourceChanged, SourceDenied, SourceError, SourceGone

BLOCK = 1 << 20  # bytes per read when a whole file is streamed


class Range(NamedTuple):
    """``length`` bytes from ``offset`` on."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        return self.offset + self.length


class ReadAt(Protocol):
    """A file of known size that can be read anywhere.

    ``read_at`` returns ``length`` bytes from ``offset`` on, fewer only where the file ends before that, and
    none at or behind its end. Both numbers are >= 0. It raises SourceError when the bytes cannot be had.
    """

    @property
    def size(self) -> int: ...

    def read_at(self, offset: int, length: int) -> bytes: ...


class OpenFile:
    """A regular file that is open. Reads go to that file, whatever happens to its name.

    Takes the descriptor over: it is closed by ``close``, and also when this raises SourceError. ``path`` is what the
    file is called, if only in talk.
    """

    __slots__ = ("_fd", "path", "stat")

    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self.path = path
        try:
            self.stat = os.fstat(fd)
        except OSError as error:
            self.close()
            raise _translated(error, path) from error
        if not stat.S_ISREG(self.stat.st_mode):
            self.close()
            raise SourceError("not a regular file")

    @property
    def size(self) -> int:
        return self.stat.st_size

    def read_at(self, offset: int, length: int) -> bytes:
        # Headers of a dump ask for what they like: also for what no file has, or memory holds.
        length = max(0, min(length, self.size - offset))
        try:
            data = os.pread(self._fd, length, min(offset, self.size))
            # One call gives at most 2 GiB, and may give less on some file systems.
            while data and len(data) < length:
                more = os.pread(self._fd, length - len(data), offset + len(data))
                if not more:
                    break
                data += more
        except OSError as error:
            raise _translated(error, self.path) from error
        return data

    def stream(self) -> Iterator[bytes]:
        """The whole file in blocks. Raises SourceChanged when it is not, at the end, what was opened."""
        at = 0
        while at < self.size:
            block = self.read_at(at, min(BLOCK, self.size - at))
            if not block:
                break
            at += len(block)
            yield block
        if self.changed():
            raise SourceChanged("changed while it was read")

    def changed(self) -> bool:
        """Whether the open file was written to, cut or extended since it was opened."""
        try:
            now = os.fstat(self._fd)
        except OSError as error:
            raise _translated(error, self.path) from error
        return (now.st_size, now.st_mtime_ns, now.st_ctime_ns) != (
            self.stat.st_size,
            self.stat.st_mtime_ns,
            self.stat.st_ctime_ns,
        )

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class LocalFile(OpenFile):
    """A dump on this machine, opened in the only way that dumps are opened here by their names.

    A link is not followed, a FIFO or device does not block or act: only a regular file is opened. Raises SourceGone,
    SourceDenied or SourceError.
    """

    __slots__ = ()

    def __init__(self, path: str | bytes | os.PathLike[str]) -> None:
        name = os.fsdecode(path)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        try:
            # A look comes first: to open a device may act, and to open a FIFO lets its writer go.
            if stat.S_IFMT(os.lstat(name).st_mode) not in (stat.S_IFREG, stat.S_IFLNK):
                raise SourceError("not a regular file")
            fd = os.open(name, flags)
        except (OSError, ValueError) as error:
            raise _translated(error, name) from error
        super().__init__(fd, name)

    @property
    def name(self) -> bytes:
        """The last part of the path, as bytes."""
        return os.path.basename(os.fsencode(self.path))  # noqa: PTH119 - pathlib costs thoth object 5 ms


def _translated(error: OSError | ValueError, path: str) -> SourceError:
    number = getattr(error, "errno", None)
    if number in (errno.ENOENT, errno.ENOTDIR):
        return SourceGone("no such file")
    if number in (errno.EACCES, errno.EPERM):
        return SourceDenied("permission denied")
    if number in (errno.ELOOP, errno.EMLINK):
        linked = os.path.islink(path)  # noqa: PTH114 - pathlib costs thoth object 5 ms
        return SourceError("is a symbolic link; name the file itself" if linked else "too many links in the path")
    if number == errno.ENXIO:
        return SourceError("not a regular file")
    return SourceError(getattr(error, "strerror", None) or str(error))


class MissingRange(Exception):
    """A range that ``KnownRanges`` does not hold. Caught by who can fetch it; never shown."""

    def __init__(self, wanted: Range) -> None:
        super().__init__(f"{wanted.length} bytes at {wanted.offset} are not known")
        self.wanted = wanted


class KnownRanges:
    """The parts of a remote file that have been fetched so far, as a ReadAt.

    Reading what is not there raises MissingRange; what lies behind the end of the file reads as empty.
    """

    __slots__ = ("_parts", "_size", "_starts")

    def __init__(self, size: int, parts: Iterable[tuple[int, bytes]] = ()) -> None:
        self._size = size
        self._starts: list[int] = []  # of the parts, sorted; parts do not overlap
        self._parts: list[bytes] = []
        for offset, data in parts:
            self.add(offset, data)

    @property
    def size(self) -> int:
        return self._size

    def add(self, offset: int, data: bytes) -> None:
        """Take note of the bytes from ``offset`` on. What is known already stays as it is."""
        end = offset + len(data)
        at = offset
        while at < end:
            held = self._holding(at)
            if held is not None:
                at = self._starts[held] + len(self._parts[held])
                continue
            place = bisect_right(self._starts, at)
            until = min(end, self._starts[place]) if place < len(self._starts) else end
            self._starts.insert(place, at)
            self._parts.insert(place, data[at - offset : until - offset])
            at = until

    def clipped(self, wanted: Range) -> Range:
        """The part of a range that lies inside the file."""
        start = min(wanted.offset, self._size)
        return Range(start, max(0, min(wanted.end, self._size) - start))

    def missing(self, wanted: Iterable[Range]) -> list[Range]:
        """Those of the ranges, clipped to the file, that would raise MissingRange."""
        inside = (self.clipped(each) for each in wanted)
        return [each for each in inside if each.length and self._find(each) is None]

    def read_at(self, offset: int, length: int) -> bytes:
        place = bisect_right(self._starts, offset) - 1
        if place >= 0 and 0 < length <= self._size - offset:  # as nearly always: inside the file, and in one part
            start = offset - self._starts[place]
            data = self._parts[place][start : start + length]
            if len(data) == length:
                return data
        inside = self.clipped(Range(offset, length))
        if not inside.length:
            return b""
        found = self._find(inside)
        if found is None:
            raise MissingRange(inside)
        return found

    def _find(self, wanted: Range) -> bytes | None:
        """The bytes, out of one part or of several that touch; None when some are not known."""
        pieces: list[bytes] = []
        at = wanted.offset
        while at < wanted.end:
            held = self._holding(at)
            if held is None:
                return None
            start = self._starts[held]
            pieces.append(self._parts[held][at - start : wanted.end - start])
            at += len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _holding(self, offset: int) -> int | None:
        """Which part holds this byte."""
        place = bisect_right(self._starts, offset) - 1
        if place < 0 or offset >= self._starts[place] + len(self._parts[place]):
            return None
        return place


def in_memory(blocks: Sequence[bytes]) -> KnownRanges:
    """A file of these blocks, all of it known."""
    starts = accumulate(map(len, blocks), initial=0)
    return KnownRanges(sum(map(len, blocks)), zip(starts, blocks, strict=False))


class Recorder:
    """Keeps, of a stream that passes by once, the ranges that will be looked at when it has ended."""

    __slots__ = ("_at", "_buffers", "_next", "_ranges")

    def __init__(self, ranges: Iterable[Range]) -> None:
        self._ranges = merged(ranges)
        self._buffers = [bytearray() for _ in self._ranges]
        self._next = 0  # the first range that is not yet behind us
        self._at = 0

    def feed(self, block: bytes) -> None:
        """The next bytes of the stream."""
        start, end = self._at, self._at + len(block)
        view = memoryview(block)
        while self._next < len(self._ranges):
            wanted = self._ranges[self._next]
            low, high = max(start, wanted.offset), min(end, wanted.end)
            if low < high:
                self._buffers[self._next].extend(view[low - start : high - start])
            if wanted.end > end:
                break
            self._next += 1
        self._at = end

    def known(self) -> KnownRanges:
        """What was kept, as a file of the size that went by."""
        parts = zip(self._ranges, self._buffers, strict=True)
        return KnownRanges(self._at, ((wanted.offset, bytes(kept)) for wanted, kept in parts))


def merged(ranges: Iterable[Range]) -> list[Range]:
    """The same bytes as sorted ranges that neither overlap nor touch."""
    joined: list[Range] = []
    for each in sorted(r for r in ranges if r.length > 0):
        if joined and each.offset <= joined[-1].end:
            last = joined[-1]
            joined[-1] = Range(last.offset, max(last.end, each.end) - last.offset)
        else:
            joined.append(each)
    return joined
