"""Whose process a core is of."""

from __future__ import annotations

import pytest

from tests.support.elfwriter import PT_NOTE, Segment, auxv, elf, linux_prpsinfo, note
from tests.support.sources import whole
from thoth.dumps.describe import facts_of


@pytest.mark.parametrize(
    ("noted", "began", "uid"),
    [(65534, 123456, 123456), (65534, 65534, 65534), (65534, 0, 65534), (1001, 123456, 1001)],
)
def test_a_user_id_that_16_bits_do_not_hold(noted: int, began: int, uid: int) -> None:
    """A process of 32 bits: its id is in the auxiliary vector, as it was when the program began."""
    notes = note(b"CORE", 3, linux_prpsinfo(7, "a", "a", uid=noted, bits=32))
    notes += note(b"CORE", 6, auxv([(11, began)], 32))
    facts = facts_of(whole(elf([Segment(PT_NOTE, notes)], bits=32, machine=3)))
    assert (facts.uid, facts.pid) == (uid, 7)
