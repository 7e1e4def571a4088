"""How much work one core may make, whatever its numbers say."""

from __future__ import annotations

from typing import NamedTuple


class Allowance:
    """So many units of work. ``take`` says whether some of them are left, and takes them if so."""

    __slots__ = ("_left",)

    def __init__(self, units: int) -> None:
        self._left = units

    def take(self, units: int) -> bool:
        """Whether that much may still be done."""
        if units > self._left:
            return False
        self._left -= units
        return True

    def take_up_to(self, units: int) -> int:
        """How many of so many units may still be done; they are taken."""
        taken = min(units, self._left)
        self._left -= taken
        return taken


class Unwinding(NamedTuple):
    """What the call frame information of all modules of a core together may make: bytes of entries that are decoded,
    operations of expressions, and bytes of .debug_frame, which is gone through as a whole."""

    decoded: Allowance
    operations: Allowance
    debug_frame: Allowance

    @classmethod
    def of_a_core(cls) -> Unwinding:
        """That of one core, which nobody has used yet."""
        return cls(Allowance(1 << 19), Allowance(1 << 18), Allowance(48 << 20))
