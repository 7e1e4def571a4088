"""The bar of an upload: ``thoth: core.19972    [=======================>] 100%   1.94MB``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, TextIO

from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task
from rich.text import Text

from thoth.render import size_text

_WIDTH: Final = 24  # columns between the brackets
_NAME: Final = 40  # columns of a name: the bar is worth more than the rest of it


class _Line(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(
            bar_text(task.description, int(task.completed), int(task.total or 0)),
            no_wrap=True,
            overflow="crop",
        )


def bar_text(name: str, done: int, size: int) -> str:
    """One state of the bar. ``name`` is safe to show; ``done`` of ``size`` bytes have gone by."""
    part = min(done / size, 1.0) if size else 1.0
    arrow = "=" * max(0, int(part * _WIDTH) - 1) + ">"
    short = name if len(name) <= _NAME else name[: _NAME - 3] + "..."
    return f"thoth: {short:<13} [{arrow:<{_WIDTH}}] {int(part * 100):3d}% {size_text(done):>8}"


def watched(name: str, size: int, blocks: Iterable[bytes], err: TextIO) -> Iterator[bytes]:
    """The same blocks, with a bar on ``err`` that stays as one line when they end."""
    with Progress(_Line(), console=Console(file=err)) as progress:
        task = progress.add_task(name, total=size)
        for block in blocks:
            yield block
            progress.advance(task, len(block))
