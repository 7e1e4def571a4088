"""Executables and symbols by build-id from debuginfod servers, as a core's ``Binaries``.

What came is kept where debuginfod-find keeps it, so that either finds what the other has fetched: in
``BUILD-ID/executable`` and ``BUILD-ID/debuginfo`` below the cache. Source: debuginfod(8), "Webapi", and
debuginfod_find_debuginfo(3), "Cache".
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from ipaddress import ip_address
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Lock
from typing import IO, Final, Literal, Self
from urllib.parse import urlsplit

from thoth.config import Config
from thoth.dumps.binaries import build_id_of
from thoth.dumps.source import LocalFile, ReadAt
from thoth.errors import ServiceError, SourceError, ThothError, UsageError
from thoth.http import Download, Limits, Service

_LARGEST: Final = 512 << 20  # bytes of a file; those of a browser have as many
_SECONDS: Final = 30.0  # of a run, for all that is asked
_CONNECT, _IDLE = 3.0, 10.0  # seconds
_PIECE: Final = 1 << 20
_BUILD_ID: Final = re.compile(r"(?:[0-9a-f]{2}){4,64}")

Kind = Literal["executable", "debuginfo"]


class Debuginfod:
    """The servers that DEBUGINFOD_URLS names, in order: https, or on this machine. A context manager.

    ``say`` takes a line on each that cannot be asked, or fails; it is not asked again then, nor is anything that no
    server has. Safe to share between threads. ``clock`` is monotonic, in seconds.
    """

    def __init__(
        self,
        urls: str,
        cache: Path,
        say: Callable[[str], None],
        *,
        seconds: float = _SECONDS,
        largest: int = _LARGEST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cache, self._say, self._clock = cache, say, clock
        self._seconds = self._left = seconds
        self._largest = largest
        self._undo = ExitStack()
        self._servers = list(self._known(urls))
        self._found: dict[tuple[str, Kind], ReadAt | None] = {}
        self._lock = Lock()

    @classmethod
    def of(cls, config: Config, say: Callable[[str], None]) -> Self:
        """The servers that a configuration names. Nobody is asked yet."""
        return cls(config.debuginfod, Path(config.debuginfod_cache), say)

    def open(self, path: bytes, build_id: str) -> ReadAt | None:
        return self._file(build_id, "executable")

    def symbols(self, build_id: str, beside: bytes = b"") -> ReadAt | None:
        return self._file(build_id, "debuginfo")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _file(self, build_id: str, kind: Kind) -> ReadAt | None:
        if not _BUILD_ID.fullmatch(build_id):
            return None
        with self._lock:
            key = build_id, kind
            if key not in self._found:
                self._found[key] = self._cached(build_id, kind) or self._fetched(build_id, kind)
            return self._found[key]

    # ---- the cache --------------------------------------------------------------------------------

    def _cached(self, build_id: str, kind: Kind) -> ReadAt | None:
        """The file as it lies in the cache. An empty one is how debuginfod-find notes that there was none."""
        try:
            file = LocalFile(self._cache / build_id / kind)
        except SourceError:
            return None
        self._undo.callback(file.close)
        return file if build_id_of(file) == build_id else None

    def _keep(self, download: Download, build_id: str, kind: Kind) -> None:
        """Put what comes into the cache, under its name once it is whole and what it should be."""
        folder = self._cache / build_id
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder, prefix=f".{kind}.", delete=False) as file:
            try:
                self._copy(download, file)
                file.flush()
                _require(Path(file.name), build_id)
                os.replace(file.name, folder / kind)  # noqa: PTH105 - as the rest of the file's life
            except BaseException:
                with suppress(FileNotFoundError):
                    Path(file.name).unlink()
                raise

    def _copy(self, download: Download, file: IO[bytes]) -> None:
        size = 0
        while piece := download.read(_PIECE):
            size += len(piece)
            if size > self._largest:
                raise ServiceError(f"a file there is larger than {self._largest >> 20} MiB")
            file.write(piece)

    # ---- the servers ------------------------------------------------------------------------------

    def _known(self, urls: str) -> Iterator[_Server]:
        for url in urls.split():
            if url.startswith("ima:"):  # how newer clients treat signatures of the servers that follow
                continue
            try:
                server = _Server(url, self._seconds)
            except (UsageError, ValueError):
                self._say("DEBUGINFOD_URLS: a server has to be https://HOST, or http on this machine; passed over")
                continue
            self._undo.callback(server.service.close)
            yield server

    def _fetched(self, build_id: str, kind: Kind) -> ReadAt | None:
        for server in list(self._servers):
            if self._left <= 0:
                return None
            began = self._clock()
            try:
                if self._asked(server, build_id, kind):
                    return self._cached(build_id, kind)
            except (ThothError, OSError) as error:
                self._servers.remove(server)
                where = f"debuginfod {server.service.base}: "
                self._say(f"{where}{_reason(error).removeprefix(where)}; not asked again")
            finally:
                self._left -= self._clock() - began
        return None

    def _asked(self, server: _Server, build_id: str, kind: Kind) -> bool:
        """Whether the server had the file, which is in the cache then. Raises ServiceError, SourceError, OSError."""
        target = f"{server.prefix}/buildid/{build_id}/{kind}"
        with server.service.open("GET", target, {}, limited=True) as download:
            if download.status == 404:
                return False
            if download.status != 200:
                raise ServiceError(f"answers with status {download.status}")
            self._keep(download, build_id, kind)
        return True


class _Server:
    """One server; ``prefix`` is the path below which it answers. Raises UsageError for what may not be asked."""

    def __init__(self, url: str, seconds: float) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and not _is_here(parts.hostname or ""):
            raise UsageError("not a server that can be trusted")
        self.prefix = parts.path.rstrip("/")
        limits = Limits(connect=_CONNECT, idle=min(_IDLE, seconds), total=seconds)
        self.service = Service("debuginfod", f"{parts.scheme}://{parts.netloc}", threads=1, limits=limits)


def _require(path: Path, build_id: str) -> None:
    with LocalFile(path) as file:
        if build_id_of(file) != build_id:
            raise ServiceError("what it sends is another file than the one asked for")


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
