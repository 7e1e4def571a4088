"""The ``sdc-thoth`` command: one pass over a fleet, or its host keys."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from sdc_thoth.console import Console
from thoth import (
    Autoanalyzer,
    ThothError,
    UsageError,
    __version__,
    environment,
    load_config,
    one_line,
    open_thoth,
)

if TYPE_CHECKING:
    from sdc_thoth.arrivals import Arrivals
    from sdc_thoth.collect import Task
    from sdc_thoth.config import Settings
    from sdc_thoth.fleet import Fleet
    from sdc_thoth.inventory import Node
    from sdc_thoth.node import Place
    from sdc_thoth.report import JsonReport, TextReport
    from sdc_thoth.session import Credentials, Session
    from thoth import Config, Thoth

_IN_MEMORY = 48 << 20  # bytes of small dumps on their way into the store
_READER_GONE = 141  # as a shell says of a program that SIGPIPE ended
_STORING = 4  # dumps that are written to the store at a time: a disk takes several at once faster than one by one

_EPILOG = """\
examples:
  sdc-thoth hostkeys --inventory fleet.toml         pin the nodes' host keys, after a look at them
  sdc-thoth -n --inventory fleet.toml               what would be collected; writes nothing, anywhere
  sdc-thoth --inventory fleet.toml                  collect it
  sdc-thoth --inventory fleet.toml -N cn0,cn1       from two nodes; -x -N cn0: from all but one
  sdc-thoth --inventory fleet.toml -t crash,nginx   kernel dumps, and the cores of nginx
  sdc-thoth -n --json --inventory fleet.toml        the plan, for scripts

exit status: 0 every outcome was a good one; 1 otherwise; 75 another run holds the lock; 130, 143 on SIGINT, SIGTERM.
Where dumps are kept is what `thoth` is told: THOTH_STORE, THOTH_DB, THOTH_USER.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    console = Console()
    try:
        with _signals_as_exceptions():
            status = _dispatch(arguments, console)
        return status if console.close() else _READER_GONE
    except ThothError as error:
        if debug:
            raise
        console.talk(str(error))
        return error.exit_code
    except _Interrupted as error:
        console.talk(f"stopped by {signal.Signals(error.number).name}")
        return 128 + error.number


class _Interrupted(BaseException):
    """SIGINT or SIGTERM: not an Exception, so that no job takes it for a failure of its own."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    """The first SIGINT or SIGTERM ends the pass in order, the second at once."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        for each in handled:
            signal.signal(each, signal.SIG_DFL)
        raise _Interrupted(number)

    handled = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, interrupt) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _dispatch(arguments: list[str], console: Console) -> int:
    if arguments and arguments[0] == "hostkeys":
        return _hostkeys(_hostkeys_parser().parse_args(arguments[1:]), console)
    return _collect(_parser().parse_args(arguments), console)


# ---- the command line ----------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="sdc-thoth",
        description="Collects those core and crash dumps of a fleet that Thoth does not have yet, over SSH.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("-n", "--dry-run", action="store_true", help="say what would be done; write nothing, on either side")
    add("-N", "--node", type=_listed, metavar="A,B", help="these nodes only, by name or UUID")
    add("-x", "--exclude", action="store_true", help="all nodes but those of -N")
    add(
        "-t",
        "--type",
        type=_listed,
        default=["all"],
        metavar="TYPE",
        help="all, core, global, gcore, crash, or an executable's name; several with commas (all)",
    )
    add("-p", "--parallelism", type=_count, default=4, metavar="N", help="nodes at a time (4)")
    add(
        "-T",
        "--timeout",
        type=_seconds,
        default=10.0,
        metavar="SECONDS",
        help="to connect, and for each step of logging in (10)",
    )
    add(
        "-e",
        "--exectimeout",
        type=_seconds,
        default=600.0,
        metavar="SECONDS",
        help="without a byte from a node (600)",
    )
    add("-D", "--deadman", type=_seconds, default=360.0, metavar="MINUTES", help="for the whole pass (360)")
    add(
        "-l",
        "--lockfile",
        default="lock",
        metavar="NAME",
        help="of the lock, in the collector's directory (lock)",
    )
    add("-v", "--verbose", action="store_true", help="list the dumps that are already there too")
    add("--json", action="store_true", help="one JSON document on stdout: dumps, nodes, bytes")
    _add_common(parser)
    return parser


