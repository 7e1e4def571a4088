"""What the journal knows of one node's dumps, and what is to be noted of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sdc_thoth.halt import Halt
from sdc_thoth.journal import Entry, Journal
from sdc_thoth.listing import Found, Signature
from sdc_thoth.notes import Begun, Failing
from sdc_thoth.protocol import UNIT
from thoth import Identity, Outcome, Prefix, Result, Thoth, give_up

SEEN_BEFORE = {"seen_before": True}  # the detail of an outcome that the journal knew
LEFT = {"left": True}  # of one that a pass which was told to end has left to the next
BLAMELESS = {"blameless": True}  # of a node that was not tried, or where the store failed: nothing is known of it
WAITING = {"waiting": True}  # of one that is still being written, and comes another time
RULES_PENDING = {"rules_pending": True}  # of one that is in Thoth and whose rules have not all been run
_COMPRESSED: Final = re.compile("not a dump: a file compressed by ([a-z0-9]+)")


class Ledger:
    """Notes go to the journal when ``write`` is called, all of them at once."""

    def __init__(self, node: str, journal: Journal, halt: Halt, clock: Callable[[], float], *, dry_run: bool) -> None:
        self._node = node
        self._journal = journal
        self._halt = halt
        self._clock = clock
        self._dry_run = dry_run
        self._noted: list[Entry] = []
        self._failed: list[Failing] = []
        self._failing: dict[bytes, Failing] = {}  # of what waits, by the journal
        self._begun = dict(journal.begun(node))
        self._still: set[bytes] = set()  # of these, what lies there as it was
        self._compressed: Counter[str] = Counter()  # files that are no dumps because of that, by what does it

    def look_up(self, batch: Sequence[Found]) -> Mapping[bytes, Entry]:
        """What is known of these files, as they are now."""
        signatures = [(found.path, found.signature.raw.decode("ascii")) for found in batch]
        self._failing.update(self._journal.failing(self._node, signatures))
        return self._journal.seen(self._node, signatures)

    def failing(self, found: Found) -> Failing | None:
        """What is known of its failures."""
        return self._failing.get(found.path)

    def take(self, found: Found, outcome: Outcome) -> None:
        """Note what became of a dump, if that is news that will still be true in the next pass."""
        before = self._failing.pop(found.path, None)
        if outcome.result is Result.SKIPPED and (compressed := _COMPRESSED.match(outcome.reason or "")):
            self._compressed[compressed[1]] += 1
        if outcome.detail is SEEN_BEFORE:
            return
        stored = outcome.result in (Result.PRESENT, Result.STORED, Result.REPLACED)
        no_dump = outcome.result is Result.SKIPPED and (outcome.reason or "").startswith("not a dump")
        # What a limit keeps away is looked up again each time, but its identity need not be asked for again.
        named = "limit" in outcome.detail and outcome.identity is not None
        if stored or no_dump or named:
            reason = outcome.reason if no_dump else None
            # The next pass looks at the document, which knows whether they have been by then.
            done = stored and "rules_pending" not in outcome.detail
            self._noted.append(Entry(found.path, _signature(found), outcome.identity, done=done, reason=reason))
        elif not outcome.result.good and self._halt.reason is None:
            self.fail(found, outcome.reason or outcome.result.value, before)

    @property
    def remark(self) -> str | None:
        """For people: how many files are no dumps since they are compressed, and what to do; None: none is."""
        if not self._compressed:
            return None
        count = self._compressed.total()
        files = "1 file is" if count == 1 else f"{count} files are"
        return (
            f"{files} compressed by {', '.join(sorted(self._compressed))} and not taken; have none compressed:"
            " for systemd-coredump set Compress=no in coredump.conf"
        )

    def fail(self, found: Found, reason: str, before: Failing | None) -> None:
        """Note that a dump could not be had."""
        self._failed.append(Failing.of(found.path, _signature(found), reason, before, self._clock()))

    def write(self) -> None:
        """Into the journal with it."""
        noted, failed = self._noted, self._failed
        self._noted, self._failed = [], []
        if not self._dry_run:
            if noted:
                self._journal.record(self._node, noted)
            if failed:
                self._journal.record_failing(self._node, failed)

    def keep_failing(self, still_there: Callable[[bytes], bool]) -> None:
        """Forget the failures of files that are no more."""
        if not self._dry_run and self._halt.reason is None:
            self._journal.keep_failing(self._node, still_there)

    # ---- dumps on their way ----------------------------------------------------------------------------

    def saw(self, found: Found) -> None:
        """A file lies there."""
        begun = self._begun.get(found.path)
        if begun is not None and begun.signature == _signature(found):
            self._still.add(found.path)

    def begun(self, found: Found) -> Prefix | None:
        """What came before of this very file."""
        begun = self._begun.get(found.path)
        if begun is None or begun.signature != _signature(found) or begun.length % UNIT:
            return None
        return Prefix(begun.length, begun.sha256)

    def came(self, found: Found, identity: Identity, prefix: Prefix) -> None:
        """Note at once how much of a dump has come: whoever kills us does not say so before."""
        begun = Begun(found.path, _signature(found), identity, prefix.length, prefix.sha256)
        self._journal.record_begun(self._node, begun)

    def give_up(self, thoth: Thoth, is_looked_at: Callable[[bytes], bool]) -> None:
        """Throw away what was begun of files that are no more, or are others now. Raises StoreError.

        ``is_looked_at`` says of a path whether it is known what lies there now: a pass may search few places.
        """
        if self._dry_run or self._halt.reason is not None:
            return
        for path, begun in self._begun.items():
            if path not in self._still and is_looked_at(path):
                size = Signature.parse(begun.signature.encode()).size
                give_up(thoth, Identity(begun.identity), path.rpartition(b"/")[2], size)
                self._journal.end_begun(self._node, path)


def _signature(found: Found) -> str:
    return found.signature.raw.decode("ascii")
