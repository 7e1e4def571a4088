"""What is asked of a node, and what its replies mean. ``node.sh`` is the other side. Nothing here does I/O.

A reply is hostile until it is parsed: each field has a limit, each number a range, and what does not fit raises
ProtocolError. Paths and names are bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final, Protocol

from sdc_thoth.errors import Desynchronized, NoTimes, OpenHung, ProtocolError
from sdc_thoth.listing import NUMBER, Bad, Found, Odd, Place, Placeless, Signature, System
from thoth import text

UNIT = 4096  # bytes of the unit in which parts of a file are asked for
GROUP = 7  # files that a node opens together

_NAME_MAX = 4096  # bytes of a path, of a name and of a word that a node says
_UNAME_MAX = 256  # bytes of a word of uname; illumos has the longest
_PATTERN_MAX = 256  # a kernel takes half of it
_SYSINFO_MAX = 4 << 20
SYSINFO_READ = 256 << 10  # bytes of a sysinfo that is looked into; much of one that is real is indentation
_DEBUGGED_MAX = 4 << 20
_FRAME = 64  # bytes of a field that holds a mark
_LISTED = 200  # names that node.sh lists in one reply


class Reader(Protocol):
    """Where a reply comes from. All raise NodeError when it ends too early or nothing comes for too long."""

    def read_until(self, separator: bytes, limit: int) -> bytes:
        """What comes before the next separator, which is taken too; over ``limit`` bytes raises ProtocolError."""

    def read_exactly(self, count: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Get:
    """Part of a file: ``units`` of 4096 bytes from unit ``skip`` on; None: to the end."""

    found: Found
    skip: int = 0
    units: int | None = None

    @property
    def offset(self) -> int:
        return self.skip * UNIT

    @property
    def length(self) -> int:
        """Bytes that come when the file is what it was."""
        rest = max(0, self.found.size - self.offset)
        return rest if self.units is None else min(rest, self.units * UNIT)


@dataclass(frozen=True, slots=True)
class About:
    """What a node says of itself: ``uname``'s fields, and what its sysinfo command prints, which should be JSON.

    ``sysinfo`` is empty where there is no such command, None where it prints more than SYSINFO_READ.
    """

    system: str
    node: str
    release: str
    version: str
    machine: str
    sysinfo: bytes | None


# ---- requests ------------------------------------------------------------------------------------------------------


def script() -> bytes:
    """The text of node.sh without its comments and indentation: what is not needed need not travel."""
    lines = (line.strip() for line in (files("sdc_thoth") / "node.sh").read_bytes().splitlines())
    return b"\n".join(line for line in lines if line and not line.startswith(b"#")) + b"\n"


def command(length: int) -> str:
    """What sshd is asked to run: a shell that takes that many bytes of its script from stdin, and requests after.

    dd with one block takes no more than what is left of the script, and may get less, as it comes. A byte at a time
    would cost the node as much as all else that it is asked.
    """
    # The dot keeps the newlines at the end of a block.
    block = 'p=$(dd bs=$((n-${#s})) count=1 2>/dev/null;echo .);p=${p%.};[ "$p" ]||exit 1'
    return f"""exec /bin/sh -c 'n={length};s=;while [ ${{#s}} -lt $n ];do {block};s=$s$p;done;eval "$s"'"""


END: Final = b"end\n"  # behind the last request; before that the node waits for more, unless it says otherwise


def places_request(places: Iterable[Place]) -> bytes:
    """Where dumps lie. It comes before all requests that are about these, and has no reply."""
    # A place comes from a configuration that was checked: it holds neither a tab nor a newline.
    return b"".join(f"place\t{p.type}\t{p.system}\t{p.directory}\t{p.name}\n".encode() for p in places)


def discover_request() -> bytes:
    """What lies there. After the reply the node waits for another request."""
    return b"discover\n"


def read_request(
    gets: Iterable[Get],
    mark: str,
    *,
    skim: bool = False,
    about: bool = False,
    press: str | None = None,
) -> bytes:
    """Parts of files; the last request. ``mark`` is a random word, of this request alone, that the reply repeats.

    With ``skim`` the node looks at the files only after the reading: for small parts, which are cheap to drop. With
    ``about`` the reply to that comes first. ``press``: the program by which the bytes of one file are compressed.
    """
    verb = f"press\t{press}" if press else "skim" if skim else "read"
    first = about_request() if about else b""
    return first + f"{verb}\t{mark}\n".encode() + b"".join(map(_get, gets)) + END


def hash_request(found: Iterable[Found], thoth: str) -> bytes:
    """What the node's own thoth says of files; the last request."""
    return b"hash\t" + word(thoth.encode()) + b"\n" + b"".join(_get(Get(each)) for each in found) + END


