"""``thoth autoanalyzers run`` and ``dryrun``: dumps are held against rules, and what became of each is told."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

from thoth.cli.options import configured, opened
from thoth.errors import IndexFailure, StoreUnavailable, ThothError
from thoth.render import escaped, json_text

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Generator, Iterable, Sequence

    from thoth.analysis.autoanalyze import Autoanalyzer
    from thoth.analysis.rules import RuleSet
    from thoth.analysis.verdicts import Verdict
    from thoth.cli.console import Console
    from thoth.library import Thoth
    from thoth.model import Identity, Json

    _Outcome = Iterable[Verdict] | ThothError


def run(arguments: Namespace, console: Console) -> int:
    """Hold dumps against the rules, several at a time."""
    import time
    from pathlib import Path

    from thoth.analysis.autoanalyze import Autoanalyzer
    from thoth.cli.analyze import workers
    from thoth.config import environment

    config, parallel = configured(arguments), workers(arguments.parallel)
    with opened(config, console) as thoth:
        rules, dumps, identities = _asked(thoth, arguments, console)
        autoanalyzer = Autoanalyzer(
            thoth,
            cache=Path(config.cache),
            environ=environment(),
            clock=time.time,
            say=console.complain,
            rules=rules,
        )
        report = _Report(arguments, console, rules, dumps, dry=False)
        return report.tell(identities, _held(autoanalyzer, identities, parallel))


def dryrun(arguments: Namespace, console: Console) -> int:
    """Tell what ``run`` would do."""
    with opened(configured(arguments), console, dry_run=True) as thoth:
        rules, dumps, identities = _asked(thoth, arguments, console)
        report = _Report(arguments, console, rules, dumps, dry=True)
        return report.tell(identities, _planned(thoth, rules, identities))


def verdict_text(verdict: Verdict, *, dry: bool = False) -> str:
    """A verdict in one line that can be shown: ``OS-2359: kept: ticket OS-2359: has OS-1``."""
    result = verdict.result.value
    if dry:
        result = {"set": "would set", "matched": "would run", "failed": "would fail"}.get(result, result)
    reason = f": {escaped(verdict.reason)}" if verdict.reason else ""
    return f"{verdict.rule}: {result}: {escaped(verdict.action)}{reason}"


# ---- holding --------------------------------------------------------------------------------------


def _asked(thoth: Thoth, arguments: Namespace, console: Console) -> tuple[RuleSet, int, list[Identity]]:
    """The rules, how many dumps are to be held against them, and which of those have to be looked at."""
    import time

    from thoth.analysis.autoanalyze import concerned, fault_lines
    from thoth.analysis.stored_rules import read_rules
    from thoth.cli.specification import dumps_or_query, tell_nothing

    rules = read_rules(thoth)
    for line in fault_lines(rules):
        console.complain(line)
    if arguments.rule:
        rules = rules.only(arguments.rule)
    meant = dumps_or_query(thoth, arguments.words, console)
    if isinstance(meant, list):  # named one by one, also those that the index does not know
        return rules, len(meant), meant
    count = thoth.index.count(meant)
    if not count:
        tell_nothing(thoth, console, None)
    return rules, count, concerned(thoth, meant, rules, time.time())


def _held(autoanalyzer: Autoanalyzer, identities: Iterable[Identity], parallel: int) -> Generator[_Outcome]:
    """What became of each dump, in their order. Raises StoreUnavailable and IndexFailure."""
    from thoth.analysis.parallel import in_order

    def outcome(identity: Identity) -> _Outcome:
        try:
            return autoanalyzer.run(identity)
        except (StoreUnavailable, IndexFailure):  # no other dump would fare better
            raise
        except ThothError as error:
            return error

    return in_order(outcome, identities, workers=parallel, stop=autoanalyzer.cancel)


def _planned(thoth: Thoth, rules: RuleSet, identities: Iterable[Identity]) -> Generator[_Outcome]:
    """What would become of each dump. Raises StoreUnavailable."""
    import time

    from thoth.analysis.verdicts import settled
    from thoth.errors import NoSuchDump

    for identity in identities:
        try:
            current = thoth.stored_info(identity)
        except StoreUnavailable:
            raise
        except ThothError as error:
            yield error
            continue
        if current is None:
            yield NoSuchDump(f"no such dump: {identity}")
        else:
            yield settled(rules.rules, current[0], {}, time.time())[1].values()


# ---- telling --------------------------------------------------------------------------------------


class _Report:
    """Tells what became of each dump, and what of all of them together at the end."""

    def __init__(self, arguments: Namespace, console: Console, rules: RuleSet, dumps: int, *, dry: bool) -> None:
        self._json: bool = arguments.json
        self._console = console
        self._rules = rules
        self._dumps = dumps
        self._dry = dry
        self._counts: Counter[str] = Counter()

    def tell(self, identities: Sequence[Identity], outcomes: Generator[_Outcome]) -> int:
        """Tell each outcome as it comes, and give the exit code."""
        try:
            with closing(outcomes), closing(self._counted(identities)) as counted:
                for identity, outcome in zip(counted, outcomes, strict=False):
                    self._tell(identity, outcome)
        finally:  # also when it is interrupted, or the store is gone: what is done is done
            self._sum_up()
        return 1 if self._rules.faults or self._counts["failed"] else 0

    def _counted(self, identities: Sequence[Identity]) -> Generator[Identity]:
        # A bar and lines of results on one terminal would write over each other.
        shown = sys.stdout is not None and sys.stdout.isatty()
        yield from (
            identities if shown or len(identities) == 1 else self._console.counting("holding dumps", identities)
        )

    def _tell(self, identity: Identity, outcome: _Outcome) -> None:
        if isinstance(outcome, ThothError):
            self._counts["failed"] += 1
            if self._json:
                self._console.result(_json_line(identity, None, None, "failed", str(outcome)))
            self._console.failure(outcome, about=None if identity in str(outcome) else identity)
            return
        for verdict in outcome:
            result = verdict.result.value
            self._counts[result] += 1
            if self._json:
                self._console.result(_json_line(identity, verdict.rule, verdict.action, result, verdict.reason))
            else:
                self._console.result(f"{identity} {verdict_text(verdict, dry=self._dry)}")
        self._console.flush()

    def _sum_up(self) -> None:
        if not self._dumps or not self._rules.rules:
            self._console.say("there are no rules" if self._dumps else "no dump matches")
            return
        words = ("set", "matched", "kept", "skipped", "failed")
        told = [f"{self._counts[word]} {word}" for word in words if self._counts[word]]
        dumps, rules = self._dumps, len(self._rules.rules)
        held = "would be held" if self._dry else "held"
        of = f"{dumps} dump{'' if dumps == 1 else 's'} {held} against {rules} rule{'' if rules == 1 else 's'}"
        self._console.say(f"{of}: {', '.join(told) or 'none applies'}")


def _json_line(identity: Identity, rule: str | None, action: str | None, result: str, reason: str | None) -> str:
    line: Json = {"id": identity, "rule": rule, "action": action, "result": result, "reason": reason}
    return json_text(line)
