"""What call frame information says at one place of a function: its instructions, carried out up to there.

Source: DWARF 5, section 6.4.2. Entries come decoded, as pyelftools' CFIEntry.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

_REGISTERS = 256  # that can have rules; processors number theirs below 100
_DEEP = 16  # states that are remembered in each other


class Damaged(Exception):
    """The information makes no sense, or uses what we do not know."""


class Rules(NamedTuple):
    """Where the caller's registers are, for one place in the code.

    ``cfa`` is a register and an offset, or an expression. ``registers`` has, for each that moved, how and what.
    """

    cfa: tuple[int, int] | bytes
    registers: dict[int, tuple[str, Any]]
    column: int  # the register that stands for the return address
    signal: bool  # the frame is of a signal's trampoline: its caller was interrupted, it called nothing


def rules_at(entry: Any, offset: int) -> Rules:
    """The rules so many bytes behind the beginning of the function that an FDE is of. Raises Damaged, and what
    operands of a wrong kind raise: LookupError, TypeError, ValueError."""
    return _State(entry).run(offset)


class _State:
    """Runs the instructions of an entry up to a place in its function."""

    def __init__(self, entry: Any) -> None:
        self._entry = entry
        self._data: int = entry.cie["data_alignment_factor"]
        self._code: int = entry.cie["code_alignment_factor"]
        self._cfa: tuple[int, int] | bytes | None = None
        self._registers: dict[int, tuple[str, Any]] = {}
        self._first: dict[int, tuple[str, Any]] = {}
        self._remembered: list[tuple[Any, dict[int, tuple[str, Any]]]] = []

    def run(self, offset: int) -> Rules:
        """The rules so many bytes behind the beginning of the function."""
        cie = self._entry.cie
        self._execute(cie.instructions, 0)
        self._first = dict(self._registers)
        self._execute(self._entry.instructions, offset)
        if self._cfa is None:
            raise Damaged
        column, signal = cie["return_address_register"], b"S" in cie["augmentation"]
        return Rules(self._cfa, self._registers, column, signal)

    def _execute(self, instructions: list[Any], offset: int) -> None:
        at = 0
        for instruction in instructions:
            code, args = _number(instruction.opcode), instruction.args
            if code in _ADVANCES:
                at += args[0] * self._code
                if at > offset:
                    return
            elif code in _SAVES and args[0] < _REGISTERS:
                how, factored = _SAVES[code]
                self._registers[args[0]] = (how, args[1] * self._data if factored else _plain(args[1:]))
            elif code in (0xC0, 0x06):  # restore, restore_extended
                self._restore(args[0])
            elif code in _OF_CFA:
                self._define(code, args)
            elif code in (0x0A, 0x0B):
                self._keep(code)
            elif code == 0x08:  # same_value
                self._registers.pop(args[0], None)
            elif code not in _NOTHING:
                raise Damaged

    def _restore(self, number: int) -> None:
        if number in self._first:
            self._registers[number] = self._first[number]
        else:
            self._registers.pop(number, None)

    def _keep(self, code: int) -> None:
        """remember_state, restore_state"""
        if code == 0x0B:
            self._cfa, self._registers = self._remembered.pop()
        elif len(self._remembered) < _DEEP:
            self._remembered.append((self._cfa, dict(self._registers)))
        else:
            raise Damaged

    def _define(self, code: int, args: list[Any]) -> None:
        if code == 0x0F:  # def_cfa_expression
            self._cfa = bytes(args[0])
        elif code in (0x0C, 0x12):  # def_cfa, def_cfa_sf
            self._cfa = (args[0], args[1] * (self._data if code == 0x12 else 1))
        elif not isinstance(self._cfa, tuple):
            raise Damaged
        elif code == 0x0D:  # def_cfa_register
            self._cfa = (args[0], self._cfa[1])
        else:  # def_cfa_offset, def_cfa_offset_sf
            self._cfa = (self._cfa[0], args[0] * (self._data if code == 0x13 else 1))


def _number(opcode: Any) -> int:
    """An instruction's number, whose low bits are an operand where the high ones are set."""
    number = int(getattr(opcode, "value", opcode))
    return number & 0xC0 or number


def _plain(args: list[Any]) -> Any:
    """The operand of a rule: a register, the bytes of an expression, or nothing."""
    if not args:
        return None
    return args[0] if isinstance(args[0], int) else bytes(args[0])


_ADVANCES: Final = frozenset((0x40, 0x02, 0x03, 0x04))
_NOTHING: Final = frozenset((0x00, 0x2D, 0x2E))  # nop; negate_ra_state, GNU_args_size
_OF_CFA: Final = frozenset((0x0C, 0x0D, 0x0E, 0x0F, 0x12, 0x13))
# What an instruction says of a register, and whether its operand is in units of the data alignment.
_SAVES: Final = {
    0x80: ("offset", True),
    0x05: ("offset", True),
    0x11: ("offset", True),
    0x14: ("value", True),
    0x15: ("value", True),
    0x07: ("undefined", False),
    0x09: ("register", False),
    0x10: ("expression", False),
    0x16: ("value expression", False),
}
