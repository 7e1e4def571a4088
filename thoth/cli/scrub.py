"""``thoth scrub``: what is stored held against what is recorded of it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from thoth.cli.maintain import counted_dumps, in_store
from thoth.cli.options import add_places, configured, opened, word
from thoth.cli.specification import SPECIFICATION
from thoth.render import json_text, size_text

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterable, Iterator, Sequence

    from thoth.cli.console import Console
    from thoth.library import Thoth
    from thoth.model import Identity, Json
    from thoth.scrub.findings import Clock, Finding, Scrubbed

_WORKERS: Final = 4  # dumps that are digested at the same time, on as many processors; a disk gives no more
_PROBLEM: Final = "problem"
_TOLD: Final = {
    (_PROBLEM, True): "repaired",
    ("unrecorded", False): "unrecorded",
    ("unrecorded", True): "recorded",
    ("unfinished", False): "unfinished",
    ("unfinished", True): "unfinished removed",
}

_EPILOG: Final = f"""\
{SPECIFICATION}
Without a DUMP or SPEC all dumps are checked, and what else there is in store and index.

what is found, as 'IDENTITY KIND: what':
  corrupt      an object or document is not what is recorded, or cannot be read
  lost         a document speaks of an object that is not there
  orphan       an object without a document
  unpurged     a dump was purged and its object is still there
  stray        an object or directory that no document speaks of
  unindexed    the index lacks the document, or has another version of it
  ghost        the index has a dump of which the store has nothing
  unrecorded   a document without size or SHA-256, as the original thoth wrote them; no problem
  unfinished   what an upload has left that ended early, which the next one may go on with; no problem
What is younger than an hour and has no document yet is taken for an upload on its way.

--repair mends what costs no byte: it tells the index what the store has, removes its ghosts,
records sizes and digests, gives an orphan its document when its identity is right, removes a stray
that is a copy of the dump beside it or of its first bytes, directories that are empty and old, and
what is left of an upload that ended more than an hour ago.
It never removes the only copy of a dump, and says of the rest what to do.
A dump that is lost, or of which only a part is left, is stored again by the next upload of it; one
that is corrupt by 'thoth upload --verify', if the file is what the document says.

examples:
  thoth scrub
  thoth scrub --quick                     sizes only; reads no dump
  thoth scrub --repair mtime=7d
  thoth scrub --json | jq -r 'select(.kind == "corrupt").id'

--json: JSON lines, {{"id", "name", "kind", "what", "repaired"}}; id is null for what belongs to no
dump, name is that of the object or directory in the store, null when it is about none.

exit status: 0 nothing is wrong any more; 1 problems remain; 2 no such dump
"""


def declare_scrub(parser: ArgumentParser) -> None:
    parser.description = (
        "Check what is stored: each dump against the size and SHA-256 that are recorded of it and\n"
        "against its identity, each document, the index, and what lies beside the dumps. Prints a line\n"
        "for each thing that is wrong. Writes nothing, unless --repair is given; others may work meanwhile."
    )
    parser.epilog = _EPILOG
    parser.add_argument("words", nargs="*", type=word, metavar="DUMP|SPEC", help="only these dumps")
    parser.add_argument("--quick", action="store_true", help="check the sizes of the objects, not their content")
    parser.add_argument("--repair", action="store_true", help="mend what can be mended without losing a byte")
    parser.add_argument("--json", action="store_true", help="JSON lines")
    add_places(parser)
    parser.set_defaults(run=scrub)


def scrub(arguments: Namespace, console: Console) -> int:
    """Check what is stored."""
    import time

    from thoth.library import require_store
    from thoth.maintain import stored_identities
    from thoth.scrub.findings import Clock

    config = configured(arguments)
    require_store(config)
    clock = Clock(time.time, time.monotonic, time.sleep)
    # What cannot write can do no harm: only a repair gets a store and an index that take changes.
    with opened(config, console, dry_run=not arguments.repair) as thoth:
        tally = _Tally(console, as_json=arguments.json)
        identities = in_store(thoth, arguments.words, console) if arguments.words else stored_identities(thoth)
        try:
            for finding in _findings(thoth, identities, clock, arguments, tally):
                tally.count(_mended(thoth, finding, clock) if arguments.repair else finding)
        finally:
            tally.end()
    tally.sum_up(repair=arguments.repair)
    return 1 if tally.remaining else 0


def _findings(
    thoth: Thoth, identities: Sequence[Identity], clock: Clock, arguments: Namespace, tally: _Tally
) -> Iterator[Finding]:
    import os
    from contextlib import closing

    from thoth.scrub.check import ghosts, scrub, strays, unfinished

    workers = min(_WORKERS, os.cpu_count() or 1)
    with closing(scrub(thoth, identities, clock, quick=arguments.quick, workers=workers)) as all_of_them:
        for each in tally.progress(all_of_them, len(identities)):
            yield from each.findings
    if not arguments.words:
        yield from strays(thoth)
        yield from unfinished(thoth)
        yield from ghosts(thoth, identities, clock)


def _mended(thoth: Thoth, finding: Finding, clock: Clock) -> Finding:
    from thoth.scrub.mend import mend

    return mend(thoth, finding, clock)


class _Tally:
    """Tells of findings as they come, or once no bar is in their way, and counts them."""

    def __init__(self, console: Console, *, as_json: bool) -> None:
        self._console = console
        self._as_json = as_json
        self._held: list[str] | None = None
        self._dumps = self._size = 0
        self._mendable = False  # whether there is something that a repair may mend
        self._found: Counter[tuple[str, bool]] = Counter()  # by "problem" or what else it is, and whether repaired

    @property
    def remaining(self) -> int:
        """How many problems there still are."""
        return self._found[_PROBLEM, False]

    def progress(self, checked: Iterable[Scrubbed], total: int) -> Iterator[Scrubbed]:
        """The same dumps, with a bar on a terminal."""
        self._held = [] if self._console.shows_bars else None
        for each in self._console.counting("scrubbing", checked, total):
            self._dumps += 1
            self._size += each.size
            yield each
        self.end()

    def count(self, finding: Finding) -> None:
        from thoth.scrub.findings import MENDABLE, NO_PROBLEM

        self._mendable |= finding.kind in MENDABLE and finding.identity is not None
        self._found[finding.kind.value if finding.kind in NO_PROBLEM else _PROBLEM, finding.repaired] += 1
        line = json_text(_line(finding)) if self._as_json else f"{finding.place} {finding.kind.value}: {finding.what}"
        if self._held is None:
            self._console.result(line)
        else:
            self._held.append(line)

    def end(self) -> None:
        """To be called when there is no bar any more, or never will be."""
        held, self._held = self._held, None
        for line in held or ():
            self._console.result(line)

    def sum_up(self, *, repair: bool) -> None:
        problems = self._found[_PROBLEM, False] + self._found[_PROBLEM, True]
        parts = [f"{problems} problem{'' if problems == 1 else 's'}"]
        parts += [f"{self._found[key]} {said}" for key, said in _TOLD.items() if self._found[key]]
        self._console.say(f"scrubbed {counted_dumps(self._dumps)}, {size_text(self._size)}: {', '.join(parts)}")
        if self._mendable and not repair:
            self._console.say("'thoth scrub --repair' mends what can be mended without losing a byte")


def _line(finding: Finding) -> dict[str, Json]:
    return {
        "id": finding.identity,
        "name": finding.name,
        "kind": finding.kind.value,
        "what": finding.what,
        "repaired": finding.repaired,
    }
