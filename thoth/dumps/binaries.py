"""Where executables and libraries come from that a core names but does not hold.

They are believed only when their build-id is the one in the core; who opens them need not look.
"""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Protocol, Self

from thoth.dumps.source import LocalFile, ReadAt
from thoth.errors import SourceError


class Binaries(Protocol):
    """Gives the file of an executable or library, by its path on the machine of the crash and its build-id in hex.

    None when it has none. What was given stays readable until whoever made this closes it. It raises nothing: a
    stack with less in it is better than none.
    """

    def open(self, path: bytes, build_id: str) -> ReadAt | None: ...

    def symbols(self, build_id: str) -> ReadAt | None:
        """The file that has what was stripped from the one with this build-id."""
        ...


class NoBinaries:
    """Has none: for cores of other machines."""

    def open(self, path: bytes, build_id: str) -> ReadAt | None:
        return None

    def symbols(self, build_id: str) -> ReadAt | None:
        return None


class LocalBinaries:
    """The files of this machine: for cores of processes that ran here, or on one with the same packages.

    A context manager: it closes what it opened. ``debug`` is where packages with symbols put these, by build-id.
    """

    def __init__(self, debug: str = "/usr/lib/debug/.build-id") -> None:
        self._debug = debug
        self._undo = ExitStack()

    def open(self, path: bytes, build_id: str) -> ReadAt | None:
        return self._opened(path) if path.startswith(b"/") else None

    def symbols(self, build_id: str) -> ReadAt | None:
        return self._opened(f"{self._debug}/{build_id[:2]}/{build_id[2:]}.debug".encode())

    def _opened(self, path: bytes) -> ReadAt | None:
        try:
            return self._undo.enter_context(LocalFile(path))
        except SourceError:
            return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()
