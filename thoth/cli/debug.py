"""``thoth debug``: a debugger on a dump, or a shell in which an analyzer is developed on one."""

from __future__ import annotations

import shutil
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from thoth.cli.options import add_places, configured, opened, word
from thoth.cli.specification import Word, local_identity, the_one
from thoth.errors import UsageError
from thoth.render import escaped

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator, Sequence

    from thoth.analysis.cache import Cache
    from thoth.analysis.debugger import Debugger, Invocation, Subject
    from thoth.analysis.executable import Executable
    from thoth.analysis.sandbox import Ended, Limits
    from thoth.cli.console import Console
    from thoth.library import Thoth
    from thoth.model import DumpInfo

_DEBUGGERS: Final = ("mdb", "gdb", "lldb", "crash")
_TIMEOUT: Final = "10min"
_OUTPUT: Final = 64 << 20  # bytes of a debugger's output that are shown


class Fetched(NamedTuple):
    """A dump's document, and its copy on this machine."""

    info: DumpInfo
    path: Path


def declare_debug(parser: ArgumentParser) -> None:
    parser.usage = """thoth debug [--debugger NAME] [--exec FILE] DUMP
       thoth debug --batch -e COMMAND [-e COMMAND]... [--timeout AGE] [--debugger NAME] [--exec FILE] DUMP
       thoth debug DUMP ANALYZER"""
    parser.description = """\
Open a debugger on a dump: mdb for what comes from illumos, gdb or lldb for cores of other systems, crash for
kernel dumps of Linux. The dump is fetched into a private cache first, and found there the next time.
With an ANALYZER, open a shell instead in which that analyzer can be edited, and run on this dump.
Where Manta runs jobs (v1) and mlogin is installed, mdb and the shell run there, beside the dump, and nothing
is fetched; THOTH_NO_JOBS=1 has them run on this machine."""
    parser.epilog = """\
The program that the core is of is looked for on this machine, and its build-id held against that in the
core: another build is never taken. --exec names it where it lies elsewhere. The debugger runs in an empty
directory that is removed with it, so that it reads no settings of a foreign one: name files by whole paths.

--batch runs commands in their order, in a sandbox with nobody's settings, and shows what they write. As root
it has copies of the program and the libraries that only root can read.

the shell for an analyzer:
  $THOTH_ANALYZER   the analyzer, to be edited; a new one is empty
  $THOTH_DUMP, $THOTH_INFO, $THOTH_TYPE, $THOTH_NAME, thoth_set, ...    as the analyzer has them
  thoth_analyze     run it as `thoth analyze` would; nothing is set yet
When the shell exits with 0, the analyzer is stored if it was changed, and what its last run and you have
set is set. With another exit status nothing is. A changed analyzer that was not stored, also because the
connection broke, is kept as thoth-analyzer-*.sh in $TMPDIR or /tmp.

examples:
  thoth debug 3e166b93
  thoth debug ./core.19972                a local dump that has been uploaded
  thoth debug --batch -e ::status -e ::stack 3e166b93
  thoth debug --batch -e 'thread apply all bt' --exec ./server 7d2f
  thoth debug --debugger crash --exec vmlinux 4be1
  thoth debug 3e166b93 fmri               edit the analyzer fmri with this dump at hand

exit status: 0 done; 1 failed, or the debugger or the shell did; 2 there is no such dump
"""
    parser.add_argument("dump", type=word, metavar="DUMP", help="identity, its beginning, or a local dump")
    parser.add_argument("analyzer", nargs="?", type=word, metavar="ANALYZER", help="the analyzer to develop")
    parser.add_argument("--batch", action="store_true", help="run the commands that -e names, and end")
    parser.add_argument("-e", dest="commands", action="append", metavar="COMMAND", help="a command of the debugger")
    parser.add_argument("--debugger", choices=_DEBUGGERS, metavar="NAME", help=", ".join(_DEBUGGERS))
    parser.add_argument("--exec", metavar="FILE", help="the program that the core is of, or the kernel's vmlinux")
    parser.add_argument("--timeout", metavar="AGE", help=f"how long --batch may take (default: {_TIMEOUT})")
    add_places(parser)
    parser.set_defaults(run=debug)


def debug(arguments: Namespace, console: Console) -> int:
    """Debug a dump, or an analyzer on it."""
    from thoth.analysis.analyzers import check_name
    from thoth.analysis.cache import Cache
    from thoth.cli.analyzer_shell import develop, develop_there
    from thoth.cli.mlogin import debug_there, session

    seconds = _checked(arguments)
    config = configured(arguments)
    with opened(config, console) as thoth, ExitStack() as held:
        info = the_one(thoth, Word(arguments.dump, local_identity(arguments.dump)))
        console.say(f"debugging {info.id}")
        there = session(thoth, config, info, arguments, _which)
        if there is not None and arguments.analyzer is None:
            return debug_there(there, console)
        if there is not None:
            check_name(arguments.analyzer)
            return develop_there(thoth, info, arguments.analyzer, there, console)
        _refuse_early(info, arguments)
        cache = Cache(Path(config.cache))
        dump = Fetched(info, held.enter_context(_fetched(thoth, info, cache, console)))
        if arguments.analyzer is None:
            return _debugger(dump, arguments, seconds, cache, console)
        return develop(thoth, dump, arguments.analyzer, held.enter_context(cache.work()), console)


def _refuse_early(info: DumpInfo, arguments: Namespace) -> None:
    """Raises what is known to fail before anything is fetched: dumps are large."""
    from thoth.analysis.analyzers import check_name
    from thoth.analysis.debugger import choose, foreseen

    if arguments.analyzer is not None:
        check_name(arguments.analyzer)
    elif not info.document.get("purged") and (about := foreseen(info)) is not None:
        choose(about, arguments.debugger, _which)


