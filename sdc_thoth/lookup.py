"""Whether a dump has to be sent: by the index, by the store, and by the limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sdc_thoth.errors import NodeError
from sdc_thoth.identification import Identified
from sdc_thoth.inventory import Node
from sdc_thoth.ledger import SEEN_BEFORE
from sdc_thoth.listing import Found
from sdc_thoth.task import Task
from sdc_thoth.transfer import Intake, failed
from thoth import (
    Identity,
    IndexFailure,
    Known,
    Outcome,
    Result,
    StoreUnavailable,
    ThothError,
    is_wanted,
    other_dump,
    with_size,
)


@dataclass(frozen=True, slots=True)
class Named:
    """A dump with its identity. ``dump``: what was read of it in this pass, if anything was."""

    found: Found
    identity: Identity
    dump: Identified | None = None
    done: bool = False  # the journal knows that it is in Thoth, with all that is noted on it


class Lookup:
    """Looks one node's dumps up."""

    def __init__(self, node: Node, task: Task, intake: Intake) -> None:
        self._node = node
        self._task = task
        self._intake = intake

    def of(self, named: Sequence[Named]) -> Iterator[Outcome | Named]:
        """The outcome of each dump that need not be sent, or may not, or the dump itself when it has to be.

        Raises StoreUnavailable and NodeError.
        """
        try:
            known = self._task.thoth.index.known(each.identity for each in named)
        except IndexFailure as error:
            if self._task.dry_run:
                for each in named:
                    yield self._outcome(each, Result.FAILED, stage="look up", reason=str(error))
                return
            # The store tells too, dump by dump, what is there: none is lost because the index is down.
            known = {}
            self._intake.in_index.update(each.identity for each in named)  # for all we know
        for each in named:
            yield self._one(each, known)

    def _one(self, each: Named, known: Mapping[Identity, Known]) -> Outcome | Named:
        try:
            return self._without_transfer(each, known) or each
        except (StoreUnavailable, NodeError):
            raise
        except ThothError as error:  # its document is damaged
            return failed(self._node, each.found, error, "look up", each.identity)

    def _without_transfer(self, each: Named, known: Mapping[Identity, Known]) -> Outcome | None:
        there = known.get(each.identity)
        if there is not None and not _may_be_better(each.found.size, there):
            outcome = self._of_present(each, there)
            if outcome is not None:
                return outcome
        if there is not None:
            self._intake.in_index.add(each.identity)
        limit = self._task.limits.max_size
        if limit is not None and each.found.size > limit:
            reason = f"larger than max_size, {limit} bytes"
            return self._outcome(each, Result.SKIPPED, stage="look up", reason=reason, detail={"limit": "max_size"})
        return self._of_plan(each) if self._task.dry_run else None

    def _of_present(self, each: Named, there: Known) -> Outcome | None:
        """The outcome of a dump that the index knows; None when the store, which is the truth, has it no more."""
        reason = None if there.purged else self._why_other(each, there)
        if reason is not None:
            return self._outcome(each, Result.CONFLICT, stage="look up", reason=reason)
        if each.done:
            return self._outcome(each, Result.PRESENT, detail=SEEN_BEFORE)
        if self._task.dry_run:
            return None if self._why_sent(each) else self._outcome(each, Result.PRESENT)
        return self._intake.annotate(each.found, each.identity)

    def _why_other(self, each: Named, there: Known) -> str | None:
        """Why a dump is another one than that of its identity which is there; None: as far as is known it is not."""
        if there.size is None and not each.done:  # the original's documents have none
            stored = self._task.thoth.stored_info(each.identity)
            if stored is None or stored[0].document.get("purged"):
                return None
            there = replace(Known.of(stored[0]), size=with_size(self._task.thoth, stored[0]).size)
        is_shorter = there.size is not None and each.found.size < there.size
        whole = self._intake.is_whole(each.dump) if each.dump is not None and is_shorter else None
        return other_dump(there, each.found.size, whole=whole)

    def _of_plan(self, each: Named) -> Outcome:
        # An index that has lost a dump is healed by the real run, which sends nothing then.
        why = self._why_sent(each)
        if why and not self._task.space.hold(each.found.size):
            return self.no_space(each.found, each.identity)
        return self._outcome(each, Result.PLANNED if why else Result.PRESENT, reason=why)

    def _why_sent(self, each: Named) -> str | None:
        """Why a dump has to be sent, by the store; None when that has it."""
        stored = self._task.thoth.stored_info(each.identity)
        if stored is None:
            return "new"
        wanted = is_wanted(self._task.thoth, stored[0], each.found.size)
        return "what is stored was cut short, or is lost" if wanted else None

    def no_space(self, found: Found, identity: Identity) -> Outcome:
        """The outcome of a dump that would leave too little free on the store's disk."""
        reason = f"would leave less than min_free, {self._task.limits.min_free} bytes, on the store's disk"
        detail = {"limit": "min_free"}
        named = Named(found, identity)
        return self._outcome(named, Result.SKIPPED, stage="look up", reason=reason, detail=detail)

    def _outcome(self, each: Named, result: Result, **more: Any) -> Outcome:
        return Outcome(result, self._node.name, each.found.path, size=each.found.size, identity=each.identity, **more)


def _may_be_better(size: int, there: Known) -> bool:
    """Whether a dump of this size may have more than the one that is there, by the index."""
    return not there.purged and there.complete is False and there.size is not None and size > there.size
