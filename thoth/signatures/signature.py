"""A stack's signature: its innermost frames that say something, as one line of bounded length.

``svc.startd: utmpx_postfork | fork_common | fork_configd``: the program and the functions. Of a place in the program,
``apid+0x11bf (c0ffee012345)``, the program stands there already.
``panic: assertion failed: N == N | zfs_ioctl | fop_ioctl`` for a crash dump. Where there is no stack, and the panic
string is not one of many causes, there is no signature: none is guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Final, NamedTuple

from thoth.model import DumpInfo, Json
from thoth.signatures.cycles import by_chance
from thoth.signatures.frames import Spot, panic_string, program, spots
from thoth.signatures.names import harmless, normal
from thoth.signatures.rules import USUAL, Group, Rules, current_rules, group_of

SIGNATURE: Final = "signature"  # key of the document
RULES: Final = "signature_rules"  # key of the document: the version of the rules that made it
SIGNATURE_KEYS: Final = (SIGNATURE, RULES)
BETWEEN: Final = " | "
PANIC: Final = "panic: "

KEPT: Final = "kept"
JOINED: Final = "joined"
SKIPPED: Final = "skipped"
BEYOND: Final = "beyond"  # enough frames are there without it

_MOST_JOINED: Final = 2
_MOST_NAMES: Final = 128  # different ones that are looked at: a hostile name takes some milliseconds
_LONGEST_PROGRAM: Final = 32  # characters
_LONGEST_PANIC: Final = 160
_LONGEST_READ: Final = 512  # characters of a panic string; the kernel keeps 200


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of a frame, and by which rule. ``name`` is its name as signatures have it; empty: it has none."""

    spot: Spot
    name: str
    verdict: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Explained:
    """A signature, None without one, and how it came about."""

    signature: str | None
    frames: tuple[Judged, ...]
    panic: str = ""  # the panic string without what is of one crash only
    program: str = ""


def explain(document: Mapping[str, Json], rules: Rules | None = None) -> Explained:
    """The signature of a document's stack, and why it is so."""
    rules = rules or current_rules()
    judged = _judged(spots(document), rules)
    made_of = [each for each in judged if each.verdict in (KEPT, JOINED)]
    panic = _panic(panic_string(document), rules, vague_too=bool(made_of))
    name = _program(document) if _lacks_program(document, made_of) else ""
    told = BETWEEN.join(([PANIC + panic] if panic else []) + [each.name for each in made_of])
    whole = f"{name}: {told}" if name and told else told
    return Explained(_unlike_a_token(whole) or None, tuple(judged), panic, name)


def signature_of(document: Mapping[str, Json]) -> str | None:
    """The signature of a document's stack by today's rules; None where it has none."""
    return explain(document).signature


def signed(info: DumpInfo) -> DumpInfo:
    """The document with the signature that its stack has by today's rules; the same revision."""
    signature = signature_of(info.document)
    told = {} if signature is None else {SIGNATURE: signature, RULES: current_rules().version}
    if {key: info.document[key] for key in SIGNATURE_KEYS if key in info.document} == told:
        return info
    return DumpInfo({**{key: value for key, value in info.document.items() if key not in SIGNATURE_KEYS}, **told})


def resigned(info: DumpInfo) -> DumpInfo:
    """As ``signed``, but a signature that a newer thoth has made by its rules stays as it is."""
    version = info.document.get(RULES)
    return info if isinstance(version, int) and version > current_rules().version else signed(info)


def parts(signature: str) -> list[str]:
    """The frames of a signature, or its panic string and frames, without the program."""
    before, colon, after = signature.partition(": ")
    own = colon and before + colon != PANIC and BETWEEN not in before
    return (after if own else signature).split(BETWEEN)


def _unlike_a_token(signature: str) -> str:
    """A specification that asks for ``undefined`` asks for no signature at all."""
    return signature + "()" if signature == "undefined" else signature


# ---- frames ---------------------------------------------------------------------------------------


