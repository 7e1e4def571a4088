"""What gdb says over its machine interface, read strictly. Source: the gdb manual, "GDB/MI Output Syntax".

Names in it come out of a dump. There they are C strings in quotes, so that none can pass for something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

from thoth.analysis.debugger import BadReply

Value: TypeAlias = "str | list[Value] | dict[str, Value]"

_DEEP: Final = 16  # values in each other
_STRING: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_NAME: Final = re.compile(r"([A-Za-z_][\w-]*)=")
_ESCAPE: Final = re.compile(r"\\([0-7]{1,3}|.)", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b"}
_RESULT: Final = re.compile(r"([0-9]+)\^([a-z]+)(?:,|$)")


class Result(NamedTuple):
    """The reply to the command with this number: ``done`` or ``error``, and what it tells."""

    number: int
    kind: str
    told: dict[str, Value]


class Line(NamedTuple):
    """A piece of what a command for people prints."""

    text: str


def records(output: str) -> Iterator[Result | Line]:
    """The replies to commands that had a number, and what was printed; all else is passed over.

    ``output`` has a character for each byte. Raises BadReply.
    """
    for line in output.split("\n"):
        if line.startswith("~"):
            yield Line(_Reader(line, 1).string())
        elif found := _RESULT.match(line):
            yield Result(int(found[1]), found[2], _Reader(line, found.end()).results(end=""))


class _Reader:
    """Reads values from a place in a line on."""

    def __init__(self, line: str, at: int) -> None:
        self._line, self._at, self._depth = line, at, 0

    def results(self, end: str) -> dict[str, Value]:
        """``name=value,...`` up to the end mark; of a name that comes twice the last value."""
        found: dict[str, Value] = {}
        while not self._ended(end):
            name = self._match(_NAME)
            found[name[1]] = self._value()
        return found

    def string(self) -> str:
        return _ESCAPE.sub(_character, self._match(_STRING)[1])

    def _value(self) -> Value:
        mark = self._line[self._at : self._at + 1]
        if mark == '"':
            return self.string()
        self._depth += 1
        self._at += 1
        if mark not in ("{", "[") or self._depth > _DEEP:
            raise BadReply("gdb: a reply that is none of its machine interface")
        value = self.results("}") if mark == "{" else self._list()
        self._depth -= 1
        return value

    def _list(self) -> list[Value]:
        """Values, or values with names, which are always the same and say nothing."""
        found: list[Value] = []
        while not self._ended("]"):
            if name := _NAME.match(self._line, self._at):
                self._at = name.end()
            found.append(self._value())
        return found

    def _ended(self, end: str) -> bool:
        """Whether the end mark comes now, which is taken; else a comma is, if one stands there."""
        mark = self._line[self._at : self._at + 1]
        if mark == end:
            self._at += len(end)
            return True
        if not mark:
            raise BadReply("gdb: a reply that ends in the middle")
        if mark == ",":
            self._at += 1
        return False

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        found = pattern.match(self._line, self._at)
        if found is None:
            raise BadReply("gdb: a reply that is none of its machine interface")
        self._at = found.end()
        return found


def _character(escape: re.Match[str]) -> str:
    told = escape[1]
    return chr(int(told, 8)) if told[0] in "01234567" else _ESCAPED.get(told, told)
