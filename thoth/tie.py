"""What ties a directory store and an SQLite index: the index remembers the mark of the store that it speaks of.

Either can be named without the other, and a directory whose file system is not mounted looks like an empty store.
Written to as if they belonged together, the store would get what another one should have, and a scrub would take
the dumps of that one out of the index.
"""

from __future__ import annotations

from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING, Final

from thoth.errors import IndexFailure, StoreError, StoreUnavailable
from thoth.index.of_store import OfStore
from thoth.index.wrappers import Passing as PassingIndex
from thoth.naming import Identity, is_identity
from thoth.query import Query
from thoth.store.names import home
from thoth.store.passing import Passing as PassingStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from thoth.index.base import Index
    from thoth.index.sqlite import SqliteIndex
    from thoth.model import DumpInfo
    from thoth.store.base import ObjectStore, Unfinished, Upload
    from thoth.store.directory import DirectoryStore

_BATCH: Final = 500  # dumps that the index is asked for at once


class Tie:
    """Tells whether a store and an index belong together, and has the index remember the store.

    Safe to use from several threads. ``user`` is whose dumps these are, ``named`` that somebody named the store.
    """

    def __init__(self, store: DirectoryStore, index: SqliteIndex, user: str, *, named: bool) -> None:
        self._store = store
        self._index = index
        self._user = user
        self._named = named
        self._lock = Lock()
        self._checked = ""  # the mark of the store that the index speaks of, or does not say that it does not
        self._remembered = ""  # the mark of which the index is known to say so

    def not_there_yet(self) -> Path | None:
        """The directory of a store that somebody named and that nobody has made; None for any other."""
        return self._store.root if self._named and not self._store.root.exists() else None

    def not_begun(self) -> Path | None:
        """The directory of a store that has neither a mark nor a dump, or that is not there; None for any other.
        Raises StoreError."""
        return self._store.root if self._store.mark() is None and self._is_empty() else None

    def check(self) -> None:
        """Raises StoreUnavailable unless they belong together, and StoreError. Writes nothing.

        An index that fails is passed over: it tells so itself, and a dump is stored without one, too.
        """
        self._agree()

    def _agree(self) -> bool:
        """As ``check``. Returns whether the index could be asked."""
        mark = self._store.mark()
        try:
            known = self._index.store()
            strangers = known is None and self._has_dumps() and not self._share_a_dump()
        except IndexFailure:
            return False
        if strangers or (known is not None and known.mark != mark):
            raise self._not_this_one(known)
        self._checked = mark or ""
        return True

    def check_to_look(self) -> None:
        """Raises StoreUnavailable when somebody named another store than the index speaks of.

        A store that is away, whose directory is gone or empty, is none that is known to be another one.
        """
        if not self._named:
            return
        try:
            known = self._index.store()
        except IndexFailure:
            return  # as in ``check``
        if known is None:
            return
        try:
            mark = self._store.mark()
        except StoreError:
            mark = None
        if mark != known.mark and (mark is not None or self._store.root != known.root):
            raise self._not_this_one(known)

    def before_storing(self, *, adds: bool = True) -> None:
        """To be called before each write to the store: see that it is still the one, and give it its mark if it has
        none and something is added to it. Raises StoreUnavailable and StoreError."""
        if self._is_still(self._checked):
            return
        with self._lock:
            if self._agree() and adds and not self._checked:
                self._checked = self._store.make_mark() or ""

    def before_indexing(self) -> None:
        """To be called before each write to the index: see to all that, and have the index remember the store.
        Raises IndexFailure."""
        try:
            if self._is_still(self._remembered):
                return
            with self._lock:
                self.check()
                self._remember(self._store.make_mark())
        except StoreError as error:
            raise IndexFailure(str(error)) from error

    def renew(self) -> bool:
        """Have the index speak of this store from now on; whether it spoke of another one.

        Raises StoreUnavailable when the index has dumps and the store has none, IndexFailure, and StoreError.
        """
        with self._lock:
            known = self._index.store()
            if (known is None or known.mark != self._store.mark()) and self._has_dumps() and self._is_empty():
                raise self._not_this_one(known)
            mark = self._store.make_mark()
            self._remember(mark)
        return known is not None and known.mark != mark

    def begin(self) -> None:
        """As ``renew`` for an index without dumps, which can lose none; else what is done before each write."""
        if self._has_dumps():
            self.before_indexing()
        else:
            self.renew()

    def _is_still(self, mark: str) -> bool:
        return bool(mark) and self._store.mark() == mark

    def _remember(self, mark: str | None) -> None:
        """Have the index speak of the store with this mark, or of no certain one when it can have none."""
        known = self._index.store()
        now = OfStore(mark, self._store.root) if mark else None
        if known != now and not self._index.speak_of(now, instead_of=known):
            found = self._index.store()  # another process was faster
            if (found.mark if found else None) != mark:
                raise IndexFailure(f"{self._index.path}: another process uses it with another store; try again")
        self._checked = self._remembered = mark or ""

    # ---- what they have ---------------------------------------------------------------------------

    def _has_dumps(self) -> bool:
        """Whether the index has any."""
        return next(iter(self._index.select(Query(limit=1), [("id",)])), None) is not None

    def _is_empty(self) -> bool:
        """Whether the store has no dump at all, not even a purged one's document."""
        return next(self._stored(), None) is None

    def _share_a_dump(self) -> bool:
        stored = self._stored()
        while batch := list(islice(stored, _BATCH)):
            if self._index.known(batch):
                return True
        return False

    def _stored(self) -> Iterator[Identity]:
        entries = self._store.list(home(self._user))
        return (Identity(each.name) for each in entries if each.directory and is_identity(each.name))

    def _not_this_one(self, known: OfStore | None = None) -> StoreUnavailable:
        root, index = self._store.root, self._index.path
        if self._has_dumps() and self._is_empty():
            return StoreUnavailable(
                f"store {root}: has no dump, and the index {index} speaks of some; mount it, name store and index"
                " both, or move the index away"
            )
        other = f", which was at {known.root}" if known and known.root != root else ""
        return StoreUnavailable(
            f"store {root}: not the one that the index {index} speaks of{other}; mount that, name store and index"
            " both, or have the index speak of this one: 'thoth index'"
        )


