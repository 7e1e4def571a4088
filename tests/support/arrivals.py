"""Dumps that arrive at a Thoth, and what is there afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

from tests.support.elfwriter import illumos_core
from thoth.dumps.describe import fact_ranges
from thoth.dumps.identity import identify
from thoth.dumps.source import KnownRanges
from thoth.ingest.arrival import Arrival, Receipt
from thoth.ingest.receive import Reopened, receive
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity, text
from thoth.patience import Patience, Tries

NOW = 1_700_000_000.5
CORE = illumos_core(pid=19972, cmd="utmpd", psargs="/usr/lib/utmpd", node="95SY9R1", size=1 << 16)
CUT = CORE[:40_000]  # behind headers and notes: the same identity
SHORTER = CORE[:30_000]


def arrival(data: bytes, filename: bytes = b"core.19972", **changes: Any) -> Arrival:
    known = KnownRanges(len(data), [(0, data)])
    settings: dict[str, Any] = {
        "identity": identify(known),
        "size": len(data),
        "mtime": 1366869350.0,
        "filename": filename,
        "ranges": tuple(fact_ranges(known)),
        "node": "headnode",
        "source": {"node": "headnode", "path": f"/cores/{text(filename)}"},
    }
    return Arrival(**{**settings, **changes})


def take(
    thoth: Thoth,
    data: bytes,
    filename: bytes = b"core.19972",
    *,
    rules: Callable[[], bool] | None = None,
    **changes: Any,
) -> Receipt:
    stream = Reopened(lambda: in_blocks(data))
    return receive(thoth, arrival(data, filename, **changes), stream, now=NOW, tries=at_once, rules=rules)


def at_once() -> Tries:
    """Five tries without a pause."""
    return Tries(Patience(), lambda seconds: None, lambda: 0.0, lambda: 0.5)


def in_blocks(data: bytes, size: int = 7001) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def objects(thoth: Thoth) -> dict[str, bytes]:
    """Everything that the dump's directories hold, by name."""
    home = f"/{thoth.user}/stor/thoth"
    names = [
        f"{home}/{d.name}/{e.name}" for d in thoth.store.list(home) for e in thoth.store.list(f"{home}/{d.name}")
    ]
    return {name: thoth.store.get(name)[0] for name in names}


def whole(thoth: Thoth, identity: Identity) -> DumpInfo:
    """The dump's document, once object, info.json and index are sure to agree and nothing else is there."""
    stored = objects(thoth)
    found = thoth.stored_info(identity)
    assert found is not None
    document = found[0].document
    directory = f"/{thoth.user}/stor/thoth/{identity}"
    assert sorted(stored) == sorted([f"{directory}/info.json", document["dump"]])
    assert hashlib.sha256(stored[document["dump"]]).hexdigest() == document["sha256"]
    assert len(stored[document["dump"]]) == document["size"]
    assert thoth.index.get(identity) == found[0]
    return found[0]
