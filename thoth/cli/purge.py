"""``thoth purge``: dumps are thrown away, what is known of them stays."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from thoth.cli.options import add_places, configured, opened, size_bytes, word
from thoth.cli.specification import SPECIFICATION, Word, local_identity, specified, tell_nothing, the_one
from thoth.errors import IndexFailure, StoreUnavailable, ThothError, UsageError
from thoth.render import age_text, cell, escaped, json_text, node_or_cmd, size_text, time_text

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator, Sequence

    from thoth.analysis.cache import Cache
    from thoth.cli.console import Console
    from thoth.library import Thoth
    from thoth.model import Identity, Json
    from thoth.purge import Candidate, Reason, Rules
    from thoth.query import Constraint, Query

_HEADER: Final = f"{'NAME':<16} {'TYPE':<5} {'SIZE':>9} {'AGE':>8} NODE/CMD"


_EPILOG: Final = f"""\
These always stay: a dump with a ticket, one whose time is unknown (or before the year 2000, as a clock has
it that nobody has set), and what a --keep names. With --delete each dump is looked at once more right
before it goes: a ticket that was set meanwhile saves it. What was begun and broken off, the same command
completes. A dump that was purged is not stored again, neither by `thoth upload` nor by the collector.
Nothing goes when a property is named that no dump has, also below properties: a --keep would keep nothing.

Ages are by this machine's clock, so it has to be right. When ages matter, purge refuses if a dump was
uploaded more than a day in the future, or if nothing was uploaded within the AGE: a clock that has jumped
ahead makes every dump look old. --trust-clock overrules that, for a store that really is so quiet.

{SPECIFICATION}
examples:
  thoth purge --older 90d                          what would go
  thoth purge --older 90d --delete
  thoth purge --larger 10G --older 2w --keep type=crash --keep 'node=db*' --delete
  thoth purge cmd=bc limit=100 --delete
  thoth purge 3e166b93 --delete
  thoth ls purged=* purged                         what was purged, and when
  thoth ls purged=undefined                        what is still there

