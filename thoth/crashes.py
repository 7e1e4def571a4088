"""Dumps of the same crash, and of crashes near to it, as the index knows them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from thoth.errors import ThothError
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity, Json
from thoth.query import Equals, KeyPath, Named, Query, Undefined, label, sort_key
from thoth.signatures.near import Nearness, nearest
from thoth.signatures.signature import SIGNATURE, parts, signature_of

_SIGNATURE: Final[KeyPath] = (SIGNATURE,)
_TICKET: Final[KeyPath] = ("ticket",)
_NAMED: Final = 500  # dumps of which one question asks


class NoSignature(ThothError):
    """The dump has no signature, since nothing tells of its stack."""


@dataclass(frozen=True, slots=True)
class Similar:
    """A dump of the same signature, or the newest of ``dumps`` of another one. ``nearness`` says what they share."""

    info: DumpInfo
    signature: str
    nearness: Nearness
    dumps: int


def signature_in(info: DumpInfo) -> str | None:
    """The signature in a document, or the one that it would have: those of older programs have none."""
    told = info.document.get(SIGNATURE)
    return told if isinstance(told, str) else signature_of(info.document)


def similar(thoth: Thoth, info: DumpInfo, most: int) -> Iterator[Similar]:
    """First up to ``most`` other dumps of its signature, the newest first; then up to ``most`` signatures near to it.

    Raises NoSignature for a dump that has none.
    """
    signature = signature_in(info)
    if signature is None:
        raise NoSignature(f"{info.id}: has no signature, since nothing tells of its stack")
    counts = thoth.index.report(Query(), _SIGNATURE)
    same = Nearness(100, tuple(parts(signature)))
    for other in _newest(thoth, signature, most + 1, besides=info.id)[:most]:
        yield Similar(other, signature, same, counts.get(signature, 1))
    for near, nearness in nearest(signature, counts, most):
        for other in _newest(thoth, near, 1):
            yield Similar(other, near, nearness, counts[near])


def untied(thoth: Thoth, signatures: Iterable[str]) -> list[Identity]:
    """The dumps of these signatures that have no ticket, as the index knows them."""
    asked = (Query((Equals(_SIGNATURE, each), Undefined(_TICKET))) for each in dict.fromkeys(signatures))
    rows = chain.from_iterable(thoth.index.select(query, [("id",)]) for query in asked)
    return [Identity(row[0]) for row in rows]


def tied_elsewhere(
    thoth: Thoth, signatures: Iterable[str], ticket: str, besides: Iterable[Identity]
) -> Mapping[str, int]:
    """How many dumps of these signatures, but for ``besides``, have another ticket, by ticket."""
    left_out = frozenset(besides)
    queries = (Query((Equals(_SIGNATURE, each),)) for each in dict.fromkeys(signatures))
    rows = chain.from_iterable(thoth.index.select(query, [("id",), _TICKET]) for query in queries)
    return Counter(
        label(other) for identity, other in rows if other not in (None, ticket) and identity not in left_out
    )


def signatures_of(thoth: Thoth, identities: Sequence[Identity]) -> list[str]:
    """The signatures of these dumps, each once, as the index knows them."""
    found: dict[str, None] = {}
    for start in range(0, len(identities), _NAMED):
        query = Query((Named(frozenset(identities[start : start + _NAMED])),))
        found |= {told: None for (told,) in thoth.index.select(query, [_SIGNATURE]) if isinstance(told, str)}
    return list(found)


def _newest(thoth: Thoth, signature: str, most: int, besides: Identity | None = None) -> list[DumpInfo]:
    """The documents of the newest dumps of a signature, the newest first."""
    query = Query((Equals(_SIGNATURE, signature),))
    rows: deque[tuple[Json, ...]] = deque(thoth.index.select(query, [("id",)]), maxlen=most)
    infos = (thoth.index.get(Identity(row[0])) for row in rows if row[0] != besides)
    return sorted((each for each in infos if each is not None), key=sort_key, reverse=True)
