"""The executables and libraries of a node, for the stacks of what crashed there: read in parts, over its session.

Only those parts travel that a stack needs, some together in each question. What was read is kept for the node's other
dumps of a pass, by build-id, and never serves another node: a node could say that anything is a library of all.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from threading import RLock
from typing import Final

from sdc_thoth.ask import Asker
from sdc_thoth.errors import Desynchronized, NodeError, OpenHung
from sdc_thoth.images import Ask, Part
from sdc_thoth.listing import Signature
from sdc_thoth.protocol import UNIT
from thoth import Range, ReadAt, SourceChanged, SourceError, build_id_of, debug_path, likely_ranges

_BLOCK: Final = 1 << 16  # bytes that are fetched at least
_HEAD: Final = (0, _BLOCK // UNIT)
_HELD: Final = 32 << 20  # bytes that are kept of one node's files; then those that were not used for longest go
_QUESTIONS: Final = 48  # for one core
_BYTES: Final = 24 << 20  # for one core
_SECONDS: Final = 60.0  # of one node in a pass, for all its cores
_PATIENCE: Final = 20.0  # seconds for one question


class NodeBinaries:
    """One node's. ``ration`` gives what one core may make use of. Safe to share between threads."""

    def __init__(
        self, asker: Asker, clock: Callable[[], float] = time.monotonic, patience: float = _PATIENCE
    ) -> None:
        self._asker = asker
        self._clock, self._patience = clock, patience
        self._left = _SECONDS
        self._files: OrderedDict[str, _File] = OrderedDict()  # by what it was asked for
        self._missing: set[tuple[bytes, str]] = set()  # the same and the path: another one may have it
        self._lock = RLock()

    def ration(self) -> Ration:
        """The node's files for one core: thoth's ``Binaries``."""
        return Ration(self)

    def find(self, path: bytes, key: str, build_id: str, ration: Ration) -> ReadAt | None:
        """The file at a path when it has this build-id; whatever it is where that is empty."""
        with self._lock:
            if key not in self._files:
                found = None if (path, key) in self._missing else self._found(path, build_id, ration)
                if found is None:
                    if not ration.spent:  # otherwise it may be there for the next core
                        self._missing.add((path, key))
                    return None
                self._files[key] = found
            self._files.move_to_end(key)
            return _View(self._files[key], self, ration)

    def _found(self, path: bytes, build_id: str, ration: Ration) -> _File | None:
        file = _File(path)
        try:
            self.fetch(file, [_HEAD], ration)
            view = _View(file, self, ration)
            if build_id and build_id_of(view) != build_id:
                return None
            view.have(likely_ranges(view))
        except SourceError:
            return file if file.signature and build_id_of(_View(file, self, ration)) == build_id else None
        return file

    def fetch(self, file: _File, parts: Sequence[Part], ration: Ration) -> None:
        """Have these parts of a file. Raises SourceError: there is no more time, nor patience, or no such file."""
        with self._lock:
            if self._left <= 0 or not ration.take(sum(units for _, units in parts) * UNIT):
                raise SourceError("reading executables and libraries of the node takes too much")
            began, answers = self._clock(), False
            try:
                (told,) = self._asker.images([Ask(file.path, tuple(parts))], self._patience)
                answers = True
            except (Desynchronized, OpenHung) as error:  # any tenant can have such a file
                answers = True
                ration.spent = ration.spent or isinstance(error, OpenHung)  # that took seconds: no more for this core
                raise SourceError(str(error)) from error
            except NodeError as error:  # whatever is wrong with the node, its dump is here
                raise SourceError(str(error)) from error
            finally:
                # A node that knows no such request, or forbids it, would log each further one.
                self._left = self._left - (self._clock() - began) if answers else 0.0
            if told.signature is None:
                raise SourceError(told.status)
            file.take(told.signature, told.parts)
            self._make_room(file)

    def _make_room(self, used: _File) -> None:
        for key, file in list(self._files.items()):
            if sum(each.held for each in self._files.values()) <= _HELD:
                return
            if file is not used:
                del self._files[key]


class Ration:
    """What is left for one core, and the node's binaries within that: thoth's ``Binaries``."""

    def __init__(self, node: NodeBinaries) -> None:
        self._node = node
        self._questions, self._bytes = _QUESTIONS, _BYTES
        self.spent = False  # more was wanted than is left

    def open(self, path: bytes, build_id: str) -> ReadAt | None:
        if not path.startswith(b"/"):
            return None
        return self._node.find(path, build_id or f"{path!r}", build_id, self)

    def symbols(self, build_id: str, beside: bytes = b"") -> ReadAt | None:
        # Each further place to look at would be a question of its own, for nearly every library.
        return self._node.find(debug_path(build_id), f"{build_id}.debug", build_id, self)

    def take(self, size: int) -> bool:
        """Whether another question may be asked, for so many bytes."""
        self.spent = self.spent or self._questions <= 0 or size > self._bytes
        if not self.spent:
            self._questions -= 1
            self._bytes -= size
        return not self.spent


class _File:
    """What is known of a file, in blocks."""

    def __init__(self, path: bytes) -> None:
        self.path = path
        self.signature: Signature | None = None
        self.blocks: dict[int, bytes] = {}  # by number

    @property
    def held(self) -> int:
        return sum(map(len, self.blocks.values()))

    def take(self, signature: Signature, parts: Iterable[tuple[int, bytes]]) -> None:
        """Keep what has come. Raises SourceChanged when it is of another file than what came before."""
        if self.signature is not None and signature.raw != self.signature.raw:
            raise SourceChanged("was replaced while it was read")
        self.signature = signature
        for offset, data in parts:
            for at in range(0, len(data), _BLOCK):
                self.blocks[(offset + at) // _BLOCK] = data[at : at + _BLOCK]


class _View:
    """A file as one core sees it: a ReadAt that fetches what is missing."""

    __slots__ = ("_file", "_node", "_ration")

    def __init__(self, file: _File, node: NodeBinaries, ration: Ration) -> None:
        self._file, self._node, self._ration = file, node, ration

    @property
    def size(self) -> int:
        return self._file.signature.size if self._file.signature else 0

    def read_at(self, offset: int, length: int) -> bytes:
        length = max(0, min(length, self.size - offset))
        if not length:
            return b""
        self.have([Range(offset, length)])
        first, last = offset // _BLOCK, (offset + length - 1) // _BLOCK
        whole = b"".join([self._file.blocks[number] for number in range(first, last + 1)])
        return whole[offset - first * _BLOCK :][:length]

    def have(self, ranges: Iterable[Range]) -> None:
        """Fetch all that is missing of these, together. Raises SourceError."""
        wanted = {n for each in ranges for n in range(each.offset // _BLOCK, -(-each.end // _BLOCK))}
        missing = sorted(wanted - self._file.blocks.keys())
        if missing:
            self._node.fetch(self._file, _runs(missing), self._ration)


def _runs(blocks: Sequence[int]) -> list[Part]:
    """Sorted blocks as parts; those side by side are one."""
    units = _BLOCK // UNIT
    parts: list[Part] = []
    for number in blocks:
        start = number * units
        if parts and sum(parts[-1]) == start:
            parts[-1] = (parts[-1][0], parts[-1][1] + units)
        else:
            parts.append((start, units))
    return parts