def debug_request(found: Iterable[Found]) -> bytes:
    """What the node's own debugger says of files; the last request."""
    return b"debug\n" + b"".join(_get(Get(each)) for each in found) + END


def about_request() -> bytes:
    """What the node is. After the reply it waits for another request."""
    return b"about\n"


def _get(get: Get) -> bytes:
    units = b"all" if get.units is None else b"%d" % get.units
    where = (word(get.found.directory), word(get.found.name))
    return b"get\t%b\t%d\t%b\t%b\t%b\n" % (get.found.signature.raw, get.skip, units, *where)


_PLAIN = re.compile(rb"[!-\[\]-~]+")


def word(raw: bytes) -> bytes:
    """Bytes as a word of a request: plain ones as they are, others as ``\\0ooo``. The one quoting there is."""
    if _PLAIN.fullmatch(raw):
        return b"=" + raw
    return b"%" + b"".join(bytes([c]) if _PLAIN.fullmatch(bytes([c])) else b"\\0%03o" % c for c in raw)


# ---- replies -------------------------------------------------------------------------------------------------------


def discovered(reply: Reader, places: Sequence[Place]) -> Iterator[System | Placeless | Found | Odd | Bad]:
    """What a discover request found, as it comes. Raises ProtocolError for a file that was not asked for."""
    while (kind := _field(reply, 16)) != b"end":
        if kind == b"system":
            yield System(_word(reply))
            _field(reply, 32)  # its time, where an older command is installed
        elif kind in (b"placeless", b"relative"):  # the latter by a thoth-node of an older version
            yield Placeless(_field(reply, _PATTERN_MAX))
        elif kind == b"found":
            yield from _listed(reply, places)
        elif kind == b"odd":
            yield _odd(reply, places)
        elif kind == b"bad":
            _word(reply)
            yield Bad(_field(reply), _word(reply))
        else:
            raise ProtocolError(f"not a reply to discover: {kind!r}")


def _listed(reply: Reader, places: Sequence[Place]) -> Iterator[Found | Odd]:
    type, directory = _word(reply), _field(reply)
    now = _field(reply, 32)
    seen = int(now) if NUMBER.fullmatch(now) else None
    count = _count(reply, _LISTED)
    names = [_asked(places, type, directory, _field(reply)) for _ in range(count)]
    signatures = _field(reply, 160 * _LISTED).split(b"\n")
    if len(signatures) != count:
        raise ProtocolError(f"{count} names came with {len(signatures)} signatures")
    for name, signature in zip(names, signatures, strict=True):
        try:
            yield Found(type, directory, name, Signature.parse(signature), seen)
        except NoTimes as error:  # any tenant sets the times of a file: that must not cost the others
            yield Odd(type, directory, name, f"{error}; 'touch' it", failed=True)


def _odd(reply: Reader, places: Sequence[Place]) -> Odd:
    type, directory = _word(reply), _field(reply)
    name = _asked(places, type, directory, _field(reply))
    return Odd(type, directory, name, _word(reply))