class TiedStore(PassingStore):
    """A store that takes no change unless the index speaks of it. Raises StoreUnavailable then."""

    def __init__(self, store: ObjectStore, tie: Tie) -> None:
        super().__init__(store)
        self._tie = tie

    def put(self, name: str, data: bytes, *, if_match: str | None = None) -> str:
        self._tie.before_storing()
        return super().put(name, data, if_match=if_match)

    def begin(self, name: str, size: int | None, *, if_match: str | None = None) -> Upload:
        self._tie.before_storing()
        return super().begin(name, size, if_match=if_match)

    def delete(self, name: str, *, if_match: str | None = None) -> None:
        self._tie.before_storing(adds=False)
        super().delete(name, if_match=if_match)

    def forget(self, unfinished: Unfinished) -> None:
        self._tie.before_storing(adds=False)
        super().forget(unfinished)

    def discard(self, name: str, size: int) -> None:
        self._tie.before_storing(adds=False)
        super().discard(name, size)

    def gathering(self) -> TiedStore:
        return TiedStore(self._store.gathering(), self._tie)

    def flush(self) -> None:
        self._store.flush()


class TiedIndex(PassingIndex):
    """An index that takes no change unless it speaks of the store. Raises IndexFailure then."""

    def __init__(self, index: Index, tie: Tie) -> None:
        super().__init__(index)
        self._tie = tie

    def put(self, info: DumpInfo) -> bool:
        self._tie.before_indexing()
        return super().put(info)

    def put_many(self, infos: Iterable[DumpInfo]) -> int:
        self._tie.before_indexing()
        return super().put_many(infos)

    def delete(self, identity: Identity) -> None:
        self._tie.before_indexing()
        super().delete(identity)
