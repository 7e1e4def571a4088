"""The stacks of dumps that are stored, found again: a better one takes the place of the one that is noted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from thoth.analysis.changes import STACK_BY
from thoth.analysis.engines import Keys, Tools, find_stacks, worth
from thoth.config import ENGINES
from thoth.edit import revise
from thoth.errors import IndexFailure, NoSuchDump, StoreUnavailable, ThothError
from thoth.library import Thoth
from thoth.model import DumpInfo, Identity
from thoth.stacks import STACK_KEYS

_REPLACED: Final = frozenset({*STACK_KEYS, STACK_BY})


@dataclass(frozen=True, slots=True)
class Restacked:
    """What became of a dump's stacks; ``reason`` says why they are not what they could be."""

    identity: Identity
    result: Literal["better", "kept", "failed"]
    reason: str | None = None


def restack_each(
    thoth: Thoth, identities: Iterable[Identity], engines: Sequence[str], tools: Tools
) -> Iterator[Restacked]:
    """Do that to each dump; one that fails does not stop the others.

    An IndexFailure does, whatever is left. Raises StoreUnavailable, since no other dump would fare better.
    """
    for identity in identities:
        try:
            yield restack(thoth, identity, engines, tools)
        except StoreUnavailable:
            raise
        except ThothError as error:
            yield Restacked(identity, "failed", str(error).removeprefix(f"{identity}: "))
            if isinstance(error, IndexFailure):
                return


def restack(thoth: Thoth, identity: Identity, engines: Sequence[str], tools: Tools) -> Restacked:
    """Find the stacks of one dump again, and note them if they are better. Its object is read in parts.

    Raises NoSuchDump, StoreError, BadDocument and IndexFailure.
    """
    stored = thoth.stored_info(identity)
    if stored is None:
        raise NoSuchDump(f"no such dump: {identity}")
    info = stored[0]
    if (why := _left_alone(info)) is not None:
        return Restacked(identity, "kept", why)
    complaints: list[str] = []
    found = find_stacks(engines, thoth, info, tools, complaints.append)
    if not found or "stack_failed" in found:
        failed = found.get("stack_failed")
        reasons = [*complaints, *([str(failed)] if failed else [])]
        return Restacked(identity, "failed" if reasons else "kept", "; ".join(reasons) or None)
    replaced = _noted(thoth, info, found)
    return Restacked(identity, "better" if replaced else "kept", "; ".join(complaints) or None)


def _left_alone(info: DumpInfo) -> str | None:
    """Why a dump has no stacks to be found; None for one that may."""
    if info.document.get("type") != "core":
        return "is no core"
    if info.document.get("purged"):
        return "was purged"
    by = info.document.get(STACK_BY)
    return None if by is None or by in ENGINES else "has the stack that an analyzer found"


def _noted(thoth: Thoth, info: DumpInfo, found: Keys) -> bool:
    """Whether what was found has taken the place of what was there: of the same bytes, and worse."""
    replaced = False

    def change(now: DumpInfo) -> DumpInfo | None:
        nonlocal replaced
        same = now.sha256 == info.sha256 and _left_alone(now) is None
        replaced = same and worth(found) > worth(now.document)
        if not replaced:
            return None
        kept = {key: value for key, value in now.document.items() if key not in _REPLACED}
        return DumpInfo({**kept, **found, "revision": now.revision + 1})

    revise(thoth, info.id, change)
    return replaced
