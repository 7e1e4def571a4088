"""The shell of ``thoth debug DUMP ANALYZER``, in which an analyzer is developed on a dump."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from thoth.errors import IndexFailure, PreconditionFailed, SourceError, ThothError
from thoth.render import escaped

if TYPE_CHECKING:
    from pathlib import Path

    from thoth.analysis.foreground import Foreground
    from thoth.analysis.shell import Original, Shell
    from thoth.cli.console import Console
    from thoth.cli.debug import Fetched
    from thoth.library import Thoth
    from thoth.model import DumpInfo


def develop(thoth: Thoth, dump: Fetched, name: str, work: Path, console: Console) -> int:
    """Open the shell for this analyzer below ``work``, and make of it what its end says. Returns our exit code."""
    from thoth.analysis.foreground import Foreground
    from thoth.analysis.shell import original, prepare
    from thoth.config import environment

    analyzer, missing = original(thoth, name)
    interactive = sys.stdin is not None and sys.stdin.isatty()
    shell = prepare(
        analyzer, dump.info, dump.path, user=thoth.user, work=work, environ=environment(), interactive=interactive
    )
    _introduce(analyzer, missing, console)
    with Foreground() as foreground:
        code = foreground.run(shell.argv, shell.directory, shell.environment)
        if failure := _failure(code, foreground):
            console.complain(f"{failure}; nothing was stored")
            _keep_aside(shell, analyzer, console)
            return 1
        stored = _stored(thoth, shell, analyzer, console)
        return 0 if _changed(thoth, dump.info, shell, analyzer, console) and stored else 1


def _failure(code: int, foreground: Foreground) -> str:
    """Why the end of the shell is not a successful one; empty when it is."""
    if foreground.interrupted:
        return "the terminal is gone, or thoth was told to end"
    if code < 0:
        return f"the shell was killed by signal {-code}"
    return f"the shell exited with {code}" if code else ""


def _introduce(analyzer: Original, missing: str | None, console: Console) -> None:
    shown = escaped(analyzer.name)
    if missing is not None:
        console.say(f"{missing}; a new one is begun")
    console.say("dump info is in $THOTH_INFO")
    console.say(f'analyzer "{shown}" is in $THOTH_ANALYZER')
    console.say('run "thoth_analyze" to run $THOTH_ANALYZER')
    console.say("any changes to $THOTH_ANALYZER will be stored upon successful exit")
    console.flush()


def _stored(thoth: Thoth, shell: Shell, analyzer: Original, console: Console) -> bool:
    """Store the analyzer if it was changed; whether nothing went wrong. What was written is not lost in any case."""
    from thoth.analysis.shell import Kept, keep, script_of

    shown = escaped(analyzer.name)
    try:
        kept = keep(thoth, analyzer, script_of(shell))
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
    _keep_aside(shell, analyzer, console)
    return False


def _keep_aside(shell: Shell, analyzer: Original, console: Console) -> None:
    """Keep a version that was not stored where its author finds it, if there is anything in it that is new."""
    from thoth.analysis.shell import script_of, set_aside

    try:
        script = script_of(shell)
    except SourceError:
        return  # it was removed, or is no file any more
    if script.strip() and script != analyzer.script:
        how = f"'thoth analyzer {escaped(analyzer.name)}' stores it"
        console.complain(f"your version is in {set_aside(script)}; {how}")


def _changed(thoth: Thoth, info: DumpInfo, shell: Shell, analyzer: Original, console: Console) -> bool:
    """Make the changes that the dump got in the shell; whether nothing went wrong."""
    from thoth.analysis.run import Analyzer, make_changes
    from thoth.analysis.shell import changes_of
    from thoth.cli.analyze import change_text

    try:
        changes = changes_of(shell)
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
