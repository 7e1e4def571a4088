"""The bar of a long work: ``thoth: core.19972    [=======================>] 100%   1.94MB``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, TextIO, TypeVar

from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task
from rich.text import Text

from thoth.render import size_text

_Item = TypeVar("_Item")

_WIDTH: Final = 24  # columns between the brackets
_NAME: Final = 40  # columns of a name: the bar is worth more than the rest of it


class _Line(ProgressColumn):
    def __init__(self, amount: Callable[[int], str]) -> None:
        super().__init__()
        self._amount = amount

    def render(self, task: Task) -> Text:
        return Text(
            bar_text(task.description, int(task.completed), int(task.total or 0), self._amount),
            no_wrap=True,
            overflow="crop",
        )


class _Count(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(
            f"thoth: {task.description:<13} {size_text(int(task.completed)):>8}", no_wrap=True, overflow="crop"
        )


def bar_text(name: str, done: int, size: int, amount: Callable[[int], str] = size_text) -> str:
    """One state of the bar. ``name`` is safe to show; ``done`` of ``size``, which ``amount`` writes, have gone by."""
    part = min(done / size, 1.0) if size else 1.0
    arrow = "=" * max(0, int(part * _WIDTH) - 1) + ">"
    short = name if len(name) <= _NAME else name[: _NAME - 3] + "..."
    return f"thoth: {short:<13} [{arrow:<{_WIDTH}}] {int(part * 100):3d}% {amount(done):>8}"


def watched(name: str, size: int, blocks: Iterable[bytes], err: TextIO) -> Iterator[bytes]:
    """The same blocks, with a bar on ``err`` that stays as one line when they end."""
    with _bar(name, size, err, size_text) as advance:
        for block in blocks:
            yield block
            advance(len(block))


def received(name: str, blocks: Iterable[bytes], err: TextIO) -> Iterator[bytes]:
    """The same blocks, with a line on ``err`` that says how many bytes have come."""
    with Progress(_Count(), console=Console(file=err)) as progress:
        task = progress.add_task(name, total=None)
        for block in blocks:
            yield block
            progress.advance(task, len(block))


def counted(name: str, items: Iterable[_Item], total: int, err: TextIO) -> Iterator[_Item]:
    """The same items, with a bar on ``err`` that counts them up to ``total``."""
    with _bar(name, total, err, str) as advance:
        for item in items:
            yield item
            advance(1)


@contextmanager
def filled(name: str, size: int, err: TextIO) -> Iterator[Callable[[int], None]]:
    """A bar on ``err`` that is told how many of ``size`` bytes are there, each time from the beginning."""
    with Progress(_Line(size_text), console=Console(file=err)) as progress:
        task = progress.add_task(name, total=size)
        yield lambda done: progress.update(task, completed=done)


@contextmanager
def _bar(name: str, size: int, err: TextIO, amount: Callable[[int], str]) -> Iterator[Callable[[int], None]]:
    with Progress(_Line(amount), console=Console(file=err)) as progress:
        task = progress.add_task(name, total=size)
        yield lambda done: progress.advance(task, done)
