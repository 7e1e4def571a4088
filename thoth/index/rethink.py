"""The shared index: documents in RethinkDB, in the tables of the original's programs and beside them."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Final, TypeVar

from thoth.errors import CannotWrite
from thoth.index import reql
from thoth.index.base import TIME, Known, rarest_first, selected
from thoth.index.reql import Asked, Term
from thoth.index.rethink_connections import Connections, Held
from thoth.index.rethink_place import RethinkPlace
from thoth.index.rethink_rows import FIELD, Row, arranged, info_of, row_of
from thoth.index.rethink_tables import is_made, make, repair_hint
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
            if is_made(self._connections):
                raise
        make(self._connections)
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
        return [Identity(each) for each in self._rows(asked)]

    # ---- by query ----------------------------------------------------------------------------------

    def find(self, query: Query) -> Iterator[DumpInfo]:
        for _, info in self._found(query):
            yield info

    def select(self, query: Query, paths: Sequence[KeyPath]) -> Iterator[tuple[Json, ...]]:
        asked = reql.asked(query.constraints)
        if asked.residual or _names(query) or any(path[0] == FIELD for path in paths):
            return (selected(info, paths) for _, info in self._found(query))
        return self._selected(query, asked, paths)

    def count(self, query: Query) -> int:
        asked = reql.asked(query.constraints)
        if asked.residual or _names(query):
            return sum(1 for _ in self._found(query))
        counted = len(self._reading(lambda: self._apart(query, asked)) or [])
        if not asked.timeless:
            rows = self._timed(asked, in_order=False)
            rows = rows if query.limit is None else rows.limit(query.limit)
            counted += self._reading(lambda: int(self._connections.long(rows.count()))) or 0
        return counted if query.limit is None else min(counted, query.limit)

    def report(self, query: Query, path: KeyPath) -> Mapping[str, int]:
        asked = reql.asked(query.constraints)
        if query.limit is not None or asked.residual or _names(query) or path[0] == FIELD:
            return rarest_first(Counter(label(lookup(info.document, path)) for _, info in self._found(query)))
        others = self._reading(lambda: self._apart(query, asked)) or []
        counts = Counter(label(lookup(info.document, path)) for _, info in others)
        if not asked.timeless:
            rows = self._timed(asked, in_order=False).map(reql.values([path]))
            counts += self._reading(lambda: self._connections.streamed(rows, _labels(path))) or Counter()
        return rarest_first(counts)

    def close(self) -> None:
        """Ends all connections, also those on which other threads are waiting."""
        self._connections.close()

    # ---- documents ---------------------------------------------------------------------------------

    def _found(self, query: Query) -> Iterator[_Keyed[DumpInfo]]:
        """The documents that match, in order."""
        names = _names(query)
        if names:
            yield from islice(self._reading(lambda: self._by_name(query, names)) or [], query.limit)
            return
        asked = reql.asked(query.constraints)
        others = self._reading(lambda: self._apart(query, asked)) or []
        timed = self._reading(lambda: self._judged(query, asked)) or iter(())
        yield from islice(_merged(others, timed), query.limit)

    def _judged(self, query: Query, asked: Asked) -> Iterator[_Keyed[DumpInfo]]:
        """The timed documents that match."""
        if asked.timeless:
            return iter(())
        rows = self._timed(asked, by_id=query.limit is not None)
        if not asked.residual:
            held = self._connections.held(rows if query.limit is None else rows.limit(query.limit))
            return (self._keyed(row) for row in held.rows())

        def judged(told: Iterator[Json]) -> list[_Keyed[DumpInfo]]:
            infos = (self._keyed(row) for row in told)
            meant = (each for each in infos if all(holds(left, each[1].document) for left in asked.residual))
            return list(islice(meant, query.limit))

        return iter(self._connections.streamed(rows, judged))

    def _apart(self, query: Query, asked: Asked) -> list[_Keyed[DumpInfo]]:
        """The documents that match and are not timed, in order."""
        rows = asked.of_apart(reql.apart(self.place.database))
        infos = (self._keyed(row) for row in self._connections.held(rows).rows())
        return sorted((each for each in infos if matches(query, each[1].document)), key=_key)

    def _by_name(self, query: Query, names: frozenset[str]) -> list[_Keyed[DumpInfo]]:
        """The documents that match, each of which has one of these names."""
        found = {}
        whole = sorted(name for name in names if is_identity(name))
        asked = [self._table.get_all(*whole[at : at + BATCH]) for at in range(0, len(whole), BATCH)]
        asked += [reql.begin_with(self.place.database, name) for name in sorted(names.difference(whole))]
        for each in asked:
            for row in self._connections.held(each).rows():
                info = self._info(row)
                if matches(query, info.document):
                    found[info.id] = (sort_key(info), info)
        return sorted(found.values(), key=_key)

    def _timed(self, asked: Asked, *, in_order: bool = True, by_id: bool = False) -> Term:
        rows = reql.timed(self.place.database, asked.low, asked.high, in_order=in_order, by_id=by_id)
        return asked.of_timed(rows)

    def _info(self, row: Json) -> DumpInfo:
        return info_of(row, str(self.place))

    def _keyed(self, row: Json) -> _Keyed[DumpInfo]:
        info = self._info(row)
        return sort_key(info), info

    # ---- values ------------------------------------------------------------------------------------

    def _selected(self, query: Query, asked: Asked, paths: Sequence[KeyPath]) -> Iterator[tuple[Json, ...]]:
        others = self._reading(lambda: self._apart(query, asked)) or []
        held = None if asked.timeless else self._reading(lambda: self._values(query, asked, paths))
        timed = iter(()) if held is None else (_keyed_values(row, paths) for row in held.rows())
        apart = [(key, selected(info, paths)) for key, info in others]
        yield from (row for _, row in islice(_merged(apart, timed), query.limit))

    def _values(self, query: Query, asked: Asked, paths: Sequence[KeyPath]) -> Held:
        rows = self._timed(asked, by_id=query.limit is not None).map(reql.values(paths))
        return self._connections.held(rows if query.limit is None else rows.limit(query.limit))

    # ---- asking ------------------------------------------------------------------------------------

    @property
    def _table(self) -> Term:
        return reql.dumps(self.place.database)

    def _rows(self, question: Term) -> Iterator[Json]:
        return self._reading(lambda: self._connections.all(question)) or iter(())

    def _reading(self, work: Callable[[], T]) -> T | None:
        """What work gives; None when there is no index yet. Raises IndexFailure."""
        try:
            return work()
        except Refused as error:
            if is_made(self._connections):
                raise repair_hint(self._connections, error) from error
            return None


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
    seen = {key for (_, _, key), _ in apart}  # one that was changed between the two questions is not given twice
    return heapq.merge(apart, (each for each in ordered if each[0][2] not in seen), key=_key)


def _keyed_values(row: Json, paths: Sequence[KeyPath]) -> _Keyed[tuple[Json, ...]]:
    time, identity, values, own = row
    told = zip(paths, values, strict=True)
    return (
        (True, float(time), identity),
        tuple(float(time) if path == TIME else arranged(value, path, own) for path, value in told),
    )


def _labels(path: KeyPath) -> Callable[[Iterator[Json]], Counter[str]]:
    """Counts rows of one value by its label."""
    return lambda rows: Counter(label(arranged(value, path, own)) for _, _, (value,), own in rows)
