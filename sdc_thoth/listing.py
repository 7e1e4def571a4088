"""What a node lists: where dumps lie, and what lies there. Paths and names are bytes.

What it says of a file is hostile until it is parsed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Final

from sdc_thoth.errors import NoTimes, ProtocolError
from thoth import text

NUMBER: Final = re.compile(rb"[0-9]{1,20}")  # an unsigned 64-bit inode has 20 digits
_SECONDS: Final = re.compile(rb"-?[0-9]{1,20}(\.[0-9]{1,9})?")
_PER_NAME: Final = 100  # bytes of a listing that a file takes at least
_PER_REMARK: Final = 4096  # of these bytes; there is one for each place that could not be searched


@dataclass(frozen=True, slots=True)
class Place:
    """Where dumps of a type lie, as shell patterns. ``system`` is what ``uname -s`` says, or ``-`` for any."""

    type: str
    system: str
    directory: str
    name: str

    @property
    def is_of_kernel(self) -> bool:
        """Whether it is where the node's kernel puts cores, which only the node knows."""
        return self.directory == "@core_pattern"

    def allows(self, type: str, directory: bytes, name: bytes) -> bool:
        """Whether this place can have listed such a file."""
        if type != self.type:
            return False
        if self.is_of_kernel:
            return True
        return bool(_pattern(self.directory).fullmatch(directory) and _pattern(self.name).fullmatch(name))


@cache
def _pattern(glob: str) -> re.Pattern[bytes]:
    """A shell pattern as a regular expression; ``*`` and ``?`` do not stand for a slash."""
    parts = {"*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(parts.get(c) or re.escape(c) for c in glob).encode(), re.DOTALL)


@dataclass(frozen=True, slots=True)
class Signature:
    """What stat says of a file, as the node's text and parsed. Times are seconds since 1970."""

    raw: bytes
    device: int
    inode: int
    size: int
    mtime: float
    ctime: float
    links: int

    @classmethod
    def parse(cls, raw: bytes) -> Signature:
        """Parse ``device:inode:size:mtime:ctime:links``; raises NoTimes, and ProtocolError for all else."""
        fields = raw.split(b":")
        if len(fields) != 6 or not all(map(NUMBER.fullmatch, (fields[0], fields[1], fields[2], fields[5]))):
            raise ProtocolError(f"not a file's signature: {raw[:80]!r}")
        size = int(fields[2])
        if size >= 1 << 63:
            raise ProtocolError(f"no file has {size} bytes")
        if not (_SECONDS.fullmatch(fields[3]) and _SECONDS.fullmatch(fields[4])):
            raise NoTimes(f"not a file's times: {raw[:80]!r}")
        return cls(raw, int(fields[0]), int(fields[1]), size, float(fields[3]), float(fields[4]), int(fields[5]))

    def same_file(self, other: Signature) -> bool:
        return (self.device, self.inode) == (other.device, other.inode)


@dataclass(frozen=True, slots=True)
class System:
    """The node's ``uname -s``."""

    name: str


@dataclass(frozen=True, slots=True)
class Placeless:
    """The kernel's core_pattern, which does not tell in what place cores lie."""

    pattern: bytes

    @property
    def remark(self) -> str:
        """For people: what that means, and what to do."""
        if self.pattern[:1] in (b"|", b"@"):
            taker = "a program" if self.pattern[:1] == b"|" else "a socket"
            what = f"gives cores to {taker}, and where that puts them is not known;"
            return f"core_pattern '{text(self.pattern)}' {what} name the place with [paths] core"
        return (
            f"core_pattern '{text(self.pattern)}' is relative: cores stay where processes run; set"
            " kernel.core_pattern to an absolute path, or name their places with [paths] core"
        )


def _joined(directory: bytes, name: bytes) -> bytes:
    return directory.rstrip(b"/") + b"/" + name  # a kernel may put cores into the root directory


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file that lies where dumps lie. ``seen``: when, by the node's clock; None: it did not tell."""

    type: str
    directory: bytes
    name: bytes
    signature: Signature
    seen: int | None = None

    @property
    def path(self) -> bytes:
        return _joined(self.directory, self.name)

    @property
    def size(self) -> int:
        return self.signature.size


@dataclass(frozen=True, slots=True)
class Odd:
    """A name that matches but is nothing to read: ``kind`` is "a link", "a FIFO", "denied", "gone", ...

    ``failed``: it may be a dump, but what the node's stat says of it cannot be told; ``kind`` says what that is.
    """

    type: str
    directory: bytes
    name: bytes
    kind: str
    failed: bool = False

    @property
    def path(self) -> bytes:
        return _joined(self.directory, self.name)


@dataclass(frozen=True, slots=True)
class Bad:
    """A place that could not be searched."""

    directory: bytes
    reason: str


def length_of(item: System | Placeless | Found | Odd | Bad) -> int:
    """Bytes of a listing that an item takes."""
    if isinstance(item, Found):
        return max(_PER_NAME, len(item.directory) + len(item.name))
    if isinstance(item, Odd):
        return max(_PER_NAME, len(item.directory) + len(item.name) + len(item.kind))
    return _PER_REMARK
