"""What the tests of purging have in common: dumps of some age, and looks at what is left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.arrivals import NOW, objects, take
from tests.support.elfwriter import illumos_core
from thoth.edit import revise
from thoth.errors import ThothError
from thoth.library import Thoth
from thoth.model import Identity
from thoth.purge import Candidate, Reason, Rules, candidates

DAY = 86400
OLD = NOW - 100 * DAY
ALL = Rules(before=NOW - 90 * DAY)


def put(thoth: Thoth, pid: int = 1, mtime: float = OLD, size: int = 16384, **changes: Any) -> Identity:
    """A core of that time, with these keys of its document changed."""
    info = take(thoth, illumos_core(pid=pid, size=size), b"core", mtime=mtime).info
    if changes:
        revise(thoth, info.id, lambda stored: stored.changed(**changes))
    return info.id


def listed(thoth: Thoth, rules: Rules) -> list[Candidate]:
    """Which dumps the rules ask for, when none of them fails."""

    def failed(identity: Identity, error: ThothError) -> None:
        raise error

    return list(candidates(thoth, rules, failed))


def verdicts(thoth: Thoth, rules: Rules) -> dict[Identity, Reason | None]:
    return {each.info.id: each.kept for each in listed(thoth, rules)}


def document(thoth: Thoth, identity: Identity) -> dict[str, Any]:
    """The dump's document, on which store and index agree."""
    found = thoth.stored_info(identity)
    assert found is not None
    assert thoth.index.get(identity) == found[0]
    return dict(found[0].document)


@contextmanager
def unheard_by_the_index(thoth: Thoth, identity: Identity) -> Iterator[None]:
    """What is done in here the index misses."""
    old = thoth.index.get(identity)
    assert old is not None
    yield
    thoth.index.delete(identity)
    thoth.index.put(old)


def kept_files(thoth: Thoth) -> list[str]:
    return [name.rpartition("/")[2] for name in objects(thoth)]
