"""What an analyzer asks to be changed: the files that the functions of environment.sh leave, and what they mean.

``order`` has a line for each change, in their order: the name of its head (what, NUL, ``argument`` or ``stdin``, NUL,
of which property); its value is the file of that name with ``.value`` behind it. A task of a job sends the same heads
and values in one piece. All of it was written by a program that is not ours: no link is followed, and everything has
a bound.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from thoth.edit import (
    Edit,
    SetProperty,
    SetTicket,
    UnsetProperty,
    Unticket,
    edited,
    property_value,
    settable,
    ticket_text,
)
from thoth.errors import StoreError, UsageError
from thoth.model import DumpInfo, Json, text
from thoth.objects import EXPANDED
from thoth.signatures.signature import signed
from thoth.store.names import INFO
from thoth.store.walk import DIRECTORY, directory, look, open_file

CHANGES: Final = "changes"  # the directory of the files, in the analyzer's own
STACK_BY: Final = "stack_by"  # key of the document: the analyzer that found its ``stack``

LARGEST: Final = 64 << 20  # bytes of all values together: no document has more
MOST: Final = 10_000  # changes of one analyzer
MOST_FRAMES: Final = 10_000
LARGEST_RECORD: Final = LARGEST + (1 << 20)  # bytes of all changes in one piece
_ORDER: Final = "order"
_LARGEST_HEAD: Final = 1 << 16
_SENT: Final = re.compile(rb"([A-Za-z0-9_-][A-Za-z0-9._-]{0,199}) ([0-9]{1,18}) ([0-9a-f]{32}) ([0-9a-f]{64})")
_SIZES: Final = re.compile(rb"([0-9]{1,10}) ([0-9]{1,10})\n")
_ENDS: Final = {  # words of a task in place of a change
    b"damaged\n": "its changes are damaged: a name is none of ours, or a file is missing",
    b"many\n": f"it asks for over {MOST} changes",
    b"large\n": f"it asks for changes of over {LARGEST >> 20} MiB",
}
_NAME: Final = re.compile(rb"change\.[A-Za-z0-9]+")


class BadChange(UsageError):
    """An analyzer asked for something that cannot be done; nothing of what it asked for is."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A file that the analyzer itself has put beside its dump, and what it says of it."""

    name: str  # the last part
    size: int  # bytes
    md5: str  # lower-case hex
    sha256: str


@dataclass(frozen=True, slots=True)
class Changes:
    """What one analyzer asked for. ``stack`` and ``expanded`` are None where it did not speak of them."""

    edits: tuple[Edit, ...] = ()
    stack: tuple[str, ...] | None = None
    expanded: Path | Sent | None = None  # the file of the expanded dump

    def __bool__(self) -> bool:
        return bool(self.edits) or self.stack is not None or self.expanded is not None

    def followed_by(self, later: Changes) -> Changes:
        """These, and then those."""
        return Changes(
            (*self.edits, *later.edits),
            self.stack if later.stack is None else later.stack,
            later.expanded or self.expanded,
        )

    def described(self) -> list[dict[str, Json]]:
        """Each change as JSON: ``{"set": "triage.engineer", "value": "bmc"}``, ``{"ticket": "OS-2359"}``, ..."""
        told = [_described(edit) for edit in self.edits]
        if self.stack is not None:
            told.append({"stack": list(self.stack)})
        if self.expanded is not None:
            told.append({"store": text(os.fsencode(self.expanded.name))})
        return told


def _described(edit: Edit) -> dict[str, Json]:
    match edit:
        case SetProperty(path, value):
            return {"set": ".".join(path), "value": value}
        case UnsetProperty(path):
            return {"unset": ".".join(path)}
        case SetTicket(ticket):
            return {"ticket": ticket}
        case Unticket():
            return {"unticket": True}


# ---- what they make of a document -----------------------------------------------------------------


def changed(info: DumpInfo, changes: Changes, by: str, expanded: Mapping[str, Json] | None = None) -> DumpInfo | None:
    """The document after all of them, as one revision; None when nothing is different then. Raises UsageError.

    ``by`` is the analyzer, ``expanded`` what became of the file of ``changes.expanded``, as thoth.objects has it. A
    stack that Thoth found in the dump stays; that of an analyzer gives way, and the signature is that of the new one.
    """
    revised = edited(info, changes.edits) or info
    document = dict(revised.document)
    if changes.stack is not None and (not document.get("stack") or document.get(STACK_BY)):
        document.update({"stack": list(changes.stack), STACK_BY: by})
        document = dict(signed(DumpInfo(document)).document)
    if expanded is not None:
        document[EXPANDED] = dict(expanded)
    if document == info.document:
        return None
    return DumpInfo({**document, "revision": info.revision + 1})


# ---- reading them ---------------------------------------------------------------------------------


def read_changes(work: Path) -> Changes:
    """What the analyzer that ran in the directory ``work`` asked for; no process of it may be running any more.

    Raises UsageError when any of it cannot be done.
    """
    try:
        return _gathered(_left_in(work), lambda value: _below(work, value))
    except StoreError as error:
        raise BadChange(f"its changes cannot be read: {error}") from error
    except OSError as error:
        raise BadChange(f"its changes cannot be read: {error.strerror}") from error