def _judged(found: Sequence[Spot], rules: Rules) -> list[Judged]:
    judged = list(_verdicts(found, rules))
    if any(each.verdict == KEPT for each in judged):
        return judged
    spare = [(_rank(each, rules), each) for each in judged if each.name and each.verdict == SKIPPED]
    lowest = [each for rank, each in spare if rank == min(spare, key=itemgetter(0))[0]]
    chosen = {id(each) for each in _unrepeated(lowest)[: rules.significant]}
    why = "nothing else is there"
    return [Judged(each.spot, each.name, KEPT, why) if id(each) in chosen else each for each in judged]


def _rank(judged: Judged, rules: Rules) -> int:
    skip = _named(judged.name, rules).skip
    return USUAL if skip is None else skip.rank


def _unrepeated(judged: Sequence[Judged]) -> list[Judged]:
    """Without those that have the name of one before."""
    first = {each.name: each for each in reversed(judged)}
    return [each for each in judged if first[each.name] is each]


def _verdicts(found: Sequence[Spot], rules: Rules) -> Iterator[Judged]:
    kept = joined = 0
    told: set[str] = set()
    seen: set[str | None] = set()
    chance = by_chance([spot.name or spot.place for spot in found])
    for number, spot in enumerate(found):
        if number in chance:
            yield Judged(spot, "", SKIPPED, "where a full stack ends is chance")
            continue
        if kept == rules.significant or len(seen) > _MOST_NAMES:
            enough = f"{rules.significant} frames are enough" if kept == rules.significant else "too far out"
            yield Judged(spot, "", BEYOND, enough)
            continue
        seen.add(spot.name)
        each = _verdict(spot, rules, told, may_join=not kept and joined < _MOST_JOINED)
        kept += each.verdict == KEPT
        joined += each.verdict == JOINED
        if each.verdict in (KEPT, JOINED):
            told.add(each.name)
        yield each


def _verdict(spot: Spot, rules: Rules, told: Set[str], *, may_join: bool) -> Judged:
    named = _named(spot.name, rules) if spot.name else _placed(spot.place or "", rules)
    if not named.name:
        return Judged(spot, "", SKIPPED, "nobody knows what lies there")
    if named.name in told:  # the depth of a recursion is of one crash only
        return Judged(spot, named.name, SKIPPED, "is there already")
    if named.skip is not None:
        return Judged(spot, named.name, SKIPPED, named.skip.why)
    if named.join is not None:
        return Judged(spot, named.name, JOINED if may_join else SKIPPED, named.join.why)
    return Judged(spot, named.name, KEPT)


class _Named(NamedTuple):
    """A name as signatures have it, and the rules that are about it."""

    name: str
    skip: Group | None
    join: Group | None


# Of dumps that come one after the other most frames are the same.
@lru_cache(maxsize=4096)
def _named(name: str, rules: Rules) -> _Named:
    shown = normal(name, rules)
    return _Named(shown, group_of(shown, rules.skips), group_of(shown, rules.joins))


def _placed(place: str, rules: Rules) -> _Named:
    shown = harmless(place, rules.longest)
    return _Named(shown, group_of(shown, rules.skips), None)


# ---- what stands before them ----------------------------------------------------------------------


def _lacks_program(document: Mapping[str, Json], made_of: Sequence[Judged]) -> bool:
    """Whether the frames do not say whose they are: those of libraries alone would join crashes of any programs."""
    own = [each.spot for each in made_of if each.spot.own]
    return document.get("type") != "crash" and (not own or any(spot.name for spot in own))


def _program(document: Mapping[str, Json]) -> str:
    return harmless(program(document), _LONGEST_PROGRAM).replace(": ", ":")


def _panic(told: str, rules: Rules, *, vague_too: bool) -> str:
    """A panic string without addresses and numbers; empty when it says nothing by itself and there is no stack."""
    if not vague_too and any(vague.pattern.search(told) for vague in rules.vague):
        return ""
    shown = harmless(told, _LONGEST_READ)
    for replacement in rules.panics:
        shown = replacement.of(shown)
    return harmless(shown, _LONGEST_PANIC)
