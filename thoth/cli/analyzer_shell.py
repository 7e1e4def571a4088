"""The shell of ``thoth debug DUMP ANALYZER``, in which an analyzer is developed on a dump."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

from thoth.errors import IndexFailure, PreconditionFailed, SourceError, ThothError
from thoth.render import escaped

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from thoth.analysis.changes import Changes
    from thoth.analysis.foreground import Foreground
    from thoth.analysis.shell import Original
    from thoth.cli.console import Console
    from thoth.cli.debug import Fetched
    from thoth.cli.mlogin import Session
    from thoth.library import Thoth
    from thoth.model import DumpInfo


def develop(thoth: Thoth, dump: Fetched, name: str, work: Path, console: Console) -> int:
    """Open the shell for this analyzer below ``work``, and make of it what its end says. Returns our exit code."""
    from thoth.analysis.foreground import Foreground
    from thoth.analysis.shell import changes_of, original, prepare, script_of
    from thoth.config import environment

    analyzer, missing = original(thoth, name)
    interactive = sys.stdin is not None and sys.stdin.isatty()
    shell = prepare(
        analyzer, dump.info, dump.path, user=thoth.user, work=work, environ=environment(), interactive=interactive
    )
    _introduce(analyzer, missing, console)
    with Foreground() as foreground:
        code = foreground.run(shell.argv, shell.directory, shell.environment)
        ended = _Ended(lambda: script_of(shell), lambda: changes_of(shell), _failure(code, foreground))
        return _concluded(thoth, dump.info, analyzer, ended, console)


class _Ended(NamedTuple):
    """What a shell has left; the functions raise ThothError when it cannot be read. ``failure``: why nothing of it is
    to be stored."""

    script: Callable[[], bytes]
    changes: Callable[[], Changes]
    failure: str


def _concluded(thoth: Thoth, info: DumpInfo, analyzer: Original, ended: _Ended, console: Console) -> int:
    """Make of it what the end of the shell says. Returns our exit code."""
    if ended.failure:
        console.complain(f"{ended.failure}; nothing was stored")
        _keep_aside(ended, analyzer, console)
        return 1
    stored = _stored(thoth, ended, analyzer, console)
    return 0 if _changed(thoth, info, ended, analyzer, console) and stored else 1


def develop_there(thoth: Thoth, info: DumpInfo, name: str, session: Session, console: Console) -> int:
    """The same in a session of mlogin, where the dump is; ``session`` has its program, words and environment."""
    from thoth.analysis.job_assets import login_assets
    from thoth.analysis.login import left, shell_words
    from thoth.analysis.run import Analyzer
    from thoth.analysis.shell import original

    analyzer, missing = original(thoth, name)
    _tell_missing(missing, console)
    with login_assets(thoth, Analyzer(analyzer.name, analyzer.script), info, console.complain) as assets:
        code = session.run(shell_words(session.program, session.dump, assets), console)
        try:
            found = left(thoth, assets)
        except ThothError as error:
            console.failure(error, about=f"mlogin ended with {code}")
            return 1
    failure = f"the shell exited with {found.status}" if found.status else ""
    return _concluded(thoth, info, analyzer, _Ended(lambda: found.script, found.changes, failure), console)


def _failure(code: int, foreground: Foreground) -> str:
    """Why the end of the shell is not a successful one; empty when it is."""
    if foreground.interrupted:
        return "the terminal is gone, or thoth was told to end"
    if code < 0:
        return f"the shell was killed by signal {-code}"
    return f"the shell exited with {code}" if code else ""


def _introduce(analyzer: Original, missing: str | None, console: Console) -> None:
    shown = escaped(analyzer.name)
    _tell_missing(missing, console)
    console.say("dump info is in $THOTH_INFO")
    console.say(f'analyzer "{shown}" is in $THOTH_ANALYZER')
    console.say('run "thoth_analyze" to run $THOTH_ANALYZER')
    console.say("any changes to $THOTH_ANALYZER will be stored upon successful exit")
    console.flush()


def _tell_missing(missing: str | None, console: Console) -> None:
    if missing is not None:
        console.say(f"{missing}; a new one is begun")


def _stored(thoth: Thoth, ended: _Ended, analyzer: Original, console: Console) -> bool:
    """Store the analyzer if it was changed; whether nothing went wrong. What was written is not lost in any case."""
    from thoth.analysis.shell import Kept, keep

    shown = escaped(analyzer.name)
    try:
        kept = keep(thoth, analyzer, ended.script())
    except PreconditionFailed:
        console.complain(f"analyzer '{shown}' was changed by somebody else meanwhile; yours was not stored")
    except ThothError as error:
        console.failure(error, about=f"analyzer '{shown}' was not stored")
    else:
        if kept is Kept.EMPTY:
            console.complain(f"analyzer '{shown}' is empty, so it was not stored")
            return False
        if kept is Kept.UNCHANGED and analyzer.new:
            console.say(f"nothing was written, so there is still no analyzer '{shown}'")
        elif kept is Kept.UNCHANGED:
            console.say(f"analyzer '{shown}' is unchanged")
        else:
            console.say(f"{kept.value} analyzer '{shown}'")
        return True
    _keep_aside(ended, analyzer, console)
    return False


def _keep_aside(ended: _Ended, analyzer: Original, console: Console) -> None:
    """Keep a version that was not stored where its author finds it, if there is anything in it that is new."""
    from thoth.analysis.shell import set_aside

    try:
        script = ended.script()
    except SourceError:
        return  # it was removed, or is no file any more
    if script.strip() and script != analyzer.script:
        how = f"'thoth analyzer {escaped(analyzer.name)}' stores it"
        console.complain(f"your version is in {set_aside(script)}; {how}")


def _changed(thoth: Thoth, info: DumpInfo, ended: _Ended, analyzer: Original, console: Console) -> bool:
    """Make the changes that the dump got in the shell; whether nothing went wrong."""
    from thoth.analysis.run import Analyzer, make_changes
    from thoth.cli.analyze import change_text

    try:
        changes = ended.changes()
        if changes:
            make_changes(thoth, info, Analyzer(analyzer.name, b""), changes)
    except IndexFailure as error:
        console.failure(error, about=f"{info.id}: its changes are stored, but not indexed")
        return False
    except ThothError as error:
        console.failure(error, about=f"{info.id} was not changed")
        return False
    for change in changes.described():
        console.say(f"{info.id}: {change_text(change)}")
    return True
