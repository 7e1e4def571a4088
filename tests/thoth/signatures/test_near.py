"""How near two signatures are, and that the score is what it is said to be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thoth.signatures.near import nearest, nearness


@pytest.mark.parametrize(
    ("one", "other", "score", "common"),
    [
        (["a", "b", "c"], ["a", "b", "c"], 100, ("a", "b", "c")),
        (["a", "b"], ["c", "d"], 0, ()),
        # Weights are 1, 1/2 and 1/3: (1 + 1/2) * 2 of 2 * 11/6
        (["a", "b", "c"], ["a", "b", "d"], 81, ("a", "b")),
        # (1/2 + 1) + (1/3 + 1/2) of 2 * 11/6
        (["x", "a", "b"], ["a", "b", "y"], 63, ("a", "b")),
        (["a", "b"], ["b", "a"], 99, ("a", "b")),  # as near as can be, and not the same
        (["a", "a"], ["a"], 99, ("a",)),
        ([], [], 0, ()),
    ],
)
def test_nearness(one: list[str], other: list[str], score: int, common: tuple[str, ...]) -> None:
    told = nearness(one, other)
    assert (told.score, told.common) == (score, common)


FRAMES = st.lists(st.sampled_from("abcd"), max_size=5)


@given(FRAMES, FRAMES)
def test_nearness_has_no_direction(one: list[str], other: list[str]) -> None:
    told, back = nearness(one, other), nearness(other, one)
    assert told.score == back.score
    assert {*told.common} == {*back.common} == {*one} & {*other}
    assert 0 <= told.score <= 100
    assert (told.score == 100) == (one == other != [])


def test_nearest() -> None:
    others = ["p: a | b | c", "p: a | b | x", "q: a | b | c", "p: x | y", "z | c", "undefined"]
    told = nearest("p: a | b | c", others, 9)
    assert [(signature, near.score) for signature, near in told] == [
        ("q: a | b | c", 99),
        ("p: a | b | x", 81),
        ("z | c", 25),
    ]
    assert nearest("p: a | b | c", others, 1) == told[:1]
