"""A dump that is there is seen again: what is new of that is noted on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from thoth.edit import revise
from thoth.errors import IndexFailure
from thoth.ingest.arrival import Arrival, Receipt
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity, Json, Result
from thoth.store.names import info_name

_SOURCES_KEPT = 64  # places where one dump was seen; a core copied about without end must not grow its document


def settle(thoth: Thoth, identity: Identity) -> None:
    """Make durable what the store has of a dump, unless the index knows it, which hears of a dump after that.

    Who stored it may have been killed before. Raises StoreError.
    """
    try:
        if thoth.index.known([identity]):
            return
    except IndexFailure:
        pass  # then nobody knows
    thoth.store.settle(info_name(thoth.user, identity))


def annotate(thoth: Thoth, arrival: Arrival) -> Receipt:
    """Note on a dump that is there where else it was seen and the properties that it lacks; heal the index.

    What is set is never touched: ticket, properties, a dump that is seen again as it was. Raises NoSuchDump.
    """
    try:
        info = revise(thoth, arrival.identity, lambda stored: annotated(stored, arrival))
    except IndexFailure as error:
        found = thoth.stored_info(arrival.identity)
        if found is None:
            raise
        return Receipt(Result.STORED_UNINDEXED, found[0], reason=str(error))
    return Receipt(Result.PRESENT, info)


def annotated(stored: DumpInfo, arrival: Arrival) -> DumpInfo | None:
    changes: dict[str, Json] = {}
    sources = stored.document.get("sources")
    listed = sources if isinstance(sources, list) else []
    if arrival.source and not _listed(arrival.source, listed) and len(listed) < _SOURCES_KEPT:
        changes["sources"] = [*listed, dict(arrival.source)]
    lacking = {key: value for key, value in arrival.properties.items() if key not in stored.properties}
    if lacking:
        changes["properties"] = {**stored.properties, **lacking}
    return stored.changed(**changes) if changes else None


def _listed(source: Mapping[str, Json], listed: Iterable[Json]) -> bool:
    where = (source.get("node"), source.get("path"))
    return any(isinstance(each, dict) and (each.get("node"), each.get("path")) == where for each in listed)
