"""The ``sdc-thoth`` command: one pass over a fleet, the daemon, its status, host keys, or a completion."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import TYPE_CHECKING

from sdc_thoth.console import Console
from thoth import ThothError, escaped

if TYPE_CHECKING:
    import argparse

    from sdc_thoth.passes import Orders
    from sdc_thoth.report import JsonReport, TextReport

_READER_GONE = 141  # as a shell says of a program that SIGPIPE ended
# Seconds that a thread may compute while others wait: those come back from the disk or a node, and have little to do.
# With Python's own 5 ms a pass over many small dumps takes 4 % longer.
_SWITCH = 0.001


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    sys.setswitchinterval(_SWITCH)
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    console = Console()
    try:
        status = _dispatch(arguments, console)
        return status if console.close() else _READER_GONE
    except ThothError as error:
        if debug:
            raise
        console.talk(str(error))
        return error.exit_code


def _dispatch(arguments: list[str], console: Console) -> int:
    from sdc_thoth import options

    if arguments and arguments[0] == "hostkeys":
        return _interruptible(
            lambda: _hostkeys(options.hostkeys_parser().parse_args(arguments[1:]), console), console
        )
    if arguments and arguments[0] == "status":
        return _status(options.status_parser().parse_args(arguments[1:]), console)
    if arguments and arguments[0] == "completion":
        return _completion(options.completion_parser().parse_args(arguments[1:]), console)
    parsed = options.pass_parser().parse_args(arguments)
    if parsed.daemon:
        return _daemon(parsed)
    return _interruptible(lambda: _collect(parsed, console), console)


# ---- signals -------------------------------------------------------------------------------------------------------


def _interruptible(work: Callable[[], int], console: Console) -> int:
    from sdc_thoth.halt import Interrupted

    try:
        with _signals_as_exceptions():
            return work()
    except Interrupted as error:
        console.talk(error.reason)
        return 128 + error.number


@contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    """The first SIGINT, SIGTERM or SIGHUP ends the pass in order, the second at once. What is ignored stays so: it is
    how nohup keeps a run alive."""
    from sdc_thoth.halt import Interrupted

    def interrupt(number: int, _frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        raise Interrupted(number)

    handled = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {each: signal.getsignal(each) for each in handled if signal.getsignal(each) is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# ---- one pass ------------------------------------------------------------------------------------------------------


def _orders(arguments: argparse.Namespace) -> Orders:
    from sdc_thoth.passes import Orders

    return Orders(
        types=tuple(arguments.type),
        names=None if arguments.node is None else tuple(arguments.node),
        exclude=arguments.exclude,
        timeout=arguments.timeout,
        idle=arguments.exectimeout,
        deadline=arguments.deadman * 60,
        dry_run=arguments.dry_run,
    )


def _collect(arguments: argparse.Namespace, console: Console) -> int:
    from sdc_thoth.cnapi import nodes_of
    from sdc_thoth.config import load_settings
    from sdc_thoth.connections import Connections
    from sdc_thoth.halt import Halt
    from sdc_thoth.lock import run_lock
    from sdc_thoth.options import check_single, hostkeys_command, limits
    from sdc_thoth.passes import Voices, broken, check_types, note_broken, run_pass
    from sdc_thoth.process import no_core

    check_single(arguments)
    no_core()
    orders = _orders(arguments)
    settings = load_settings(
        config=arguments.config,
        inventory=arguments.inventory,
        directory=arguments.dir,
        cnapi=arguments.cnapi,
        limits=limits(arguments),
    )
    check_types(orders, settings)
    nodes = nodes_of(settings, orders.names, orders.exclude)
    connections = Connections(timeout=orders.timeout, idle=orders.idle, hostkeys=hostkeys_command(arguments))
    connections.begin(settings.ssh, nodes)
    report, say = _report(arguments, console)
    # A dry run takes no lock: it writes nothing, and must not keep a real run from starting.
    lock = nullcontext() if orders.dry_run else run_lock(settings.directory, arguments.lockfile)
    began, started = time.time(), time.monotonic()
    with lock:
        try:
            run_pass(orders, settings, nodes, connections, report, voices=Voices(say, say, console.talk), halt=Halt())
        except ThothError as error:
            if not orders.dry_run:
                note_broken(settings, broken(began, started, str(error)), console.talk)
            raise
    return report.tally.exit_code


def _report(arguments: argparse.Namespace, console: Console) -> tuple[TextReport | JsonReport, Callable[[str], None]]:
    """The report, and where talk goes: among the lines of the report, or beside a JSON document."""
    from sdc_thoth.report import JsonReport, TextReport

    if arguments.json:
        return JsonReport(console.write, dry_run=arguments.dry_run), console.talk
    return TextReport(console.line, dry_run=arguments.dry_run, verbose=arguments.verbose), console.line


# ---- the daemon ----------------------------------------------------------------------------------------------------


def _daemon(arguments: argparse.Namespace) -> int:
    from sdc_thoth.daemon import run_daemon
    from sdc_thoth.options import daemon_plan

    return run_daemon(daemon_plan(arguments, _orders(arguments)))


def _status(arguments: argparse.Namespace, console: Console) -> int:
    from sdc_thoth.standing import show_status

    return show_status(arguments.dir, as_json=arguments.json, out=console.line, late=arguments.late)


def _completion(arguments: argparse.Namespace, console: Console) -> int:
    from sdc_thoth.completion import script

    console.write(script(arguments.shell))
    return 0


# ---- host keys -----------------------------------------------------------------------------------------------------


def _hostkeys(arguments: argparse.Namespace, console: Console) -> int:
    from sdc_thoth.cnapi import nodes_of
    from sdc_thoth.config import load_settings
    from sdc_thoth.hostkeys import pin_host_keys

    settings = load_settings(
        config=arguments.config, inventory=arguments.inventory, directory=arguments.dir, cnapi=arguments.cnapi
    )
    nodes = nodes_of(settings, arguments.nodes or None, False)
    away = [node.instead for node in nodes if node.instead is not None]
    for outcome in away:
        console.line(f"{escaped(outcome.node or '')}: {outcome.result.value}: {escaped(outcome.reason or '')}")
    status = pin_host_keys(
        [node for node in nodes if node.instead is None],
        settings.ssh.known_hosts,
        timeout=arguments.timeout,
        yes=arguments.yes,
        say=console.line,
        confirm=_confirm,
    )
    return max([status, *(int(not outcome.result.good) for outcome in away)])


def _confirm(question: str) -> bool:
    """Ask on the terminal; where there is none the answer is no."""
    if not sys.stdin.isatty():
        return False
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
