"""The registers of a frame and the memory around it, and what expressions of DWARF make of them.

Operations come decoded, as pyelftools' DWARFExprOp. Source: DWARF 5, sections 2.5.1 and 6.4.2 (what rules may have).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from thoth.dumps.allowance import Allowance
from thoth.dumps.cfi_rules import Damaged
from thoth.dumps.machine import Machine, Registers
from thoth.dumps.record import ByteOrder
from thoth.dumps.space import AddressSpace

Parse = Callable[[list[int]], Sequence[Any]]

_DEEP: Final = 16  # values on the stack of an expression


class Known:
    """The registers of a frame and the memory around it, for rules and expressions to look at.

    ``parse`` decodes the operations of an expression, of which ``allowed`` are done: there are loops.
    """

    def __init__(
        self,
        registers: Registers,
        space: AddressSpace,
        machine: Machine,
        order: ByteOrder,
        parse: Parse,
        *,
        allowed: Allowance,
    ) -> None:
        self._registers, self._space, self._machine = registers, space, machine
        self._order, self._parse, self._allowed = order, parse, allowed

    def saved(self, how: str, what: Any, cfa: int) -> int | None:
        """A caller's register by its rule; None when it is lost."""
        mask = self._machine.mask
        match how:
            case "offset":
                return self._space.word(cfa + what & mask)
            case "value":
                return int(cfa + what & mask)
            case "register":
                return self._registers.get(what)
            case "expression":
                return self._space.word(self.value(what, (cfa,)))
            case "value expression":
                return self.value(what, (cfa,))
        return None  # undefined

    def value(self, expression: bytes, stack: Iterable[int]) -> int:
        """What an expression comes to. Raises Damaged for operations that no unwinding needs, and LookupError."""
        values = list(stack)
        operations = self._parse(list(expression))
        places = {each.offset: number for number, each in enumerate(operations)}
        places[len(expression)] = len(operations)
        at = 0
        while at < len(operations) and self._allowed.take(1):
            operation = operations[at]
            at += 1
            name = operation.op_name.removeprefix("DW_OP_")
            if name == "skip" or (name == "bra" and values.pop()):
                at = places[operation.offset + 3 + operation.args[0]]  # behind the operation and its two bytes
            elif name != "bra":
                self._apply(name, operation.args, values)
            if len(values) > _DEEP:
                raise Damaged
        if at < len(operations):
            raise Damaged
        return values[-1]

    def _apply(self, name: str, args: list[Any], values: list[int]) -> None:
        mask = self._machine.mask
        if name in _TWO:
            second, first = values.pop(), values.pop()
            values.append(_TWO[name](first, second) & mask)
        elif name in _SIGNED:
            second, first = self._signed(values.pop()), self._signed(values.pop())
            values.append(_SIGNED[name](first, second) & mask)
        elif name in _ONE:
            values.append(_ONE[name](self._signed(values.pop())) & mask)
        elif name in _MOVES:
            taken, given = _MOVES[name]
            last = [values.pop() for _ in range(taken)]  # the uppermost first
            values += [last[place] for place in given]
        else:
            values.append(self._found(name, args, values) & mask)

    def _found(self, name: str, args: list[Any], values: list[int]) -> int:
        """What an operation puts on the stack that is about registers, memory or a number of its own."""
        if name.startswith("lit"):
            return int(name[3:])
        if name.startswith("breg"):
            number, offset = args if name == "bregx" else (int(name[4:]), args[0])
            return int(self._registers[number] + offset)
        if name.startswith("const"):
            return int(args[0])
        if name == "plus_uconst":
            return int(values.pop() + args[0])
        if name == "pick":
            return values[-1 - int(args[0])]
        return self._read(name, args, values)

    def _read(self, name: str, args: list[Any], values: list[int]) -> int:
        word = self._machine.word
        size = {"deref": word, "deref_size": args[0] if args else 0}.get(name, 0)
        data = self._space.read(values.pop(), size) if 0 < size <= word else b""
        if not data or len(data) < size:
            raise Damaged
        return int.from_bytes(data, "little" if self._order == "<" else "big")

    def _signed(self, value: int) -> int:
        return value - self._machine.mask - 1 if value > self._machine.mask >> 1 else value


_TWO: Final[dict[str, Callable[[int, int], int]]] = {
    "plus": lambda a, b: a + b,
    "minus": lambda a, b: a - b,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "mul": lambda a, b: a * b,
    "mod": lambda a, b: a % b,
    "shl": lambda a, b: a << min(b, 64),
    "shr": lambda a, b: a >> min(b, 64),
    "eq": lambda a, b: int(a == b),
    "ne": lambda a, b: int(a != b),
}
_SIGNED: Final[dict[str, Callable[[int, int], int]]] = {
    "div": lambda a, b: abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1),
    "shra": lambda a, b: a >> (min(b, 64) if b >= 0 else 64),
    "ge": lambda a, b: int(a >= b),
    "gt": lambda a, b: int(a > b),
    "le": lambda a, b: int(a <= b),
    "lt": lambda a, b: int(a < b),
}
_ONE: Final[dict[str, Callable[[int], int]]] = {"neg": lambda a: -a, "not": lambda a: ~a, "abs": abs}
# How many values an operation takes from the stack, and which of them it puts there, the uppermost last; 0 was that.
_MOVES: Final = {
    "nop": (0, ()),
    "dup": (1, (0, 0)),
    "drop": (1, ()),
    "over": (2, (1, 0, 1)),
    "swap": (2, (0, 1)),
    "rot": (3, (0, 2, 1)),
}
