"""How near two crashes are: by the frames of their signatures, the innermost of which weigh most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from thoth.signatures.signature import parts


@dataclass(frozen=True, slots=True)
class Nearness:
    """``score`` is from 0 to 100: which part of the weight of both lists of frames lies in ``common``.

    The innermost frame weighs 1, the next one 1/2, then 1/3: what crashed says more than who called it. Of the two
    weights of a frame in both lists each counts. 100: the same frames in the same order.
    """

    score: int
    common: tuple[str, ...]


def nearness(one: Sequence[str], other: Sequence[str]) -> Nearness:
    """How near two lists of frames are, each of which has a frame once or more."""
    first, second = _weights(one), _weights(other)
    common = tuple(name for name in first if name in second)
    whole = sum(first.values()) + sum(second.values())
    shared = sum(first[name] + second[name] for name in common)
    if not whole:
        return Nearness(0, ())
    score = int(100 * shared / whole)
    return Nearness(score if [*one] == [*other] else min(score, 99), common)


def nearest(signature: str, others: Iterable[str], most: int) -> list[tuple[str, Nearness]]:
    """The signatures nearest to one, which itself is left out; each has a frame in common with it. Nearest first.

    The same frames of another program are as near as can be: 99.
    """
    wanted = parts(signature)
    names = frozenset(wanted)
    others = [each for each in others if each != signature and not names.isdisjoint(parts(each))]
    near = ((other, nearness(wanted, parts(other))) for other in others)
    found = [(other, replace(told, score=min(told.score, 99))) for other, told in near]
    return sorted(found, key=lambda each: (-each[1].score, each[0]))[:most]


def _weights(frames: Sequence[str]) -> Mapping[str, Fraction]:
    weights: dict[str, Fraction] = {}
    for place, name in enumerate(frames, start=1):
        weights.setdefault(name, Fraction(1, place))
    return weights
