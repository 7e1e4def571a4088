"""The identities of a node's dumps, from the few ranges of each file that identity needs. The dumps do not move."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from sdc_thoth.ask import Asker
from sdc_thoth.node import UNIT, Found, Get
from thoth import (
    Identity,
    KnownRanges,
    MissingRange,
    NotADump,
    Range,
    ReadAt,
    SourceError,
    UsageError,
    fact_ranges,
    identify,
    identity_ranges,
)

HEAD = 16  # units of the first question: 64 KiB hold headers and notes of nearly every core, and small cores whole
_ROUNDS = 8  # header, header table, notes, ...: more questions than that about one file are a defect of ours


@dataclass(frozen=True, slots=True)
class Identified:
    """A dump that has its name, and the parts of it that were read to find it."""

    found: Found
    identity: Identity
    known: KnownRanges


def identify_by_ranges(asker: Asker, found: Sequence[Found]) -> Iterator[Identified | tuple[Found, Exception]]:
    """The identity of each file, or the SourceError or NotADump that stands in its way, as they become known.

    All files are asked about together, in rounds: first for their heads, then for what those show to be needed.
    Raises NodeError.
    """
    parts = [(each, KnownRanges(each.size)) for each in found]
    asked = [(each, known, [Range(0, HEAD * UNIT)]) for each, known in parts]
    for _ in range(_ROUNDS):
        failed = dict(_fill(asker, asked))
        again = []
        for each, known, _wanted in asked:
            if each.path in failed:
                yield each, failed[each.path]
                continue
            answer = _name(each, known)
            if isinstance(answer, list):
                again.append((each, known, answer))
            else:
                yield answer
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
    raise NotADump("its headers lead on without end")


def _fill(
    asker: Asker, asked: Iterable[tuple[Found, KnownRanges, list[Range]]]
) -> Iterator[tuple[bytes, SourceError]]:
    """Fetch the wanted ranges of files into what is known of them; gives the paths of those that failed, and why."""
    wanted = [(found, known, _get(found, each)) for found, known, ranges in asked for each in ranges]
    answers = asker.fetch([get for _found, _known, get in wanted])
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