def _asked(places: Sequence[Place], type: str, directory: bytes, name: bytes) -> bytes:
    if not name or b"/" in name or name in (b".", b".."):
        raise ProtocolError(f"not a file name: {name[:80]!r}")
    if not any(place.allows(type, directory, name) for place in places):
        raise ProtocolError(f"not asked for: {directory[:80]!r} {name[:80]!r}")
    return name


def statuses(reply: Reader, gets: Sequence[Get], mark: str) -> list[str]:
    """The start of the reply to up to GROUP gets: "ok" or what is wrong. The bytes of the ok ones follow.

    Raises OpenHung when one of them could not be opened and kept the node's shell.
    """
    start = _field(reply, _FRAME)
    raise_if_hung(start, mark)
    if start != b"group " + mark.encode() or _count(reply, GROUP) != len(gets):
        raise ProtocolError("not a reply to read")
    return [_word(reply) for _ in gets]


def raise_if_hung(start: bytes, mark: str) -> None:
    """Raises OpenHung when a reply starts with what is said of a shell that does not come back from an open."""
    if start == b"hung " + mark.encode():
        raise OpenHung("opening it does not come back: it became a FIFO, or its file system does not answer")


def afterwards(reply: Reader, gets: Sequence[Get], mark: str) -> list[Signature | None]:
    """What stands behind the bytes of the files that were ok: None for each that is, at the end, what it was, else
    what it has become.

    Raises Desynchronized when the bytes were not as many as announced: a file grew or shrank under the reading.
    """
    try:
        in_place = _field(reply, _FRAME) == b"after " + mark.encode()
    except ProtocolError:
        in_place = False
    if not in_place:
        raise Desynchronized("a file changed its size while it was read")
    signatures = _field(reply, 160 * GROUP).split(b"\n")[:-1]
    if len(signatures) != len(gets):
        raise Desynchronized(f"{len(gets)} files were read, {len(signatures)} looked at afterwards")
    return [
        None if raw == get.found.signature.raw else Signature.parse(raw)
        for raw, get in zip(signatures, gets, strict=True)
    ]


def ended(reply: Reader, mark: str = "") -> None:
    """The end of a reply. Raises ProtocolError when something else comes."""
    if _field(reply, _FRAME) != f"end {mark}".rstrip().encode():
        raise ProtocolError("more came than was asked for")


def hashes(reply: Reader, count: int) -> Iterator[tuple[bool, str]]:
    """For each file of a hash request: whether the node's thoth succeeded, and what it printed."""
    for _ in range(count):
        succeeded = _field(reply, 8) == b"0"
        yield succeeded, text(_field(reply, 16 * _NAME_MAX)).strip()
    ended(reply)


def debugged(reply: Reader, count: int) -> Iterator[tuple[bool, str]]:
    """For each file of a debug request: whether there was a debugger, and what it printed."""
    for _ in range(count):
        asked = _field(reply, 8) == b"0"
        yield asked, _field(reply, _DEBUGGED_MAX).decode("latin-1")
    ended(reply)


def about(reply: Reader) -> About:
    """The reply to an about request."""
    if _field(reply, 16) != b"about":
        raise ProtocolError("not a reply to about")
    system, node, release, version, machine = (_word(reply, _UNAME_MAX) for _ in range(5))
    sysinfo = _field(reply, _SYSINFO_MAX)
    ended(reply)
    return About(system, node, release, version, machine, sysinfo if len(sysinfo) <= SYSINFO_READ else None)


def _field(reply: Reader, limit: int = _NAME_MAX) -> bytes:
    return reply.read_until(b"\0", limit)


def _word(reply: Reader, limit: int = _NAME_MAX) -> str:
    return text(_field(reply, limit))


def _count(reply: Reader, most: int) -> int:
    raw = _field(reply, 8)
    if not NUMBER.fullmatch(raw) or not 1 <= int(raw) <= most:
        raise ProtocolError(f"not a number from 1 to {most}: {raw!r}")
    return int(raw)