def changes_in(record: bytes) -> Changes:
    """What the analyzer asked for whose changes a task of a job has sent: for each of them a line with the sizes of
    its head and its value, and these.

    Raises UsageError when any of it cannot be done.
    """
    return _gathered(_sent_in(record), _sent)


def _gathered(found: Iterable[tuple[str, str, bytes]], file: Callable[[bytes], Path | Sent]) -> Changes:
    changes = Changes()
    for what, name, value in found:
        changes = _with(changes, what, name, value, file)
    return changes


def _with(changes: Changes, what: str, name: str, value: bytes, file: Callable[[bytes], Path | Sent]) -> Changes:
    """The changes and one more. Raises UsageError."""
    match what:
        case "set":
            return _edited(changes, SetProperty(settable(name), property_value(text(value))))
        case "unset":
            return _edited(changes, UnsetProperty(settable(name)))
        case "ticket":
            return _edited(changes, SetTicket(ticket_text(text(value))))
        case "unticket":
            return _edited(changes, Unticket())
        case "stack":
            return replace(changes, stack=_frames(value))
        case "store":
            return replace(changes, expanded=file(value))
    raise BadChange("its changes are damaged: what is to be changed is not known")


def _edited(changes: Changes, edit: Edit) -> Changes:
    return replace(changes, edits=(*changes.edits, edit))


def _frames(value: bytes) -> tuple[str, ...]:
    frames = tuple(line.strip() for line in text(value).split("\n") if line.strip())
    if len(frames) > MOST_FRAMES:
        raise BadChange(f"thoth_stack: over {MOST_FRAMES} frames; give the first of them only")
    return frames


def _below(work: Path, value: bytes) -> Path:
    """A file below ``work``, on the way to which there is no link."""
    home = work.resolve()
    path = Path(os.fsdecode(value))
    if b"\0" in value or home not in path.parents or path.parent.resolve() != path.parent or path.name == "..":
        raise BadChange("thoth_store: the file has to lie in the analyzer's own directory, where it starts")
    return path


def _sent(value: bytes) -> Sent:
    """Its name is that of an object of ours."""
    told = _SENT.fullmatch(value)
    if told is None or told[1] == INFO.encode():
        raise BadChange("thoth_store: what it says of the file cannot be read")
    name, size, md5, sha256 = (each.decode("ascii") for each in told.groups())
    return Sent(name, int(size), md5, sha256)


def _left_in(work: Path) -> Iterator[tuple[str, str, bytes]]:
    """The changes in their order: what, of which property, its value."""
    root = os.open(work, DIRECTORY)
    try:
        if look(root, CHANGES) is None:
            return
        with directory(root, [CHANGES]) as files:
            if look(files, _ORDER) is not None:
                yield from _listed(files)
    finally:
        os.close(root)


def _listed(files: int) -> Iterator[tuple[str, str, bytes]]:
    left = LARGEST
    order = _contents(files, _ORDER, MOST * 64).splitlines()
    if len(order) > MOST:
        raise BadChange(f"it asks for over {MOST} changes")
    for line in order:
        if not _NAME.fullmatch(line):
            raise BadChange("its changes are damaged: a name is none of ours")
        head = line.decode("ascii")
        told = _head(_contents(files, head, _LARGEST_HEAD))
        value = _contents(files, f"{head}.value", left)
        left -= len(value)
        yield _change(told, value)


def _sent_in(record: bytes) -> Iterator[tuple[str, str, bytes]]:
    """The same, of a record."""
    at = count = 0
    while at < len(record):
        sizes = _SIZES.match(record, at)
        if sizes is None:
            raise BadChange(_ENDS.get(record[at:], "its changes are damaged: the record of them is incomplete"))
        head, value = int(sizes[1]), int(sizes[2])
        begin, at = sizes.end() + head, sizes.end() + head + value
        count += 1
        if head > _LARGEST_HEAD or at > len(record) or count > MOST:
            raise BadChange("its changes are damaged: the record of them is incomplete")
        yield _change(_head(record[sizes.end() : begin]), record[begin:at])


def _change(head: tuple[str, str, str], value: bytes) -> tuple[str, str, bytes]:
    what, source, name = head
    return what, name, value.removesuffix(b"\n") if source == "stdin" else value


def _head(data: bytes) -> tuple[str, str, str]:
    parts = data.split(b"\0", 2)
    if len(parts) != 3:
        raise BadChange("its changes are damaged: a head is incomplete")
    what, source, name = map(text, parts)
    return what, source, name


def _contents(files: int, name: str, limit: int) -> bytes:
    with open(open_file(files, name), "rb") as file:  # noqa: PTH123 - a descriptor has no Path
        data = file.read(limit + 1)
    if len(data) > limit:
        what = f"over {MOST} changes" if name == _ORDER else f"changes of over {LARGEST >> 20} MiB"
        raise BadChange(f"it asks for {what}")
    return data
