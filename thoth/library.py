"""An open Thoth: one store and one index, as the configuration names them, put together here only."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import SplitResult, quote, unquote, urlsplit

from thoth.config import Config, without_credentials
from thoth.errors import BadDocument, NoSuchObject, StoreError, StoreUnavailable, UsageError
from thoth.index.base import Index
from thoth.model import DumpInfo, Identity
from thoth.store.base import ObjectStore
from thoth.store.names import home, info_name


@dataclass(frozen=True, slots=True)
class Thoth:
    """A store, an index and whose dumps they hold. Safe to share between threads when store and index are."""

    store: ObjectStore
    index: Index
    user: str

    def stored_info(self, identity: Identity) -> tuple[DumpInfo, str] | None:
        """A dump's info.json and its etag, or None, from the store. Raises StoreError and BadDocument.

        The document of another dump, which somebody has copied to this place, is BadDocument.
        """
        name = info_name(self.user, identity)
        try:
            data, etag = self.store.get(name)
        except NoSuchObject:
            return None
        info = DumpInfo.from_json(data, name)
        if info.id != identity:
            raise BadDocument(f"{name}: is the document of another dump, {info.id}")
        return info, etag

    def check(self) -> None:
        """Raises StoreUnavailable or IndexFailure when one of them cannot be used, before a long work begins."""
        next(iter(self.store.list(home(self.user))), None)
        self.index.known([])

    def close(self) -> None:
        self.index.close()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_thoth(config: Config, *, dry_run: bool = False) -> Thoth:
    """Open what ``config.store`` and ``config.db`` name. A dry run cannot write to either.

    Raises UsageError for a URL that names nothing we know.
    """
    root, database = _root(config), _database(config)
    # A new user's first dump makes the directory of the store. Once there is an index there has been a store
    # too: when its directory is gone it is not mounted, and must not pass for an empty one.
    store = _open_store(root, create=not database.is_file(), dry_run=dry_run)
    return Thoth(store, _open_index(database, dry_run=dry_run), config.user)


def prepare(config: Config) -> list[str]:
    """Make what the store and the index need; a line for each thing that was made, none when all was there.

    Raises UsageError, StoreError and IndexFailure when a dump could not be kept there either.
    """
    from thoth.store.names import home
    from thoth.store.walk import make_root

    root, _ = _root(config), _database(config)  # both are known to be good before one is made
    made = [] if root.exists() else [f"created directory {root}"]
    try:
        make_root(root)
    except (OSError, StoreError) as error:
        raise StoreUnavailable(f"store {root}: {getattr(error, 'strerror', None) or error}") from error
    with open_thoth(config) as thoth:
        next(iter(thoth.store.list(home(config.user))), None)
        return made + thoth.index.create()


def require_store(config: Config, *, new_ok: bool = False) -> None:
    """Raises StoreUnavailable when the store's directory is gone, and UsageError as ``open_thoth`` does.

    With ``new_ok`` it may be missing as long as there is no index either: the first dump makes both.
    """
    root = _root(config)
    if root.exists() or (new_ok and not _database(config).is_file()):
        return
    raise StoreUnavailable(f"store {root}: no such directory; mount it, or make an empty one with 'thoth init'")


def is_made(config: Config, setting: str) -> bool:
    """Whether what ``store`` or ``db`` names is there. Raises UsageError as ``open_thoth`` does."""
    return _root(config).is_dir() if setting == "store" else _database(config).is_file()


def _open_store(root: Path, *, create: bool, dry_run: bool) -> ObjectStore:
    from thoth.store.directory import DirectoryStore

    store = DirectoryStore(root, create=create)
    if not dry_run:
        return store
    from thoth.store.wrappers import DryRun

    return DryRun(store)


def _open_index(database: Path, *, dry_run: bool) -> Index:
    from thoth.index.sqlite import SqliteIndex

    if not dry_run:
        return SqliteIndex(database)
    from thoth.index.dry import DryRunIndex

    return DryRunIndex(SqliteIndex(database, read_only=True))


def _root(config: Config) -> Path:
    return _local_path(config, "store", "file")


def _database(config: Config) -> Path:
    return _local_path(config, "db", "sqlite")


def _local_path(config: Config, setting: str, scheme: str) -> Path:
    """The path in the URL of a setting. Raises UsageError, which says who gave it and what to write."""
    url: str = getattr(config, setting)
    shown = f"{config.origins.get(setting, setting)}: {setting} {without_credentials(url)!r}"
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UsageError(f"{shown}: not a URL; this version knows {scheme}:///ABSOLUTE/PATH only") from error
    # sqlite:////file, as others write it, too; POSIX gives // a meaning of its own
    path = "/" + unquote(parts.path, errors="surrogateescape").lstrip("/")
    if parts.scheme != scheme or parts.netloc or not parts.path.startswith("/"):
        fault = f"this version knows {scheme}:///ABSOLUTE/PATH only"
    elif parts.query or parts.fragment or any(char in url for char in "?#\t\r\n"):
        fault = "in a URL ? is written %3F, # %23, a tab %09, and a line's end %0A"
    elif "\0" in path:
        fault = "no file name holds a NUL"
    elif path.startswith("/~"):
        fault = "a path in a URL is absolute, and ~ in it is nobody's home"
    else:
        return Path(path)
    meant = _meant(parts, scheme)
    raise UsageError(f"{shown}: {fault}{meant and f'; write {meant}'}")


def _meant(parts: SplitResult, scheme: str) -> str:
    """What to write for a path without the scheme, or one that begins with ~; empty when nobody can tell."""
    path = unquote(parts.path, errors="surrogateescape")
    if parts.netloc.startswith("~"):
        path = parts.netloc + path
    elif parts.netloc or parts.query or parts.fragment or parts.scheme not in ("", scheme) or "\0" in path:
        return ""
    elif path.lstrip("/").startswith("~"):
        path = path.lstrip("/")
    with suppress(RuntimeError):  # a user who is not there, or has no home
        path = str(Path(path).expanduser())
    return f"{scheme}://{quote(os.fsencode(path))}" if path.startswith("/") else ""
