"""How much work one core may make, whatever its numbers say."""

from __future__ import annotations


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
