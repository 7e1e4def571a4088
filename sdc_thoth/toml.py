"""TOML files as people write them, read with errors that say file, line, table and key."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from thoth import UsageError, escaped

_FILE_MAX: Final = 64 << 20  # bytes; ten thousand nodes are one MiB
_HEADER: Final = re.compile(r"\s*\[\[?\s*([A-Za-z0-9_-]+)\s*\]\]?\s*(#.*)?")
_KEY: Final = re.compile(r"""\s*["']?([^"'=\s]+)["']?\s*=""")


@dataclass(frozen=True, slots=True)
class TomlFile:
    """A file that has been read and parsed."""

    path: Path
    text: str
    data: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> TomlFile:
        """Raises UsageError. A byte order mark and CRLF, as some editors write them, are taken."""
        shown = escaped(str(path))
        try:
            with path.open("rb") as file:
                raw = file.read(_FILE_MAX + 1)
        except (OSError, ValueError) as error:
            raise UsageError(f"{shown}: {getattr(error, 'strerror', None) or error}") from error
        if len(raw) > _FILE_MAX:
            raise UsageError(f"{shown}: over {_FILE_MAX} bytes are no configuration")
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise UsageError(f"{shown}:{line}: not UTF-8 text") from error
        try:
            return cls(path, text, tomllib.loads(text))
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise UsageError(f"{shown}: {escaped(str(error))}") from error

    def is_open_to_others(self) -> bool:
        """Whether others than its owner may read it. A secret should not stand in such a file."""
        try:
            return bool(self.path.stat().st_mode & 0o077)
        except OSError:  # gone since it was read
            return False

    def only(self, names: Sequence[str]) -> None:
        """Raises UsageError for a table that is none of these."""
        for name in self.data:
            if name not in names:
                raise self.error(None, name, 0, f"unknown; known are {', '.join(names)}")

    def table(self, name: str) -> TomlTable:
        """The table of that name, empty when there is none."""
        values = self.data.get(name, {})
        if not isinstance(values, dict):
            raise self.error(None, name, 0, f"not a table: write [{name}]")
        return TomlTable(self, name, 0, values)

    def tables(self, name: str) -> list[TomlTable]:
        """The tables of an array of tables, ``[[name]]``."""
        values = self.data.get(name, [])
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            raise self.error(None, name, 0, f"not tables: write [[{name}]] above each")
        return [TomlTable(self, f"[{name}]", number, value) for number, value in enumerate(values)]

    def error(self, table: str | None, key: str, number: int, message: str) -> UsageError:
        """The error for a key in the table, the ``number``-th of its name."""
        line = self._line((table or "").strip("[]"), key, number)
        at = f":{line}" if line else ""
        where = f"[{table}] {escaped(key)}" if table else escaped(key)
        return UsageError(f"{escaped(str(self.path))}{at}: {where}: {message}")

    def _line(self, table: str, key: str, number: int) -> int | None:
        """The line on which the key stands, or else its table. The parser does not tell; this finds the usual
        ways to write it, and None for others."""
        current, counts, header = "", dict[str, int](), None
        for at, line in enumerate(self.text.splitlines(), 1):
            if found := _HEADER.fullmatch(line):
                current = found[1]
                counts[current] = counts.get(current, -1) + 1
                if not table and current == key:
                    return at
            here = current == table and counts.get(table, 0) == number
            if here and (found or header is None):
                header = at if table else None
            if here and not found and (match := _KEY.match(line)) and match[1] == key:
                return at
        return header


@dataclass(frozen=True, slots=True)
class TomlTable:
    """One table, whose keys are taken out one by one; ``done`` finds those that nobody knows.

    Each method gives None for a key that is not there, and raises UsageError for a value of another kind.
    """

    file: TomlFile
    name: str
    number: int  # among the tables of that name
    values: dict[str, Any]
    _known: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Where the file lies."""
        return self.file.path.absolute().parent

    def error(self, key: str, message: str) -> UsageError:
        return self.file.error(self.name, key, self.number, message)

    def take(self, key: str, kinds: type | tuple[type, ...], what: str) -> Any:
        """The value, of one of these types; ``what`` says what was expected."""
        self._known.append(key)
        value = self.values.get(key)
        if value is None:
            return None
        # To Python a boolean is a number; to who wrote it, it is not.
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise self.error(key, f"expected {what}, not {_kind(value)}")
        return value

    def text(self, key: str) -> str | None:
        value: str | None = self.take(key, str, "text in quotes")
        return value

    def flag(self, key: str) -> bool | None:
        self._known.append(key)
        value = self.values.get(key)
        if value is not None and not isinstance(value, bool):
            raise self.error(key, f"expected true or false, not {_kind(value)}")
        return value

    def matching(self, key: str, pattern: re.Pattern[str], what: str) -> str | None:
        """Text that the pattern matches whole; ``what`` says what that is."""
        value = self.text(key)
        if value is not None and not pattern.fullmatch(value):
            raise self.error(key, f"not {what}: {value[:80]!r}")
        return value

    def number_in(self, key: str, low: float, high: float, whole: bool = False) -> float | None:
        """A number from ``low`` to ``high``."""
        kinds: tuple[type, ...] = (int,) if whole else (int, float)
        value: float | None = self.take(key, kinds, "a whole number" if whole else "a number")
        if value is not None and (math.isnan(value) or not low <= value <= high):
            raise self.error(key, f"not between {low:g} and {high:g}: {value}")
        return value

    def texts(self, key: str) -> list[str] | None:
        """A list of texts."""
        values: list[str] | None = self.take(key, list, "a list of texts, [...]")
        if values is not None and not all(isinstance(value, str) for value in values):
            raise self.error(key, "expected a list of texts only")
        return values

    def done(self) -> None:
        """Raises UsageError for a key that was not taken."""
        for key in self.values:
            if key not in self._known:
                raise self.error(key, f"unknown; known are {', '.join(self._known)}")


def _kind(value: object) -> str:
    kinds = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "text",
        list: "a list",
        dict: "a table",
    }
    return kinds.get(type(value), "a date")
