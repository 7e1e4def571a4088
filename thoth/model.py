"""The values that travel through Thoth: what a dump tells, its info document, what became of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from math import isfinite
from typing import Any, Final, NoReturn

from thoth.errors import BadDocument
from thoth.naming import Identity, is_identity, raw_bytes, text

__all__ = ["DumpFacts", "DumpInfo", "Identity", "Json", "Outcome", "Result", "raw_bytes", "text"]

Json = Any  # a value that json.loads can return

# The keys that documents have at the top, as the original, thoth.ingest.arrival and those who add to one write them.
KEYS: Final = frozenset(
    {"name", "dump", "id", "pid", "cmd", "psargs", "platform", "node", "version", "time", "type", "stack", "ticket"}
    | {"properties", "revision", "size", "md5", "sha256", "complete", "uploaded", "sources", "os", "arch", "release"}
    | {"zone", "zoneid", "exec", "ppid", "uid", "signal", "lwp", "lwps", "panicstring", "uuid", "truncated"}
    | {"threads", "fault_address", "stack_by", "stack_failed", "signature", "signature_rules"}
    | {"expanded", "purged", "autoanalyzed", "rules_pending", "rules_begun"}
)


@dataclass(frozen=True, slots=True)
class DumpFacts:
    """What a dump says about itself. None: it does not say. Text is bytes, as in the dump, up to a NUL."""

    type: str  # "core" or "crash"
    complete: bool  # every extent that the headers promise lies inside the file
    os: str | None = None  # "illumos", "linux", "freebsd"
    arch: str | None = None  # amd64, i386, sparc, sparcv9, x86_64, aarch64, arm, i86pc: as the system itself calls it
    bits: int | None = None
    endian: str | None = None  # "little" or "big"
    pid: int | None = None
    ppid: int | None = None
    uid: int | None = None
    cmd: bytes | None = None
    psargs: bytes | None = None
    exec: bytes | None = None  # path of the executable
    node: bytes | None = None
    platform: bytes | None = None
    release: bytes | None = None
    zone: bytes | None = None
    zoneid: int | None = None
    signal: int | None = None
    lwp: int | None = None  # id of the LWP (thread) that dumped
    lwps: int | None = None  # how many LWPs there are
    time: float | None = None  # seconds since 1970 at which the system crashed; cores do not say
    panic: bytes | None = None
    uuid: str | None = None  # of the crash
    truncated: tuple[str, ...] = ()  # facts whose text was longer than we keep (64 KiB)


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not isfinite(number):
        _refused(digits)
    return number


def strict_json(data: bytes | str) -> Json:
    """The value that a JSON text writes, as RFC 8259 has it: every number is a finite one.

    Raises ValueError for what is no JSON, and RecursionError for what is nested too deep to be read.
    """
    return json.loads(data, parse_constant=_refused, parse_float=_finite)


def same_json(one: Json, other: Json) -> bool:
    """Whether two values are the same JSON; in Python 1, 1.0 and true are equal."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _text_of(data: bytes) -> str:
    """The text of an info.json, of UTF-8 that need not be good.

    In the original's documents text from a dump may stand as it was in that, whatever its bytes. Node reads U+FFFD
    for those that are none of UTF-8, so the original's index has that; and where it writes such a document again it
    writes that, as we do: the dump itself still has the bytes. Ticket, properties and identity are not touched by it.
    """
    return data.decode("utf-8-sig", "replace")