def _hostkeys_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="sdc-thoth hostkeys",
        description="Fetches the nodes' host keys, shows their fingerprints, and pins those that you agree to.",
        epilog="On the node's console, `ssh-keygen -lf /var/ssh/ssh_host_ed25519_key.pub` shows the true one.",
    )
    parser.add_argument("nodes", nargs="*", metavar="NODE", help="by name or UUID; all nodes when none is named")
    parser.add_argument("--yes", action="store_true", help="pin new keys without asking; a changed key always asks")
    parser.add_argument("-T", "--timeout", type=_seconds, default=10.0, metavar="SECONDS", help="to connect (10)")
    _add_common(parser)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--inventory", metavar="FILE", help="the nodes: a TOML file with [[node]] tables")
    add("-c", "--config", type=Path, metavar="FILE", help="configuration: [ssh], [paths], [limits], [[node]]")
    add("-d", "--dir", type=Path, metavar="DIR", help="where lock, journal and known_hosts lie")
    add("--debug", action="store_true", help="show the traceback of an error")
    add("--version", action="version", version=f"%(prog)s {__version__}")


def _listed(value: str) -> list[str]:
    words = value.split(",")
    if not all(words):
        raise argparse.ArgumentTypeError(f"{value!r} names nothing, or holds an empty name")
    return words


def _count(value: str) -> int:
    if not value.isdecimal():
        raise argparse.ArgumentTypeError(f"{value!r} is not a whole number")
    number = int(value)
    if not 1 <= number <= 1000:
        raise argparse.ArgumentTypeError(f"{value} is not between 1 and 1000")
    return number


