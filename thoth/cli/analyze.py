"""``thoth analyze``: an analyzer, or a command of the debugger, on many dumps at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from thoth.cli.options import add_places, configured, opened, size_bytes, word
from thoth.cli.specification import SPECIFICATION, chosen, tell_nothing
from thoth.errors import CacheError, UsageError
from thoth.render import escaped, json_text

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from thoth.analysis.run import Analysis, Task
    from thoth.analysis.runner import Outcome, Runner, Settings
    from thoth.cli.console import Console
    from thoth.library import Thoth
    from thoth.model import Identity, Json
    from thoth.store.jobs import Jobs

_MOST_PARALLEL: Final = 256


def declare_analyze(parser: ArgumentParser) -> None:
    parser.usage = (
        "thoth analyze [-n] [-p N] [--timeout AGE] [--memory SIZE] [--file-size SIZE] [--json]\n"
        "       DUMP|SPEC... NAME|DCMD"
    )
    parser.description = (
        "Run an analyzer on dumps, several at a time, and show what it writes, in the order of the dumps.\n"
        "A last word that begins with :: or $ is a command of mdb instead, which is run on each dump.\n"
        "What the analyzer sets is kept whatever its exit status; when it had to be stopped nothing is.\n"
        "Of a specification it leaves out dumps that were purged.\n"
        "It sees a copy of the dump that it can only read, a directory of its own, and none of our secrets.\n"
        "Where Manta runs jobs (v1) it runs there, beside the dumps, as one job over all of them; THOTH_NO_JOBS=1\n"
        "has it run on this machine, and so has -n."
    )
    parser.epilog = f"""\
{SPECIFICATION}
examples:
  thoth analyze 3e166b93 fmri
  thoth analyze cmd=svc.startd ticket=undefined OS-2359-diagnose
  thoth analyze -n mtime=1d fmri          what would it set?
  thoth analyze --timeout 2h type=crash expanded=undefined process-dump
                                          expand the vmdumps that came
  thoth analyze cmd=node limit=5 ::stack  a command of mdb on five dumps
  thoth analyze 3e166b93 '$C'             $ is the shell's too: quote it

--json: JSON lines {{"id", "status", "reason", "output", "cut", "changes", "seconds"}}. status is the exit
status, null when the analyzer was stopped; reason says why, or why a change was not made; cut tells of output
that was too long to keep. `thoth analyzers` lists the analyzers, `thoth analyzer --help` says what they find.