@dataclass(frozen=True, slots=True)
class DumpInfo:
    """A dump's document: info.json in the store, a row in the index. Keys that we do not know are kept.

    ``document`` is never changed in place; ``changed`` gives a new value.
    """

    document: Mapping[str, Json]

    @classmethod
    def from_json(cls, data: bytes | str, origin: str = "info.json") -> DumpInfo:
        """Parse info.json; bytes that are not UTF-8 become U+FFFD. Raises BadDocument, naming ``origin``."""
        try:
            document = strict_json(data if isinstance(data, str) else _text_of(data))
        except (ValueError, RecursionError) as error:
            raise BadDocument(f"{origin}: not JSON: {error}") from error
        if not isinstance(document, dict):
            raise BadDocument(f"{origin}: not a JSON object")
        info = cls(document)
        if not info._identity_digits():
            raise BadDocument(f"{origin}: has neither 'id' nor a 'name' that ends in an identity")
        return info

    def to_json(self, indent: int | None = None) -> str:
        """ASCII JSON that no terminal interprets: control characters, DEL included, are escaped."""
        return json.dumps(self.document, indent=indent).replace("\x7f", "\\u007f")

    def changed(self, **values: Json) -> DumpInfo:
        """The same document with these keys set, and the next revision."""
        return DumpInfo({**self.document, **values, "revision": self.revision + 1})

    def without(self, key: str) -> DumpInfo:
        """The same document without this key, and the next revision."""
        kept = {name: value for name, value in self.document.items() if name != key}
        return DumpInfo({**kept, "revision": self.revision + 1})

    def _identity_digits(self) -> str:
        # The original writes no id: the last part of the name is the identity.
        for value in (self.document.get("id"), str(self.document.get("name", "")).rpartition("/")[2]):
            if isinstance(value, str) and is_identity(value):
                return value
        return ""

    @property
    def id(self) -> Identity:
        return Identity(self._identity_digits())

    @property
    def revision(self) -> int:
        """Counts the changes of the document; a document of the original has none, which is 0."""
        value = self.document.get("revision", 0)
        return value if isinstance(value, int) and not isinstance(value, bool) else 0

    @property
    def size(self) -> int | None:
        """Bytes of the dump."""
        value = self.document.get("size")
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    @property
    def complete(self) -> bool | None:
        value = self.document.get("complete")
        return value if isinstance(value, bool) else None

    @property
    def sha256(self) -> str | None:
        value = self.document.get("sha256")
        return value if isinstance(value, str) else None

    @property
    def time(self) -> float | None:
        """Seconds since 1970, None for what is no number. The original wrote it as text for some crash dumps."""
        value = self.document.get("time")
        if value is None or isinstance(value, bool):
            return None
        try:
            seconds = float(value)
        except (TypeError, ValueError, OverflowError):
            return None
        return seconds if isfinite(seconds) else None

    @property
    def properties(self) -> Mapping[str, Json]:
        value = self.document.get("properties")
        return value if isinstance(value, dict) else {}


class Result(Enum):
    """What became of a dump or a node; the value is the word that reports and JSON use."""

    PRESENT = "present"
    STORED = "stored"
    REPLACED = "replaced"  # a whole dump took the place of one that was cut short
    PLANNED = "planned"  # a dry run found that it would be sent
    REACHED = "reached"  # of a node: it was searched to the end
    GONE = "gone"  # it was there and is no more: normal, nodes delete cores
    SKIPPED = "skipped"  # still changing, not a file, not a dump, over a limit
    NOT_RUNNING = "not-running"
    UNREACHABLE = "unreachable"
    DENIED = "denied"
    FAILED = "failed"
    STORED_UNINDEXED = "stored-unindexed"  # kept, but the index could not be told
    CONFLICT = "conflict"  # same identity, both whole, other content: the first is kept

    @property
    def good(self) -> bool:
        """Whether a run that ends with only such results has succeeded."""
        return self in _GOOD


_GOOD = frozenset(
    {
        Result.PRESENT,
        Result.STORED,
        Result.REPLACED,
        Result.PLANNED,
        Result.REACHED,
        Result.GONE,
        Result.SKIPPED,
        Result.NOT_RUNNING,
    }
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one dump, or of a node when ``path`` is None. Exactly one for each that was seen."""

    result: Result
    node: str | None = None
    path: bytes | None = None
    identity: Identity | None = None
    size: int | None = None  # bytes of the dump
    sent: int = 0  # bytes that went into the store in this run
    stage: str | None = None  # where it failed: connect, discover, identify, transfer, store, ...
    reason: str | None = None  # one line for people
    detail: Mapping[str, Json] = field(default_factory=dict)
