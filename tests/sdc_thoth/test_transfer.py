"""Dumps that were stored together: what becomes of their outcomes when the store cannot keep them."""

from __future__ import annotations

from itertools import islice
from typing import Any, cast

import pytest

from sdc_thoth.transfer import Intake
from tests.support.memory_index import MemoryIndex
from tests.support.memory_store import MemoryStore
from thoth import Identity, Outcome, Result, StoreError, StoreUnavailable
from thoth.library import Thoth

STORED = Outcome(Result.STORED, "cn0", b"/cores/core.1", identity=Identity("1a" * 16), sent=100)
PRESENT = Outcome(Result.PRESENT, "cn0", b"/cores/core.2", identity=Identity("2b" * 16))
GONE = Outcome(Result.GONE, "cn0", b"/cores/core.3")


class Failing(MemoryStore):
    """Takes dumps, and cannot make them durable."""

    def __init__(self, error: StoreError) -> None:
        super().__init__()
        self._error = error

    def gathering(self) -> Failing:
        return self

    def flush(self) -> None:
        raise self._error


def intake(error: StoreError) -> Intake:
    nothing = cast(Any, None)  # no node is asked
    thoth = Thoth(Failing(error), MemoryIndex(), "alice")
    return Intake(nothing, nothing, thoth, nothing, nothing, press=nothing, clock=lambda: 0.0, say=lambda line: None)


def test_a_store_that_is_unavailable_ends_the_run_behind_the_outcomes() -> None:
    outcomes = intake(StoreUnavailable("store /s: check the disk")).indexed([STORED, PRESENT, GONE])
    told = [(each.result, each.reason) for each in islice(outcomes, 3)]
    assert told == [(Result.FAILED, "store /s: check the disk")] * 2 + [(Result.GONE, None)]
    with pytest.raises(StoreUnavailable, match="check the disk"):
        next(outcomes)


def test_another_failure_of_the_store_costs_these_dumps_only() -> None:
    told = [(each.result, each.reason) for each in intake(StoreError("no")).indexed([STORED, PRESENT, GONE])]
    assert told == [(Result.FAILED, "no"), (Result.FAILED, "no"), (Result.GONE, None)]
