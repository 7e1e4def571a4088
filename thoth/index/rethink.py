"""The shared index: documents in RethinkDB, in the tables of the original's programs and beside them."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby, islice
from typing import Final, TypeVar

from thoth.errors import CannotWrite
from thoth.index import reql
from thoth.index.base import TIME, Known, Ranking, rarest_first, selected
from thoth.index.ranking import PATHS, ranked
from thoth.index.reql import Term
from thoth.index.reql_conditions import Asked, asked_of
from thoth.index.rethink_connections import Connections
from thoth.index.rethink_place import RethinkPlace
from thoth.index.rethink_rows import FIELD, Row, arranged, info_of, require_dump, row_of
from thoth.index.rethink_tables import is_made, make, wait_for_time
from thoth.index.rethink_wire import Refused
from thoth.index.rethink_writes import batches, delete, put
from thoth.model import DumpInfo, Identity, Json
from thoth.naming import is_identity
from thoth.query import KeyPath, Named, Query, holds, label, lookup, matches, sort_key

T = TypeVar("T")
_Keyed = tuple[tuple[bool, float, str], T]  # by what it is sorted

BATCH: Final = 500  # dumps that one question names
_MOST_NAMES: Final = 20_000  # that are looked up one by one; for more the whole table is read
_SHORTEST: Final = 2  # digits of a name's beginning: what one alone means is better found by time
_ID: Final = ("id",)


class RethinkIndex:
    """Index over a database of a RethinkDB server (2.3 or later). The database need not exist.

    Nothing is asked of the server before the first call. With ``read_only`` a write raises CannotWrite.

    An answer is read to its end before the first dump of it is given, so what is done with that dump changes
    nothing in it. RethinkDB itself has no moment for which an answer holds: what others write while it is read, for
    seconds with a million dumps, is in it or not, dump by dump.
    """

    __slots__ = ("_connections", "_read_only", "place")

    def __init__(self, place: RethinkPlace, *, read_only: bool = False) -> None:
        self.place = place
        self._read_only = read_only
        self._connections = Connections(place)

    # ---- writing -----------------------------------------------------------------------------------

    def create(self) -> list[str]:
        self._refuse_read_only()
        return make(self._connections)

    def put(self, info: DumpInfo) -> bool:
        return self.put_many([info]) == 1

    def put_many(self, infos: Iterable[DumpInfo]) -> int:
        """As the contract has it, but what RethinkDB refuses in the middle leaves the dumps before it stored."""
        self._refuse_read_only()
        rows = [row_of(info) for info in infos]  # a bad one is found before any is stored
        return sum(self._put(batch) for batch in batches(rows))

    def delete(self, identity: Identity) -> None:
        self._refuse_read_only()
        self._reading(lambda: delete(self._connections, identity))

    def _put(self, batch: Sequence[Row]) -> int:
        try:
            return put(self._connections, batch)
        except Refused:
            make(self._connections)  # it is missing, or was until another one made it a moment ago
        return put(self._connections, batch)

    def _refuse_read_only(self) -> None:
        if self._read_only:
            raise CannotWrite(f"{self.place}: the index is open for a dry run")

    # ---- by name -----------------------------------------------------------------------------------

    def known(self, ids: Iterable[Identity]) -> Mapping[Identity, Known]:
        named = list(ids)
        found: dict[Identity, Known] = {}
        for start in range(0, len(named), BATCH):
            asked = reql.known(self.place.database, named[start : start + BATCH])
            for row in self._rows(asked):
                identity = Identity(row["id"])
                found[identity] = Known.of(self._info(row))
        if not named:
            is_made(self._connections)  # who asks for nothing wants to know whether it can be asked
        return found

    def get(self, identity: Identity) -> DumpInfo | None:
        asked = self._table.get(identity)
        row = self._reading(lambda: self._connections.one(asked))
        return None if row is None else self._info(row)

    def named(self, prefix: str, limit: int = 10) -> list[Identity]:
        if not is_identity(prefix.ljust(32, "0")):
            return []
        asked = reql.begin_with(self.place.database, prefix).order_by(index="id").limit(limit)["id"]
        found = list(self._rows(asked))
        for each in found:
            require_dump(each, str(self.place))
        return list(map(Identity, found))

    # ---- by query ----------------------------------------------------------------------------------

    def find(self, query: Query) -> Iterator[DumpInfo]:
        for _, info in self._found(query):
            yield info

    def select(self, query: Query, paths: Sequence[KeyPath]) -> Iterator[tuple[Json, ...]]:
        asked = asked_of(query.constraints)
        if asked.residual or _names(query) or any(path[0] == FIELD for path in paths):
            return (selected(info, paths) for _, info in self._found(query))
        return self._selected(query, asked, paths)

    def count(self, query: Query) -> int:
        asked = asked_of(query.constraints)
        if asked.residual or _names(query):
            return sum(1 for _ in self._found(query))
        question = self._question(query, asked, count=True)
        rows = self._held(question, each=self.place.scan_timeout)
        others, timed = self._parted(query, rows)
        counted = len(others) + next(timed, 0)
        return counted if query.limit is None else min(counted, query.limit)

    def report(self, query: Query, path: KeyPath) -> Mapping[str, int]:
        asked = asked_of(query.constraints)
        if query.limit is not None or asked.residual or _names(query) or path[0] == FIELD:
            return rarest_first(Counter(label(lookup(info.document, path)) for _, info in self._found(query)))

        def counted(rows: Iterator[Json]) -> Counter[str]:
            others, timed = self._parted(query, rows)
            counts = Counter(label(lookup(info.document, path)) for _, info in others)
            counts.update(self._label(row, path) for row in timed)
            return counts

        question = self._question(query, asked, reql.values([path]), in_order=False)
        return rarest_first(self._reading(lambda: self._connections.streamed(question, counted)) or {})

    def rank(self, query: Query, most: int) -> Ranking:
        return ranked(self.select(query, PATHS), most)

    def close(self) -> None:
        """Ends all connections, also those on which other threads are waiting."""
        self._connections.close()

    # ---- answers -----------------------------------------------------------------------------------

    def _found(self, query: Query) -> Iterator[_Keyed[DumpInfo]]:
        """The documents that match, in order."""
        names, asked = _names(query), asked_of(query.constraints)
        if names:
            yield from islice(self._reading(lambda: self._by_name(query, names)) or [], query.limit)
            return

        def first(rows: Iterator[Json]) -> list[_Keyed[DumpInfo]]:
            return list(islice(self._judged(query, asked, rows), query.limit))

        question = self._question(query, asked)
        if asked.residual and query.limit is not None:  # the server cannot tell when these are enough
            yield from self._reading(lambda: self._connections.streamed(question, first)) or []
        else:
            yield from islice(self._judged(query, asked, self._held(question)), query.limit)

    def _judged(self, query: Query, asked: Asked, rows: Iterator[Json]) -> Iterator[_Keyed[DumpInfo]]:
        """The documents among rows that match, in order."""
        others, timed = self._parted(query, rows)
        infos = map(self._keyed, timed)
        return _merged(
            others, (each for each in infos if all(holds(left, each[1].document) for left in asked.residual))
        )

    def _selected(self, query: Query, asked: Asked, paths: Sequence[KeyPath]) -> Iterator[tuple[Json, ...]]:
        others, timed = self._parted(query, self._held(self._question(query, asked, reql.values(paths))))
        told = [(key, selected(info, paths)) for key, info in others]
        merged = _merged(told, (self._keyed_values(row, paths) for row in timed))
        yield from (row for _, row in islice(merged, query.limit))

    def _parted(self, query: Query, rows: Iterator[Json]) -> tuple[list[_Keyed[DumpInfo]], Iterator[Json]]:
        """Of an answer: the documents of rows that the server cannot judge and that match, in order; and what it says
        of the others."""
        found = map(self._keyed, iter(partial(next, rows, None), None))
        return sorted((keyed for keyed in found if matches(query, keyed[1].document)), key=_key), rows

    def _by_name(self, query: Query, names: frozenset[str]) -> list[_Keyed[DumpInfo]]:
        """The documents that match, each of which has one of these names."""
        found = {}
        whole = sorted(name for name in names if is_identity(name))
        asked = [self._table.get_all(*whole[at : at + BATCH]) for at in range(0, len(whole), BATCH)]
        asked += [reql.begin_with(self.place.database, name) for name in sorted(names.difference(whole))]
        for each in asked:
            for row in self._connections.held(each).rows():
                keyed = self._keyed(row)
                if matches(query, keyed[1].document):
                    found[keyed[1].id] = keyed
        return sorted(found.values(), key=_key)

    def _info(self, row: Json) -> DumpInfo:
        return info_of(row, str(self.place))

    def _keyed(self, row: Json) -> _Keyed[DumpInfo]:
        info = self._info(row)
        return sort_key(info), info

    def _keyed_values(self, row: Json, paths: Sequence[KeyPath]) -> _Keyed[tuple[Json, ...]]:
        if isinstance(row, dict):
            key, info = self._keyed(row)
            return key, selected(info, paths)
        time, identity, values, own = row
        require_dump(identity, str(self.place))
        told = zip(paths, values, strict=True)
        return (
            (True, float(time), identity),
            tuple(float(time) if path == TIME else arranged(value, path, own) for path, value in told),
        )

    def _label(self, row: Json, path: KeyPath) -> str:
        if isinstance(row, dict):
            return label(lookup(self._info(row).document, path))
        _, identity, (value,), own = row
        require_dump(identity, str(self.place))
        return label(arranged(value, path, own))

    # ---- asking ------------------------------------------------------------------------------------

    @property
    def _table(self) -> Term:
        return reql.dumps(self.place.database)

    def _question(
        self,
        query: Query,
        asked: Asked,
        told: Callable[[Term], Term] | None = None,
        *,
        in_order: bool = True,
        count: bool = False,
    ) -> Term:
        """For the rows that the server cannot judge; then, after a null, for the others: what is ``told`` of each of
        these, or how many."""
        database = self.place.database
        others = asked.of_apart(reql.apart(database))
        if asked.timeless:
            return others
        if asked.fields:
            others = others.union(asked.of_unsure(reql.not_held(database)), interleave=False)
        by_id = query.limit is not None
        in_order = in_order and not count
        timed = reql.timed(database, asked.low, asked.high, in_order=in_order, by_id=by_id, signature=asked.signature)
        timed = asked.of_timed(timed)
        timed = timed if told is None else timed.map(told)
        timed = timed if query.limit is None or asked.residual else timed.limit(query.limit)
        return others.union([None], [timed.count()] if count else timed, interleave=False)

    def _held(self, question: Term, each: float | None = None) -> Iterator[Json]:
        held = self._reading(lambda: self._connections.held(question, each))
        return iter(()) if held is None else held.rows()

    def _rows(self, question: Term) -> Iterator[Json]:
        return self._reading(lambda: self._connections.all(question)) or iter(())

    def _reading(self, work: Callable[[], T]) -> T | None:
        """What work gives; None when there is no index yet. Raises IndexFailure."""
        try:
            return work()
        except Refused:
            if not is_made(self._connections):
                return None
        wait_for_time(self._connections)  # perhaps another one is just making it
        return work()


def _names(query: Query) -> frozenset[str]:
    """The names by which dumps are looked up, each that is meant having one of them; none: they are found by time."""
    named = [each.prefixes for each in query.constraints if isinstance(each, Named)]
    fewest = min(named, key=len, default=frozenset[str]())
    usable = frozenset(name for name in fewest if is_identity(name.ljust(32, "0")))
    by_name = len(fewest) <= _MOST_NAMES and all(len(name) >= _SHORTEST for name in usable)
    return usable if by_name else frozenset()


def _key(keyed: _Keyed[T]) -> tuple[bool, float, str]:
    return keyed[0]


def _merged(apart: Sequence[_Keyed[T]], timed: Iterator[_Keyed[T]]) -> Iterator[_Keyed[T]]:
    """Both in order. ``timed`` are by time, but those of one time in any order."""
    ordered = (each for _, same in groupby(timed, lambda each: each[0][:2]) for each in sorted(same, key=_key))
    seen = {key for (_, _, key), _ in apart}  # one that was changed while the answer was read is not given twice
    return heapq.merge(apart, (each for each in ordered if each[0][2] not in seen), key=_key)