--json: JSON lines: {{"id", "result", "size", "time", "type", "node", "cmd"}}; result is planned or purged; for
those that are kept or failed {{"id", "result", "reason"}}.
exit status: 0 done; 1 one of them failed, the others were purged, or purge refused to begin; 2 no such dump
"""


def declare_purge(parser: ArgumentParser) -> None:
    parser.usage = "thoth purge [DUMP|SPEC ...] [--older AGE] [--larger SIZE] [--keep CONSTRAINT] [--delete] ..."
    parser.description = (
        "Throw dumps away and keep what is known of them: `thoth ls` and `thoth info` still show it, with the time\n"
        "in seconds since 1970 as `purged`. Lists what would go and writes nothing, unless --delete is given.\n"
        "Name dumps, a specification, --older or --larger; a dump goes when all of them ask for it."
    )
    parser.epilog = _EPILOG
    parser.add_argument(
        "words", nargs="*", type=word, metavar="DUMP|SPEC", help="identity, its beginning, constraint"
    )
    parser.add_argument("--older", metavar="AGE", help="whose time is longer ago: 90d, 6month, 2y")
    parser.add_argument("--larger", metavar="SIZE", help="of more bytes: 500M, 10G, 1T; a unit is 1,024 of the last")
    parser.add_argument(
        "--keep", metavar="CONSTRAINT", action="append", default=[], help="leave these; may be repeated"
    )
    parser.add_argument("--delete", action="store_true", help="do it; without this nothing is written")
    parser.add_argument(
        "--trust-clock", action="store_true", help="this machine's clock is right, whatever dumps tell"
    )
    parser.add_argument("--json", action="store_true", help="JSON lines instead of a table")
    add_places(parser)
    parser.set_defaults(run=purge)


def purge(arguments: Namespace, console: Console) -> int:
    """Throw dumps away, or show which would go."""
    import time
    from pathlib import Path

    from thoth.analysis.cache import Cache
    from thoth.library import require_store
    from thoth.purge import clock_doubt

    if not arguments.words and arguments.older is None and arguments.larger is None:
        raise UsageError("purge: say which: name dumps, a specification, --older or --larger")
    now = time.time()
    config = configured(arguments)
    require_store(config)
    with opened(config, console, dry_run=not arguments.delete) as thoth:
        rules, limit = _rules(thoth, arguments, console, now)
        doubt = None if arguments.trust_clock else clock_doubt(thoth, rules, now)
        if doubt:
            raise UsageError(f"purge: {doubt}; set the clock, or say --trust-clock when it is right")
        report = _Report(console, now, as_json=arguments.json)
        run = _Run(thoth, rules, limit, report, Cache(Path(config.cache)))
        run.delete() if arguments.delete else run.plan()
        if report.empty:
            tell_nothing(thoth, console, None)
    return 1 if run.report.failed else 0


# ---- what is asked for ----------------------------------------------------------------------------


def _rules(thoth: Thoth, arguments: Namespace, console: Console, now: float) -> tuple[Rules, int | None]:
    """The rules, and how many dumps may go at most. Raises UsageError, NoSuchDump and AmbiguousName."""
    from thoth.purge import Rules
    from thoth.query import Query, age_seconds
    from thoth.spelling import names, unknown

    try:
        before = None if arguments.older is None else now - age_seconds(arguments.older)
    except UsageError as error:
        raise UsageError(f"--older: {error}") from None
    try:
        over = None if arguments.larger is None else size_bytes(arguments.larger)
    except UsageError as error:
        raise UsageError(f"--larger: {error}") from None
    keep = tuple(_keep(each, now) for each in arguments.keep)
    query = _query(thoth, arguments.words, console)
    for line in unknown(thoth.index, names(Query((*query.constraints, *keep))), inner=True):
        raise UsageError(f"purge: {line}")
    return Rules(query.constraints, before, over, keep), query.limit


def _keep(given: str, now: float) -> Constraint:
    from thoth.query import parse

    try:
        query, others = parse([given], now=now)
    except UsageError as error:
        raise UsageError(f"--keep: {error}") from None
    if others or not query.constraints:
        raise UsageError(f"--keep: '{escaped(given)}' is not a constraint, such as type=crash or 'node=db*'")
    return query.constraints[0]


def _query(thoth: Thoth, words: Sequence[str], console: Console) -> Query:
    """What the words ask for: all dumps when there are none."""
    from thoth.purge import purged_at
    from thoth.query import Named, Query

    meant = [Word(each, local_identity(each)) for each in words]
    if meant and not any(each.is_constraint for each in meant):
        found = [the_one(thoth, each) for each in meant]
        for info in found:
            if info.document.get("purged"):
                console.say(f"{info.id} was purged on {time_text(purged_at(info))}")
        return Query((Named(frozenset(info.id for info in found)),))
    return specified(meant, console) if meant else Query()


# ---- what is done ---------------------------------------------------------------------------------


class _Run:
    """One purge, or the plan of one."""

    def __init__(self, thoth: Thoth, rules: Rules, limit: int | None, report: _Report, cache: Cache) -> None:
        self.report = report
        self._cache = cache
        self._thoth = thoth
        self._rules = rules
        self._limit = limit

    def plan(self) -> None:
        """Show what would go."""
        for each in self._going():
            self.report.goes(each, "planned")
        self.report.sum_up("would purge", "; --delete does it")

    def delete(self) -> None:
        """Let it go. What refuses everything ends the run, once it is told what was done before."""
        identities = [each.info.id for each in self._going()]
        try:
            for identity in identities:
                self._purge(identity)
        finally:
            self.report.sum_up("purged", "")

    def _going(self) -> Iterator[Candidate]:
        from thoth.purge import candidates

        left = self._limit
        for each in candidates(self._thoth, self._rules, self.report.fails):
            if each.kept:
                self.report.stays(each.info.id, each.kept)
                continue
            yield each
            left = None if left is None else left - 1
            if left == 0:
                return

    def _purge(self, identity: Identity) -> None:
        from thoth.purge import purge_dump

        try:
            done = purge_dump(self._thoth, identity, self._rules, now=self.report.now)
            if done is None or not done.kept:
                self._cache.forget(identity)
        except (StoreUnavailable, IndexFailure):
            raise
        except ThothError as error:
            self.report.fails(identity, error)
            return
        if done is None:
            return  # purged or changed by others since it was listed
        if done.kept:
            self.report.stays(identity, done.kept)
        else:
            self.report.goes(done, "purged")


class _Report:
    """Tells of each dump as it comes, and what it amounts to."""

    def __init__(self, console: Console, now: float, *, as_json: bool) -> None:
        self.failed = 0
        self._console = console
        self.now = now
        self._as_json = as_json
        self._gone = 0
        self._bytes = 0
        self._kept: Counter[Reason] = Counter()

    @property
    def empty(self) -> bool:
        """Whether there was no dump to tell of."""
        return not (self._gone or self._kept or self.failed)

    def goes(self, dump: Candidate, result: str) -> None:
        if self._as_json:
            described = {key: dump.info.document.get(key) for key in ("time", "type", "node", "cmd")}
            self._line(dump.info.id, result, size=dump.size, **described)
        else:
            if not self._gone:
                self._console.result(_HEADER)
            self._console.result(self._row(dump))
        if result == "purged":
            self._console.flush()  # it cannot be listed again
        self._gone += 1
        self._bytes += dump.size

    def stays(self, identity: Identity, reason: Reason) -> None:
        self._kept[reason] += 1
        if self._as_json:
            self._line(identity, "kept", reason=reason.value)

    def fails(self, identity: Identity, error: ThothError) -> None:
        self.failed += 1
        self._console.failure(error)
        if self._as_json:
            self._line(identity, "failed", reason=str(error))

    def sum_up(self, done: str, more: str) -> None:
        """The totals, on stderr."""
        count = f"{self._gone} dump{'' if self._gone == 1 else 's'}"
        self._console.say(f"{done} {count}, {size_text(self._bytes)}{more if self._gone else ''}")
        if self._kept:
            kept = sorted(self._kept.items(), key=lambda item: item[0].name)
            self._console.say("kept " + ", ".join(f"{number} {reason.value}" for reason, number in kept))

    def _line(self, identity: Identity, result: str, **more: Json) -> None:
        self._console.result(json_text({"id": identity, "result": result, **more}))

    def _row(self, dump: Candidate) -> str:
        time = dump.info.time
        age = "-" if time is None else age_text(self.now - time)
        kind, node, cmd = map(dump.info.document.get, ("type", "node", "cmd"))
        who = node_or_cmd(kind, node, cmd)
        return f"{dump.info.id[:16]} {cell(kind):<5} {size_text(dump.size):>9} {age:>8} {cell(who)}"