def _which(name: str) -> str | None:
    from thoth.config import environment

    return shutil.which(name, path=environment().get("PATH"))


@contextmanager
def _fetched(thoth: Thoth, info: DumpInfo, cache: Cache, console: Console) -> Iterator[Path]:
    """The copy of a dump in the cache; on a terminal a bar shows how it gets there, the first time."""
    from thoth.objects import dump_object, expanded_object

    kept = expanded_object(thoth.user, info) or dump_object(thoth.user, info)
    with ExitStack() as held:
        with console.filling(kept.filename.encode(), kept.size or 0) as progress:
            copy = held.enter_context(cache.borrow(thoth, info, keep=True, progress=progress))
        yield copy


def _checked(arguments: Namespace) -> float:
    """The time limit of a batch, in seconds. Raises UsageError for options that do not go together."""
    from thoth.query import age_seconds

    for_batch = {"-e": arguments.commands, "--timeout": arguments.timeout}
    for_debugger = {"--batch": arguments.batch, "--debugger": arguments.debugger, "--exec": arguments.exec}
    if arguments.batch and not arguments.commands:
        raise UsageError("debug: --batch runs commands; name them, each with -e")
    for option, given in for_batch.items():
        if given and not arguments.batch:
            raise UsageError(f"debug: {option} goes with --batch")
    for option, given in for_debugger.items():
        if given and arguments.analyzer is not None:
            raise UsageError(f"debug: {option} is for a debugger, and an analyzer has a shell; leave one of them out")
    try:
        seconds = age_seconds(arguments.timeout or _TIMEOUT)
    except UsageError as error:
        raise UsageError(f"debug: --timeout: {error}") from error
    if not seconds:
        raise UsageError("debug: --timeout: no debugger is that fast")
    return float(seconds)


# ---- a debugger -----------------------------------------------------------------------------------


def _debugger(dump: Fetched, arguments: Namespace, seconds: float, cache: Cache, console: Console) -> int:
    from thoth.analysis.debugger import batch, choose, program_of, session, subject
    from thoth.analysis.reach import within_work

    about = subject(dump.path, dump.info.id)
    debugger = choose(about, arguments.debugger, _which)
    executable, refused = program_of(about, debugger, arguments.exec)
    for each in refused:
        console.complain(f"{escaped(each.path)}: {each.reason}")
    _tell_program(debugger, about, executable, console)
    with cache.work() as work:
        if not arguments.batch:
            return _in_session(session(debugger, about, executable), work, console)
        place = within_work(about, executable, work)
        if place.hidden:
            _tell_hidden(debugger, place.hidden, console)
        asked = batch(debugger, about, place.executable, arguments.commands, place.libraries)
        return _in_batch(asked, place.directory, seconds, about, console)


def _tell_program(debugger: Debugger, about: Subject, executable: Executable | None, console: Console) -> None:
    if executable is not None:
        doubt = "" if executable.verified or about.kernel else "; executable not verified, the core has no build-id"
        console.say(f"{debugger.name} with {escaped(executable.path)}{doubt}")
    elif debugger.name != "mdb":
        console.say(f"{debugger.name} without the executable, which was not found; --exec names it")
    if about.system == "illumos" and debugger.name != "mdb":
        console.say(f"{debugger.name} knows little of illumos; mdb, on an illumos machine, knows threads and stacks")


def _tell_hidden(debugger: Debugger, hidden: Sequence[str], console: Console) -> None:
    more = f" and {len(hidden) - 1} more" if hidden[1:] else ""
    console.complain(
        f"{debugger.name} runs as a user that cannot read {escaped(hidden[0])}{more}, and may tell wrong stacks;"
        " let all read it, or leave --batch out"
    )


def _in_session(asked: Invocation, work: Path, console: Console) -> int:
    from thoth.analysis.foreground import Foreground
    from thoth.config import environment

    console.flush()
    with Foreground() as foreground:
        code = foreground.run(asked.argv, work, environment())
    return 0 if code == 0 and not foreground.interrupted else 1


def _in_batch(asked: Invocation, work: Path, seconds: float, about: Subject, console: Console) -> int:
    from thoth.analysis.sandbox import clean_environment, run_sandboxed
    from thoth.config import environment

    environ = environment()
    # Without it gdb and lldb ask no server for debugging information; who sets it wants them to.
    servers = {name: environ[name] for name in ("DEBUGINFOD_URLS",) if name in environ}
    ended = run_sandboxed(
        asked.argv,
        directory=work,
        environment={**clean_environment(work, environ), **servers},
        limits=_limits(about, seconds),
        stdin=asked.stdin,
    )
    show_output(ended, console)
    name = Path(asked.argv[0]).name
    if ended.status is None:
        console.complain(f"{name} {escaped(ended.reason or 'was stopped')}")
    elif ended.status:
        console.complain(f"{name} ended with status {ended.status}")
    return 0 if ended.status == 0 else 1


def _limits(about: Subject, seconds: float) -> Limits:
    from dataclasses import replace

    from thoth.analysis.sandbox import Limits

    usual = Limits.for_dump(about.dump.stat().st_size)
    return replace(usual, timeout=seconds, cpu=max(usual.cpu, int(seconds)), output=_OUTPUT)


def show_output(ended: Ended, console: Console) -> None:
    """What a program in the sandbox wrote, made harmless, as results."""
    from thoth.model import text

    if ended.output:
        for line in text(ended.output).removesuffix("\n").split("\n"):
            console.result(line.expandtabs())
    if ended.cut:
        console.complain(f"only the first {len(ended.output)} bytes are shown")