def _seconds(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e7:
        raise argparse.ArgumentTypeError(f"{value!r} is not a time above 0")
    return number


# ---- one pass ------------------------------------------------------------------------------------------------------


def _collect(arguments: argparse.Namespace, console: Console) -> int:
    from sdc_thoth.config import load_settings
    from sdc_thoth.inventory import select
    from sdc_thoth.lock import run_lock
    from sdc_thoth.places import places
    from sdc_thoth.session import read_credentials

    settings = load_settings(config=arguments.config, inventory=arguments.inventory, directory=arguments.dir)
    nodes = select(settings.nodes, arguments.node, arguments.exclude)
    where = places(arguments.type, settings.core, settings.crash)
    credentials = read_credentials(settings.ssh, hostkeys=_hostkeys_command(arguments))
    # A dry run takes no lock: it writes nothing, and must not keep a real run from starting.
    lock = nullcontext() if arguments.dry_run else run_lock(settings.directory, arguments.lockfile)
    with lock:
        return _pass(arguments, settings, nodes, where, credentials, console=console)


def _pass(
    arguments: argparse.Namespace,
    settings: Settings,
    nodes: Sequence[Node],
    where: tuple[Place, ...],
    credentials: Credentials,
    *,
    console: Console,
) -> int:
    from sdc_thoth.fleet import Fleet
    from sdc_thoth.session import open_session

    started = time.monotonic()
    limit = arguments.deadman * 60
    report, say = _report(arguments, console)

    def connect(node: Node) -> Session:
        return open_session(node, credentials, connect_timeout=arguments.timeout, idle_timeout=arguments.exectimeout)

    with _task(arguments, settings, where, say, talk=console.talk) as task:
        with Fleet(nodes, task, connect, parallelism=arguments.parallelism, deadline=limit) as fleet:
            interruption = _reported(fleet, report)
        if interruption is None:
            interruption = _analyzed(task.arrivals, lambda: time.monotonic() < started + limit)
        task.arrivals.tell_left()
        if not arguments.dry_run:
            task.journal.forget()
    report.end(time.monotonic() - started)
    if interruption is not None:
        raise interruption
    return report.tally.exit_code


@contextmanager
def _task(
    arguments: argparse.Namespace,
    settings: Settings,
    where: tuple[Place, ...],
    say: Callable[[str], None],
    *,
    talk: Callable[[str], None],
) -> Iterator[Task]:
    """What the nodes share in a pass, opened and known to work. ``talk`` takes what is said of the journal."""
    from sdc_thoth.arrivals import Arrivals
    from sdc_thoth.budget import Budget
    from sdc_thoth.collect import Task
    from sdc_thoth.journal import open_journal

    config = load_config(environment())
    with ExitStack() as stack:
        thoth = stack.enter_context(open_thoth(config, dry_run=arguments.dry_run))
        thoth.check()
        yield Task(
            thoth=thoth,
            journal=stack.enter_context(open_journal(settings.directory, read_only=arguments.dry_run, say=talk)),
            places=where,
            settle=settings.limits.settle,
            max_size=settings.limits.max_size,
            dry_run=arguments.dry_run,
            clock=time.time,
            budget=Budget(_IN_MEMORY),
            storing=stack.enter_context(ThreadPoolExecutor(_STORING, thread_name_prefix="store")),
            say=say,
            arrivals=Arrivals(_autoanalyzer(thoth, config, say), say),
        )


def _reported(fleet: Fleet, report: TextReport | JsonReport) -> _Interrupted | None:
    """Take all outcomes into the report. A signal cuts the nodes off: what became of them by then is told too."""
    try:
        for outcome in fleet.outcomes():
            report.take(outcome)
    except _Interrupted as error:
        fleet.stop(f"stopped by {signal.Signals(error.number).name}")
        for outcome in fleet.outcomes():
            report.take(outcome)
        return error
    return None


def _autoanalyzer(thoth: Thoth, config: Config, say: Callable[[str], None]) -> Autoanalyzer:
    return Autoanalyzer(
        thoth,
        cache=Path(config.cache),
        environ=environment(),
        clock=time.time,
        say=lambda line: say(one_line(line)),
    )


def _analyzed(arrivals: Arrivals, go_on: Callable[[], bool]) -> _Interrupted | None:
    """Run the analyzers that rules ask for on what has arrived."""
    try:
        arrivals.finish(go_on)
    except _Interrupted as error:
        return error
    return None


def _report(arguments: argparse.Namespace, console: Console) -> tuple[TextReport | JsonReport, Callable[[str], None]]:
    """The report, and where talk goes: among the lines of the report, or beside a JSON document."""
    from sdc_thoth.report import JsonReport, TextReport

    if arguments.json:
        return JsonReport(console.write, dry_run=arguments.dry_run), console.talk
    return TextReport(console.line, dry_run=arguments.dry_run, verbose=arguments.verbose), console.line


# ---- host keys -----------------------------------------------------------------------------------------------------


def _hostkeys_command(arguments: argparse.Namespace) -> str:
    """The command that pins host keys for a run with these options."""
    options = {"--inventory": arguments.inventory, "-c": arguments.config, "-d": arguments.dir}
    given = [word for option, value in options.items() if value for word in (option, str(value))]
    return shlex.join(["sdc-thoth", "hostkeys", *given])


def _hostkeys(arguments: argparse.Namespace, console: Console) -> int:
    from sdc_thoth.config import load_settings
    from sdc_thoth.hostkeys import pin_host_keys
    from sdc_thoth.inventory import select

    settings = load_settings(config=arguments.config, inventory=arguments.inventory, directory=arguments.dir)
    nodes = select(settings.nodes, arguments.nodes or None)
    return pin_host_keys(
        nodes,
        settings.ssh.known_hosts,
        timeout=arguments.timeout,
        yes=arguments.yes,
        say=console.line,
        confirm=_confirm,
    )


def _confirm(question: str) -> bool:
    """Ask on the terminal; where there is none the answer is no."""
    if not sys.stdin.isatty():
        return False
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
