"""An open Thoth: one store and one index, as the configuration names them, put together here only."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from thoth.config import DEFAULT, MANTA, Config, MantaSettings, Setting, described
from thoth.errors import BadDocument, NoSuchObject, StoreError, StoreUnavailable
from thoth.index.base import Index
from thoth.index.rethink_place import RethinkPlace
from thoth.model import DumpInfo, Identity
from thoth.naming import is_identity
from thoth.places import index_place, store_directory
from thoth.query import Query
from thoth.settings_file import database_url, origin_with
from thoth.store.base import ObjectStore
from thoth.store.names import config_name, home, info_name
from thoth.store.refusals import missing

if TYPE_CHECKING:
    from thoth.patience import Say
    from thoth.store.jobs import Jobs
    from thoth.tie import Tie

_FEW: Final = 20  # names; of ours a few lie beside the dumps

Ask = Callable[[str], str]  # asks a person for a secret by a prompt


def _no_jobs() -> None:
    """The jobs of a store that has none."""


@dataclass(frozen=True, slots=True)
class Thoth:
    """A store, an index and whose dumps they hold. Safe to share between threads when store and index are."""

    store: ObjectStore
    index: Index
    user: str
    database: str = ""  # the index as people may see it, and who named it: ``HOST:PORT (configured from Manta)``
    jobs: Callable[[], Jobs | None] = _no_jobs  # Manta's, when the store runs any and nobody has them switched off
    tie: Tie | None = None  # of a directory and an SQLite index; others have config.json, which names the database

    def stored_info(self, identity: Identity) -> tuple[DumpInfo, str] | None:
        """A dump's info.json and its etag, or None, from the store. Raises StoreError and BadDocument.

        The document of another dump, which somebody has copied to this place, is BadDocument.
        """
        name = info_name(self.user, identity)
        try:
            data, etag = self.store.get(name)
        except NoSuchObject:
            return None
        try:
            info = DumpInfo.from_json(data, name)
        except BadDocument as error:
            raise BadDocument(f"{error}; move it away, and 'thoth scrub --repair' makes it anew") from error
        if info.id != identity:
            raise BadDocument(f"{name}: is the document of another dump, {info.id}")
        return info, etag

    def check(self) -> None:
        """Raises StoreUnavailable or IndexFailure when one of them cannot be used, before a long work begins."""
        self.check_store()
        self.index.known([])

    def check_store(self) -> None:
        """Raises StoreUnavailable when the store cannot be used, or is not the one that the index speaks of."""
        _require_answer(self.store, self.user)
        self.check_tie()

    def check_tie(self) -> None:
        """Raises StoreUnavailable when the store is not the one that the index speaks of."""
        if self.tie is not None:
            self.tie.check()

    def check_to_look(self) -> None:
        """Raises StoreUnavailable when somebody named another store than the index speaks of: what the index tells
        would be about that one. A store that is away is none."""
        if self.tie is not None:
            self.tie.check_to_look()

    def check_begun(self) -> None:
        """For who has stored dumps before: raises StoreUnavailable for a directory in which nobody has stored any.

        Its index may know of none either: both lie on a file system that is not mounted, perhaps.
        """
        root = self.tie.not_begun() if self.tie is not None else None
        if root is not None:
            raise StoreUnavailable(
                f"store {root}: has no dump, and dumps were stored before; mount it, or begin a new one: 'thoth init'"
            )

    def why_empty(self) -> str | None:
        """Why an index without any dump finds none, in one line; None when it has some, or the store has none.

        The store is looked into no further than its first names. Raises IndexFailure.
        """
        if self.index.count(Query(limit=1)):
            return None
        try:
            entries = self.store.list(home(self.user), most=_FEW)
            if any(each.directory and is_identity(each.name) for each in entries):
                return "the index has no dumps and the store has: run 'thoth index'"
        except StoreError as error:
            return f"the index has no dumps, and what the store has is not known: {error}"
        root = self.tie.not_there_yet() if self.tie is not None else None
        return None if root is None else f"the store {root} is not there yet; the first upload makes it"

    def begin(self) -> list[str]:
        """Make what the index needs and tie it to the store; a line for each thing that was made. Raises as
        ``check`` does, but an index without dumps may have spoken of another store."""
        _require_answer(self.store, self.user)
        self.index.known([])
        made = self.index.create()
        if self.tie is not None:
            self.tie.begin()
        return made

    def renew(self) -> bool:
        """Have the index speak of this store from now on; whether it spoke of another one.

        Raises StoreUnavailable when the store has no dump and the index has, StoreError, and IndexFailure.
        """
        return self.tie is not None and self.tie.renew()

    def close(self) -> None:
        self.index.close()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_thoth(config: Config, *, dry_run: bool = False, ask: Ask | None = None, say: Say | None = None) -> Thoth:
    """Open what the configuration names. A dry run cannot write to either.

    The index that nobody names is the one that ``config.json`` in the store tells of, or else the user's own file.
    ``ask`` asks a person for the passphrase of a key, by a prompt; ``say`` takes a line on a store that fails and is
    tried again. Raises UsageError for a URL that names nothing we know, and StoreError for a store that has to be
    asked and does not answer.
    """
    directory = store_directory(config)
    place = index_place(config.db, config.origins.get("db", "db"), config.user)
    # A new user's first dump makes the directory of the store. Once there is an index there has been a store
    # too: when its directory is gone it is not mounted, and must not pass for an empty one.
    create = isinstance(place, Path) and not place.is_file()
    with ExitStack() as undo:
        store = _open_store(config, directory, create=create, ask=ask, say=say)
        undo.callback(store.close)
        shared = _shared_index(config, store)
        named = shared or Setting(config.db, config.origins.get("db", "db"))
        place = index_place(named.value, config_name(config.user), config.user) if shared else place
        index = _open_index(place, dry_run=dry_run)
        undo.callback(index.close)
        tie = _tie(config, store, index) if directory and isinstance(place, Path) else None
        jobs = _no_jobs if dry_run else _job_service(config, store)
        kept = _guarded(store, index, tie, dry_run=dry_run)
        opened = Thoth(*kept, config.user, described(named.value, named.origin), jobs, tie)
        undo.pop_all()
    return opened


def _tie(config: Config, store: ObjectStore, index: Index) -> Tie | None:
    """What ties a directory and an SQLite index."""
    from thoth.index.sqlite import SqliteIndex
    from thoth.store.directory import DirectoryStore
    from thoth.tie import Tie

    if not isinstance(store, DirectoryStore) or not isinstance(index, SqliteIndex):
        return None
    return Tie(store, index, config.user, named=config.origins.get("store") != DEFAULT)


def _guarded(store: ObjectStore, index: Index, tie: Tie | None, *, dry_run: bool) -> tuple[ObjectStore, Index]:
    """The same as commands get them: what must not be written to does not let itself be."""
    if dry_run:
        from thoth.index.wrappers import DryRunIndex
        from thoth.store.wrappers import DryRun

        return DryRun(store), DryRunIndex(index)
    if tie is None:
        return store, index
    from thoth.tie import TiedIndex, TiedStore

    return TiedStore(store, tie), TiedIndex(index, tie)


def make_store(config: Config) -> list[str]:
    """Make the directory of the store; a line for it when it was not there. Manta needs none.

    Raises UsageError as ``open_thoth`` does, IndexFailure, and StoreUnavailable, also when the index has dumps: an
    empty store is not theirs.
    """
    root = store_directory(config)
    place = index_place(config.db, config.origins.get("db", "db"), config.user)  # good, before anything is made
    if root is None:
        return []
    made = [] if root.exists() else [f"created directory {root}"]
    if made and isinstance(place, Path) and _speaks_of_dumps(place):
        raise StoreUnavailable(
            f"store {root}: no such directory, and the index {place} speaks of dumps; mount it, name store and index"
            " both, or move the index away"
        )
    _make_root(root)
    return made


def _speaks_of_dumps(place: Path) -> bool:
    with closing(_open_index(place, dry_run=True)) as index:
        return index.count(Query()) > 0


def _make_root(root: Path) -> None:
    from thoth.store.walk import make_root

    try:
        make_root(root)
    except (OSError, StoreError) as error:
        raise StoreUnavailable(f"store {root}: {getattr(error, 'strerror', None) or error}") from error


def require_store(config: Config, *, new_ok: bool = False) -> None:
    """Raises StoreUnavailable when the store's directory is gone, and UsageError as ``open_thoth`` does.

    With ``new_ok`` it may be missing as long as there is no index either: the first dump makes both. A server is
    asked when it is needed.
    """
    root = store_directory(config)
    place = index_place(config.db, config.origins.get("db", "db"), config.user)
    if root is None or root.exists() or (new_ok and isinstance(place, Path) and not place.is_file()):
        return
    raise missing(root)


def is_made(config: Config, setting: str) -> bool:
    """Whether what ``store`` or ``db`` names is there; of a server, whether it answers.

    Raises UsageError as ``open_thoth`` does, and StoreError or IndexFailure for a server that does not answer.
    """
    if setting == "db":
        place = index_place(config.db, config.origins.get("db", "db"), config.user)
        return place.is_file() if isinstance(place, Path) else _answers(place)
    directory = store_directory(config)
    if directory is not None:
        return directory.is_dir()
    with closing(_open_store(config, None, create=False, ask=None)) as store:
        _require_answer(store, config.user)
    return True


def shared_index(config: Config) -> Setting | None:
    """The index that ``config.json`` in the store names and ``open_thoth`` uses; None when that is not asked, or
    names none. Raises UsageError for what cannot be read there, and StoreError."""
    if config.origins.get("db", "db") != DEFAULT:
        return None
    with closing(_open_store(config, store_directory(config), create=False, ask=None)) as store:
        return _shared_index(config, store)


def _answers(server: RethinkPlace) -> bool:
    with closing(_open_index(server, dry_run=True)) as index:
        index.known([])
    return True


# ---- the store ------------------------------------------------------------------------------------


def _require_answer(store: ObjectStore, user: str) -> None:
    """Raises StoreError unless the store tells of an object whether it is there; a list may be long."""
    with suppress(NoSuchObject):
        store.stat(config_name(user))


def _open_store(
    config: Config, directory: Path | None, *, create: bool, ask: Ask | None, say: Say | None = None
) -> ObjectStore:
    from thoth.store.directory import DirectoryStore

    return _open_manta(config.manta, ask, say) if directory is None else DirectoryStore(directory, create=create)


def _open_manta(settings: MantaSettings, ask: Ask | None, say: Say | None) -> ObjectStore:
    import random
    import time

    from thoth.store.keys import KeyOwner, KeyPlaces, find_signer
    from thoth.store.manta import MantaAccess, MantaStore, PartSizes
    from thoth.store.wrappers import Retrying

    signer = None
    if not settings.no_auth:
        places = KeyPlaces(_path(settings.home), settings.agent or None)
        owner = KeyOwner(settings.user, settings.subuser or None)
        signer = find_signer(owner, settings.key_id, places=places, ask=ask)
    access = MantaAccess(
        url=settings.url,
        account=settings.user,
        roles=settings.roles,
        tls_insecure=settings.tls_insecure,
        proxy=settings.proxy or None,
    )
    sizes = None if settings.parts_from is None else PartSizes(threshold=settings.parts_from)
    store = MantaStore(access, signer, sizes=sizes, unfinished=_path(settings.unfinished))
    return Retrying(store, sleep=time.sleep, clock=time.monotonic, random=random.random, say=say)


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def _job_service(config: Config, store: ObjectStore) -> Callable[[], Jobs | None]:
    if config.store != MANTA or config.manta.no_jobs or not config.manta.user:
        return _no_jobs
    from thoth.store.manta import MantaStore
    from thoth.store.passing import Passing

    while isinstance(store, Passing):
        store = store.inner
    return store.jobs if isinstance(store, MantaStore) else _no_jobs


# ---- the index ------------------------------------------------------------------------------------


def _shared_index(config: Config, store: ObjectStore) -> Setting | None:
    """The index that ``config.json`` in the store names; None when somebody else names one, or nobody."""
    directory = store_directory(config)
    # What is in the user's own index can be listed while the directory of the store is away.
    if config.origins.get("db", "db") != DEFAULT or (directory is not None and not directory.is_dir()):
        return None
    name = config_name(config.user)
    try:
        url = database_url(store.get(name)[0], name, config.user, config.over)
    except NoSuchObject:
        return None
    origin = origin_with("Manta" if config.store == MANTA else "the store", config.over)
    return None if url is None else Setting(url, origin)


def _open_index(place: Path | RethinkPlace, *, dry_run: bool) -> Index:
    return _sqlite(place, dry_run) if isinstance(place, Path) else _rethink(place, dry_run)


def _rethink(place: RethinkPlace, dry_run: bool) -> Index:
    from thoth.index.rethink import RethinkIndex

    return RethinkIndex(place, read_only=dry_run)


def _sqlite(place: Path, dry_run: bool) -> Index:
    from thoth.index.sqlite import SqliteIndex

    return SqliteIndex(place, read_only=dry_run)