exit status: 0 done, also when no dump matches; 1 at least one failed; 2 there is no dump by that name
"""
    parser.add_argument(
        "words",
        nargs="+",
        type=word,
        metavar="DUMP|SPEC... NAME|DCMD",
        help="dumps, or the constraints of a specification; the analyzer comes last",
    )
    parser.add_argument("-n", "--dry-run", action="store_true", help="show what would be set; set nothing")
    parser.add_argument("-p", "--parallel", metavar="N", help="so many at a time (default: one for each CPU)")
    parser.add_argument(
        "--timeout", metavar="AGE", help="how long one may take, as in 90 (seconds) or 2h (default: 10min)"
    )
    parser.add_argument("--memory", metavar="SIZE", help="how much memory one may have, as in 4G")
    parser.add_argument("--file-size", metavar="SIZE", help="how large a file of it may grow, as in 100G")
    parser.add_argument("--json", action="store_true", help="JSON lines, one for each dump")
    add_places(parser)
    parser.set_defaults(run=analyze)


def _require_passage(cache: str) -> None:
    """Raises CacheError when what root runs in the sandbox could not reach a dump: once, not for each of them."""
    from thoth.analysis.private import closed_to_programs

    closed = closed_to_programs(Path(cache))
    if closed is not None:
        raise CacheError(
            f"cache {escaped(cache)}: {escaped(str(closed))} is closed to the user that analyzers run as;"
            " name another place with THOTH_CACHE"
        )


def _without_purged(words: list[str]) -> list[str]:
    """The same words; a specification that does not speak of purged dumps asks for those that are still there."""
    keys = [each.partition("=")[0] for each in words if "=" in each]
    return [*words, "purged=undefined"] if keys and "purged" not in keys else words


def analyze(arguments: Namespace, console: Console) -> int:
    """Analyze dumps."""
    *words, name = arguments.words
    if not words:
        raise UsageError("analyze: name dumps or a specification, then an analyzer; see 'thoth analyze --help'")
    config, settings = configured(arguments), _settings(arguments)
    with opened(config, console, dry_run=arguments.dry_run) as thoth:
        jobs = thoth.jobs()
        if jobs is None:
            _require_passage(config.cache)
        task = _task(thoth, name, here=jobs is None)
        identities = chosen(thoth, _without_purged(words), console)
        if not identities:
            tell_nothing(thoth, console)
            return 0
        report = _Report(arguments, console, task, len(identities))
        runner = _runner(thoth, jobs, task, settings, console, cache=config.cache)
        outcomes = runner.outcomes(identities)  # nothing runs yet
        try:
            with closing(outcomes), closing(report.watched(identities)) as counted:
                for _, outcome in zip(counted, outcomes, strict=False):
                    report.show(outcome)
        finally:  # also when it is interrupted, or the store is gone: what is done is done
            report.summarize()
    return 1 if report.failed else 0


def _task(thoth: Thoth, name: str, *, here: bool) -> Task:
    """What the last word asks for. Raises NoSuchAnalyzer, and of a task that is to be run here NoTool before any dump
    is fetched in vain."""
    from thoth.analysis.analyzers import fetch
    from thoth.analysis.run import Analyzer, Dcmd, tool
    from thoth.config import environment

    is_dcmd = name.startswith(("::", "$"))
    if here:
        tool("mdb" if is_dcmd else "bash", environment())
    return Dcmd(name) if is_dcmd else Analyzer(name, fetch(thoth, name)[0])


# ---- what the options say -------------------------------------------------------------------------


def _settings(arguments: Namespace) -> Settings:
    from thoth.analysis.runner import Settings
    from thoth.query import age_seconds

    limits: dict[str, int] = {}
    if arguments.timeout is not None:
        seconds = _positive("--timeout", arguments.timeout, age_seconds)
        # Many processes in a row, or at a time, use more; what one of them uses is bounded by the timeout.
        limits |= {"timeout": seconds, "cpu": seconds}
    if arguments.memory is not None:
        limits["memory"] = _positive("--memory", arguments.memory, size_bytes)
    if arguments.file_size is not None:
        limits["file_size"] = _positive("--file-size", arguments.file_size, size_bytes)
    return Settings(workers(arguments.parallel), not arguments.dry_run, limits)


def _positive(option: str, given: str, parse: Callable[[str], int]) -> int:
    try:
        value = parse(given)
    except UsageError as error:
        raise UsageError(f"{option}: {error}") from None
    if value <= 0:
        raise UsageError(f"{option}: '{escaped(given)}' leaves nothing to work with")
    return value


def workers(given: str | None) -> int:
    """How many at a time ``--parallel`` asks for. Raises UsageError."""
    if given is None:
        return os.cpu_count() or 1
    if not (given.isascii() and given.isdigit() and len(given) <= 4 and 1 <= int(given) <= _MOST_PARALLEL):
        raise UsageError(f"--parallel: '{escaped(given)}' is not a number from 1 to {_MOST_PARALLEL}")
    return int(given)


# ---- running ----------------------------------------------------------------------------------------


def _runner(
    thoth: Thoth, jobs: Jobs | None, task: Task, settings: Settings, console: Console, *, cache: str
) -> Runner:
    """Where the dumps are, if jobs can be run there; else on this machine."""
    from thoth.analysis.cache import Cache
    from thoth.config import environment

    place = Cache(Path(cache))
    if jobs is not None:
        from thoth.analysis.job_runner import JobRunner

        return JobRunner(thoth, jobs, place, task, settings, say=console.say, complain=console.complain)
    from thoth.analysis.runner import LocalRunner

    return LocalRunner(thoth, place, task, settings, environment())


# ---- telling ----------------------------------------------------------------------------------------


class _Report:
    """What is shown of the outcomes, and what of all of them together at the end."""

    def __init__(self, arguments: Namespace, console: Console, task: Task, wanted: int) -> None:
        self._json: bool = arguments.json
        self._planned: bool = arguments.dry_run
        self._console = console
        self._task = task
        self._wanted = wanted
        self._seen = self._changed = 0
        self.failed = 0

    def watched(self, identities: Sequence[Identity]) -> Generator[Identity]:
        """The same; on a terminal a bar counts them, unless the output goes there too and would write over it."""
        shown = sys.stdout is not None and sys.stdout.isatty()
        yield from identities if shown or len(identities) == 1 else self._console.counting("analyzing", identities)

    def show(self, outcome: Outcome) -> None:
        """One dump's output, and a line for what went wrong."""
        from thoth.analysis.run import Analysis
        from thoth.analysis.runner import Unanalyzed

        self._seen += 1
        if self._json:
            self._console.result(json_text(_as_json(outcome)))
        elif isinstance(outcome, Analysis):
            self._show_output(outcome)
        self._console.flush()
        if isinstance(outcome, Unanalyzed):
            self.failed += 1
            self._console.failure(outcome.error, about=outcome.identity)
            return
        self._changed += bool(outcome.changes)
        if outcome.failed:
            self.failed += 1
            self._console.complain(f"{outcome.identity}: {self._reason(outcome)}")

    def _show_output(self, analysis: Analysis) -> None:
        from thoth.analysis.run import Dcmd
        from thoth.model import text

        # mdb does not say whose answer it is, nor does a shell that complains about the analyzer.
        if self._wanted > 1 and (isinstance(self._task, Dcmd) or (analysis.failed and analysis.output)):
            self._console.result(f"{analysis.identity}:")
        if analysis.output:
            for line in text(analysis.output).removesuffix("\n").split("\n"):
                self._console.result(line.expandtabs())
        if self._planned:
            for change in analysis.changes:
                self._console.result(f"{analysis.identity}: would {change_text(change)}")
        if analysis.cut:
            self._console.complain(f"{analysis.identity}: only the first {len(analysis.output)} bytes are shown")

    def _reason(self, analysis: Analysis) -> str:
        """Why it counts as failed."""
        from thoth.analysis.run import Dcmd

        name = "mdb" if isinstance(self._task, Dcmd) else f"analyzer '{escaped(self._task.name)}'"
        if analysis.status is None:
            return f"{name} {analysis.reason or 'was stopped'}"
        return f"{name}: {analysis.reason}" if analysis.reason else f"{name} ended with status {analysis.status}"

    def summarize(self) -> None:
        """In one line what became of all of them."""
        done = f"analyzed {self._seen} dump{'' if self._seen == 1 else 's'}"
        told = [done, f"{self._changed} {'would be changed' if self._planned else 'changed'}"]
        if self.failed:
            told.append(f"{self.failed} failed")
        if left := self._wanted - self._seen:
            told.append(f"{left} {'was' if left == 1 else 'were'} not reached")
        self._console.say("; ".join(told))


def change_text(change: Mapping[str, Json]) -> str:
    """A change in words, on one line."""
    if "set" in change:
        return f"set '{escaped(change['set'])}' to {json_text(change['value'])}"
    if "unset" in change:
        return f"unset '{escaped(change['unset'])}'"
    if "ticket" in change:
        return f"set the ticket {escaped(change['ticket'])}"
    if "stack" in change:
        return f"set the stack, of {len(change['stack'])} frames"
    if "store" in change:
        return f"store '{escaped(change['store'])}' as the expanded dump"
    return "remove the ticket"


def _as_json(outcome: Outcome) -> dict[str, Json]:
    from thoth.analysis.runner import Unanalyzed
    from thoth.model import text

    if isinstance(outcome, Unanalyzed):
        nothing: dict[str, Json] = {"output": "", "cut": False, "changes": [], "seconds": 0}
        return {"id": outcome.identity, "status": None, "reason": outcome.reason, **nothing}
    return {
        "id": outcome.identity,
        "status": outcome.status,
        "reason": outcome.reason,
        "output": text(outcome.output),
        "cut": outcome.cut,
        "changes": [dict(change) for change in outcome.changes],
        "seconds": round(outcome.seconds, 3),
    }
