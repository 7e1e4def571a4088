"""The identities of a node's dumps, from the few ranges of each file that identity needs. The dumps do not move."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from sdc_thoth.ask import Asker
from sdc_thoth.listing import Found
from sdc_thoth.protocol import UNIT, Get
from thoth import (
    Identity,
    KnownRanges,
    MissingRange,
    NotADump,
    Range,
    ReadAt,
    SourceError,
    UsageError,
    describe,
    fact_ranges,
    identify,
    identity_ranges,
)

HEAD = 16  # units of the first question: 64 KiB hold headers and notes of nearly every core, and small cores whole
_HELD = 16 << 20  # bytes that are held at a time of a batch's dumps, beside their heads
_WINDOW = 8 << 20  # bytes that are held at a time of a dump whose headers and notes are larger than that
_WINDOWS = 64  # of one dump: what identity may read fits into half of them
_ROUNDS = 8  # header, header table, notes, ...: more questions than that about one file are a defect of ours


@dataclass(frozen=True, slots=True)
class Identified:
    """A dump that has its name, and the parts of it that were read to find it."""

    found: Found
    identity: Identity
    known: KnownRanges


def identify_by_ranges(
    asker: Asker, found: Sequence[Found], *, about: bool = False
) -> Iterator[Identified | tuple[Found, Exception]]:
    """The identity of each file, or the SourceError or NotADump that stands in its way, as they become known.

    All files are asked about together, in rounds: first for their heads, then for what those show to be needed. What
    would take too much memory that way is read piece by piece. With ``about`` the node is asked what it is along with
    that, as ``Asker.fetch`` does. Raises NodeError.
    """
    left = _HELD
    parts = [(each, KnownRanges(each.size)) for each in found]
    asked = [(each, known, [Range(0, HEAD * UNIT)]) for each, known in parts]
    for _ in range(_ROUNDS):
        failed = dict(_fill(asker, asked, about=about))
        again = []
        for each, known, _wanted in asked:
            if each.path in failed:
                yield each, failed[each.path]
                continue
            answer = _name(each, known)
            if not isinstance(answer, list):
                yield answer
            elif (much := sum(_get(each, wanted).length for wanted in answer)) > left:
                yield _name_in_passing(asker, each, known)
            else:
                left -= much
                again.append((each, known, answer))
        if not again:
            return
        asked = again
    for each, _known, _wanted in asked:
        yield each, NotADump("its headers lead on without end")


def _name(found: Found, known: KnownRanges) -> Identified | tuple[Found, Exception] | list[Range]:
    """The dump with its identity, or why there is none, or the ranges that are still needed to tell."""
    try:
        return Identified(found, identify(known), known)
    except MissingRange:
        return _missing(known, identity_ranges)
    except (NotADump, SourceError) as error:
        return found, error


def _name_in_passing(asker: Asker, found: Found, known: KnownRanges) -> Identified | tuple[Found, Exception]:
    head = KnownRanges(found.size, [(0, known.read_at(0, HEAD * UNIT))])
    try:
        return Identified(found, identify(Passing(asker, found)), head)
    except (NotADump, SourceError) as error:
        return found, error


class Passing:
    """A node's file as a ReadAt that holds a window of it; for reading in the order of the file. Raises NodeError."""

    def __init__(self, asker: Asker, found: Found) -> None:
        self._asker = asker
        self._found = found
        self._start = 0
        self._window = b""
        self._left = _WINDOWS

    @property
    def size(self) -> int:
        return self._found.size

    def read_at(self, offset: int, length: int) -> bytes:
        end = min(offset + length, self.size)
        if offset >= end:
            return b""
        if not self._start <= offset <= end <= self._start + len(self._window):
            self._fetch(Range(offset, max(length, _WINDOW)))
        return self._window[offset - self._start : end - self._start]

    def _fetch(self, wanted: Range) -> None:
        self._left -= 1
        if self._left < 0:
            raise SourceError("its headers and notes lie scattered over too much of the file")
        self._window = b""  # given back before the next one comes
        get = _get(self._found, wanted)
        (answer,) = self._asker.fetch([get])
        if isinstance(answer, SourceError):
            raise answer
        self._start, self._window = get.offset, answer


def _missing(known: KnownRanges, ranges: Callable[[ReadAt], Iterable[Range]]) -> list[Range]:
    try:
        return known.missing(ranges(known))
    except MissingRange as error:
        return [error.wanted]


def ranges_of_facts(asker: Asker, dump: Identified) -> tuple[Range, ...]:
    """The ranges that a dump's identity and facts will be read from when it has come. Raises what fetching raises."""
    for _ in range(_ROUNDS):
        try:
            return tuple(fact_ranges(dump.known))
        except MissingRange as error:
            for _path, failure in _fill(asker, [(dump.found, dump.known, [error.wanted])]):
                raise failure from None
    return tuple(fact_ranges(Passing(asker, dump.found)))


def is_whole(asker: Asker, dump: Identified) -> bool:
    """Whether all that a dump's headers promise lies inside its file. Raises what fetching raises, and NotADump."""
    missing = dump.known.missing(ranges_of_facts(asker, dump))
    for _path, failure in _fill(asker, [(dump.found, dump.known, missing)]) if missing else ():
        raise failure
    return describe(dump.known).complete


def _fill(
    asker: Asker, asked: Iterable[tuple[Found, KnownRanges, list[Range]]], *, about: bool = False
) -> Iterator[tuple[bytes, SourceError]]:
    """Fetch the wanted ranges of files into what is known of them; gives the paths of those that failed, and why."""
    wanted = [(found, known, _get(found, each)) for found, known, ranges in asked for each in ranges]
    answers = asker.fetch([get for _found, _known, get in wanted], about=about)
    for (found, known, get), answer in zip(wanted, answers, strict=True):
        if isinstance(answer, bytes):
            known.add(get.offset, answer)
        else:
            yield found.path, answer


def _get(found: Found, wanted: Range) -> Get:
    first = wanted.offset // UNIT
    return Get(found, first, -(-wanted.end // UNIT) - first)


def identify_by_thoth(asker: Asker, found: Sequence[Found], thoth: str) -> Iterator[tuple[Found, Identity | None]]:
    """The identities that the node's own ``thoth object`` tells; None where it does not. Raises NodeError."""
    for each, (succeeded, printed) in zip(found, asker.hashes(found, thoth), strict=True):
        yield each, _identity(printed) if succeeded else None


def _identity(printed: str) -> Identity | None:
    try:
        return Identity(printed)
    except UsageError:
        return None
