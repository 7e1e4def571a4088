"""Signatures of stacks that are full of functions which call each other."""

from __future__ import annotations

import pytest

from tests.thoth.signatures.test_signature import core, frame
from thoth.signatures.signature import signature_of

CYCLE = ["e", "d", "c", "b", "a"]  # of which each is called by the one behind it


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("before", [[], ["libc.so.6`abort+0x1()", "<signal handler called>", "leaf+0x1()"]])
def test_where_a_full_stack_ends_says_nothing(count: int, before: list[str]) -> None:
    cycle = CYCLE[-count:]
    lines = [f"{name}+{number:#x}()" for number, name in enumerate(cycle)]
    stacks = ([*before, *(lines * 300)[turn:], "z+0x1()", "main+0x1()"] for turn in range(count))
    signatures = {signature_of(core(stack)) for stack in stacks}
    wanted = {1: ["a", "z"], 2: ["a", "b", "z"], 3: ["a", "c", "b"], 5: ["a", "e", "d"]}[count]
    assert signatures == {"svc.startd: " + " | ".join([*(["leaf"] if before else []), *wanted][:3])}


def test_in_a_cycle_that_is_only_deep_what_crashed_comes_first() -> None:
    lines = [f"{name}+0x1()" for name in ("c", "b", "a")]
    stacks = ([*(lines * 50)[turn:], "z+0x1()"] for turn in range(3))
    assert len({signature_of(core(stack)) for stack in stacks}) == 3


def test_a_cycle_of_places_without_names() -> None:
    frames = [frame(f"{0x7F00 + n:#x}", object="libfoo.so.1", offset=f"{n:#x}") for n in range(3)]
    lines = [f"{0x7F00 + n:#x}()" for n in range(3)]
    told = {signature_of(core((lines * 100)[n:], threads=[{"id": 1, "frames": frames}])) for n in range(3)}
    assert told == {signature_of(core(lines * 100, threads=[{"id": 1, "frames": frames}]))}
