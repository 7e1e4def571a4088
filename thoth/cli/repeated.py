"""A failure that may befall one file after the other: told whole of the first, and of all others in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thoth.cli.files import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from thoth.cli.console import Console


class Repeated:
    """``others`` are the words before the files that it befell too."""

    def __init__(self, console: Console, others: str) -> None:
        self._console = console
        self._others = others
        self._paths: list[str] = []

    def is_first(self, path: str) -> bool:
        """Take note that it befell a file. True: nobody has told of it yet."""
        self._paths.append(path)
        return len(self._paths) == 1

    def sum_up(self) -> None:
        """Tell of all but the first."""
        if self._paths[1:]:
            self._console.complain(f"{self._others} {some(self._paths[1:])}")


def some(paths: Sequence[str]) -> str:
    """The first of some files, and how many more they are."""
    return shown(paths[0]) + (f" and {len(paths) - 1} more" if paths[1:] else "")
