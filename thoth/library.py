"""An open Thoth: one store and one index, as the configuration names them, put together here only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

from thoth.config import Config, without_credentials
from thoth.errors import NoSuchObject, StoreError, StoreUnavailable, UsageError
from thoth.index.base import Index
from thoth.model import DumpInfo, Identity
from thoth.store.base import ObjectStore
from thoth.store.names import info_name


@dataclass(frozen=True, slots=True)
class Thoth:
    """A store, an index and whose dumps they hold. Safe to share between threads when store and index are."""

    store: ObjectStore
    index: Index
    user: str

    def stored_info(self, identity: Identity) -> tuple[DumpInfo, str] | None:
        """A dump's info.json and its etag, or None, from the store. Raises StoreError and BadDocument."""
        name = info_name(self.user, identity)
        try:
            data, etag = self.store.get(name)
        except NoSuchObject:
            return None
        return DumpInfo.from_json(data, name), etag

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
    root = _local_path(config.store, "file", "THOTH_STORE")
    database = _local_path(config.db, "sqlite", "THOTH_DB")
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

    root = _local_path(config.store, "file", "THOTH_STORE")
    made = [] if root.exists() else [f"created directory {root}"]
    try:
        make_root(root)
    except (OSError, StoreError) as error:
        raise StoreUnavailable(f"store {root}: {getattr(error, 'strerror', None) or error}") from error
    with open_thoth(config) as thoth:
        next(iter(thoth.store.list(home(config.user))), None)
        return made + thoth.index.create()


def _open_store(root: Path, *, create: bool, dry_run: bool) -> ObjectStore:
    from thoth.store.directory import DirectoryStore
    from thoth.store.wrappers import DryRun

    store = DirectoryStore(root, create=create)
    return DryRun(store) if dry_run else store


def _open_index(database: Path, *, dry_run: bool) -> Index:
    from thoth.index.dry import DryRunIndex
    from thoth.index.sqlite import SqliteIndex

    return DryRunIndex(SqliteIndex(database, read_only=True)) if dry_run else SqliteIndex(database)


def _local_path(url: str, scheme: str, setting: str) -> Path:
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.scheme != scheme or parts.netloc or not path.startswith("/"):
        raise UsageError(
            f"{setting}: {without_credentials(url)!r}: this version knows {scheme}:///ABSOLUTE/PATH only"
        )
    return Path(
        "/" + path.lstrip("/")
    )  # sqlite:////file, as others write it, too; POSIX gives // a meaning of its own
